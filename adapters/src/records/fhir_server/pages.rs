//! A Bundle that comes in pages, as a sequence of records.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use ehi_core::fhir::{BrokenRecord, Layout, Record, RecordReader, RecordSyntaxError};
use ehi_core::ports::SourceError;
use sha2::{Digest, Sha256};
use url::Url;

use super::client::{Answer, FhirClient};

/// Reads one page behind the other. Holds a window of the current page, never the page.
pub(super) struct Pages {
    client: Arc<FhirClient>,
    record_limit: usize,
    most: usize,
    /// The page that is being read.
    url: Url,
    /// Its number, the first being 1.
    number: usize,
    answer: Answer,
    reader: RecordReader,
    /// What has come in and is not yet with the reader.
    chunk: Bytes,
    /// Hashes of the URLs so far, so that a long way takes little memory.
    seen: HashSet<[u8; 32]>,
}

impl Pages {
    /// Asks for the first page; `None` where there is none. More than `most` pages are not taken
    /// for an answer.
    pub(super) async fn open(
        client: Arc<FhirClient>,
        url: Url,
        record_limit: usize,
        most: usize,
    ) -> Result<Option<Self>, SourceError> {
        let Some(answer) = client.get(&url).await? else {
            return Ok(None);
        };
        Ok(Some(Self {
            client,
            record_limit,
            most,
            seen: HashSet::from([fingerprint(&url)]),
            url,
            number: 1,
            answer,
            reader: RecordReader::new(Layout::Bundle, record_limit),
            chunk: Bytes::new(),
        }))
    }

    /// The number of the page that the latest items are from.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// The next few records and those that cannot be read, maybe none; `None` at the end of the
    /// last page.
    ///
    /// A page that cannot be read to its end is an error: what is missing cannot be told.
    pub(super) async fn next(
        &mut self,
    ) -> Result<Option<Vec<Result<Record, BrokenRecord>>>, SourceError> {
        if self.reader.is_done() && !self.turn().await? {
            return Ok(None);
        }
        if self.chunk.is_empty() {
            self.chunk = self.answer.chunk().await?.unwrap_or_default();
        }
        // An empty chunk is the end of the page, for the reader as well.
        let room = self.reader.room();
        let count = room.len().min(self.chunk.len());
        room[..count].copy_from_slice(&self.chunk[..count]);
        self.chunk.advance(count);
        self.reader.filled(count);
        let items = self.reader.read();
        if let Some(Err(broken)) = items.last()
            && broken.rest
        {
            return Err(self.lost(broken));
        }
        Ok(Some(items))
    }

    /// Goes to the next page; `false` when this was the last.
    async fn turn(&mut self) -> Result<bool, SourceError> {
        let number = self.number;
        let link = self.reader.next_link().map_err(|reason| {
            SourceError::Broken(format!(
                "page {number} of the FHIR server's answer has a link that cannot be understood ({reason}): it is not known whether more follows"
            ))
        })?;
        let Some(link) = link else {
            return Ok(false);
        };
        let mut url = self.url.join(link).map_err(|_| {
            SourceError::Broken(format!(
                "page {number} of the FHIR server's answer has a next link that is no URL"
            ))
        })?;
        url.set_fragment(None);
        if !self.seen.insert(fingerprint(&url)) {
            return Err(SourceError::Broken(format!(
                "the pages of the FHIR server's answer go in a circle: page {number} leads to one that was read before"
            )));
        }
        if number >= self.most {
            return Err(SourceError::Broken(format!(
                "the FHIR server's answer does not end within {number} pages"
            )));
        }
        // Servers keep the pages of an answer for a while only.
        let gone = || SourceError::unavailable("the next page of the answer is gone");
        self.answer = self.client.get(&url).await?.ok_or_else(gone)?;
        self.reader = RecordReader::new(Layout::Bundle, self.record_limit);
        self.url = url;
        self.number += 1;
        Ok(true)
    }

    fn lost(&self, broken: &BrokenRecord) -> SourceError {
        let number = self.number;
        let place = match broken.place {
            Some(place) => format!("page {number}, {place}"),
            None => format!("page {number}"),
        };
        let what = format!("{place} of the FHIR server's answer: {broken}");
        // A server that breaks down while it writes; JSON that is wrong stays wrong.
        if broken.reason == RecordSyntaxError::Truncated {
            SourceError::unavailable(what)
        } else {
            SourceError::Broken(what)
        }
    }
}

fn fingerprint(url: &Url) -> [u8; 32] {
    Sha256::digest(url.as_str()).into()
}
