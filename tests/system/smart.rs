//! SMART on FHIR up to the code: discovery, the authorization request, log-in and consent.

use serde_json::Value;

use crate::app::{ALLOW, App, AuthorizeRequest, DENY, authorize, back_to_app, log_in, param};
use crate::browser::{Answer, Browser, http, send};
use crate::forms::Form;
use crate::patients::{ANNA, BEN, Records};
use crate::server::Server;

/// Where a kick-off can be mounted in the demo.
const PREFIXES: [&str; 5] = [
    "",
    "/no-form",
    "/auto-approve",
    "/no-form/auto-approve",
    "/auto-approve/no-form",
];

async fn fetch(server: &Server, path: &str) -> Answer {
    send(http().get(server.url(path))).await
}

fn strings(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|each| each.as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn discovery_tells_what_an_app_has_to_know() {
    let server = Server::demo(&Records::small());
    for prefix in PREFIXES {
        let answer = fetch(
            &server,
            &format!("{prefix}/fhir/.well-known/smart-configuration"),
        )
        .await;
        assert!(
            answer
                .header("content-type")
                .starts_with("application/json"),
            "type of {answer}"
        );
        let found = answer.expect(200).json();
        for (member, path) in [
            ("authorization_endpoint", "/auth/authorize"),
            ("token_endpoint", "/auth/token"),
            ("jwks_uri", "/auth/jwks.json"),
            ("revocation_endpoint", "/auth/revoke"),
            ("introspection_endpoint", "/auth/introspect"),
        ] {
            assert_eq!(found[member], server.url(path), "{member} of {prefix}");
        }
        for (member, needed) in [
            (
                "token_endpoint_auth_methods_supported",
                &["none", "client_secret_basic", "private_key_jwt"][..],
            ),
            (
                "token_endpoint_auth_signing_alg_values_supported",
                &["RS384", "ES384"],
            ),
            (
                "grant_types_supported",
                &["authorization_code", "refresh_token", "client_credentials"],
            ),
            (
                "scopes_supported",
                &[
                    "patient/$ehi-export",
                    "system/$ehi-export",
                    "launch/patient",
                    "offline_access",
                    "online_access",
                ],
            ),
            ("response_types_supported", &["code"]),
            ("code_challenge_methods_supported", &["S256"]),
            (
                "capabilities",
                &[
                    "launch-standalone",
                    "client-public",
                    "client-confidential-symmetric",
                    "client-confidential-asymmetric",
                ],
            ),
        ] {
            let values = strings(&found[member]);
            for each in needed {
                assert!(
                    values.contains(each),
                    "{member} of {prefix:?} lacks {each}: {values:?}"
                );
            }
        }
        assert_eq!(
            strings(&found["code_challenge_methods_supported"]),
            ["S256"],
            "plain is none"
        );
    }
}

#[tokio::test]
async fn the_capability_statement_tells_of_the_export() {
    let server = Server::demo(&Records::small());
    for prefix in PREFIXES {
        let answer = fetch(&server, &format!("{prefix}/fhir/metadata"))
            .await
            .expect(200);
        assert!(
            answer
                .header("content-type")
                .starts_with("application/fhir+json"),
            "of {answer}"
        );
        let statement = answer.json();
        assert_eq!(statement["resourceType"], "CapabilityStatement");
        assert_eq!(statement["fhirVersion"], "4.0.1");
        for member in ["status", "date", "kind"] {
            assert!(
                statement[member].is_string(),
                "{member} is missing in {statement}"
            );
        }
        assert!(
            statement["format"].to_string().contains("json"),
            "no format in {statement}"
        );
        let rest = statement["rest"][0].to_string();
        for needed in [
            "ehi-export",
            "/auth/token",
            "/auth/authorize",
            "/auth/introspect",
            "/auth/revoke",
        ] {
            assert!(rest.contains(needed), "{needed} is missing in {rest}");
        }
    }
}

#[tokio::test]
async fn the_operation_is_described() {
    let server = Server::demo(&Records::small());
    let answer = fetch(&server, "/fhir/OperationDefinition/ehi-export")
        .await
        .expect(200);
    assert!(
        answer
            .header("content-type")
            .starts_with("application/fhir+json"),
        "of {answer}"
    );
    let operation = answer.json();
    assert_eq!(operation["resourceType"], "OperationDefinition");
    assert_eq!(operation["code"], "ehi-export");
    assert_eq!(operation["resource"], serde_json::json!(["Patient"]));
    assert_eq!(
        (&operation["instance"], &operation["system"]),
        (&true.into(), &false.into())
    );
}

#[tokio::test]
async fn an_unknown_client_or_return_address_is_told_directly() {
    let server = Server::demo(&Records::small());
    let request = || AuthorizeRequest::new(&server);
    for (request, code) in [
        (request().without("client_id"), "invalid_request"),
        (request().with("client_id", ""), "invalid_request"),
        (request().with("client_id", "nobody"), "invalid_client"),
        (request().without("redirect_uri"), "invalid_request"),
        (
            request().with("redirect_uri", "not a url"),
            "invalid_request",
        ),
        (
            request().with("redirect_uri", "https://evil.example/back"),
            "invalid_request",
        ),
        (
            request().with("redirect_uri", "http://127.0.0.1.evil.example/back"),
            "invalid_request",
        ),
        (
            request().with("redirect_uri", "http://127.0.0.1@evil.example/back"),
            "invalid_request",
        ),
        (
            request().with("redirect_uri", "http://127.0.0.1:3000/back#part"),
            "invalid_request",
        ),
        (
            request().with("redirect_uri", "javascript://127.0.0.1/%0aalert(1)"),
            "invalid_request",
        ),
    ] {
        let answer = Browser::new().get(&request.url(&server)).await;
        assert_eq!(answer.location(), None, "{:?} is sent away", request.query);
        answer.expect_oauth(400, code);
    }
}

#[tokio::test]
async fn every_other_mistake_goes_back_to_the_app() {
    let server = Server::demo(&Records::small());
    let request = || AuthorizeRequest::new(&server);
    for (request, codes) in [
        (request().without("response_type"), &["invalid_request"][..]),
        (
            request().with("response_type", "token"),
            &["invalid_request", "unsupported_response_type"],
        ),
        (
            request().without("scope"),
            &["invalid_request", "invalid_scope"],
        ),
        (
            request().with("scope", "patient/*.read offline_access"),
            &["invalid_scope"],
        ),
        (request().without("aud"), &["invalid_request"]),
        (
            request().with("aud", "http://other.example/fhir"),
            &["invalid_request"],
        ),
        (
            request().with("aud", &server.url("/other")),
            &["invalid_request"],
        ),
        (request().without("code_challenge"), &["invalid_request"]),
        (
            request().without("code_challenge_method"),
            &["invalid_request"],
        ),
        (
            request().with("code_challenge_method", "plain"),
            &["invalid_request"],
        ),
    ] {
        let location = back_to_app(&Browser::new().get(&request.url(&server)).await);
        let error = param(&location, "error").unwrap_or_default();
        assert!(
            codes.contains(&error.as_str()),
            "{error:?} for {:?}",
            request.query
        );
        assert!(
            param(&location, "error_description").is_some(),
            "undescribed: {location}"
        );
        assert_eq!(
            param(&location, "state"),
            Some(request.state),
            "of {location}"
        );
        assert_eq!(param(&location, "code"), None, "a code in {location}");
    }
}

#[tokio::test]
async fn what_comes_twice_or_without_end_goes_back_to_the_app_at_once() {
    let server = Server::demo(&Records::small());
    let twice = |name: &str| {
        let mut request = AuthorizeRequest::new(&server);
        request.query.push((name.to_owned(), "2".to_owned()));
        request
    };
    let told = async |request: &AuthorizeRequest| {
        let location = back_to_app(&Browser::new().get(&request.url(&server)).await);
        let error = param(&location, "error");
        assert_eq!(error.as_deref(), Some("invalid_request"), "{location}");
        param(&location, "state")
    };
    assert_eq!(told(&twice("state")).await, None, "neither is the app's");
    let other = twice("scope");
    assert_eq!(told(&other).await, Some(other.state.clone()));
    for name in ["client_id", "redirect_uri"] {
        let answer = Browser::new().get(&twice(name).url(&server)).await;
        answer.expect_oauth(400, "invalid_request");
    }
    let long = "x".repeat(4_200);
    let request = AuthorizeRequest::new(&server).with("state", &long);
    assert_eq!(told(&request).await, Some(long));
}

#[tokio::test]
async fn the_audience_may_be_any_mount_by_any_name_of_this_server() {
    let server = Server::demo(&Records::small());
    let mut audiences = PREFIXES
        .map(|prefix| server.url(&format!("{prefix}/fhir")))
        .to_vec();
    audiences.push(format!("http://localhost:{}/fhir", server.port()));
    audiences.push(format!("https://127.0.0.1:{}/fhir", server.port()));
    for audience in audiences {
        let request = AuthorizeRequest::new(&server).with("aud", &audience);
        let page = Browser::new().open(&request.url(&server)).await.expect(200);
        assert!(
            Form::offering(&page, ANNA).offers(BEN),
            "no log-in for {audience}"
        );
    }
}

#[tokio::test]
async fn an_app_on_the_same_computer_may_wait_at_any_port_and_path() {
    let server = Server::demo(&Records::small());
    for address in [
        "http://localhost:5005/",
        "http://127.0.0.1:61234/deep/path?x=1",
        "http://[::1]:8/y",
    ] {
        let request = AuthorizeRequest::new(&server).with("redirect_uri", address);
        let page = Browser::new().open(&request.url(&server)).await.expect(200);
        assert!(
            Form::offering(&page, ANNA).offers(BEN),
            "no log-in for {address}"
        );
    }
}

#[tokio::test]
async fn who_declines_sends_the_app_away_without_a_code() {
    let server = Server::demo(&Records::small());
    let (browser, request) = (Browser::new(), AuthorizeRequest::new(&server));
    let page = log_in(&browser, &request.url(&server), ANNA).await;
    let declined = browser
        .submit(Form::with_button(&page, DENY).press(DENY))
        .await;
    let location = back_to_app(&declined);
    assert_eq!(param(&location, "error").as_deref(), Some("access_denied"));
    assert_eq!(param(&location, "state"), Some(request.state));
    assert_eq!(param(&location, "code"), None);
}

#[tokio::test]
async fn parameters_of_the_old_login_page_grant_nothing() {
    let server = Server::demo(&Records::small());
    let request = AuthorizeRequest::new(&server)
        .with("_patient", ANNA)
        .with("_auth_success", "1")
        .with("patient", ANNA);
    let answer = Browser::new().open(&request.url(&server)).await.expect(200);
    assert!(
        Form::offering(&answer, BEN).offers(ANNA),
        "not the log-in: {answer}"
    );
}

#[tokio::test]
async fn consent_without_a_login_grants_nothing() {
    let server = Server::demo(&Records::small());
    let (browser, request) = (Browser::new(), AuthorizeRequest::new(&server));
    let page = log_in(&browser, &request.url(&server), ANNA).await;
    let consent = Form::with_button(&page, ALLOW).press(ALLOW);
    let answer = Browser::new().submit(consent).await;
    let code = answer
        .location()
        .and_then(|location| param(&location, "code"));
    assert_eq!(code, None, "a code for a stranger: {answer}");
}

#[tokio::test]
async fn a_patient_is_asked_again_for_every_request() {
    let server = Server::demo(&Records::small());
    let (browser, request) = (Browser::new(), AuthorizeRequest::new(&server));
    let first = authorize(&browser, &server, &request, ANNA).await;
    assert!(param(&first, "code").is_some(), "no code in {first}");

    // A second app, or a second time: the patient is asked again.
    let again = AuthorizeRequest::new(&server);
    let answer = browser.open(&again.url(&server)).await;
    assert_eq!(answer.location(), None, "not asked: {answer}");
}

#[tokio::test]
async fn log_in_and_consent_need_the_token_of_their_own_page() {
    let server = Server::demo(&Records::small());
    let request = AuthorizeRequest::new(&server);
    for spoil in [
        |form: Form| form.without("csrf"),
        |form: Form| form.forge("csrf", "forged"),
    ] {
        let browser = Browser::new();
        let page = browser.open(&request.url(&server)).await;
        let form = Form::offering(&page, ANNA).choose(ANNA);
        browser
            .post(&spoil(form.clone()).enter(ANNA))
            .await
            .expect_refusal();
        let page = browser.submit(form.enter(ANNA)).await.expect(200);

        let form = Form::with_button(&page, ALLOW);
        let answer = browser
            .post(&spoil(form).press(ALLOW))
            .await
            .expect_refusal();
        assert_eq!(answer.location(), None);
    }
}

#[tokio::test]
async fn a_login_as_somebody_who_is_not_there_is_none() {
    let server = Server::demo(&Records::small());
    let (browser, request) = (Browser::new(), AuthorizeRequest::new(&server));
    let page = browser.open(&request.url(&server)).await;
    let mut form = Form::offering(&page, ANNA).choose(ANNA).enter(ANNA);
    for (_, value) in form.fields.iter_mut().filter(|(_, value)| value == ANNA) {
        "nobody-here".clone_into(value);
    }
    let answer = browser.submit(form).await;
    assert_eq!(answer.location(), None, "logged in: {answer}");
    let asked_again = || Form::all(&answer).iter().any(|form| form.offers(ANNA));
    assert!(answer.status >= 400 || asked_again(), "logged in: {answer}");
}

#[tokio::test]
async fn a_login_gets_a_new_session_that_scripts_and_other_sites_cannot_use() {
    let server = Server::demo(&Records::small());
    let (browser, request) = (Browser::new(), AuthorizeRequest::new(&server));
    let page = browser.open(&request.url(&server)).await;
    let before = browser.cookie_values();
    let form = Form::offering(&page, ANNA).choose(ANNA).enter(ANNA);
    let answer = browser.post(&form).await;
    let cookies = crate::browser::SetCookie::all(&answer);
    assert!(!cookies.is_empty(), "no session: {answer}");
    for cookie in &cookies {
        assert!(cookie.attributes.contains_key("httponly"), "{cookie:?}");
        let same_site = cookie
            .attributes
            .get("samesite")
            .map(|value| value.to_lowercase());
        assert_eq!(same_site.as_deref(), Some("lax"), "{cookie:?}");
        assert!(
            !before.contains(&cookie.value),
            "a session from before the log-in: {cookie:?}"
        );
    }
}

#[tokio::test]
async fn the_scope_of_the_token_is_what_was_asked_for_and_known() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let granted = app.tokens["scope"].as_str().unwrap();
    let granted: Vec<&str> = granted.split(' ').collect();
    assert!(granted.contains(&"patient/$ehi-export") && granted.contains(&"offline_access"));

    let (browser, request) = (Browser::new(), AuthorizeRequest::new(&server));
    let request = request.with("scope", "patient/$ehi-export launch/patient");
    let back = authorize(&browser, &server, &request, BEN).await;
    let code = param(&back, "code").unwrap();
    let tokens = crate::app::trade(&server, &code, &request.verifier)
        .await
        .expect(200)
        .json();
    assert!(
        tokens.get("refresh_token").is_none_or(Value::is_null),
        "not asked for: {tokens}"
    );
    assert!(
        !tokens["scope"].as_str().unwrap().contains("offline_access"),
        "of {tokens}"
    );
}
