//! Trading codes and refresh tokens for access tokens.

use super::*;
use crate::auth::SecretHash;

fn code_request() -> TokenRequest {
    TokenRequest::AuthorizationCode {
        code: secret("the-code"),
        redirect_uri: CALLBACK.into(),
        client_id: Some(client_id()),
        code_verifier: Some(VERIFIER.into()),
    }
}

fn refresh_request(client_id: Option<&str>, scope: Option<&str>) -> TokenRequest {
    TokenRequest::RefreshToken {
        refresh_token: secret("the-token"),
        client_id: client_id.map(|id| ClientId::parse(id).unwrap()),
        scope: scope.map(str::to_owned),
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

/// A house with a refresh token that is the newest of its family.
fn with_token(family: RefreshFamily) -> House {
    let mut house = House::new();
    (house.grants.expect_rotate())
        .withf(|token, _| *token == secret("the-token").hash())
        .times(1)
        .return_once(move |_, _| Ok(RefreshUse::Rotated(family)));
    house
}

/// Expects the grant to be revoked for longer than any of its tokens lives.
fn expecting_revocation(mut house: House) -> House {
    (house.grants.expect_revoke())
        .withf(|grant, until| *grant == grant_id() && *until >= at(3600 + 300))
        .times(1)
        .returning(|_, _| Ok(()));
    house
}

fn claims(response: &TokenResponse) -> Value {
    serde_json::from_str(&response.access_token).unwrap()
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
        .token(code_request(), &Origin::default())
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
        (house.grants.expect_insert_family())
            .times(usize::from(refreshes))
            .returning(|_, _| Ok(()));
        let response = house
            .server()
            .token(code_request(), &Origin::default())
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
            client_id: Some(client_id()),
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
            .token(request, &Origin::default())
            .await
            .unwrap_err();
        assert_eq!(error.error, OAuthErrorCode::InvalidGrant, "{word}");
        assert!(error.error_description.contains(word), "{error:?}");
        assert!(audit.events().is_empty(), "no token was issued");
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
        .token(code_request(), &Origin::default())
        .await
        .unwrap_err();
    assert_eq!(error.error, OAuthErrorCode::InvalidGrant);
    assert_eq!(audit.actions(), [Action::RevokeGrant]);
}

#[tokio::test]
async fn an_unknown_code_is_refused() {
    let mut house = House::new();
    (house.grants.expect_use_code()).returning(|_| Ok(CodeUse::Unknown));
    let error = house
        .server()
        .token(code_request(), &Origin::default())
        .await
        .unwrap_err();
    assert_eq!(error.error, OAuthErrorCode::InvalidGrant);
}

#[tokio::test]
async fn an_app_that_does_not_say_who_it_is_uses_no_code_up() {
    for (client_id, expected) in [
        (None, OAuthErrorCode::InvalidRequest),
        (ClientId::parse("evil"), OAuthErrorCode::InvalidClient),
    ] {
        let mut house = House::new();
        house.grants.expect_use_code().never();
        let request = TokenRequest::AuthorizationCode {
            code: secret("the-code"),
            redirect_uri: CALLBACK.into(),
            client_id,
            code_verifier: Some(VERIFIER.into()),
        };
        let error = house
            .server()
            .token(request, &Origin::default())
            .await
            .unwrap_err();
        assert_eq!(error.error, expected);
    }
}

#[tokio::test]
async fn a_refresh_token_is_replaced_by_the_next() {
    let (keep, kept) = std::sync::mpsc::channel();
    let mut house = House::new();
    (house.grants.expect_rotate()).returning(move |token, next| {
        keep.send((token, next)).unwrap();
        Ok(RefreshUse::Rotated(family()))
    });
    house.clock.set(at(1000));
    let audit = house.recorded.clone();
    // Without client_id, as some apps do.
    let response = house
        .server()
        .token(refresh_request(None, None), &Origin::default())
        .await;
    let response = response.unwrap();
    let next = response.refresh_token.clone().unwrap();
    assert_eq!(
        kept.recv().unwrap(),
        (secret("the-token").hash(), secret(&next).hash())
    );
    assert_eq!(response.scope, family().scopes.to_string());
    assert_eq!(response.patient, patient().id);
    let said = claims(&response);
    assert_eq!(
        said["grant"],
        json!(grant_id().0),
        "still the same authorization"
    );
    assert_eq!(said["exp"], at(1300).as_second());
    assert_eq!(audit.actions(), [Action::IssueToken]);
}

#[tokio::test]
async fn a_refresh_can_ask_for_less_and_never_for_more() {
    let all = "patient/$ehi-export system/$ehi-export online_access offline_access launch/patient";
    for (asked, granted) in [
        ("patient/$ehi-export", "patient/$ehi-export"),
        ("patient/$ehi-export online_access", "patient/$ehi-export"),
        (all, "patient/$ehi-export launch/patient offline_access"),
        ("system/$ehi-export", ""),
    ] {
        let server = with_token(family()).server();
        let request = refresh_request(Some("test-app"), Some(asked));
        let response = server.token(request, &Origin::default()).await.unwrap();
        assert_eq!(response.scope, granted, "{asked}");
        assert_eq!(claims(&response)["scope"], granted, "{asked}");
    }
}

#[tokio::test]
async fn a_token_without_the_export_scope_opens_nothing() {
    let mut house = with_token(family());
    house.grants.expect_is_revoked().returning(|_| Ok(false));
    let server = house.server();
    let request = refresh_request(None, Some("system/$ehi-export launch/patient"));
    let response = server.token(request, &Origin::default()).await.unwrap();
    let opened = server
        .recognise(&response.access_token, &Origin::default())
        .await;
    assert!(matches!(opened, Err(TokenError::Scope)), "{opened:?}");
}

#[tokio::test]
async fn another_apps_refresh_token_is_refused_and_its_grant_revoked() {
    let house = expecting_revocation(with_token(family()));
    let audit = house.recorded.clone();
    let server = house.server();
    let error = server
        .token(refresh_request(Some("other-app"), None), &Origin::default())
        .await;
    assert_eq!(error.unwrap_err().error, OAuthErrorCode::InvalidGrant);
    assert!(
        audit
            .events()
            .iter()
            .all(|entry| entry.action != Action::IssueToken)
    );
}

#[tokio::test]
async fn a_refresh_token_that_is_used_twice_revokes_its_grant() {
    let mut house = House::new();
    (house.grants.expect_rotate()).returning(|_, _| Ok(RefreshUse::Replayed(family())));
    let server = expecting_revocation(house).server();
    let error = server
        .token(refresh_request(None, None), &Origin::default())
        .await
        .unwrap_err();
    assert_eq!(error.error, OAuthErrorCode::InvalidGrant);
}

#[tokio::test]
async fn a_grant_that_expired_or_is_unknown_refreshes_nothing() {
    let mut unknown = House::new();
    (unknown.grants.expect_rotate()).returning(|_, _| Ok(RefreshUse::Unknown));
    let expired = with_token(family());
    expired.clock.set(at(3600));
    for house in [unknown, expired] {
        let request = refresh_request(None, None);
        let error = house
            .server()
            .token(request, &Origin::default())
            .await
            .unwrap_err();
        assert_eq!(error.error, OAuthErrorCode::InvalidGrant);
    }
    let last = with_token(family());
    last.clock.set(at(3599));
    assert!(
        last.server()
            .token(refresh_request(None, None), &Origin::default())
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn an_app_that_is_no_longer_registered_refreshes_nothing() {
    let mut house = with_token(family());
    house.clients.expect_client().returning(|_| Ok(None));
    let error = house
        .server()
        .token(refresh_request(None, None), &Origin::default())
        .await
        .unwrap_err();
    assert_eq!(error.error, OAuthErrorCode::InvalidClient);
}

#[tokio::test]
async fn without_an_audit_entry_no_token_is_signed() {
    let mut house = with_code(code_grant()).without_audit();
    (house.grants.expect_insert_family()).returning(|_, _| Ok(()));
    house.keys.expect_sign().never();
    let error = house
        .server()
        .token(code_request(), &Origin::default())
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
            .token(code_request(), &Origin::default())
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
        .token(code_request(), &Origin::default())
        .await
        .unwrap();
    let token = Secret::from_random([1; 32]);
    assert_eq!(response.refresh_token.as_deref(), Some(token.expose()));
    let jti = uuid::Builder::from_random_bytes([2; 16]).into_uuid();
    assert_eq!(claims(&response)["jti"], json!(jti));
}
