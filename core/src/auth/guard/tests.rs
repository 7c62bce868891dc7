use futures::future::join_all;

use super::*;
use crate::testkit::{at, guard as guard_of};

const HOME: &str = "192.0.2.1";

fn guard() -> LoginGuard {
    guard_of(Door::Staff)
}

fn place(address: &str) -> IpAddr {
    address.parse().unwrap()
}

/// Tries a password that turns out as said; tells how long to wait instead where that is so.
async fn attempt(
    guard: &LoginGuard,
    username: &str,
    address: &str,
    second: i64,
    verdict: Verdict,
) -> Result<(), u64> {
    let begun = guard.begin(username, Some(place(address)), at(second));
    match begun.await {
        Ok(attempt) => guard.end(attempt, verdict).await.unwrap(),
        Err(SessionError::TooMany(wait)) => return Err(wait.as_secs()),
        Err(error) => panic!("{error}"),
    }
    Ok(())
}

async fn wrong(guard: &LoginGuard, username: &str, address: &str, second: i64) -> Result<(), u64> {
    attempt(guard, username, address, second, Verdict::Wrong).await
}

async fn right(guard: &LoginGuard, username: &str, address: &str, second: i64) -> Result<(), u64> {
    attempt(guard, username, address, second, Verdict::Right).await
}

#[tokio::test]
async fn each_wrong_password_makes_the_wait_longer_and_never_longer_than_a_minute() {
    let guard = guard();
    let mut now = 0;
    let mut waits = Vec::new();
    while waits.len() < 10 {
        match wrong(&guard, "ada", HOME, now).await {
            Ok(()) => {}
            Err(wait) => {
                waits.push(wait);
                now += i64::try_from(wait).unwrap();
            }
        }
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
}

#[tokio::test]
async fn a_few_typing_errors_cost_nothing_and_the_right_password_makes_good() {
    let guard = guard();
    for _ in 0..10 {
        for _ in 0..4 {
            wrong(&guard, "ada", HOME, 0).await.unwrap();
        }
        right(&guard, "ada", HOME, 0).await.unwrap();
    }
}

#[tokio::test]
async fn many_at_once_are_no_way_around() {
    let guard = guard();
    let begun = (0..100).map(|_| guard.begin("ada", Some(place(HOME)), at(0)));
    let begun = join_all(begun).await;
    assert_eq!(begun.iter().filter(|begun| begun.is_ok()).count(), 5);
}

#[tokio::test]
async fn a_login_that_could_not_be_checked_does_not_count() {
    let guard = guard();
    for _ in 0..100 {
        attempt(&guard, "ada", HOME, 0, Verdict::Undecided)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn nobody_is_locked_out_by_others() {
    let guard = guard();
    right(&guard, "ada", HOME, 0).await.unwrap();
    // A thousand places guess, all day long.
    for second in 0..1_000 {
        let address = format!("198.51.{}.{}", second / 250, second % 250);
        let _ = wrong(&guard, "ada", &address, second).await;
    }
    right(&guard, "ada", HOME, 1_000).await.unwrap();
    for second in 1_000..2_000 {
        let address = format!("198.51.{}.{}", second / 250, second % 250);
        let _ = wrong(&guard, "ada", &address, second).await;
    }
    // Where she never was, and nobody guessed, she gets in at once; whoever guesses again has to
    // wait for all the others.
    let again = wrong(&guard, "ada", "198.51.7.249", 2_000).await;
    assert!(matches!(again, Err(1..=4)), "{again:?}");
    right(&guard, "ada", "203.0.113.9", 2_000).await.unwrap();
    right(&guard, "ada", HOME, 2_000).await.unwrap();
    right(&guard, "bob", "203.0.113.9", 2_000).await.unwrap();
}

#[tokio::test]
async fn a_home_full_of_networks_is_one_place() {
    let guard = guard();
    for network in 0..5 {
        let address = format!("2001:db8:0:{network:x}::1");
        wrong(&guard, "ada", &address, 0).await.unwrap();
    }
    assert!(wrong(&guard, "ada", "2001:db8:0:ff::1", 0).await.is_err());
    wrong(&guard, "ada", "2001:db8:0:100::1", 0).await.unwrap();
}

#[tokio::test]
async fn what_is_long_ago_is_forgotten() {
    let guard = guard();
    for _ in 0..5 {
        wrong(&guard, "ada", HOME, 0).await.unwrap();
    }
    assert!(wrong(&guard, "ada", HOME, 0).await.is_err());
    for _ in 0..5 {
        wrong(&guard, "ada", HOME, 3_600).await.unwrap();
    }
}

#[tokio::test]
async fn a_patient_and_a_member_of_staff_of_one_name_are_two() {
    let guesses = Arc::new(crate::testkit::MemoryGuesses::default());
    let [staff, patients] = [Door::Staff, Door::Patients]
        .map(|door| LoginGuard::new(door, Patience::default(), guesses.clone()));
    for _ in 0..5 {
        wrong(&staff, "ada", HOME, 0).await.unwrap();
    }
    assert!(wrong(&staff, "ada", HOME, 0).await.is_err());
    wrong(&patients, "ada", HOME, 0).await.unwrap();
}

#[tokio::test]
async fn while_nobody_remembers_guesses_nobody_logs_in() {
    let mut guesses = crate::ports::MockGuessStore::new();
    (guesses.expect_begin()).returning(|_, _, _| Err(StoreError::unavailable("down")));
    let guard = LoginGuard::new(Door::Staff, Patience::default(), Arc::new(guesses));
    let begun = guard.begin("ada", None, at(0)).await;
    assert!(matches!(begun, Err(SessionError::Unavailable(_))));
}
