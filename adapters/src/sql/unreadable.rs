//! Rows that cannot be read: a later version wrote them, or they are damaged. They are passed over
//! wherever others would wait for them, and the log tells of each.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// What a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Row {
    /// An export.
    Job,
    /// A registered client.
    Client,
    /// A member of staff.
    Staff,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Job => "job",
            Self::Client => "client",
            Self::Staff => "staff",
        })
    }
}

/// The rows that were told of.
#[derive(Debug, Default)]
pub(super) struct Unreadable(Mutex<HashSet<(Row, String)>>);

impl Unreadable {
    /// How many are remembered, and so told of.
    const MOST: usize = 1_000;

    /// Tells of a row, once. Not what is wrong with it: that would tell what is in it.
    pub fn tell(&self, row: Row, id: &str) {
        if self.is_new(row, id) {
            tracing::error!(
                %row,
                id,
                "a row of the database makes no sense here and is passed over: a later version of ehi-server wrote it, or it is damaged"
            );
        }
    }

    fn is_new(&self, row: Row, id: &str) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.len() < Self::MOST && told.insert((row, id.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_told_of_once_and_they_do_not_flood_the_log() {
        let told = Unreadable::default();
        assert!(told.is_new(Row::Job, "0") && told.is_new(Row::Client, "0"));
        assert!(!told.is_new(Row::Job, "0"));
        let news = (0..5_000).filter(|number| told.is_new(Row::Job, &number.to_string()));
        assert!(news.count() < Unreadable::MOST);
    }
}
