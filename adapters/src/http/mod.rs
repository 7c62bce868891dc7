//! The HTTP server: routes, pages and the edge where input becomes types.
//!
//! | file | what it holds |
//! |---|---|
//! | `router` | every route, and what all of them share |
//! | `export` | kick-off, form submission, status, download |
//! | `smart` | discovery, authorization, tokens |
//! | `admin` | the staff's JSON API |
//! | `staff_login`, `elsewhere` | how staff log in; logins at another server |
//! | `audit` | the audit log, for staff |
//! | `fhir` | metadata |
//! | `health` | whether the server lives and can work |
//! | `pages` | HTML: login, consent, form, documentation |
//! | `extract` | bearer tokens, cookies, bodies |
//! | `error` | how failures are told: OperationOutcome, JSON, page |
//! | `cors`, `cookie`, `range`, `headers`, `throttle` | what their names say |
//! | `edge` | the listener: TLS, limits, time-outs, proxies, graceful shutdown |

mod admin;
mod audit;
mod cookie;
mod cors;
mod edge;
mod elsewhere;
mod error;
mod export;
mod extract;
mod fhir;
mod headers;
mod health;
mod pages;
mod range;
mod refusals;
mod router;
mod smart;
mod staff_login;
mod throttle;
mod views;

use std::sync::Arc;

use axum::http::HeaderValue;
use ehi_core::audit::AuditTrail;
use ehi_core::auth::{AuthorizationServer, PatientSessions, StaffSessions};
use ehi_core::export::ExportService;
use jiff::Timestamp;
use url::Url;

pub use edge::{
    Edge, ForwardedBy, Framing, Malformed, Patience, Proxies, Reload, ServeLimits, Tls, TlsError,
    TlsFiles, serve,
};
pub use router::{FHIR_MOUNTS, router, router_with};
pub use throttle::{Quota, RateLimits};

/// Everything a request may need.
#[derive(Debug, Clone)]
pub struct App {
    /// The use cases of exports.
    pub exports: ExportService,
    /// The authorization server.
    pub authorization: AuthorizationServer,
    /// Patients at the browser.
    pub patients: PatientSessions,
    /// Staff at the browser.
    pub staff: StaffSessions,
    /// The audit log, for those who may read it.
    pub audit: AuditTrail,
    /// What a deployment says of its HTTP server.
    pub settings: HttpSettings,
}

/// What a deployment says of its HTTP server.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Whether kick-offs without form and without review are there.
    pub test_kickoffs: TestKickoffs,
    /// Origins, such as `https://admin.example.org`, whose pages may use this server's cookies.
    pub allowed_origins: Vec<HeaderValue>,
    /// Whether browsers are told to come back over TLS alone.
    pub strict_transport: StrictTransport,
    /// How often a client may come.
    pub rates: RateLimits,
    /// Where the browser of a member of staff goes once they logged in elsewhere; a plain page
    /// unless it is given.
    pub staff_home: Option<Url>,
    /// Bytes of a whole upload of attachments.
    pub upload_bytes: usize,
    /// Version of the software, for the CapabilityStatement.
    pub version: &'static str,
    /// When the server was started.
    pub started: Timestamp,
}

/// Whether anybody can skip the form and the review by choosing another kick-off URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestKickoffs {
    /// Only the real kick-off is there.
    Off,
    /// `/auto-approve` and `/no-form` are there too: for demonstrations and tests of apps.
    On,
}

/// Whether browsers are told to come back over TLS alone (RFC 6797). It is said only where the
/// public URL is https.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StrictTransport {
    /// Nothing is said.
    Off,
    /// For a year.
    On,
}

/// The state of every handler.
type Shared = Arc<App>;
