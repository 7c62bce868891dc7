//! The listener: connections with time-outs and limits, and graceful shutdown.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONNECTION, TRANSFER_ENCODING};
use axum::http::{HeaderValue, Request, Response};
use ehi_core::auth::Network;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tower::ServiceExt;

use super::connections::{Connections, Place, Work};
use super::stream::{Answer, Guarded, Paced};
use super::{Patience, Proxies, Tls};
use crate::http::extract::{ClientAddress, X_REQUEST_ID};

/// How a listener deals with connections.
#[derive(Debug, Clone, Default)]
pub struct Edge {
    /// Its bounds.
    pub limits: ServeLimits,
    /// The proxies in front.
    pub proxies: Proxies,
    /// The certificate, where TLS ends here.
    pub tls: Option<Arc<Tls>>,
}

/// Bounds of the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServeLimits {
    /// Connections at a time. For one more, an idle one is closed; where none is idle, the new one.
    pub connections: usize,
    /// The same for each address, or for each /64 network of IPv6. Trusted proxies are not counted.
    pub connections_per_address: usize,
    /// How long a TLS handshake may take.
    pub handshake_time: Duration,
    /// How long a client may take to send the head of a request, and stay idle between two.
    pub head_time: Duration,
    /// How slow the body of a request may come.
    pub body: Patience,
    /// How slow an answer may be read.
    pub answer: Patience,
    /// How long running requests may go on after the server was told to stop.
    pub grace: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_address: 500,
            handshake_time: Duration::from_secs(10),
            head_time: Duration::from_secs(30),
            body: Patience {
                longest: Duration::from_secs(30),
                bytes_per_second: 4_096,
            },
            // What the system has taken to send is read long before there is room for more.
            answer: Patience {
                longest: Duration::from_mins(1),
                bytes_per_second: 4_096,
            },
            grace: Duration::from_secs(20),
        }
    }
}

/// Bytes of the head of a request.
const HEAD: usize = 64 << 10;

/// Headers of a request.
const HEADERS: usize = 100;

/// Serves until `stop` is done; requests that run then may finish.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    edge: Edge,
    stop: impl Future<Output = ()>,
) {
    let limits = edge.limits;
    let running = GracefulShutdown::new();
    let connections = Connections::new(limits.connections, limits.connections_per_address);
    let edge = Arc::new(edge);
    let mut refused: Option<Instant> = None;
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok((stream, peer)) => (stream, peer.ip().to_canonical()),
            Err(error) => {
                make_room_after(&error, &connections).await;
                continue;
            }
        };
        let network = (!edge.proxies.trusts(peer)).then(|| Network::of(peer));
        let Ok(place) = connections.admit(network) else {
            // Once in a while: a flood of connections should not become one of lines.
            if refused.is_none_or(|last| last.elapsed() > Duration::from_mins(1)) {
                tracing::warn!(%peer, "connections are being refused: all are at work");
                refused = Some(Instant::now());
            }
            continue;
        };
        let caller = Caller {
            address: peer,
            work: place.work(),
            edge: edge.clone(),
            router: router.clone(),
        };
        tokio::spawn(talk(stream, place, caller, running.watcher()));
    }
    drop(listener);
    tokio::select! {
        () = running.shutdown() => {}
        () = tokio::time::sleep(limits.grace) => {
            tracing::warn!("some requests did not finish in time");
        }
    }
}

/// A connection from its handshake to its end, unless it has to make room for another one.
async fn talk(stream: TcpStream, place: Place, caller: Caller, watcher: Watcher) {
    // Small answers should not wait for more to come.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "nodelay was refused"
        );
    }
    let talk = async {
        match caller.edge.tls.clone() {
            Some(tls) => {
                let handshake = tls.accept(stream);
                let time = caller.edge.limits.handshake_time;
                let stream = tokio::time::timeout(time, handshake)
                    .await
                    .map_err(io::Error::from)??;
                converse(stream, caller, watcher).await
            }
            None => converse(stream, caller, watcher).await,
        }
    };
    tokio::select! {
        talked = talk => {
            // A client that went away, or never spoke HTTP, is its own affair.
            if let Err(error) = talked {
                tracing::debug!(error = &*error, "a connection ended");
            }
        }
        () = place.asked_to_leave() => tracing::debug!("an idle connection made room"),
    }
}

async fn converse<S>(stream: S, caller: Caller, watcher: Watcher) -> Result<(), axum::BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = caller.edge.limits;
    let stream = TokioIo::new(Guarded::new(stream, limits.answer));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(HEAD)
        .max_header_size(HEAD)
        .max_headers(HEADERS)
        .serve_connection(
            stream,
            service_fn(move |request| caller.clone().ask(request)),
        );
    Ok(watcher.watch(connection).await?)
}

/// Whoever is at the other end of a connection.
#[derive(Clone)]
struct Caller {
    address: IpAddr,
    work: Work,
    edge: Arc<Edge>,
    router: Router,
}

impl Caller {
    async fn ask(self, request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
        let working = self.work.begin();
        let patience = self.edge.limits.body;
        let mut request = request.map(|body| Body::new(Paced::new(body, patience)));
        let proxies = &self.edge.proxies;
        if !proxies.trusts(self.address) {
            // Whoever names their request as they like could pass it off as another in the log.
            request.headers_mut().remove(X_REQUEST_ID);
        }
        let client = proxies.client(self.address, request.headers());
        request.extensions_mut().insert(ClientAddress(client));
        let last = request.headers().contains_key(TRANSFER_ENCODING);
        let mut response = self.router.oneshot(request).await?;
        if last {
            // What follows a chunked body is not looked at: see `framing`.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        Ok(response.map(|body| Answer::new(body, working)))
    }
}

/// Out of file handles, accepting fails at once: somebody has to leave.
async fn make_room_after(error: &io::Error, connections: &Connections) {
    let passing = matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    );
    if passing {
        return;
    }
    let error = error as &dyn std::error::Error;
    let pause = if connections.send_one_away().is_ok() {
        tracing::debug!(error, "an idle connection has to make room");
        Duration::from_millis(5)
    } else {
        tracing::error!(error, "no connection can be accepted");
        Duration::from_millis(500)
    };
    tokio::time::sleep(pause).await;
}
