//! What was backed up by the book can be fetched from where it was restored.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use ehi_adapters::testing::TestDatabase;
use tempfile::TempDir;

use crate::app::{App, Job, refresh};
use crate::export::{assert_same, in_review, resources};
use crate::patients::{ANNA, ByKey, anna, read_bundle};
use crate::server::{Server, command};
use crate::site::Site;
use crate::staff::Staff;
use crate::wait::until;

/// What an app and the staff knew before the disaster.
struct Known {
    released: Job,
    in_review: Job,
    refresh_token: String,
    record: ByKey,
}

const LETTER: &[u8] = b"Dear Anna";

async fn before(server: &Server) -> Known {
    let app = App::connect(server, ANNA).await;
    let staff = Staff::log_in(server).await;
    let released = in_review(&app).await;
    let letter = ("letter.txt", "text/plain", LETTER);
    staff.add_files(&released, &[letter]).await.expect(200);
    staff.approve(&released).await.expect(200);
    let manifest = app.wait_for_manifest(&released).await.json();
    Known {
        record: resources(&app, &manifest).await,
        in_review: in_review(&app).await,
        refresh_token: app.tokens["refresh_token"].as_str().unwrap().to_owned(),
        released,
    }
}

async fn after(server: &Server, known: Known) {
    let tokens = refresh(server, &known.refresh_token).await.expect(200);
    let app = App::with_tokens(server, ANNA, tokens.json());
    let manifest = app.wait_for_manifest(&known.released).await.json();
    let record = resources(&app, &manifest).await;
    assert_same(&record, &known.record);
    let (_, source) = read_bundle(&anna());
    assert!(source.keys().all(|key| record.contains_key(key)));
    let letter = format!(
        "/jobs/{}/download/attachments/letter.txt",
        known.released.id
    );
    let letter = app.get(&server.url(&letter)).await.expect(200);
    assert_eq!(letter.body, LETTER);
    // Staff log in anew, and go on.
    let staff = Staff::log_in(server).await;
    staff.approve(&known.in_review).await.expect(200);
    app.wait_for_manifest(&known.in_review).await;
    let verified = command()
        .args(["audit", "--config"])
        .arg(server.data().join("ehi.toml"))
        .arg("verify")
        .output()
        .unwrap();
    assert!(verified.status.success(), "{verified:?}");
}

/// Copies files or folders, as an operator would.
fn copy(from: &Path, names: &[&str], to: &Path) {
    fs::create_dir_all(to).unwrap();
    let mut command = Command::new("cp");
    let names = names.iter().map(|name| from.join(name));
    let copied = command.arg("-a").args(names).arg(to).status();
    assert!(copied.unwrap().success());
}

/// A new machine, at the address of the old one, with everything but its data.
fn machine(old: &Server) -> TempDir {
    let new = TempDir::new().unwrap();
    copy(old.data(), &["records", "directory.toml"], new.path());
    let config = fs::read_to_string(old.data().join("ehi.toml")).unwrap();
    let (there, here) = (old.data().display(), new.path().display());
    let config = config.replace(&there.to_string(), &here.to_string());
    fs::write(new.path().join("ehi.toml"), config).unwrap();
    new
}

#[tokio::test]
async fn a_server_on_sqlite_is_copied_while_it_runs_and_goes_on_elsewhere() {
    let server = Site::new().start("");
    let known = before(&server).await;
    let machine = machine(&server);
    let (data, new) = (server.data().join("data"), machine.path().join("data"));
    fs::create_dir(&new).unwrap();
    let copy_database = || back_up(&server, &new.join("ehi.db")).output().unwrap();
    let copied = copy_database();
    assert!(copied.status.success(), "{copied:?}");
    let mode = fs::metadata(new.join("ehi.db")).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    let again = copy_database();
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(
        !again.status.success() && said.contains("not there yet"),
        "{said}"
    );
    copy(&data, &["files", "keys"], &new);
    // What comes after the backup is not in it.
    let late = in_review(&App::connect(&server, ANNA).await).await;
    assert!(server.shutdown().success());

    let restored = Server::serve(machine);
    let staff = Staff::log_in(&restored).await;
    assert!(!staff.job_ids("").await.contains(&late.id));
    after(&restored, known).await;
}

#[tokio::test]
async fn a_server_on_postgresql_is_dumped_while_it_runs_and_goes_on_elsewhere() {
    let (old, new) = (TestDatabase::create().await, TestDatabase::create().await);
    let server = Site::new().start(&format!("database = '{}'", old.url()));
    let known = before(&server).await;
    let to = server.data().join("copy.db");
    let refused = back_up(&server, &to).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("pg_dump"),
        "{said}"
    );
    let machine = machine(&server);
    let dump = machine.path().join("ehi.dump");
    old.dump(&dump);
    let data = server.data().join("data");
    copy(&data, &["files", "keys"], &machine.path().join("data"));
    assert!(server.shutdown().success());

    new.restore(&dump);
    let config = machine.path().join("ehi.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace(&old.url(), &new.url())).unwrap();
    after(&Server::serve(machine), known).await;
}

/// What runs while an operator copies: exports begin and end, and half-written files come and go.
async fn copied_while_exports_run(server: &Server, app: &App<'_>, new: &Path) {
    let mut jobs = Vec::new();
    for _ in 0..4 {
        jobs.push(app.kick_off("/no-form").await);
    }
    let names = ["files", "keys"].map(|name| server.data().join("data").join(name));
    // It says what was not there any more, and goes on.
    let copied = Command::new("cp").arg("-a").args(names).arg(new).output();
    drop(copied.unwrap());
    for job in jobs {
        app.wait_for(&job, "retrieved").await;
    }
}

#[tokio::test]
async fn what_was_removed_between_the_two_copies_is_missed_alone_and_told_of() {
    let server = Site::new().start("lifetimes = { sweep = '1s' }");
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let (reviewed, taken_back) = (in_review(&app).await, in_review(&app).await);
    let letters = ["letter.txt", "mistaken.txt"].map(|name| (name, "text/plain", LETTER));
    staff.add_files(&reviewed, &letters).await.expect(200);
    staff.approve(&taken_back).await.expect(200);
    let machine = machine(&server);
    let new = machine.path().join("data");
    fs::create_dir(&new).unwrap();
    let copied = back_up(&server, &new.join("ehi.db")).output().unwrap();
    assert!(copied.status.success(), "{copied:?}");
    staff
        .remove_files(&reviewed, &["mistaken.txt"])
        .await
        .expect(200);
    app.delete(&taken_back).await.expect(202);
    copied_while_exports_run(&server, &app, &new).await;
    let tokens = app.tokens.clone();
    drop((app, staff));
    assert!(server.shutdown().success());

    let restored = Server::serve(machine);
    let app = App::with_tokens(&restored, ANNA, tokens);
    let staff = Staff::log_in(&restored).await;
    staff.approve(&reviewed).await.expect(200);
    let manifest = app.wait_for_manifest(&reviewed).await.json();
    assert!(resources(&app, &manifest).await.len() > 5);
    for (name, status) in [("letter.txt", 200), ("mistaken.txt", 503)] {
        let path = format!("/jobs/{}/download/attachments/{name}", reviewed.id);
        app.get(&restored.url(&path)).await.expect(status);
    }
    let manifest = app.wait_for_manifest(&taken_back).await.json();
    let file = manifest["output"][0]["url"].as_str().unwrap();
    app.get(file).await.expect(503);
    let log = restored.log();
    let told = log
        .lines()
        .filter(|line| line.contains("that the database names is not there"));
    assert_eq!(told.count(), 2, "{log}");
    // What is newer than the database stays until its operator says otherwise.
    until("the sweep", async || {
        restored.log().contains("adopt-files").then_some(())
    })
    .await;
}

/// The command that copies the database of this server.
fn back_up(server: &Server, to: &Path) -> Command {
    let mut command = command();
    command
        .args(["backup", "--config"])
        .arg(server.data().join("ehi.toml"))
        .arg(to);
    command
}
