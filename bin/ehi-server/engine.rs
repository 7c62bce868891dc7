//! Running exports, apart from whatever else the process does, and bringing them to their end.

use std::thread::available_parallelism;
use std::time::Duration;

use ehi_core::export::{Duty, Worker};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Failure;
use crate::start::Ends;

/// How long giving exports back may take: what cannot be given back is found by its lease.
const GIVE_BACK: Duration = Duration::from_secs(10);

/// Workers on threads of their own: however much there is to read and judge, whoever asks this
/// process over HTTP does not wait for it.
#[derive(Debug)]
pub struct Engine {
    /// Connections that were opened here may be in use elsewhere, so it ends last of all.
    runtime: Option<Runtime>,
    duty: watch::Sender<Duty>,
    working: JoinSet<()>,
    drain: Duration,
}

impl Engine {
    /// Sets the workers to work. When the process ends, an export that runs has this long to come
    /// to its end.
    pub fn start(workers: Vec<Worker>, drain: Duration) -> Result<Self, Failure> {
        let duty = watch::Sender::new(Duty::Work);
        let mut working = JoinSet::new();
        let runtime = match workers.len() {
            0 => None,
            count => Some(threads(count)?),
        };
        if let Some(runtime) = &runtime {
            for worker in workers {
                let duty = duty.subscribe();
                let work = async move { worker.run(duty).await };
                working.spawn_on(work, runtime.handle());
            }
        }
        Ok(Self {
            runtime,
            duty,
            working,
            drain,
        })
    }

    /// Works until the process has to end: then no other export is begun, and those that run come
    /// to their end, or are given back when that takes too long or somebody asks once more.
    pub async fn until(mut self, ends: Ends) -> Self {
        ends.clone().asked().await;
        self.duty.send_replace(Duty::Finish);
        if !self.working.is_empty() {
            tracing::info!(drain = ?self.drain, "no further export is begun");
        }
        let (hurry, drain) = (ends.asked_again(), tokio::time::sleep(self.drain));
        tokio::select! {
            () = self.idle() => {}
            () = hurry => tracing::warn!("asked once more: exports that run are given back"),
            () = drain => {
                tracing::info!("exports that still run are given back");
            }
        }
        self.duty.send_replace(Duty::Stop);
        if timeout(GIVE_BACK, self.idle()).await.is_err() {
            tracing::error!("some exports could not be given back; others take them soon");
        }
        self
    }

    async fn idle(&mut self) {
        while self.working.join_next().await.is_some() {}
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Threads for this many workers: never more than there are processors.
fn threads(workers: usize) -> Result<Runtime, Failure> {
    Builder::new_multi_thread()
        .worker_threads(workers.min(processors()))
        .thread_name("ehi-export")
        .enable_all()
        .build()
        .map_err(|error| Failure::because("no threads for exports can be started", error))
}

/// How many processors this process may use.
pub fn processors() -> usize {
    available_parallelism().map_or(1, usize::from)
}
