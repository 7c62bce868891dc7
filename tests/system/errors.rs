//! Requests that make no sense get an answer that says so, in the shape the route speaks.

use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::app::{App, progress_state};
use crate::browser::{Answer, http, send};
use crate::choices;
use crate::export::at_once;
use crate::patients::{ANNA, Records};
use crate::raw::raw;
use crate::server::Server;
use crate::staff::Staff;

/// The head of a raw request with a token, up to its last header.
fn raw_head(method: &str, path: &str, app: &App<'_>) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {}\r\n",
        app.token
    )
}

#[tokio::test]
async fn a_wrong_method_is_405() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let job = app.kick_off("").await;
    for (method, url) in [
        (Method::GET, app.kick_off_url("")),
        (Method::PUT, app.kick_off_url("/no-form")),
        (Method::POST, job.status_url.clone()),
        (Method::PATCH, job.url(&server)),
        (
            Method::DELETE,
            server.url(&format!("/jobs/{}/download/Patient.ndjson", job.id)),
        ),
        (Method::POST, server.url("/fhir/metadata")),
        (
            Method::POST,
            server.url("/fhir/OperationDefinition/ehi-export"),
        ),
    ] {
        let answer = send(app.request(method, &url)).await.expect_outcome(405);
        assert!(
            !answer.header("allow").is_empty(),
            "RFC 9110 wants Allow: {answer}"
        );
    }
    for (method, path) in [
        (Method::GET, "/auth/token"),
        (Method::PUT, "/auth/authorize"),
    ] {
        send(http().request(method, server.url(path)))
            .await
            .expect(405);
    }
}

#[tokio::test]
async fn an_unknown_route_is_404() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    for path in [
        "/fhir",
        "/fhir/Patient",
        "/fhir/Patient/anna-1/$everything",
        "/fhir/Nonsense/1",
        "/jobs",
        "/jobs/1/2/3",
    ] {
        app.get(&server.url(path)).await.expect_outcome(404);
    }
    for path in [
        "/nonsense",
        "/auth/nonsense",
        "/admin/nonsense",
        "/.git/config",
        "/index.php",
    ] {
        send(http().get(server.url(path))).await.expect_refusal();
    }
}

#[tokio::test]
async fn a_body_of_a_wrong_type_or_broken_is_refused() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let job = app.kick_off("").await;
    let right = choices::everything().to_string();
    for (content_type, body) in [
        ("text/plain", right.as_str()),
        ("application/xml", "<parameters/>"),
        ("application/json", "{\"parameters\": "),
        ("application/json; charset=utf-16", "{"),
    ] {
        let answer = app.customise_with(&job, content_type, body).await;
        assert!(
            matches!(answer.status, 400 | 415),
            "{content_type}: {answer}"
        );
        answer.assert_outcome();
    }
    assert_eq!(
        progress_state(&app.status(&job).await),
        "awaiting-input",
        "nothing changed"
    );
}

#[tokio::test]
async fn json_nested_without_end_is_refused_and_harms_nobody() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let job = app.kick_off("").await;
    let deep = "[".repeat(30_000);
    for body in [
        deep.clone(),
        format!("{{\"parameters\":{deep}"),
        format!("{{\"x\":{deep}"),
    ] {
        app.customise_with(&job, "application/json", &body)
            .await
            .expect_refusal()
            .assert_outcome();
    }
    app.status(&job).await.expect(202);
}

#[tokio::test]
async fn a_body_without_measure_is_413_before_it_is_read() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let job = app.kick_off("").await;
    let paths = [
        format!("/jobs/{}", job.id),
        format!("/fhir/Patient/{ANNA}/$ehi-export"),
    ];
    for path in paths {
        let head = raw_head("POST", &path, &app);
        let request =
            format!("{head}Content-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n{{");
        let answer = raw(&server, &request);
        assert!(answer.starts_with("HTTP/1.1 413"), "of {path}: {answer}");
        assert!(
            answer.contains("application/fhir+json"),
            "no OperationOutcome for {path}: {answer}"
        );
    }
    let form = "Host: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000000000\r\n\r\na";
    for path in ["/auth/token", "/admin/login", "/patient-login"] {
        let answer = raw(&server, &format!("POST {path} HTTP/1.1\r\n{form}"));
        assert!(answer.starts_with("HTTP/1.1 4"), "of {path}: {answer}");
    }
}

#[tokio::test]
async fn a_coded_body_is_refused_and_not_misread() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let job = app.kick_off("").await;
    let post = |path: &str, coding: &str| {
        app.request(Method::POST, &server.url(path))
            .header(CONTENT_ENCODING, coding)
            .header(CONTENT_TYPE, "application/json")
            .body(choices::everything().to_string())
    };
    let choices = format!("/jobs/{}", job.id);
    let kick_off = format!("/fhir/Patient/{ANNA}/$ehi-export");
    for coding in ["gzip", "identity, br", "nonsense"] {
        for path in [&choices, &kick_off] {
            let answer = send(post(path, coding)).await.expect_outcome(415);
            assert_eq!(answer.header("accept-encoding"), "identity", "of {answer}");
        }
        (send(post("/auth/token", coding)).await).expect_oauth(415, "invalid_request");
        let answer = send(post("/admin/login", coding)).await.expect(415);
        assert!(answer.json()["error"].is_string(), "of {answer}");
        assert!(
            send(post("/patient-login", coding))
                .await
                .expect(415)
                .is_page()
        );
    }
    assert_eq!(
        progress_state(&app.status(&job).await),
        "awaiting-input",
        "nothing changed"
    );
    let nothing = app.request(Method::GET, &job.status_url);
    send(nothing.header(CONTENT_ENCODING, "gzip"))
        .await
        .expect(202);
    send(post(&choices, "Identity")).await.expect(200);
}

#[tokio::test]
async fn below_auth_every_error_is_one_of_oauth() {
    let server = Server::demo(&Records::small());
    for (method, path, status) in [
        (Method::GET, "/auth/token", 405),
        (Method::GET, "/auth/revoke", 405),
        (Method::GET, "/auth/introspect", 405),
        (Method::POST, "/auth/jwks.json", 405),
        (Method::PUT, "/auth/authorize", 405),
        (Method::GET, "/auth/nonsense", 404),
        (Method::POST, "/auth/token/", 404),
    ] {
        let answer = send(http().request(method, server.url(path))).await;
        let answer = answer.expect_oauth(status, "invalid_request");
        assert_eq!(
            status == 405,
            !answer.header("allow").is_empty(),
            "{answer}"
        );
    }
    for path in ["/auth/token", "/auth/revoke", "/auth/introspect"] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n");
        let answer = raw(
            &server,
            &format!("{head}Content-Length: 1000000000\r\n\r\n"),
        );
        assert!(answer.starts_with("HTTP/1.1 413"), "of {path}: {answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let error: Value = serde_json::from_str(body).unwrap();
        assert_eq!(error["error"], "invalid_request", "of {path}: {answer}");
        assert!(
            error["error_description"].is_string(),
            "of {path}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_body_of_somebody_unknown_is_not_waited_for() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let job = app.kick_off("").await;
    let choices = format!("/jobs/{}", job.id);
    let kick_off = format!("/fhir/Patient/{ANNA}/$ehi-export");
    let wrong = "Authorization: Bearer wrong\r\n";
    let json = "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{";
    let form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\na=";
    for (path, header, body, status) in [
        (choices.as_str(), wrong, json, 401),
        (&choices, wrong, form, 401),
        (&choices, "", json, 401),
        (&choices, "Cookie: ehi_patient=unknown\r\n", json, 401),
        (&kick_off, wrong, json, 401),
        ("/patient-login", "", form, 403),
        ("/patient-logout", "", form, 403),
        ("/authorize-app", "", form, 403),
    ] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{header}");
        let answer = raw(&server, &format!("{head}{body}"));
        let expected = format!("HTTP/1.1 {status}");
        assert!(answer.starts_with(&expected), "of {path}: {answer}");
    }
}

#[tokio::test]
async fn forms_that_anybody_may_send_are_short_and_choices_may_be_long() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let long = 100_000;
    for path in [
        "/admin/login",
        "/auth/introspect",
        "/auth/revoke",
        "/auth/token",
        "/authorize-app",
        "/patient-login",
        "/patient-logout",
    ] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: ehi_patient=0123456789abcdefghijklmnopqrstuvwxyzABCDEFG; sid=0123456789abcdefghijklmnopqrstuvwxyzABCDEFG\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        );
        let told = format!("{head}Content-Length: {long}\r\n\r\na");
        let answer = raw(&server, &told);
        assert!(answer.starts_with("HTTP/1.1 413"), "of {path}: {answer}");
        // The end never comes.
        let chunk = "a".repeat(long);
        let untold = format!("{head}Transfer-Encoding: chunked\r\n\r\n{long:x}\r\n{chunk}\r\n");
        let answer = raw(&server, &untold);
        assert!(answer.starts_with("HTTP/1.1 4"), "of {path}: {answer}");
        assert!(!answer.starts_with("HTTP/1.1 408"), "of {path}: {answer}");
    }
    let job = app.kick_off("").await;
    let choices = format!("{{}}{}", " ".repeat(long));
    let request = http().post(job.url(&server)).bearer_auth(&app.token);
    let request = request.header("Content-Type", "application/json");
    send(request.body(choices)).await.expect(200);
}

#[tokio::test]
async fn a_file_name_leads_nowhere_else() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let (job, _) = at_once(&app).await;
    let staff = Staff::log_in(&server).await;
    std::fs::write(server.data().join("secret.txt"), "the-secret").unwrap();
    staff.job(&job).await;
    for folder in ["download", "download/attachments"] {
        for name in [
            "../secret.txt",
            "../../secret.txt",
            "../../../secret.txt",
            "../../../../secret.txt",
            "..%2f..%2fsecret.txt",
            "..%2f..%2f..%2fsecret.txt",
            "..%5c..%5csecret.txt",
            "%2e%2e/%2e%2e/secret.txt",
            "%2fetc%2fpasswd",
            "//etc/passwd",
            "Patient.ndjson%00.png",
            "..",
            ".",
            "",
            "%00",
            "a%0d%0aX-Injected:%201",
        ] {
            let path = format!("/jobs/{}/{folder}/{name}", job.id);
            let head = raw_head("GET", &path, &app);
            let answer = raw(&server, &format!("{head}Connection: close\r\n\r\n"));
            assert!(answer.starts_with("HTTP/1.1 404"), "of {path}: {answer}");
            for leaked in ["the-secret", "root:", "\nX-Injected", "\nx-injected"] {
                assert!(!answer.contains(leaked), "leaked by {path}: {answer}");
            }
        }
    }
}

#[tokio::test]
async fn metadata_comes_as_json_or_not_at_all() {
    let server = Server::demo(&Records::small());
    let ask = async |query: &str, accept: &str| -> Answer {
        send(
            http()
                .get(server.url(&format!("/fhir/metadata{query}")))
                .header(ACCEPT, accept),
        )
        .await
    };
    for (query, accept) in [
        ("", "*/*"),
        ("", "application/fhir+json"),
        ("", "application/json"),
        ("", "text/html, application/fhir+json;q=0.5"),
        ("?_format=json", "application/fhir+xml"),
        ("?_format=application/fhir%2Bjson", "*/*"),
    ] {
        ask(query, accept).await.expect(200);
    }
    for (query, accept) in [
        ("?_format=JSON", "*/*"),
        ("?_format=Application/FHIR%2BJSON", "*/*"),
        ("", "APPLICATION/FHIR+JSON"),
        ("", "Application/Json; charset=utf-8"),
        ("", "application/xml;q=0, */*;q=0.1"),
    ] {
        ask(query, accept).await.expect(200);
    }
    let lines = http().get(server.url("/fhir/OperationDefinition/ehi-export"));
    let lines = lines.header(ACCEPT, "text/html");
    send(lines.header(ACCEPT, "application/fhir+json"))
        .await
        .expect(200);
    for (query, accept) in [
        ("", "application/fhir+json;q=0"),
        ("", "application/fhir+json; Q=0.000, text/html"),
        ("", "application/fhir+json;q=0, */*"),
        ("?_format=xml", "*/*"),
        ("?_format=application/fhir%2Bxml", "application/json"),
        ("?_format=text/turtle", "*/*"),
        ("", "application/fhir+xml"),
        ("", "text/turtle"),
    ] {
        ask(query, accept).await.expect_outcome(400);
    }
}

#[tokio::test]
async fn polling_in_a_rush_is_slowed_down_and_harms_nothing() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let job = app.kick_off("").await;
    let client = http();
    let mut polls = JoinSet::new();
    for _ in 0..200 {
        polls.spawn(send(client.get(&job.status_url).bearer_auth(&app.token)));
    }
    let answers = polls.join_all().await;
    assert!(
        answers.iter().any(|answer| answer.status == 202),
        "none gets through"
    );
    let slowed: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 429)
        .collect();
    assert!(!slowed.is_empty(), "two hundred polls at once are welcome");
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer.status, 202 | 429))
    );
    for answer in slowed {
        answer.assert_outcome();
        assert!(
            answer.header("retry-after").parse::<u64>().is_ok(),
            "when then? {answer}"
        );
    }
    // Another job of the same patient is not slowed down.
    let other = app.kick_off("").await;
    app.status(&other).await.expect(202);
}

#[tokio::test]
async fn no_error_tells_of_the_machine_room() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let data = server.data().to_string_lossy().into_owned();
    for path in [
        "/fhir/metadata?_format=xml",
        "/jobs/1/status",
        "/nonsense",
        "/jobs/1/download/x",
    ] {
        let answer = app.get(&server.url(path)).await.expect_refusal();
        let text = format!("{answer}");
        for told in [data.as_str(), "panicked", ".rs:", "stack backtrace"] {
            assert!(!text.contains(told), "{told} in {text}");
        }
    }
}
