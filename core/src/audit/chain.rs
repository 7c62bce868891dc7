//! How each entry is tied to the one before it.
//!
//! The link of an entry is the SHA-256 of the link before it, the entry's number and its text as
//! it is stored. Whoever changes, drops or moves an entry breaks every link behind it. Whoever can
//! write the whole log could make all links anew: a link that was noted elsewhere tells.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ports::Cause;

/// The SHA-256 that ties an entry to all before it, in base64url.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LinkHash([u8; 32]);

impl fmt::Display for LinkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for LinkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for LinkHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes
            .map(Self)
            .ok_or("a link is a SHA-256 in base64url: 43 characters")
    }
}

impl From<LinkHash> for String {
    fn from(hash: LinkHash) -> Self {
        hash.to_string()
    }
}

/// The place of an entry in the log, and what holds it there. Written as `number:hash`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The number of the entry; 0 before the first.
    pub number: u64,
    /// Its hash.
    pub hash: LinkHash,
}

impl Link {
    /// What the first entry is tied to.
    pub const START: Self = Self {
        number: 0,
        hash: LinkHash([0; 32]),
    };

    /// The link of the entry that comes next, with this text.
    #[must_use]
    pub fn next(self, text: &str) -> Self {
        let number = self.number + 1;
        let digest = Sha256::new()
            .chain_update(self.hash.0)
            .chain_update(number.to_be_bytes())
            .chain_update(text)
            .finalize();
        Self {
            number,
            hash: LinkHash(digest.into()),
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.number, self.hash)
    }
}

impl FromStr for Link {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, hash) = text
            .split_once(':')
            .ok_or("a link is written as number:hash")?;
        Ok(Self {
            number: number
                .parse()
                .map_err(|_| "a link begins with the number of its entry")?,
            hash: hash.to_owned().try_into()?,
        })
    }
}

/// Why the chain does not hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// An entry was changed, or is none.
    #[error("entry {0} was changed: it does not fit its link to the entries before it")]
    Changed(u64),
    /// Entries are not there any more.
    #[error("entries are missing: entry {expected} is followed by none, or by another ({found})")]
    Missing {
        /// The number that should come.
        expected: u64,
        /// What came instead.
        found: String,
    },
    /// The link that was noted elsewhere is not in the chain.
    #[error(
        "the log was made anew: its entry {0} is not the one that was noted. Compare with a backup"
    )]
    Rewritten(u64),
    /// The log cannot be read right now. Retry later.
    #[error("the audit log cannot be read")]
    Unavailable(#[source] Cause),
}

/// Follows a chain, entry by entry.
#[derive(Debug, Clone)]
pub struct ChainCheck {
    last: Link,
    known: Option<Link>,
}

impl ChainCheck {
    /// A check that begins before the first entry. A link that was noted elsewhere has to turn
    /// up on the way.
    pub fn new(known: Option<Link>) -> Self {
        Self {
            last: Link::START,
            known,
        }
    }

    /// The next entry: its link as it was stored, and its text.
    pub fn follow(&mut self, stored: Link, text: &str) -> Result<(), ChainError> {
        let next = self.last.next(text);
        if stored.number != next.number {
            return Err(ChainError::Missing {
                expected: next.number,
                found: stored.number.to_string(),
            });
        }
        if stored.hash != next.hash {
            return Err(ChainError::Changed(next.number));
        }
        let noted = self.known.filter(|known| known.number == next.number);
        if noted.is_some_and(|known| known.hash != next.hash) {
            return Err(ChainError::Rewritten(next.number));
        }
        self.last = next;
        Ok(())
    }

    /// The end of the log. `at_least` is the last link the store remembers apart from the entries.
    pub fn end(self, at_least: Option<Link>) -> Result<Link, ChainError> {
        let longest = self.known.into_iter().chain(at_least);
        let longest = longest.map(|link| link.number).max().unwrap_or_default();
        if longest > self.last.number {
            return Err(ChainError::Missing {
                expected: self.last.number + 1,
                found: "the end of the log".to_owned(),
            });
        }
        Ok(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(texts: &[&str]) -> Vec<(Link, String)> {
        let mut last = Link::START;
        let chained = texts.iter().map(|text| {
            last = last.next(text);
            (last, (*text).to_owned())
        });
        chained.collect()
    }

    fn check(entries: &[(Link, String)], known: Option<Link>) -> Result<Link, ChainError> {
        let mut check = ChainCheck::new(known);
        for (link, text) in entries {
            check.follow(*link, text)?;
        }
        check.end(None)
    }

    #[test]
    fn a_whole_chain_holds_and_tells_its_end() {
        let entries = chain(&["a", "b", "c"]);
        assert_eq!(check(&entries, None).unwrap(), entries[2].0);
        assert_eq!(check(&entries, Some(entries[1].0)).unwrap(), entries[2].0);
        assert_eq!(check(&[], None).unwrap(), Link::START);
    }

    #[test]
    fn a_changed_a_missing_and_a_moved_entry_are_found() {
        let whole = chain(&["a", "b", "c"]);
        let mut changed = whole.clone();
        changed[1].1 = "B".to_owned();
        assert!(matches!(check(&changed, None), Err(ChainError::Changed(2))));
        let mut missing = whole.clone();
        missing.remove(1);
        assert!(matches!(
            check(&missing, None),
            Err(ChainError::Missing { expected: 2, .. })
        ));
        let mut moved = whole.clone();
        moved.swap(1, 2);
        assert!(check(&moved, None).is_err());
        assert!(matches!(
            check(&whole[..2], Some(whole[2].0)),
            Err(ChainError::Missing { expected: 3, .. })
        ));
        let mut cut = ChainCheck::new(None);
        cut.follow(whole[0].0, "a").unwrap();
        assert!(matches!(
            cut.end(Some(whole[2].0)),
            Err(ChainError::Missing { expected: 2, .. })
        ));
    }

    #[test]
    fn a_log_made_anew_is_told_by_a_link_noted_elsewhere() {
        let (old, new) = (chain(&["a", "b", "c"]), chain(&["a", "x", "c"]));
        assert!(check(&new, None).is_ok());
        assert!(matches!(
            check(&new, Some(old[2].0)),
            Err(ChainError::Rewritten(3))
        ));
    }

    #[test]
    fn a_link_is_read_as_it_is_written() {
        let link = Link::START.next("a");
        assert_eq!(link.to_string().parse(), Ok(link));
        for text in ["", "1", "x:", "1:abc", &format!("-1:{}", link.hash)] {
            assert!(text.parse::<Link>().is_err(), "{text}");
        }
    }
}
