//! Processes that freeze in the middle: others do not wait for them.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use ehi_core::ports::{Action, AuditEvent, AuditLog, By};
use ehi_core::testkit::at;
use tokio::time::timeout;

use super::*;

/// Longer than anybody would like to wait, and shorter than a frozen transaction may last.
const PATIENCE: Duration = Duration::from_secs(3);

fn event() -> AuditEvent {
    By::server().did(Action::View, at(0))
}

/// Lets work go on for so many steps, and no further. Whether it came to its end.
async fn some_steps<T>(mut work: Pin<&mut impl Future<Output = T>>, most: usize) -> bool {
    let mut steps = 0;
    poll_fn(|context| {
        steps += 1;
        match work.as_mut().poll(context) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if steps >= most => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[tokio::test]
async fn a_process_that_freezes_while_it_appends_keeps_nobody_from_the_audit_log() {
    let (database, kept) = postgres().await;
    let other = Database::open(&kept.url(), limits()).await.unwrap();
    let (log, others) = (SqlAudit::new(&database), SqlAudit::new(&other));
    let event = event();
    log.append(&event).await.unwrap();
    for most in 1.. {
        let mut work = Box::pin(log.append(&event));
        let done = some_steps(work.as_mut(), most).await;
        let appended = timeout(PATIENCE, others.append(&event)).await;
        appended.expect("the log to be free").unwrap();
        if done {
            break;
        }
    }
    others.verify(None).await.unwrap();
}

#[tokio::test]
async fn a_transaction_that_falls_silent_is_undone_so_that_nobody_waits() {
    let (_, kept) = postgres().await;
    let hasty = DatabaseLimits {
        silence: Duration::from_millis(100),
        ..limits()
    };
    let database = Database::open(&kept.url(), hasty).await.unwrap();
    let other = Database::open(&kept.url(), limits()).await.unwrap();
    let mut silent = database.begin().await.unwrap();
    let lock = sqlx::query("SELECT number FROM audit_head FOR UPDATE");
    lock.execute(&mut *silent).await.unwrap();
    let append = async { SqlAudit::new(&other).append(&event()).await };
    timeout(PATIENCE, append).await.unwrap().unwrap();
    assert!(silent.commit().await.is_err());
}
