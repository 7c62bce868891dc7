//! What is refused before a use case sees it is remembered too: tokens that open nothing (any
//! more), pages of other sites, and who comes too often.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::Extension;
use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use ehi_core::auth::{Access, ClientId, Network, Subject, TokenHolder};
use ehi_core::export::JobId;
use ehi_core::fhir::PatientId;
use ehi_core::ports::{Action, Actor, AuditEvent, By, Origin};

use super::Shared;
use super::extract::CameFrom;
use super::throttle::{Quota, Throttle};

/// Refusals of one place that are remembered. Whoever makes more of them is in the server's own
/// log: nobody fills the audit log with what costs them nothing.
pub const REMEMBERED: Quota = Quota::a_minute(30);

/// The same of all places together, for whoever has many.
pub const REMEMBERED_OF_ALL: Quota = Quota::a_minute(600);

/// Who was refused, as far as it is known. It travels with the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    actor: Actor,
    patient: Option<PatientId>,
    client: Option<ClientId>,
}

impl Refused {
    /// Somebody who was not recognised.
    pub fn unknown() -> Self {
        Self {
            actor: Actor::Unknown,
            patient: None,
            client: None,
        }
    }

    /// Somebody who said to be this client, and did not prove it.
    pub fn naming(client: ClientId) -> Self {
        Self {
            client: Some(client),
            ..Self::unknown()
        }
    }

    /// Who came with a good token.
    pub fn with_access(access: &Access) -> Self {
        let patient = match &access.subject {
            Subject::Patient(patient) => Some(patient.clone()),
            Subject::System => None,
        };
        Self {
            actor: Actor::Client(access.client.clone()),
            patient,
            client: None,
        }
    }

    /// Who came with a token that once was good.
    pub fn with_token(holder: TokenHolder) -> Self {
        Self {
            actor: Actor::Client(holder.client),
            patient: holder.patient,
            client: None,
        }
    }
}

/// Writes what was refused into the audit log.
pub async fn remember(
    State(app): State<Shared>,
    Extension(throttle): Extension<Arc<Throttle>>,
    CameFrom(origin): CameFrom,
    request: Request,
    next: Next,
) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let action = route.and_then(|route| action(request.method(), route.as_str()));
    let job = job(request.uri().path());
    let response = next.run(request).await;
    let refused = response.extensions().get::<Refused>();
    if let (Some(refused), Some(action)) = (refused, action) {
        let now = app.exports.now();
        let place = origin.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let few = (throttle.refusals.take(Network::site(place), now))
            .and_then(|()| throttle.all_refusals.take((), now));
        if few.is_ok() {
            let event = event(refused.clone(), &origin, action, job, now);
            app.audit.note(&event).await;
        } else {
            tracing::info!(?action, "refused, as many others from there");
        }
    }
    response
}

fn event(
    refused: Refused,
    origin: &Origin,
    action: Action,
    job: Option<JobId>,
    now: jiff::Timestamp,
) -> AuditEvent {
    let Refused {
        actor,
        patient,
        client,
    } = refused;
    let by = By {
        actor,
        origin: origin.clone(),
    };
    AuditEvent {
        patient,
        client,
        job,
        ..by.was_refused(action, now)
    }
}

/// The job in a path.
fn job(path: &str) -> Option<JobId> {
    let path = path.strip_prefix("/admin").unwrap_or(path);
    let id = path.strip_prefix("/jobs/")?.split('/').next()?;
    JobId::parse(id)
}

/// What a request to one of our routes is about to do.
fn action(method: &Method, route: &str) -> Option<Action> {
    if route.ends_with("/Patient/{id}/{operation}") {
        return Some(Action::KickOff);
    }
    let deletes = method == Method::DELETE;
    Some(match route {
        "/jobs/{job}" => Action::Customise,
        "/jobs/{job}/status" | "/admin/jobs/{id}" if deletes => Action::Remove,
        "/jobs/{job}/status" | "/jobs/{job}/customize" | "/admin/jobs/{id}" => Action::View,
        "/jobs/{job}/download/{file}" | "/jobs/{job}/download/attachments/{file}" => {
            Action::Download
        }
        "/auth/authorize" | "/authorize-app" => Action::Authorize,
        "/auth/token" => Action::IssueToken,
        "/auth/revoke" => Action::RevokeGrant,
        "/auth/introspect" => Action::IntrospectToken,
        "/patient-login" | "/patient-login/callback" => Action::PatientLogin,
        "/patient-logout" => Action::PatientLogout,
        "/admin/login" | "/admin/login/start" | "/admin/login/callback" => Action::StaffLogin,
        "/admin/logout" => Action::StaffLogout,
        "/admin/jobs" => Action::ListExports,
        "/admin/jobs/{id}/approve" => Action::Approve,
        "/admin/jobs/{id}/reject" => Action::Reject,
        "/admin/jobs/{id}/add-files" => Action::Attach,
        "/admin/jobs/{id}/remove-files" => Action::Detach,
        "/admin/audit" | "/admin/patients/{id}/disclosures" => Action::ReadAudit,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_named_by_what_it_would_have_done() {
        for (method, route, expected) in [
            (
                Method::POST,
                "/no-form/fhir/Patient/{id}/{operation}",
                Some(Action::KickOff),
            ),
            (Method::GET, "/jobs/{job}/status", Some(Action::View)),
            (Method::DELETE, "/jobs/{job}/status", Some(Action::Remove)),
            (Method::DELETE, "/admin/jobs/{id}", Some(Action::Remove)),
            (Method::GET, "/fhir/metadata", None),
        ] {
            assert_eq!(action(&method, route), expected, "{method} {route}");
        }
    }

    #[test]
    fn a_job_is_told_by_its_id_alone() {
        let id = JobId::from_random([3; 32]);
        for path in [
            format!("/jobs/{id}/status"),
            format!("/admin/jobs/{id}/approve"),
        ] {
            assert_eq!(job(&path), Some(id), "{path}");
        }
        for path in ["/jobs/Anna/status", "/admin/audit", "/fhir/Patient/x"] {
            assert_eq!(job(path), None, "{path}");
        }
    }
}
