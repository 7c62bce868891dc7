//! Wrong passwords in memory, of bounded size.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;

use async_trait::async_trait;
use ehi_core::auth::{Account, Attempt, Guesses, Network, Patience, Tally, Turn, Verdict};
use ehi_core::ports::{GuessStore, StoreError};
use jiff::Timestamp;

use super::lock;

/// How many accounts, and how many places of them, are remembered.
const ENTRIES: usize = 20_000;

/// Wrong passwords in memory.
#[derive(Debug, Default)]
pub struct MemoryGuesses(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    here: HashMap<(Account, Option<Network>), Guesses>,
    everywhere: HashMap<Account, Guesses>,
}

#[async_trait]
impl GuessStore for MemoryGuesses {
    async fn begin(
        &self,
        attempt: &Attempt,
        patience: Patience,
        now: Timestamp,
    ) -> Result<Turn, StoreError> {
        let Attempt { account, place } = *attempt;
        let mut seen = lock(&self.0);
        make_room(&mut seen.here, now);
        make_room(&mut seen.everywhere, now);
        let here = seen.here.get(&(account, place)).copied();
        let everywhere = seen.everywhere.get(&account).copied();
        let mut tally = Tally {
            here: here.unwrap_or(Guesses::none(now)),
            everywhere: everywhere.unwrap_or(Guesses::none(now)),
        };
        let turn = tally.begin(patience, now);
        seen.here.insert((account, place), tally.here);
        seen.everywhere.insert(account, tally.everywhere);
        Ok(turn)
    }

    async fn end(&self, attempt: Attempt, verdict: Verdict) -> Result<(), StoreError> {
        let Attempt { account, place } = attempt;
        let mut seen = lock(&self.0);
        let Seen { here, everywhere } = &mut *seen;
        // What was forgotten meanwhile needs no making good.
        let here = here.get_mut(&(account, place));
        if let (Some(here), Some(everywhere)) = (here, everywhere.get_mut(&account)) {
            let mut tally = Tally {
                here: *here,
                everywhere: *everywhere,
            };
            tally.end(verdict);
            (*here, *everywhere) = (tally.here, tally.everywhere);
        }
        Ok(())
    }

    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut seen = lock(&self.0);
        seen.here.retain(|_, guesses| !guesses.may_go(now));
        seen.everywhere.retain(|_, guesses| !guesses.may_go(now));
        Ok(())
    }
}

/// Makes room once there is none: first what is old goes, then what says little, then all.
fn make_room<K: Eq + Hash>(kept: &mut HashMap<K, Guesses>, now: Timestamp) {
    if kept.len() < ENTRIES {
        return;
    }
    let keep: [&dyn Fn(&Guesses) -> bool; 3] = [
        &|guesses| guesses.owners || !guesses.is_old(now),
        &|guesses| guesses.owners || guesses.wrong > 2,
        &|_| false,
    ];
    for keep in keep {
        kept.retain(|_, guesses| keep(guesses));
        if kept.len() <= ENTRIES / 4 * 3 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use ehi_core::auth::Door;
    use ehi_core::testkit::at;

    use super::*;

    ehi_core::guess_store_contract!(std::future::ready((MemoryGuesses::default(), ())));

    #[tokio::test]
    async fn memory_is_bounded_whatever_is_typed() {
        let store = MemoryGuesses::default();
        let attempt = |name: &str| Attempt {
            account: Account::of(Door::Staff, name),
            place: None,
        };
        let begin = async |name: &str| {
            let attempt = attempt(name);
            let begun = store.begin(&attempt, Patience::default(), at(0));
            begun.await.unwrap()
        };
        begin("ada").await;
        store.end(attempt("ada"), Verdict::Right).await.unwrap();
        for number in 0..50_000 {
            begin(&format!("nobody {number}")).await;
        }
        let seen = lock(&store.0);
        assert!(seen.here.len() <= ENTRIES && seen.everywhere.len() <= ENTRIES);
        let owners = seen.here.values().filter(|guesses| guesses.owners).count();
        assert_eq!(owners, 1, "who logs in where is what is worth keeping");
    }
}
