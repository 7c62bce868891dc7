//! Reading authorization requests, and the patient's answer.

use std::collections::HashMap;

use super::*;
use crate::auth::LoginAttempt;

const GOOD: &[(&str, &str)] = &[
    ("response_type", "code"),
    ("client_id", "test-app"),
    ("redirect_uri", CALLBACK),
    (
        "scope",
        "patient/$ehi-export launch/patient offline_access openid",
    ),
    ("state", "s p&ce=1"),
    ("aud", "https://ehi.example/fhir"),
    ("code_challenge", CHALLENGE),
    ("code_challenge_method", "S256"),
];

type Pairs = Vec<(&'static str, &'static str)>;

/// The good request with one parameter changed; `None` leaves it out.
fn with(name: &'static str, value: Option<&'static str>) -> Pairs {
    let others = GOOD.iter().copied().filter(|(other, _)| *other != name);
    others.chain(value.map(|value| (name, value))).collect()
}

async fn read(pairs: Pairs) -> Result<AuthorizationRequest, AuthorizationError> {
    House::new().server().read_request(&form(&pairs)).await
}

fn form(pairs: &[(&str, &str)]) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(pairs).finish()
}

fn query(url: &Url) -> HashMap<String, String> {
    url.query_pairs().into_owned().collect()
}

#[tokio::test]
async fn a_good_request_is_read_as_it_was_meant() {
    let request = read(GOOD.to_vec()).await.unwrap();
    assert_eq!(request.client.id, client_id());
    assert_eq!(request.redirect_uri.as_str(), CALLBACK);
    assert_eq!(request.redirect_uri_text, CALLBACK);
    assert_eq!(request.state.as_deref(), Some("s p&ce=1"));
    assert_eq!(request.challenge, PkceChallenge::parse(CHALLENGE).unwrap());
    let granted = scopes("patient/$ehi-export launch/patient offline_access");
    assert_eq!(request.scopes, granted, "and what is unknown is left out");
    assert_eq!(read(with("state", None)).await.unwrap().state, None);
}

#[tokio::test]
async fn while_the_app_is_in_doubt_nobody_is_sent_anywhere() {
    use OAuthErrorCode::{InvalidClient, InvalidRequest};
    for (pairs, code, word) in [
        (with("client_id", None), InvalidRequest, "client_id"),
        (with("client_id", Some("")), InvalidRequest, "client_id"),
        (with("client_id", Some("evil")), InvalidClient, "client_id"),
        (with("client_id", Some("no id")), InvalidClient, "client_id"),
        (with("redirect_uri", None), InvalidRequest, "redirect_uri"),
        (
            with("redirect_uri", Some("")),
            InvalidRequest,
            "redirect_uri",
        ),
        (
            with("redirect_uri", Some("https://evil.example/")),
            InvalidRequest,
            "redirect_uri",
        ),
        (
            with("redirect_uri", Some("https://app.example/")),
            InvalidRequest,
            "redirect_uri",
        ),
        (
            with("redirect_uri", Some("http://127.0.0.1/")),
            InvalidRequest,
            "redirect_uri",
        ),
    ] {
        let refused = read(pairs.clone()).await.unwrap_err();
        let AuthorizationError::Direct(error) = refused else {
            panic!("{pairs:?}: {refused:?}")
        };
        assert_eq!(error.error, code, "{pairs:?}");
        assert!(error.error_description.contains(word), "{error:?}");
    }
}

#[tokio::test]
async fn once_the_app_is_known_it_is_told_what_is_wrong() {
    use OAuthErrorCode::{InvalidRequest, InvalidScope};
    for (pairs, code, word) in [
        (with("response_type", None), InvalidRequest, "response_type"),
        (
            with("response_type", Some("token")),
            InvalidRequest,
            "response_type",
        ),
        (with("aud", None), InvalidRequest, "aud"),
        (
            with("aud", Some("https://evil.example/fhir")),
            InvalidRequest,
            "aud",
        ),
        (with("scope", None), InvalidRequest, "scope"),
        (
            with("scope", Some("openid offline_access")),
            InvalidScope,
            "patient/$ehi-export",
        ),
        (
            with("scope", Some("system/$ehi-export")),
            InvalidScope,
            "system/",
        ),
        (with("code_challenge_method", None), InvalidRequest, "S256"),
        (
            with("code_challenge_method", Some("plain")),
            InvalidRequest,
            "S256",
        ),
        (
            with("code_challenge", None),
            InvalidRequest,
            "code_challenge",
        ),
        (
            with("code_challenge", Some("short")),
            InvalidRequest,
            "code_challenge",
        ),
    ] {
        let refused = read(pairs.clone()).await.unwrap_err();
        let AuthorizationError::Redirect(url, error) = refused else {
            panic!("{pairs:?}: {refused:?}")
        };
        assert_eq!(error.error, code, "{pairs:?}");
        assert!(error.error_description.contains(word), "{error:?}");
        assert!(url.as_str().starts_with(CALLBACK), "{url}");
        let told = query(&url);
        assert_eq!(told["from"], "ehi", "the app's own query stays");
        assert_eq!(told["error"], code.as_str());
        assert_eq!(told["error_description"], error.error_description);
        assert_eq!(told["state"], "s p&ce=1");
        assert!(!told.contains_key("code"));
    }
}

#[tokio::test]
async fn an_error_without_state_brings_none_back() {
    let mut pairs = with("state", None);
    pairs.retain(|(name, _)| *name != "aud");
    let refused = read(pairs).await.unwrap_err();
    let AuthorizationError::Redirect(url, _) = refused else {
        panic!("{refused:?}")
    };
    assert!(!query(&url).contains_key("state"));
}

#[tokio::test]
async fn the_app_is_checked_before_everything_else() {
    // All is wrong: the app hears first of the app, then of its address.
    let unknown = read(vec![
        ("client_id", "evil"),
        ("redirect_uri", "https://evil.example"),
    ]);
    let AuthorizationError::Direct(error) = unknown.await.unwrap_err() else {
        panic!("sent away")
    };
    assert_eq!(error.error, OAuthErrorCode::InvalidClient);
    let astray = read(vec![
        ("client_id", "test-app"),
        ("redirect_uri", "https://evil.example"),
    ]);
    let AuthorizationError::Direct(error) = astray.await.unwrap_err() else {
        panic!("sent away")
    };
    assert!(error.error_description.contains("redirect_uri"));
}

#[tokio::test]
async fn a_parameter_that_comes_twice_is_told_to_the_app_unless_it_says_who_or_where_that_is() {
    for &(name, value) in GOOD.iter().chain(&[("nonce", "1")]) {
        let mut pairs = with(name, Some(value));
        pairs.push((name, value));
        let refused = read(pairs).await.unwrap_err();
        let error = match (name, refused) {
            ("client_id" | "redirect_uri", AuthorizationError::Direct(error)) => error,
            ("client_id" | "redirect_uri", AuthorizationError::Redirect(url, _)) => {
                panic!("{name}: sent to {url}")
            }
            (_, AuthorizationError::Redirect(url, error)) => {
                let told = query(&url);
                assert_eq!(told["error"], "invalid_request", "{name}");
                // Of two states neither is the app's for sure.
                let state = told.get("state").map(String::as_str);
                assert_eq!(state, (name != "state").then_some("s p&ce=1"), "{name}");
                error
            }
            (_, refused @ AuthorizationError::Direct(_)) => panic!("{name}: {refused:?}"),
        };
        assert_eq!(error.error, OAuthErrorCode::InvalidRequest);
        assert!(error.error_description.contains(name), "{error:?}");
    }
}

#[tokio::test]
async fn a_request_too_long_to_log_in_by_is_told_to_the_app_with_its_state() {
    let of_length = |length: usize| {
        let query = form(&with("state", Some("")));
        format!("{query}&state={}", "x".repeat(length - query.len() - 7))
    };
    let house = House::new().server();
    let fits = of_length(LoginAttempt::LONGEST);
    assert_eq!(fits.len(), LoginAttempt::LONGEST);
    assert!(house.read_request(&fits).await.is_ok());
    let long = of_length(LoginAttempt::LONGEST + 1);
    let refused = house.read_request(&long).await;
    let Err(AuthorizationError::Redirect(url, error)) = refused else {
        panic!("not told to the app")
    };
    assert_eq!(error.error, OAuthErrorCode::InvalidRequest);
    assert!(query(&url)["state"].len() > 3_000);
}

#[tokio::test]
async fn a_client_gets_no_scope_it_is_not_registered_for() {
    let mut house = House::new();
    house.registered.scopes = scopes("patient/$ehi-export");
    let request = house.server().read_request(&form(GOOD)).await.unwrap();
    assert_eq!(request.scopes, scopes("patient/$ehi-export"));

    let mut house = House::new();
    house.registered.scopes = scopes("system/$ehi-export offline_access");
    let refused = house.server().read_request(&form(GOOD)).await;
    let Err(AuthorizationError::Redirect(_, error)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(error.error, OAuthErrorCode::InvalidScope);
}

#[tokio::test]
async fn a_patient_cannot_give_away_the_whole_system() {
    for all in [
        "patient/$ehi-export system/$ehi-export offline_access",
        "system/*.read patient/$ehi-export",
    ] {
        let refused = read(with("scope", Some(all))).await;
        let Err(AuthorizationError::Redirect(_, error)) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(error.error, OAuthErrorCode::InvalidScope);
    }
}

#[tokio::test]
async fn clients_that_cannot_be_looked_up_are_told_as_a_passing_trouble() {
    let mut house = House::new();
    (house.clients.expect_client()).returning(|_| Err(StoreError::unavailable("10.0.0.7 refused")));
    let refused = house.server().read_request(&form(GOOD)).await;
    let Err(AuthorizationError::Direct(error)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(error.error, OAuthErrorCode::TemporarilyUnavailable);
    assert!(!error.error_description.contains("10.0.0.7"));
}

#[tokio::test]
async fn consent_gives_the_app_a_code_for_exactly_what_was_asked() {
    let (keep, kept) = std::sync::mpsc::channel();
    let mut house = House::new();
    (house.grants.expect_insert_code()).returning(move |code, grant| {
        keep.send((code, grant.clone())).unwrap();
        Ok(())
    });
    let audit = house.recorded.clone();
    let server = house.server();
    let request = server.read_request(&form(GOOD)).await.unwrap();
    let url = server.consent(&request, &session()).await.unwrap();
    assert!(url.as_str().starts_with(CALLBACK), "{url}");
    let answer = query(&url);
    assert_eq!(answer["state"], "s p&ce=1");
    assert_eq!(answer["from"], "ehi");
    assert_eq!(answer["iss"], "https://ehi.example", "RFC 9207");
    let (hash, grant) = kept.recv().unwrap();
    assert_eq!(
        hash,
        secret(&answer["code"]).hash(),
        "only the hash is kept"
    );
    let expected = CodeGrant {
        grant: grant.grant,
        ..code_grant()
    };
    assert_eq!(grant, expected);
    assert_eq!(audit.actions(), [Action::Authorize]);
    assert_eq!(audit.events()[0].client, Some(client_id()));
    assert_eq!(audit.events()[0].actor, Actor::Patient(patient().id));

    let again = server.consent(&request, &session()).await.unwrap();
    assert_ne!(query(&again)["code"], answer["code"]);
    assert_ne!(
        kept.recv().unwrap().1.grant,
        grant.grant,
        "each consent is its own grant"
    );
}

#[tokio::test]
async fn without_an_audit_entry_there_is_no_code() {
    let mut house = House::new().without_audit();
    house.grants.expect_insert_code().never();
    let server = house.server();
    let request = server.read_request(&form(GOOD)).await.unwrap();
    assert!(server.consent(&request, &session()).await.is_err());
    assert!(server.refuse(&request, &session()).await.is_err());
}

#[tokio::test]
async fn a_patient_who_says_no_sends_the_app_a_no() {
    let house = House::new();
    let audit = house.recorded.clone();
    let server = house.server();
    let request = server.read_request(&form(GOOD)).await.unwrap();
    let url = server.refuse(&request, &session()).await.unwrap();
    let answer = query(&url);
    assert_eq!(
        (answer["error"].as_str(), answer["state"].as_str()),
        ("access_denied", "s p&ce=1")
    );
    assert!(!answer.contains_key("code"));
    assert_eq!(audit.actions(), [Action::RefuseConsent]);
}
