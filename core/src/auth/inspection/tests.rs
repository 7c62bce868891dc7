//! What introspection and revocation promise.

use serde_json::{Value, json};

use super::*;
use crate::auth::OAuthErrorCode;
use crate::auth::service::tests::{House, expecting_revocation, family, grant_id};
use crate::ports::StoreError;
use crate::testkit::{at, client_id};

/// An access token of Ada's through the app, valid from second 0 to 300. The double of the keys
/// takes claims for tokens.
fn access_token() -> TokenToInspect {
    token_with(&json!({}))
}

fn token_with(changes: &Value) -> TokenToInspect {
    let mut claims = json!({
        "iss": "https://ehi.example",
        "aud": "https://ehi.example/fhir",
        "sub": "p-1",
        "client_id": "test-app",
        "scope": "patient/$ehi-export",
        "patient": "p-1",
        "jti": Uuid::from_bytes([1; 16]),
        "grant": grant_id().0,
        "iat": at(0).as_second(),
        "exp": at(300).as_second(),
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    TokenToInspect(claims.to_string())
}

fn refresh_token() -> TokenToInspect {
    TokenToInspect("the-token".into())
}

/// A house of an app with a secret, another one (`resource-server`) that may ask about every
/// token, and a third with neither right (`other`).
fn house() -> House {
    let mut house = House::new();
    (house.clients.expect_client()).returning(|id| {
        let (id, introspects) = match id.as_str() {
            "resource-server" => (id.clone(), Introspects::All),
            "gone" => return Ok(None),
            _ => (id.clone(), Introspects::Own),
        };
        let mut scopes = crate::testkit::client().scopes;
        if id.as_str() == "narrowed" {
            scopes = Scopes::requested("launch/patient offline_access");
        }
        Ok(Some(Client {
            id,
            scopes,
            introspects,
            authentication: ClientAuthentication::Secret,
            ..crate::testkit::client()
        }))
    });
    (house.clients.expect_verify_secret()).returning(|_, _| Ok(true));
    house
}

fn as_client(id: &str) -> ClientCredentials {
    let secret = "s3cret".to_owned();
    ClientCredentials::Secret(ClientId::parse(id).unwrap(), secret.into())
}

fn with_standing(mut house: House, standing: RefreshStanding) -> House {
    (house.grants.expect_refresh_token()).returning(move |_| Ok(standing.clone()));
    house
}

async fn introspected(house: House, token: TokenToInspect, id: &str) -> Value {
    let server = house.server();
    let told = server
        .introspect(&token, &as_client(id), &Origin::default())
        .await;
    serde_json::to_value(told.unwrap()).unwrap()
}

fn live() -> House {
    let mut house = house();
    (house.grants.expect_is_revoked()).returning(|_| Ok(false));
    house
}

#[tokio::test]
async fn a_client_learns_what_its_own_token_is_worth() {
    let house = live();
    let audit = house.recorded.clone();
    let expected = json!({
        "active": true,
        "scope": "patient/$ehi-export",
        "client_id": "test-app",
        "token_type": "Bearer",
        "sub": "p-1",
        "patient": "p-1",
        "iss": "https://ehi.example",
        "aud": "https://ehi.example/fhir",
        "jti": Uuid::from_bytes([1; 16]),
        "iat": at(0).as_second(),
        "exp": at(300).as_second(),
    });
    assert_eq!(
        introspected(house, access_token(), "test-app").await,
        expected
    );
    assert_eq!(audit.actions(), [Action::IntrospectToken]);
    assert_eq!(audit.events()[0].patient, Some(family().patient));

    let house = with_standing(live(), RefreshStanding::Newest(family()));
    let expected = json!({
        "active": true,
        "scope": family().scopes.to_string(),
        "client_id": "test-app",
        "sub": "p-1",
        "patient": "p-1",
        "iss": "https://ehi.example",
        "exp": at(3600).as_second(),
    });
    assert_eq!(
        introspected(house, refresh_token(), "test-app").await,
        expected
    );
}

#[tokio::test]
async fn a_resource_server_learns_of_every_token_and_other_clients_of_none_but_their_own() {
    let told = introspected(live(), access_token(), "resource-server").await;
    assert_eq!(told["client_id"], "test-app");
    let house = live();
    let audit = house.recorded.clone();
    let told = introspected(house, access_token(), "other").await;
    assert_eq!(told, json!({"active": false}));
    assert!(audit.events().is_empty());
}

#[tokio::test]
async fn a_token_that_is_worth_nothing_is_told_so_and_no_more() {
    let nothing = json!({"active": false});
    for changes in [
        json!({"exp": at(0).as_second()}),
        json!({"iat": at(61).as_second()}),
        json!({"iss": "https://evil.example"}),
        json!({"client_id": "gone"}),
    ] {
        let house = with_standing(live(), RefreshStanding::Unknown);
        let told = introspected(house, token_with(&changes), "resource-server").await;
        assert_eq!(told, nothing, "{changes}");
    }
    let mut revoked = house();
    (revoked.grants.expect_is_revoked()).returning(|_| Ok(true));
    assert_eq!(
        introspected(revoked, access_token(), "test-app").await,
        nothing
    );
    let expired = RefreshFamily {
        expires_at: at(0),
        ..family()
    };
    for standing in [
        RefreshStanding::Unknown,
        RefreshStanding::Replaced(family()),
        RefreshStanding::Newest(expired),
    ] {
        let house = with_standing(live(), standing);
        assert_eq!(
            introspected(house, refresh_token(), "test-app").await,
            nothing
        );
    }
    let long = TokenToInspect("x".repeat(100_000));
    assert_eq!(introspected(live(), long, "test-app").await, nothing);
}

#[tokio::test]
async fn an_app_that_cannot_prove_itself_learns_nothing() {
    for credentials in [
        ClientCredentials::Unproven(None),
        ClientCredentials::Unproven(Some(client_id())),
    ] {
        let server = House::new().server();
        let told = server
            .introspect(&access_token(), &credentials, &Origin::default())
            .await;
        assert_eq!(told.unwrap_err().error, OAuthErrorCode::InvalidClient);
    }
}

#[tokio::test]
async fn without_an_audit_entry_nothing_is_told() {
    let server = live().without_audit().server();
    let told = server
        .introspect(&access_token(), &as_client("test-app"), &Origin::default())
        .await;
    assert_eq!(
        told.unwrap_err().error,
        OAuthErrorCode::TemporarilyUnavailable
    );
}

#[tokio::test]
async fn each_token_of_a_grant_ends_all_of_it() {
    let found = |standing| with_standing(house(), standing);
    for (house, token) in [
        (house(), access_token()),
        // One that expired stands for its grant all the same.
        (house(), token_with(&json!({"exp": at(-1).as_second()}))),
        (found(RefreshStanding::Newest(family())), refresh_token()),
        (found(RefreshStanding::Replaced(family())), refresh_token()),
    ] {
        let house = expecting_revocation(house);
        let audit = house.recorded.clone();
        let server = house.server();
        let revoked = server
            .revoke(&token, &as_client("test-app"), &Origin::default())
            .await;
        revoked.unwrap();
        assert_eq!(audit.actions(), [Action::RevokeGrant]);
        assert_eq!(audit.events()[0].patient, Some(family().patient));
    }
}

#[tokio::test]
async fn a_public_app_revokes_by_its_name_and_nobody_without_one() {
    let server = expecting_revocation(House::new()).server();
    let itself = ClientCredentials::Unproven(Some(client_id()));
    let revoked = server
        .revoke(&access_token(), &itself, &Origin::default())
        .await;
    revoked.unwrap();

    let server = House::new().server();
    let nobody = ClientCredentials::Unproven(None);
    let refused = server
        .revoke(&access_token(), &nobody, &Origin::default())
        .await;
    assert_eq!(refused.unwrap_err().error, OAuthErrorCode::InvalidClient);
}

#[tokio::test]
async fn nobody_ends_what_was_given_to_others_and_what_is_unknown_has_ended() {
    let server = house().server();
    let refused = server
        .revoke(
            &access_token(),
            &as_client("resource-server"),
            &Origin::default(),
        )
        .await;
    assert_eq!(refused.unwrap_err().error, OAuthErrorCode::InvalidGrant);
    let server = with_standing(house(), RefreshStanding::Unknown).server();
    let revoked = server
        .revoke(&refresh_token(), &as_client("test-app"), &Origin::default())
        .await;
    revoked.unwrap();
}

#[tokio::test]
async fn what_is_down_is_told_as_a_passing_trouble() {
    let mut house = house();
    (house.grants.expect_refresh_token())
        .returning(|_| Err(StoreError::unavailable("10.0.0.7 refused")));
    let server = house.server();
    let revoked = server
        .revoke(&refresh_token(), &as_client("test-app"), &Origin::default())
        .await;
    assert_eq!(
        revoked.unwrap_err().error,
        OAuthErrorCode::TemporarilyUnavailable
    );
}

#[tokio::test]
async fn a_token_is_worth_no_more_than_its_client_may_by_now() {
    let narrowed = ClientId::parse("narrowed").unwrap();
    let family = RefreshFamily {
        client: narrowed.clone(),
        ..family()
    };
    for token in [token_with(&json!({"client_id": narrowed})), refresh_token()] {
        let house = with_standing(live(), RefreshStanding::Newest(family.clone()));
        let told = introspected(house, token, "resource-server").await;
        assert_eq!(told, json!({"active": false}));
    }
}

#[tokio::test]
async fn a_token_of_an_earlier_registration_of_its_client_is_worth_nothing() {
    let earlier = RegistrationId(Uuid::from_bytes([1; 16]));
    let family = RefreshFamily {
        registration: Some(earlier),
        ..family()
    };
    for token in [
        token_with(&json!({"registration": earlier})),
        refresh_token(),
    ] {
        let house = with_standing(live(), RefreshStanding::Newest(family.clone()));
        let told = introspected(house, token, "resource-server").await;
        assert_eq!(told, json!({"active": false}));
    }
}
