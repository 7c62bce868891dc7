//! A disk that is full: a real one, a small file system in memory that only the server sees.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::app::{App, Job};
use crate::browser::{http, send};
use crate::export::{at_once, in_review, resources};
use crate::patients::{ANNA, Records};
use crate::server::Server;
use crate::staff::{Staff, titles};
use crate::wait::until;

/// Mounts a small file system at `$1`, and then runs the rest.
const MOUNT: &str = "mount -t tmpfs -o size=4m,mode=700 tmpfs \"$1\" && shift && exec \"$@\"";

/// A folder that the server sees as a disk of 4 MiB.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// A demo that sees it, with its data there or elsewhere, and further arguments.
    fn demo(&self, data: Option<&Path>, arguments: &[&str]) -> Server {
        let may = |flags: &str| {
            let mut unshare = Command::new("unshare");
            let mount = "mount -t tmpfs tmpfs /tmp";
            unshare
                .args([flags, "sh", "-c", mount])
                .stderr(Stdio::null());
            unshare.status().is_ok_and(|status| status.success())
        };
        let flags = ["-Urm", "-m"].into_iter().find(|flags| may(flags));
        let flags = flags.expect(
            "these tests mount a small disk of their own: allow 'unshare -Urm' \
             (sysctl kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0; \
             in a container --security-opt seccomp=unconfined), or run them as root",
        );
        let mut front = Command::new("unshare");
        front
            .args([flags, "sh", "-c", MOUNT, "sh"])
            .arg(self.path());
        Server::demo_by(front, &Records::small(), data, arguments)
    }

    fn text(&self) -> &str {
        self.path().to_str().unwrap()
    }
}

/// What takes all the room that is left, until it is dropped.
struct Ballast(PathBuf);

impl Ballast {
    fn on(server: &Server, disk: &Path) -> Self {
        let path = server.seen(disk).join("ballast");
        let mut file = File::create(&path).unwrap();
        loop {
            match file.write_all(&[7; 4096]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return Self(path),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The files on the disk, but for the ballast and what says whose they are.
fn files_on(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                files_on(&path)
            } else {
                vec![path]
            }
        })
        .filter(|path| !path.ends_with("ballast") && !path.ends_with("deployment/id"))
        .collect()
}

#[tokio::test]
async fn an_export_onto_a_full_disk_fails_with_the_reason_and_leaves_nothing() {
    let disk = SmallDisk::new();
    let server = disk.demo(None, &["--files", disk.text()]);
    let app = App::connect(&server, ANNA).await;
    let ballast = Ballast::on(&server, disk.path());
    let job = app.kick_off("/no-form/auto-approve").await;
    let ready = async || send(http().get(server.url("/readyz"))).await;
    assert_eq!(ready().await.expect(503).text(), "files\n");
    let failed = until("the last attempt", async || {
        Some(app.status(&job).await).filter(|answer| answer.status != 202)
    })
    .await
    .expect_outcome(500);
    assert!(failed.text().contains("no room left"), "{failed}");
    assert_eq!(files_on(&server.seen(disk.path())), Vec::<PathBuf>::new());

    drop(ballast);
    let (_, manifest) = at_once(&app).await;
    assert!(resources(&app, &manifest).await.len() > 5, "it goes on");
    until("it to be ready", async || {
        (ready().await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_attachment_that_does_not_fit_is_refused_and_nothing_of_it_is_kept() {
    let disk = SmallDisk::new();
    let server = disk.demo(None, &["--files", disk.text()]);
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let job = in_review(&app).await;
    let before = files_on(&server.seen(disk.path()));
    let letter = ("letter.txt", "text/plain", &b"Dear Anna"[..]);
    let scan = vec![b'x'; 5 << 20];
    let scan = ("scan.bin", "application/octet-stream", scan.as_slice());
    let refused = staff.add_files(&job, &[letter, scan]).await.expect(507);
    assert!(refused.text().contains("no room left"), "{refused}");
    assert_eq!(titles(&staff.job(&job).await), [""; 0]);
    assert_eq!(files_on(&server.seen(disk.path())), before);
    staff.add_files(&job, &[letter]).await.expect(200);
}

/// On a full disk whatever cannot be written into the audit log does not happen.
async fn nothing_happens_unseen(disk: &SmallDisk, server: &Server) {
    let app = App::connect(server, ANNA).await;
    let staff = Staff::log_in(server).await;
    let ballast = Ballast::on(server, disk.path());
    let mut done = Vec::new();
    // What is left of the last page takes some entries more.
    let refused = loop {
        let answer = app.try_kick_off("").await;
        if answer.status != 202 {
            break answer;
        }
        done.push(Job::read(&answer).id);
        assert!(done.len() < 1_000, "the disk is never full");
    };
    refused.expect_outcome(503);
    drop(ballast);
    let listed = until("it to go on", async || {
        let answer = staff.get("/admin/jobs").await;
        (answer.status == 200).then(|| crate::staff::ids(&answer))
    })
    .await;
    done.reverse();
    assert_eq!(listed, done, "what was refused is not there");
    let log = staff
        .get("/admin/audit?action=kick-off")
        .await
        .expect(200)
        .json();
    let in_log = |id: &String| {
        let entries = log.as_array().unwrap();
        entries
            .iter()
            .any(|entry: &Value| entry["job"] == id.as_str())
    };
    assert!(done.iter().all(in_log), "{log}");
    app.kick_off("").await;
}

#[tokio::test]
async fn an_action_that_the_full_audit_log_cannot_take_does_not_happen() {
    let (disk, files) = (SmallDisk::new(), TempDir::new().unwrap());
    let files = files.path().to_str().unwrap();
    let server = disk.demo(Some(disk.path()), &["--workers", "0", "--files", files]);
    nothing_happens_unseen(&disk, &server).await;
}

#[tokio::test]
async fn an_action_that_the_full_database_cannot_take_does_not_happen() {
    let disk = SmallDisk::new();
    let database = format!("sqlite:{}/ehi.db", disk.text());
    let server = disk.demo(None, &["--workers", "0", "--database", &database]);
    nothing_happens_unseen(&disk, &server).await;
}
