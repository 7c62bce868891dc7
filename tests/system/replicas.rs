//! Several servers on one database: whatever one of them begins, any other goes on with.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use ehi_adapters::testing::TestDatabase;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::app::{
    ALLOW, App, AuthorizeRequest, CALLBACK, Job, back_to_app, job_form, param, refresh, trade,
};
use crate::browser::{Browser, http, send};
use crate::clients::post_as;
use crate::export::resources;
use crate::forms::Form;
use crate::patients::{ANNA, anna};
use crate::provider::Provider;
use crate::served::hash;
use crate::server::{Server, command};
use crate::staff::{PASSWORD, Staff, USER};
use crate::wait::until;

/// Two servers of one hospital, whose clients, staff and keys are in the database.
struct Hospital {
    one: Server,
    other: Server,
    provider: Provider,
    folder: TempDir,
    _database: TestDatabase,
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Runs a command of the operator, with this on its standard input; what it said.
#[track_caller]
fn operate(folder: &TempDir, words: &[&str], input: &str) -> (bool, String) {
    let mut child = command()
        .args(words)
        .arg("--config")
        .arg(folder.path().join("one.toml"))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut typed = child.stdin.take().unwrap();
    // A command that reads nothing may have ended before.
    let _ = writeln!(typed, "{input}");
    drop(typed);
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap());
    (output.status.success(), said.concat())
}

/// Runs a command that has to succeed.
#[track_caller]
fn done(folder: &TempDir, words: &[&str], input: &str) -> String {
    let (success, said) = operate(folder, words, input);
    assert!(success, "{words:?}: {said}");
    said
}

/// The whole audit log.
#[track_caller]
fn audit(folder: &TempDir) -> String {
    let config = folder.path().join("one.toml").display().to_string();
    let words = ["audit", "--config", &config, "export"];
    let output = command().args(words).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

const ADD_APP: &[&str] = &[
    "client",
    "add",
    crate::app::CLIENT,
    "--name",
    "Plain app",
    "--redirect-uri",
    CALLBACK,
];

impl Hospital {
    async fn open() -> Self {
        let database = TestDatabase::create().await;
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let ports = [free_port(), free_port()];
        let public = format!("http://127.0.0.1:{}", ports[0]);
        let provider = Provider::start(
            0,
            &json!([{
                "client_id": "ehi", "redirect_uris": [format!("{public}/patient-login/callback")],
                "grant_types": ["authorization_code"], "response_types": ["code"],
                "token_endpoint_auth_method": "none",
            }]),
            &json!({"anna": {"fhir_patient": ANNA}}),
        );
        fs::create_dir(folder.path().join("records")).unwrap();
        fs::write(folder.path().join("records/anna.json"), anna()).unwrap();
        let secret = command().args(["keys", "new-secret"]).output().unwrap();
        fs::write(at("key-secret"), secret.stdout).unwrap();
        fs::set_permissions(at("key-secret"), fs::Permissions::from_mode(0o600)).unwrap();
        for (name, port) in [("one.toml", ports[0]), ("other.toml", ports[1])] {
            let text = format!(
                "public_url = '{public}'\nlisten = '127.0.0.1:{port}'\ndata = '{}'\n\
                 database = '{}'\nkeys = 'database'\nkey_secret = '{}'\n\
                 allowed_origins = ['http://127.0.0.1:{}']\n\
                 records = [{{ bundles = '{}' }}]\n\
                 [patient_login]\nissuer = '{}'\nclient_id = 'ehi'\npatient_claim = 'fhir_patient'\n",
                at("data"),
                database.url(),
                at("key-secret"),
                ports[1],
                at("records"),
                provider.issuer,
            );
            fs::write(at(name), text).unwrap();
        }
        done(&folder, ADD_APP, "");
        done(
            &folder,
            &["staff", "add", USER, "--role", "admin"],
            PASSWORD,
        );
        let [one, other] = [("one.toml", ports[0]), ("other.toml", ports[1])]
            .map(|(config, port)| Server::replica(folder.path(), config, port));
        Self {
            one,
            other,
            provider,
            folder,
            _database: database,
        }
    }

    fn both(&self) -> [&Server; 2] {
        [&self.one, &self.other]
    }

    /// Anna logs in and lets the app in at one server; its code is traded at the other.
    async fn connect(&self) -> App<'_> {
        let browser = Browser::new();
        let request = AuthorizeRequest::new(&self.one);
        let away = browser.open(&request.url(&self.one)).await;
        let page = self.provider.follow(&browser, away).await.unwrap();
        let back = self.provider.log_in(&browser, page, "anna").await;
        let consent = browser.open(back.as_str()).await.expect(200);
        let allow = Form::with_button(&consent, ALLOW).press(ALLOW);
        let code = back_to_app(&browser.submit(allow).await);
        let code = param(&code, "code").unwrap();
        let tokens = trade(&self.other, &code, &request.verifier).await;
        let tokens = tokens.expect(200).json();
        let again = trade(&self.one, &code, "wrong").await;
        again.expect_oauth(400, "invalid_grant");
        // That second use has ended what the code gave: Anna does it once more.
        let ended = App::with_tokens(&self.one, ANNA, tokens);
        ended.try_kick_off("").await.expect(401);
        let again = AuthorizeRequest::new(&self.one);
        let consent = browser.open(&again.url(&self.one)).await.expect(200);
        let allow = Form::with_button(&consent, ALLOW).press(ALLOW);
        let code = back_to_app(&browser.submit(allow).await);
        let code = param(&code, "code").unwrap();
        let tokens = trade(&self.other, &code, &again.verifier).await;
        let mut app = App::with_tokens(&self.one, ANNA, tokens.expect(200).json());
        app.browser = browser;
        app
    }

    /// A URL of the one server, at the other.
    fn at_other(&self, url: &str) -> String {
        url.replacen(&self.one.origin(), &self.other.origin(), 1)
    }
}

/// Waits until something is so at both servers.
async fn both(hospital: &Hospital, what: &str, so: impl AsyncFn(&Server) -> bool) {
    for server in hospital.both() {
        until(what, async || so(server).await.then_some(())).await;
    }
}

fn refresh_token(tokens: &Value) -> &str {
    tokens["refresh_token"].as_str().unwrap()
}

#[tokio::test]
async fn what_one_replica_begins_the_other_goes_on_with() {
    let hospital = Hospital::open().await;
    let app = hospital.connect().await;
    let elsewhere = App::with_tokens(&hospital.other, ANNA, app.tokens.clone());

    // Kicked off at one, chosen at the other.
    let job = Job::read(&app.try_kick_off("").await.expect(202));
    let form = hospital.at_other(job.form());
    let page = app.browser.open(&form).await.expect(200);
    let form = job_form(&page).say_yes_to_everything();
    let sent = app.browser.post(&form.enter("")).await;
    assert!(sent.status < 400, "{sent}");
    app.wait_for(&job, "retrieved").await;
    let status = hospital.at_other(&job.status_url);
    elsewhere.get(&status).await.expect(202);

    // Completed at one, released at the other, fetched at both.
    let staff = Staff::log_in(&hospital.one).await;
    let letter = ("letter.txt", "text/plain", &b"Dear Anna"[..]);
    staff.add_files(&job, &[letter]).await.expect(200);
    let there = Staff::at(&hospital.other, staff.browser);
    let told = there.job(&job).await;
    assert_eq!(told["attachments"].as_array().unwrap().len(), 1, "{told}");
    there.approve(&job).await.expect(200);
    let manifest = app.wait_for_manifest(&job).await.json();
    assert!(resources(&app, &manifest).await.len() > 5);
    let file = manifest["output"][0]["url"].as_str().unwrap();
    elsewhere.get(&hospital.at_other(file)).await.expect(200);

    // Logged out at one is logged out at both.
    there.get("/admin/logout").await.expect(200);
    let here = Staff::at(&hospital.one, there.browser);
    here.get("/admin/jobs").await.expect(401);

    // A refresh token is good once, wherever.
    let first = refresh_token(&app.tokens);
    let second = refresh(&hospital.other, first).await.expect(200).json();
    let replayed = refresh(&hospital.one, first).await;
    replayed.expect_oauth(400, "invalid_grant");
    let newest = refresh(&hospital.other, refresh_token(&second)).await;
    newest.expect_oauth(400, "invalid_grant");
    for (app, url) in [(&app, &job.status_url), (&elsewhere, &status)] {
        app.get(url).await.expect(401);
    }
}

#[tokio::test]
async fn clients_and_staff_change_on_both_replicas_while_they_run() {
    let hospital = Hospital::open().await;
    let folder = &hospital.folder;
    let is_right = async |server: &Server, secret: &str| {
        let client = ("imaging", secret);
        let answer = post_as(server, "/auth/introspect", client, &[("token", "x")]).await;
        answer.status == 200
    };
    let add = ["client", "add", "imaging", "--name", "Imaging", "--secret"];
    let said = done(folder, &add, "");
    let secret = said
        .lines()
        .find(|line| line.len() == 43)
        .unwrap()
        .to_owned();
    both(&hospital, "the new client", async |server| {
        is_right(server, &secret).await
    })
    .await;
    assert!(!operate(folder, &add, "").0, "there are two of one id");
    let said = done(folder, &["client", "rotate-secret", "imaging"], "");
    let fresh = said
        .lines()
        .find(|line| line.len() == 43)
        .unwrap()
        .to_owned();
    both(&hospital, "the new secret", async |server| {
        is_right(server, &fresh).await && !is_right(server, &secret).await
    })
    .await;
    assert!(done(folder, &["client", "list"], "").contains("imaging\tclient_secret_basic"));
    done(folder, &["client", "remove", "imaging"], "");
    both(&hospital, "its end", async |server| {
        !is_right(server, &fresh).await
    })
    .await;

    let (short, said) = operate(folder, &["staff", "add", "rita"], "short");
    assert!(!short && said.contains("8 characters"), "{said}");
    done(folder, &["staff", "add", "rita"], "the password of rita");
    let rita = Staff::stranger(&hospital.other);
    rita.try_log_in("rita", "the password of rita")
        .await
        .expect(200);
    done(
        folder,
        &["staff", "set-password", "rita"],
        "another for rita",
    );
    let again = Staff::stranger(&hospital.one);
    again
        .try_log_in("rita", "the password of rita")
        .await
        .expect(401);
    again
        .try_log_in("rita", "another for rita")
        .await
        .expect(200);
    let listed = done(folder, &["staff", "list"], "");
    assert!(listed.contains("rita\treviewer") && listed.contains("admin\tadmin"));
    // What began with the old password is over, at both.
    rita.get("/admin/jobs").await.expect(401);
    again.get("/admin/jobs").await.expect(200);
    done(folder, &["staff", "remove", "rita"], "");
    for staff in [&rita, &again] {
        staff.get("/admin/jobs").await.expect(401);
    }

    let audit = audit(folder);
    for action in [
        "add-client",
        "rotate-client-secret",
        "remove-client",
        "add-staff",
        "change-staff-password",
        "remove-staff",
    ] {
        assert!(audit.contains(&format!("\"{action}\"")), "{action}");
    }
    assert!(audit.contains("\"rita\"") && !audit.contains("password of rita"));
}

#[tokio::test]
async fn an_app_that_is_registered_anew_gets_nothing_back_of_what_it_had() {
    let hospital = Hospital::open().await;
    let app = hospital.connect().await;
    let elsewhere = App::with_tokens(&hospital.other, ANNA, app.tokens.clone());
    app.kick_off("").await;
    done(
        &hospital.folder,
        &["client", "remove", crate::app::CLIENT],
        "",
    );
    for app in [&app, &elsewhere] {
        app.try_kick_off("").await.expect(401);
    }
    done(&hospital.folder, ADD_APP, "");
    for app in [&app, &elsewhere] {
        app.try_kick_off("").await.expect(401);
        let refreshed = refresh(app.server, refresh_token(&app.tokens)).await;
        refreshed.expect_oauth(400, "invalid_grant");
    }
    hospital.connect().await.kick_off("").await;
}

#[tokio::test]
async fn keys_change_on_both_replicas_while_they_run() {
    let hospital = Hospital::open().await;
    let folder = &hospital.folder;
    let kid = |token: &str| jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
    let published = async |server: &Server| {
        let keys = send(http().get(server.url("/auth/jwks.json"))).await;
        let keys = keys.expect(200).json()["keys"].as_array().unwrap().clone();
        let kids = keys
            .iter()
            .map(|key| key["kid"].as_str().unwrap().to_owned());
        kids.collect::<Vec<_>>()
    };
    let before = hospital.connect().await;
    let first = kid(&before.token);
    for server in hospital.both() {
        assert_eq!(published(server).await, std::slice::from_ref(&first));
    }
    done(folder, &["keys", "rotate"], "");
    both(&hospital, "the new key", async |server| {
        published(server).await.len() == 2
    })
    .await;
    let refreshed = refresh(&hospital.other, refresh_token(&before.tokens)).await;
    let after = App::with_tokens(&hospital.one, ANNA, refreshed.expect(200).json());
    assert_ne!(kid(&after.token), first);
    for server in hospital.both() {
        assert_eq!(published(server).await, [kid(&after.token), first.clone()]);
        for tokens in [&before.tokens, &after.tokens] {
            let app = App::with_tokens(server, ANNA, tokens.clone());
            app.try_kick_off("").await.expect(202);
        }
    }

    let said = done(folder, &["keys", "rotate", "--revoke-old"], "");
    both(&hospital, "the end of the old keys", async |server| {
        let app = App::with_tokens(server, ANNA, after.tokens.clone());
        app.try_kick_off("").await.status == 401
    })
    .await;
    let listed = done(folder, &["keys", "list"], "");
    assert!(listed.contains("signs") && !listed.contains("verifies"));
    let refreshed = refresh(&hospital.one, refresh_token(&after.tokens)).await;
    let newest = App::with_tokens(&hospital.other, ANNA, refreshed.expect(200).json());
    assert!(said.contains(&kid(&newest.token)), "{said}");
    newest.try_kick_off("").await.expect(202);
    assert!(audit(folder).contains("\"revoke-keys\""));

    // Without the secret there are no keys.
    let secret = command().args(["keys", "new-secret"]).output().unwrap();
    fs::write(folder.path().join("key-secret"), secret.stdout).unwrap();
    let (success, said) = operate(folder, &["keys", "list"], "");
    assert!(!success && said.contains("key_secret"), "{said}");
}

#[tokio::test]
async fn guessing_at_two_replicas_is_no_faster_than_at_one() {
    let hospital = Hospital::open().await;
    let [one, other] = hospital.both().map(Staff::stranger);
    for user in [USER, "nobody"] {
        for staff in [&one, &other, &one, &other, &one] {
            staff.try_log_in(user, "guess").await.expect(401);
        }
        for staff in [&one, &other] {
            let wait = staff.try_log_in(user, PASSWORD).await.expect(429);
            assert_ne!(wait.header("retry-after"), "");
        }
    }
    until("the wait to be over", async || {
        (other.try_log_in(USER, PASSWORD).await.status == 200).then_some(())
    })
    .await;
    let jobs = one
        .browser
        .request(Method::GET, &hospital.one.url("/admin/jobs"));
    one.browser.send(jobs).await.expect(401);
}

#[tokio::test]
async fn a_directory_file_moves_into_the_database_whole_or_not_at_all() {
    let hospital = Hospital::open().await;
    let folder = &hospital.folder;
    let file = folder.path().join("directory.toml");
    let password = hash("the password of rita");
    let write = |app: &str| {
        let text = format!(
            "[[client]]\nid = '{app}'\nname = 'Old app'\n\
             [[staff]]\nusername = 'rita'\npassword_hash = '{password}'\n"
        );
        fs::write(&file, text).unwrap();
    };
    let import = ["directory", "import", file.to_str().unwrap()];
    write(crate::app::CLIENT);
    let (success, said) = operate(folder, &import, "");
    assert!(!success && said.contains("nobody was taken over"), "{said}");
    let rita = Staff::stranger(&hospital.other);
    let log_in = async || rita.try_log_in("rita", "the password of rita").await;
    log_in().await.expect(401);
    write("old-app");
    done(folder, &import, "");
    log_in().await.expect(200);
    assert!(done(folder, &["client", "list"], "").contains("old-app"));
}
