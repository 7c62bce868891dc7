//! Trading refresh tokens for access tokens.

use super::*;

fn refresh_request(scope: Option<&str>) -> TokenRequest {
    TokenRequest::RefreshToken {
        refresh_token: secret("the-token"),
        scope: scope.map(str::to_owned),
    }
}

async fn refresh(
    house: House,
    scope: Option<&str>,
    credentials: ClientCredentials,
) -> Result<TokenResponse, OAuthError> {
    let request = refresh_request(scope);
    let server = house.server();
    server
        .token(request, &credentials, &Origin::default())
        .await
}

/// A house with a refresh token that is the newest of its family, and must not be replaced.
fn with_token(family: RefreshFamily) -> House {
    let mut house = House::new();
    (house.grants.expect_refresh_token())
        .withf(|token| *token == secret("the-token").hash())
        .returning(move |_| Ok(RefreshStanding::Newest(family.clone())));
    house
}

/// The same, and it is replaced once.
fn with_good_token(family: RefreshFamily) -> House {
    let mut house = with_token(family.clone());
    (house.grants.expect_rotate())
        .withf(|token, _| *token == secret("the-token").hash())
        .times(1)
        .return_once(move |_, _| Ok(RefreshUse::Rotated(family)));
    house
}

#[tokio::test]
async fn a_refresh_token_is_replaced_by_the_next() {
    let (keep, kept) = std::sync::mpsc::channel();
    let mut house = with_token(family());
    (house.grants.expect_rotate()).returning(move |token, next| {
        keep.send((token, next)).unwrap();
        Ok(RefreshUse::Rotated(family()))
    });
    house.clock.set(at(1000));
    let audit = house.recorded.clone();
    // Without client_id, as some apps do.
    let response = refresh(house, None, nobody()).await.unwrap();
    let next = response.refresh_token.clone().unwrap();
    assert_eq!(
        kept.recv().unwrap(),
        (secret("the-token").hash(), secret(&next).hash())
    );
    assert_eq!(response.scope, family().scopes.to_string());
    assert_eq!(response.context.as_ref().unwrap().patient, patient().id);
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
    let all = "patient/$ehi-export launch/patient offline_access";
    for (asked, granted) in [
        ("patient/$ehi-export", "patient/$ehi-export"),
        ("offline_access  launch/patient patient/$ehi-export", all),
    ] {
        let house = with_good_token(family());
        let response = refresh(house, Some(asked), itself()).await.unwrap();
        assert_eq!(response.scope, granted, "{asked}");
        assert_eq!(claims(&response)["scope"], granted, "{asked}");
    }
    // Nothing is used up: `rotate` is not expected.
    for more in ["online_access", "system/$ehi-export", "openid", "x"] {
        let asked = format!("{all} {more}");
        let error = refresh(with_token(family()), Some(&asked), itself()).await;
        let error = error.unwrap_err();
        assert_eq!(error.error, OAuthErrorCode::InvalidScope, "{asked}");
    }
}

#[tokio::test]
async fn a_refresh_that_would_open_nothing_is_refused_and_uses_nothing_up() {
    for asked in ["system/$ehi-export", "launch/patient offline_access", "x"] {
        let error = refresh(with_token(family()), Some(asked), itself()).await;
        assert_eq!(error.unwrap_err().error, OAuthErrorCode::InvalidScope);
    }
    let mut house = with_token(family());
    house.registered.scopes = scopes("offline_access");
    let error = refresh(house, None, nobody()).await.unwrap_err();
    assert_eq!(error.error, OAuthErrorCode::InvalidScope);
}

#[tokio::test]
async fn an_outage_costs_the_app_no_refresh_token() {
    let down = || StoreError::unavailable("10.0.0.7 refused");
    let mut families = House::new();
    (families.grants.expect_refresh_token()).returning(move |_| Err(down()));
    let mut clients = with_token(family());
    (clients.clients.expect_client()).returning(move |_| Err(down()));
    let audit = with_token(family()).without_audit();
    let mut keys = with_token(family());
    (keys.keys.expect_sign()).returning(|_| Err(KeyError::Unavailable("10.0.0.7 HSM".into())));
    let mut rotate = with_token(family());
    (rotate.grants.expect_rotate())
        .times(1)
        .returning(move |_, _| Err(down()));
    // In all but the last the token is not even touched: `rotate` is not expected.
    for house in [families, clients, audit, keys, rotate] {
        let error = refresh(house, None, nobody()).await.unwrap_err();
        assert_eq!(error.error, OAuthErrorCode::TemporarilyUnavailable);
        assert!(!error.error_description.contains("10.0.0.7"));
    }
}

#[tokio::test]
async fn another_apps_refresh_token_is_refused_and_its_grant_revoked() {
    let mut house = expecting_revocation(with_token(family()));
    (house.clients.expect_client())
        .withf(|id| id.as_str() == "other-app")
        .returning(|id| {
            let id = id.clone();
            Ok(Some(Client { id, ..client() }))
        });
    let audit = house.recorded.clone();
    let error = refresh(house, None, named("other-app")).await;
    assert_eq!(error.unwrap_err().error, OAuthErrorCode::InvalidGrant);
    assert_eq!(audit.actions(), [Action::RevokeGrant, Action::IssueToken]);
    assert_eq!(audit.events()[1].outcome, Outcome::Refused);
}

#[tokio::test]
async fn a_refresh_token_that_is_used_twice_revokes_its_grant() {
    let mut house = House::new();
    (house.grants.expect_refresh_token()).returning(|_| Ok(RefreshStanding::Replaced(family())));
    let error = refresh(expecting_revocation(house), None, nobody()).await;
    assert_eq!(error.unwrap_err().error, OAuthErrorCode::InvalidGrant);
}

#[tokio::test]
async fn of_two_refreshes_at_once_the_slower_gets_nothing_and_the_grant_is_revoked() {
    let mut house = with_token(family());
    (house.grants.expect_rotate()).returning(|_, _| Ok(RefreshUse::Replayed(family())));
    let error = refresh(expecting_revocation(house), None, nobody()).await;
    assert_eq!(error.unwrap_err().error, OAuthErrorCode::InvalidGrant);
}

#[tokio::test]
async fn a_grant_that_expired_or_is_unknown_refreshes_nothing() {
    let mut unknown = House::new();
    (unknown.grants.expect_refresh_token()).returning(|_| Ok(RefreshStanding::Unknown));
    let mut gone_meanwhile = with_token(family());
    (gone_meanwhile.grants.expect_rotate()).returning(|_, _| Ok(RefreshUse::Unknown));
    let expired = with_token(family());
    expired.clock.set(at(3600));
    for house in [unknown, gone_meanwhile, expired] {
        let error = refresh(house, None, nobody()).await.unwrap_err();
        assert_eq!(error.error, OAuthErrorCode::InvalidGrant);
    }
    let last = with_good_token(family());
    last.clock.set(at(3599));
    assert!(refresh(last, None, nobody()).await.is_ok());
}

#[tokio::test]
async fn an_app_that_is_no_longer_registered_refreshes_nothing() {
    let mut house = with_token(family());
    house.clients.expect_client().returning(|_| Ok(None));
    let error = refresh(house, None, nobody()).await.unwrap_err();
    assert_eq!(error.error, OAuthErrorCode::InvalidClient);
}

#[tokio::test]
async fn an_app_that_has_to_prove_itself_refreshes_nothing_without() {
    for credentials in [nobody(), itself()] {
        let mut house = with_token(family());
        house.registered.authentication = ClientAuthentication::Secret;
        let error = refresh(house, None, credentials).await.unwrap_err();
        assert_eq!(error.error, OAuthErrorCode::InvalidClient);
    }
}
