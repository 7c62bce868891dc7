//! What the binary says: its log on standard error, its words to people on standard output.

use std::error::Error;
use std::io::{self, Write};

use tracing_subscriber::EnvFilter;

/// Whatever `RUST_LOG` says: audit entries are in the log, and what the client of S3 tells of its
/// requests, among it signatures, is not.
const ALWAYS: [&str; 2] = ["audit=info", "aws=warn"];

/// Starts the log. `RUST_LOG` says how much; `info` unless it is set.
pub fn start() {
    let wanted = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let always = ALWAYS.iter().filter_map(|text| text.parse().ok());
    let filter = always.fold(wanted, EnvFilter::add_directive);
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(false)
        .init();
}

/// Says something to whoever typed the command.
pub fn say(text: &str) {
    // When nobody listens (a closed pipe), there is nobody to tell either.
    let _ = writeln!(io::stdout(), "{text}");
}

/// Says why the command failed, cause by cause.
pub fn say_error(error: &dyn Error) {
    let mut text = format!("ehi-server: {error}");
    let mut cause = error.source();
    while let Some(below) = cause {
        text = format!("{text}\n  because: {below}");
        cause = below.source();
    }
    let _ = writeln!(io::stderr(), "{text}");
}
