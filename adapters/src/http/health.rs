//! What a load balancer asks: whether the process lives, and whether it can do its work.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ehi_core::export::{ExportService, NotReady};
use jiff::Timestamp;
use tokio::sync::Mutex;

use super::Shared;

/// What was found last: however often is asked, the stores are not asked more than once in
/// [`FRESH`].
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<Option<(Timestamp, Finding)>>>);

#[derive(Debug, Clone, Copy)]
enum Finding {
    Ready,
    NotReady(&'static str),
}

/// How long a finding is good for.
const FRESH: Duration = Duration::from_secs(1);

impl Readiness {
    async fn look(&self, exports: &ExportService) -> Finding {
        // Whoever comes meanwhile waits for the same finding.
        let mut last = self.0.lock().await;
        if let Some((at, finding)) = *last {
            let age = exports.now().duration_since(at);
            if !age.is_negative() && age.unsigned_abs() < FRESH {
                return finding;
            }
        }
        let finding = match exports.ready().await {
            Ok(()) => Finding::Ready,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the server cannot do its work right now"
                );
                Finding::NotReady(match error {
                    NotReady::Jobs(_) => "database",
                    NotReady::Files(_) => "files",
                })
            }
        };
        *last = Some((exports.now(), finding));
        finding
    }
}

/// `GET /healthz`: the process lives.
pub async fn alive() -> &'static str {
    "alive\n"
}

/// `GET /readyz`: the database and the file store answer and take something; otherwise 503 and
/// which of the two does not.
pub async fn ready(
    State(app): State<Shared>,
    Extension(readiness): Extension<Readiness>,
) -> Response {
    match readiness.look(&app.exports).await {
        Finding::Ready => "ready\n".into_response(),
        Finding::NotReady(word) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{word}\n")).into_response()
        }
    }
}
