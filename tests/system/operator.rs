//! The operator at the command line: registrations and keys of a running server.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::app::App;
use crate::browser::{http, send};
use crate::clients::{Key, ask, claims, post_as};
use crate::patients::{ANNA, anna};
use crate::served::hash;
use crate::server::{Server, command};
use crate::wait::until;

/// A real server of Anna's record, its directory by hand.
fn serve() -> Server {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let write = |name: &str, content: &str| fs::write(folder.path().join(name), content).unwrap();
    fs::create_dir(folder.path().join("records")).unwrap();
    write("records/anna.json", &anna());
    let password = hash(crate::app::PATIENT_PASSWORD);
    write(
        "directory.toml",
        &format!(
            "# By hand.\n[[client]]\nid = 'test_client_id'\nname = 'Plain app'\nloopback = 'any'\n\n\
             [[staff]]\nusername = 'admin'\npassword_hash = '{password}'\n\n\
             [[patient]]\nusername = '{ANNA}'\npassword_hash = '{password}'\npatient = '{ANNA}'\n"
        ),
    );
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    write(
        "ehi.toml",
        &format!(
            "public_url = 'http://{address}'\nlisten = '{address}'\ndata = '{}'\ndirectory = '{}'\n\
             records = [{{ bundles = '{}' }}]\n",
            at("data"),
            at("directory.toml"),
            at("records"),
        ),
    );
    Server::serve(folder)
}

fn run(server: &Server, words: &[&str], more: &[&str]) -> Output {
    let mut command = command();
    command.args(words).arg("--config");
    command.arg(server.data().join("ehi.toml")).args(more);
    command.output().unwrap()
}

/// Runs a command that has to succeed, and returns its lines.
#[track_caller]
fn done(server: &Server, words: &[&str], more: &[&str]) -> Vec<String> {
    let output = run(server, words, more);
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words:?}: {log}");
    assert!(
        log.contains("\"actor\":\"operator\"") || words.contains(&"list"),
        "{log}"
    );
    let said = String::from_utf8(output.stdout).unwrap();
    said.lines().map(str::to_owned).collect()
}

/// Whether this secret authenticates the client.
async fn is_right(server: &Server, id: &str, secret: &str) -> bool {
    let answer = post_as(server, "/auth/introspect", (id, secret), &[("token", "x")]).await;
    answer.status == 200
}

async fn wait_for(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    until(what, async || condition().await.then_some(())).await;
}

#[tokio::test]
async fn registrations_change_while_the_server_runs() {
    let server = serve();
    let name = ["--name", "Imaging"];
    let added = done(
        &server,
        &["client", "add"],
        &[&["imaging", "--secret"][..], &name].concat(),
    );
    let secret = added.last().unwrap().as_str();
    assert_eq!(secret.len(), 43, "{added:?}");
    let directory = || fs::read_to_string(server.data().join("directory.toml")).unwrap();
    assert!(directory().contains("# By hand.") && !directory().contains(secret));
    wait_for("the new client", async || {
        is_right(&server, "imaging", secret).await
    })
    .await;

    let listed = done(&server, &["client", "list"], &[]).join("\n");
    for told in [
        "test_client_id\tnone",
        "imaging\tclient_secret_basic",
        "Imaging",
    ] {
        assert!(listed.contains(told), "{listed}");
    }
    let again = run(
        &server,
        &["client", "add"],
        &[&["imaging"][..], &name].concat(),
    );
    assert!(!again.status.success());

    let rotated = done(&server, &["client", "rotate-secret"], &["imaging"]);
    let fresh = rotated.last().unwrap().as_str();
    assert_ne!(fresh, secret);
    wait_for("the new secret", async || {
        is_right(&server, "imaging", fresh).await
    })
    .await;
    assert!(!is_right(&server, "imaging", secret).await);

    // A mistake by hand changes nothing.
    let good = directory();
    let broken = format!("{good}\n[[client]]\nid = 'x'\n");
    fs::write(server.data().join("directory.toml"), broken).unwrap();
    wait_for("the log", async || {
        is_right(&server, "imaging", fresh).await && server.log().contains("stays as it was")
    })
    .await;
    fs::write(server.data().join("directory.toml"), good).unwrap();

    done(&server, &["client", "remove"], &["imaging"]);
    wait_for("the end", async || {
        !is_right(&server, "imaging", fresh).await
    })
    .await;
    for secret in [secret, fresh] {
        assert!(!server.log().contains(secret), "a secret is logged");
    }
}

#[tokio::test]
async fn an_app_that_is_removed_loses_what_it_was_given() {
    let server = serve();
    let app = App::connect(&server, ANNA).await;
    app.kick_off("").await;
    done(&server, &["client", "remove"], &["test_client_id"]);
    wait_for("the end", async || app.try_kick_off("").await.status == 401).await;
}

#[tokio::test]
async fn a_system_is_registered_by_its_public_key_and_never_by_its_private_one() {
    let server = serve();
    let key = Key::p384("a");
    let jwks = |jwk: &Value| -> PathBuf {
        let file = server.data().join("jwks.json");
        fs::write(&file, json!({"keys": [jwk]}).to_string()).unwrap();
        file
    };
    let add = |file: &Path, scope: &str| {
        let file = file.display().to_string();
        let more = ["etl", "--name", "ETL", "--scope", scope, "--jwks", &file];
        run(&server, &["client", "add"], &more)
    };
    let mut private = key.jwk.clone();
    private["d"] = "AQAB".into();
    let refused = add(&jwks(&private), "system/$ehi-export");
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && told.contains("private key"),
        "{told}"
    );
    assert!(!add(&jwks(&key.jwk), "system/everything").status.success());

    assert!(add(&jwks(&key.jwk), "system/$ehi-export").status.success());
    wait_for("the new system", async || {
        ask(&server, &key.sign(&claims(&server, "etl")))
            .await
            .status
            == 200
    })
    .await;
}

#[tokio::test]
async fn keys_are_changed_while_the_server_runs_and_nobody_loses_a_token() {
    let server = serve();
    let kid = |token: &str| jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
    let published = async || {
        let keys = send(http().get(server.url("/auth/jwks.json"))).await;
        let keys = keys.expect(200).json();
        let keys = keys["keys"].as_array().unwrap().clone();
        let kids = keys
            .iter()
            .map(|key| key["kid"].as_str().unwrap().to_owned());
        kids.collect::<Vec<_>>()
    };
    let before = App::connect(&server, ANNA).await;
    assert_eq!(published().await, [kid(&before.token)]);
    let said = done(&server, &["keys", "rotate"], &[]);
    wait_for("the new key", async || published().await.len() == 2).await;

    let after = App::connect(&server, ANNA).await;
    assert_ne!(kid(&after.token), kid(&before.token));
    assert!(said[0].contains(&kid(&after.token)), "{said:?}");
    assert_eq!(published().await, [kid(&after.token), kid(&before.token)]);
    before.kick_off("").await;
    after.kick_off("").await;
    let listed = done(&server, &["keys", "list"], &[]);
    assert!(listed[0].contains(&kid(&before.token)) && listed[0].contains("verifies until"));
    assert!(listed[1].contains(&kid(&after.token)) && listed[1].contains("signs"));
}
