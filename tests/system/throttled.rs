//! Those who come too often are told to wait, and nobody else is.

use std::time::Duration;

use crate::app::{App, CLIENT, refresh};
use crate::browser::{Answer, Browser, http, send};
use crate::forms::Form;
use crate::patients::{ANNA, Records};
use crate::server::Server;
use crate::site::Site;
use crate::staff::{PASSWORD, Staff, USER};

/// How long an answer says to wait.
#[track_caller]
fn wait(answer: &Answer) -> u64 {
    let wait = answer.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait), "{answer}");
    wait
}

#[tokio::test]
async fn guessing_a_password_is_slowed_down_and_the_wait_is_honest() {
    let server = Site::new().start("");
    let staff = Staff::stranger(&server);
    for user in [USER, "nobody"] {
        for _ in 0..5 {
            staff.try_log_in(user, "guess").await.expect(401);
        }
    }
    let known = staff.try_log_in(USER, PASSWORD).await.expect(429);
    let unknown = staff.try_log_in("nobody", PASSWORD).await.expect(429);
    assert_eq!(known.body, unknown.body, "the same for unknown names");
    // Its time is the system's own.
    tokio::time::sleep(Duration::from_secs(wait(&known))).await;
    staff.try_log_in(USER, PASSWORD).await.expect(200);
    for _ in 0..5 {
        staff.try_log_in(USER, "guess").await.expect(401);
    }

    let browser = Browser::new();
    let page = browser
        .open(&server.url("/patient-login"))
        .await
        .expect(200);
    let form = |password: &str| {
        Form::asking(&page, "password")
            .fill("username", ANNA)
            .fill("password", password)
            .enter("")
    };
    for _ in 0..5 {
        browser.post(&form("guess")).await.expect(401);
    }
    let answer = browser.post(&form("guess")).await.expect(429);
    assert!(
        answer.is_page() && answer.text().contains("wait"),
        "{answer}"
    );
    wait(&answer);
}

#[tokio::test]
async fn logins_of_one_address_are_limited_whomever_they_name() {
    let server = Site::new().start("[limits]\nlogins_per_address = 5");
    let staff = Staff::stranger(&server);
    for number in 0..5 {
        staff
            .try_log_in(&format!("nobody{number}"), "guess")
            .await
            .expect(401);
    }
    wait(&staff.try_log_in(USER, PASSWORD).await.expect(429));
    let form = http().post(server.url("/patient-login"));
    wait(&send(form).await.expect(429));
    send(http().get(server.url("/patient-login")))
        .await
        .expect(200);
}

#[tokio::test]
async fn whoever_comes_back_from_a_login_elsewhere_is_limited_too() {
    for path in [
        "/patient-login/callback?state=a.b&code=c",
        "/admin/login/callback?state=a.b&code=c",
        "/admin/login/start",
    ] {
        let server = Site::new().start("[limits]\nlogins_per_address = 3");
        let come = async || send(http().get(server.url(path))).await;
        for _ in 0..3 {
            come().await.expect(404);
        }
        let page = come().await.expect(429);
        assert!(page.is_page(), "of {path}: {page}");
        wait(&page);
    }
}

#[tokio::test]
async fn tokens_and_kick_offs_are_limited() {
    let server = Site::new().start(
        "[limits]\ntokens_per_address = 10\nkick_offs_per_address = 10\nkick_offs_per_patient = 3",
    );
    let app = App::connect(&server, ANNA).await;
    for _ in 0..3 {
        app.try_kick_off("").await.expect(202);
    }
    wait(&app.try_kick_off("/no-form").await.expect_outcome(429));
    for _ in 0..6 {
        send(http().post(app.kick_off_url(""))).await.expect(401);
    }
    wait(
        &send(http().post(app.kick_off_url("")))
            .await
            .expect_outcome(429),
    );

    // One was used up by the app.
    for _ in 0..9 {
        refresh(&server, "nonsense").await.expect(400);
    }
    let answer = refresh(&server, "nonsense").await;
    wait(&answer);
    answer.expect_oauth(429, "temporarily_unavailable");
    // Each is remembered, with whom it was for where that is known.
    let log = server.log();
    let refused = |action: &str, more: &str| {
        let entry = format!("\"action\":\"{action}\",\"outcome\":\"refused\"{more}}}");
        log.lines().filter(|line| line.contains(&entry)).count()
    };
    let patient = format!(",\"patient\":\"{ANNA}\"");
    assert_eq!(refused("kick-off", &patient), 1);
    assert_eq!(refused("kick-off", ""), 1);
    assert_eq!(refused("issue-token", ""), 10);
    // What nobody limits goes on.
    send(http().get(server.url("/fhir/metadata")))
        .await
        .expect(200);
}

#[tokio::test]
async fn tokens_of_one_client_are_limited() {
    let server = Site::new().start("[limits]\ntokens_per_client = 3");
    // The first of its tokens.
    let app = App::connect(&server, ANNA).await;
    let ask = async |client: &str, token: &str| {
        let fields = [
            ("grant_type", "refresh_token"),
            ("client_id", client),
            ("refresh_token", token),
        ];
        crate::app::token(&server, &fields).await
    };
    // Anybody can name the client; what they get for it uses up nothing.
    for _ in 0..10 {
        ask(CLIENT, "nonsense").await.expect(400);
    }
    let mut token = app.secrets[3].clone();
    for _ in 0..2 {
        let tokens = ask(CLIENT, &token).await.expect(200).json();
        token = tokens["refresh_token"].as_str().unwrap().to_owned();
    }
    wait(&ask(CLIENT, &token).await.expect(429));
    assert_ne!(ask("another", &token).await.status, 429);
}

#[tokio::test]
async fn a_whole_test_suite_passes_at_the_demo() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::stranger(&server);
    for _ in 0..30 {
        staff.try_log_in(USER, "guess").await.expect(401);
    }
    staff.try_log_in(USER, PASSWORD).await.expect(200);
    for _ in 0..300 {
        refresh(&server, "nonsense").await.expect(400);
        app.try_kick_off("").await.expect(202);
    }
}
