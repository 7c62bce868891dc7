//! The whole way of a record: from the app's first question to the last line of the last file.

use std::path::PathBuf;
use std::str::FromStr;

use jiff::fmt::rfc2822;
use serde_json::Value;

use crate::app::{App, Job, job_form, log_in, patient_interaction, progress_state};
use crate::browser::{Answer, Browser};
use crate::choices;
use crate::export::{assert_same, at_once, by_form_and_review, in_review, resources};
use crate::patients::{ANNA, Records, anna, patients_in, read_bundle};
use crate::server::Server;
use crate::site::Site;
use crate::staff::Staff;

#[tokio::test]
async fn a_patient_takes_the_whole_record_out() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;

    let kick_off = app.try_kick_off("").await.expect(202);
    kick_off.assert_outcome();
    let job = Job::read(&kick_off);
    assert_eq!(
        job.status_url,
        server.url(&format!("/jobs/{}/status", job.id))
    );
    let form = server.url(&format!("/jobs/{}/customize?_patient={ANNA}", job.id));
    assert_eq!(job.form_url.as_ref(), Some(&form));

    let waiting = app.status(&job).await.expect(202);
    assert_eq!(progress_state(&waiting), "awaiting-input");
    assert_eq!(
        patient_interaction(&waiting),
        Some(form),
        "the form is open"
    );
    assert_retry_after(&waiting);

    app.fill_in_the_form(&job).await.expect(200);
    let exporting = app.status(&job).await.expect(202);
    assert_ne!(progress_state(&exporting), "awaiting-input");
    assert_eq!(patient_interaction(&exporting), None, "the form is closed");

    let retrieved = app.wait_for(&job, "retrieved").await;
    assert_eq!(patient_interaction(&retrieved), None, "the form is closed");
    assert_retry_after(&retrieved);

    Staff::log_in(&server).await.approve(&job).await.expect(200);
    let done = app.wait_for_manifest(&job).await;
    assert_eq!(patient_interaction(&done), None, "the form is closed");
    assert_expires(&done);
    let exported = resources(&app, &done.json()).await;
    assert_same(&exported, &read_bundle(&anna()).1);
}

#[tokio::test]
async fn the_form_sent_as_json_does_the_same_as_in_the_browser() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let job = in_review(&app).await;
    Staff::log_in(&server).await.approve(&job).await.expect(200);
    let manifest = app.wait_for_manifest(&job).await.json();
    assert_same(&resources(&app, &manifest).await, &read_bundle(&anna()).1);
}

#[tokio::test]
async fn a_browser_without_a_session_logs_in_on_the_way_to_the_form() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let job = app.kick_off("").await;

    let browser = Browser::new();
    let sent_away = browser.get(job.form()).await.expect(302);
    assert_eq!(sent_away.location().unwrap().path(), "/patient-login");
    let page = log_in(&browser, job.form(), ANNA).await;
    let form = job_form(&page).say_yes_to_everything();
    browser.submit(form.enter("")).await.expect(200);
    app.wait_for(&job, "retrieved").await;
}

#[tokio::test]
async fn after_the_form_the_browser_returns_to_the_app() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let job = app.kick_off("").await;
    let back = "http://localhost:5005/return?patient=1&x=%26";
    let mut url = url::Url::parse(job.form()).unwrap();
    url.query_pairs_mut().append_pair("redirect", back);
    let page = app.browser.open(url.as_str()).await.expect(200);
    let form = job_form(&page).say_yes_to_everything();
    let answer = app.browser.submit(form.enter("")).await;
    assert_eq!(
        answer.location().map(String::from).as_deref(),
        Some(back),
        "of {answer}"
    );
}

#[tokio::test]
async fn after_the_form_the_browser_returns_to_where_the_app_registered() {
    let (first, second) = ("https://app.example", "https://app.example/b");
    let site = Site::new();
    let directory = std::fs::read_to_string(site.at("directory.toml")).unwrap();
    let registered = format!("loopback = 'any'\nreturn_urls = ['{first}', '{second}']");
    let directory = directory.replacen("loopback = 'any'", &registered, 1);
    site.write("directory.toml", &directory);
    let server = site.start("");
    let app = App::connect(&server, ANNA).await;
    for (asked, url) in [
        (None, "https://app.example/"),
        (Some("https://evil.example/"), "https://app.example/"),
        (Some(first), "https://app.example/"),
        (Some(second), "https://app.example/b"),
    ] {
        let job = app.kick_off("").await;
        let mut form_url = url::Url::parse(job.form()).unwrap();
        if let Some(asked) = asked {
            form_url.query_pairs_mut().append_pair("redirect", asked);
        }
        let page = app.browser.open(form_url.as_str()).await.expect(200);
        let policy = page.header("content-security-policy");
        assert!(
            policy.ends_with("form-action 'self' https://app.example"),
            "asked for {asked:?}: {policy}"
        );
        let form = job_form(&page).say_yes_to_everything();
        let answer = app.browser.submit(form.enter("")).await;
        let location = answer.location().map(String::from);
        assert_eq!(location.as_deref(), Some(url), "asked for {asked:?}");
        let done = app.browser.open(form_url.as_str()).await.expect(200);
        let link = format!("href=\"{url}\"");
        assert!(done.text().contains(&link), "asked for {asked:?}: {done}");
        app.delete(&job).await.expect(202);
    }
}

#[tokio::test]
async fn the_manifest_has_every_member_it_must_have() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let job = app.kick_off("/no-form/auto-approve").await;
    let answer = app.wait_for_manifest(&job).await;
    assert_expires(&answer);
    assert!(
        answer
            .header("content-type")
            .starts_with("application/json"),
        "of {answer}"
    );

    let manifest = answer.json();
    let time = manifest["transactionTime"].as_str().unwrap();
    assert!(
        jiff::Timestamp::from_str(time).is_ok(),
        "no instant: {time}"
    );
    assert_eq!(
        manifest["request"],
        app.kick_off_url("/no-form/auto-approve")
    );
    assert_eq!(manifest["requiresAccessToken"], true);
    assert_eq!(manifest["error"], Value::Array(Vec::new()));
    let documentation = manifest["extension"]["ehiDocumentationUrl"]
        .as_str()
        .unwrap();
    assert!(
        url::Url::parse(documentation).is_ok(),
        "no URL: {documentation}"
    );
    let files = server.url(&format!("/jobs/{}/download/", job.id));
    for output in manifest["output"].as_array().unwrap() {
        assert!(
            output["type"].is_string() && output["count"].is_u64(),
            "in {manifest}"
        );
        assert!(
            output["url"].as_str().unwrap().starts_with(&files),
            "in {manifest}"
        );
    }
}

#[tokio::test]
async fn every_test_kick_off_skips_what_it_says_and_nothing_else() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let source = read_bundle(&anna()).1;
    for (prefix, form, review) in [
        ("/no-form", false, true),
        ("/auto-approve", true, false),
        ("/no-form/auto-approve", false, false),
        ("/auto-approve/no-form", false, false),
    ] {
        let kick_off = app.try_kick_off(prefix).await.expect(202);
        assert_eq!(
            patient_interaction(&kick_off).is_some(),
            form,
            "form of {prefix}"
        );
        let job = Job::read(&kick_off);
        assert_eq!(staff.job(&job).await["autoApprove"], !review, "of {prefix}");
        if form {
            assert_eq!(
                progress_state(&app.status(&job).await),
                "awaiting-input",
                "of {prefix}"
            );
            app.customise(&job, &choices::everything())
                .await
                .expect(200);
        }
        if review {
            app.wait_for(&job, "retrieved").await;
            staff.approve(&job).await.expect(200);
        }
        let manifest = app.wait_for_manifest(&job).await.json();
        assert_eq!(manifest["request"], app.kick_off_url(prefix), "of {prefix}");
        assert_same(&resources(&app, &manifest).await, &source);
    }
}

#[tokio::test]
async fn a_kick_off_may_carry_parameters_and_nothing_that_is_none() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let url = app.kick_off_url("");
    let kick_off = |body: &str| {
        let request = app.request(reqwest::Method::POST, &url);
        crate::browser::send(
            request
                .header("content-type", "application/fhir+json")
                .body(body.to_owned()),
        )
    };
    kick_off(r#"{"resourceType": "Parameters"}"#)
        .await
        .expect(202);
    kick_off(r#"{"resourceType": "Patient"}"#)
        .await
        .expect_outcome(400);
    kick_off(r#"{"resourceType": "Parameters""#)
        .await
        .expect_outcome(400);
}

#[tokio::test]
async fn parameters_of_the_kick_offs_url_are_told_to_have_no_effect() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let asked = "_type=Patient%2CCondition&_since=2020-01-01T00:00:00Z&_outputFormat=ndjson";
    let kick_off = async |prefix: &str, query: &str| {
        let url = format!("{}{query}", app.kick_off_url(prefix));
        let request = app.request(reqwest::Method::POST, &url);
        let answer = crate::browser::send(request).await;
        (url, answer)
    };
    for (prefix, form) in [("", true), ("/no-form/auto-approve", false)] {
        let (url, answer) = kick_off(prefix, &format!("?{asked}")).await;
        let answer = answer.expect_outcome(202);
        let issues = answer.json()["issue"].as_array().unwrap().clone();
        assert_eq!(issues.len(), 2, "{answer}");
        assert_eq!(issues[1]["severity"], "information");
        assert_eq!(issues[1]["code"], "informational");
        let said = issues[1]["diagnostics"].as_str().unwrap();
        for name in ["_type", "_since", "_outputFormat", "OperationDefinition"] {
            assert!(said.contains(name), "{name}: {said}");
        }
        assert_eq!(said.contains("in the form"), form, "{said}");
        if !form {
            let manifest = app.wait_for_manifest(&Job::read(&answer)).await.json();
            assert_eq!(manifest["request"], url);
            let exported = resources(&app, &manifest).await;
            assert_same(&exported, &read_bundle(&anna()).1);
        }
    }
    let (_, plain) = kick_off("", "").await;
    assert_eq!(plain.json()["issue"].as_array().unwrap().len(), 1);
    let (_, long) = kick_off("", &format!("?{}", "x".repeat(3_000))).await;
    long.expect_outcome(414);
}

#[tokio::test]
async fn text_and_decimals_arrive_to_the_last_character() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let (_, manifest) = at_once(&app).await;
    let bill = app
        .get(crate::export::url_of(&manifest, "Claim"))
        .await
        .expect(200);
    assert!(
        bill.text().contains("129.1600"),
        "the zeros tell the precision: {bill}"
    );
}

#[tokio::test]
async fn every_sample_patient_arrives_complete_and_unchanged_but_for_psychotherapy_notes() {
    let server = Server::demo_of_samples();
    let patients = patients_in(&server.data().join("records"));
    assert!(
        patients.len() >= 10,
        "only {} sample patients",
        patients.len()
    );
    let mut withheld = 0;
    for (patient, mut source) in patients {
        let app = App::connect(&server, &patient).await;
        let (_, manifest) = at_once(&app).await;
        let before = source.len();
        source.retain(|_, resource| !is_psychotherapy_note(resource));
        withheld += before - source.len();
        assert_same(&resources(&app, &manifest).await, &source);
    }
    assert!(withheld > 0, "the samples hold none");
}

/// 45 CFR 164.501: no part of what can be exported.
fn is_psychotherapy_note(resource: &Value) -> bool {
    let labels = resource["meta"]["security"].as_array();
    labels.is_some_and(|labels| labels.iter().any(|label| label["code"] == "PSYTHPN"))
}

/// Goes over the records in `fhir` next to the checkout's neighbour folder `shared` where there
/// are any, and over the tests' own records where not.
#[tokio::test]
async fn every_foreign_record_arrives_complete_and_unchanged_by_form_and_review() {
    let own = Records::small();
    let foreign = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/fhir");
    let folder = if foreign.is_dir() {
        foreign.as_path()
    } else {
        own.folder()
    };
    let data = tempfile::TempDir::new().unwrap();
    let server = Server::demo_on(folder, data.path());
    let patients = patients_in(folder);
    assert!(!patients.is_empty(), "no records in {}", folder.display());
    for (patient, source) in patients {
        assert_same(&by_form_and_review(&server, &patient).await, &source);
    }
}

#[track_caller]
fn assert_retry_after(answer: &Answer) {
    let seconds: u64 = answer.header("retry-after").parse().expect("whole seconds");
    assert!(seconds <= 300, "not honest: {seconds}");
}

#[track_caller]
fn assert_expires(answer: &Answer) {
    let time = |header| rfc2822::parse(answer.header(header)).expect("an HTTP date");
    assert!(time("expires") > time("date"), "expired already: {answer}");
}
