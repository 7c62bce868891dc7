//! SMART on FHIR from the code on: the token endpoint, the tokens, and what ends them.

use std::str::FromStr;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::app::{
    App, AuthorizeRequest, CALLBACK, CLIENT, authorize, param, refresh, token, trade,
};
use crate::browser::{Answer, Browser, http, send};
use crate::patients::{ANNA, Records};
use crate::server::Server;

/// A fresh code of Anna's, and the verifier that goes with it.
async fn fresh_code(server: &Server) -> (String, String) {
    let request = AuthorizeRequest::new(server);
    let back = authorize(&Browser::new(), server, &request, ANNA).await;
    (param(&back, "code").unwrap(), request.verifier)
}

fn assert_not_stored(answer: &Answer) {
    assert!(
        answer.header("cache-control").contains("no-store"),
        "may be stored: {answer}"
    );
    assert_eq!(
        answer.header("pragma"),
        "no-cache",
        "may be stored: {answer}"
    );
}

#[tokio::test]
async fn a_code_gives_tokens_with_all_members_and_is_not_stored() {
    let server = Server::demo(&Records::small());
    let (code, verifier) = fresh_code(&server).await;
    let answer = trade(&server, &code, &verifier).await.expect(200);
    assert_not_stored(&answer);
    assert!(
        answer
            .header("content-type")
            .starts_with("application/json"),
        "of {answer}"
    );
    let tokens = answer.json();
    assert!(
        tokens["token_type"]
            .as_str()
            .unwrap()
            .eq_ignore_ascii_case("bearer")
    );
    assert!(tokens["expires_in"].as_u64().unwrap() > 0, "in {tokens}");
    assert_eq!(tokens["patient"], ANNA);
    assert!(tokens["need_patient_banner"].is_boolean(), "in {tokens}");
    for member in ["access_token", "refresh_token", "scope"] {
        assert!(tokens[member].is_string(), "{member} in {tokens}");
    }
}

#[tokio::test]
async fn the_access_token_is_signed_by_a_published_key() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let keys = send(http().get(server.url("/auth/jwks.json")))
        .await
        .expect(200)
        .json();
    for key in keys["keys"].as_array().unwrap() {
        for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
            assert!(
                key.get(private).is_none(),
                "a private part is published: {private}"
            );
        }
    }
    let keys: JwkSet = serde_json::from_value(keys).unwrap();
    let header = jsonwebtoken::decode_header(&app.token).unwrap();
    let asymmetric = !matches!(
        header.alg,
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512
    );
    assert!(asymmetric, "signed with {:?}", header.alg);
    let key = keys
        .find(header.kid.as_deref().unwrap())
        .expect("the key is published");

    let mut validation = Validation::new(header.alg);
    validation.validate_aud = false;
    let key = DecodingKey::from_jwk(key).unwrap();
    let claims = jsonwebtoken::decode::<Value>(&app.token, &key, &validation)
        .unwrap()
        .claims;
    assert_eq!(claims["client_id"], CLIENT);
    assert_eq!(claims["patient"], ANNA);
    assert_eq!(claims["scope"], app.tokens["scope"]);
    assert!(
        claims["iss"]
            .as_str()
            .unwrap()
            .starts_with(&server.origin()),
        "iss of {claims}"
    );
    for member in ["aud", "sub", "jti", "iat", "exp"] {
        assert!(!claims[member].is_null(), "{member} is missing in {claims}");
    }
    let lifetime = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
    assert_eq!(app.tokens["expires_in"], lifetime);
}

#[tokio::test]
async fn a_code_opens_only_with_its_verifier_and_its_return_address() {
    let server = Server::demo(&Records::small());
    for (name, value, codes) in [
        (
            "code_verifier",
            Some("a-verifier-that-belongs-to-another-request-0"),
            &["invalid_grant"][..],
        ),
        ("code_verifier", None, &["invalid_grant", "invalid_request"]),
        (
            "redirect_uri",
            Some("http://127.0.0.1:3000/elsewhere"),
            &["invalid_grant"],
        ),
        ("redirect_uri", None, &["invalid_request"]),
        ("code", Some("a-code-nobody-gave"), &["invalid_grant"]),
        ("code", None, &["invalid_request"]),
        (
            "client_id",
            Some("nobody"),
            &["invalid_client", "invalid_grant"],
        ),
    ] {
        let (code, verifier) = fresh_code(&server).await;
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", CALLBACK),
            ("client_id", CLIENT),
            ("code_verifier", &verifier),
        ];
        let fields: Vec<_> = fields
            .into_iter()
            .filter_map(|(each, right)| Some((each, if each == name { value? } else { right })))
            .collect();
        let answer = token(&server, &fields).await;
        assert!(
            matches!(answer.status, 400 | 401),
            "{name}={value:?}: {answer}"
        );
        assert_not_stored(&answer);
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(
            codes.contains(&error.as_str()),
            "{error} for {name}={value:?}"
        );
        assert_eq!(answer.status == 401, error == "invalid_client", "{answer}");
    }
}

#[tokio::test]
async fn a_code_used_twice_takes_back_what_it_gave() {
    let server = Server::demo(&Records::small());
    let mut app = App::connect(&server, ANNA).await;
    let (code, verifier) = fresh_code(&server).await;
    let tokens = trade(&server, &code, &verifier).await.expect(200).json();
    tokens["access_token"]
        .as_str()
        .unwrap()
        .clone_into(&mut app.token);
    let job = app.kick_off("").await;

    trade(&server, &code, &verifier)
        .await
        .expect_oauth(400, "invalid_grant");
    app.status(&job).await.expect_outcome(401);
    refresh(&server, tokens["refresh_token"].as_str().unwrap())
        .await
        .expect_oauth(400, "invalid_grant");
}

#[tokio::test]
async fn a_refresh_needs_only_the_refresh_token_and_gives_a_new_one() {
    let server = Server::demo(&Records::small());
    let mut app = App::connect(&server, ANNA).await;
    let first = app.tokens["refresh_token"].as_str().unwrap().to_owned();
    let answer = refresh(&server, &first).await.expect(200);
    assert_not_stored(&answer);
    let tokens = answer.json();
    assert_eq!(tokens["patient"], ANNA);
    assert_eq!(tokens["scope"], app.tokens["scope"]);
    assert_ne!(tokens["refresh_token"], first.as_str());
    assert_ne!(tokens["access_token"], app.token.as_str());
    tokens["access_token"]
        .as_str()
        .unwrap()
        .clone_into(&mut app.token);
    app.kick_off("").await;
}

#[tokio::test]
async fn a_refresh_token_that_comes_again_ends_its_whole_family() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let first = app.tokens["refresh_token"].as_str().unwrap();
    let second = refresh(&server, first).await.expect(200).json();
    let second = second["refresh_token"].as_str().unwrap();
    let third = refresh(&server, second).await.expect(200).json();

    refresh(&server, first)
        .await
        .expect_oauth(400, "invalid_grant");
    refresh(&server, third["refresh_token"].as_str().unwrap())
        .await
        .expect_oauth(400, "invalid_grant");
}

#[tokio::test]
async fn the_token_endpoint_refuses_what_it_does_not_understand() {
    let server = Server::demo(&Records::small());
    let ask = |content_type: &str, body: &str| {
        let request = http()
            .post(server.url("/auth/token"))
            .header(CONTENT_TYPE, content_type);
        send(request.body(body.to_owned()))
    };
    let form = "application/x-www-form-urlencoded";
    let as_json = json!({"grant_type": "refresh_token", "refresh_token": "x"}).to_string();
    ask("application/json", &as_json)
        .await
        .expect_oauth(400, "invalid_request");
    ask("text/plain", "grant_type=refresh_token&refresh_token=x")
        .await
        .expect_oauth(400, "invalid_request");
    ask(form, "").await.expect_oauth(400, "invalid_request");
    ask(form, "grant_type=password&username=a&password=b")
        .await
        .expect_oauth(400, "unsupported_grant_type");
    ask(form, "grant_type=refresh_token")
        .await
        .expect_oauth(400, "invalid_request");
    ask(form, "grant_type=refresh_token&refresh_token=nonsense")
        .await
        .expect_oauth(400, "invalid_grant");
    send(http().get(server.url("/auth/token")))
        .await
        .expect(405);
}

#[tokio::test]
async fn no_system_gets_a_token_without_proving_who_it_is() {
    let server = Server::demo(&Records::small());
    let fields = [
        ("grant_type", "client_credentials"),
        ("scope", "system/$ehi-export"),
    ];
    let answer = token(&server, &fields)
        .await
        .expect_oauth(401, "invalid_client");
    assert_not_stored(&answer);
    let named = [fields[0], fields[1], ("client_id", CLIENT)];
    token(&server, &named)
        .await
        .expect_oauth(400, "unauthorized_client");
}

#[tokio::test]
async fn a_refresh_for_more_than_was_granted_or_for_nothing_costs_the_app_nothing() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let first = app.tokens["refresh_token"].as_str().unwrap();
    let asked = |scope: &'static str| {
        [
            ("grant_type", "refresh_token"),
            ("refresh_token", first),
            ("scope", scope),
        ]
    };
    for scope in [
        "launch/patient",
        "patient/$ehi-export online_access",
        "patient/$ehi-export openid",
    ] {
        token(&server, &asked(scope))
            .await
            .expect_oauth(400, "invalid_scope");
    }
    let narrowed = token(&server, &asked("patient/$ehi-export")).await;
    let narrowed = narrowed.expect(200).json();
    assert_eq!(narrowed["scope"], "patient/$ehi-export");
    // The family keeps its scopes.
    let next = narrowed["refresh_token"].as_str().unwrap();
    let whole = refresh(&server, next).await.expect(200).json();
    assert_eq!(whole["scope"], app.tokens["scope"]);
}

#[tokio::test]
async fn an_app_ends_its_authorization_with_any_of_its_tokens() {
    let server = Server::demo(&Records::small());
    let revoke = async |token: &str, client: &str| {
        let fields = [("token", token), ("client_id", client)];
        send(http().post(server.url("/auth/revoke")).form(&fields)).await
    };
    for which in ["access_token", "refresh_token"] {
        let app = App::connect(&server, ANNA).await;
        let job = app.kick_off("").await;
        let token = app.tokens[which].as_str().unwrap();
        let answer = revoke(token, CLIENT).await.expect(200);
        assert_not_stored(&answer);
        app.status(&job).await.expect_outcome(401);
        let refresh_token = app.tokens["refresh_token"].as_str().unwrap();
        refresh(&server, refresh_token)
            .await
            .expect_oauth(400, "invalid_grant");
        // Ended already, or never there: that is what was wanted.
        revoke(token, CLIENT).await.expect(200);
    }
    revoke("nonsense", CLIENT).await.expect(200);
    let app = App::connect(&server, ANNA).await;
    revoke(&app.token, "nobody")
        .await
        .expect_oauth(401, "invalid_client");
    let fields = [("token", app.token.as_str())];
    send(http().post(server.url("/auth/revoke")).form(&fields))
        .await
        .expect_oauth(401, "invalid_client");
    let fields = [("client_id", CLIENT)];
    send(http().post(server.url("/auth/revoke")).form(&fields))
        .await
        .expect_oauth(400, "invalid_request");
    app.kick_off("").await;
}

#[tokio::test]
async fn a_changed_token_opens_nothing() {
    let server = Server::demo(&Records::small());
    let mut app = App::connect(&server, ANNA).await;
    let parts: Vec<&str> = app.token.split('.').collect();
    let claims = BASE64_URL_SAFE_NO_PAD.decode(parts[1]).unwrap();
    let mut claims = Value::from_str(std::str::from_utf8(&claims).unwrap()).unwrap();
    claims["scope"] = "system/$ehi-export".into();
    let none = encode(&json!({"alg": "none", "typ": "JWT"}));
    let changed = [
        format!("{}.{}.{}", parts[0], encode(&claims), parts[2]),
        format!("{none}.{}.", parts[1]),
        format!("{}.{}.", parts[0], parts[1]),
        app.tokens["refresh_token"].as_str().unwrap().to_owned(),
    ];
    for token in changed {
        app.token = token;
        app.try_kick_off("").await.expect_outcome(401);
    }
}

/// A part of a JSON Web Token.
fn encode(part: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(part.to_string())
}
