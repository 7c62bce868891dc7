//! What a deployment says of its identity provider.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use ehi_core::auth::StaffRole;
use ehi_core::ports::Cause;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;
use url::{Host, Url};

/// Why a login cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OidcConfigError {
    /// The file of the client secret cannot be read.
    #[error("client_secret_file: {} cannot be read", .0.display())]
    SecretFile(PathBuf, #[source] std::io::Error),
    /// The file of the client secret holds none.
    #[error("client_secret_file: {} is empty", .0.display())]
    NoSecret(PathBuf),
    /// Nobody could get in.
    #[error("roles is empty: say which values of role_claim make a reviewer or an admin")]
    NoRoles,
    /// HTTP cannot be spoken.
    #[error("the HTTP client cannot be set up. Check that the system's certificates are installed")]
    Http(#[source] Cause),
}

/// How patients log in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatientLoginConfig {
    /// The identity provider.
    pub issuer: Issuer,
    /// What it calls this server.
    pub client_id: String,
    /// The file of the secret it gave this server; none for a public client.
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    /// What to ask for, `openid` apart.
    #[serde(default = "profile")]
    pub scopes: Vec<String>,
    /// Which claim of the ID token is the patient's id.
    pub patient_claim: ClaimName,
}

/// How staff log in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaffLoginConfig {
    /// The identity provider.
    pub issuer: Issuer,
    /// What it calls this server.
    pub client_id: String,
    /// The file of the secret it gave this server; none for a public client.
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    /// What to ask for, `openid` apart.
    #[serde(default = "profile")]
    pub scopes: Vec<String>,
    /// Which claim of the ID token is a member of staff's user name.
    #[serde(default = "preferred_username")]
    pub name_claim: ClaimName,
    /// Which claim of the ID token, a text or a list of texts, gives them a role.
    pub role_claim: ClaimName,
    /// Which of its values gives which role. Nobody else gets in.
    pub roles: BTreeMap<String, StaffRole>,
    /// Where their browser goes afterwards; a plain page unless it is given.
    #[serde(default)]
    pub return_url: Option<Url>,
}

fn profile() -> Vec<String> {
    vec!["profile".to_owned()]
}

fn preferred_username() -> ClaimName {
    ClaimName("preferred_username".to_owned())
}

/// This server, as the provider knows it.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) issuer: Issuer,
    pub(super) id: String,
    pub(super) secret: Option<SecretString>,
    /// Separated by spaces.
    pub(super) scope: String,
    pub(super) callback: Url,
}

impl PatientLoginConfig {
    pub(super) fn client(&self, callback: Url) -> Result<Client, OidcConfigError> {
        Ok(Client {
            issuer: self.issuer.clone(),
            id: self.client_id.clone(),
            secret: secret(self.client_secret_file.as_deref())?,
            scope: scope(&self.scopes),
            callback,
        })
    }
}

impl StaffLoginConfig {
    pub(super) fn client(&self, callback: Url) -> Result<Client, OidcConfigError> {
        if self.roles.is_empty() {
            return Err(OidcConfigError::NoRoles);
        }
        Ok(Client {
            issuer: self.issuer.clone(),
            id: self.client_id.clone(),
            secret: secret(self.client_secret_file.as_deref())?,
            scope: scope(&self.scopes),
            callback,
        })
    }
}

fn secret(file: Option<&Path>) -> Result<Option<SecretString>, OidcConfigError> {
    let Some(file) = file else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(file)
        .map_err(|error| OidcConfigError::SecretFile(file.to_owned(), error))?;
    // Editors end a file with a line break.
    match text.trim() {
        "" => Err(OidcConfigError::NoSecret(file.to_owned())),
        secret => Ok(Some(secret.to_owned().into())),
    }
}

fn scope(scopes: &[String]) -> String {
    let others = scopes.iter().map(String::as_str);
    let others = others.filter(|&scope| scope != "openid");
    std::iter::once("openid")
        .chain(others)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The provider's name: its URL, to the letter (OpenID Connect Discovery section 3).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Issuer(String);

impl Issuer {
    /// Reads an issuer: a plain https URL; http on loopback alone.
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let plain = url.query().is_none() && url.fragment().is_none();
        (plain && is_safe(&url)).then(|| Self(text.to_owned()))
    }

    /// The issuer as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where its metadata are (OpenID Connect Discovery section 4).
    pub(super) fn metadata(&self) -> String {
        let base = self.0.trim_end_matches('/');
        format!("{base}/.well-known/openid-configuration")
    }
}

impl TryFrom<String> for Issuer {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or(
            "an issuer is an https URL without query, as the identity provider writes it: https://login.example.org",
        )
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether what is sent there cannot be read on the way.
pub(super) fn is_safe(url: &Url) -> bool {
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let bare = url.username().is_empty() && url.password().is_none();
    bare && (url.scheme() == "https" || url.scheme() == "http" && loopback)
}

/// A claim: its name, or a JSON pointer where it lies deeper (`/realm_access/roles`, RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct ClaimName(String);

impl ClaimName {
    /// The claim among those of a token.
    pub(super) fn find<'a>(&self, claims: &'a Value) -> Option<&'a Value> {
        if self.0.starts_with('/') {
            claims.pointer(&self.0)
        } else {
            claims.get(&self.0)
        }
    }
}

impl From<&str> for ClaimName {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl fmt::Display for ClaimName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
