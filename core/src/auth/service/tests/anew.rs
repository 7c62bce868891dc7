//! What becomes of authorizations when a client is removed and registered again.

use serde_json::json;

use super::*;
use crate::auth::RegistrationId;

fn registration(number: u8) -> RegistrationId {
    RegistrationId(Uuid::from_bytes([number; 16]))
}

/// A house whose app is registered for the second time.
fn house() -> House {
    let mut house = House::new();
    house.registered.registration = Some(registration(2));
    (house.grants.expect_is_revoked()).returning(|_| Ok(false));
    house
}

/// What an app was given under its first registration, under a nameless one, and under this one.
fn worth() -> [(Option<RegistrationId>, bool); 3] {
    [
        (Some(registration(1)), false),
        (None, false),
        (Some(registration(2)), true),
    ]
}

#[tokio::test]
async fn a_code_from_before_the_app_was_registered_anew_is_worth_nothing() {
    for (before, good) in worth() {
        let mut house = house();
        let grant = CodeGrant {
            registration: before,
            ..code_grant()
        };
        (house.grants.expect_use_code()).return_once(|_| Ok(CodeUse::First(grant)));
        (house.grants.expect_insert_family())
            .withf(move |_, family| family.registration == before)
            .times(usize::from(good))
            .returning(|_, _| Ok(()));
        let request = TokenRequest::AuthorizationCode {
            code: secret("the-code"),
            redirect_uri: CALLBACK.into(),
            code_verifier: Some(VERIFIER.into()),
        };
        let traded = (house.server())
            .token(request, &itself(), &Origin::default())
            .await;
        match traded {
            Ok(response) => {
                assert!(good, "{before:?}");
                let said = claims(&response);
                assert_eq!(said["registration"], json!(registration(2)));
            }
            Err(error) => {
                assert!(!good, "{before:?}: {error:?}");
                assert_eq!(error.error, OAuthErrorCode::InvalidGrant);
            }
        }
    }
}

#[tokio::test]
async fn a_refresh_token_from_before_the_app_was_registered_anew_is_worth_nothing() {
    for (before, good) in worth() {
        for credentials in [itself(), nobody()] {
            let mut house = house();
            let family = RefreshFamily {
                registration: before,
                ..family()
            };
            let kept = family.clone();
            (house.grants.expect_refresh_token())
                .return_once(|_| Ok(RefreshStanding::Newest(kept)));
            (house.grants.expect_rotate())
                .times(usize::from(good))
                .return_once(|_, _| Ok(RefreshUse::Rotated(family)));
            let request = TokenRequest::RefreshToken {
                refresh_token: secret("the-token"),
                scope: None,
            };
            let refreshed = (house.server())
                .token(request, &credentials, &Origin::default())
                .await;
            match refreshed {
                Ok(_) => assert!(good, "{before:?}"),
                Err(error) => {
                    assert!(!good, "{before:?}: {error:?}");
                    assert_eq!(error.error, OAuthErrorCode::InvalidGrant);
                }
            }
        }
    }
}

#[tokio::test]
async fn an_access_token_from_before_the_app_was_registered_anew_opens_nothing() {
    for (before, good) in worth() {
        let mut token = json!({
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
        if let Some(before) = before {
            token["registration"] = json!(before);
        }
        let opened = (house().server())
            .recognise(&token.to_string(), &Origin::default())
            .await;
        match opened {
            Ok(_) => assert!(good, "{before:?}"),
            Err(error) => assert!(!good && matches!(error, TokenError::Invalid)),
        }
    }
}
