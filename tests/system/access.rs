//! Who may touch what: nobody without a token, and nobody what is another's.

use reqwest::Method;
use serde_json::Value;

use crate::app::{App, Job, job_form, progress_state};
use crate::browser::{Answer, Browser, http, send};
use crate::choices;
use crate::export::{at_once, in_review, url_of};
use crate::forms::Form;
use crate::patients::{ANNA, BEN, Records};
use crate::server::Server;
use crate::staff::Staff;

/// The urls of a manifest's files.
fn urls(manifest: &Value) -> Vec<String> {
    let outputs = manifest["output"].as_array().unwrap();
    outputs
        .iter()
        .map(|output| output["url"].as_str().unwrap().to_owned())
        .collect()
}

/// What an app asks of a job: how, and where.
fn job_routes(server: &Server, job: &Job) -> Vec<(Method, String)> {
    vec![
        (Method::GET, job.status_url.clone()),
        (Method::DELETE, job.status_url.clone()),
        (Method::POST, job.url(server)),
        (
            Method::GET,
            server.url(&format!("/jobs/{}/download/Patient.ndjson", job.id)),
        ),
        (
            Method::GET,
            server.url(&format!("/jobs/{}/download/attachments/a.png", job.id)),
        ),
    ]
}

/// Sends the request; a POST brings choices along.
async fn ask(app: &App<'_>, method: Method, url: &str) -> Answer {
    let request = app.request(method.clone(), url);
    send(if method == Method::POST {
        request.json(&choices::everything())
    } else {
        request
    })
    .await
}

#[tokio::test]
async fn without_a_token_there_is_nothing() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let (job, manifest) = at_once(&app).await;
    let mut routes = job_routes(&server, &job);
    routes.push((Method::POST, app.kick_off_url("")));
    routes.push((Method::GET, url_of(&manifest, "Patient").to_owned()));
    for (method, url) in routes {
        for (authorization, challenge) in [
            (None, "Bearer"),
            (Some("Bearer"), "Bearer"),
            (Some("Bearer nonsense"), "Bearer error=\"invalid_token\""),
            (Some("Basic YTpi"), "Bearer"),
        ] {
            let mut request = http().request(method.clone(), &url);
            if let Some(value) = authorization {
                request = request.header("Authorization", value);
            }
            if method == Method::POST && url.contains("/jobs/") {
                request = request.json(&choices::everything());
            }
            let answer = send(request).await.expect_outcome(401);
            assert_eq!(answer.header("www-authenticate"), challenge, "of {answer}");
        }
    }
}

#[tokio::test]
async fn a_token_in_the_url_is_none() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let job = app.kick_off("").await;
    let url = format!("{}?access_token={}", job.status_url, app.token);
    send(http().get(url)).await.expect_outcome(401);
}

#[tokio::test]
async fn a_token_exports_only_its_own_patient() {
    let server = Server::demo(&Records::small());
    let mut app = App::connect(&server, ANNA).await;
    for other in [BEN, "nobody-here"] {
        other.clone_into(&mut app.patient);
        for prefix in ["", "/no-form", "/no-form/auto-approve"] {
            app.try_kick_off(prefix).await.expect_outcome(403);
        }
    }
}

#[tokio::test]
async fn the_job_of_another_is_not_there() {
    let server = Server::demo(&Records::small());
    let anna = App::connect(&server, ANNA).await;
    let ben = App::connect(&server, BEN).await;
    let open = ben.kick_off("").await;
    let (done, manifest) = at_once(&ben).await;
    let mut routes = job_routes(&server, &open);
    routes.extend(job_routes(&server, &done));
    routes.extend(urls(&manifest).into_iter().map(|url| (Method::GET, url)));
    for (method, url) in routes {
        ask(&anna, method, &url).await.expect_outcome(404);
    }
    anna.browser.open(open.form()).await.expect(404);

    assert_eq!(
        progress_state(&ben.status(&open).await),
        "awaiting-input",
        "nothing changed"
    );
    ben.status(&done).await.expect(200);
}

#[tokio::test]
async fn the_form_of_another_cannot_be_sent_with_ones_own_page() {
    let server = Server::demo(&Records::small());
    let anna = App::connect(&server, ANNA).await;
    let ben = App::connect(&server, BEN).await;
    let (own, other) = (anna.kick_off("").await, ben.kick_off("").await);
    let page = anna.browser.open(own.form()).await.expect(200);
    let mut form = job_form(&page).say_yes_to_everything().enter("");
    form.action = own.moved_to(&other, form.action.as_str()).parse().unwrap();
    anna.browser.post(&form).await.expect_refusal();
    assert_eq!(
        progress_state(&ben.status(&other).await),
        "awaiting-input",
        "nothing changed"
    );
}

#[tokio::test]
async fn the_form_needs_a_session_and_the_token_of_its_own_page() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let job = app.kick_off("").await;
    let page = app.browser.open(job.form()).await.expect(200);
    let form = job_form(&page).say_yes_to_everything();
    for spoil in [
        |form: Form| form.without("csrf"),
        |form: Form| form.forge("csrf", "forged"),
    ] {
        app.browser
            .post(&spoil(form.clone()).enter(""))
            .await
            .expect_refusal();
    }
    let stranger = Browser::new().post(&form.clone().enter("")).await;
    assert!(stranger.status >= 300, "sent by a stranger: {stranger}");
    // JSON from the browser's session alone, as another site could send it.
    let request = app
        .browser
        .request(Method::POST, &job.url(&server))
        .json(&choices::everything());
    app.browser.send(request).await.expect_refusal();
    assert_eq!(
        progress_state(&app.status(&job).await),
        "awaiting-input",
        "nothing changed"
    );

    app.browser.submit(form.enter("")).await.expect(200);
    app.wait_for(&job, "retrieved").await;
}

#[tokio::test]
async fn the_form_sends_nobody_to_a_place_the_app_did_not_register() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    for place in [
        "https://evil.example/",
        "//evil.example/",
        "http://127.0.0.1@evil.example/",
        "http://127.0.0.1.evil.example/",
        "javascript:alert(1)",
        "\\\\evil.example",
    ] {
        let job = app.kick_off("").await;
        let mut url = url::Url::parse(job.form()).unwrap();
        url.query_pairs_mut().append_pair("redirect", place);
        let page = app.browser.open(url.as_str()).await.expect(200);
        let form = job_form(&page).say_yes_to_everything().enter("");
        let answer = app.browser.submit(form).await;
        assert_eq!(answer.location(), None, "sent away for {place}: {answer}");
        answer.expect(200);
    }
}

#[tokio::test]
async fn files_are_closed_until_the_staff_releases_them() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    // A finished export of the same patient tells how the files are named.
    let (done, manifest) = at_once(&app).await;
    let job = in_review(&app).await;
    let staff = Staff::log_in(&server).await;
    let told = staff.job(&job).await;
    let mut guesses = if told["manifest"].is_null() {
        Vec::new()
    } else {
        urls(&told["manifest"])
    };
    guesses.extend(urls(&manifest).iter().map(|url| done.moved_to(&job, url)));
    for url in &guesses {
        app.get(url).await.expect_refusal().assert_outcome();
    }
    staff.approve(&job).await.expect(200);
    let manifest = app.wait_for_manifest(&job).await.json();
    assert!(
        urls(&manifest).iter().all(|url| guesses.contains(url)),
        "the guesses were right"
    );
    app.get(url_of(&manifest, "Patient")).await.expect(200);
}

#[tokio::test]
async fn what_the_patient_deletes_is_gone() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let (done, manifest) = at_once(&app).await;
    let open = app.kick_off("").await;
    let reviewed = in_review(&app).await;
    for job in [&done, &open, &reviewed] {
        app.delete(job).await.expect_outcome(202);
        app.status(job).await.expect_outcome(404);
        app.delete(job).await.expect_outcome(404);
        app.customise(job, &choices::everything())
            .await
            .expect_outcome(404);
        staff
            .get(&format!("/admin/jobs/{}", job.id))
            .await
            .expect(404);
    }
    for url in urls(&manifest) {
        app.get(&url).await.expect_outcome(404);
    }
    app.browser.open(open.form()).await.expect(404);
}

#[tokio::test]
async fn ids_that_are_none_are_not_there() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let long = "x".repeat(300);
    for id in [
        "00000000-0000-4000-8000-000000000000",
        "1",
        "%00",
        "..%2f..",
        "%27%20OR%201=1",
        &long,
    ] {
        for route in [
            "status",
            "download/Patient.ndjson",
            "download/attachments/a.png",
        ] {
            app.get(&server.url(&format!("/jobs/{id}/{route}")))
                .await
                .expect_outcome(404);
        }
        app.browser
            .open(&server.url(&format!("/jobs/{id}/customize")))
            .await
            .expect(404);
    }
    for id in ["%00", "a%20b", "a%2Fb", "%C3%A4", &long] {
        let url = server.url(&format!("/fhir/Patient/{id}/$ehi-export"));
        let answer = ask(&app, Method::POST, &url).await.expect_refusal();
        answer.assert_outcome();
    }
}
