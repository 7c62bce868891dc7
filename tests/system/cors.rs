//! Which pages of other origins may talk to the server, and with whose cookies.

use reqwest::Method;

use crate::app::App;
use crate::browser::{Answer, http, send};
use crate::export::in_review;
use crate::patients::{ANNA, Records};
use crate::raw::raw;
use crate::server::Server;
use crate::staff::{PASSWORD, Staff, USER};

/// An origin no demo names.
const FOREIGN: &str = "https://app.example";
/// Origins every demo names: ehi-app runs there.
const NAMED: [&str; 4] = [
    "http://127.0.0.1:3000",
    "http://localhost:3000",
    "http://127.0.0.1:5005",
    "http://localhost:5005",
];

/// Asks as a browser does before it sends what a page of another origin wants.
async fn preflight(
    server: &Server,
    path: &str,
    origin: &str,
    method: &str,
    headers: &str,
) -> Answer {
    let request = http()
        .request(Method::OPTIONS, server.url(path))
        .header("Origin", origin)
        .header("Access-Control-Request-Method", method)
        .header("Access-Control-Request-Headers", headers);
    send(request).await
}

/// Whether the page of this origin may read the answer, and with cookies.
fn may(answer: &Answer, origin: &str) -> (bool, bool) {
    let allowed = answer.header("access-control-allow-origin");
    let credentials = answer.header("access-control-allow-credentials") == "true";
    assert!(
        !(credentials && allowed == "*"),
        "no browser takes this: {answer}"
    );
    (
        allowed == "*" || allowed == origin,
        credentials && allowed == origin,
    )
}

/// Whether a list in a header has this entry.
fn lists(answer: &Answer, header: &str, entry: &str) -> bool {
    let list = answer.header(header).to_lowercase();
    list.split(',')
        .any(|each| each.trim() == "*" || each.trim() == entry)
}

#[tokio::test]
async fn any_app_may_talk_to_the_open_routes_but_without_cookies() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let job = app.kick_off("").await;
    let answers = [
        send(
            http()
                .get(server.url("/fhir/metadata"))
                .header("Origin", FOREIGN),
        )
        .await
        .expect(200),
        send(
            http()
                .get(server.url("/fhir/.well-known/smart-configuration"))
                .header("Origin", FOREIGN),
        )
        .await
        .expect(200),
        send(http().get(&job.status_url).header("Origin", FOREIGN))
            .await
            .expect(401),
        send(
            app.request(Method::GET, &job.status_url)
                .header("Origin", FOREIGN),
        )
        .await
        .expect(202),
        send(
            app.request(Method::POST, &app.kick_off_url(""))
                .header("Origin", FOREIGN),
        )
        .await
        .expect(202),
        send(
            http()
                .post(server.url("/auth/token"))
                .header("Origin", FOREIGN),
        )
        .await
        .expect(400),
    ];
    for answer in answers {
        assert_eq!(may(&answer, FOREIGN), (true, false), "of {answer}");
        for exposed in [
            "content-location",
            "link",
            "x-progress",
            "retry-after",
            "expires",
        ] {
            assert!(
                lists(&answer, "access-control-expose-headers", exposed),
                "{exposed} of {answer}"
            );
        }
    }
}

#[tokio::test]
async fn whatever_is_refused_there_any_app_may_read_why() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let job = app.kick_off("").await;
    let told_to_be_large = |path: &str| {
        let head = format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: {FOREIGN}\r\n");
        raw(
            &server,
            &format!("{head}Content-Length: 1000000000\r\n\r\na"),
        )
    };
    for (method, path, status) in [
        (Method::GET, "/fhir", 404),
        (Method::GET, "/fhir/Patient/anna-1", 404),
        (Method::GET, "/no-form/fhir/Patient/anna-1", 404),
        (Method::GET, "/jobs", 404),
        (Method::GET, &format!("/jobs/{}/zz", job.id), 404),
        (Method::GET, &format!("/jobs/{}/status/", job.id), 404),
        (Method::PATCH, &format!("/jobs/{}/status", job.id), 405),
        (Method::GET, "/auth/token", 405),
    ] {
        let request = app.request(method, &server.url(path));
        let answer = send(request.header("Origin", FOREIGN)).await.expect(status);
        assert_eq!(may(&answer, FOREIGN), (true, false), "of {answer}");
    }
    for path in [
        &format!("/fhir/Patient/{ANNA}/$ehi-export"),
        &format!("/jobs/{}", job.id),
        "/auth/token",
    ] {
        let answer = told_to_be_large(path);
        assert!(answer.starts_with("HTTP/1.1 413"), "of {path}: {answer}");
        let allowed = format!("access-control-allow-origin: {FOREIGN}\r\n");
        assert!(answer.contains(&allowed), "of {path}: {answer}");
    }
    // What people look at is for no other page to read.
    for path in [
        &format!("/jobs/{}/customize", job.id),
        "/auth/authorize",
        "/auth/introspect",
        "/nonsense",
        "/fhirs",
    ] {
        let request = http().get(server.url(path)).header("Origin", FOREIGN);
        let answer = send(request).await;
        assert_eq!(may(&answer, FOREIGN), (false, false), "of {answer}");
    }
}

#[tokio::test]
async fn a_browser_that_asks_first_is_told_yes() {
    let server = Server::demo(&Records::small());
    let kick_off = format!("/fhir/Patient/{ANNA}/$ehi-export");
    for (path, method, headers) in [
        (
            kick_off.as_str(),
            "POST",
            "authorization, content-type, prefer",
        ),
        ("/jobs/1/status", "GET", "authorization"),
        ("/jobs/1/status", "DELETE", "authorization"),
        ("/jobs/1", "POST", "authorization, content-type"),
        (
            "/jobs/1/download/Patient.ndjson",
            "GET",
            "authorization, range",
        ),
        ("/auth/token", "POST", "authorization, content-type"),
        ("/fhir/metadata", "GET", "accept"),
    ] {
        let answer = preflight(&server, path, FOREIGN, method, headers).await;
        assert!((200..300).contains(&answer.status), "of {path}: {answer}");
        assert_eq!(may(&answer, FOREIGN), (true, false), "of {path}: {answer}");
        assert!(
            lists(
                &answer,
                "access-control-allow-methods",
                &method.to_lowercase()
            ),
            "{answer}"
        );
        for header in headers.split(", ") {
            // `*` does not cover Authorization in browsers.
            let allowed = answer.header("access-control-allow-headers").to_lowercase();
            assert!(
                header != "authorization" || allowed.contains(header),
                "of {path}: {answer}"
            );
            assert!(
                lists(&answer, "access-control-allow-headers", header),
                "{header}: {answer}"
            );
        }
    }
}

#[tokio::test]
async fn the_admin_pages_of_a_named_origin_may_use_the_session() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    for origin in NAMED {
        let answer = preflight(&server, "/admin/jobs", origin, "POST", "content-type").await;
        assert!((200..300).contains(&answer.status), "of {origin}: {answer}");
        assert_eq!(may(&answer, origin), (true, true), "of {origin}: {answer}");

        let staff = Staff::stranger(&server);
        let login = http_post(&staff, "/admin/login", origin)
            .form(&[("username", USER), ("password", PASSWORD)]);
        let answer = staff.browser.send(login).await.expect(200);
        assert_eq!(may(&answer, origin), (true, true), "of {origin}: {answer}");

        let job = in_review(&app).await;
        let approve = http_post(&staff, &format!("/admin/jobs/{}/approve", job.id), origin);
        let answer = staff.browser.send(approve).await.expect(200);
        assert_eq!(may(&answer, origin), (true, true), "of {origin}: {answer}");
        assert!(
            answer.header("vary").to_lowercase().contains("origin"),
            "cached for others: {answer}"
        );
    }
}

#[tokio::test]
async fn no_other_page_may_use_the_staffs_session() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let job = in_review(&app).await;
    for origin in [
        FOREIGN,
        "http://127.0.0.1:3000.evil.example",
        "http://127.0.0.1:3001",
        "null",
    ] {
        let answer = preflight(&server, "/admin/jobs", origin, "POST", "content-type").await;
        assert_eq!(
            may(&answer, origin),
            (false, false),
            "of {origin}: {answer}"
        );
        let list = staff
            .browser
            .request(Method::GET, &server.url("/admin/jobs"))
            .header("Origin", origin);
        let answer = staff.browser.send(list).await;
        assert_eq!(
            may(&answer, origin),
            (false, false),
            "of {origin}: {answer}"
        );

        for action in ["approve", "reject", "add-files", "remove-files"] {
            let request = http_post(&staff, &format!("/admin/jobs/{}/{action}", job.id), origin);
            staff.browser.send(request).await.expect(403);
        }
        let path = format!("/admin/jobs/{}", job.id);
        let delete = staff
            .browser
            .request(Method::DELETE, &server.url(&path))
            .header("Origin", origin);
        staff.browser.send(delete).await.expect(403);
        let login = http_post(&staff, "/admin/login", origin)
            .form(&[("username", USER), ("password", PASSWORD)]);
        staff.browser.send(login).await.expect(403);
    }
    assert_eq!(
        staff.job(&job).await["status"],
        "retrieved",
        "nothing changed"
    );
}

#[tokio::test]
async fn the_command_line_can_name_more_origins() {
    let mine = "https://staff.example";
    let server = Server::demo_with(&Records::small(), &["--allow-origin", mine]);
    for origin in [mine, NAMED[0]] {
        let answer = preflight(&server, "/admin/jobs", origin, "GET", "content-type").await;
        assert_eq!(may(&answer, origin), (true, true), "of {origin}: {answer}");
    }
    let answer = preflight(&server, "/admin/jobs", FOREIGN, "GET", "content-type").await;
    assert_eq!(may(&answer, FOREIGN), (false, false), "of {answer}");
}

/// A POST from a page of this origin.
fn http_post(staff: &Staff<'_>, path: &str, origin: &str) -> reqwest::RequestBuilder {
    let mut request = staff.request(Method::POST, path).build().unwrap();
    request
        .headers_mut()
        .insert("Origin", origin.parse().unwrap());
    reqwest::RequestBuilder::from_parts(http(), request)
}
