//! Reads one object, and goes on where a connection broke.

use std::ops::Range;

use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::operation::head_object::HeadObjectError;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use ehi_core::ports::{FileBytes, FileError};
use futures::{StreamExt, stream};

use super::Object;
use super::error::{Failure, failed, words};

const ACTION: &str = "a file's content";

/// What S3 has of a range.
enum Found {
    Missing,
    /// The object ends before the range begins.
    Nothing,
    Content {
        body: ByteStream,
        length: u64,
        etag: Option<String>,
    },
}

/// An object that is being read.
struct Reading {
    object: Object,
    body: ByteStream,
    /// Whether it is still the same object, when it is asked for once more.
    etag: Option<String>,
    left: Range<u64>,
    /// How often in a row nothing came.
    failures: u32,
}

impl Object {
    pub(super) async fn size(&self) -> Result<Option<u64>, FileError> {
        let action = "a file's size";
        let head = (self.store.client.head_object())
            .bucket(self.store.bucket())
            .key(&self.key)
            .send()
            .await;
        match head {
            Ok(head) => length(action, head.content_length).map(Some),
            Err(error) if (error.as_service_error()).is_some_and(HeadObjectError::is_not_found) => {
                Ok(None)
            }
            Err(error) => Err(failed(action, error).into()),
        }
    }

    pub(super) async fn read(self, range: Range<u64>) -> Result<Option<FileBytes>, FileError> {
        if range.is_empty() {
            return Ok(self.size().await?.map(|_| stream::empty().boxed()));
        }
        let reading = match self.find(&range, None).await? {
            Found::Missing => return Ok(None),
            Found::Nothing => return Ok(Some(stream::empty().boxed())),
            Found::Content { body, length, etag } => Reading {
                left: range.start..range.start.saturating_add(length).min(range.end),
                object: self,
                body,
                etag,
                failures: 0,
            },
        };
        let chunks = stream::try_unfold(reading, |mut reading| async {
            Ok(reading.next().await?.map(|bytes| (bytes, reading)))
        });
        Ok(Some(chunks.boxed()))
    }

    async fn find(&self, range: &Range<u64>, same: Option<&str>) -> Result<Found, FileError> {
        // Servers count in signed numbers.
        let asked = match i64::try_from(range.end) {
            Ok(_) => format!("bytes={}-{}", range.start, range.end - 1),
            Err(_) => format!("bytes={}-", range.start),
        };
        let got = (self.store.client.get_object())
            .bucket(self.store.bucket())
            .key(&self.key)
            .range(asked)
            .set_if_match(same.map(str::to_owned))
            .send()
            .await;
        match got {
            Ok(got) => {
                let begin = format!("bytes {}-", range.start);
                let is_part = (got.content_range).is_some_and(|range| range.starts_with(&begin));
                if !is_part && range.start > 0 {
                    return Err(Failure::nonsense(ACTION, "another range than asked for").into());
                }
                Ok(Found::Content {
                    length: length(ACTION, got.content_length)?,
                    body: got.body,
                    etag: got.e_tag,
                })
            }
            Err(error)
                if error
                    .raw_response()
                    .is_some_and(|raw| raw.status().as_u16() == 416) =>
            {
                Ok(Found::Nothing)
            }
            Err(error)
                if (error.as_service_error()).is_some_and(GetObjectError::is_no_such_key) =>
            {
                Ok(Found::Missing)
            }
            Err(error) => Err(failed(ACTION, error).into()),
        }
    }
}

impl Reading {
    /// The next bytes, asked for anew when the connection breaks or stands still.
    async fn next(&mut self) -> Result<Option<Bytes>, FileError> {
        while !self.left.is_empty() {
            let silence = self.object.store.settings.attempt_timeout;
            let failure = match tokio::time::timeout(silence, self.body.next()).await {
                Ok(Some(Ok(mut bytes))) if !bytes.is_empty() => {
                    let wanted = self.left.end - self.left.start;
                    bytes.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
                    self.left.start += bytes.len() as u64;
                    self.failures = 0;
                    return Ok(Some(bytes));
                }
                Ok(Some(Ok(_))) => continue,
                Ok(Some(Err(error))) => Failure::nonsense(ACTION, words(&error)),
                Ok(None) => Failure::nonsense(ACTION, "it ends early"),
                Err(_) => Failure::Late { action: ACTION },
            };
            self.again(failure).await?;
        }
        self.end().await
    }

    async fn again(&mut self, failure: Failure) -> Result<(), FileError> {
        self.failures += 1;
        if self.failures >= self.object.store.settings.attempts.get() {
            return Err(failure.into());
        }
        match self.object.find(&self.left, self.etag.as_deref()).await? {
            Found::Content { body, .. } => self.body = body,
            // It was there a moment ago.
            Found::Missing | Found::Nothing => return Err(failure.into()),
        }
        Ok(())
    }

    /// The body's last word: checksums come behind all of the bytes.
    async fn end(&mut self) -> Result<Option<Bytes>, FileError> {
        let silence = self.object.store.settings.attempt_timeout;
        match tokio::time::timeout(silence, self.body.next()).await {
            Ok(Some(Err(error))) => Err(Failure::nonsense(ACTION, words(&error)).into()),
            Ok(Some(Ok(_)) | None) => Ok(None),
            Err(_) => Err(Failure::Late { action: ACTION }.into()),
        }
    }
}

fn length(action: &'static str, length: Option<i64>) -> Result<u64, FileError> {
    (length.and_then(|length| u64::try_from(length).ok()))
        .ok_or_else(|| Failure::nonsense(action, "no length").into())
}
