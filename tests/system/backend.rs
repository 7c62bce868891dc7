//! SMART Backend Services: a hospital's own system proves itself by a key and takes records out.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::get;
use jsonwebtoken::Algorithm;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::app::{App, CLIENT, Job, token};
use crate::browser::{Answer, http, send};
use crate::clients::{
    JWT_BEARER, Key, ask, ask_for, claims, demo, now, post_as, system, system_with, with,
};
use crate::export::resources;
use crate::patients::{ANNA, BEN, ByKey, Records};
use crate::server::Server;

/// A token of this system, for the record of this patient.
async fn connect<'s>(server: &'s Server, client: &str, key: &Key, patient: &str) -> App<'s> {
    let assertion = key.sign(&claims(server, client));
    let tokens = ask(server, &assertion).await.expect(200).json();
    App::with_tokens(server, patient, tokens)
}

fn has(record: &ByKey, kind: &str, id: &str) -> bool {
    record.contains_key(&(kind.to_owned(), id.to_owned()))
}

#[tokio::test]
async fn a_system_takes_any_record_out_by_either_kind_of_key() {
    let (ec, rsa) = (Key::p384("ec"), Key::rsa("rsa"));
    let server = demo(&system("etl", &[&ec, &rsa]));
    for (key, patient) in [(&ec, ANNA), (&rsa, BEN)] {
        let assertion = key.sign(&claims(&server, "etl"));
        let answer = ask(&server, &assertion).await.expect(200);
        assert!(answer.header("cache-control").contains("no-store"));
        let tokens = answer.json();
        assert_eq!(tokens["scope"], "system/$ehi-export");
        assert!(tokens["expires_in"].as_u64().unwrap() <= 300, "{tokens}");
        for member in ["refresh_token", "patient", "need_patient_banner"] {
            assert!(tokens.get(member).is_none(), "{member} in {tokens}");
        }

        let app = App::with_tokens(&server, patient, tokens);
        let kick_off = app.try_kick_off("/auto-approve").await.expect(202);
        assert_eq!(kick_off.header("link"), "", "nobody is at a browser");
        let job = Job::read(&kick_off);
        let manifest = app.wait_for_manifest(&job).await.json();
        let record = resources(&app, &manifest).await;
        assert!(has(&record, "Patient", patient));
        assert_eq!(has(&record, "Claim", "bill-2020"), patient == ANNA);
        assert_eq!(
            has(&record, "Condition", "hiv"),
            patient == ANNA,
            "all of it"
        );
        app.delete(&job).await.expect(202);
        app.status(&job).await.expect_outcome(404);
    }
}

#[tokio::test]
async fn a_system_says_with_parameters_what_it_wants() {
    let key = Key::p384("a");
    let server = demo(&system("etl", &[&key]));
    let app = connect(&server, "etl", &key, ANNA).await;
    let body = json!({"resourceType": "Parameters", "parameter": [
        {"name": "category", "valueCode": "visits"},
    ]});
    let request = app
        .request(Method::POST, &app.kick_off_url("/auto-approve"))
        .header("content-type", "application/fhir+json")
        .body(body.to_string());
    let kick_off = send(request).await.expect(202);
    assert_eq!(kick_off.header("link"), "");
    let manifest = app.wait_for_manifest(&Job::read(&kick_off)).await.json();
    let record = resources(&app, &manifest).await;
    assert!(has(&record, "Encounter", "visit-2019"));
    assert!(!has(&record, "Claim", "bill-2020") && !has(&record, "Condition", "hiv"));
}

#[tokio::test]
async fn a_systems_export_is_its_own_and_of_nobody_else() {
    let (one, two) = (Key::p384("one"), Key::p384("two"));
    let server = demo(&(system("one", &[&one]) + &system("two", &[&two])));
    let app = connect(&server, "one", &one, ANNA).await;
    let job = app.kick_off("/auto-approve").await;
    let manifest = app.wait_for_manifest(&job).await.json();
    let file = manifest["output"][0]["url"].as_str().unwrap();

    let other = connect(&server, "two", &two, ANNA).await;
    let patients = App::connect(&server, ANNA).await;
    for stranger in [&other, &patients] {
        stranger.status(&job).await.expect_outcome(404);
        stranger.get(file).await.expect_outcome(404);
        stranger.delete(&job).await.expect_outcome(404);
    }
    let patients_job = patients.kick_off("").await;
    app.status(&patients_job).await.expect_outcome(404);
    app.status(&job).await.expect(200);
}

/// Each has to be refused as the client's failure to prove itself.
async fn assert_unproven(server: &Server, assertion: &str, what: &str) {
    let answer = ask(server, assertion).await;
    assert_eq!(answer.status, 401, "{what}: {answer}");
    assert_eq!(answer.json()["error"], "invalid_client", "{what}");
    assert!(
        answer.header("cache-control").contains("no-store"),
        "{what}"
    );
}

#[tokio::test]
async fn an_assertion_that_is_not_flawless_proves_nothing() {
    let (key, rsa, other) = (Key::p384("a"), Key::rsa("r"), Key::p384("a"));
    let server = demo(&(system("etl", &[&key, &rsa]) + &system("other", &[&Key::p384("b")])));
    let good = || claims(&server, "etl");
    for (name, value) in [
        ("aud", json!(server.url("/fhir"))),
        ("aud", json!(server.url("/auth/revoke"))),
        ("aud", json!("https://other.example/auth/token")),
        ("aud", Value::Null),
        ("exp", json!(now() - 1)),
        ("exp", json!(now() + 3600)),
        ("exp", Value::Null),
        ("nbf", json!(now() + 200)),
        ("iat", json!(now() + 200)),
        ("iss", json!("other")),
        ("iss", json!("nobody")),
        ("sub", json!("other")),
        ("jti", Value::Null),
        ("jti", json!("x".repeat(600))),
    ] {
        let claims = with(good(), name, value);
        assert_unproven(&server, &key.sign(&claims), &claims.to_string()).await;
    }
    assert_unproven(&server, &other.sign(&good()), "another key").await;
    let unnamed = rsa.sign_with(|header| header.kid = Some("z".into()), &good());
    assert_unproven(&server, &unnamed, "an unknown kid").await;
    let rs256 = rsa.sign_with(|header| header.alg = Algorithm::RS256, &good());
    assert_unproven(&server, &rs256, "RS256").await;
    let swapped = key.sign_with(|header| header.kid = Some("r".into()), &good());
    assert_unproven(&server, &swapped, "a key of another kind").await;
    let signed = key.sign(&good());
    let (unsigned, _) = signed.rsplit_once('.').unwrap();
    assert_unproven(&server, &format!("{unsigned}."), "no signature").await;
    assert_unproven(&server, "nonsense", "no JWT").await;
    let long = with(good(), "more", json!("x".repeat(20_000)));
    assert_unproven(&server, &key.sign(&long), "too long").await;

    // The same without a mistake, and without a kid where one key alone fits.
    ask(&server, &key.sign(&good())).await.expect(200);
    let unnamed = rsa.sign_with(|header| header.kid = None, &good());
    ask(&server, &unnamed).await.expect(200);
}

#[tokio::test]
async fn an_assertion_counts_once() {
    let key = Key::p384("a");
    let server = demo(&system("etl", &[&key]));
    let claims = claims(&server, "etl");
    let assertion = key.sign(&claims);
    ask(&server, &assertion).await.expect(200);
    assert_unproven(&server, &assertion, "a replay").await;
    // Signed anew, its jti is still the same.
    assert_unproven(&server, &key.sign(&claims), "the same jti").await;
    // Of many at once, one is the first.
    let claims = crate::clients::claims(&server, "etl");
    let assertion = key.sign(&claims);
    let asked: Vec<_> = (0..8).map(|_| ask(&server, &assertion)).collect();
    let answers: Vec<Answer> = futures::future::join_all(asked).await;
    let good = answers.iter().filter(|answer| answer.status == 200);
    assert_eq!(good.count(), 1);
}

#[tokio::test]
async fn a_client_proves_itself_in_the_one_way_it_is_registered_with() {
    let key = Key::p384("a");
    let server = demo(&system("etl", &[&key]));
    let form = [
        ("grant_type", "client_credentials"),
        ("scope", "system/$ehi-export"),
    ];
    let basic = post_as(&server, "/auth/token", ("etl", "a-secret"), &form).await;
    assert!(basic.header("www-authenticate").starts_with("Basic"));
    basic.expect_oauth(401, "invalid_client");
    let bearer = http()
        .post(server.url("/auth/token"))
        .bearer_auth("x")
        .form(&form);
    send(bearer).await.expect_oauth(401, "invalid_client");

    let assertion = key.sign(&claims(&server, "etl"));
    let proof = [
        ("client_assertion_type", JWT_BEARER),
        ("client_assertion", assertion.as_str()),
    ];
    let both = [form.as_slice(), &proof].concat();
    post_as(&server, "/auth/token", ("etl", "a-secret"), &both)
        .await
        .expect_oauth(400, "invalid_request");
    for (more, status, code) in [
        (("client_secret", "a-secret"), 400, "invalid_request"),
        (("client_id", CLIENT), 400, "invalid_request"),
        (proof[1], 400, "invalid_request"),
    ] {
        let fields = [both.as_slice(), &[more]].concat();
        token(&server, &fields).await.expect_oauth(status, code);
    }
    for fields in [
        vec![form[0], form[1], ("client_id", "etl")],
        vec![
            form[0],
            form[1],
            ("client_id", "etl"),
            ("client_secret", "a-secret"),
        ],
    ] {
        let answer = token(&server, &fields).await;
        assert_eq!(answer.header("www-authenticate"), "");
        answer.expect_oauth(401, "invalid_client");
    }
    let only_type = [form[0], form[1], proof[0]];
    token(&server, &only_type)
        .await
        .expect_oauth(400, "invalid_request");
    // None of these used the assertion up.
    token(&server, &both).await.expect(200);
}

#[tokio::test]
async fn a_system_gets_no_more_than_it_is_registered_for() {
    let key = Key::p384("a");
    let patients = system("app", &[&key]).replace("system/$ehi-export", "patient/$ehi-export");
    let server = demo(&(system("etl", &[&key]) + &patients));
    for (client, scope) in [
        ("app", "system/$ehi-export"),
        ("etl", "patient/$ehi-export"),
        ("etl", "patient/$ehi-export system/$ehi-export"),
        ("etl", "system/*.read"),
        ("etl", "offline_access"),
    ] {
        let assertion = key.sign(&claims(&server, client));
        ask_for(&server, scope, &assertion)
            .await
            .expect_oauth(400, "invalid_scope");
    }
    let assertion = key.sign(&claims(&server, "etl"));
    ask_for(&server, "", &assertion)
        .await
        .expect_oauth(400, "invalid_request");
}

#[tokio::test]
async fn a_systems_token_can_be_taken_back() {
    let key = Key::p384("a");
    let server = demo(&system("etl", &[&key]));
    let app = connect(&server, "etl", &key, ANNA).await;
    let another = connect(&server, "etl", &key, ANNA).await;
    let assertion = key.sign(&claims(&server, "etl"));
    let fields = [
        ("token", app.token.as_str()),
        ("client_assertion_type", JWT_BEARER),
        ("client_assertion", &assertion),
    ];
    send(http().post(server.url("/auth/revoke")).form(&fields))
        .await
        .expect(200);
    app.try_kick_off("").await.expect_outcome(401);
    another.try_kick_off("").await.expect(202);
}

/// A place where a client publishes its keys.
struct Published(Arc<Mutex<Value>>);

impl Published {
    async fn start(keys: &[&Key]) -> (Self, String) {
        let set = Arc::new(Mutex::default());
        let published = Self(Arc::clone(&set));
        published.publish(keys);
        let answer = async move || set.lock().unwrap().to_string();
        let router = Router::new().route("/jwks.json", get(answer));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        (published, format!("http://{address}/jwks.json"))
    }

    fn publish(&self, keys: &[&Key]) {
        let keys: Vec<&Value> = keys.iter().map(|key| &key.jwk).collect();
        *self.0.lock().unwrap() = json!({"keys": keys});
    }
}

#[tokio::test]
async fn a_system_that_publishes_its_keys_changes_them_by_itself() {
    let (old, new) = (Key::p384("old"), Key::rsa("new"));
    let (published, uri) = Published::start(&[&old]).await;
    let server = demo(&system_with("etl", &format!("jwks_uri = '{uri}'")));
    ask(&server, &old.sign(&claims(&server, "etl")))
        .await
        .expect(200);
    assert_unproven(
        &server,
        &Key::p384("old").sign(&claims(&server, "etl")),
        "another",
    )
    .await;
    published.publish(&[&old, &new]);
    ask(&server, &new.sign(&claims(&server, "etl")))
        .await
        .expect(200);
    ask(&server, &old.sign(&claims(&server, "etl")))
        .await
        .expect(200);
    assert_unproven(
        &server,
        &Key::p384("newer").sign(&claims(&server, "etl")),
        "unknown",
    )
    .await;
}

#[tokio::test]
async fn keys_that_cannot_be_fetched_are_a_passing_trouble() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/jwks.json", nobody.local_addr().unwrap());
    drop(nobody);
    let server = demo(&system_with("etl", &format!("jwks_uri = '{uri}'")));
    let answer = ask(&server, &Key::p384("a").sign(&claims(&server, "etl"))).await;
    assert_ne!(answer.header("retry-after"), "");
    answer.expect_oauth(503, "temporarily_unavailable");
}

#[tokio::test]
async fn a_patient_cannot_be_asked_for_what_is_the_systems() {
    let server = Server::demo(&Records::small());
    let request = crate::app::AuthorizeRequest::new(&server)
        .with("scope", "patient/$ehi-export system/$ehi-export");
    let back = crate::browser::Browser::new()
        .get(&request.url(&server))
        .await;
    let back = crate::app::back_to_app(&back);
    assert_eq!(
        crate::app::param(&back, "error").as_deref(),
        Some("invalid_scope")
    );
}
