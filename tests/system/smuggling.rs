//! Requests that a proxy and the server could read in two ways, and bodies without measure: one
//! clear refusal, and never an answer to what was hidden inside.

use std::io::Write;

use serde_json::json;

use crate::app::App;
use crate::browser::{http, send};
use crate::export::in_review;
use crate::patients::{ANNA, Records};
use crate::raw::{connect, exchange, raw, read_to_end, statuses};
use crate::server::Server;
use crate::staff::Staff;

/// What somebody tries to smuggle in.
const HIDDEN: &str = "GET /fhir/metadata HTTP/1.1\r\nHost: a\r\n\r\n";

/// How a request with a form begins.
const POST: &str =
    "POST /auth/token HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n";

/// What is refused, once or without a word, and the connection ended.
#[track_caller]
fn assert_refused(server: &Server, what: &str, request: &str) {
    let answers = exchange(server, request.as_bytes());
    let statuses = statuses(&answers);
    let refused = matches!(statuses.as_slice(), [] | [400]);
    assert!(refused, "{what}: {answers}");
    assert!(
        !answers.contains("CapabilityStatement"),
        "{what}: {answers}"
    );
}

#[test]
fn a_body_whose_length_can_be_read_in_two_ways_is_refused_and_the_connection_ends() {
    let server = Server::demo(&Records::small());
    let chunks = format!("1\r\na\r\n0\r\n\r\n{HIDDEN}");
    for (what, request) in [
        (
            "two lengths",
            format!("{POST}Content-Length: 3\r\nContent-Length: 4\r\n\r\na=b{HIDDEN}"),
        ),
        (
            "a length twice",
            format!("{POST}Content-Length: 3\r\nContent-Length: 3\r\n\r\na=b{HIDDEN}"),
        ),
        (
            "a list of lengths",
            format!("{POST}Content-Length: 3, 3\r\n\r\na=b{HIDDEN}"),
        ),
        (
            "a signed length",
            format!("{POST}Content-Length: +3\r\n\r\na=b{HIDDEN}"),
        ),
        (
            "a negative length",
            format!("{POST}Content-Length: -1\r\n\r\na=b{HIDDEN}"),
        ),
        (
            "an empty length",
            format!("{POST}Content-Length:\r\n\r\na=b{HIDDEN}"),
        ),
        (
            "a huge length",
            format!("{POST}Content-Length: 99999999999999999999\r\n\r\na=b{HIDDEN}"),
        ),
        (
            "length, then coding",
            format!("{POST}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"),
        ),
        (
            "coding, then length",
            format!("{POST}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n{chunks}"),
        ),
        (
            "chunked, identity",
            format!("{POST}Transfer-Encoding: chunked, identity\r\n\r\n{chunks}"),
        ),
        (
            "identity, chunked",
            format!("{POST}Transfer-Encoding: identity, chunked\r\n\r\n{chunks}"),
        ),
        (
            "gzip",
            format!("{POST}Transfer-Encoding: gzip\r\n\r\n{chunks}"),
        ),
        (
            "two codings",
            format!(
                "{POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
            ),
        ),
        (
            "an odd coding",
            format!("{POST}Transfer-Encoding: xchunked\r\n\r\n{chunks}"),
        ),
        (
            "a coding in HTTP/1.0",
            format!("POST /auth/token HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"),
        ),
    ] {
        assert_refused(&server, what, &request);
    }
}

#[test]
fn a_head_that_can_be_read_in_two_ways_is_refused_and_the_connection_ends() {
    let server = Server::demo(&Records::small());
    for (what, request) in [
        ("a folded line", format!("{POST}X: a\r\n b\r\n\r\n{HIDDEN}")),
        (
            "a folded coding",
            format!("{POST}Transfer-Encoding:\r\n chunked\r\n\r\n1\r\na\r\n0\r\n\r\n{HIDDEN}"),
        ),
        (
            "a space before the colon",
            format!("{POST}Content-Length : 3\r\n\r\na=b{HIDDEN}"),
        ),
        (
            "a space before a name",
            format!("POST /auth/token HTTP/1.1\r\n Host: a\r\n\r\n{HIDDEN}"),
        ),
        (
            "a bare LF in the request line",
            format!("GET / HTTP/1.1\nHost: a\r\n\r\n{HIDDEN}"),
        ),
        (
            "a bare LF in a header",
            format!("{POST}X: a\nContent-Length: 3\r\n\r\na=b{HIDDEN}"),
        ),
        (
            "a bare LF at the end",
            format!("GET / HTTP/1.1\r\nHost: a\r\n\n{HIDDEN}"),
        ),
        (
            "a bare CR",
            format!("{POST}X: a\rContent-Length: 3\r\n\r\na=b{HIDDEN}"),
        ),
        ("a NUL", format!("{POST}X: a\0b\r\n\r\n{HIDDEN}")),
        ("no colon", format!("{POST}nonsense\r\n\r\n{HIDDEN}")),
        (
            "no host",
            format!("GET /fhir/metadata HTTP/1.1\r\n\r\n{HIDDEN}"),
        ),
        (
            "two hosts",
            format!("GET /fhir/metadata HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n{HIDDEN}"),
        ),
        (
            "another protocol",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        ),
        ("no protocol", format!("GET /fhir/metadata\r\n\r\n{HIDDEN}")),
    ] {
        assert_refused(&server, what, &request);
    }
}

#[test]
fn what_comes_before_a_broken_request_is_answered() {
    let server = Server::demo(&Records::small());
    let broken = "GET /fhir/metadata HTTP/1.1\nHost: a\n\n";
    let answers = exchange(&server, format!("{HIDDEN}{broken}{HIDDEN}").as_bytes());
    assert_eq!(statuses(&answers), [200, 400], "{answers}");
}

#[test]
fn requests_may_follow_each_other_and_nothing_follows_a_chunked_one() {
    let server = Server::demo(&Records::small());
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let post =
        format!("POST /auth/token HTTP/1.1\r\nHost: a\r\n{form}Content-Length: 3\r\n\r\na=b");
    let chunked = format!(
        "POST /auth/token HTTP/1.1\r\nHost: a\r\n{form}Transfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\n\r\n"
    );
    let answers = exchange(
        &server,
        format!("{HIDDEN}{post}{chunked}{HIDDEN}").as_bytes(),
    );
    assert_eq!(statuses(&answers), [200, 400, 400], "{answers}");
    assert!(
        answers.contains("\"invalid_request\"") || answers.contains("grant"),
        "{answers}"
    );
}

#[test]
fn heads_without_measure_are_refused() {
    let server = Server::demo(&Records::small());
    let long = "a".repeat(100_000);
    let many = "X: a\r\n".repeat(5_000);
    let some = "X: a\r\n".repeat(150);
    for (what, request) in [
        ("a URI", format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")),
        (
            "a header",
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"),
        ),
        (
            "a name",
            format!("GET / HTTP/1.1\r\nHost: a\r\n{long}: a\r\n\r\n"),
        ),
        ("a method", format!("{long} / HTTP/1.1\r\nHost: a\r\n\r\n")),
        (
            "headers",
            format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"),
        ),
        (
            "some headers",
            format!("GET / HTTP/1.1\r\nHost: a\r\n{some}\r\n"),
        ),
    ] {
        let answers = exchange(&server, request.as_bytes());
        let statuses = statuses(&answers);
        let refused = matches!(statuses.as_slice(), [] | [400 | 413 | 414 | 431]);
        assert!(refused, "{what}: {answers}");
    }
    // A whole URL as target is a proxy's way to ask, and leads here whatever it names.
    let absolute = "GET http://evil.example/fhir/metadata HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    let answer = exchange(&server, absolute.as_bytes());
    assert_eq!(statuses(&answer), [200]);
    assert!(!answer.contains("evil.example"), "{answer}");
}

#[tokio::test]
async fn an_upload_without_end_is_cut_off_and_leaves_nothing() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let job = in_review(&app).await;
    let sid = staff.browser.cookie("sid").unwrap();
    let head = format!(
        "POST /admin/jobs/{}/add-files HTTP/1.1\r\nHost: a\r\nCookie: sid={sid}\r\nContent-Type: multipart/form-data; boundary=x\r\n",
        job.id
    );
    let part =
        "--x\r\nContent-Disposition: form-data; name=\"attachments\"; filename=\"a.txt\"\r\n\r\n";
    // It says that it ends later than it does.
    let mut stream = connect(&server);
    write!(stream, "{head}Content-Length: 5000\r\n\r\n{part}hello").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let answer = read_to_end(&mut stream);
    assert!(
        matches!(statuses(&answer).as_slice(), [] | [400]),
        "{answer}"
    );
    // Its parts never end, and neither do its headers.
    let endless = format!("--x\r\n{}", "X: a\r\n".repeat(20_000));
    for body in [
        format!("{part}hello"),
        endless,
        "--x".to_owned(),
        String::new(),
    ] {
        let length = body.len();
        let request = format!("{head}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}");
        let answer = raw(&server, &request);
        assert_eq!(statuses(&answer), [400], "{answer}");
    }
    assert_eq!(staff.job(&job).await["attachments"], json!([]));
}

#[tokio::test]
async fn a_body_of_a_gigabyte_is_refused_before_it_comes() {
    let server = Server::demo(&Records::small());
    let before = server.memory();
    for path in [
        "/auth/token",
        "/admin/login",
        "/patient-login",
        "/jobs/1",
        "/admin/jobs/1/add-files",
    ] {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n"
        );
        let answer = raw(&server, &request);
        assert_eq!(statuses(&answer), [413], "{path}: {answer}");
    }
    // One that does not say how long it is, is cut off.
    let mut stream = connect(&server);
    write!(
        stream,
        "POST /auth/token HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    .unwrap();
    let chunk = format!("10000\r\n{}\r\n", "a".repeat(0x10000));
    let mut sent = 0_u64;
    while sent < 1 << 30 && stream.write_all(chunk.as_bytes()).is_ok() {
        sent += 0x10000;
    }
    assert!(sent < 64 << 20, "{sent} bytes were taken");
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB more");
}

#[tokio::test]
async fn a_form_has_no_more_than_a_thousand_fields() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let job = app.kick_off("").await;
    let staff = Staff::log_in(&server).await;
    let form = |fields: usize| "a=b&".repeat(fields);
    let reject = format!("/admin/jobs/{}/reject", job.id);
    // So many are too long for the forms that anybody may send.
    for (path, fields, status) in [
        ("/auth/token", 100_000, 413),
        ("/admin/login", 100_000, 413),
        ("/auth/token", 10_000, 400),
        ("/admin/login", 10_000, 400),
    ] {
        // What is refused unread ends the connection.
        let stranger = Staff::stranger(&server);
        let request = stranger.request(reqwest::Method::POST, path);
        let request = request.body(form(fields));
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        stranger.browser.send(request).await.expect(status);
    }
    let request = staff.request(reqwest::Method::POST, &reject);
    let request = request.body(form(100_000));
    let request = request.header("Content-Type", "application/x-www-form-urlencoded");
    staff.browser.send(request).await.expect(400);
    let kind = "application/x-www-form-urlencoded";
    app.customise_with(&job, kind, &form(100_000))
        .await
        .expect(400);
    assert!(
        app.status(&job)
            .await
            .header("x-progress")
            .starts_with("awaiting-input")
    );
    let request = http().post(server.url("/auth/token")).body(form(1_001));
    let answer = send(request.header("Content-Type", kind)).await;
    answer.expect_oauth(400, "invalid_request");
}

#[tokio::test]
async fn json_nested_without_end_is_refused_on_every_route() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let job = app.kick_off("").await;
    let review = in_review(&app).await;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let depth = 100_000;
        let deep = format!("{}1{}", open.repeat(depth), close.repeat(depth));
        let bearer = [app.kick_off_url(""), job.url(&server)];
        for url in bearer {
            let request = app.request(reqwest::Method::POST, &url).body(deep.clone());
            let request = request.header("Content-Type", "application/json");
            send(request).await.expect_outcome(400);
        }
        // As deep as fits into a login.
        let shallower = format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
        for (path, deep) in [
            ("/admin/login".to_owned(), &shallower),
            (format!("/admin/jobs/{}/reject", review.id), &deep),
            (format!("/admin/jobs/{}/remove-files", review.id), &deep),
        ] {
            let request = staff
                .request(reqwest::Method::POST, &path)
                .body(deep.clone());
            let request = request.header("Content-Type", "application/json");
            staff.browser.send(request).await.expect(400);
        }
    }
    assert_eq!(staff.job(&review).await["status"], "retrieved");
}
