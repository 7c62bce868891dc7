//! `ehi-server audit`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use ehi_adapters::audit_folder::FolderAudit;
use ehi_adapters::sql::{Opening, SqlAudit};
use ehi_core::audit::{ChainError, Link};
use ehi_core::fhir::audit_event;
use ehi_core::ports::{AuditFilter, AuditLog, AuditPage};
use jiff::Timestamp;

use crate::Failure;
use crate::app::AUDIT;
use crate::config::Config;
use crate::database::{self, DatabasePlace, DatabaseUrl};
use crate::log::say;

/// What to do with the audit log.
#[derive(Debug, Args)]
pub struct AuditArguments {
    #[command(flatten)]
    server: Server,
    /// The database, instead of the one the configuration names
    #[arg(long, env = "EHI_DATABASE", hide_env_values = true)]
    database: Option<DatabaseUrl>,
    #[command(subcommand)]
    command: Command,
}

/// Where the log is.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Server {
    /// The configuration file of the server
    #[arg(long, env = "EHI_CONFIG")]
    config: Option<PathBuf>,
    /// The data folder of the server: that of a demo, or of one with its database in there
    #[arg(long, env = "EHI_DATA")]
    data: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check that no entry was changed and none is missing
    Verify {
        /// A link that an earlier check printed and you noted elsewhere: NUMBER:HASH
        #[arg(long)]
        known: Option<Link>,
    },
    /// Print entries as FHIR R4 AuditEvents, one a line, newest first
    Export {
        /// Entries of this instant or later, such as `2026-01-01T00:00:00Z`
        #[arg(long)]
        from: Option<Timestamp>,
        /// Entries before this instant
        #[arg(long)]
        until: Option<Timestamp>,
        /// The server's public URL, which the entries name as their observer
        #[arg(long, default_value = "ehi-server")]
        observer: String,
    },
}

/// How many entries are read together.
const BATCH: usize = 1_000;

/// Does it.
pub async fn run(arguments: AuditArguments) -> Result<(), Failure> {
    let log = open(&arguments).await?;
    let log = log.as_ref();
    match arguments.command {
        Command::Verify { known } => verify(log, known).await,
        Command::Export {
            from,
            until,
            observer,
        } => {
            let filter = AuditFilter {
                from,
                until,
                ..AuditFilter::default()
            };
            export(log, &filter, &observer).await
        }
    }
}

/// The log as it is: one that is not there is not begun here.
async fn open(arguments: &AuditArguments) -> Result<Arc<dyn AuditLog>, Failure> {
    let Server { config, data } = &arguments.server;
    match (&arguments.database, config, data) {
        (Some(url), ..) => in_database(&url.clone().into()).await,
        (None, Some(config), _) => in_database(&Config::read(config)?.database()).await,
        (None, None, Some(data)) => below(data).await,
        (None, None, None) => Err(Failure::new("name the server with --config or --data")),
    }
}

/// The log of a demo, or of a server with its database below the data.
async fn below(data: &Path) -> Result<Arc<dyn AuditLog>, Failure> {
    let folder = data.join(AUDIT);
    match (folder.is_dir(), data.join(database::FILE).is_file()) {
        (true, false) => {
            let log = FolderAudit::open(&folder)
                .map_err(|error| Failure::because(folder.display().to_string(), error))?;
            Ok(Arc::new(log))
        }
        (false, true) => in_database(&DatabaseUrl::below(data).into()).await,
        (true, true) => Err(Failure::new(format!(
            "{} holds two logs: that of a demo in '{AUDIT}', and that of a server, which --config names",
            data.display()
        ))),
        (false, false) => Err(Failure::new(format!(
            "there is no audit log in {}: does --data name another folder, or is the log in a database that --config names?",
            data.display()
        ))),
    }
}

async fn in_database(place: &DatabasePlace) -> Result<Arc<dyn AuditLog>, Failure> {
    let database = place.open_for(Opening::AsItIs).await?;
    Ok(Arc::new(SqlAudit::new(&database)))
}

async fn verify(log: &dyn AuditLog, known: Option<Link>) -> Result<(), Failure> {
    let last = log.verify(known).await.map_err(|error| {
        let told = match error {
            ChainError::Unavailable(_) => {
                "the audit log could not be read to its end, so nothing is known of it: try again"
            }
            _ => "the audit log does not hold",
        };
        Failure::because(told, error)
    })?;
    say(&format!(
        "{} entries, none changed or missing.\nNote this where nobody who can write the log can: {last}\nNext time: --known {last}",
        last.number
    ));
    Ok(())
}

async fn export(log: &dyn AuditLog, filter: &AuditFilter, observer: &str) -> Result<(), Failure> {
    let mut before = None;
    loop {
        let page = AuditPage {
            limit: BATCH,
            before,
        };
        let entries = log
            .list(filter, page)
            .await
            .map_err(|error| Failure::because("the audit log cannot be read", error))?;
        let Some(last) = entries.last() else {
            return Ok(());
        };
        before = Some(last.number);
        for entry in &entries {
            say(&audit_event(entry, observer).to_string());
        }
    }
}
