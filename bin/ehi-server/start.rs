//! Running what was wired: workers, sweep, listener, and the end of it all.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use ehi_adapters::http::{App, ServeLimits, serve};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Failure;
use crate::app::Wired;

/// Takes the address.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let message = format!("{address} cannot be listened on; is another server running there?");
        Failure::because(message, error)
    })
}

/// Runs until Ctrl-C or SIGTERM: then no new connection is accepted, running requests and exports
/// come to their end or are given back to the queue.
pub async fn run(listener: TcpListener, router: Router, wired: Wired) -> Result<(), Failure> {
    let (stop, stopped) = watch::channel(false);
    let mut background = JoinSet::new();
    for worker in wired.workers {
        let stopped = stopped.clone();
        background.spawn(async move { worker.run(stopped).await });
    }
    background.spawn(sweep(wired.app.clone(), wired.sweep, stopped.clone()));
    let asked = end_asked()?;
    serve(listener, router, ServeLimits::default(), asked).await;
    tracing::info!("shutting down");
    stop.send_replace(true);
    while background.join_next().await.is_some() {}
    tracing::info!("stopped");
    Ok(())
}

/// Done when somebody asks the process to end.
fn end_asked() -> Result<impl Future<Output = ()>, Failure> {
    let listen = |kind| {
        signal(kind).map_err(|error| Failure::because("signals cannot be listened for", error))
    };
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
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
        if let Err(error) = app.staff.sessions.sweep(app.exports.now()).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the sweep of sessions failed"
            );
        }
    }
}
