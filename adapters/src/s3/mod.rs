//! Files on S3, or on any server that speaks its protocol.
//!
//! Where they go is one URL, here with every setting it can have:
//!
//! ```
//! use ehi_adapters::s3::{Encryption, S3Settings};
//!
//! let settings: S3Settings = "s3://ehi-files/exports?endpoint=https://s3.hospital.example\
//!     &region=eu-central-1&path_style=true&sse=AES256&connect_timeout=5s&attempt_timeout=60s\
//!     &attempts=5&first_wait=1s"
//!     .parse()?;
//! assert_eq!(settings.bucket.as_str(), "ehi-files");
//! assert_eq!(settings.encryption, Encryption::Aes256);
//! # Ok::<(), ehi_adapters::s3::SettingsError>(())
//! ```
//!
//! Only the bucket has to be there. `sse=aws:kms&kms_key=…` encrypts with a key of the key
//! management service. An `http` endpoint that is not on this machine takes `allow_http=true`.
//! Keys never stand in the URL: they come from `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`,
//! from a profile, or from the role of the container or machine.
//!
//! A direct link is signed with the keys of this server: one that is signed with keys that were
//! lent for some time ends with them.
//!
//! The credentials need `s3:ListBucket` and `s3:ListBucketMultipartUploads` on the bucket, and
//! `s3:GetObject`, `s3:PutObject`, `s3:DeleteObject` and `s3:AbortMultipartUpload` below the
//! folder. Keep versioning off: in a bucket with versions, what is deleted is only hidden.

mod error;
mod reader;
mod settings;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt::{self, Debug};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, ProvideCredentials, Region, StalledStreamProtectionConfig,
};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::types::{Delete, ObjectIdentifier, ServerSideEncryption};
use ehi_core::ports::{
    Clock, DirectLink, Entropy, FileBytes, FileError, FilePath, FileStore, FileWriter, ShownAs,
};
use jiff::{SignedDuration, Timestamp};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::ExposeSecret;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::Url;

use error::{Failure, failed, short, words};
pub use settings::{
    Addressing, BucketName, Encryption, KmsKey, RegionName, S3Credentials, S3Settings,
    SettingsError,
};
use writer::{BUDGET, S3Writer};

/// Files in a bucket of S3.
///
/// A file of more than 5 MiB goes there in parts, and appears when all of them are there. Each file
/// that is being written holds one part in memory at most, and all of them together 40 MiB besides,
/// which are under way to the server. A file can have up to 5 TiB; parts are of 5 MiB up to 5 GB,
/// and larger behind that, up to 1.2 GiB: one that is larger than 40 MiB is under way alone.
#[derive(Clone)]
pub struct S3Files(Arc<Store>);

struct Store {
    client: Client,
    settings: S3Settings,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// What files that are being written have under way, in parts of the least size.
    budget: Arc<Semaphore>,
}

/// One object of the bucket.
#[derive(Clone)]
struct Object {
    store: Arc<Store>,
    key: String,
}

/// An upload this old belongs to nobody any more.
const STALE: SignedDuration = SignedDuration::from_hours(24);
/// S3 signs nothing for longer.
const LONGEST_LINK: Duration = Duration::from_hours(7 * 24);
/// How long the wait between two attempts can become.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

impl S3Files {
    /// Finds the credentials and asks for the bucket, so that what is wrong with them shows now.
    pub async fn open(
        settings: S3Settings,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, FileError> {
        let client = connect(&settings).await?;
        let files = Self(Arc::new(Store {
            client,
            settings,
            clock,
            entropy,
            budget: Arc::new(Semaphore::new(BUDGET as usize)),
        }));
        (files.0.client.list_objects_v2())
            .bucket(files.0.bucket())
            .prefix(files.0.key_prefix())
            .max_keys(1)
            .send()
            .await
            .map_err(|error| failed("a look into the bucket", error))?;
        Ok(files)
    }

    /// Aborts uploads that began more than a day ago.
    async fn abort_stale_uploads(&self) -> Result<usize, FileError> {
        let action = "a list of unfinished files";
        let begun_before = self.0.clock.now() - STALE;
        let mut swept = 0;
        let mut place = (None, None);
        loop {
            let page = (self.0.client.list_multipart_uploads())
                .bucket(self.0.bucket())
                .prefix(self.0.key_prefix())
                .set_key_marker(place.0.clone())
                .set_upload_id_marker(place.1.clone())
                .send()
                .await
                .map_err(|error| failed(action, error))?;
            for upload in page.uploads.unwrap_or_default() {
                let (Some(key), Some(id), Some(begun)) =
                    (upload.key, upload.upload_id, upload.initiated)
                else {
                    continue;
                };
                if begun.secs() < begun_before.as_second() {
                    self.0.object_at(key).abort_upload(&id).await?;
                    swept += 1;
                }
            }
            let next = (page.next_key_marker, page.next_upload_id_marker);
            if page.is_truncated != Some(true) {
                return Ok(swept);
            }
            if next == place || next.0.is_none() {
                return Err(Failure::nonsense(action, "it has no end").into());
            }
            place = next;
        }
    }

    /// A signed URL of the file, for a week at most.
    async fn presigned(
        &self,
        path: &FilePath,
        shown_as: &ShownAs,
        lifetime: Duration,
    ) -> Result<DirectLink, FileError> {
        let action = "a signed URL";
        // What is signed counts in whole seconds.
        let (begin, start) = Timestamp::from_second(self.0.clock.now().as_second())
            .and_then(|begin| Ok((begin, SystemTime::try_from(begin)?)))
            .map_err(|error| Failure::nonsense(action, words(&error)))?;
        let lifetime = Duration::from_secs(lifetime.min(LONGEST_LINK).as_secs());
        let signing = PresigningConfig::builder()
            .start_time(start)
            .expires_in(lifetime)
            .build()
            .map_err(|error| Failure::nonsense(action, words(&error)))?;
        let name = utf8_percent_encode(&shown_as.name, NON_ALPHANUMERIC);
        let signed = (self.0.client.get_object())
            .bucket(self.0.bucket())
            .key(self.0.key(path))
            .response_content_disposition(format!("attachment; filename*=UTF-8''{name}"))
            .response_content_type(shown_as.content_type.as_str())
            .presigned(signing)
            .await
            .map_err(|error| failed(action, error))?;
        let url = Url::parse(signed.uri()).map_err(|_| Failure::nonsense(action, "not a URL"))?;
        Ok(DirectLink {
            url,
            until: begin.saturating_add(lifetime).unwrap_or(Timestamp::MAX),
        })
    }

    fn object(&self, path: &FilePath) -> Object {
        self.0.object_at(self.0.key(path))
    }

    /// The keys of the folder, a page of up to 1,000 at a time: the file of its very name, and
    /// all below. `job/1` is not `job/10`.
    async fn keys(
        &self,
        folder: &FilePath,
        page: &mut Page,
    ) -> Result<Option<Vec<String>>, FileError> {
        let token = match page {
            Page::Itself => {
                *page = Page::Below(None);
                let itself = self.object(folder);
                let there = itself.size().await?.is_some();
                return Ok(Some(there.then_some(itself.key).into_iter().collect()));
            }
            Page::Below(token) => token.take(),
            Page::End => return Ok(None),
        };
        let listed = (self.0.client.list_objects_v2())
            .bucket(self.0.bucket())
            .prefix(format!("{}/", self.0.key(folder)))
            .set_continuation_token(token)
            .send()
            .await
            .map_err(|error| failed("a list of files", error))?;
        *page = Page::after(listed.next_continuation_token);
        let keys = listed.contents.into_iter().flatten();
        Ok(Some(keys.filter_map(|object| object.key).collect()))
    }

    async fn delete(&self, keys: Vec<String>) -> Result<(), FileError> {
        let action = "removal of files";
        let objects = (keys.into_iter())
            .map(|key| ObjectIdentifier::builder().key(key).build())
            .collect::<Result<Vec<_>, _>>();
        let batch = objects
            .and_then(|objects| {
                Delete::builder()
                    .set_objects(Some(objects))
                    .quiet(true)
                    .build()
            })
            .map_err(|error| Failure::nonsense(action, words(&error)))?;
        let deleted = (self.0.client.delete_objects())
            .bucket(self.0.bucket())
            .delete(batch)
            .send()
            .await
            .map_err(|error| failed(action, error))?;
        let kept = deleted.errors();
        match kept.first() {
            None => Ok(()),
            Some(first) => Err(Failure::Kept {
                count: kept.len(),
                code: short(first.code()),
            }
            .into()),
        }
    }
}

/// Where a listing is.
enum Page {
    Itself,
    Below(Option<String>),
    End,
}

impl Page {
    fn after(token: Option<String>) -> Self {
        match token {
            Some(token) => Self::Below(Some(token)),
            None => Self::End,
        }
    }
}

#[async_trait]
impl FileStore for S3Files {
    async fn writer(&self, path: &FilePath) -> Result<Box<dyn FileWriter>, FileError> {
        Ok(Box::new(S3Writer::new(self.object(path))))
    }

    async fn size(&self, path: &FilePath) -> Result<Option<u64>, FileError> {
        self.object(path).size().await
    }

    async fn read(
        &self,
        path: &FilePath,
        range: Range<u64>,
    ) -> Result<Option<FileBytes>, FileError> {
        self.object(path).read(range).await
    }

    async fn delete_prefix(&self, folder: &FilePath) -> Result<(), FileError> {
        let mut page = Page::Itself;
        while let Some(keys) = self.keys(folder, &mut page).await? {
            if !keys.is_empty() {
                self.delete(keys).await?;
            }
        }
        Ok(())
    }

    async fn folders(&self) -> Result<Vec<FilePath>, FileError> {
        let mut folders = Vec::new();
        let mut page = Page::Below(None);
        while let Page::Below(token) = page {
            let listed = (self.0.client.list_objects_v2())
                .bucket(self.0.bucket())
                .prefix(self.0.key_prefix())
                .delimiter("/")
                .set_continuation_token(token)
                .send()
                .await
                .map_err(|error| failed("a list of folders", error))?;
            let prefixes = listed.common_prefixes.into_iter().flatten();
            folders.extend(prefixes.filter_map(|found| {
                let found = found.prefix?;
                self.0.path(found.strip_suffix('/')?)
            }));
            page = Page::after(listed.next_continuation_token);
        }
        Ok(folders)
    }

    async fn list(&self, folder: &FilePath) -> Result<Vec<FilePath>, FileError> {
        let mut files = Vec::new();
        let mut page = Page::Itself;
        while let Some(keys) = self.keys(folder, &mut page).await? {
            files.extend(keys.iter().filter_map(|key| self.0.path(key)));
        }
        Ok(files)
    }

    async fn sweep_unfinished(&self) -> Result<usize, FileError> {
        self.abort_stale_uploads().await
    }

    async fn direct_link(
        &self,
        path: &FilePath,
        shown_as: &ShownAs,
        lifetime: Duration,
    ) -> Result<Option<DirectLink>, FileError> {
        self.presigned(path, shown_as, lifetime).await.map(Some)
    }
}

impl Store {
    fn bucket(&self) -> &str {
        self.settings.bucket.as_str()
    }

    /// What every key of ours begins with.
    fn key_prefix(&self) -> String {
        match &self.settings.folder {
            Some(folder) => format!("{folder}/"),
            None => String::new(),
        }
    }

    fn key(&self, path: &FilePath) -> String {
        format!("{}{path}", self.key_prefix())
    }

    /// The path of a key; what has another kind of name is none of ours.
    fn path(&self, key: &str) -> Option<FilePath> {
        let path = key.strip_prefix(&self.key_prefix())?;
        FilePath::parse(path).ok()
    }

    fn object_at(self: &Arc<Self>, key: String) -> Object {
        Object {
            store: self.clone(),
            key,
        }
    }

    fn encryption(&self) -> (Option<ServerSideEncryption>, Option<String>) {
        match &self.settings.encryption {
            Encryption::BucketDefault => (None, None),
            Encryption::Aes256 => (Some(ServerSideEncryption::Aes256), None),
            Encryption::Kms(key) => (
                Some(ServerSideEncryption::AwsKms),
                Some(key.as_str().to_owned()),
            ),
        }
    }

    /// Waits for the share of a part of so many bytes.
    async fn share(&self, bytes: usize) -> Result<OwnedSemaphorePermit, FileError> {
        let shares = u32::try_from(bytes.div_ceil(writer::PART)).unwrap_or(BUDGET);
        let share = self.budget.clone().acquire_many_owned(shares.min(BUDGET));
        share.await.map_err(|_| Failure::Broken.into())
    }

    /// The time-outs of a request that sends so many times 5 MiB.
    fn timeouts(&self, times: usize) -> TimeoutConfig {
        timeouts(&self.settings, times)
    }
}

fn timeouts(settings: &S3Settings, times: usize) -> TimeoutConfig {
    let times = u32::try_from(times).unwrap_or(u32::MAX).max(1);
    TimeoutConfig::builder()
        .connect_timeout(settings.connect_timeout)
        .operation_attempt_timeout(settings.attempt_timeout.saturating_mul(times))
        .build()
}

async fn connect(settings: &S3Settings) -> Result<Client, FileError> {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    let region = match (&settings.region, &settings.endpoint) {
        (Some(region), _) => Some(region.as_str()),
        (None, Some(_)) => Some("us-east-1"),
        (None, None) => None,
    };
    if let Some(region) = region {
        loader = loader.region(Region::new(region.to_owned()));
    }
    if let S3Credentials::Keys {
        access_key_id,
        secret_access_key,
        session_token,
    } = &settings.credentials
    {
        let token = (session_token.as_ref()).map(|token| token.expose_secret().to_owned());
        let secret = secret_access_key.expose_secret();
        let keys = Credentials::new(
            access_key_id.expose_secret(),
            secret,
            token,
            None,
            "settings",
        );
        loader = loader.credentials_provider(keys);
    }
    let environment = loader.load().await;
    if environment.region().is_none() {
        return Err(Failure::NoRegion.into());
    }
    if let Some(keys) = environment.credentials_provider() {
        (keys.provide_credentials().await).map_err(|error| Failure::NoCredentials {
            reason: words(&error),
        })?;
    }
    let retries = RetryConfig::standard()
        .with_max_attempts(settings.attempts.get())
        .with_initial_backoff(settings.first_wait)
        .with_max_backoff(LONGEST_WAIT);
    let mut config = aws_sdk_s3::config::Builder::from(&environment)
        .force_path_style(settings.addressing == Addressing::Path)
        .timeout_config(timeouts(settings, 1))
        .retry_config(retries)
        // Attempts have a time-out, and readers watch for silence themselves.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Some(endpoint) = &settings.endpoint {
        config = config.endpoint_url(endpoint.as_str());
    }
    Ok(Client::from_conf(config.build()))
}

impl Debug for S3Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("S3Files").field(&self.0.settings).finish()
    }
}
