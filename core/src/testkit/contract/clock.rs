//! What a [`Clock`] and an [`Entropy`] promise.

#![expect(
    missing_docs,
    clippy::missing_panics_doc,
    reason = "the names are the promises"
)]

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use crate::ports::{Clock, Entropy};

/// Makes the tests of a [`Clock`]: `clock_contract!(ready())`, where `ready()` is a future of a clock that runs by itself and
/// of whatever has to live as long as it.
#[macro_export]
macro_rules! clock_contract {
    ($ready:expr) => {
        $crate::contract_tests!(
            clock, $ready,
            time_goes_on
            a_sleep_takes_as_long_as_asked
            many_sleep_at_once
        );
    };
}

/// Makes the tests of an [`Entropy`]: `entropy_contract!(ready())`, as for a clock.
#[macro_export]
macro_rules! entropy_contract {
    ($ready:expr) => {
        mod entropy {
            use super::*;

            $crate::contract_tests!(
                clock, $ready,
                no_bytes_come_twice
                every_bit_is_as_often_set_as_not
            );
        }
    };
}

const MOMENT: Duration = Duration::from_millis(20);

pub async fn time_goes_on(clock: Arc<dyn Clock>) {
    let before = clock.now();
    clock.sleep(MOMENT).await;
    assert!(clock.now() > before);
}

pub async fn a_sleep_takes_as_long_as_asked(clock: Arc<dyn Clock>) {
    for sleep in [Duration::ZERO, MOMENT, MOMENT * 3] {
        let before = clock.now();
        clock.sleep(sleep).await;
        let slept = Duration::try_from(clock.now().duration_since(before)).unwrap_or_default();
        // Timers of some systems count in milliseconds.
        assert!(slept + Duration::from_millis(1) >= sleep, "{slept:?}");
    }
}

pub async fn many_sleep_at_once(clock: Arc<dyn Clock>) {
    let before = clock.now();
    join_all((0..1_000).map(|_| clock.sleep(MOMENT))).await;
    let slept = Duration::try_from(clock.now().duration_since(before)).unwrap_or_default();
    assert!(slept < MOMENT * 500, "one after the other: {slept:?}");
}

pub async fn no_bytes_come_twice(entropy: Arc<dyn Entropy>) {
    let tasks = (0..8).map(|_| {
        let entropy = entropy.clone();
        tokio::spawn(async move { (0..1_000).map(|_| entropy.bytes()).collect::<Vec<_>>() })
    });
    let rolled = join_all(tasks).await.into_iter().flatten().flatten();
    let different: HashSet<_> = rolled.collect();
    assert_eq!(different.len(), 8_000);
}

#[expect(clippy::unused_async, reason = "all promises are called alike")]
pub async fn every_bit_is_as_often_set_as_not(entropy: Arc<dyn Entropy>) {
    const ROLLS: u32 = 4_096;
    let mut set = [0_u32; 256];
    for _ in 0..ROLLS {
        for (place, byte) in entropy.bytes().into_iter().enumerate() {
            for bit in 0..8 {
                set[place * 8 + bit] += u32::from(byte >> bit & 1);
            }
        }
    }
    // Ten standard deviations: chance alone does not get there in the age of the universe.
    let far = 10 * ROLLS.isqrt() / 2;
    let bad: Vec<_> = (set.iter())
        .filter(|set| set.abs_diff(ROLLS / 2) > far)
        .collect();
    assert!(bad.is_empty(), "{bad:?}");
}
