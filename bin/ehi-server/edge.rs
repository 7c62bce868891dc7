//! The sections of the configuration that tell how the server deals with the network: `[tls]`,
//! `[proxies]` and `[limits]`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ehi_adapters::http::{
    Edge, ForwardedBy, Patience, Proxies, Quota, RateLimits, ServeLimits, StrictTransport, Tls,
    TlsFiles,
};
use ehi_core::auth;
use ehi_core::export::OpenLimits;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};

use crate::Failure;
use crate::config::HumanDuration;

/// `[tls]`: the certificate, where TLS ends at this server.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    certificate: PathBuf,
    key: PathBuf,
}

/// `[proxies]`: who may say from where a request came.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxiesConfig {
    trusted: Vec<Network>,
    #[serde(default)]
    header: Header,
}

/// An address, or a network: `127.0.0.1`, `10.0.0.0/8`.
#[derive(Debug)]
struct Network(IpNet);

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let address = || text.parse::<IpAddr>().map(IpNet::from);
        let network = text.parse().or_else(|_| address());
        network.map(Self).map_err(|_| {
            de::Error::custom(format!(
                "'{text}' is no network: write it like 10.0.0.0/8 or 127.0.0.1"
            ))
        })
    }
}

/// The header that the proxies set.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
enum Header {
    #[default]
    #[serde(rename = "X-Forwarded-For")]
    XForwardedFor,
    Forwarded,
}

/// `[limits]`: what one client may take of the server. Rates are numbers a minute.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    connections: AtLeastOne<usize>,
    connections_per_address: AtLeastOne<usize>,
    head_time: HumanDuration,
    body_time: HumanDuration,
    answer_time: HumanDuration,
    logins_per_address: AtLeastOne<u32>,
    login_wait: HumanDuration,
    tokens_per_address: AtLeastOne<u32>,
    tokens_per_client: AtLeastOne<u32>,
    kick_offs_per_address: AtLeastOne<u32>,
    kick_offs_per_patient: AtLeastOne<u32>,
    open_exports_per_patient: AtLeastOne<u64>,
    open_exports_per_client: AtLeastOne<u64>,
}

/// A number that lets somebody in.
#[derive(Debug, Clone, Copy)]
struct AtLeastOne<T>(T);

impl<'de, T: Deserialize<'de> + Default + PartialEq> Deserialize<'de> for AtLeastOne<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = T::deserialize(deserializer)?;
        if number == T::default() {
            return Err(de::Error::custom("a limit of 0 would let nobody in"));
        }
        Ok(Self(number))
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let serve = ServeLimits::default();
        let rates = RateLimits::default();
        let open = OpenLimits::default();
        let a_minute = |quota: Quota| AtLeastOne(quota.a_minute);
        Self {
            connections: AtLeastOne(serve.connections),
            connections_per_address: AtLeastOne(serve.connections_per_address),
            head_time: HumanDuration(serve.head_time),
            body_time: HumanDuration(serve.body.longest),
            answer_time: HumanDuration(serve.answer.longest),
            logins_per_address: a_minute(rates.logins_per_address),
            login_wait: HumanDuration(auth::Patience::default().longest),
            tokens_per_address: a_minute(rates.tokens_per_address),
            tokens_per_client: a_minute(rates.tokens_per_client),
            kick_offs_per_address: a_minute(rates.kick_offs_per_address),
            kick_offs_per_patient: a_minute(rates.kick_offs_per_patient),
            open_exports_per_patient: AtLeastOne(open.per_patient),
            open_exports_per_client: AtLeastOne(open.per_client),
        }
    }
}

impl TlsConfig {
    /// Reads the certificate.
    pub fn open(&self) -> Result<Arc<Tls>, Failure> {
        let files = TlsFiles {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
        };
        let tls = Tls::open(files).map_err(|error| Failure::because("[tls] is wrong", error))?;
        Ok(Arc::new(tls))
    }
}

impl ProxiesConfig {
    /// As the listener wants them.
    pub fn proxies(&self) -> Proxies {
        Proxies {
            trusted: self
                .trusted
                .iter()
                .map(|Network(network)| *network)
                .collect(),
            header: match self.header {
                Header::XForwardedFor => ForwardedBy::XForwardedFor,
                Header::Forwarded => ForwardedBy::Forwarded,
            },
        }
    }
}

impl LimitsConfig {
    /// As the listener wants them.
    pub fn serve(&self) -> ServeLimits {
        let standard = ServeLimits::default();
        let patience = |standard: Patience, longest: HumanDuration| Patience {
            longest: longest.0,
            ..standard
        };
        ServeLimits {
            connections: self.connections.0,
            connections_per_address: self.connections_per_address.0,
            head_time: self.head_time.0,
            body: patience(standard.body, self.body_time),
            answer: patience(standard.answer, self.answer_time),
            ..standard
        }
    }

    /// As kick-offs want them.
    pub fn open(&self) -> OpenLimits {
        OpenLimits {
            per_patient: self.open_exports_per_patient.0,
            per_client: self.open_exports_per_client.0,
        }
    }

    /// As the routes and the logins want them.
    pub fn requests(&self) -> RequestLimits {
        let a_minute = |AtLeastOne(times)| Quota::a_minute(times);
        RequestLimits {
            rates: RateLimits {
                logins_per_address: a_minute(self.logins_per_address),
                tokens_per_address: a_minute(self.tokens_per_address),
                tokens_per_client: a_minute(self.tokens_per_client),
                kick_offs_per_address: a_minute(self.kick_offs_per_address),
                kick_offs_per_patient: a_minute(self.kick_offs_per_patient),
            },
            patience: auth::Patience {
                longest: self.login_wait.0,
                ..auth::Patience::default()
            },
            strict_transport: StrictTransport::On,
        }
    }
}

/// What the edge asks of requests.
#[derive(Debug, Clone, Copy)]
pub struct RequestLimits {
    /// How often a client may come.
    pub rates: RateLimits,
    /// Patience with wrong passwords.
    pub patience: auth::Patience,
    /// Whether browsers are told to come back over TLS alone.
    pub strict_transport: StrictTransport,
}

impl RequestLimits {
    /// For demonstrations and tests of apps: nothing that a test does is too often.
    pub fn generous() -> Self {
        Self {
            rates: RateLimits::generous(),
            patience: auth::Patience {
                free: 1_000,
                free_everywhere: 1_000,
                longest: Duration::from_secs(5),
                ..auth::Patience::default()
            },
            strict_transport: StrictTransport::On,
        }
    }
}

/// The edge that the sections describe.
pub fn edge(
    tls: Option<&TlsConfig>,
    proxies: &ProxiesConfig,
    limits: &LimitsConfig,
) -> Result<Edge, Failure> {
    Ok(Edge {
        limits: limits.serve(),
        proxies: proxies.proxies(),
        tls: tls.map(TlsConfig::open).transpose()?,
    })
}
