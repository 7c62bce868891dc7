//! Registered apps.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::{Host, Url};
use uuid::Uuid;

use super::{ClientKeySet, Scope, Scopes};
use crate::ports::random_uuid;

/// The id of a registered client: 1 to 128 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientId(String);

impl ClientId {
    /// Reads an id. `None` for what can be none.
    pub fn parse(text: &str) -> Option<Self> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        ((1..=128).contains(&text.len()) && visible).then(|| Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ClientId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("a client id has 1 to 128 visible ASCII characters")
    }
}

impl From<ClientId> for String {
    fn from(id: ClientId) -> Self {
        id.0
    }
}

/// One registration of a client. A client that was removed and is registered again under the same
/// id has another one, and nothing that was authorized before is worth anything to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RegistrationId(pub Uuid);

impl RegistrationId {
    /// A new one from randomness.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(random_uuid(bytes))
    }
}

/// A registered client. Whatever it authenticates by, a code needs PKCE as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its id.
    pub id: ClientId,
    /// Its registration; `None` where that was written by hand and names none.
    pub registration: Option<RegistrationId>,
    /// What the patient knows it by.
    pub name: String,
    /// How it proves that it is itself.
    pub authentication: ClientAuthentication,
    /// Where authorization codes may go. Compared to the letter (RFC 9700 section 2.1).
    pub redirect_uris: Vec<RegisteredUrl>,
    /// Where the browser may return after the form.
    pub return_urls: Vec<RegisteredUrl>,
    /// Whether other addresses on the user's own machine are as good as registered.
    pub loopback: LoopbackRedirects,
    /// What it may ask for.
    pub scopes: Scopes,
    /// The lifetimes of its tokens, where they are to be shorter than others'.
    pub lifetimes: TokenLifetimes,
    /// Which tokens it may ask about.
    pub introspects: Introspects,
    /// Where it needs something other than the standard.
    pub quirks: Vec<Quirk>,
}

/// How a client proves that it is itself. Source: RFC 7591 section 2; SMART App Launch 2, client
/// authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// Not at all: an app that can keep no secret.
    Public,
    /// By a secret that the [registry](crate::ports::ClientRegistry) can verify
    /// (`client_secret_basic`).
    Secret,
    /// By a signed assertion (`private_key_jwt`).
    Key(ClientKeys),
}

impl ClientAuthentication {
    /// The methods that are supported, as they stand on the wire.
    pub const METHODS: &'static [&'static str] =
        &["none", "client_secret_basic", "private_key_jwt"];

    /// Those of them by which a client proves itself.
    pub const PROOFS: &'static [&'static str] = &["client_secret_basic", "private_key_jwt"];

    /// As it stands on the wire.
    pub const fn method(&self) -> &'static str {
        match self {
            Self::Public => "none",
            Self::Secret => "client_secret_basic",
            Self::Key(_) => "private_key_jwt",
        }
    }
}

/// Where a client's public keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientKeys {
    /// In its registration.
    Registered(ClientKeySet),
    /// Published by the client (`jwks_uri`), so that it can change them by itself.
    Published(JwksUri),
}

/// Where a client publishes its keys: HTTPS, or HTTP on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Url", into = "Url")]
pub struct JwksUri(Url);

impl JwksUri {
    /// The address.
    pub fn url(&self) -> &Url {
        &self.0
    }
}

impl TryFrom<Url> for JwksUri {
    type Error = &'static str;

    fn try_from(url: Url) -> Result<Self, Self::Error> {
        let plain = url.username().is_empty() && url.password().is_none() && url.has_host();
        let safe = url.scheme() == "https" || (url.scheme() == "http" && has_loopback_host(&url));
        (plain && safe)
            .then_some(Self(url))
            .ok_or("jwks_uri has to be an https URL: others could put their keys in between")
    }
}

impl From<JwksUri> for Url {
    fn from(uri: JwksUri) -> Self {
        uri.0
    }
}

/// Lifetimes of one client's tokens. What is longer than the server's own is cut down to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenLifetimes {
    /// Of access tokens.
    pub access: Option<Duration>,
    /// Of a patient's authorization.
    pub refresh: Option<Duration>,
}

/// Which tokens a client may ask about (RFC 7662). A public client may ask about none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Introspects {
    /// Those that were given to itself.
    #[default]
    Own,
    /// All: a server of the hospital that takes this server's tokens.
    All,
}

/// An address an app registered, kept to the letter: an absolute URL without a fragment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RegisteredUrl(String);

impl RegisteredUrl {
    /// Reads an address. `None` for what can be none (RFC 6749 section 3.1.2).
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let safe = !matches!(url.scheme(), "javascript" | "data" | "file" | "blob");
        (safe && url.fragment().is_none()).then(|| Self(text.to_owned()))
    }

    /// The address as it was registered.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RegisteredUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("an address of an app is an absolute URL without a fragment")
    }
}

impl From<RegisteredUrl> for String {
    fn from(url: RegisteredUrl) -> Self {
        url.0
    }
}

/// Whether a client may be sent to addresses on the user's own machine that it did not register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoopbackRedirects {
    /// Only to what it registered.
    #[default]
    Registered,
    /// To what it registered, and where that is `http://127.0.0.1` or `http://[::1]` at any port:
    /// a native app takes one that is free (RFC 8252 section 7.3).
    AnyPort,
    /// To any port, path and query on `localhost`, `127.0.0.1` and `[::1]`: demonstrations only.
    Any,
}

/// Where a client needs something other than the standard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quirk {
    /// `Link` headers come without the angle brackets of RFC 8288.
    BareLinkHeader,
    /// All attachments come in one DocumentReference.
    GroupedAttachments,
}

impl Client {
    /// The address to send an authorization code to, where it is one of this client's.
    pub fn redirect_uri(&self, asked: &str) -> Option<Url> {
        self.allowed(&self.redirect_uris, asked)
    }

    /// The address to return to after the form, where it is one of this client's. An address
    /// registered for codes will do.
    pub fn return_url(&self, asked: &str) -> Option<Url> {
        self.allowed(&self.return_urls, asked)
            .or_else(|| self.allowed(&self.redirect_uris, asked))
    }

    /// The address to return to after the form when the app asks for none of its own: the first
    /// it registered for that. Where an app waits at whichever port of the user's own machine is
    /// free, only the app knows which.
    pub fn usual_return_url(&self) -> Option<Url> {
        let known = |url: &&RegisteredUrl| {
            self.loopback != LoopbackRedirects::AnyPort || without_loopback_port(&url.0).is_none()
        };
        let first = self.return_urls.iter().find(known)?;
        Url::parse(first.as_str()).ok()
    }

    /// Whether it has this quirk.
    pub fn has(&self, quirk: Quirk) -> bool {
        self.quirks.contains(&quirk)
    }

    /// Whether it may do without the patient: ask for tokens by itself.
    pub fn is_backend_service(&self) -> bool {
        matches!(self.authentication, ClientAuthentication::Key(_))
            && self.scopes.contains(Scope::SystemEhiExport)
    }

    fn allowed(&self, registered: &[RegisteredUrl], asked: &str) -> Option<Url> {
        let url = Url::parse(asked).ok()?;
        // Compared as text: what a parser would forgive is refused.
        let is_registered = || registered.iter().any(|one| one.as_str() == asked);
        let allowed = match self.loopback {
            LoopbackRedirects::Registered => is_registered(),
            LoopbackRedirects::AnyPort => {
                is_registered() || registered.iter().any(|one| one.is_at_another_port(asked))
            }
            LoopbackRedirects::Any => is_registered() || is_plain_loopback(&url),
        };
        allowed.then_some(url)
    }
}

impl RegisteredUrl {
    /// Whether `asked` is this address of the user's own machine at whichever port.
    fn is_at_another_port(&self, asked: &str) -> bool {
        without_loopback_port(asked)
            .is_some_and(|asked| without_loopback_port(&self.0) == Some(asked))
    }
}

/// An address on the user's own machine as host and the rest, without its port. Not by name: what
/// `localhost` is, is not always this machine (RFC 8252 section 8.3).
fn without_loopback_port(text: &str) -> Option<(&'static str, &str)> {
    ["http://127.0.0.1", "http://[::1]"]
        .into_iter()
        .find_map(|host| {
            let after = text.strip_prefix(host)?;
            let rest = match after.strip_prefix(':') {
                Some(port) => port.trim_start_matches(|digit: char| digit.is_ascii_digit()),
                None => after,
            };
            let ends = rest.is_empty() || rest.starts_with(['/', '?']);
            ends.then_some((host, rest))
        })
}

fn has_loopback_host(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// A plain web address on the user's own machine, nothing hidden in it.
fn is_plain_loopback(url: &Url) -> bool {
    has_loopback_host(url)
        && matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit;

    #[test]
    fn only_registered_addresses_get_codes() {
        let mut client = testkit::client();
        client.loopback = LoopbackRedirects::Registered;
        let registered = "https://app.example/callback?x=1";
        client.redirect_uris = vec![RegisteredUrl::parse(registered).unwrap()];
        assert_eq!(
            client.redirect_uri(registered).unwrap().as_str(),
            registered
        );
        for other in [
            "https://app.example/callback",
            "https://app.example/callback?x=1&y=2",
            "https://app.example/callback?x=1#f",
            "https://app.example/callback/../callback?x=1",
            "https://APP.example/callback?x=1",
            "http://app.example/callback?x=1",
            "https://u@app.example/callback?x=1",
            "https://app.example:443/callback?x=1",
            "https://app.example/%63allback?x=1",
            "https://app.example.evil/callback?x=1",
            "http://127.0.0.1/",
            "javascript:alert(1)",
            "",
        ] {
            assert_eq!(client.redirect_uri(other), None, "{other}");
        }
    }

    #[test]
    fn an_address_is_compared_as_it_was_registered() {
        let mut client = testkit::client();
        client.loopback = LoopbackRedirects::Registered;
        for text in [
            "https://App.example.org",
            "https://app.example.org:443/cb",
            "com.example.app:/cb",
        ] {
            client.redirect_uris = vec![RegisteredUrl::parse(text).unwrap()];
            assert!(client.redirect_uri(text).is_some(), "{text}");
        }
        for text in [
            "",
            "/cb",
            "https://app.example/#x",
            "javascript:alert(1)",
            "data:,x",
        ] {
            assert_eq!(RegisteredUrl::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_usual_address_to_return_to_is_the_first_that_is_known() {
        let mut client = testkit::client();
        client.redirect_uris = vec![RegisteredUrl::parse("https://app.example/cb").unwrap()];
        client.return_urls = Vec::new();
        assert_eq!(client.usual_return_url(), None);
        client.return_urls = ["http://127.0.0.1/done", "https://app.example/done"]
            .map(|url| RegisteredUrl::parse(url).unwrap())
            .into();
        for (loopback, usual) in [
            (LoopbackRedirects::Registered, "http://127.0.0.1/done"),
            (LoopbackRedirects::AnyPort, "https://app.example/done"),
            (LoopbackRedirects::Any, "http://127.0.0.1/done"),
        ] {
            client.loopback = loopback;
            assert_eq!(client.usual_return_url().unwrap().as_str(), usual);
        }
    }

    #[test]
    fn the_demo_client_may_use_its_own_machine_alone() {
        let mut client = testkit::client();
        client.loopback = LoopbackRedirects::Any;
        for good in [
            "http://localhost:3000/x?y=z",
            "http://127.0.0.1:5005/",
            "http://[::1]:9/",
            "https://localhost/",
        ] {
            assert!(
                client.redirect_uri(good).is_some() && client.return_url(good).is_some(),
                "{good}"
            );
        }
        for bad in [
            "http://localhost.evil/",
            "http://127.0.0.1.evil/",
            "http://evil/?localhost",
            "http://u@localhost/",
            "http://u:p@127.0.0.1/",
            "http://localhost/#x",
            "javascript://localhost/%0aalert(1)",
            "ftp://localhost/",
            "//localhost/",
            "/x",
            "http://10.0.0.1/",
        ] {
            assert!(
                client.redirect_uri(bad).is_none() && client.return_url(bad).is_none(),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_native_app_may_wait_at_any_port_of_its_own_machine_and_nowhere_else() {
        let mut client = testkit::client();
        client.loopback = LoopbackRedirects::AnyPort;
        let registered = [
            "http://127.0.0.1/cb?x=1",
            "http://[::1]:8000/cb",
            "https://app.example/cb",
        ];
        client.redirect_uris = (registered.iter())
            .map(|text| RegisteredUrl::parse(text).unwrap())
            .collect();
        for good in [
            "http://127.0.0.1/cb?x=1",
            "http://127.0.0.1:1/cb?x=1",
            "http://127.0.0.1:65535/cb?x=1",
            "http://[::1]:9/cb",
            "http://[::1]/cb",
            "https://app.example/cb",
        ] {
            assert!(client.redirect_uri(good).is_some(), "{good}");
        }
        for bad in [
            "http://127.0.0.1:9/cb",
            "http://127.0.0.1:9/cb?x=2",
            "http://127.0.0.1:9/cb?x=1&y",
            "http://127.0.0.1:9/cb?x=1#f",
            "http://127.0.0.1:9/CB?x=1",
            "http://127.0.0.1:65536/cb?x=1",
            "http://127.0.0.1:9@evil/cb?x=1",
            "http://127.0.0.1.evil/cb?x=1",
            "http://127.0.0.2:9/cb?x=1",
            "http://localhost:9/cb?x=1",
            "https://127.0.0.1:9/cb?x=1",
            "http://[::1]:9/cb?x=1",
            "http://u@127.0.0.1:9/cb?x=1",
            "https://app.example:9/cb",
        ] {
            assert_eq!(client.redirect_uri(bad), None, "{bad}");
        }
    }

    #[test]
    fn keys_are_published_over_https_or_on_this_machine() {
        let read = |text: &str| JwksUri::try_from(Url::parse(text).unwrap());
        assert!(read("https://app.example/jwks.json").is_ok());
        assert!(read("http://127.0.0.1:9/jwks.json").is_ok());
        for bad in [
            "http://app.example/jwks.json",
            "ftp://127.0.0.1/jwks.json",
            "https://u:p@app.example/jwks.json",
            "data:application/json,{}",
            "file:///etc/passwd",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
