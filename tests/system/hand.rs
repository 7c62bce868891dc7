//! A worker in a process of its own, watched and ended as its operator would, or worse.

use std::process::{Child, ExitStatus};
use std::time::Duration;

use crate::server::{Log, Server, command, signal, wait_for_exit};
use crate::wait::until;

/// `ehi-server worker`. Dropping it kills the process.
#[derive(Debug)]
pub struct Hand {
    child: Child,
    log: Log,
}

impl Hand {
    /// One that takes the work of this server, one export at a time.
    pub async fn of(server: &Server) -> Self {
        let hand = Self::begin(server, &[]);
        hand.says("ehi-server worker is ready").await;
        hand
    }

    /// The same with variables of its environment. It may not be ready yet.
    pub fn begin(server: &Server, variables: &[(&str, &str)]) -> Self {
        let config = server.data().join("ehi.toml");
        let mut child = command()
            .envs(variables.iter().copied())
            .args(["worker", "--workers", "1", "--config"])
            .arg(config)
            .spawn()
            .unwrap();
        let log = Log::of(&mut child);
        Self { child, log }
    }

    /// Waits until it says this.
    pub async fn says(&self, what: &str) {
        let said = async || self.log.text().contains(what).then_some(());
        until(what, said).await;
    }

    /// Sends it a signal such as `TERM`.
    pub fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// Kills it without a word.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Whether it still runs, if only stopped.
    pub fn is_there(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What it says, also after its end.
    pub fn log(&self) -> Log {
        self.log.clone()
    }

    /// How it ends, in a thread of its own: others go on meanwhile.
    pub async fn ended(mut self) -> ExitStatus {
        let ended = tokio::task::spawn_blocking(move || {
            let status = wait_for_exit(&mut self.child, Duration::from_secs(30));
            status.unwrap_or_else(|| panic!("it does not end: {}", self.log.text()))
        });
        ended.await.unwrap()
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
