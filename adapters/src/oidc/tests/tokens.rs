//! Which ID tokens prove who somebody is.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ehi_core::testkit::at;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

use super::super::*;
use super::support::*;

async fn assert_refused(scene: &Scene, what: &str, id_token: &str) {
    let refused = scene.come_back_with(id_token).await;
    assert!(
        matches!(refused, Err(LoginError::Refused)),
        "{what}: {refused:?}"
    );
}

#[tokio::test]
async fn a_flawless_token_names_the_patient() {
    for key in [Key::ec("k1"), Key::rsa("k1")] {
        let scene = Scene::with(key).await;
        let party = json!({"aud": ["ehi", "other"], "azp": "ehi"});
        for others in [json!({}), json!({"aud": ["ehi"]}), party] {
            let token = scene.key.sign(&scene.claims_with(&others));
            let id = scene.come_back_with(&token).await.unwrap();
            assert_eq!(id.as_str(), "p-1", "{others}");
        }
        let number = scene
            .key
            .sign(&scene.claims_with(&json!({"patient": 4711})));
        assert_eq!(
            scene.come_back_with(&number).await.unwrap().as_str(),
            "4711"
        );
    }
}

#[tokio::test]
async fn a_token_with_any_claim_amiss_is_refused() {
    let scene = Scene::new().await;
    let now = at(0).as_second();
    for amiss in [
        json!({"iss": "https://evil.example"}),
        json!({"iss": format!("{}/", scene.provider.base)}),
        json!({"iss": null}),
        json!({"aud": "other"}),
        json!({"aud": []}),
        json!({"aud": null}),
        json!({"aud": ["ehi", "other"]}),
        json!({"azp": "other"}),
        json!({"exp": now - 61}),
        json!({"exp": null}),
        json!({"exp": "soon"}),
        json!({"iat": now + 61}),
        json!({"iat": null}),
        json!({"nbf": now + 61}),
        json!({"sub": null}),
        json!({"sub": ""}),
        json!({"nonce": null}),
        json!({"nonce": ""}),
        json!({"nonce": attempt(2).nonce()}),
    ] {
        let token = scene.key.sign(&scene.claims_with(&amiss));
        assert_refused(&scene, &amiss.to_string(), &token).await;
    }
}

#[tokio::test]
async fn a_token_that_somebody_else_signed_is_refused() {
    let scene = Scene::new().await;
    let (good, claims) = (&scene.key, scene.claims());
    let same_name = Key::ec("k1");
    let part = |json: Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
    let unsigned = |alg: &str| {
        format!(
            "{}.{}.",
            part(json!({"alg": alg, "kid": "k1"})),
            part(claims.clone())
        )
    };
    // The public key as the secret of an HMAC.
    let public = good.jwk["x"].as_str().unwrap().as_bytes();
    let shared = EncodingKey::from_secret(public);
    let shared = {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("k1".to_owned());
        jsonwebtoken::encode(&header, &claims, &shared).unwrap()
    };
    let whole = good.sign(&claims);
    let (signed, _) = whole.rsplit_once('.').unwrap();
    let own_jwk = serde_json::from_value(same_name.jwk.clone()).unwrap();
    for (what, token) in [
        ("another key of that name", same_name.sign(&claims)),
        (
            "its own key in the header",
            same_name.sign_as(|header| header.jwk = Some(own_jwk), &claims),
        ),
        (
            "no such key",
            good.sign_as(|header| header.kid = Some("k2".to_owned()), &claims),
        ),
        ("nobody", unsigned("none")),
        ("NOBODY", unsigned("nOnE")),
        ("no signature", format!("{signed}.")),
        (
            "another's signature",
            format!(
                "{signed}.{}",
                same_name.sign(&claims).rsplit_once('.').unwrap().1
            ),
        ),
        ("a shared secret", shared),
        (
            "demands",
            good.sign_as(|header| header.crit = Some(vec!["x".to_owned()]), &claims),
        ),
        (
            "another kind",
            good.sign_as(|header| header.typ = Some("at+jwt".to_owned()), &claims),
        ),
        ("no token", "x".to_owned()),
        ("nothing", String::new()),
        ("no end", "x".repeat(70_000)),
    ] {
        assert_refused(&scene, what, &token).await;
    }
    assert!(scene.come_back_with(&whole).await.is_ok());
}

#[tokio::test]
async fn a_key_is_used_for_what_it_is_published_for_alone() {
    for (member, value) in [("use", "enc"), ("alg", "ES384"), ("kty", "oct")] {
        let scene = Scene::new().await;
        scene.provider.says.lock().unwrap().keys[0][member] = value.into();
        let token = scene.key.sign(&scene.claims());
        assert_refused(&scene, value, &token).await;
    }
}

#[tokio::test]
async fn a_token_without_a_key_id_needs_that_there_is_but_one() {
    let scene = Scene::new().await;
    let token = scene
        .key
        .sign_as(|header| header.kid = None, &scene.claims());
    assert!(scene.come_back_with(&token).await.is_ok());
    let scene = Scene::new().await;
    (scene.provider.says.lock().unwrap().keys).insert(0, Key::ec("k0").jwk);
    let token = scene
        .key
        .sign_as(|header| header.kid = None, &scene.claims());
    assert_refused(&scene, "which?", &token).await;
}

#[tokio::test]
async fn a_new_key_is_fetched_and_not_more_than_once_a_minute() {
    let scene = Scene::new().await;
    let old = scene.key.sign(&scene.claims());
    assert!(scene.come_back_with(&old).await.is_ok());
    assert!(scene.come_back_with(&old).await.is_ok());
    assert_eq!(scene.provider.count("/keys"), 1, "kept");
    let new = Key::ec("k2");
    scene.provider.says.lock().unwrap().keys = vec![new.jwk.clone()];
    let token = new.sign(&scene.claims());
    scene.clock.set(at(59));
    for _ in 0..3 {
        assert_refused(&scene, "too early", &token).await;
    }
    assert_eq!(scene.provider.count("/keys"), 1);
    scene.clock.set(at(60));
    assert!(scene.come_back_with(&token).await.is_ok());
    assert_eq!(scene.provider.count("/keys"), 2);
    assert_refused(&scene, "taken back", &old).await;
}

#[tokio::test]
async fn who_is_proven_and_no_patient_is_a_stranger() {
    let scene = Scene::new().await;
    for patient in [
        json!(null),
        json!(""),
        json!("../x"),
        json!(["p-1"]),
        json!(true),
        json!(1.5e300),
    ] {
        let token = scene
            .key
            .sign(&scene.claims_with(&json!({"patient": patient})));
        let stranger = scene.come_back_with(&token).await;
        assert!(
            matches!(stranger, Err(LoginError::Stranger)),
            "{patient}: {stranger:?}"
        );
    }
}

#[tokio::test]
async fn staff_get_the_highest_role_of_their_groups_and_a_plain_name() {
    let scene = Scene::new().await;
    let staff = scene.provider.staff(&scene.clock, "");
    let log_in = async |claims: Value| {
        let token = scene.key.sign(&scene.claims_with(&claims));
        scene.provider.says.lock().unwrap().give(&token);
        staff.verify(StaffAnswer::Returned(scene.back())).await
    };
    for (groups, role) in [
        (json!(["him"]), StaffRole::Reviewer),
        (json!("him"), StaffRole::Reviewer),
        (json!(["him-admins", "him", "choir"]), StaffRole::Admin),
    ] {
        let claims = json!({"groups": groups, "preferred_username": "rita"});
        let member = log_in(claims).await.unwrap();
        assert_eq!(
            (member.name.as_str(), member.role),
            ("rita", role),
            "{groups}"
        );
    }
    for groups in [
        json!([]),
        json!(["HIM", "him-"]),
        json!({"him": 1}),
        json!(null),
    ] {
        let claims = json!({"groups": groups, "preferred_username": "rita"});
        assert!(
            matches!(log_in(claims).await, Err(LoginError::Stranger)),
            "{groups}"
        );
    }
    let long = "x".repeat(201);
    for name in [
        json!(null),
        json!(""),
        json!(" rita"),
        json!("ri\nta"),
        json!(7),
        json!(long),
    ] {
        let claims = json!({"groups": ["him"], "preferred_username": name});
        assert!(
            matches!(log_in(claims).await, Err(LoginError::Stranger)),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_claim_may_lie_deeper() {
    let scene = Scene::new().await;
    let more = "name_claim = 'https://ehi.example/name'\n";
    let staff = scene.provider.staff(&scene.clock, more);
    let deep = OidcStaff {
        config: StaffLoginConfig {
            role_claim: "/realm_access/roles".into(),
            ..staff.config
        },
        ..staff
    };
    let claims = json!({"realm_access": {"roles": ["him"]}, "https://ehi.example/name": "rita"});
    let token = scene.key.sign(&scene.claims_with(&claims));
    scene.provider.says.lock().unwrap().give(&token);
    let member = deep.verify(StaffAnswer::Returned(scene.back())).await;
    assert_eq!(member.unwrap().name.as_str(), "rita");
}
