//! Apps that prove themselves by a secret, and what they may ask about tokens.

use serde_json::json;

use crate::app::{App, AuthorizeRequest, CALLBACK, authorize, param, refresh, token, trade};
use crate::browser::{Answer, Browser, http, send};
use crate::clients::{Key, ask, claims, demo, post_as, system};
use crate::patients::{ANNA, Records};
use crate::served::hash;
use crate::server::Server;

/// The client with a secret that every demo knows.
const CONFIDENTIAL: (&str, &str) = ("confidential_client_id", "confidential-client-secret");

/// A fresh code of Anna's for this client, and the verifier that goes with it.
async fn code_for(server: &Server, client: &str) -> (String, String) {
    let request = AuthorizeRequest::new(server).with("client_id", client);
    let back = authorize(&Browser::new(), server, &request, ANNA).await;
    (param(&back, "code").unwrap(), request.verifier)
}

fn code_form<'f>(code: &'f str, verifier: &'f str) -> [(&'f str, &'f str); 4] {
    [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", verifier),
    ]
}

/// An app with a secret that Anna has let in.
async fn connect(server: &Server) -> App<'_> {
    let (code, verifier) = code_for(server, CONFIDENTIAL.0).await;
    let form = code_form(&code, &verifier);
    let tokens = post_as(server, "/auth/token", CONFIDENTIAL, &form).await;
    App::with_tokens(server, ANNA, tokens.expect(200).json())
}

#[tokio::test]
async fn an_app_with_a_secret_gets_and_refreshes_tokens_by_it_alone() {
    let server = Server::demo(&Records::small());
    let (code, verifier) = code_for(&server, CONFIDENTIAL.0).await;
    let form = code_form(&code, &verifier);
    for (id, secret) in [
        (CONFIDENTIAL.0, "wrong"),
        (CONFIDENTIAL.0, ""),
        ("nobody", CONFIDENTIAL.1),
        ("test_client_id", CONFIDENTIAL.1),
    ] {
        let refused = post_as(&server, "/auth/token", (id, secret), &form).await;
        assert!(
            refused.header("www-authenticate").starts_with("Basic"),
            "{id}"
        );
        refused.expect_oauth(401, "invalid_client");
    }
    for more in [
        vec![("client_id", CONFIDENTIAL.0)],
        vec![
            ("client_id", CONFIDENTIAL.0),
            ("client_secret", CONFIDENTIAL.1),
        ],
    ] {
        token(&server, &[form.as_slice(), &more].concat())
            .await
            .expect_oauth(401, "invalid_client");
    }
    // None of these used the code up; a client_id beside the secret does no harm.
    let named = [form.as_slice(), &[("client_id", CONFIDENTIAL.0)]].concat();
    let tokens = post_as(&server, "/auth/token", CONFIDENTIAL, &named).await;
    let tokens = tokens.expect(200).json();
    let app = App::with_tokens(&server, ANNA, tokens.clone());
    app.kick_off("").await;

    let refresh_token = tokens["refresh_token"].as_str().unwrap();
    refresh(&server, refresh_token)
        .await
        .expect_oauth(401, "invalid_client");
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh_token),
    ];
    let refreshed = post_as(&server, "/auth/token", CONFIDENTIAL, &form).await;
    assert_ne!(refreshed.expect(200).json()["refresh_token"], refresh_token);
}

#[tokio::test]
async fn two_wrong_answers_read_the_same() {
    let server = Server::demo(&Records::small());
    let form = code_form("x", "y");
    let wrong = post_as(&server, "/auth/token", (CONFIDENTIAL.0, "wrong"), &form).await;
    let unknown = post_as(&server, "/auth/token", ("nobody", "wrong"), &form).await;
    assert_eq!((wrong.status, &wrong.body), (unknown.status, &unknown.body));
}

#[tokio::test]
async fn a_code_or_refresh_token_of_one_client_is_worth_nothing_to_another() {
    let server = Server::demo(&Records::small());
    let (code, verifier) = code_for(&server, "test_client_id").await;
    let form = code_form(&code, &verifier);
    post_as(&server, "/auth/token", CONFIDENTIAL, &form)
        .await
        .expect_oauth(400, "invalid_grant");
    let (code, verifier) = code_for(&server, CONFIDENTIAL.0).await;
    trade(&server, &code, &verifier)
        .await
        .expect_oauth(400, "invalid_grant");

    let public = App::connect(&server, ANNA).await;
    let stolen = public.tokens["refresh_token"].as_str().unwrap();
    let form = [("grant_type", "refresh_token"), ("refresh_token", stolen)];
    post_as(&server, "/auth/token", CONFIDENTIAL, &form)
        .await
        .expect_oauth(400, "invalid_grant");
    // It got into wrong hands: what it belongs to has ended.
    public.try_kick_off("").await.expect_outcome(401);
}

async fn introspect(server: &Server, who: (&str, &str), token: &str) -> Answer {
    post_as(server, "/auth/introspect", who, &[("token", token)]).await
}

#[tokio::test]
async fn an_app_learns_what_its_own_tokens_are_worth() {
    let server = Server::demo(&Records::small());
    let app = connect(&server).await;
    let answer = introspect(&server, CONFIDENTIAL, &app.token)
        .await
        .expect(200);
    assert!(answer.header("cache-control").contains("no-store"));
    let told = answer.json();
    assert_eq!(told["active"], true);
    assert_eq!(told["client_id"], CONFIDENTIAL.0);
    assert_eq!(
        (&told["patient"], &told["sub"]),
        (&json!(ANNA), &json!(ANNA))
    );
    assert_eq!(told["scope"], app.tokens["scope"]);
    assert_eq!(told["token_type"], "Bearer");
    for member in ["exp", "iat"] {
        assert!(told[member].is_u64(), "{member} in {told}");
    }
    let refresh_token = app.tokens["refresh_token"].as_str().unwrap();
    let told = introspect(&server, CONFIDENTIAL, refresh_token).await;
    assert_eq!(told.expect(200).json()["active"], true);

    let nothing = json!({"active": false});
    let public = App::connect(&server, ANNA).await;
    for unknown in ["nonsense", public.token.as_str()] {
        let told = introspect(&server, CONFIDENTIAL, unknown).await.expect(200);
        assert_eq!(told.json(), nothing);
    }
    let form = [
        ("token", refresh_token),
        ("token_type_hint", "access_token"),
    ];
    post_as(&server, "/auth/revoke", CONFIDENTIAL, &form)
        .await
        .expect(200);
    for ended in [app.token.as_str(), refresh_token] {
        let told = introspect(&server, CONFIDENTIAL, ended).await.expect(200);
        assert_eq!(told.json(), nothing);
    }
}

#[tokio::test]
async fn nobody_asks_about_tokens_or_ends_those_of_others_without_a_right_to() {
    let server = Server::demo(&Records::small());
    let app = connect(&server).await;
    let public = App::connect(&server, ANNA).await;
    let ask = async |path: &str, fields: &[(&str, &str)]| {
        send(http().post(server.url(path)).form(fields)).await
    };
    let own = [
        ("token", public.token.as_str()),
        ("client_id", "test_client_id"),
    ];
    ask("/auth/introspect", &own)
        .await
        .expect_oauth(401, "invalid_client");
    ask("/auth/introspect", &own[..1])
        .await
        .expect_oauth(401, "invalid_client");
    introspect(&server, (CONFIDENTIAL.0, "wrong"), &app.token)
        .await
        .expect_oauth(401, "invalid_client");
    post_as(&server, "/auth/introspect", CONFIDENTIAL, &[])
        .await
        .expect_oauth(400, "invalid_request");
    send(http().get(server.url("/auth/introspect")))
        .await
        .expect(405);

    // A public app cannot end what a confidential one was given, nor by its name.
    let others = [
        ("token", app.token.as_str()),
        ("client_id", "test_client_id"),
    ];
    ask("/auth/revoke", &others)
        .await
        .expect_oauth(400, "invalid_grant");
    let pretended = [others[0], ("client_id", CONFIDENTIAL.0)];
    ask("/auth/revoke", &pretended)
        .await
        .expect_oauth(401, "invalid_client");
    app.kick_off("").await;
}

#[tokio::test]
async fn a_resource_server_learns_of_every_token() {
    let secret = "a-resource-servers-secret";
    let key = Key::p384("a");
    let server = demo(&format!(
        "[[client]]\nid = 'imaging'\nname = 'Imaging'\nscopes = []\nintrospects = 'all'\n\
         token_endpoint_auth_method = 'client_secret_basic'\nsecret_hash = '{}'\n{}",
        hash(secret),
        system("etl", &[&key]),
    ));
    let app = App::connect(&server, ANNA).await;
    let told = introspect(&server, ("imaging", secret), &app.token).await;
    assert_eq!(told.expect(200).json()["client_id"], "test_client_id");
    let tokens = ask(&server, &key.sign(&claims(&server, "etl"))).await;
    let tokens = tokens.expect(200).json();
    let told = introspect(
        &server,
        ("imaging", secret),
        tokens["access_token"].as_str().unwrap(),
    );
    let told = told.await.expect(200).json();
    assert_eq!(
        (&told["active"], &told["sub"]),
        (&json!(true), &json!("etl"))
    );
    assert!(told.get("patient").is_none());
}
