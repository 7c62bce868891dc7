//! The configuration file of `ehi-server serve`.
//!
//! Nothing that keeps a secret or a patient safe has a default: what is essential and missing is
//! told, and the server does not start.

use std::error::Error;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use ehi_adapters::directory::TomlMistake;
use ehi_adapters::http::{Edge, StrictTransport, TestKickoffs};
use ehi_adapters::oidc::{PatientLoginConfig, StaffLoginConfig};
use ehi_core::export::{
    DocumentRules, Downloads, Lifetimes, Rules, RulesError, SensitivityRules, WorkerSettings,
};
use jiff::{Span, SpanRelativeTo};
use serde::{Deserialize, Deserializer, de};
use url::Url;

use crate::Failure;
use crate::app::Times;
use crate::database::{DatabasePlace, DatabaseUrl, PoolSize};
use crate::edge::{LimitsConfig, ProxiesConfig, RequestLimits, TlsConfig, edge};
use crate::files::{FilesPlace, FilesUrl};
use crate::keys::{KeyPlace, KeysConfig};
use crate::sources::SourceConfig;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The URL by which browsers and apps reach the server.
    pub public_url: Url,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The folder of keys, and of database and files where those are nowhere else.
    pub data: PathBuf,
    /// Where jobs, grants, sessions and the audit log are kept: `sqlite:FILE` or `postgres://…`; a
    /// file below `data` unless given.
    #[serde(default)]
    pub database: Option<DatabaseUrl>,
    /// How many connections to it this process holds at most.
    #[serde(default)]
    pub database_connections: PoolSize,
    /// Where files go: a folder, or `s3://bucket/folder?…`; `files` below `data` unless given.
    #[serde(default)]
    pub files: Option<FilesUrl>,
    /// How long links live by which apps fetch files from S3 itself, without a token; without it
    /// they fetch everything from this server.
    #[serde(default)]
    pub(crate) presigned_downloads: Option<HumanDuration>,
    /// Where records come from; several systems become one.
    pub records: Vec<SourceConfig>,
    /// The file of clients, staff and patients; without it clients and staff are in the database.
    #[serde(default)]
    pub directory: Option<PathBuf>,
    /// Where the keys are that sign access tokens.
    #[serde(default)]
    pub keys: KeysConfig,
    /// The file with the secret that keys in the database are sealed by.
    #[serde(default)]
    pub key_secret: Option<PathBuf>,
    /// The identity provider patients log in at; passwords of the directory unless given.
    #[serde(default)]
    pub patient_login: Option<PatientLoginConfig>,
    /// The identity provider staff log in at; passwords of the directory unless given.
    #[serde(default)]
    pub staff_login: Option<StaffLoginConfig>,
    /// The file of rules that say which records are protected; the standard ones unless given.
    #[serde(default)]
    pub sensitivity_rules: Option<PathBuf>,
    /// The file of rules that say which part documents and reports belong to; the standard ones
    /// unless given.
    #[serde(default)]
    pub document_rules: Option<PathBuf>,
    /// Kick-offs without form and review.
    #[serde(default)]
    pub test_kickoffs: bool,
    /// Origins whose pages may use cookies.
    #[serde(default)]
    pub allowed_origins: Vec<Url>,
    /// How many exports run at a time in a process; with none a server only answers requests.
    #[serde(default)]
    pub workers: Option<usize>,
    /// How long exports that run may take to come to their end when the process has to.
    #[serde(default = "drain")]
    pub(crate) drain: HumanDuration,
    /// How long a worker keeps an export without a sign of life; then another takes it.
    #[serde(default = "lease")]
    pub(crate) lease: HumanDuration,
    /// How often an export is tried before it is given up.
    #[serde(default)]
    pub(crate) attempts: Option<NonZeroU32>,
    /// When things expire.
    #[serde(default)]
    pub lifetimes: LifetimesConfig,
    /// The certificate, where TLS ends here.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// Whether browsers are told to come back over TLS alone.
    #[serde(default = "yes")]
    pub strict_transport: bool,
    /// Who may say from where a request came.
    #[serde(default)]
    pub proxies: ProxiesConfig,
    /// What one client may take of the server.
    #[serde(default)]
    pub limits: LimitsConfig,
}

fn yes() -> bool {
    true
}

fn lease() -> HumanDuration {
    HumanDuration(WorkerSettings::default().lease)
}

fn drain() -> HumanDuration {
    HumanDuration(Duration::from_secs(20))
}

/// When things expire: `30 days`, `8h`, `90 min`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LifetimesConfig {
    unfinished: HumanDuration,
    unreviewed: HumanDuration,
    finished: HumanDuration,
    tombstone: HumanDuration,
    sweep: HumanDuration,
    patient_session: HumanDuration,
    staff_session: HumanDuration,
    session_absolute: HumanDuration,
    access_token: HumanDuration,
    refresh_token: HumanDuration,
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

impl Default for LifetimesConfig {
    fn default() -> Self {
        let seconds = |seconds| HumanDuration(Duration::from_secs(seconds));
        Self {
            unfinished: seconds(DAY),
            unreviewed: seconds(30 * DAY),
            finished: seconds(7 * DAY),
            tombstone: seconds(7 * DAY),
            sweep: seconds(MINUTE),
            patient_session: seconds(30 * MINUTE),
            staff_session: seconds(15 * MINUTE),
            session_absolute: seconds(12 * HOUR),
            access_token: seconds(HOUR),
            refresh_token: seconds(90 * DAY),
        }
    }
}

impl LifetimesConfig {
    /// As the core wants them.
    pub fn times(&self) -> Times {
        Times {
            jobs: Lifetimes {
                unfinished: self.unfinished.0,
                unreviewed: self.unreviewed.0,
                finished: self.finished.0,
                tombstone: self.tombstone.0,
            },
            sweep: self.sweep.0,
            patient_session: self.patient_session.0,
            staff_session: self.staff_session.0,
            session_absolute: self.session_absolute.0,
            access_token: self.access_token.0,
            refresh_token: self.refresh_token.0,
        }
    }
}

/// A duration as people write it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HumanDuration(pub Duration);

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let duration = (text.parse::<Span>().ok())
            .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok())
            .and_then(|duration| Duration::try_from(duration).ok())
            .filter(|duration| *duration >= Duration::from_secs(1));
        duration.map(Self).ok_or_else(|| {
            de::Error::custom(format!(
                "'{text}' is no duration: write it like '90 min', '8h' or '30 days'"
            ))
        })
    }
}

impl Config {
    /// Reads a configuration file.
    pub fn read(file: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            let file = file.display();
            Failure::because(
                format!("the configuration cannot be read from {file}"),
                error,
            )
        })?;
        Self::parse(&text)
    }

    /// Reads the text of a configuration file and checks what can be checked without looking
    /// elsewhere.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let mistake = TomlMistake::of(text, &error);
            Failure::because("the configuration is incomplete or wrong", mistake)
        })?;
        let web = matches!(config.public_url.scheme(), "http" | "https");
        let bare = config.public_url.path() == "/"
            && config.public_url.query().is_none()
            && config.public_url.fragment().is_none();
        if !web || !bare {
            return Err(Failure::new(
                "public_url has to be http or https and a host, without a path: https://ehi.example.org",
            ));
        }
        let local = match config.public_url.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        if config.public_url.scheme() == "http" && !local {
            return Err(Failure::new(
                "public_url has to be https: health records and passwords must not travel in the clear. Name a certificate in [tls], or put a TLS proxy in front, and name the https URL",
            ));
        }
        if config.public_url.scheme() == "http" && config.tls.is_some() {
            return Err(Failure::new(
                "public_url has to be https, since there is a certificate in [tls]",
            ));
        }
        config.key_place()?;
        if config.directory.is_none() && config.patient_login.is_none() {
            return Err(Failure::new(
                "no patient could log in: without a directory, clients and staff are in the database, and patients log in at an identity provider. Name it in [patient_login], or name a file of clients, staff and patients as directory",
            ));
        }
        Ok(config)
    }

    /// Where jobs, grants, sessions and the audit log are kept.
    pub fn database(&self) -> DatabasePlace {
        let url = self.database.clone();
        DatabasePlace {
            url: url.unwrap_or_else(|| DatabaseUrl::below(&self.data)),
            connections: self.database_connections,
        }
    }

    /// Where files go.
    pub fn files(&self) -> Result<FilesPlace, Failure> {
        FilesPlace::read(self.files.as_ref(), &self.data)
    }

    /// How apps fetch files that are there.
    pub fn downloads(&self, files: &FilesPlace) -> Result<Downloads, Failure> {
        files.downloads(self.presigned_downloads.map(|lifetime| lifetime.0))
    }

    /// Where the signing keys are.
    pub fn key_place(&self) -> Result<KeyPlace, Failure> {
        match (self.keys, &self.key_secret) {
            (KeysConfig::Folder, None) => Ok(KeyPlace::Folder),
            (KeysConfig::Folder, Some(_)) => Err(Failure::new(
                "key_secret is for keys in the database: write keys = \"database\" as well, or take it out",
            )),
            (KeysConfig::Database, Some(file)) => Ok(KeyPlace::Database(file.as_path().into())),
            (KeysConfig::Database, None) => Err(Failure::new(
                "keys = \"database\" needs key_secret, a file with the secret that the keys are sealed by, the same on each replica: 'ehi-server keys new-secret' prints one",
            )),
        }
    }

    /// How the listener deals with connections. Reads the certificate.
    pub fn edge(&self) -> Result<Edge, Failure> {
        edge(self.tls.as_ref(), &self.proxies, &self.limits)
    }

    /// How long exports that run may take to come to their end when the process has to.
    pub fn drain(&self) -> Duration {
        self.drain.0
    }

    /// How exports are worked on.
    pub fn working(&self) -> WorkerSettings {
        let mut settings = WorkerSettings::with_lease(self.lease.0);
        if let Some(attempts) = self.attempts {
            settings.patience.attempts = attempts.get();
        }
        settings
    }

    /// What is asked of requests.
    pub fn requests(&self) -> RequestLimits {
        RequestLimits {
            strict_transport: if self.strict_transport {
                StrictTransport::On
            } else {
                StrictTransport::Off
            },
            ..self.limits.requests()
        }
    }

    /// What exports go by: the named files, or the standard rules. A file that cannot be read or
    /// makes no sense is told, and the server does not start: it would let out what it should not.
    pub fn rules(&self) -> Result<Rules, Failure> {
        let mut rules = Rules::standard();
        if let Some(file) = &self.sensitivity_rules {
            rules.sensitivity = own_rules("sensitivity_rules", file, SensitivityRules::parse)?;
        }
        if let Some(file) = &self.document_rules {
            rules.documents = own_rules("document_rules", file, DocumentRules::parse)?;
        }
        Ok(rules)
    }

    /// Whether the test kick-offs are there.
    pub fn test_kickoffs(&self) -> TestKickoffs {
        if self.test_kickoffs {
            TestKickoffs::On
        } else {
            TestKickoffs::Off
        }
    }

    /// The named origins as headers.
    pub fn origins(&self) -> Result<Vec<HeaderValue>, Failure> {
        self.allowed_origins.iter().map(origin).collect()
    }
}

/// The rules in the file that the configuration names under `key`.
fn own_rules<T>(
    key: &str,
    file: &Path,
    parse: fn(&str) -> Result<T, RulesError>,
) -> Result<Arc<T>, Failure> {
    let told = |what: &str, error: Box<dyn Error + Send + Sync>| {
        Failure::because(format!("{key}: {} {what}", file.display()), error)
    };
    let text =
        std::fs::read_to_string(file).map_err(|error| told("cannot be read", error.into()))?;
    let rules = parse(&text).map_err(|error| told("is no file of such rules", error.into()))?;
    Ok(Arc::new(rules))
}

/// An origin as browsers send it.
pub fn origin(url: &Url) -> Result<HeaderValue, Failure> {
    let text = url.origin().ascii_serialization();
    let plain = url.path() == "/" && url.query().is_none() && text != "null";
    plain
        .then(|| HeaderValue::from_str(&text).ok())
        .flatten()
        .ok_or_else(|| {
            Failure::new(format!(
                "'{url}' is no origin: write it like https://admin.example.org"
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "public_url = 'https://ehi.example.org'\nlisten = '127.0.0.1:8080'\n\
        data = '/srv/ehi'\nrecords = [{bundles = '/srv/records'}]\ndirectory = '/etc/ehi/directory.toml'\n";

    fn told(text: &str) -> String {
        let error = Config::parse(text).unwrap_err();
        let cause = error.cause.as_ref().map(ToString::to_string);
        format!("{error} {}", cause.unwrap_or_default())
    }

    #[test]
    fn what_is_essential_is_asked_for_by_name() {
        assert!(Config::parse(WHOLE).is_ok());
        for name in ["public_url", "listen", "data", "records", "directory"] {
            let lines = WHOLE.lines().filter(|line| !line.starts_with(name));
            let without = lines.collect::<Vec<_>>().join(
                "
",
            );
            assert!(told(&without).contains(name), "{name}: {}", told(&without));
        }
    }

    #[test]
    fn keys_in_the_database_need_a_secret_and_clients_there_an_identity_provider() {
        assert!(told(&format!("keys = 'database'\n{WHOLE}")).contains("key_secret"));
        assert!(told(&format!("key_secret = 'x'\n{WHOLE}")).contains("keys = \"database\""));
        let both = format!("keys = 'database'\nkey_secret = 'x'\n{WHOLE}");
        assert!(Config::parse(&both).is_ok());
        let without = WHOLE.replace("directory = '/etc/ehi/directory.toml'", "");
        assert!(told(&without).contains("[patient_login]"));
    }

    #[test]
    fn safe_is_the_default() {
        let config = Config::parse(WHOLE).unwrap();
        assert_eq!(config.test_kickoffs(), TestKickoffs::Off);
        assert!(config.origins().unwrap().is_empty());
        assert!(told(&WHOLE.replace("https:", "http:")).contains("https"));
        assert!(told(&WHOLE.replace("example.org", "example.org/ehi")).contains("without a path"));
        assert!(
            Config::parse(&WHOLE.replace("https://ehi.example.org", "http://localhost:8080"))
                .is_ok()
        );
    }

    #[test]
    fn own_rules_replace_the_standard_ones() {
        let standard = Config::parse(WHOLE).unwrap().rules().unwrap();
        let kept = Arc::ptr_eq(&standard.sensitivity, &SensitivityRules::standard())
            && Arc::ptr_eq(&standard.documents, &DocumentRules::standard());
        assert!(kept);
        for (key, text, from, to, place) in [
            (
                "sensitivity_rules",
                SensitivityRules::STANDARD,
                "[\"hiv\"]",
                "[\"aids\"]",
                "[[label]] number 1",
            ),
            (
                "document_rules",
                DocumentRules::STANDARD,
                "\"labs\"",
                "\"aids\"",
                "[[kind]] number 1",
            ),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("own.toml");
            let with = format!("{key} = '{}'\n{WHOLE}", file.display());
            let rules = || Config::parse(&with).unwrap().rules();
            let told = || {
                let error = rules().unwrap_err();
                let cause = error.cause.as_ref().map(ToString::to_string);
                format!("{error} {}", cause.unwrap_or_default())
            };
            let missing = told();
            assert!(missing.contains("own.toml cannot be read"), "{missing}");
            std::fs::write(&file, text).unwrap();
            let own = rules().unwrap();
            let replaced = (
                !Arc::ptr_eq(&own.sensitivity, &standard.sensitivity),
                !Arc::ptr_eq(&own.documents, &standard.documents),
            );
            assert_eq!(
                replaced,
                (key == "sensitivity_rules", key == "document_rules")
            );
            std::fs::write(&file, text.replace(from, to)).unwrap();
            let wrong = told();
            for part in [key, "own.toml", "'aids'", place] {
                assert!(wrong.contains(part), "{part} is not in {wrong}");
            }
        }
    }

    #[test]
    fn an_export_is_tried_as_often_as_the_file_says_and_once_at_least() {
        let attempts = |text: &str| {
            let config = Config::parse(&format!("{text}{WHOLE}")).unwrap();
            config.working().patience.attempts
        };
        assert_eq!(attempts(""), WorkerSettings::default().patience.attempts);
        assert_eq!(attempts("attempts = 9\n"), 9);
        assert!(told(&format!("attempts = 0\n{WHOLE}")).contains("attempts"));
    }

    #[test]
    fn the_file_says_how_many_connections_to_the_database_there_are() {
        let read = |text: &str| Config::parse(&format!("{text}{WHOLE}"));
        let connections = |text| read(text).unwrap().database().connections;
        assert_eq!(connections(""), PoolSize::default());
        let twenty = PoolSize::try_from(20).unwrap();
        assert_eq!(connections("database_connections = 20\n"), twenty);
        let told = told(&format!("database_connections = 1\n{WHOLE}"));
        assert!(told.contains("from 2 to 1000"), "{told}");
    }

    #[test]
    fn durations_are_written_as_people_write_them() {
        let with =
            |text: &str| Config::parse(&format!("{WHOLE}[lifetimes]\nfinished = '{text}'\n"));
        for (text, seconds) in [
            ("90 min", 5_400),
            ("8h", 28_800),
            ("30 days", 2_592_000),
            ("1 week", 604_800),
        ] {
            let config = with(text).unwrap();
            assert_eq!(
                config.lifetimes.times().jobs.finished.as_secs(),
                seconds,
                "{text}"
            );
        }
        for text in ["soon", "0s", "-1 day", ""] {
            assert!(with(text).is_err(), "{text}");
        }
        assert!(told(&format!("{WHOLE}[lifetimes]\nfinishd = '1h'\n")).contains("finishd"));
    }

    #[test]
    fn the_network_is_dealt_with_as_the_sections_say() {
        let text = format!(
            "{WHOLE}strict_transport = false\n[proxies]\ntrusted = ['10.0.0.0/8', '127.0.0.1', 'fd00::/8']\nheader = 'Forwarded'\n\
             [limits]\nconnections = 5\nhead_time = '3s'\nlogins_per_address = 7\nlogin_wait = '9s'\nopen_exports_per_patient = 3\n"
        );
        let config = Config::parse(&text).unwrap();
        let edge = config.edge().unwrap();
        assert!(edge.proxies.trusts("10.1.2.3".parse().unwrap()));
        assert!(edge.proxies.trusts("127.0.0.1".parse().unwrap()));
        assert!(!edge.proxies.trusts("127.0.0.2".parse().unwrap()));
        assert_eq!(edge.limits.connections, 5);
        assert_eq!(edge.limits.head_time, Duration::from_secs(3));
        let requests = config.requests();
        assert_eq!(requests.rates.logins_per_address.a_minute, 7);
        assert_eq!(requests.patience.longest, Duration::from_secs(9));
        assert_eq!(requests.strict_transport, StrictTransport::Off);
        let open = config.limits.open();
        assert_eq!((open.per_patient, open.per_client), (3, 10_000));
        let standard = Config::parse(WHOLE).unwrap();
        assert!(standard.edge().unwrap().proxies.trusted.is_empty());
        assert_eq!(standard.requests().strict_transport, StrictTransport::On);
        for (wrong, about) in [
            ("[limits]\nconnections = 0\n", "nobody"),
            ("[limits]\nconections = 5\n", "conections"),
            ("[limits]\nopen_exports_per_client = 0\n", "nobody"),
            ("[proxies]\ntrusted = ['somewhere']\n", "somewhere"),
            (
                "[proxies]\ntrusted = []\nheader = 'X-Real-IP'\n",
                "X-Real-IP",
            ),
            ("[tls]\ncertificate = 'a.pem'\n", "key"),
        ] {
            assert!(told(&format!("{WHOLE}{wrong}")).contains(about), "{wrong}");
        }
        let local = WHOLE.replace("https://ehi.example.org", "http://localhost");
        let tls = "[tls]\ncertificate = 'a.pem'\nkey = 'b.pem'\n";
        assert!(told(&format!("{local}{tls}")).contains("https"));
        let missing = Config::parse(&format!("{WHOLE}{tls}")).unwrap().edge();
        assert!(
            missing
                .unwrap_err()
                .cause
                .unwrap()
                .to_string()
                .contains("a.pem")
        );
    }

    #[test]
    fn an_origin_has_no_path() {
        let read = |text: &str| origin(&Url::parse(text).unwrap());
        assert_eq!(read("https://a.example/").unwrap(), "https://a.example");
        assert_eq!(
            read("http://127.0.0.1:3000").unwrap(),
            "http://127.0.0.1:3000"
        );
        assert!(read("https://a.example/x").is_err() && read("data:x").is_err());
    }
}
