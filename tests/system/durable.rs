//! With a database nothing is forgotten: not by a restart, and not by a power cut.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use ehi_adapters::testing::TestDatabase;

use crate::app::{App, refresh};
use crate::browser::{http, send};
use crate::export::{in_review, resources};
use crate::patients::{ANNA, Records};
use crate::server::{End, Server, command};
use crate::staff::Staff;
use crate::wait::until;

/// An export that lies before the staff goes on after a restart as if nothing had happened.
async fn a_restart_is_not_noticed(mut server: Server, end: End) {
    let app = App::connect(&server, ANNA).await;
    let spent = app.tokens["refresh_token"].as_str().unwrap();
    let tokens = refresh(&server, spent).await.expect(200).json();
    let staff = Staff::log_in(&server).await;
    let job = in_review(&app).await;
    let letter = ("letter.txt", "text/plain", &b"Dear Anna"[..]);
    staff.add_files(&job, &[letter]).await.expect(200);
    let (old, browser) = (app.tokens.clone(), staff.browser);
    drop(app);

    server.restart(end);

    let app = App::with_tokens(&server, ANNA, tokens);
    let staff = Staff::at(&server, browser.reconnected());
    let told = staff.job(&job).await;
    assert_eq!(told["attachments"].as_array().unwrap().len(), 1, "{told}");
    staff.approve(&job).await.expect(200);
    let manifest = app.wait_for_manifest(&job).await.json();
    assert!(resources(&app, &manifest).await.len() > 5);
    let second = in_review(&app).await;
    assert_eq!(staff.job_ids("").await, [second.id, job.id]);
    // The codes and tokens that were used before are still used.
    let newest = app.tokens["refresh_token"].as_str().unwrap();
    let spent = old["refresh_token"].as_str().unwrap();
    refresh(&server, spent)
        .await
        .expect_oauth(400, "invalid_grant");
    refresh(&server, newest)
        .await
        .expect_oauth(400, "invalid_grant");
    app.get(&server.url("/jobs/1/status")).await.expect(401);
}

#[tokio::test]
async fn a_demo_on_postgresql_goes_on_where_it_ended() {
    let database = TestDatabase::create().await;
    let records = Records::small();
    let url = database.url();
    let server = Server::demo_with(&records, &["--workers", "1", "--database", &url]);
    a_restart_is_not_noticed(server, End::Asked).await;
}

#[tokio::test]
async fn a_demo_on_sqlite_goes_on_where_it_was_killed() {
    let (records, folder) = (Records::small(), tempfile::TempDir::new().unwrap());
    let url = format!("sqlite:{}", folder.path().join("ehi.db").display());
    let server = Server::demo_with(&records, &["--database", &url]);
    a_restart_is_not_noticed(server, End::Killed).await;
}

#[tokio::test]
async fn a_real_server_goes_on_where_it_ended_without_any_configuration() {
    let server = Server::serve_with("");
    let file = server.data().join("data/ehi.db");
    for end in ["", "-wal", "-shm"] {
        let path = format!("{}{end}", file.display());
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "of ehi.db{end}");
    }
    a_restart_is_not_noticed(server, End::Asked).await;
}

#[tokio::test]
async fn what_expired_goes_after_a_restart_too() {
    let mut server =
        Server::serve_with("lifetimes = { finished = '2s', tombstone = '1s', sweep = '1s' }");
    let app = App::connect(&server, ANNA).await;
    let job = in_review(&app).await;
    let tokens = app.tokens.clone();
    server.restart(End::Asked);
    let app = App::with_tokens(&server, ANNA, tokens);
    let staff = Staff::log_in(&server).await;
    let files = server.data().join("data/files").join(&job.id);
    assert!(files.is_dir());
    staff.approve(&job).await.expect(200);
    until("the job to go", async || {
        let gone = app.status(&job).await.status == 404;
        (gone && staff.job_ids("").await.is_empty() && !files.exists()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_demo_whose_files_went_with_it_can_be_begun_anew_on_its_database() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("demo.db").display());
    let records = Records::small();
    let on = ["--database", database.as_str()];
    for exports in 1..=2 {
        let server = Server::demo_without_data(&records, &on);
        let app = App::connect(&server, ANNA).await;
        let job = app.kick_off("/no-form/auto-approve").await;
        let manifest = app.wait_for_manifest(&job).await;
        assert!(resources(&app, &manifest.json()).await.len() > 5);
        let known = Staff::log_in(&server).await.job_ids("").await;
        assert_eq!(known.len(), exports);
    }
}

#[tokio::test]
async fn a_front_end_answers_while_another_process_exports() {
    let database = TestDatabase::create().await;
    let records = Records::small();
    let url = database.url();
    let shared = ["--database", &url];
    let front = Server::demo_with(&records, &[&["--workers", "0"][..], &shared].concat());
    let app = App::connect(&front, ANNA).await;
    let job = app.kick_off("/no-form").await;
    assert!(
        app.status(&job)
            .await
            .header("x-progress")
            .starts_with("requested")
    );
    let files = front.data().join("files").display().to_string();
    let worker = Server::demo_with(&records, &[&shared[..], &["--files", &files]].concat());
    app.wait_for(&job, "retrieved").await;
    drop(worker);
}

fn run(server: &Server, words: &[&str]) -> Output {
    let config = server.data().join("ehi.toml");
    let words = words.iter().map(|&word| match word {
        "CONFIG" => config.as_os_str(),
        word => word.as_ref(),
    });
    command().args(words).output().unwrap()
}

#[tokio::test]
async fn the_operator_finds_the_log_in_the_database() {
    let database = TestDatabase::create().await;
    let (postgres, sqlite) = (format!("database = '{}'", database.url()), "");
    for lines in [postgres.as_str(), sqlite] {
        let server = Server::serve_with(lines);
        Staff::log_in(&server).await;
        let rotated = run(&server, &["keys", "rotate", "--config", "CONFIG"]);
        assert!(rotated.status.success(), "{rotated:?}");
        let whole = run(&server, &["audit", "--config", "CONFIG", "verify"]);
        let said = String::from_utf8_lossy(&whole.stdout).into_owned();
        assert!(said.contains("none changed"), "{whole:?}");
        let told = run(&server, &["audit", "--config", "CONFIG", "export"]);
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        for action in ["staff-login", "rotate-keys"] {
            assert!(told.contains(action), "{action} in {told}");
        }
        assert!(!server.data().join("data/audit").exists());
        let data = server.data().join("data").display().to_string();
        let below = run(&server, &["audit", "--data", &data, "verify"]);
        assert_eq!(below.status.success(), lines == sqlite, "{below:?}");
    }
    let nowhere = command()
        .args([
            "audit",
            "--database",
            "sqlite:/nowhere/ehi.db",
            "--data",
            "/nowhere",
            "verify",
        ])
        .output()
        .unwrap();
    assert!(!nowhere.status.success(), "{nowhere:?}");
}

#[tokio::test]
async fn the_operator_brings_the_tables_up_and_those_of_a_later_version_are_refused() {
    let database = TestDatabase::create().await;
    let server = Server::serve_with(&format!("database = '{}'", database.url()));
    let migrate = || run(&server, &["migrate", "--config", "CONFIG"]);
    assert!(migrate().status.success());
    database
        .run("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', TRUE, '', 0)")
        .await;
    let refused = migrate();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("newer"),
        "{said}"
    );
}

#[tokio::test]
async fn the_operators_commands_leave_tables_of_an_earlier_version_alone() {
    let database = TestDatabase::create().await;
    let server = Server::serve_with(&format!("database = '{}'", database.url()));
    database
        .run("DROP INDEX audit_of_actor; DROP INDEX audit_of_action; DELETE FROM _sqlx_migrations WHERE version = 5")
        .await;
    let commands: [&[&str]; 2] = [
        &["audit", "--config", "CONFIG", "verify"],
        &["keys", "rotate", "--config", "CONFIG"],
    ];
    for words in commands {
        let refused = run(&server, words);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        let led = said.contains("run 'ehi-server migrate' first");
        assert!(!refused.status.success() && led, "{words:?}: {said}");
    }
    assert!(
        run(&server, &["migrate", "--config", "CONFIG"])
            .status
            .success()
    );
    for words in commands {
        let done = run(&server, words);
        assert!(done.status.success(), "{words:?}: {done:?}");
    }
}

#[tokio::test]
async fn an_audit_log_that_cannot_be_read_is_not_said_to_be_changed() {
    let database = TestDatabase::create().await;
    let server = Server::serve_with(&format!("database = '{}'", database.url()));
    database.run("ALTER TABLE audit RENAME TO away").await;
    let failed = run(&server, &["audit", "--config", "CONFIG", "verify"]);
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    let led = said.contains("try again") && !said.contains("does not hold");
    assert!(!failed.status.success() && led, "{said}");
}

#[tokio::test]
async fn a_server_whose_database_is_gone_says_so_and_is_ready_again_when_it_is_back() {
    let database = TestDatabase::create().await;
    let url = database.url();
    let server = Server::demo_with(&Records::small(), &["--database", &url]);
    let ask = async |path: &str| send(http().get(server.url(path))).await;
    assert_eq!(ask("/readyz").await.expect(200).text(), "ready\n");
    let name = database.name();
    database
        .administer(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS FALSE"))
        .await;
    let cut =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    database.administer(&cut).await;
    let told = until("it to notice", async || {
        Some(ask("/readyz").await).filter(|answer| answer.status == 503)
    })
    .await;
    assert_eq!(told.text(), "database\n", "no details");
    ask("/healthz").await.expect(200);
    database
        .administer(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS TRUE"))
        .await;
    until("it to be ready", async || {
        (ask("/readyz").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_server_whose_database_only_reads_is_not_ready() {
    let database = TestDatabase::create().await;
    let url = database.url();
    let server = Server::demo_with(&Records::small(), &["--database", &url]);
    let ask = async || send(http().get(server.url("/readyz"))).await;
    ask().await.expect(200);
    let name = database.name();
    let turn = async |setting: &str| {
        let set = format!("ALTER DATABASE {name} SET default_transaction_read_only = {setting}");
        database.administer(&set).await;
        let cut = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        );
        database.administer(&cut).await;
    };
    turn("on").await;
    let told = until("it to notice", async || {
        Some(ask().await).filter(|answer| answer.status == 503)
    })
    .await;
    assert_eq!(told.text(), "database\n");
    turn("off").await;
    until("it to be ready", async || {
        (ask().await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_server_that_can_write_no_file_is_not_ready() {
    let server = Server::demo(&Records::small());
    let files = server.data().join("files");
    fs::rename(&files, server.data().join("moved")).unwrap();
    let ask = async || send(http().get(server.url("/readyz"))).await;
    let told = until("it to notice", async || {
        Some(ask().await).filter(|answer| answer.status == 503)
    })
    .await;
    assert_eq!(told.text(), "files\n");
    fs::rename(server.data().join("moved"), files).unwrap();
    until("it to be ready", async || {
        (ask().await.status == 200).then_some(())
    })
    .await;
}
