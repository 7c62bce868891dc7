//! The listener: hyper connections with time-outs, a limit, and graceful shutdown.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::ServiceExt;

use super::extract::ClientAddress;

/// Bounds of the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServeLimits {
    /// Connections at a time; more have to wait.
    pub connections: usize,
    /// How long a client may take to send the head of a request, and stay idle between two.
    pub header_time: Duration,
    /// How long running requests may go on after the server was told to stop.
    pub grace: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            header_time: Duration::from_secs(30),
            grace: Duration::from_secs(20),
        }
    }
}

/// Serves until `stop` is done; requests that run then may finish.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ServeLimits,
    stop: impl Future<Output = ()>,
) {
    let running = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, stream) = tokio::select! {
            () = &mut stop => break,
            (place, accepted) = accepted => match (place, accepted) {
                (Ok(place), Ok((stream, peer))) => (place, (stream, peer)),
                (_, Err(error)) => {
                    pause_after(&error).await;
                    continue;
                }
                (Err(_), _) => break,
            },
        };
        let connection = connect(stream, router.clone(), limits.header_time);
        let watched = running.watch(connection);
        tokio::spawn(async move {
            // A client that went away is its own affair.
            if let Err(error) = watched.await {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "a connection ended"
                );
            }
            drop(place);
        });
    }
    drop(listener);
    tokio::select! {
        () = running.shutdown() => {}
        () = tokio::time::sleep(limits.grace) => {
            tracing::warn!("some requests did not finish in time");
        }
    }
}

fn connect(
    (stream, peer): (TcpStream, SocketAddr),
    router: Router,
    header_time: Duration,
) -> impl GracefulConnection<Error = hyper::Error> {
    // Small answers should not wait for more to come.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "nodelay was refused"
        );
    }
    let service = router.map_request(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(ClientAddress(peer.ip()));
        request
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_time)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
}

/// Out of file handles, accepting fails at once: wait for some to come back.
async fn pause_after(error: &io::Error) {
    let passing = matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    );
    if !passing {
        tracing::error!(
            error = error as &dyn std::error::Error,
            "no connection can be accepted"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
