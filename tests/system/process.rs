//! The process as its operator meets it: starting, stopping, starting again, and what it logs.

use std::time::Duration;

use tempfile::TempDir;

use crate::app::{App, refresh};
use crate::browser::{http, send};
use crate::export::{at_once, resources};
use crate::patients::{ANNA, Records};
use crate::server::{Log, Server, command, wait_for_exit};
use crate::staff::{PASSWORD, Staff, USER};

#[test]
fn serve_without_a_configuration_says_what_is_missing() {
    let folder = TempDir::new().unwrap();
    let mut child = command()
        .arg("serve")
        .current_dir(folder.path())
        .spawn()
        .unwrap();
    let log = Log::of(&mut child);
    let status = wait_for_exit(&mut child, Duration::from_secs(20)).expect("it runs without one");
    assert!(!status.success(), "it ends as if all were well");
    // The reader of the log may be a moment behind the process.
    std::thread::sleep(Duration::from_millis(200));
    let said = log.text();
    assert!(
        said.to_lowercase().contains("config"),
        "it does not say what is missing: {said}"
    );
    assert!(!said.contains("panicked"), "it falls over: {said}");
}

#[test]
fn an_argument_it_does_not_know_is_refused() {
    let mut child = command().args(["demo", "--nonsense"]).spawn().unwrap();
    let log = Log::of(&mut child);
    let status = wait_for_exit(&mut child, Duration::from_secs(20)).expect("it runs nevertheless");
    assert!(
        !status.success(),
        "it ends as if all were well: {}",
        log.text()
    );
}

#[tokio::test]
async fn a_port_in_use_is_told_and_not_waited_for() {
    let server = Server::demo(&Records::small());
    let data = TempDir::new().unwrap();
    let port = server.port().to_string();
    let mut second = command()
        .args(["demo", "--port", &port, "--data"])
        .arg(data.path())
        .spawn()
        .unwrap();
    let log = Log::of(&mut second);
    let status = wait_for_exit(&mut second, Duration::from_mins(1)).expect("it runs nevertheless");
    assert!(
        !status.success(),
        "it ends as if all were well: {}",
        log.text()
    );
    assert!(
        !log.text().contains("panicked"),
        "it falls over: {}",
        log.text()
    );
}

#[tokio::test]
async fn ctrl_c_ends_it_in_good_order() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    app.kick_off("/no-form").await;
    drop(app);
    let status = server.shutdown();
    assert!(status.success(), "it ends with {status}");
}

#[tokio::test]
async fn a_restart_keeps_the_signing_keys() {
    let (records, data) = (Records::small(), TempDir::new().unwrap());
    let kids = async |server: &Server| {
        let keys = send(http().get(server.url("/auth/jwks.json")))
            .await
            .expect(200)
            .json();
        let keys = keys["keys"].as_array().unwrap();
        keys.iter()
            .map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let first = Server::demo_on(records.folder(), data.path());
    let before = kids(&first).await;
    assert!(!before.is_empty());
    assert!(first.shutdown().success());
    let second = Server::demo_on(records.folder(), data.path());
    assert_eq!(kids(&second).await, before);
}

#[tokio::test]
async fn the_log_of_a_whole_day_holds_no_secret_and_no_name_however_much_it_tells() {
    let server = Server::demo_that_logs(&Records::small(), "trace");
    // Whatever the demo tells of itself at the start, it may: its passwords are in the manual.
    let ready = send(http().get(server.url("/fhir/metadata")))
        .await
        .expect(200);
    let greeting = server.log().len();
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::stranger(&server);
    staff
        .try_log_in(USER, "a-wrong-password-typed-in-haste")
        .await
        .expect(401);
    staff.try_log_in(USER, PASSWORD).await.expect(200);
    let job = app.kick_off("").await;
    app.fill_in_the_form(&job).await.expect(200);
    app.wait_for(&job, "retrieved").await;
    staff
        .add_files(
            &job,
            &[(
                "Dear Anna Åström.txt",
                "text/plain",
                b"words-of-an-attachment",
            )],
        )
        .await
        .expect(200);
    staff.approve(&job).await.expect(200);
    app.wait_for_manifest(&job).await;
    let letter = format!(
        "/jobs/{}/download/attachments/Dear%20Anna%20%C3%85str%C3%B6m.txt",
        job.id
    );
    app.get(&server.url(&letter)).await.expect(200);
    staff
        .get(&format!("/admin/patients/{ANNA}/disclosures"))
        .await
        .expect(200);
    let (_, manifest) = at_once(&app).await;
    resources(&app, &manifest).await;
    let refresh_token = app.tokens["refresh_token"].as_str().unwrap();
    let refreshed = refresh(&server, refresh_token).await.expect(200).json();
    refresh(&server, refresh_token).await.expect(400);
    app.get(&server.url("/nonsense")).await.expect_refusal();

    let mut secrets = app.secrets.clone();
    for member in ["access_token", "refresh_token"] {
        secrets.push(refreshed[member].as_str().unwrap().to_owned());
    }
    secrets.extend(app.browser.cookie_values());
    secrets.extend(staff.browser.cookie_values());
    for known in [
        "a-wrong-password-typed-in-haste",
        PASSWORD,
        "words-of-an-attachment",
        "Peanuts",
        "Åström",
        "%C3%85str",
        "Dear Anna",
        "Dear%20Anna",
    ] {
        secrets.push(known.to_owned());
    }
    let log = server.log();
    assert!(log.len() > greeting, "nothing is logged at all: {ready}");
    for secret in secrets.iter().filter(|secret| secret.len() >= 7) {
        let line = log[greeting..]
            .lines()
            .find(|line| line.contains(secret.as_str()));
        assert_eq!(line, None, "a secret is logged");
    }
}
