//! A server with the wrong database, or the wrong place for files, does no harm.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Output;

use ehi_adapters::testing::s3::{ACCESS_KEY, SECRET_KEY, Server as S3};
use tempfile::TempDir;

use crate::app::App;
use crate::export::{in_review, resources};
use crate::patients::{ANNA, Records};
use crate::server::{End, Server, command};
use crate::site::Site;
use crate::staff::Staff;
use crate::wait::until;

/// What a command says of the configuration of this server.
fn run(server: &Server, words: &[&str]) -> Output {
    let (name, more) = words.split_first().unwrap();
    command()
        .args([name, "--config"])
        .arg(server.data().join("ehi.toml"))
        .args(more)
        .output()
        .unwrap()
}

fn assert_refused(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    for word in ["do not belong together", "EHI_DATABASE", "adopt-files"] {
        assert!(said.contains(word), "{said}");
    }
}

/// The files of a job below this folder.
fn files_of(folder: &Path, job: &str) -> PathBuf {
    folder.join(job).join("1")
}

#[tokio::test]
async fn whoever_names_the_wrong_database_loses_no_file_and_is_told_what_to_do() {
    let mut server = Site::new().start("lifetimes = { sweep = '1s' }");
    let app = App::connect(&server, ANNA).await;
    let job = in_review(&app).await;
    let tokens = app.tokens.clone();
    let folder = server.data().join("data/files");
    let kept = files_of(&folder, &job.id);
    let other = format!("sqlite:{}", server.data().join("other.db").display());
    for words in [
        ["serve", "--database", &other],
        ["worker", "--database", &other],
    ] {
        assert_refused(&run(&server, &words));
        assert!(kept.is_dir());
    }
    let nowhere = format!("sqlite:{}", server.data().join("nowhere.db").display());
    let nobody = run(&server, &["adopt-files", "--database", &nowhere]);
    assert!(!nobody.status.success(), "{nobody:?}");
    let adopted = run(&server, &["adopt-files", "--database", &other]);
    assert!(adopted.status.success(), "{adopted:?}");
    assert_refused(&run(&server, &["serve"]));
    let back = run(&server, &["adopt-files"]);
    assert!(back.status.success(), "{back:?}");
    server.restart(End::Asked);
    let app = App::with_tokens(&server, ANNA, tokens);
    Staff::log_in(&server).await.approve(&job).await.expect(200);
    let manifest = app.wait_for_manifest(&job).await.json();
    assert!(resources(&app, &manifest).await.len() > 5);
}

#[tokio::test]
async fn files_that_were_there_before_the_mark_stay_with_their_database_and_others_until_it_is_told()
 {
    let mut server = Site::new().start("lifetimes = { sweep = '1s' }");
    let app = App::connect(&server, ANNA).await;
    let job = in_review(&app).await;
    let tokens = app.tokens.clone();
    let folder = server.data().join("data/files");
    let mark = folder.join("deployment/id");
    let before = fs::read_to_string(&mark).unwrap();
    // Nobody knows its export: an older version removed it, or the database is older.
    let orphan = folder.join("00000000-0000-4000-8000-000000000000/1");
    fs::create_dir_all(&orphan).unwrap();
    fs::write(orphan.join("Patient.ndjson"), "x").unwrap();
    fs::remove_file(&mark).unwrap();
    server.restart(End::Killed);
    assert_eq!(fs::read_to_string(&mark).unwrap(), before);
    until("the sweep", async || left_alone(&server)).await;
    assert!(orphan.join("Patient.ndjson").is_file());
    let adopted = run(&server, &["adopt-files"]);
    let said = String::from_utf8_lossy(&adopted.stdout);
    assert!(
        adopted.status.success() && said.contains("1 export "),
        "{adopted:?}"
    );
    until("the sweep", async || (!orphan.exists()).then_some(())).await;
    let app = App::with_tokens(&server, ANNA, tokens);
    Staff::log_in(&server).await.approve(&job).await.expect(200);
    app.wait_for_manifest(&job).await;
}

/// Whether a sweep met files that the database does not know, and told what to do.
fn left_alone(server: &Server) -> Option<()> {
    let log = server.log();
    let told = log.contains("are left alone") && log.contains("adopt-files");
    told.then_some(())
}

#[tokio::test]
async fn nobody_starts_whose_files_are_not_there_and_nobody_exports_to_where_they_cannot_be_fetched()
 {
    let server = Site::new().start("workers = 0");
    let own = server.data().join("own").display().to_string();
    // Before the first export, too.
    for words in [["serve", "--files", &own], ["worker", "--files", &own]] {
        assert_refused(&run(&server, &words));
        assert!(!server.data().join("own/deployment").exists());
    }
    assert!(server.shutdown().success());

    let mut server = Site::new().start("");
    let app = App::connect(&server, ANNA).await;
    let job = in_review(&app).await;
    let tokens = app.tokens.clone();
    let (files, away) = (server.data().join("data/files"), server.data().join("disk"));
    fs::rename(&files, &away).unwrap();
    for words in [["serve"], ["worker"]] {
        assert_refused(&run(&server, &words));
    }
    assert!(!files.join("deployment").exists());
    fs::remove_dir_all(&files).unwrap();
    fs::rename(&away, &files).unwrap();
    server.restart(End::Asked);
    let app = App::with_tokens(&server, ANNA, tokens);
    Staff::log_in(&server).await.approve(&job).await.expect(200);
    let manifest = app.wait_for_manifest(&job).await.json();
    assert!(resources(&app, &manifest).await.len() > 5);
}

/// By mistake: a drill needs a copy of the files as well.
#[tokio::test]
async fn a_server_on_a_copy_of_the_database_deletes_nothing_of_what_came_after() {
    let server = Site::new().start("lifetimes = { sweep = '1s' }");
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let old = in_review(&app).await;
    let copy = server.data().join("copy.db").display().to_string();
    let copied = run(&server, &["backup", &copy]);
    assert!(copied.status.success(), "{copied:?}");
    let new = in_review(&app).await;

    let config = fs::read_to_string(server.data().join("ehi.toml")).unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let (here, there) = (server.data().join("data"), server.data().join("drill"));
    let config = config
        .replace(
            &format!("data = '{}'", here.display()),
            &format!("data = '{}'", there.display()),
        )
        .replace(&format!(":{}", server.port()), &format!(":{port}"));
    let files = here.join("files");
    let config = format!(
        "{config}database = 'sqlite:{copy}'\nfiles = '{}'\n",
        files.display()
    );
    fs::write(server.data().join("drill.toml"), config).unwrap();
    let drill = Server::replica(server.data(), "drill.toml", port);
    until("its sweep", async || left_alone(&drill)).await;
    assert_eq!(
        Staff::log_in(&drill).await.job_ids("").await,
        [old.id.as_str()]
    );
    drop(drill);

    for job in [&old, &new] {
        staff.approve(job).await.expect(200);
        let manifest = app.wait_for_manifest(job).await.json();
        assert!(resources(&app, &manifest).await.len() > 5);
    }
}

#[tokio::test]
async fn a_demo_in_memory_begins_anew_in_its_own_folder_and_never_in_that_of_a_real_server() {
    let (records, data) = (Records::small(), TempDir::new().unwrap());
    let first = Server::demo_on(records.folder(), data.path());
    let job = in_review(&App::connect(&first, ANNA).await).await;
    assert!(first.shutdown().success());
    assert!(files_of(&data.path().join("files"), &job.id).is_dir());
    let again = Server::demo_on(records.folder(), data.path());
    in_review(&App::connect(&again, ANNA).await).await;
    drop(again);

    let real = Site::new().start("");
    let job = in_review(&App::connect(&real, ANNA).await).await;
    let demo = command()
        .args(["demo", "--port", "0", "--data"])
        .arg(real.data().join("data"))
        .arg("--records")
        .arg(records.folder())
        .output()
        .unwrap();
    assert_refused(&demo);
    assert!(files_of(&real.data().join("data/files"), &job.id).is_dir());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_in_memory_takes_no_bucket_that_has_files() {
    let keys = [
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let (s3, records) = (S3::start().await, Records::small());
    #[expect(
        clippy::disallowed_methods,
        reason = "the server's clock is the real one"
    )]
    s3.clock.set(jiff::Timestamp::now());
    let files = s3.url("", "");
    let first = Server::demo_in(&records, &["--files", &files], &keys);
    let job = in_review(&App::connect(&first, ANNA).await).await;
    let data = TempDir::new().unwrap();
    let second = command()
        .args(["demo", "--port", "0", "--files", &files, "--data"])
        .arg(data.path())
        .arg("--records")
        .arg(records.folder())
        .envs(keys)
        .output()
        .unwrap();
    assert_refused(&second);
    assert!(files_of(&s3.folder(), &job.id).is_dir());
}
