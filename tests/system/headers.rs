//! What every answer tells browsers to refrain from.

use reqwest::Method;
use scraper::{Html, Selector};

use crate::app::{App, AuthorizeRequest};
use crate::browser::{Answer, send};
use crate::export::at_once;
use crate::patients::{ANNA, Records};
use crate::server::Server;
use crate::staff::Staff;

#[track_caller]
fn assert_guarded(answer: &Answer) {
    let policy = answer.header("content-security-policy");
    for directive in [
        "default-src 'none'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action",
    ] {
        assert!(policy.contains(directive), "{directive} of {answer}");
    }
    assert!(
        !policy.contains("unsafe") && !policy.contains("script"),
        "{answer}"
    );
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(answer.header(name), value, "{name} of {answer}");
    }
    assert!(
        answer.header("permissions-policy").contains("camera=()"),
        "{answer}"
    );
    let opener = answer.header("cross-origin-opener-policy");
    assert!(["same-origin", "unsafe-none"].contains(&opener), "{answer}");
    assert!(!answer.header("x-request-id").is_empty(), "{answer}");
    // Over plain HTTP it would mean nothing.
    assert_eq!(answer.header("strict-transport-security"), "", "{answer}");
    if answer.is_page() {
        let html = Html::parse_document(&answer.text());
        let inline =
            "script, style, [style], [onclick], [onload], [onsubmit], [href^='javascript:']";
        let found = html.select(&Selector::parse(inline).unwrap()).next();
        assert!(found.is_none(), "inline in {answer}");
    }
}

#[track_caller]
fn assert_not_kept(answer: &Answer) {
    let cache = answer.header("cache-control");
    assert!(
        ["no-store", "private, no-cache"].contains(&cache),
        "{answer}"
    );
}

#[tokio::test]
async fn every_route_guards_its_answers() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let (done, manifest) = at_once(&app).await;
    let file = manifest["output"][0]["url"].as_str().unwrap();
    let job = app.kick_off("").await;
    let authorize = AuthorizeRequest::new(&server).url(&server);
    let consent = authorize.replace("/auth/authorize", "/authorize-app");
    let admin = |action: &str| server.url(&format!("/admin/jobs/{}{action}", done.id));
    let (get, post, delete) = (Method::GET, Method::POST, Method::DELETE);

    let public = [
        "/",
        "/demo-app",
        "/demo-app?code=abc",
        "/documentation",
        "/assets/ehi.css",
        "/assets/icon.svg",
        "/fhir/metadata",
        "/fhir/.well-known/smart-configuration",
        "/fhir/OperationDefinition/ehi-export",
        "/no-form/fhir/metadata",
        "/auth/jwks.json",
        "/healthz",
        "/readyz",
    ];
    for path in public {
        let answer = app.get(&server.url(path)).await.expect(200);
        assert_guarded(&answer);
    }
    let personal = [
        (get.clone(), job.status_url.clone()),
        (get.clone(), done.status_url.clone()),
        (get.clone(), file.to_owned()),
        (
            get.clone(),
            server.url(&format!("/jobs/{}/download/attachments/none", done.id)),
        ),
        (post.clone(), app.kick_off_url("")),
        (post.clone(), job.url(&server)),
        (delete.clone(), server.url("/jobs/1/status")),
        (post.clone(), server.url("/auth/token")),
        // Refusals, and what is not there.
        (get.clone(), server.url("/nonsense")),
        (get.clone(), server.url("/auth/nonsense")),
        (get.clone(), server.url("/auth/token")),
        (get.clone(), server.url("/fhir/metadata?_format=xml")),
        (get.clone(), server.url("/fhir/Patient/%ff/$ehi-export")),
        (post.clone(), server.url("/documentation")),
        (Method::OPTIONS, server.url("/jobs/1/status")),
    ];
    for (method, url) in personal {
        let answer = send(app.request(method, &url)).await;
        assert_guarded(&answer);
        assert_not_kept(&answer);
    }
    let pages = [
        (get.clone(), authorize.clone()),
        (get.clone(), server.url("/auth/authorize")),
        (get.clone(), consent.clone()),
        (get.clone(), server.url("/authorize-app")),
        (post.clone(), consent),
        (get.clone(), server.url("/patient-login")),
        (post.clone(), server.url("/patient-login")),
        (get.clone(), job.form().to_owned()),
        (get.clone(), server.url("/jobs/1/customize")),
        (
            get.clone(),
            server.url(&format!("/jobs/{}/customize", done.id)),
        ),
    ];
    for (method, url) in pages {
        let answer = app.browser.send(app.browser.request(method, &url)).await;
        assert_guarded(&answer);
        assert_not_kept(&answer);
    }
    let routes = [
        (get.clone(), server.url("/admin/jobs")),
        (get.clone(), admin("")),
        (post.clone(), admin("/approve")),
        (post.clone(), admin("/reject")),
        (post.clone(), admin("/add-files")),
        (post.clone(), admin("/remove-files")),
        (delete, admin("")),
        (post, server.url("/admin/login")),
        (get, server.url("/admin/logout")),
    ];
    for (method, url) in routes {
        let answer = staff
            .browser
            .send(staff.browser.request(method, &url))
            .await;
        assert_guarded(&answer);
        assert_not_kept(&answer);
    }
}
