//! Where the files go, as the operator writes it: one URL.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use ehi_core::ports::FilePath;
use jiff::SignedDuration;
use secrecy::SecretString;
use url::{Host, Url};

/// Where files are kept on S3, and how it is reached. Read it from a URL, see [the module](super).
#[derive(Debug, Clone)]
pub struct S3Settings {
    /// The bucket; it has to be there.
    pub bucket: BucketName,
    /// The folder in the bucket that everything goes below; the whole bucket without one.
    pub folder: Option<FilePath>,
    /// The region; without one the environment's, and `us-east-1` at an endpoint of your own.
    pub region: Option<RegionName>,
    /// A server other than Amazon's, such as one of the hospital's own.
    pub endpoint: Option<Url>,
    /// How the bucket is named in requests.
    pub addressing: Addressing,
    /// How the server encrypts what it stores.
    pub encryption: Encryption,
    /// Whose name requests are signed with.
    pub credentials: S3Credentials,
    /// How long it may take to connect.
    pub connect_timeout: Duration,
    /// How long one attempt may take, the sending of up to 5 MiB included, and how long the
    /// server may be silent in the middle of a file.
    pub attempt_timeout: Duration,
    /// How often a request is sent when the server is busy or away, the first time included.
    pub attempts: NonZeroU32,
    /// About how long to wait before the second attempt; each further wait is twice as long, up
    /// to 20 seconds.
    pub first_wait: Duration,
}

impl S3Settings {
    /// The usual settings for a bucket at Amazon.
    pub fn new(bucket: BucketName) -> Self {
        Self {
            bucket,
            folder: None,
            region: None,
            endpoint: None,
            addressing: Addressing::VirtualHost,
            encryption: Encryption::BucketDefault,
            credentials: S3Credentials::Environment,
            connect_timeout: Duration::from_secs(5),
            attempt_timeout: Duration::from_mins(1),
            attempts: NonZeroU32::MIN.saturating_add(4),
            first_wait: Duration::from_secs(1),
        }
    }
}

impl S3Settings {
    /// Whether what is sent can be read on the way: no encryption, and it leaves this machine.
    pub fn goes_in_the_clear(&self) -> bool {
        self.endpoint.as_ref().is_some_and(is_in_the_clear)
    }
}

/// How the bucket is named in requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressing {
    /// As the first label of the host: what Amazon wants.
    VirtualHost,
    /// As the first name of the path: what most other servers want.
    Path,
}

/// How the server encrypts what it stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// As the bucket is set up; nothing is asked for.
    BucketDefault,
    /// With keys of the server (SSE-S3).
    Aes256,
    /// With this key of the key management service (SSE-KMS).
    Kms(KmsKey),
}

/// Whose name requests are signed with.
#[derive(Debug, Clone)]
pub enum S3Credentials {
    /// What the usual chain finds: environment variables, profile files, and the role of the
    /// container or machine.
    Environment,
    /// These keys.
    Keys {
        /// The public half.
        access_key_id: SecretString,
        /// The secret half.
        secret_access_key: SecretString,
        /// Comes with keys that are lent for some time.
        session_token: Option<SecretString>,
    },
}

/// Makes a type of texts that are plain by construction.
macro_rules! plain_text {
    ($(#[$doc:meta])* $name:ident, $is_plain:expr, $error:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = SettingsError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let is_plain: fn(&str) -> bool = $is_plain;
                is_plain(text).then(|| Self(text.to_owned())).ok_or($error)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

fn is_lower(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

plain_text!(
    /// The name of a bucket.
    BucketName,
    |text| {
        (3..=63).contains(&text.len())
            && text.bytes().all(|b| is_lower(b) || matches!(b, b'-' | b'.'))
            && text.bytes().next().is_some_and(is_lower)
            && text.bytes().last().is_some_and(is_lower)
            && !text.contains("..")
    },
    SettingsError::Bucket
);
plain_text!(
    /// The name of a region, such as `eu-central-1`.
    RegionName,
    |text| (1..=63).contains(&text.len()) && text.bytes().all(|b| is_lower(b) || b == b'-'),
    SettingsError::Value("region", "a name like eu-central-1")
);
plain_text!(
    /// The id or ARN of a key of the key management service.
    KmsKey,
    |text| (1..=2048).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()),
    SettingsError::Value("kms_key", "the id or ARN of a key")
);

/// What is wrong with a URL of files on S3. It never repeats the URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// Not such a URL at all.
    #[error("not a URL like s3://bucket/folder?region=eu-central-1")]
    Url,
    /// A bucket cannot have that name.
    #[error(
        "the bucket's name must have 3 to 63 lower-case letters, digits, '-' and '.', such as s3://ehi-files"
    )]
    Bucket,
    /// No folder can have that name.
    #[error("the folder behind the bucket must be plain names: letters, digits, '-', '_' and '.'")]
    Folder,
    /// URLs end up in logs.
    #[error(
        "keys do not belong into the URL; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role"
    )]
    KeysInUrl,
    /// There is no such setting.
    #[error(
        "{0:?} is no setting; there are endpoint, region, path_style, sse, kms_key, connect_timeout, attempt_timeout, attempts, first_wait and allow_http"
    )]
    Unknown(String),
    /// Which of them is meant?
    #[error("{0} is there twice; leave one")]
    Twice(String),
    /// The setting cannot have that value.
    #[error("{0} must be {1}")]
    Value(&'static str, &'static str),
    /// Health records would go over the network for everybody to read.
    #[error(
        "the endpoint is reached without encryption; use https, or add allow_http=true if the network is private"
    )]
    PlainHttp,
}

impl FromStr for S3Settings {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).map_err(|_| SettingsError::Url)?;
        if url.scheme() != "s3" || url.fragment().is_some() {
            return Err(SettingsError::Url);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(SettingsError::KeysInUrl);
        }
        if url.port().is_some() {
            return Err(SettingsError::Bucket);
        }
        let bucket = url.host_str().ok_or(SettingsError::Bucket)?.parse()?;
        let mut settings = Self::new(bucket);
        let folder = url.path().trim_matches('/');
        if !folder.is_empty() {
            let folder = FilePath::parse(folder).map_err(|_| SettingsError::Folder)?;
            settings.folder = Some(folder);
        }
        Query::read(&url)?.into_settings(settings)
    }
}

/// The settings behind the `?`, each at most once.
#[derive(Default)]
struct Query {
    seen: Vec<String>,
    endpoint: Option<Url>,
    allow_http: Option<bool>,
    region: Option<RegionName>,
    path_style: Option<bool>,
    sse: Option<Sse>,
    kms_key: Option<KmsKey>,
    connect_timeout: Option<Duration>,
    attempt_timeout: Option<Duration>,
    attempts: Option<NonZeroU32>,
    first_wait: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sse {
    Aes256,
    Kms,
}

impl Query {
    fn read(url: &Url) -> Result<Self, SettingsError> {
        let mut query = Self::default();
        for (key, value) in url.query_pairs() {
            if query.seen.iter().any(|seen| *seen == key) {
                return Err(SettingsError::Twice(key.into_owned()));
            }
            query.set(&key, &value)?;
            query.seen.push(key.into_owned());
        }
        Ok(query)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), SettingsError> {
        match key {
            "endpoint" => self.endpoint = Some(endpoint(value)?),
            "allow_http" => self.allow_http = Some(yes_or_no("allow_http", value)?),
            "region" => self.region = Some(value.parse()?),
            "path_style" => self.path_style = Some(yes_or_no("path_style", value)?),
            "sse" => self.sse = Some(sse(value)?),
            "kms_key" => self.kms_key = Some(value.parse()?),
            "connect_timeout" => self.connect_timeout = Some(duration("connect_timeout", value)?),
            "attempt_timeout" => self.attempt_timeout = Some(duration("attempt_timeout", value)?),
            "attempts" => self.attempts = Some(attempts(value)?),
            "first_wait" => self.first_wait = Some(duration("first_wait", value)?),
            unknown => return Err(SettingsError::Unknown(unknown.chars().take(40).collect())),
        }
        Ok(())
    }

    fn into_settings(self, usual: S3Settings) -> Result<S3Settings, SettingsError> {
        let encryption = match (self.sse, self.kms_key) {
            (None, None) => Encryption::BucketDefault,
            (Some(Sse::Aes256), None) => Encryption::Aes256,
            (Some(Sse::Kms), Some(key)) => Encryption::Kms(key),
            (Some(Sse::Kms), None) => {
                return Err(SettingsError::Value("kms_key", "there for sse=aws:kms"));
            }
            (None | Some(Sse::Aes256), Some(_)) => {
                return Err(SettingsError::Value("sse", "aws:kms where kms_key is set"));
            }
        };
        let in_the_clear = self.endpoint.as_ref().is_some_and(is_in_the_clear);
        if in_the_clear && self.allow_http != Some(true) {
            return Err(SettingsError::PlainHttp);
        }
        Ok(S3Settings {
            addressing: match self.path_style {
                Some(true) => Addressing::Path,
                Some(false) | None => Addressing::VirtualHost,
            },
            encryption,
            endpoint: self.endpoint,
            region: self.region,
            connect_timeout: self.connect_timeout.unwrap_or(usual.connect_timeout),
            attempt_timeout: self.attempt_timeout.unwrap_or(usual.attempt_timeout),
            attempts: self.attempts.unwrap_or(usual.attempts),
            first_wait: self.first_wait.unwrap_or(usual.first_wait),
            ..usual
        })
    }
}

fn endpoint(value: &str) -> Result<Url, SettingsError> {
    let error = SettingsError::Value("endpoint", "a URL like https://s3.example.org");
    let url = Url::parse(value).map_err(|_| error.clone())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(SettingsError::KeysInUrl);
    }
    let bare = url.query().is_none() && url.fragment().is_none() && url.has_host();
    (bare && matches!(url.scheme(), "http" | "https"))
        .then_some(url)
        .ok_or(error)
}

fn is_in_the_clear(endpoint: &Url) -> bool {
    endpoint.scheme() == "http" && !is_loopback(endpoint)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::from(ip).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn yes_or_no(key: &'static str, value: &str) -> Result<bool, SettingsError> {
    value
        .parse()
        .map_err(|_| SettingsError::Value(key, "true or false"))
}

fn sse(value: &str) -> Result<Sse, SettingsError> {
    match value {
        "AES256" => Ok(Sse::Aes256),
        "aws:kms" => Ok(Sse::Kms),
        _ => Err(SettingsError::Value("sse", "AES256 or aws:kms")),
    }
}

fn attempts(value: &str) -> Result<NonZeroU32, SettingsError> {
    (value.parse().ok())
        .filter(|attempts: &NonZeroU32| attempts.get() <= 20)
        .ok_or(SettingsError::Value("attempts", "a number from 1 to 20"))
}

fn duration(key: &'static str, value: &str) -> Result<Duration, SettingsError> {
    (value.parse::<SignedDuration>().ok())
        .and_then(|duration| Duration::try_from(duration).ok())
        .filter(|duration| !duration.is_zero() && *duration <= Duration::from_hours(1))
        .ok_or(SettingsError::Value(
            key,
            "a time like 30s or 2min, up to 1h",
        ))
}
