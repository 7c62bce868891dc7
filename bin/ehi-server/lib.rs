//! The wiring of ehi-server: which adapter is plugged into which port, and the commands of the
//! binary.
//!
//! - [`demo`]: everything on one machine with made-up patients, no configuration needed; with
//!   [`demo::serve`] your own [`RecordSource`](ehi_core::ports::RecordSource) is tried out.
//! - [`serve`]: the real one, as a [configuration file](config) says. [`worker`]: exports alone.
//! - [`logins`]: how patients and staff log in.
//! - [`app`]: the wiring itself, for servers with parts of their own.
//! - [`database`]: where everything is kept, and migrations.
//! - [`deployment`]: whether jobs and files belong together.
//! - [`files`]: where files go, a folder or S3.
//! - [`people`]: where clients and staff are, and how they are changed.
//! - [`client`], [`staff`], [`directory`] and [`keys`]: clients, staff and signing keys, from the
//!   command line.
//! - [`audit`]: checks and exports the audit log.
//! - [`sample`]: made-up records. [`password`]: hashes for the directory file.

pub mod app;
pub mod audit;
pub mod backup;
pub mod client;
pub mod config;
pub mod database;
pub mod demo;
pub mod deployment;
pub mod directory;
pub mod edge;
pub mod engine;
pub mod files;
pub mod keys;
pub mod log;
pub mod logins;
pub mod password;
pub mod people;
pub mod sample;
pub mod serve;
pub mod sources;
pub mod staff;
pub mod start;
pub mod worker;

/// What went wrong, for whoever typed the command.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    message: String,
    #[source]
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Failure {
    /// A failure that says it all.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            cause: None,
        }
    }

    /// A failure with what lies below it.
    pub fn because(
        message: impl Into<String>,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            message: message.into(),
            cause: Some(cause.into()),
        }
    }
}
