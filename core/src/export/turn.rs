//! Whose turn it is: the fair order of the queue.

use jiff::{SignedDuration, Timestamp};

/// How far apart the turns of one patient's waiting exports are, and those of one client's.
pub const SLICE: SignedDuration = SignedDuration::from_secs(10);

/// The place of an export in the queue: whoever's turn is earlier is next.
///
/// A flood spreads out over time, and what others ask for meanwhile comes in between. A turn is an
/// instant that comes, so whoever has one is not kept waiting by those who come later. It says who
/// is next, not when: nobody waits while a worker is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The turn.
    pub at: Timestamp,
    /// The same, where the client's next export has to keep its distance from it. An export that
    /// stands behind another of its patient keeps no other patient of that client waiting.
    pub of_client: Option<Timestamp>,
}

/// Where a new export comes in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LastTurns {
    /// The last [`Turn::at`] of its patient's exports that wait or run.
    pub of_patient: Option<Timestamp>,
    /// The last [`Turn::of_client`] of its client's exports that wait or run.
    pub of_client: Option<Timestamp>,
}

impl Turn {
    /// The turn of an export that may run from `due` on for the first time: then, or [`SLICE`]
    /// behind those of its patient and its client.
    pub fn new(due: Timestamp, last: LastTurns) -> Self {
        let behind = |last: Timestamp| last.saturating_add(SLICE).unwrap_or(Timestamp::MAX);
        let own = last.of_client.map_or(due, |last| due.max(behind(last)));
        match last.of_patient.map(behind) {
            Some(at) if at >= own => Self {
                at,
                of_client: None,
            },
            _ => Self {
                at: own,
                of_client: Some(own),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::at;

    fn last(of_patient: Option<i64>, of_client: Option<i64>) -> LastTurns {
        LastTurns {
            of_patient: of_patient.map(at),
            of_client: of_client.map(at),
        }
    }

    #[test]
    fn whoever_comes_alone_is_next_and_whoever_comes_again_keeps_a_distance() {
        for (before, turn, counts) in [
            (last(None, None), 100, true),
            (last(Some(20), Some(89)), 100, true),
            (last(None, Some(120)), 130, true),
            (last(Some(120), None), 130, false),
            (last(Some(120), Some(120)), 130, false),
            (last(Some(100), Some(120)), 130, true),
        ] {
            let expected = Turn {
                at: at(turn),
                of_client: counts.then(|| at(turn)),
            };
            assert_eq!(Turn::new(at(100), before), expected, "{before:?}");
        }
    }

    #[test]
    fn time_has_an_end() {
        let last = LastTurns {
            of_patient: Some(Timestamp::MAX),
            of_client: Some(Timestamp::MAX),
        };
        assert_eq!(Turn::new(at(100), last).at, Timestamp::MAX);
    }
}
