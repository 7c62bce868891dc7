//! The domain of ehi-server: export jobs, authorization, and the ports an integrator implements.
//!
//! The rooms of this house:
//!
//! - [`ports`]: every trait an adapter can implement. Start here to plug in your own system.
//! - [`export`]: the export job, what was asked, what goes in, one run, and the use cases.
//! - [`auth`]: SMART clients, authorization codes, tokens, and who is at the browser.
//! - [`audit`]: the log of who saw or released what, as it is chained and read.
//! - [`fhir`]: the few FHIR shapes we speak; a record itself stays raw JSON.
//!
//! Records flow one way: [`RecordSource`](ports::RecordSource) →
//! [`Selection`](export::Selection) → NDJSON → [`FileStore`](ports::FileStore) →
//! [manifest](export::Manifest) → review → download.
//!
//! Nothing here does I/O, reads a clock or rolls dice of its own: all that comes through ports.

pub mod audit;
pub mod auth;
pub mod export;
pub mod fhir;
pub mod ports;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
