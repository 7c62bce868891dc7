//! What a [`GuessStore`] promises.

#![expect(
    clippy::unwrap_used,
    reason = "in a test, what is missing is a failure"
)]
#![expect(
    missing_docs,
    clippy::missing_panics_doc,
    reason = "the names are the promises"
)]

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use crate::auth::{
    Account, Attempt, Door, Network, Patience, REMEMBER_GUESSES, REMEMBER_OWNERS, Turn, Verdict,
};
use crate::ports::GuessStore;
use crate::testkit::at;

/// Makes the tests of a [`GuessStore`]: `guess_store_contract!(fresh())`, where `fresh()` is a
/// future of an empty store and of whatever has to live as long as it.
#[macro_export]
macro_rules! guess_store_contract {
    ($fresh:expr) => {
        $crate::contract_tests!(
            guess_store, $fresh,
            of_many_attempts_at_once_no_more_get_through_than_one_after_the_other
            whoever_has_to_wait_is_told_how_long
            the_right_password_makes_good_and_makes_the_place_the_owners
            an_attempt_that_nobody_judged_does_not_count
            many_at_once_that_nobody_judged_leave_nothing_behind
            accounts_and_places_are_apart
            what_is_old_is_forgotten_and_where_owners_log_in_is_not
        );
    };
}

type Store = Arc<dyn GuessStore>;

fn from(username: &str, address: Option<&str>) -> Attempt {
    Attempt {
        account: Account::of(Door::Staff, username),
        place: address.map(|address| Network::site(address.parse().unwrap())),
    }
}

const HOME: Option<&str> = Some("192.0.2.1");

async fn begin(store: &Store, username: &str, address: Option<&str>, second: i64) -> Turn {
    let attempt = from(username, address);
    let begun = store.begin(&attempt, Patience::default(), at(second));
    begun.await.unwrap()
}

async fn end(store: &Store, username: &str, address: Option<&str>, verdict: Verdict) {
    store.end(from(username, address), verdict).await.unwrap();
}

fn seconds(span: Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap()
}

pub async fn of_many_attempts_at_once_no_more_get_through_than_one_after_the_other(store: Store) {
    let crowd = (0..32).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { begin(&store, "ada", HOME, 0).await })
    });
    let turns = join_all(crowd).await;
    let through = turns
        .iter()
        .filter(|turn| *turn.as_ref().unwrap() == Turn::Now);
    assert_eq!(through.count(), 5);
    // From many places at once, each gets its one attempt and no more are lost.
    let crowd = (0..32).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let address = format!("198.51.100.{number}");
            begin(&store, "bob", Some(&address), 0).await
        })
    });
    for turn in join_all(crowd).await {
        assert_eq!(turn.unwrap(), Turn::Now);
    }
    let again = begin(&store, "bob", Some("198.51.100.7"), 0).await;
    assert!(matches!(again, Turn::Wait(_)), "all together were counted");
}

pub async fn whoever_has_to_wait_is_told_how_long(store: Store) {
    for _ in 0..5 {
        assert_eq!(begin(&store, "ada", HOME, 0).await, Turn::Now);
    }
    let wait = |seconds| Turn::Wait(Duration::from_secs(seconds));
    assert_eq!(begin(&store, "ada", HOME, 0).await, wait(1));
    assert_eq!(begin(&store, "ada", HOME, 1).await, Turn::Now);
    assert_eq!(begin(&store, "ada", HOME, 1).await, wait(2));
    assert_eq!(begin(&store, "ada", HOME, 2).await, wait(1));
}

pub async fn the_right_password_makes_good_and_makes_the_place_the_owners(store: Store) {
    for _ in 0..10 {
        for _ in 0..4 {
            assert_eq!(begin(&store, "ada", HOME, 0).await, Turn::Now);
        }
        end(&store, "ada", HOME, Verdict::Right).await;
    }
    for number in 0..100 {
        let address = format!("198.51.100.{number}");
        begin(&store, "ada", Some(&address), 0).await;
    }
    let other = begin(&store, "ada", Some("198.51.100.7"), 0).await;
    assert!(matches!(other, Turn::Wait(_)));
    for _ in 0..5 {
        assert_eq!(begin(&store, "ada", HOME, 0).await, Turn::Now);
    }
}

pub async fn an_attempt_that_nobody_judged_does_not_count(store: Store) {
    for _ in 0..50 {
        assert_eq!(begin(&store, "ada", HOME, 0).await, Turn::Now);
        end(&store, "ada", HOME, Verdict::Undecided).await;
    }
}

pub async fn many_at_once_that_nobody_judged_leave_nothing_behind(store: Store) {
    let crowd = (0..32).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let address = format!("198.51.100.{number}");
            begin(&store, "ada", Some(&address), 0).await;
            end(&store, "ada", Some(&address), Verdict::Undecided).await;
        })
    });
    for done in join_all(crowd).await {
        done.unwrap();
    }
    // Those that are counted for all places together are these alone.
    for number in 0..29 {
        let address = format!("203.0.113.{number}");
        begin(&store, "ada", Some(&address), 0).await;
    }
    let again = begin(&store, "ada", Some("203.0.113.1"), 0).await;
    assert_eq!(again, Turn::Now);
}

pub async fn accounts_and_places_are_apart(store: Store) {
    for _ in 0..6 {
        begin(&store, "ada", HOME, 0).await;
    }
    assert!(matches!(begin(&store, "ada", HOME, 0).await, Turn::Wait(_)));
    assert_eq!(begin(&store, "bob", HOME, 0).await, Turn::Now);
    assert_eq!(begin(&store, "ada", None, 0).await, Turn::Now);
    let elsewhere = begin(&store, "ada", Some("2001:db8::1"), 0).await;
    assert_eq!(elsewhere, Turn::Now);
    // Whatever is typed as a name.
    let long = "x".repeat(100_000);
    for name in ["", "\0", "\u{202e}", long.as_str()] {
        assert_eq!(begin(&store, name, HOME, 0).await, Turn::Now);
    }
}

pub async fn what_is_old_is_forgotten_and_where_owners_log_in_is_not(store: Store) {
    begin(&store, "ada", HOME, 0).await;
    end(&store, "ada", HOME, Verdict::Right).await;
    for _ in 0..5 {
        begin(&store, "bob", HOME, 0).await;
    }
    let soon = seconds(REMEMBER_GUESSES) - 1;
    store.sweep(at(soon)).await.unwrap();
    begin(&store, "bob", HOME, soon).await;
    let kept = begin(&store, "bob", HOME, soon).await;
    assert!(matches!(kept, Turn::Wait(_)), "a sweep forgets too much");
    let late = soon + seconds(REMEMBER_GUESSES) + 1;
    store.sweep(at(late)).await.unwrap();
    for _ in 0..5 {
        assert_eq!(begin(&store, "bob", HOME, late).await, Turn::Now);
    }
    let guessed = async |second| {
        for number in 0..40 {
            let address = format!("198.51.100.{number}");
            begin(&store, "ada", Some(&address), second).await;
        }
        begin(&store, "ada", HOME, second).await;
        begin(&store, "ada", HOME, second).await
    };
    assert_eq!(guessed(late).await, Turn::Now, "the owner is kept out");
    let much_later = late + seconds(REMEMBER_OWNERS) + 1;
    store.sweep(at(much_later)).await.unwrap();
    let forgotten = guessed(much_later).await;
    assert!(matches!(forgotten, Turn::Wait(_)), "kept for ever");
}
