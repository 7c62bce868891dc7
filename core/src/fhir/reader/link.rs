//! Where a Bundle that comes in pages goes on.

use serde::Deserialize;

use super::RecordSyntaxError;

/// Far more than a handful of URLs takes, so that a hostile one is not kept.
const LIMIT: usize = 64 * 1024;

/// What is known of the next page.
#[derive(Debug, Default)]
pub(super) enum Link {
    /// The Bundle has said nothing about links so far.
    #[default]
    Unsaid,
    Known(Result<Option<String>, RecordSyntaxError>),
}

/// One of `Bundle.link`.
#[derive(Debug, Deserialize)]
struct BundleLink {
    relation: Option<String>,
    url: Option<String>,
}

impl Link {
    pub(super) fn next(&self) -> Result<Option<&str>, RecordSyntaxError> {
        match self {
            Self::Unsaid => Ok(None),
            Self::Known(Ok(next)) => Ok(next.as_deref()),
            Self::Known(Err(reason)) => Err(*reason),
        }
    }

    /// Takes what the Bundle says. A second time it would be a matter of taste which one counts.
    pub(super) fn found(&mut self, next: Result<Option<String>, RecordSyntaxError>) {
        *self = Self::Known(match self {
            Self::Unsaid => next,
            Self::Known(_) => Err(RecordSyntaxError::Duplicate),
        });
    }

    pub(super) fn refuse(&mut self, reason: RecordSyntaxError) {
        self.found(Err(reason));
    }
}

/// The URL of the one link with the relation `next` in the JSON of `Bundle.link`.
pub(super) fn next_link(json: &[u8]) -> Result<Option<String>, RecordSyntaxError> {
    if json.len() > LIMIT {
        return Err(RecordSyntaxError::TooLong { limit: LIMIT });
    }
    let links: Vec<BundleLink> =
        serde_json::from_slice(json).map_err(|_| RecordSyntaxError::Bundle)?;
    let mut next = (links.into_iter()).filter(|link| link.relation.as_deref() == Some("next"));
    match (next.next(), next.next()) {
        (None, _) => Ok(None),
        (Some(link), None) => link.url.map(Some).ok_or(RecordSyntaxError::Bundle),
        (Some(_), Some(_)) => Err(RecordSyntaxError::Duplicate),
    }
}
