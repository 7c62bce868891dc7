//! What is asked of the provider, and what becomes of its failures.

use std::collections::HashMap;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use ehi_core::ports::{Brings, LoginReturn};
use ehi_core::testkit::at;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::super::*;
use super::support::*;

async fn prompt(scene: &Scene, proof: Proof) -> Result<Url, LoginError> {
    match scene.patients.prompt(&scene.attempt, proof).await? {
        PatientPrompt::Elsewhere(url) => Ok(url),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_browser_takes_along_what_ties_the_answer_to_it() {
    let scene = Scene::new().await;
    let url = prompt(&scene, Proof::Any).await.unwrap();
    assert!(
        url.as_str()
            .starts_with(&format!("{}/authorize?", scene.provider.base))
    );
    let sent: HashMap<String, String> = url.query_pairs().into_owned().collect();
    let challenge = Sha256::digest(scene.attempt.code_verifier());
    for (name, value) in [
        ("tenant", "1"),
        ("response_type", "code"),
        ("client_id", "ehi"),
        ("redirect_uri", "https://ehi.example/patient-login/callback"),
        ("scope", "openid profile"),
        ("state", &scene.attempt.state()),
        ("nonce", &scene.attempt.nonce()),
        ("code_challenge", &BASE64_URL_SAFE_NO_PAD.encode(challenge)),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(sent.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert!(!sent.contains_key("prompt"));
    let fresh = prompt(&scene, Proof::Fresh).await.unwrap();
    assert!(
        fresh
            .query_pairs()
            .any(|pair| pair == ("prompt".into(), "login".into()))
    );
}

#[tokio::test]
async fn a_code_is_traded_by_the_one_it_was_given_to() {
    let scene = Scene::new().await;
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "s+e c:r%et\n").unwrap();
    let with_secret = format!("client_secret_file = '{}'\n", secret.path().display());
    let basic = format!("Basic {}", BASE64_STANDARD.encode("ehi:s%2Be+c%3Ar%25et"));
    for (more, methods, authorization, id, in_form) in [
        ("", json!(null), None, Some("ehi"), None),
        (
            with_secret.as_str(),
            json!(null),
            Some(basic.as_str()),
            None,
            None,
        ),
        (
            &with_secret,
            json!(["client_secret_post"]),
            None,
            Some("ehi"),
            Some("s+e c:r%et"),
        ),
    ] {
        {
            let mut says = scene.provider.says.lock().unwrap();
            says.metadata["token_endpoint_auth_methods_supported"] = methods.clone();
            if methods.is_null() {
                let metadata = says.metadata.as_object_mut().unwrap();
                metadata.remove("token_endpoint_auth_methods_supported");
            }
            says.give(&scene.key.sign(&scene.claims()));
        }
        let patients = scene.provider.patients(&scene.clock, more);
        let back = PatientAnswer::Returned(scene.back());
        patients.verify(back).await.unwrap();
        let asked = scene.provider.last("/token");
        let form = |name: &str| asked.form.get(name).map(String::as_str);
        assert_eq!(form("grant_type"), Some("authorization_code"));
        assert_eq!(form("code"), Some("the-code"));
        assert_eq!(
            form("redirect_uri"),
            Some("https://ehi.example/patient-login/callback")
        );
        assert_eq!(
            form("code_verifier"),
            Some(scene.attempt.code_verifier().as_str())
        );
        assert_eq!(asked.authorization.as_deref(), authorization);
        assert_eq!((form("client_id"), form("client_secret")), (id, in_form));
        assert!(!format!("{patients:?}").contains("c:r%et"));
    }
}

#[tokio::test]
async fn a_refused_code_is_a_refused_login_and_a_refused_server_is_not() {
    let scene = Scene::new().await;
    for (error, refused) in [
        ("invalid_grant", true),
        ("invalid_client", false),
        ("", false),
    ] {
        scene.provider.says.lock().unwrap().token = (400, json!({"error": error}));
        let answer = PatientAnswer::Returned(scene.back());
        match scene.patients.verify(answer).await {
            Err(LoginError::Refused) => assert!(refused, "{error}"),
            Err(LoginError::Unavailable(_)) => assert!(!refused, "{error}"),
            other => panic!("{error}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn an_error_that_comes_back_is_told_apart_from_trouble() {
    let scene = Scene::new().await;
    for (error, refused) in [
        ("access_denied", true),
        ("login_required", true),
        ("temporarily_unavailable", false),
        ("server_error", false),
        ("invalid_request", false),
    ] {
        let back = LoginReturn {
            brings: Brings::Error(error.to_owned()),
            ..scene.back()
        };
        match scene.patients.verify(PatientAnswer::Returned(back)).await {
            Err(LoginError::Refused) => assert!(refused, "{error}"),
            Err(LoginError::Unavailable(_)) => assert!(!refused, "{error}"),
            other => panic!("{error}: {other:?}"),
        }
    }
    assert_eq!(scene.provider.count("/token"), 0);
}

#[tokio::test]
async fn an_answer_in_the_name_of_another_provider_trades_no_code() {
    let scene = Scene::new().await;
    let good = scene.key.sign(&scene.claims());
    scene.provider.says.lock().unwrap().give(&good);
    let come_back = async |issuer: Option<&str>| {
        // A login of its own each time, so that the metadata are read anew.
        let patients = scene.provider.patients(&scene.clock, "");
        let back = LoginReturn {
            issuer: issuer.map(str::to_owned),
            ..scene.back()
        };
        patients.verify(PatientAnswer::Returned(back)).await.is_ok()
    };
    assert!(come_back(Some(&scene.provider.base)).await && come_back(None).await);
    assert!(!come_back(Some("https://evil.example")).await && !come_back(Some("")).await);
    scene.provider.says.lock().unwrap().metadata["authorization_response_iss_parameter_supported"] =
        true.into();
    assert!(come_back(Some(&scene.provider.base)).await);
    assert!(!come_back(None).await, "it promised to say who it is");
    assert_eq!(scene.provider.count("/token"), 3);
}

#[tokio::test]
async fn a_provider_that_is_away_is_left_alone_for_a_moment_and_asked_again() {
    let scene = Scene::new().await;
    let discovery = "/.well-known/openid-configuration";
    scene.provider.says.lock().unwrap().instead = Some((503, String::new()));
    for _ in 0..3 {
        let away = prompt(&scene, Proof::Any).await;
        assert!(matches!(away, Err(LoginError::Unavailable(_))), "{away:?}");
    }
    assert_eq!(scene.provider.count(discovery), 1);
    scene.provider.says.lock().unwrap().instead = None;
    scene.clock.set(at(5));
    assert!(prompt(&scene, Proof::Any).await.is_ok());
    assert!(prompt(&scene, Proof::Any).await.is_ok());
    assert_eq!(scene.provider.count(discovery), 2, "kept");
}

#[tokio::test]
async fn what_was_known_outlasts_a_short_absence() {
    let scene = Scene::new().await;
    assert!(prompt(&scene, Proof::Any).await.is_ok());
    scene.provider.says.lock().unwrap().instead = Some((500, String::new()));
    scene.clock.set(at(3 * 3600));
    assert!(prompt(&scene, Proof::Any).await.is_ok());
    scene.clock.set(at(24 * 3600));
    assert!(prompt(&scene, Proof::Any).await.is_err());
}

#[tokio::test]
async fn a_provider_that_is_not_the_configured_one_is_not_used() {
    for (member, value) in [
        ("issuer", "https://evil.example"),
        ("token_endpoint", "http://evil.example/token"),
        ("authorization_endpoint", "javascript:alert(1)"),
        ("jwks_uri", "http://10.0.0.1/keys"),
    ] {
        let scene = Scene::new().await;
        scene.provider.says.lock().unwrap().metadata[member] = value.into();
        let broken = prompt(&scene, Proof::Any).await;
        assert!(
            matches!(broken, Err(LoginError::Unavailable(_))),
            "{member}"
        );
    }
}

#[tokio::test]
async fn nothing_the_provider_sends_is_read_without_end_or_from_elsewhere() {
    for (status, body) in [
        (200, " ".repeat(600 << 10)),
        (302, String::new()),
        (200, "<p>".into()),
    ] {
        let scene = Scene::new().await;
        scene.provider.says.lock().unwrap().instead = Some((status, body));
        let broken = prompt(&scene, Proof::Any).await;
        assert!(
            matches!(broken, Err(LoginError::Unavailable(_))),
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_password_is_no_answer_here() {
    let scene = Scene::new().await;
    let credentials = || ehi_core::ports::Credentials {
        username: "anna".to_owned(),
        password: "any".to_owned().into(),
    };
    let patient = scene
        .patients
        .verify(PatientAnswer::Password(credentials()))
        .await;
    assert!(matches!(patient, Err(LoginError::Refused)));
    let staff = scene.provider.staff(&scene.clock, "");
    let staff = staff.verify(StaffAnswer::Password(credentials())).await;
    assert!(matches!(staff, Err(LoginError::Refused)));
}
