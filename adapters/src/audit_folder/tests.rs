//! What the audit log in a folder promises.

use std::fs;

use ehi_core::export::JobId;
use ehi_core::fhir::PatientId;
use ehi_core::ports::Action;
use ehi_core::testkit::{at, staff};
use tempfile::TempDir;

use super::*;

fn fresh() -> (FolderAudit, TempDir) {
    let folder = TempDir::new().unwrap();
    (open(&folder), folder)
}

ehi_core::audit_log_contract!(async { fresh() });

fn event(number: i64) -> AuditEvent {
    AuditEvent {
        patient: PatientId::parse(&format!("p-{}", number % 3)).ok(),
        job: Some(JobId::from_random([7; 32])),
        ..staff().by().did(Action::View, at(number))
    }
}

fn open(folder: &TempDir) -> FolderAudit {
    FolderAudit::open(folder.path().join("audit")).unwrap()
}

async fn filled(folder: &TempDir, entries: i64) -> FolderAudit {
    let audit = open(folder);
    for number in 0..entries {
        audit.append(&event(number)).await.unwrap();
    }
    audit
}

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("audit/audit-000000000001.ndjson")
}

/// Changes the text of the log behind its back.
fn tamper(folder: &TempDir, change: impl Fn(Vec<String>) -> Vec<String>) {
    let text = fs::read_to_string(file(folder)).unwrap();
    let lines = change(text.lines().map(str::to_owned).collect());
    fs::write(file(folder), lines.join("\n") + "\n").unwrap();
}

async fn all(audit: &FolderAudit, filter: &AuditFilter) -> Vec<u64> {
    let page = AuditPage {
        limit: usize::MAX,
        before: None,
    };
    let entries = audit.list(filter, page).await.unwrap();
    entries.iter().map(|entry| entry.number).collect()
}

#[tokio::test]
async fn the_log_goes_on_after_a_restart_and_its_chain_holds() {
    let folder = TempDir::new().unwrap();
    let first = filled(&folder, 3).await.verify(None).await.unwrap();
    let audit = filled(&folder, 2).await;
    let last = audit.verify(Some(first)).await.unwrap();
    assert_eq!(last.number, 5);
    assert_eq!(audit.verify(Some(last)).await.unwrap(), last);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_in_two_processes_lose_nothing() {
    let folder = TempDir::new().unwrap();
    // Two handles share nothing but the folder, as two processes do.
    let handles = [open(&folder), open(&folder)];
    let writes = (0..400).map(|number| {
        let audit = handles[number % 2].clone();
        tokio::spawn(async move { audit.append(&event(1)).await })
    });
    for write in futures::future::join_all(writes).await {
        write.unwrap().unwrap();
    }
    assert_eq!(handles[0].verify(None).await.unwrap().number, 400);
}

#[tokio::test]
async fn a_changed_a_missing_a_moved_and_a_cut_off_entry_are_found() {
    let changes: [fn(Vec<String>) -> Vec<String>; 5] = [
        |lines| {
            lines
                .iter()
                .map(|line| line.replace("view", "list-exports"))
                .collect()
        },
        |mut lines| {
            lines.remove(1);
            lines
        },
        |mut lines| {
            lines.swap(1, 2);
            lines
        },
        |mut lines| {
            lines.pop();
            lines
        },
        |mut lines| {
            lines[2] = "nonsense".to_owned();
            lines
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let folder = TempDir::new().unwrap();
        let audit = filled(&folder, 4).await;
        audit.verify(None).await.unwrap();
        tamper(&folder, change);
        let found = audit.verify(None).await;
        assert!(
            matches!(
                found,
                Err(ChainError::Changed(_) | ChainError::Missing { .. })
            ),
            "change {number}: {found:?}"
        );
    }
}

#[tokio::test]
async fn a_log_that_was_made_anew_is_told_by_a_noted_link() {
    let folder = TempDir::new().unwrap();
    let noted = filled(&folder, 2).await.verify(None).await.unwrap();
    fs::remove_dir_all(folder.path().join("audit")).unwrap();
    let other = open(&folder);
    for number in 5..8 {
        other.append(&event(number)).await.unwrap();
    }
    assert!(other.verify(None).await.is_ok());
    assert!(matches!(
        other.verify(Some(noted)).await,
        Err(ChainError::Rewritten(2))
    ));
}

#[tokio::test]
async fn a_line_the_machine_died_in_is_taken_off_and_the_log_goes_on() {
    let folder = TempDir::new().unwrap();
    filled(&folder, 2).await;
    let mut bytes = fs::read(file(&folder)).unwrap();
    bytes.extend_from_slice(b"{\"number\":3,\"hash\":\"\xc3");
    fs::write(file(&folder), bytes).unwrap();
    let audit = open(&folder);
    assert_eq!(all(&audit, &AuditFilter::default()).await, [2, 1]);
    assert_eq!(audit.verify(None).await.unwrap().number, 2);
    audit.append(&event(3)).await.unwrap();
    assert_eq!(audit.verify(None).await.unwrap().number, 3);
}

#[tokio::test]
async fn a_tampered_line_does_not_hide_the_others() {
    let folder = TempDir::new().unwrap();
    let audit = filled(&folder, 3).await;
    tamper(&folder, |mut lines| {
        lines[1] = "nonsense".to_owned();
        lines
    });
    assert_eq!(all(&audit, &AuditFilter::default()).await, [3, 1]);
}

#[tokio::test]
async fn a_long_log_is_kept_in_several_files_of_one_chain() {
    let folder = TempDir::new().unwrap();
    filled(&folder, 2).await;
    // Every file is full with its first entry.
    let mut writer = writer::Tail::of(folder.path().join("audit").into(), 1).unwrap();
    for number in 0..3 {
        let text = serde_json::to_string(&event(number)).unwrap();
        writer.append([text.as_str()].into_iter()).unwrap();
    }
    let names: Vec<_> = Segment::all(&folder.path().join("audit")).unwrap();
    let firsts: Vec<_> = names.iter().map(Segment::first).collect();
    assert_eq!(firsts, [1, 3, 4, 5]);
    let audit = open(&folder);
    assert_eq!(audit.verify(None).await.unwrap().number, 5);
    assert_eq!(all(&audit, &AuditFilter::default()).await, [5, 4, 3, 2, 1]);
    fs::remove_file(file(&folder)).unwrap();
    assert!(matches!(
        audit.verify(None).await,
        Err(ChainError::Missing { expected: 1, .. })
    ));
}

#[tokio::test]
async fn nobody_else_on_the_machine_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().unwrap();
    filled(&folder, 1).await;
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.path().join("audit")), 0o700);
    for name in fs::read_dir(folder.path().join("audit")).unwrap() {
        assert_eq!(mode(&name.unwrap().path()), 0o600);
    }
}
