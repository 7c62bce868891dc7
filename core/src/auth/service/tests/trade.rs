//! Trading codes and refresh tokens for access tokens.

use super::*;
use crate::auth::{SecretHash, TokenLifetimes};

fn code_request() -> TokenRequest {
    TokenRequest::AuthorizationCode {
        code: secret("the-code"),
        redirect_uri: CALLBACK.into(),
        code_verifier: Some(VERIFIER.into()),
    }
}

/// A house with a code that was not used yet.
fn with_code(grant: CodeGrant) -> House {
    let mut house = House::new();
    (house.grants.expect_use_code())
        .withf(|code| *code == secret("the-code").hash())
        .times(1)
        .return_once(move |_| Ok(CodeUse::First(grant)));
    house
}

#[tokio::test]
async fn a_code_is_traded_for_tokens_of_the_same_authorization() {
    let (keep, kept) = std::sync::mpsc::channel::<(SecretHash, RefreshFamily)>();
    let mut house = with_code(code_grant());
    (house.grants.expect_insert_family()).returning(move |token, family| {
        keep.send((token, family.clone())).unwrap();
        Ok(())
    });
    let audit = house.recorded.clone();
    let response = house
        .server()
        .token(code_request(), &itself(), &Origin::default())
        .await
        .unwrap();

    let (hash, kept) = kept.recv().unwrap();
    let refresh_token = response.refresh_token.clone().unwrap();
    assert_eq!(hash, secret(&refresh_token).hash(), "only the hash is kept");
    assert_eq!(kept, family());
    let json = serde_json::to_value(&response).unwrap();
    let expected = json!({
        "access_token": response.access_token,
        "token_type": "Bearer",
        "expires_in": 300,
        "scope": "patient/$ehi-export launch/patient offline_access",
        "patient": "p-1",
        "need_patient_banner": true,
        "refresh_token": refresh_token,
    });
    assert_eq!(json, expected);
    let said = claims(&response);
    let expected = json!({
        "iss": "https://ehi.example",
        "aud": "https://ehi.example/fhir",
        "sub": "p-1",
        "client_id": "test-app",
        "scope": "patient/$ehi-export launch/patient offline_access",
        "patient": "p-1",
        "jti": said["jti"],
        "grant": grant_id().0,
        "iat": at(0).as_second(),
        "exp": at(300).as_second(),
    });
    assert_eq!(said, expected);
    assert_eq!(audit.actions(), [Action::IssueToken]);
    assert_eq!(audit.events()[0].actor, Actor::Client(client_id()));
}

#[tokio::test]
async fn without_a_scope_for_it_there_is_no_refresh_token() {
    for (asked, refreshes) in [
        ("patient/$ehi-export launch/patient", false),
        ("patient/$ehi-export offline_access", true),
        ("patient/$ehi-export online_access", true),
    ] {
        let mut house = with_code(CodeGrant {
            scopes: scopes(asked),
            ..code_grant()
        });
        // While the patient is there is no longer than a session can last.
        let ends = if asked.contains("online") {
            1_800
        } else {
            3_600
        };
        (house.grants.expect_insert_family())
            .times(usize::from(refreshes))
            .withf(move |_, family| family.expires_at == at(ends))
            .returning(|_, _| Ok(()));
        let response = house
            .server()
            .token(code_request(), &itself(), &Origin::default())
            .await
            .unwrap();
        assert_eq!(response.refresh_token.is_some(), refreshes, "{asked}");
        let json = serde_json::to_value(&response).unwrap();
        assert_eq!(
            json.get("refresh_token").is_some(),
            refreshes,
            "absent, not null"
        );
    }
}

/// A code, the request that presents it, and the word that tells why it is refused.
fn refused_codes() -> Vec<(CodeGrant, TokenRequest, &'static str)> {
    let request =
        |redirect_uri: &str, code_verifier: Option<&str>| TokenRequest::AuthorizationCode {
            code: secret("the-code"),
            redirect_uri: redirect_uri.into(),
            code_verifier: code_verifier.map(str::to_owned),
        };
    let expired = CodeGrant {
        expires_at: at(0),
        ..code_grant()
    };
    let of_another = CodeGrant {
        client: ClientId::parse("other-app").unwrap(),
        ..code_grant()
    };
    let wrong = "x".repeat(43);
    vec![
        (expired, code_request(), "expired"),
        (of_another, code_request(), "client"),
        (
            code_grant(),
            request("https://app.example/", Some(VERIFIER)),
            "redirect_uri",
        ),
        (
            code_grant(),
            request(&format!("{CALLBACK}&x"), Some(VERIFIER)),
            "redirect_uri",
        ),
        (code_grant(), request(CALLBACK, None), "code_verifier"),
        (
            code_grant(),
            request(CALLBACK, Some(&wrong)),
            "code_verifier",
        ),
        (
            code_grant(),
            request(CALLBACK, Some(CHALLENGE)),
            "code_verifier",
        ),
    ]
}

#[tokio::test]
async fn a_code_is_worth_nothing_to_anybody_else_or_too_late() {
    for (grant, request, word) in refused_codes() {
        let house = with_code(grant);
        let audit = house.recorded.clone();
        let error = house
            .server()
            .token(request, &itself(), &Origin::default())
            .await
            .unwrap_err();
        assert_eq!(error.error, OAuthErrorCode::InvalidGrant, "{word}");
        assert!(error.error_description.contains(word), "{error:?}");
        let refused = audit.events();
        assert_eq!((refused.len(), refused[0].action), (1, Action::IssueToken));
        assert_eq!(refused[0].outcome, Outcome::Refused, "no token was issued");
        assert_eq!(refused[0].client, Some(client_id()));
    }
}

#[tokio::test]
async fn a_code_that_is_used_twice_revokes_what_it_gave() {
    let mut house = House::new();
    (house.grants.expect_use_code()).returning(|_| Ok(CodeUse::Again(grant_id())));
    let house = expecting_revocation(house);
    let audit = house.recorded.clone();
    let error = house
        .server()
        .token(code_request(), &itself(), &Origin::default())
        .await
        .unwrap_err();
    assert_eq!(error.error, OAuthErrorCode::InvalidGrant);
    assert_eq!(audit.actions(), [Action::RevokeGrant, Action::IssueToken]);
    assert_eq!(audit.events()[1].outcome, Outcome::Refused);
}

#[tokio::test]
async fn an_unknown_code_is_refused() {
    let mut house = House::new();
    (house.grants.expect_use_code()).returning(|_| Ok(CodeUse::Unknown));
    let error = house
        .server()
        .token(code_request(), &itself(), &Origin::default())
        .await
        .unwrap_err();
    assert_eq!(error.error, OAuthErrorCode::InvalidGrant);
}

#[tokio::test]
async fn an_app_that_does_not_say_who_it_is_uses_no_code_up() {
    for (credentials, expected) in [
        (nobody(), OAuthErrorCode::InvalidRequest),
        (named("evil"), OAuthErrorCode::InvalidClient),
    ] {
        let mut house = House::new();
        house.grants.expect_use_code().never();
        let error = house
            .server()
            .token(code_request(), &credentials, &Origin::default())
            .await
            .unwrap_err();
        assert_eq!(error.error, expected);
    }
}

#[tokio::test]
async fn a_client_may_have_tokens_of_shorter_lives_and_never_of_longer_ones() {
    let minutes = |minutes| Some(Duration::from_mins(minutes));
    for (access, refresh, expected) in [
        (None, None, (300, 3600)),
        (minutes(1), minutes(10), (60, 600)),
        (minutes(60), minutes(600), (300, 3600)),
    ] {
        let (keep, kept) = std::sync::mpsc::channel();
        let mut house = with_code(code_grant());
        house.registered.lifetimes = TokenLifetimes { access, refresh };
        (house.grants.expect_insert_family()).returning(move |_, family| {
            keep.send(family.expires_at).unwrap();
            Ok(())
        });
        let server = house.server();
        let response = server
            .token(code_request(), &itself(), &Origin::default())
            .await;
        let response = response.unwrap();
        assert_eq!(response.expires_in, expected.0);
        let exp = at(i64::try_from(expected.0).unwrap()).as_second();
        assert_eq!(claims(&response)["exp"], exp);
        assert_eq!(kept.recv().unwrap(), at(expected.1));
    }
}

#[tokio::test]
async fn without_an_audit_entry_no_token_is_signed() {
    let mut house = with_code(code_grant()).without_audit();
    (house.grants.expect_insert_family()).returning(|_, _| Ok(()));
    house.keys.expect_sign().never();
    let error = house
        .server()
        .token(code_request(), &itself(), &Origin::default())
        .await
        .unwrap_err();
    assert_eq!(error.error, OAuthErrorCode::TemporarilyUnavailable);
}

#[tokio::test]
async fn what_is_down_is_told_as_a_passing_trouble_without_its_cause() {
    let down = || StoreError::unavailable("10.0.0.7 refused");
    let mut codes = House::new();
    (codes.grants.expect_use_code()).returning(move |_| Err(down()));
    let mut clients = House::new();
    (clients.clients.expect_client()).returning(move |_| Err(down()));
    let mut families = with_code(code_grant());
    (families.grants.expect_insert_family()).returning(move |_, _| Err(down()));
    let mut keys = with_code(code_grant());
    (keys.grants.expect_insert_family()).returning(|_, _| Ok(()));
    (keys.keys.expect_sign()).returning(|_| Err(KeyError::Unavailable("10.0.0.7 HSM".into())));
    let mut again = House::new();
    (again.grants.expect_use_code()).returning(|_| Ok(CodeUse::Again(grant_id())));
    (again.grants.expect_revoke()).returning(move |_, _| Err(down()));
    for house in [codes, clients, families, keys, again] {
        let error = house
            .server()
            .token(code_request(), &itself(), &Origin::default())
            .await
            .unwrap_err();
        assert_eq!(error.error, OAuthErrorCode::TemporarilyUnavailable);
        assert!(!error.error_description.contains("10.0.0.7"));
    }
}

#[tokio::test]
async fn every_secret_and_id_is_drawn_anew() {
    let mut entropy = MockEntropy::new();
    let mut draws = 0;
    entropy.expect_bytes().returning(move || {
        draws += 1;
        [draws; 32]
    });
    let house = with_code(code_grant());
    let mut grants = house.grants;
    (grants.expect_insert_family()).returning(|_, _| Ok(()));
    let house = House { grants, ..house };
    let mut server = house.server();
    server.ports.entropy = Arc::new(entropy);
    let response = server
        .token(code_request(), &itself(), &Origin::default())
        .await
        .unwrap();
    let token = Secret::from_random([1; 32]);
    assert_eq!(response.refresh_token.as_deref(), Some(token.expose()));
    let jti = uuid::Builder::from_random_bytes([2; 16]).into_uuid();
    assert_eq!(claims(&response)["jti"], json!(jti));
}
