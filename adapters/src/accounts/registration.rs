//! A client's registration, as it is written down.

use std::fmt;
use std::time::Duration;

use ehi_core::auth::{
    Client, ClientAuthentication, ClientId, ClientKeySet, ClientKeys, Introspects, JwkError,
    JwksUri, LoopbackRedirects, Quirk, RegisteredUrl, RegistrationId, Scope, Scopes,
    TokenLifetimes,
};
use jiff::{Span, SpanRelativeTo};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::is_argon2id;

/// A client as it is written down, in the directory file or in the database. The names of its
/// members are those of RFC 7591 where that has them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Its id.
    pub id: ClientId,
    /// Tells this registration from others of the same id, before it and after it; each that the
    /// command line makes has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<RegistrationId>,
    /// What the patient knows it by.
    pub name: String,
    /// How it proves that it is itself.
    #[serde(default, skip_serializing_if = "is_default")]
    pub token_endpoint_auth_method: AuthMethod,
    /// The argon2id hash of its secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_hash: Option<String>,
    /// Its public keys, as a JWK Set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Value>,
    /// Where it publishes its public keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<Url>,
    /// Where authorization codes may go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redirect_uris: Vec<RegisteredUrl>,
    /// Where the browser may return after the form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub return_urls: Vec<RegisteredUrl>,
    /// Whether other addresses on the user's own machine are as good as registered.
    #[serde(default, skip_serializing_if = "is_default")]
    pub loopback: LoopbackRedirects,
    /// What it may ask for.
    #[serde(default = "patient_scopes")]
    pub scopes: Scopes,
    /// How long its access tokens live, where that is shorter than others'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token_lifetime: Option<Lifetime>,
    /// How long its refresh tokens live, where that is shorter than others'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token_lifetime: Option<Lifetime>,
    /// Which tokens it may ask about.
    #[serde(default, skip_serializing_if = "is_default")]
    pub introspects: Introspects,
    /// Where it needs something other than the standard.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quirks: Vec<Quirk>,
}

/// How a client authenticates. Source: RFC 7591 section 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// Not at all.
    #[default]
    None,
    /// By a secret.
    ClientSecretBasic,
    /// By a key.
    PrivateKeyJwt,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What a patient's app usually asks for.
fn patient_scopes() -> Scopes {
    [
        Scope::PatientEhiExport,
        Scope::LaunchPatient,
        Scope::OfflineAccess,
        Scope::OnlineAccess,
    ]
    .into_iter()
    .collect()
}

/// What is wrong with a registration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mistake {
    /// A secret without the method for it.
    #[error(
        "secret_hash goes with token_endpoint_auth_method = \"client_secret_basic\" and nothing else"
    )]
    NeedlessSecret,
    /// The method without a secret.
    #[error("secret_hash is missing: 'ehi-server client add --secret' makes a secret and its hash")]
    NoSecret,
    /// A hash that is none.
    #[error(
        "secret_hash is no argon2id hash: 'ehi-server client rotate-secret' makes a secret and its hash"
    )]
    SecretHash,
    /// Keys without the method for them.
    #[error(
        "jwks and jwks_uri go with token_endpoint_auth_method = \"private_key_jwt\" and nothing else"
    )]
    NeedlessKeys,
    /// The method without keys, or with keys in two places.
    #[error("private_key_jwt needs either jwks or jwks_uri, and not both")]
    Keys,
    /// Keys that cannot be used.
    #[error(transparent)]
    Jwks(#[from] JwkError),
    /// An address that keys cannot safely come from.
    #[error("{0}")]
    JwksUri(&'static str),
    /// Too much for a client that anybody can pretend to be, or that has but a secret.
    #[error(
        "the scope system/$ehi-export opens every record: it needs token_endpoint_auth_method = \"private_key_jwt\""
    )]
    SystemScope,
    /// Nobody would know who asks.
    #[error("introspects = \"all\" needs a client that authenticates, by a secret or a key")]
    Introspects,
}

impl Registration {
    /// The client. Otherwise what is wrong.
    pub fn client(self) -> Result<Client, Mistake> {
        let authentication = self.authentication()?;
        let with_key = matches!(authentication, ClientAuthentication::Key(_));
        if self.scopes.contains(Scope::SystemEhiExport) && !with_key {
            return Err(Mistake::SystemScope);
        }
        if self.introspects == Introspects::All && authentication == ClientAuthentication::Public {
            return Err(Mistake::Introspects);
        }
        Ok(Client {
            id: self.id,
            registration: self.registration,
            name: self.name,
            authentication,
            redirect_uris: self.redirect_uris,
            return_urls: self.return_urls,
            loopback: self.loopback,
            scopes: self.scopes,
            lifetimes: TokenLifetimes {
                access: self.access_token_lifetime.map(|lifetime| lifetime.duration),
                refresh: self
                    .refresh_token_lifetime
                    .map(|lifetime| lifetime.duration),
            },
            introspects: self.introspects,
            quirks: self.quirks,
        })
    }

    fn authentication(&self) -> Result<ClientAuthentication, Mistake> {
        let method = self.token_endpoint_auth_method;
        if self.secret_hash.is_some() && method != AuthMethod::ClientSecretBasic {
            return Err(Mistake::NeedlessSecret);
        }
        let has_keys = self.jwks.is_some() || self.jwks_uri.is_some();
        if has_keys && method != AuthMethod::PrivateKeyJwt {
            return Err(Mistake::NeedlessKeys);
        }
        Ok(match method {
            AuthMethod::None => ClientAuthentication::Public,
            AuthMethod::ClientSecretBasic => match &self.secret_hash {
                None => return Err(Mistake::NoSecret),
                Some(hash) if !is_argon2id(hash) => return Err(Mistake::SecretHash),
                Some(_) => ClientAuthentication::Secret,
            },
            AuthMethod::PrivateKeyJwt => {
                ClientAuthentication::Key(match (&self.jwks, &self.jwks_uri) {
                    (Some(jwks), None) => {
                        ClientKeys::Registered(ClientKeySet::registered(jwks.clone())?)
                    }
                    (None, Some(uri)) => ClientKeys::Published(
                        JwksUri::try_from(uri.clone()).map_err(Mistake::JwksUri)?,
                    ),
                    _ => return Err(Mistake::Keys),
                })
            }
        })
    }
}

/// A lifetime as people write it: `5 min`, `30 days`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lifetime {
    text: String,
    duration: Duration,
}

impl std::str::FromStr for Lifetime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let duration = (text.parse::<Span>().ok())
            .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok())
            .and_then(|duration| Duration::try_from(duration).ok())
            .filter(|duration| *duration >= Duration::from_secs(1));
        let duration = duration.ok_or_else(|| {
            format!("'{text}' is no duration: write it like '90 min', '8h' or '30 days'")
        })?;
        Ok(Self {
            text: text.to_owned(),
            duration,
        })
    }
}

impl TryFrom<String> for Lifetime {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Lifetime> for String {
    fn from(lifetime: Lifetime) -> Self {
        lifetime.text
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
