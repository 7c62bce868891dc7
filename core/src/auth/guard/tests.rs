use super::*;
use crate::testkit::at;

const HOME: &str = "192.0.2.1";

fn guard() -> LoginGuard {
    LoginGuard::new(Patience::default())
}

fn place(address: &str) -> IpAddr {
    address.parse().unwrap()
}

/// Tries a password that turns out as said; tells how long to wait instead where that is so.
fn attempt(
    guard: &LoginGuard,
    username: &str,
    address: &str,
    second: i64,
    verdict: Verdict,
) -> Result<(), u64> {
    let begun = guard.begin(username, Some(place(address)), at(second));
    let attempt = begun.map_err(|wait| wait.as_secs())?;
    guard.end(attempt, verdict);
    Ok(())
}

fn wrong(guard: &LoginGuard, username: &str, address: &str, second: i64) -> Result<(), u64> {
    attempt(guard, username, address, second, Verdict::Wrong)
}

fn right(guard: &LoginGuard, username: &str, address: &str, second: i64) -> Result<(), u64> {
    attempt(guard, username, address, second, Verdict::Right)
}

#[test]
fn each_wrong_password_makes_the_wait_longer_and_never_longer_than_a_minute() {
    let guard = guard();
    let mut now = 0;
    let mut waits = Vec::new();
    while waits.len() < 10 {
        match wrong(&guard, "ada", HOME, now) {
            Ok(()) => {}
            Err(wait) => {
                waits.push(wait);
                now += i64::try_from(wait).unwrap();
            }
        }
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
}

#[test]
fn a_few_typing_errors_cost_nothing_and_the_right_password_makes_good() {
    let guard = guard();
    for _ in 0..10 {
        for _ in 0..4 {
            wrong(&guard, "ada", HOME, 0).unwrap();
        }
        right(&guard, "ada", HOME, 0).unwrap();
    }
}

#[test]
fn many_at_once_are_no_way_around() {
    let guard = guard();
    let begun = (0..100).filter_map(|_| guard.begin("ada", Some(place(HOME)), at(0)).ok());
    assert_eq!(begun.count(), 5);
}

#[test]
fn a_login_that_could_not_be_checked_does_not_count() {
    let guard = guard();
    for _ in 0..100 {
        attempt(&guard, "ada", HOME, 0, Verdict::Undecided).unwrap();
    }
}

#[test]
fn nobody_is_locked_out_by_others() {
    let guard = guard();
    right(&guard, "ada", HOME, 0).unwrap();
    // A thousand places guess, all day long.
    for second in 0..1_000 {
        let address = format!("198.51.{}.{}", second / 250, second % 250);
        let _ = wrong(&guard, "ada", &address, second);
    }
    right(&guard, "ada", HOME, 1_000).unwrap();
    for second in 1_000..2_000 {
        let address = format!("198.51.{}.{}", second / 250, second % 250);
        let _ = wrong(&guard, "ada", &address, second);
    }
    // Where she never was, and nobody guessed, she gets in at once; whoever guesses again has to
    // wait for all the others.
    let again = wrong(&guard, "ada", "198.51.7.249", 2_000);
    assert!(matches!(again, Err(1..=4)), "{again:?}");
    right(&guard, "ada", "203.0.113.9", 2_000).unwrap();
    right(&guard, "ada", HOME, 2_000).unwrap();
    right(&guard, "bob", "203.0.113.9", 2_000).unwrap();
}

#[test]
fn a_home_full_of_networks_is_one_place() {
    let guard = guard();
    for network in 0..5 {
        let address = format!("2001:db8:0:{network:x}::1");
        wrong(&guard, "ada", &address, 0).unwrap();
    }
    assert!(wrong(&guard, "ada", "2001:db8:0:ff::1", 0).is_err());
    wrong(&guard, "ada", "2001:db8:0:100::1", 0).unwrap();
}

#[test]
fn what_is_long_ago_is_forgotten() {
    let guard = guard();
    for _ in 0..5 {
        wrong(&guard, "ada", HOME, 0).unwrap();
    }
    assert!(wrong(&guard, "ada", HOME, 0).is_err());
    for _ in 0..5 {
        wrong(&guard, "ada", HOME, 3_600).unwrap();
    }
}

#[test]
fn memory_is_bounded_whatever_is_typed() {
    let guard = guard();
    right(&guard, "ada", HOME, 0).unwrap();
    for number in 0..50_000 {
        let _ = wrong(&guard, &format!("nobody {number}"), "198.51.100.7", 0);
    }
    let seen = guard.seen();
    assert!(seen.here.len() <= ENTRIES && seen.everywhere.len() <= ENTRIES);
    let owners = seen.here.values().filter(|record| record.owners).count();
    assert_eq!(owners, 1, "who logs in where is what is worth keeping");
}
