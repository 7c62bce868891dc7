//! What the authentication of clients promises.

use secrecy::ExposeSecret;
use serde_json::json;

use super::*;
use crate::auth::service::tests::{House, TOKEN_URL, claims, secret};
use crate::auth::{
    ClientKeySet, ClientKeys, OAuthErrorCode, TokenLifetimes, TokenRequest, TokenResponse,
};
use crate::ports::{Actor, Outcome, StoreError};
use crate::testkit::{at, client_id};
use std::time::Duration;

fn read(
    authorization: Option<&str>,
    form: &[(&str, &str)],
) -> Result<ClientCredentials, OAuthError> {
    ClientCredentials::read(authorization, form.iter().copied())
}

fn basic_of(text: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(text))
}

/// A JWT with these claims that nobody signed.
fn unsigned(claims: &Value) -> String {
    format!(
        "e30.{}.c2ln",
        BASE64_URL_SAFE_NO_PAD.encode(claims.to_string())
    )
}

fn assertion_form(assertion: &str) -> [(&str, &str); 2] {
    [
        ("client_assertion_type", JWT_BEARER),
        ("client_assertion", assertion),
    ]
}

#[test]
fn credentials_are_read_from_where_the_standards_have_them() {
    let told = read(None, &[("client_id", "app")]).unwrap();
    assert!(matches!(told, ClientCredentials::Unproven(Some(id)) if id.as_str() == "app"));
    assert!(matches!(
        read(None, &[]).unwrap(),
        ClientCredentials::Unproven(None)
    ));

    // RFC 6749, section 2.3.1: both parts are form-encoded first.
    for (text, id, secret) in [
        ("app:s3cret", "app", "s3cret"),
        ("my%3Aapp:a%2Bb+c%3a%25", "my:app", "a+b c:%"),
        ("app:a:b", "app", "a:b"),
    ] {
        let header = basic_of(text).replace("Basic", "bAsIC");
        let ClientCredentials::Secret(told, kept) = read(Some(&header), &[]).unwrap() else {
            panic!("{text}")
        };
        assert_eq!((told.as_str(), kept.expose_secret()), (id, secret));
    }

    let jwt = unsigned(&json!({"iss": "app"}));
    let told = read(None, &assertion_form(&jwt)).unwrap();
    assert!(matches!(&told, ClientCredentials::Assertion(id, _) if id.as_str() == "app"));
    assert!(!format!("{told:?}").contains(&jwt));
}

#[test]
fn a_client_proves_itself_in_exactly_one_way() {
    use OAuthErrorCode::{InvalidClient, InvalidRequest};
    let header = basic_of("app:s3cret");
    let jwt = unsigned(&json!({"iss": "app"}));
    let [kind, assertion] = assertion_form(&jwt);
    let body = ("client_secret", "s3cret");
    let name = ("client_id", "app");
    let other = ("client_id", "other");
    let header = Some(header.as_str());
    for (authorization, form, expected) in [
        (header, vec![kind, assertion], InvalidRequest),
        (header, vec![kind], InvalidRequest),
        (header, vec![body], InvalidRequest),
        (None, vec![kind, assertion, body], InvalidRequest),
        (None, vec![kind, assertion, assertion], InvalidRequest),
        (None, vec![name, name], InvalidRequest),
        (header, vec![other], InvalidRequest),
        (None, vec![kind, assertion, other], InvalidRequest),
        (None, vec![kind], InvalidRequest),
        (None, vec![assertion], InvalidRequest),
        (
            None,
            vec![("client_assertion_type", "saml"), assertion],
            InvalidRequest,
        ),
        (None, vec![name, body], InvalidClient),
    ] {
        let refused = read(authorization, &form).unwrap_err();
        assert_eq!(refused.error, expected, "{form:?}");
    }
    assert!(read(header, &[name]).is_ok() && read(None, &[kind, assertion, name]).is_ok());
}

#[test]
fn what_can_be_no_credentials_is_refused_at_the_edge() {
    let long = basic_of(&format!("app:{}", "x".repeat(513)));
    for header in [
        "",
        "Basic",
        "Basic ",
        "Basic !!!",
        "Bearer abc",
        &basic_of("no-colon"),
        &basic_of("app:"),
        &basic_of(":secret"),
        &basic_of("app:%ff"),
        &long,
    ] {
        let refused = read(Some(header), &[]).unwrap_err();
        assert_eq!(refused.error, OAuthErrorCode::InvalidClient, "{header}");
    }
    let long = unsigned(&json!({"iss": "app", "x": "x".repeat(LONGEST_ASSERTION)}));
    for assertion in [
        "nonsense",
        "a.b.c",
        &unsigned(&json!({})),
        &unsigned(&json!({"iss": 7})),
        &unsigned(&json!({"iss": "a b"})),
        &long,
    ] {
        let refused = read(None, &assertion_form(assertion)).unwrap_err();
        assert_eq!(refused.error, OAuthErrorCode::InvalidClient);
    }
}

/// A house of a system that proves itself by a key.
fn house() -> House {
    let mut house = House::new();
    let n = BASE64_URL_SAFE_NO_PAD.encode([0xff; 256]);
    let keys = json!({"keys": [{"kty": "RSA", "n": n, "e": "AQAB"}]});
    let keys = ClientKeySet::registered(keys).unwrap();
    house.registered.authentication = ClientAuthentication::Key(ClientKeys::Registered(keys));
    house
}

/// Claims of a good assertion at second 0, with members replaced (or, by null, left out).
fn assertion_claims(changes: &Value) -> Value {
    let mut claims = json!({
        "iss": "test-app",
        "sub": "test-app",
        "aud": TOKEN_URL,
        "exp": at(300).as_second(),
        "jti": "once",
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        }
    }
    claims
}

fn signed(claims: &Value) -> ClientCredentials {
    ClientCredentials::Assertion(client_id(), ClientAssertion(claims.to_string()))
}

async fn ask(house: House, credentials: &ClientCredentials) -> Result<TokenResponse, OAuthError> {
    let request = TokenRequest::ClientCredentials {
        scope: "system/$ehi-export".into(),
    };
    let server = house.server();
    server.token(request, credentials, &Origin::default()).await
}

/// Asks with these claims, well signed.
async fn ask_with(mut house: House, changes: &Value) -> Result<TokenResponse, OAuthError> {
    (house.assertions.expect_verify())
        .returning(|_, _, assertion| Ok(serde_json::from_str(assertion).unwrap()));
    ask(house, &signed(&assertion_claims(changes))).await
}

#[tokio::test]
async fn a_system_with_a_key_gets_a_token_for_itself() {
    let (keep, kept) = std::sync::mpsc::channel();
    let mut house = house();
    (house.grants.expect_use_jti()).returning(move |client, jti, until| {
        keep.send((client.clone(), jti, until)).unwrap();
        Ok(JtiUse::First)
    });
    let audit = house.recorded.clone();
    let response = ask_with(house, &json!({})).await.unwrap();
    let (client, jti, until) = kept.recv().unwrap();
    assert_eq!((client, jti), (client_id(), secret("once").hash()));
    assert!(until > at(300), "kept as long as the assertion lives");

    let json = serde_json::to_value(&response).unwrap();
    let expected = json!({
        "access_token": response.access_token,
        "token_type": "Bearer",
        "expires_in": 300,
        "scope": "system/$ehi-export",
    });
    assert_eq!(json, expected, "no patient, and nothing to refresh by");
    let said = claims(&response);
    assert_eq!(
        (&said["sub"], &said["client_id"]),
        (&json!("test-app"), &json!("test-app"))
    );
    assert!(said.get("patient").is_none());
    assert_eq!(audit.actions(), [Action::IssueToken]);
    assert_eq!(audit.events()[0].actor, Actor::Client(client_id()));
}

#[tokio::test]
async fn a_systems_token_lives_five_minutes_at_most() {
    for (clients, expected) in [(None, 300), (Some(60), 60), (Some(600), 300)] {
        let mut house = house();
        house.registered.lifetimes = TokenLifetimes {
            access: clients.map(Duration::from_secs),
            refresh: None,
        };
        (house.grants.expect_use_jti()).returning(|_, _, _| Ok(JtiUse::First));
        let mut server = house;
        (server.assertions.expect_verify())
            .returning(|_, _, assertion| Ok(serde_json::from_str(assertion).unwrap()));
        let mut server = server.server();
        server.settings.access_lifetime = Duration::from_hours(1);
        let request = TokenRequest::ClientCredentials {
            scope: "system/$ehi-export".into(),
        };
        let credentials = signed(&assertion_claims(&json!({})));
        let response = server
            .token(request, &credentials, &Origin::default())
            .await;
        assert_eq!(response.unwrap().expires_in, expected);
    }
}

#[tokio::test]
async fn an_assertion_is_taken_as_long_as_it_keeps_the_rules() {
    for good in [
        json!({"exp": at(1).as_second()}),
        json!({"aud": [TOKEN_URL]}),
        json!({"iat": at(5).as_second(), "nbf": at(0).as_second()}),
        json!({"exp": 1_704_067_200.5 + 100.0}),
        json!({"jti": "x".repeat(512)}),
        json!({"more": {"than": "needed"}}),
    ] {
        let mut house = house();
        (house.grants.expect_use_jti()).returning(|_, _, _| Ok(JtiUse::First));
        let asked = ask_with(house, &good).await;
        assert!(asked.is_ok(), "{good}: {asked:?}");
    }
}

#[tokio::test]
async fn an_assertion_that_breaks_a_rule_is_refused_told_and_used_up_by_nobody() {
    for (bad, word) in [
        (json!({"iss": "other"}), "iss"),
        (json!({"sub": "other"}), "sub"),
        (json!({"sub": null}), "sub"),
        (json!({"aud": "https://ehi.example/fhir"}), "aud"),
        (json!({"aud": "https://ehi.example"}), "aud"),
        (json!({"aud": format!("{TOKEN_URL}/")}), "aud"),
        (json!({"aud": []}), "aud"),
        (json!({"aud": ["https://other.example", TOKEN_URL]}), "aud"),
        (json!({"aud": null}), "aud"),
        (json!({"exp": null}), "exp"),
        (json!({"exp": "soon"}), "exp"),
        (json!({"exp": at(0).as_second()}), "expired"),
        (json!({"exp": at(-60).as_second()}), "expired"),
        (json!({"exp": at(360).as_second()}), "five minutes"),
        (json!({"exp": 1e300}), "five minutes"),
        (json!({"nbf": at(60).as_second()}), "future"),
        (json!({"iat": at(60).as_second()}), "future"),
        (json!({"jti": null}), "jti"),
        (json!({"jti": ""}), "jti"),
        (json!({"jti": "x".repeat(513)}), "jti"),
        (json!({"jti": 7}), "jti"),
    ] {
        let house = house();
        let audit = house.recorded.clone();
        let error = ask_with(house, &bad).await.unwrap_err();
        assert_eq!(error.error, OAuthErrorCode::InvalidClient, "{bad}");
        assert!(error.error_description.contains(word), "{bad}: {error}");
        let [refused] = &audit.events()[..] else {
            panic!("one entry")
        };
        assert_eq!(
            (refused.action, refused.outcome),
            (Action::IssueToken, Outcome::Refused)
        );
        assert_eq!(refused.actor, Actor::Unknown);
    }
}

#[tokio::test]
async fn an_assertion_counts_once() {
    let mut house = house();
    (house.grants.expect_use_jti()).returning(|_, _, _| Ok(JtiUse::Again));
    let error = ask_with(house, &json!({})).await.unwrap_err();
    assert_eq!(error.error, OAuthErrorCode::InvalidClient);
    assert!(error.error_description.contains("used before"));
}

/// What a client is told, whatever it is that fails before its signature was believed.
async fn told(house: House, credentials: ClientCredentials) -> (OAuthErrorCode, String) {
    let error = ask(house, &credentials).await.unwrap_err();
    (error.error, error.error_description)
}

#[tokio::test]
async fn an_unknown_client_a_wrong_proof_and_a_wrong_method_read_the_same() {
    let unknown = || ClientId::parse("unknown").unwrap();
    let jwt = || ClientAssertion(assertion_claims(&json!({})).to_string());
    let by_secret = |right: bool| {
        let mut house = House::new();
        house.registered.authentication = ClientAuthentication::Secret;
        (house.clients.expect_verify_secret())
            .times(1)
            .returning(move |_, _| Ok(right));
        house
    };
    let secret = |id| ClientCredentials::Secret(id, "s3cret".to_owned().into());
    let mut forged = house();
    (forged.assertions.expect_verify()).returning(|_, _, _| Err(AssertionError::Invalid));
    let mut key = house();
    (key.clients.expect_verify_secret()).returning(|_, _| Ok(false));
    let mut public = House::new();
    (public.clients.expect_verify_secret()).returning(|_, _| Ok(false));
    let mut right_but_registered_otherwise = house();
    (right_but_registered_otherwise
        .clients
        .expect_verify_secret())
    .returning(|_, _| Ok(true));
    let tried = [
        (by_secret(false), secret(client_id())),
        (by_secret(false), secret(unknown())),
        (key, secret(client_id())),
        (public, secret(client_id())),
        (right_but_registered_otherwise, secret(client_id())),
        (forged, ClientCredentials::Assertion(client_id(), jwt())),
        (house(), ClientCredentials::Assertion(unknown(), jwt())),
        (
            House::new(),
            ClientCredentials::Assertion(client_id(), jwt()),
        ),
        (house(), ClientCredentials::Unproven(Some(client_id()))),
        (house(), ClientCredentials::Unproven(Some(unknown()))),
    ];
    for (house, credentials) in tried {
        let shown = format!("{credentials:?}");
        let told = told(house, credentials).await;
        assert_eq!(
            told,
            (OAuthErrorCode::InvalidClient, UNPROVEN.to_owned()),
            "{shown}"
        );
    }
}

#[tokio::test]
async fn without_a_key_no_system_gets_a_token() {
    let nobody = ClientCredentials::Unproven(None);
    assert_eq!(
        told(House::new(), nobody).await.0,
        OAuthErrorCode::InvalidClient
    );
    let public = ClientCredentials::Unproven(Some(client_id()));
    assert_eq!(
        told(House::new(), public).await.0,
        OAuthErrorCode::UnauthorizedClient
    );
    let mut secret = House::new();
    secret.registered.authentication = ClientAuthentication::Secret;
    (secret.clients.expect_verify_secret()).returning(|_, _| Ok(true));
    let right = ClientCredentials::Secret(client_id(), "s3cret".to_owned().into());
    assert_eq!(
        told(secret, right).await.0,
        OAuthErrorCode::UnauthorizedClient
    );
}

#[tokio::test]
async fn a_system_gets_the_systems_scope_alone_and_only_where_it_is_registered_for_it() {
    for (scope, registered, granted) in [
        ("system/$ehi-export", "system/$ehi-export", true),
        (
            "system/$ehi-export offline_access system/*.read",
            "system/$ehi-export offline_access",
            true,
        ),
        ("system/$ehi-export", "patient/$ehi-export", false),
        (
            "patient/$ehi-export",
            "patient/$ehi-export system/$ehi-export",
            false,
        ),
        (
            "patient/$ehi-export system/$ehi-export",
            "patient/$ehi-export system/$ehi-export",
            false,
        ),
        ("offline_access", "system/$ehi-export offline_access", false),
    ] {
        let mut house = house();
        house.registered.scopes = crate::auth::Scopes::requested(registered);
        (house.grants.expect_use_jti()).returning(|_, _, _| Ok(JtiUse::First));
        (house.assertions.expect_verify())
            .returning(|_, _, assertion| Ok(serde_json::from_str(assertion).unwrap()));
        let request = TokenRequest::ClientCredentials {
            scope: scope.into(),
        };
        let credentials = signed(&assertion_claims(&json!({})));
        let server = house.server();
        match server
            .token(request, &credentials, &Origin::default())
            .await
        {
            Ok(response) => {
                assert!(granted, "{scope}");
                assert_eq!(response.scope, "system/$ehi-export");
            }
            Err(error) => {
                assert!(!granted, "{scope}: {error}");
                assert_eq!(error.error, OAuthErrorCode::InvalidScope);
            }
        }
    }
}

#[tokio::test]
async fn what_is_down_is_told_as_a_passing_trouble() {
    let down = || StoreError::unavailable("10.0.0.7 refused");
    let mut keys = house();
    (keys.assertions.expect_verify())
        .returning(|_, _, _| Err(AssertionError::Unavailable("10.0.0.7".into())));
    let mut clients = house();
    (clients.clients.expect_client()).returning(move |_| Err(down()));
    let mut jtis = house();
    (jtis.assertions.expect_verify())
        .returning(|_, _, assertion| Ok(serde_json::from_str(assertion).unwrap()));
    (jtis.grants.expect_use_jti()).returning(move |_, _, _| Err(down()));
    for house in [keys, clients, jtis] {
        let told = told(house, signed(&assertion_claims(&json!({})))).await;
        assert_eq!(told.0, OAuthErrorCode::TemporarilyUnavailable);
        assert!(!told.1.contains("10.0.0.7"));
    }
    let mut secrets = House::new();
    (secrets.clients.expect_verify_secret()).returning(move |_, _| Err(down()));
    let secret = ClientCredentials::Secret(client_id(), "s3cret".to_owned().into());
    assert_eq!(
        told(secrets, secret).await.0,
        OAuthErrorCode::TemporarilyUnavailable
    );
}
