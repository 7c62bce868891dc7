//! What an access token opens.

use super::*;

/// Claims of a good token, valid from second 0 to 300, with members replaced (or, by null,
/// left out).
fn token(changes: Value) -> String {
    let mut claims = json!({
        "iss": "https://ehi.example",
        "aud": "https://ehi.example/fhir",
        "sub": "p-1",
        "client_id": "test-app",
        "scope": "patient/$ehi-export offline_access",
        "patient": "p-1",
        "jti": Uuid::from_bytes([1; 16]),
        "grant": grant_id().0,
        "iat": at(0).as_second(),
        "exp": at(300).as_second(),
    });
    let Value::Object(changes) = changes else {
        panic!("{changes}")
    };
    for (name, value) in changes {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(&name);
        } else {
            claims[name] = value;
        }
    }
    claims.to_string()
}

fn house() -> House {
    let mut house = House::new();
    (house.grants.expect_is_revoked()).returning(|_| Ok(false));
    house
}

async fn opened(token: &str) -> Result<Access, TokenError> {
    house().server().recognise(token, &Origin::default()).await
}

#[tokio::test]
async fn a_patients_token_opens_that_patients_record_to_that_app() {
    let access = opened(&token(json!({}))).await.unwrap();
    let expected = Access {
        client: client_id(),
        subject: Subject::Patient(patient().id),
        origin: Origin::default(),
    };
    assert_eq!(access, expected);
}

#[tokio::test]
async fn a_token_the_server_gave_is_recognised_until_it_expires() {
    let mut house = house();
    (house.grants.expect_use_code()).return_once(|_| Ok(CodeUse::First(code_grant())));
    (house.grants.expect_insert_family()).returning(|_, _| Ok(()));
    let clock = house.clock.clone();
    let server = house.server();
    let request = TokenRequest::AuthorizationCode {
        code: secret("the-code"),
        redirect_uri: CALLBACK.into(),
        code_verifier: Some(VERIFIER.into()),
    };
    let given = server
        .token(request, &itself(), &Origin::default())
        .await
        .unwrap()
        .access_token;
    for (now, good) in [(0, true), (299, true), (300, false), (1000, false)] {
        clock.set(at(now));
        let opened = server.recognise(&given, &Origin::default()).await;
        assert_eq!(opened.is_ok(), good, "at {now}");
    }
}

#[tokio::test]
async fn tokens_of_others_for_others_or_of_other_times_open_nothing() {
    for changes in [
        json!({"iss": "https://evil.example"}),
        json!({"aud": "https://other.example/fhir"}),
        json!({"aud": "https://ehi.example"}),
        json!({"exp": at(0).as_second()}),
        json!({"exp": at(-1).as_second()}),
        json!({"iat": at(61).as_second()}),
        json!({"exp": null}),
        json!({"iss": null}),
        json!({"aud": null}),
        json!({"grant": null}),
        json!({"client_id": null}),
        json!({"patient": "../p-1"}),
        json!({"exp": "never"}),
    ] {
        let opened = opened(&token(changes.clone())).await;
        assert!(
            matches!(opened, Err(TokenError::Invalid)),
            "{changes}: {opened:?}"
        );
    }
}

#[tokio::test]
async fn a_signature_that_is_not_ours_opens_nothing() {
    // The double of the keys takes what is no JSON for a foreign signature.
    for foreign in ["", "nonsense", "a.b.c"] {
        assert!(matches!(opened(foreign).await, Err(TokenError::Invalid)));
    }
}

#[tokio::test]
async fn a_token_of_a_revoked_grant_opens_nothing() {
    let mut house = House::new();
    (house.grants.expect_is_revoked())
        .withf(|grant| *grant == grant_id())
        .returning(|_| Ok(true));
    let opened = house
        .server()
        .recognise(&token(json!({})), &Origin::default())
        .await;
    assert!(matches!(opened, Err(TokenError::Invalid)));
}

#[tokio::test]
async fn the_scope_decides_what_a_token_opens() {
    let (patients, systems) = ("patient/$ehi-export", "system/$ehi-export");
    let both = "patient/$ehi-export system/$ehi-export";
    let own = || Some(Subject::Patient(patient().id));
    for (scope, patient, expected) in [
        (patients, json!("p-1"), own()),
        (both, json!("p-1"), own()),
        (systems, Value::Null, Some(Subject::System)),
        (both, Value::Null, Some(Subject::System)),
        ("", json!("p-1"), None),
        ("offline_access launch/patient", json!("p-1"), None),
        ("patient/*.read", json!("p-1"), None),
        // A patient's token never opens other patients, and one of nobody no patient.
        (systems, json!("p-1"), None),
        (patients, Value::Null, None),
    ] {
        let opened = opened(&token(json!({"scope": scope, "patient": patient}))).await;
        match expected {
            Some(subject) => assert_eq!(opened.unwrap().subject, subject, "{scope}"),
            None => assert!(
                matches!(opened, Err(TokenError::Scope)),
                "{scope}: {opened:?}"
            ),
        }
    }
}

#[tokio::test]
async fn what_is_taken_from_a_client_is_taken_from_its_tokens() {
    let mut gone = house();
    gone.clients.expect_client().returning(|_| Ok(None));
    let server = gone.server();
    let opened = server
        .recognise(&token(json!({})), &Origin::default())
        .await;
    assert!(matches!(opened, Err(TokenError::Invalid)));

    let system = json!({"scope": "system/$ehi-export", "patient": null});
    for claims in [json!({}), system] {
        let mut narrowed = house();
        narrowed.registered.scopes = scopes("offline_access");
        let server = narrowed.server();
        let opened = server.recognise(&token(claims), &Origin::default()).await;
        assert!(matches!(opened, Err(TokenError::Scope)));
    }
}

#[tokio::test]
async fn what_cannot_be_checked_opens_nothing_for_now() {
    let mut keys = house();
    (keys.keys.expect_verify()).returning(|_| Err(KeyError::Unavailable("HSM".into())));
    let mut grants = House::new();
    (grants.grants.expect_is_revoked()).returning(|_| Err(StoreError::unavailable("down")));
    let mut clients = house();
    (clients.clients.expect_client()).returning(|_| Err(StoreError::unavailable("down")));
    for house in [keys, grants, clients] {
        let opened = house
            .server()
            .recognise(&token(json!({})), &Origin::default())
            .await;
        assert!(
            matches!(opened, Err(TokenError::Unavailable(_))),
            "{opened:?}"
        );
    }
}

#[tokio::test]
async fn the_sweep_forgets_what_expired_by_the_clock() {
    let mut house = House::new();
    house.clock.set(at(77));
    (house.grants.expect_sweep())
        .withf(|now| *now == at(77))
        .times(1)
        .returning(|_| Ok(()));
    house.server().sweep().await.unwrap();
}

#[tokio::test]
async fn the_public_keys_are_those_of_the_keys() {
    let mut house = House::new();
    (house.keys.expect_jwks()).returning(|| Ok(json!({"keys": []})));
    assert_eq!(house.server().jwks().await.unwrap(), json!({"keys": []}));
}
