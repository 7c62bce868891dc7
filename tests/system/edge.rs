//! Whom the server believes about where a request comes from, and which pages may send forms.

use reqwest::{Method, RequestBuilder};

use crate::app::{ALLOW, App, AuthorizeRequest, job_form};
use crate::browser::{Answer, Browser, SetCookie, http, send};
use crate::export::in_review;
use crate::forms::{Form, Submission};
use crate::patients::{ANNA, Records};
use crate::server::Server;
use crate::site::Site;
use crate::staff::{PASSWORD, Staff, USER};
use crate::wait::until;

/// What somebody pretends.
fn forged(request: RequestBuilder) -> RequestBuilder {
    request
        .header("X-Forwarded-For", "198.51.100.66")
        .header("X-Real-IP", "198.51.100.66")
        .header(
            "Forwarded",
            "for=198.51.100.66;host=evil.example;proto=https",
        )
        .header("X-Forwarded-Host", "evil.example")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Prefix", "/evil")
        .header("X-Request-Id", "pretended-id")
}

fn login(server: &Server) -> RequestBuilder {
    let form = [("username", USER), ("password", PASSWORD)];
    http().post(server.url("/admin/login")).form(&form)
}

/// The audit entry of the last login of staff.
async fn audited_login(server: &Server) -> String {
    until("the audit entry", async || {
        let log = server.log();
        let mut lines = log.lines().rev();
        let line = lines.find(|line| line.contains("audit") && line.contains("staff-login"));
        line.map(str::to_owned)
    })
    .await
}

#[tokio::test]
async fn nobody_but_a_proxy_says_for_whom_a_request_is() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let answer = send(forged(login(&server))).await.expect(200);
    let entry = audited_login(&server).await;
    assert!(entry.contains("127.0.0.1"), "{entry}");
    assert!(!entry.contains("198.51.100.66"), "{entry}");
    assert!(!entry.contains("pretended-id"), "{entry}");
    assert_ne!(answer.header("x-request-id"), "pretended-id");
    assert!(!answer.header("x-request-id").is_empty());
    let cookie = &SetCookie::all(&answer)[0];
    let real = &SetCookie::all(&send(login(&server)).await)[0];
    let names = |cookie: &SetCookie| cookie.attributes.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(cookie), names(real));

    // No URL is made of what a request says about its host.
    let kick_off = app.request(Method::POST, &app.kick_off_url(""));
    let kick_off = forged(kick_off).header("Host", "evil.example");
    for answer in [
        send(kick_off).await.expect(202),
        send(forged(http().get(server.url("/fhir/metadata"))))
            .await
            .expect(200),
        send(forged(
            http().get(server.url("/fhir/.well-known/smart-configuration")),
        ))
        .await
        .expect(200),
        send(forged(
            http().get(AuthorizeRequest::new(&server).url(&server)),
        ))
        .await
        .expect(302),
    ] {
        assert!(!format!("{answer}").contains("evil"), "{answer}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_says_for_whom_a_request_is() {
    let server = Site::new().start("[proxies]\ntrusted = ['127.0.0.0/8']");
    let request = login(&server)
        .header("X-Forwarded-For", "6.6.6.6, 198.51.100.66, 127.0.0.9")
        .header("Forwarded", "for=7.7.7.7")
        .header("X-Request-Id", "the-proxys-id");
    let answer = send(request).await.expect(200);
    assert_eq!(answer.header("x-request-id"), "the-proxys-id");
    let entry = audited_login(&server).await;
    assert!(
        entry.contains("198.51.100.66") && entry.contains("the-proxys-id"),
        "{entry}"
    );
    assert!(
        !entry.contains("6.6.6.6") && !entry.contains("7.7.7.7"),
        "{entry}"
    );

    let standard = "[proxies]\ntrusted = ['127.0.0.1']\nheader = 'Forwarded'";
    let server = Site::new().start(standard);
    let request = login(&server).header("X-Forwarded-For", "6.6.6.6").header(
        "Forwarded",
        "for=7.7.7.7, for=\"[2001:db8::17]:4711\";proto=https",
    );
    send(request).await.expect(200);
    let entry = audited_login(&server).await;
    assert!(entry.contains("2001:db8::17"), "{entry}");
    assert!(
        !entry.contains("6.6.6.6") && !entry.contains("7.7.7.7"),
        "{entry}"
    );
}

/// Sends a form as a page would, with what the browser says about that page.
async fn send_from(browser: &Browser, form: &Submission, headers: &[(&str, &str)]) -> Answer {
    let mut request = browser.request(Method::POST, form.action.as_str());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    browser.send(request.form(&form.fields)).await
}

/// What browsers say of pages of other sites.
const FOREIGN: [&[(&str, &str)]; 5] = [
    &[("Origin", "https://evil.example")],
    &[
        ("Origin", "https://evil.example"),
        ("Sec-Fetch-Site", "same-origin"),
    ],
    &[("Origin", "null"), ("Sec-Fetch-Site", "cross-site")],
    &[("Sec-Fetch-Site", "cross-site")],
    &[("Sec-Fetch-Site", "same-site")],
];

#[tokio::test]
async fn no_page_of_another_site_sends_a_patients_form_even_with_its_token() {
    let server = Server::demo(&Records::small());
    // What browsers say of our own pages, which hide where they are.
    let own: &[(&str, &str)] = &[("Origin", "null"), ("Sec-Fetch-Site", "same-origin")];
    let browser = Browser::new();
    let request = AuthorizeRequest::new(&server);
    let page = browser.open(&request.url(&server)).await;
    let form = Form::offering(&page, ANNA).choose(ANNA).enter(ANNA);
    for headers in FOREIGN {
        let answer = send_from(&browser, &form, headers).await.expect(403);
        assert!(answer.is_page(), "{answer}");
    }
    let answer = send_from(&browser, &form, own).await.expect(302);
    let page = browser.open(answer.location().unwrap().as_str()).await;
    let form = Form::with_button(&page, ALLOW).press(ALLOW);
    for headers in FOREIGN {
        send_from(&browser, &form, headers).await.expect(403);
    }
    send_from(&browser, &form, own).await.expect(302);

    let app = App::connect(&server, ANNA).await;
    let job = app.kick_off("").await;
    let page = app.browser.open(job.form()).await.expect(200);
    let form = job_form(&page).say_yes_to_everything().enter("");
    for headers in FOREIGN {
        send_from(&app.browser, &form, headers).await.expect(403);
    }
    assert!(
        app.status(&job)
            .await
            .header("x-progress")
            .starts_with("awaiting-input")
    );
    send_from(&app.browser, &form, own).await.expect(302);
    app.wait_for(&job, "retrieved").await;
}

#[tokio::test]
async fn every_change_by_staff_is_refused_to_pages_of_other_sites() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let job = in_review(&app).await;
    let at = |action: &str| format!("/admin/jobs/{}{action}", job.id);
    let silent: &[(&str, &str)] = &[("User-Agent", "Mozilla/5.0 (X11; Linux x86_64)")];
    let hidden: &[(&str, &str)] = &[("Origin", "null")];
    for headers in FOREIGN.into_iter().chain([silent, hidden]) {
        for (method, path) in [
            (Method::POST, at("/approve")),
            (Method::POST, at("/reject")),
            (Method::POST, at("/add-files")),
            (Method::POST, at("/remove-files")),
            (Method::DELETE, at("")),
            (Method::GET, "/admin/logout".to_owned()),
            (Method::POST, "/admin/login".to_owned()),
        ] {
            let mut request = staff.browser.request(method, &server.url(&path));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            staff.browser.send(request).await.expect(403);
        }
    }
    assert_eq!(
        staff.job(&job).await["status"],
        "retrieved",
        "nothing changed"
    );
    // A client that is no browser says nothing, and may.
    let approve = staff
        .browser
        .request(Method::POST, &server.url(&at("/approve")));
    staff
        .browser
        .send(approve.header("User-Agent", "curl/8.5.0"))
        .await
        .expect(200);
}

#[tokio::test]
async fn no_page_of_another_site_loads_the_admin_api_as_a_picture_or_script() {
    let server = Server::demo(&Records::small());
    let staff = Staff::log_in(&server).await;
    let load = async |site: &str, mode: &str| {
        let request = staff
            .browser
            .request(Method::GET, &server.url("/admin/jobs"));
        let request = request.header("Sec-Fetch-Site", site);
        staff
            .browser
            .send(request.header("Sec-Fetch-Mode", mode))
            .await
    };
    load("cross-site", "no-cors").await.expect(403);
    // A named origin asks so that it may read; a link is followed; our own pages do as they like.
    for (site, mode) in [
        ("cross-site", "cors"),
        ("cross-site", "navigate"),
        ("same-origin", "no-cors"),
    ] {
        load(site, mode).await.expect(200);
    }
}
