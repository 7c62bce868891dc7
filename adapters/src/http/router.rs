//! Every route, and what all of them share.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE, SET_COOKIE};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use ehi_core::export::{Interaction, Review};
use ehi_core::fhir::IssueCode;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::sensitive_headers::SetSensitiveHeadersLayer;
use tower_http::timeout::RequestBodyTimeoutLayer;
use tower_http::trace::{DefaultOnResponse, TraceLayer};

use super::error::Problem;
use super::export::Mount;
use super::poll_limit::PollLimit;
use super::{App, Shared, TestKickoffs};
use super::{admin, cors, error, export, fhir, headers, pages, smart};

/// The paths of all FHIR endpoints: what a token may be asked for.
pub const FHIR_MOUNTS: [&str; 5] = [
    "/fhir",
    "/auto-approve/fhir",
    "/no-form/fhir",
    "/no-form/auto-approve/fhir",
    "/auto-approve/no-form/fhir",
];

/// Bytes of a request's body, uploads apart.
const BODY: usize = 1 << 20;

/// A body that stalls this long is given up.
const STALLED: Duration = Duration::from_secs(30);

/// The whole server.
pub fn router(app: App) -> Router {
    let app: Shared = Arc::new(app);
    let tokens = Router::new()
        .merge(fhir_mounts(&app))
        .route("/jobs/{job}", post(export::customise))
        .route(
            "/jobs/{job}/status",
            get(export::status).delete(export::delete),
        )
        .route("/jobs/{job}/download/{file}", get(export::file))
        .route(
            "/jobs/{job}/download/attachments/{file}",
            get(export::attachment),
        )
        .route("/auth/token", post(smart::token))
        .route("/auth/revoke", post(smart::revoke))
        .route("/auth/jwks.json", get(smart::jwks))
        .method_not_allowed_fallback(error::wrong_method)
        .layer(cors::any_origin(&app));
    let browsers = Router::new()
        .route("/jobs/{job}/customize", get(export::form))
        .route("/auth/authorize", get(smart::authorize))
        .route("/patient-login", get(pages::login).post(pages::log_in))
        .route("/authorize-app", get(pages::consent).post(pages::decide))
        .route("/documentation", get(pages::documentation))
        .route("/assets/ehi.css", get(pages::stylesheet))
        .route("/assets/icon.svg", get(pages::icon))
        .method_not_allowed_fallback(error::wrong_method);
    // For servers, not for pages: no other origin may read the answer.
    let servers = Router::new()
        .route("/auth/introspect", post(smart::introspect))
        .method_not_allowed_fallback(error::wrong_method);
    Router::new()
        .merge(tokens)
        .merge(browsers)
        .merge(servers)
        .merge(staff(&app))
        .fallback(error::unknown_route)
        .layer(Extension(Arc::new(PollLimit::default())))
        .layer(DefaultBodyLimit::max(BODY))
        .layer(from_fn_with_state(app.clone(), refuse_large))
        .layer(RequestBodyTimeoutLayer::new(STALLED))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(map_response(headers::complete))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(span)
                .on_response(DefaultOnResponse::new().level(tracing::Level::INFO)),
        )
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .layer(SetSensitiveHeadersLayer::new([
            AUTHORIZATION,
            COOKIE,
            SET_COOKIE,
        ]))
        .with_state(app)
}

/// Refuses a body that says it is too large before any of it is read. One that does not say how
/// large it is, is cut off where the limit is.
async fn refuse_large(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let limit = if path.ends_with("/add-files") {
        app.settings.upload_bytes
    } else {
        BODY
    };
    let length = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok());
    let length = length.and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit as u64) {
        let message = format!("The body is too large: at most {limit} bytes are taken here.");
        let problem = Problem::new(StatusCode::PAYLOAD_TOO_LARGE, IssueCode::TooLong, message);
        return error::by_path(path, problem);
    }
    next.run(request).await
}

/// A request in the log. The query stays out: codes and states travel in it.
fn span<B>(request: &axum::http::Request<B>) -> tracing::Span {
    let id = request
        .headers()
        .get("x-request-id")
        .and_then(|id| id.to_str().ok());
    tracing::info_span!("request", method = %request.method(), path = request.uri().path(), id)
}

/// The FHIR endpoint, and its test variants where they are switched on.
fn fhir_mounts(app: &App) -> Router<Shared> {
    let mounts = FHIR_MOUNTS.iter().map(|&path| Mount {
        path,
        review: if path.contains("/auto-approve") {
            Review::Automatic
        } else {
            Review::Staff
        },
        interaction: if path.contains("/no-form") {
            Interaction::None
        } else {
            Interaction::Form
        },
    });
    let shown = mounts.filter(|mount| match app.settings.test_kickoffs {
        TestKickoffs::On => true,
        TestKickoffs::Off => mount.path == "/fhir",
    });
    shown.fold(Router::new(), |router, mount| {
        let endpoint = Router::new()
            .route(
                "/Patient/{id}/{operation}",
                post(export::kick_off).fallback(export::other_operation),
            )
            .route("/metadata", get(fhir::metadata))
            .route("/OperationDefinition/ehi-export", get(fhir::operation))
            .route(
                "/.well-known/smart-configuration",
                get(smart::configuration),
            )
            .layer(Extension(mount));
        router.nest(mount.path, endpoint)
    })
}

/// The admin API: for staff, from this server's own pages and those of named origins.
fn staff(app: &Shared) -> Router<Shared> {
    let upload = DefaultBodyLimit::max(app.settings.upload_bytes);
    Router::new()
        .route("/admin/logout", get(admin::logout))
        .route("/admin/jobs", get(admin::jobs))
        .route("/admin/jobs/{id}", get(admin::job).delete(admin::remove))
        .route("/admin/jobs/{id}/approve", post(admin::approve))
        .route("/admin/jobs/{id}/reject", post(admin::reject))
        .route(
            "/admin/jobs/{id}/add-files",
            post(admin::add_files).layer(upload),
        )
        .route("/admin/jobs/{id}/remove-files", post(admin::remove_files))
        .method_not_allowed_fallback(error::wrong_method)
        .route_layer(from_fn_with_state(app.clone(), admin::staff_only))
        .merge(
            Router::new()
                .route("/admin/login", post(admin::login))
                .method_not_allowed_fallback(error::wrong_method),
        )
        .layer(from_fn_with_state(app.clone(), cors::guard_changes))
        .layer(cors::named_origins(app))
}
