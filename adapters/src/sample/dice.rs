//! Randomness that repeats itself: one stream of a seeded cipher per patient.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    /// A stream of its own for each patient, so that none depends on how many came before.
    pub(super) fn new(seed: u64, patient: u32) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(u64::from(patient));
        Self(rng)
    }

    /// A whole number from `low` to `high`, both included; `low` when they are the wrong way round.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        let choices = high.saturating_sub(low).saturating_add(1).max(1);
        low + i64::from(self.0.next_u32()) % choices
    }

    /// True `percent` times in a hundred.
    pub(super) fn chance(&mut self, percent: u8) -> bool {
        self.between(0, 99) < i64::from(percent)
    }

    /// One of `choices`, each as likely as the next; write one more than once to favour it.
    pub(super) fn pick<T: Copy, const N: usize>(&mut self, choices: &'static [T; N]) -> T {
        const { assert!(N > 0, "nothing to pick from") };
        choices[self.index(N)]
    }

    /// An index into a list of `len` items, or 0 when the list is empty.
    pub(super) fn index(&mut self, len: usize) -> usize {
        let last = i64::try_from(len).unwrap_or(i64::MAX) - 1;
        usize::try_from(self.between(0, last)).unwrap_or(0)
    }

    pub(super) fn digits(&mut self, count: usize) -> String {
        (0..count)
            .map(|_| char::from(b"0123456789"[self.index(10)]))
            .collect()
    }

    pub(super) fn uuid(&mut self) -> String {
        let mut bytes = [0; 16];
        self.0.fill_bytes(&mut bytes);
        uuid::Builder::from_random_bytes(bytes)
            .into_uuid()
            .to_string()
    }
}
