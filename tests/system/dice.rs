//! Chance that can be repeated: the same seed, the same throws.

use std::time::UNIX_EPOCH;

/// Throws numbers that follow from a seed.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// By the seed in `EHI_FAULT_SEED`, or by one of the moment. A failing test shows which.
    #[expect(clippy::print_stderr, reason = "a failed test has to show its seed")]
    pub fn new() -> Self {
        let seed = match std::env::var("EHI_FAULT_SEED") {
            Ok(seed) => seed.parse().expect("a number in EHI_FAULT_SEED"),
            Err(_) => u64::from(UNIX_EPOCH.elapsed().unwrap().subsec_nanos()),
        };
        eprintln!("EHI_FAULT_SEED={seed}");
        Self(seed)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        // SplitMix64, by Steele, Lea and Flood.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % end as u64).unwrap()
    }

    /// One of these.
    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}
