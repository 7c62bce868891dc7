//! Writes one object: small ones at once, larger ones as a multipart upload.

use async_trait::async_trait;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::head_object::HeadObjectError;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use ehi_core::ports::{FileError, FileWriter};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::Object;
use super::error::{Failure, failed, words};

/// Up to this size a file is one request, and parts begin with it: S3 takes no smaller ones.
pub(super) const PART: usize = 5 << 20;
/// An upload has no more parts than this
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
const PARTS: u32 = 10_000;
/// Parts grow after so many.
const SMALL_PARTS: u32 = 1_000;
/// By how much each of them is larger than the one before.
const GROWTH: usize = 135 << 10;
/// The largest file, in bytes.
pub(super) const LARGEST_FILE: u64 = 5 << 40;
/// How many times [`PART`] all files together have under way to the server.
pub(super) const BUDGET: u32 = 8;
/// How many parts of one file are under way to the server at once.
const AT_ONCE: usize = 2;
/// Putting the parts together may take a server as long as taking so many.
const SLOW_END: usize = 5;
/// Where an object carries the mark of its upload.
const MARK: &str = "upload";

/// The size of the part with this number, from 1, or `None` behind the last.
///
/// Files of up to 5 GB, and thereby all usual ones, are held in parts of 5 MiB.
fn part_size(number: u32) -> Option<usize> {
    let grown = usize::try_from(number.saturating_sub(SMALL_PARTS)).ok()?;
    (1..=PARTS)
        .contains(&number)
        .then_some(PART + grown * GROWTH)
}

/// A part, and its share of what all files may have in memory together.
struct Part {
    bytes: Bytes,
    share: OwnedSemaphorePermit,
}

/// Holds one part that fills, or that is full and waits for its share of the [`BUDGET`]. Whoever
/// waits holds no share, and parts that have one go on by themselves, so there is always an end.
pub(super) struct S3Writer {
    /// Gone while a write is under way: one that fails, or whose future is dropped, takes it along.
    state: Option<State>,
}

struct State {
    object: Object,
    filling: Vec<u8>,
    /// The number of the part that fills.
    number: u32,
    /// From the second part on.
    upload: Option<Upload>,
}

/// The way to the task that uploads. When it is dropped, the task cleans up behind itself.
struct Upload {
    parts: mpsc::Sender<Part>,
    finish: oneshot::Sender<()>,
    task: JoinHandle<Result<(), FileError>>,
}

impl S3Writer {
    pub fn new(object: Object) -> Self {
        Self {
            state: Some(State {
                object,
                filling: Vec::new(),
                number: 1,
                upload: None,
            }),
        }
    }

    fn take(&mut self) -> Result<State, FileError> {
        self.state.take().ok_or_else(|| Failure::Broken.into())
    }
}

#[async_trait]
impl FileWriter for S3Writer {
    async fn write(&mut self, bytes: Bytes) -> Result<(), FileError> {
        let mut state = self.take()?;
        state.append(bytes).await?;
        self.state = Some(state);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), FileError> {
        self.take()?.finish().await
    }
}

impl State {
    async fn append(&mut self, mut bytes: Bytes) -> Result<(), FileError> {
        while !bytes.is_empty() {
            let size = part_size(self.number).ok_or(Failure::TooLarge)?;
            if self.filling.len() == size {
                self.upload_part().await?;
                continue;
            }
            let taken = bytes.split_to(bytes.len().min(size - self.filling.len()));
            let needed = self.filling.len() + taken.len();
            if needed > self.filling.capacity() {
                // Grows with small files, and never beyond one part.
                let capacity = needed.next_power_of_two().min(size);
                self.filling.reserve_exact(capacity - self.filling.len());
            }
            self.filling.extend_from_slice(&taken);
        }
        Ok(())
    }

    /// Hands the filled part to the task, and waits while it has enough to do.
    async fn upload_part(&mut self) -> Result<(), FileError> {
        let bytes = Bytes::from(std::mem::take(&mut self.filling));
        let share = self.object.store.share(bytes.len()).await?;
        let part = Part { bytes, share };
        self.number += 1;
        let upload = match self.upload.take() {
            Some(upload) => upload,
            None => Upload::begin(self.object.clone()),
        };
        if upload.parts.send(part).await.is_err() {
            return upload.ended().await;
        }
        self.upload = Some(upload);
        Ok(())
    }

    async fn finish(mut self) -> Result<(), FileError> {
        if self.upload.is_none() {
            return self.object.put(self.filling).await;
        }
        if !self.filling.is_empty() {
            self.upload_part().await?;
        }
        match self.upload {
            Some(upload) => upload.finish().await,
            None => Err(Failure::Broken.into()),
        }
    }
}

impl Upload {
    fn begin(object: Object) -> Self {
        let (parts, waiting) = mpsc::channel(1);
        let (finish, finished) = oneshot::channel();
        let task = tokio::spawn(upload(object, waiting, finished));
        Self {
            parts,
            finish,
            task,
        }
    }

    async fn finish(self) -> Result<(), FileError> {
        // A task that is gone has the reason for us.
        let _ = self.finish.send(());
        drop(self.parts);
        joined(self.task).await
    }

    /// Why the task takes no more parts.
    async fn ended(self) -> Result<(), FileError> {
        joined(self.task).await?;
        Err(Failure::Broken.into())
    }
}

async fn joined(task: JoinHandle<Result<(), FileError>>) -> Result<(), FileError> {
    task.await
        .unwrap_or_else(|error| Err(FileError::Unavailable(error.into())))
}

/// Uploads parts until there are no more. Without the word to finish, and after a failure,
/// nothing of them is left.
async fn upload(
    object: Object,
    mut parts: mpsc::Receiver<Part>,
    finished: oneshot::Receiver<()>,
) -> Result<(), FileError> {
    let (id, mark) = object.begin_upload().await?;
    // Goes with the stream, so that a writer does not wait for a task that has given up.
    let parts = stream::poll_fn(move |context| parts.poll_recv(context));
    let uploaded = (stream::iter(1..).zip(parts))
        .map(|(number, part)| object.upload_part(&id, number, part))
        .buffered(AT_ONCE)
        .try_collect()
        .await;
    let outcome = match uploaded {
        Ok(parts) if finished.await.is_ok() => object.complete_upload(&id, &mark, parts).await,
        Ok(_) => Err(Failure::Broken.into()),
        Err(error) => Err(error),
    };
    if outcome.is_err() {
        object.abort_and_tell(&id).await;
    }
    outcome
}

impl Object {
    async fn put(&self, content: Vec<u8>) -> Result<(), FileError> {
        let (encryption, key) = self.store.encryption();
        (self.store.client.put_object())
            .bucket(self.store.bucket())
            .key(&self.key)
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(key)
            .body(ByteStream::from(content))
            .send()
            .await
            .map_err(|error| failed("a new file", error))?;
        Ok(())
    }

    /// The upload's id, and the mark by which its object is known.
    pub(super) async fn begin_upload(&self) -> Result<(String, String), FileError> {
        let action = "the beginning of a large file";
        let mark = URL_SAFE_NO_PAD.encode(self.store.entropy.bytes());
        let (encryption, key) = self.store.encryption();
        let begun = (self.store.client.create_multipart_upload())
            .bucket(self.store.bucket())
            .key(&self.key)
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(key)
            .metadata(MARK, &mark)
            .send()
            .await
            .map_err(|error| failed(action, error))?;
        let id = begun.upload_id;
        let id = id.ok_or_else(|| Failure::nonsense(action, "no upload id"))?;
        Ok((id, mark))
    }

    async fn upload_part(
        &self,
        id: &str,
        number: i32,
        part: Part,
    ) -> Result<CompletedPart, FileError> {
        let timeouts = self.store.timeouts(part.bytes.len().div_ceil(PART));
        let uploaded = (self.store.client.upload_part())
            .bucket(self.store.bucket())
            .key(&self.key)
            .upload_id(id)
            .part_number(number)
            .body(ByteStream::from(part.bytes))
            .customize()
            .config_override(aws_sdk_s3::Config::builder().timeout_config(timeouts))
            .send()
            .await
            .map_err(|error| failed("a part of a large file", error))?;
        drop(part.share);
        Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(uploaded.e_tag)
            .set_checksum_crc32(uploaded.checksum_crc32)
            .build())
    }

    async fn complete_upload(
        &self,
        id: &str,
        mark: &str,
        parts: Vec<CompletedPart>,
    ) -> Result<(), FileError> {
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(parts))
            .build();
        let timeouts = self.store.timeouts(SLOW_END);
        let completed = (self.store.client.complete_multipart_upload())
            .bucket(self.store.bucket())
            .key(&self.key)
            .upload_id(id)
            .multipart_upload(parts)
            .customize()
            .config_override(aws_sdk_s3::Config::builder().timeout_config(timeouts))
            .send()
            .await;
        match completed {
            Ok(_) => Ok(()),
            // An earlier attempt may have done it, and only its answer was lost.
            Err(error) if is_gone(&error) && self.has_mark(mark).await? => Ok(()),
            Err(error) => Err(failed("the end of a large file", error).into()),
        }
    }

    async fn has_mark(&self, mark: &str) -> Result<bool, FileError> {
        let head = (self.store.client.head_object())
            .bucket(self.store.bucket())
            .key(&self.key)
            .send()
            .await;
        match head {
            Ok(head) => Ok(head.metadata().and_then(|all| all.get(MARK)) == Some(&mark.to_owned())),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(HeadObjectError::is_not_found) =>
            {
                Ok(false)
            }
            Err(error) => Err(failed("the end of a large file", error).into()),
        }
    }

    async fn abort_and_tell(&self, id: &str) {
        if let Err(error) = self.abort_upload(id).await {
            tracing::warn!(
                error = words(&error),
                "an unfinished file stays on S3 until it is swept"
            );
        }
    }

    pub(super) async fn abort_upload(&self, id: &str) -> Result<(), FileError> {
        let aborted = (self.store.client.abort_multipart_upload())
            .bucket(self.store.bucket())
            .key(&self.key)
            .upload_id(id)
            .send()
            .await;
        match aborted {
            Ok(_) => Ok(()),
            // Somebody else was faster.
            Err(error) if is_gone(&error) => Ok(()),
            Err(error) => Err(failed("removal of an unfinished file", error).into()),
        }
    }
}

/// Whether the upload is not there any more.
fn is_gone<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    error.code() == Some("NoSuchUpload")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_parts_reach_the_largest_file() {
        let sizes: Vec<_> = (1..).map_while(part_size).collect();
        assert_eq!(sizes.len(), 10_000);
        assert!(sizes.iter().sum::<usize>() as u64 >= LARGEST_FILE);
        assert_eq!((sizes[0], sizes[999]), (PART, PART));
        assert!(sizes[1_000..].is_sorted() && sizes[1_000] > PART);
        // No part may be larger than 5 GiB.
        assert!(sizes[9_999] < 5 << 30);
        assert_eq!((part_size(0), part_size(10_001)), (None, None));
    }
}
