//! Running what was wired: workers, sweep, listener, and the end of it all.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use ehi_adapters::http::{App, Edge, Reload, Tls, serve};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Failure;
use crate::app::Wired;
use crate::engine::Engine;

/// Takes the address.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let message = format!("{address} cannot be listened on; is another server running there?");
        Failure::because(message, error)
    })
}

/// Runs until Ctrl-C or SIGTERM: then no new connection is accepted and no export begun; running
/// requests and exports come to their end, or are cut and given back to the queue when that takes
/// too long. A second Ctrl-C or SIGTERM does that at once.
pub async fn run(
    listener: TcpListener,
    router: Router,
    wired: Wired,
    mut edge: Edge,
) -> Result<(), Failure> {
    edge.limits.connections = room_for(edge.limits.connections);
    let (stop, stopped) = watch::channel(false);
    let mut background = JoinSet::new();
    background.spawn(sweep(wired.app.clone(), wired.sweep, stopped.clone()));
    if let Some(tls) = edge.tls.clone() {
        background.spawn(keep_certificate(tls, hang_up()?, stopped.clone()));
    }
    let ends = ends()?;
    let exports = tokio::spawn(Engine::start(wired.workers, wired.drain)?.until(ends.clone()));
    let asked = ends.clone();
    let asked = async move {
        asked.asked().await;
        tracing::info!("shutting down");
    };
    tokio::select! {
        () = serve(listener, router, edge, asked) => {}
        () = ends.asked_again() => tracing::warn!("asked once more: requests that run are cut"),
    }
    stop.send_replace(true);
    let exports = exports.await;
    while background.join_next().await.is_some() {}
    drop(exports);
    tracing::info!("stopped");
    Ok(())
}

/// Lets the process open as many files as it may, and tells how many connections fit into that.
fn room_for(connections: usize) -> usize {
    let now = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: now.maximum,
        maximum: now.maximum,
    };
    let raised = setrlimit(Resource::Nofile, most);
    let files = match raised {
        Ok(()) => now.maximum,
        Err(_) => now.current,
    };
    let room = files.map_or(usize::MAX, |files| {
        let left = files.saturating_sub(OTHER_FILES).max(1);
        usize::try_from(left).unwrap_or(usize::MAX)
    });
    if room < connections {
        tracing::warn!(
            connections = room,
            "fewer connections than configured: the process may not open more files (ulimit -n)"
        );
    }
    room.min(connections)
}

/// Files that are not connections: exports, uploads, and the connections to other systems.
const OTHER_FILES: u64 = 200;

/// How often is looked whether there is a new certificate.
const LOOK: Duration = Duration::from_secs(10);

/// Takes a new certificate when there is one: on SIGHUP at once, otherwise soon.
async fn keep_certificate(tls: Arc<Tls>, mut hang_up: Signal, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return,
            _ = hang_up.recv() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
        let tls = tls.clone();
        match tokio::task::spawn_blocking(move || tls.reload()).await {
            Ok(Ok(Reload::Unchanged)) => {}
            Ok(Ok(Reload::Changed)) => tracing::info!("a new certificate is in use"),
            Ok(Err(error)) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "the new certificate cannot be used; the one before stays"
            ),
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "looking for a new certificate failed"
            ),
        }
    }
}

/// Heard when somebody asks to read the certificate anew.
fn hang_up() -> Result<Signal, Failure> {
    listen_for(SignalKind::hangup())
}

fn listen_for(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::because("signals cannot be listened for", error))
}

/// Hears when somebody asks the process to end, and who asks once more because it takes long.
#[derive(Debug, Clone)]
pub struct Ends(watch::Receiver<u32>);

impl Ends {
    /// Done when somebody asks.
    pub async fn asked(self) {
        self.times(1).await;
    }

    /// Done when somebody asks for the second time.
    pub async fn asked_again(self) {
        self.times(2).await;
    }

    async fn times(mut self, least: u32) {
        let _ = self.0.wait_for(|times| *times >= least).await;
    }
}

/// Begins to hear: Ctrl-C and SIGTERM.
pub fn ends() -> Result<Ends, Failure> {
    let mut interrupt = listen_for(SignalKind::interrupt())?;
    let mut terminate = listen_for(SignalKind::terminate())?;
    let (count, times) = watch::channel(0);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            count.send_modify(|times| *times += 1);
        }
    });
    Ok(Ends(times))
}

/// Removes what expired, again and again.
async fn sweep(app: App, pause: Duration, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return,
            () = tokio::time::sleep(pause) => {}
        }
        match app.exports.sweep().await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "expired exports were removed"),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the sweep failed");
            }
        }
        if let Err(error) = app.authorization.sweep().await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the sweep of grants failed"
            );
        }
        if let Err(error) = app.staff.guard.sweep(app.exports.now()).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the sweep of wrong passwords failed"
            );
        }
        if let Err(error) = app.staff.sessions.sweep(app.exports.now()).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the sweep of sessions failed"
            );
        }
    }
}
