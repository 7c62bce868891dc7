//! Every route, and what all of them share.

use std::sync::Arc;

use axum::body::HttpBody;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, COOKIE, HOST,
    SET_COOKIE,
};
use axum::http::{HeaderValue, StatusCode, Version};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use ehi_core::export::{Interaction, Review};
use ehi_core::fhir::IssueCode;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::sensitive_headers::SetSensitiveHeadersLayer;
use tower_http::trace::{DefaultOnResponse, TraceLayer};

use super::error::Problem;
use super::export::Mount;
use super::throttle::{self, Counted, Throttle};
use super::{App, Shared, TestKickoffs};
use super::{
    admin, audit, cors, error, export, fhir, headers, health, pages, refusals, smart, staff_login,
};

/// The paths of all FHIR endpoints: what a token may be asked for.
pub const FHIR_MOUNTS: [&str; 5] = [
    "/fhir",
    "/auto-approve/fhir",
    "/no-form/fhir",
    "/no-form/auto-approve/fhir",
    "/auto-approve/no-form/fhir",
];

/// Bytes of a request's body, unless it is one of the others.
const BODY: usize = 1 << 20;

/// Bytes of a form that anybody may send: to log in, to let an app in, or for a token.
const FORM: usize = 64 << 10;

/// Where such forms go.
const FORMS: [&str; 7] = [
    "/admin/login",
    "/auth/introspect",
    "/auth/revoke",
    "/auth/token",
    "/authorize-app",
    "/patient-login",
    "/patient-logout",
];

/// The whole server.
pub fn router(app: App) -> Router {
    router_with(app, Router::new())
}

/// The whole server, and pages of your own: what all routes share, they share too.
pub fn router_with(app: App, own: Router) -> Router {
    let app: Shared = Arc::new(app);
    let readers = Arc::new(cors::Readers::new(&app));
    let rates = app.settings.rates;
    let counted = |quota| throttle::counted(&app, quota);
    let logins = counted(rates.logins_per_address);
    let tokens_asked = counted(rates.tokens_per_address);
    let short = DefaultBodyLimit::max(FORM);
    let tokens = Router::new()
        .merge(fhir_mounts(&app, &counted(rates.kick_offs_per_address)))
        .route(
            "/jobs/{job}",
            post(export::customise).route_layer(from_fn_with_state(app.clone(), cors::guard_forms)),
        )
        .route(
            "/jobs/{job}/status",
            get(export::status).delete(export::delete),
        )
        .route("/jobs/{job}/download/{file}", get(export::file))
        .route(
            "/jobs/{job}/download/attachments/{file}",
            get(export::attachment),
        )
        .route(
            "/auth/token",
            post(smart::token)
                .layer(short)
                .route_layer(from_fn_with_state(
                    tokens_asked.clone(),
                    throttle::by_address,
                )),
        )
        .route(
            "/auth/revoke",
            post(smart::revoke)
                .layer(short)
                .route_layer(from_fn_with_state(
                    tokens_asked.clone(),
                    throttle::by_address,
                )),
        )
        .route("/auth/jwks.json", get(smart::jwks))
        .method_not_allowed_fallback(error::wrong_method);
    // For servers, not for pages: no other origin may read the answer.
    let servers = Router::new()
        .route(
            "/auth/introspect",
            post(smart::introspect)
                .layer(short)
                .route_layer(from_fn_with_state(tokens_asked, throttle::by_address)),
        )
        .route("/healthz", get(health::alive))
        .route(
            "/readyz",
            get(health::ready).layer(Extension(health::Readiness::default())),
        )
        .method_not_allowed_fallback(error::wrong_method);
    Router::new()
        .merge(tokens)
        .merge(browsers(&app, &logins))
        .merge(servers)
        .merge(staff(&app, &logins))
        .merge(own.with_state(()))
        .fallback(error::unknown_route)
        .layer(from_fn_with_state(app.clone(), refusals::remember))
        .layer(Extension(Arc::new(Throttle::new(&rates))))
        .layer(DefaultBodyLimit::max(BODY))
        .layer(from_fn_with_state(app.clone(), refuse_large))
        .layer(from_fn(refuse_coded))
        .layer(from_fn(refuse_without_host))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(from_fn_with_state(readers, cors::answer))
        .layer(map_response_with_state(app.clone(), headers::complete))
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

/// What people's browsers open: pages, and the ways between them.
fn browsers(app: &Shared, logins: &Counted) -> Router<Shared> {
    Router::new()
        .route("/jobs/{job}/customize", get(export::form))
        .route("/auth/authorize", get(smart::authorize))
        .route(
            "/patient-login",
            post(pages::log_in)
                .route_layer(from_fn_with_state(logins.clone(), throttle::by_address))
                .get(pages::login),
        )
        .route(
            "/patient-login/callback",
            get(pages::returned)
                .route_layer(from_fn_with_state(logins.clone(), throttle::by_address)),
        )
        .route("/patient-logout", post(pages::log_out))
        .route("/authorize-app", get(pages::consent).post(pages::decide))
        .route_layer(from_fn_with_state(app.clone(), cors::guard_forms))
        .route_layer(DefaultBodyLimit::max(FORM))
        .route("/documentation", get(pages::documentation))
        .route("/assets/ehi.css", get(pages::stylesheet))
        .route("/assets/icon.svg", get(pages::icon))
        .method_not_allowed_fallback(error::wrong_method)
}

/// Refuses a body that says it is too large before any of it is read. One that does not say how
/// large it is, is cut off where the limit is.
async fn refuse_large(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let limit = if path.ends_with("/add-files") {
        app.settings.upload_bytes
    } else if FORMS.contains(&path) {
        FORM
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

/// Refuses a body in a coding such as gzip: it would be read as what it is not. What is taken
/// instead is in `Accept-Encoding` (RFC 9110 section 15.5.16).
async fn refuse_coded(request: Request, next: Next) -> Response {
    let plain = |codings: &HeaderValue| {
        let mut codings = codings.as_bytes().split(|&byte| byte == b',');
        codings.all(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"identity"))
    };
    let all_plain = request
        .headers()
        .get_all(CONTENT_ENCODING)
        .iter()
        .all(plain);
    if all_plain || request.body().is_end_stream() {
        return next.run(request).await;
    }
    let message = "Send the body as it is: no Content-Encoding is taken here.";
    let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    let problem = Problem::new(status, IssueCode::NotSupported, message);
    let mut response = error::by_path(request.uri().path(), problem);
    let identity = HeaderValue::from_static("identity");
    response.headers_mut().insert(ACCEPT_ENCODING, identity);
    response
}

/// Refuses what does not say, once, to which host it goes (RFC 9112 section 3.2).
async fn refuse_without_host(request: Request, next: Next) -> Response {
    let hosts = request.headers().get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        let problem = Problem::invalid("Send one Host header.");
        let mut response = error::by_path(request.uri().path(), problem);
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
        return response;
    }
    next.run(request).await
}

/// A request in the log, by its route. What the query and the path say stays out: codes and states
/// travel in the one, and the name of an attachment in the other.
fn span<B>(request: &axum::http::Request<B>) -> tracing::Span {
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("-", MatchedPath::as_str);
    let id = request
        .headers()
        .get("x-request-id")
        .and_then(|id| id.to_str().ok());
    tracing::info_span!("request", method = %request.method(), route, id)
}

/// The FHIR endpoint, and its test variants where they are switched on.
fn fhir_mounts(app: &App, kick_offs: &Counted) -> Router<Shared> {
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
                post(export::kick_off)
                    .route_layer(from_fn_with_state(kick_offs.clone(), throttle::by_address))
                    .fallback(export::other_operation),
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
fn staff(app: &Shared, logins: &Counted) -> Router<Shared> {
    let upload = DefaultBodyLimit::max(app.settings.upload_bytes);
    let counted = || from_fn_with_state(logins.clone(), throttle::by_address);
    Router::new()
        .route("/admin/logout", get(staff_login::logout))
        .route("/admin/jobs", get(admin::jobs))
        .route("/admin/jobs/{id}", get(admin::job).delete(admin::remove))
        .route("/admin/jobs/{id}/approve", post(admin::approve))
        .route("/admin/jobs/{id}/reject", post(admin::reject))
        .route(
            "/admin/jobs/{id}/add-files",
            post(admin::add_files).layer(upload),
        )
        .route("/admin/jobs/{id}/remove-files", post(admin::remove_files))
        .route("/admin/audit", get(audit::log))
        .route("/admin/patients/{id}/disclosures", get(audit::disclosures))
        .method_not_allowed_fallback(error::wrong_method)
        .route_layer(from_fn_with_state(app.clone(), staff_login::staff_only))
        .merge(
            Router::new()
                .route(
                    "/admin/login",
                    post(staff_login::login).route_layer(counted()),
                )
                .route(
                    "/admin/login/start",
                    get(staff_login::start).route_layer(counted()),
                )
                .route(
                    "/admin/login/callback",
                    get(staff_login::returned).route_layer(counted()),
                )
                .route_layer(DefaultBodyLimit::max(FORM))
                .method_not_allowed_fallback(error::wrong_method),
        )
        .layer(from_fn_with_state(app.clone(), cors::guard_changes))
}
