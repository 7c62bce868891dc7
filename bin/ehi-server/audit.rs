//! `ehi-server audit`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use ehi_adapters::audit_folder::FolderAudit;
use ehi_core::audit::Link;
use ehi_core::fhir::audit_event;
use ehi_core::ports::{AuditFilter, AuditLog, AuditPage};
use jiff::Timestamp;

use crate::Failure;
use crate::app::AUDIT;
use crate::log::say;

/// What to do with the audit log.
#[derive(Debug, Args)]
pub struct AuditArguments {
    /// The server's data folder
    #[arg(long, env = "EHI_DATA")]
    data: PathBuf,
    #[command(subcommand)]
    command: Command,
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
    let folder = arguments.data.join(AUDIT);
    if !folder.is_dir() {
        let message = format!(
            "{} is not there: --data names another folder?",
            folder.display()
        );
        return Err(Failure::new(message));
    }
    let log = FolderAudit::open(&folder)
        .map_err(|error| Failure::because(folder.display().to_string(), error))?;
    match arguments.command {
        Command::Verify { known } => verify(&log, known).await,
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
            export(&log, &filter, &observer).await
        }
    }
}

async fn verify(log: &FolderAudit, known: Option<Link>) -> Result<(), Failure> {
    let last = log
        .verify(known)
        .await
        .map_err(|error| Failure::because("the audit log does not hold", error))?;
    say(&format!(
        "{} entries, none changed or missing.\nNote this where nobody who can write the log can: {last}\nNext time: --known {last}",
        last.number
    ));
    Ok(())
}

async fn export(log: &FolderAudit, filter: &AuditFilter, observer: &str) -> Result<(), Failure> {
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
