//! Registered apps.

use std::fmt;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::Scopes;

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

/// A registered public client: an app that can keep no secret and proves itself by PKCE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its id.
    pub id: ClientId,
    /// What the patient knows it by.
    pub name: String,
    /// Where authorization codes may go. Compared to the letter (RFC 9700 section 2.1).
    pub redirect_uris: Vec<RegisteredUrl>,
    /// Where the browser may return after the form.
    pub return_urls: Vec<RegisteredUrl>,
    /// Whether other addresses on the user's own machine are as good as registered.
    pub loopback: LoopbackRedirects,
    /// What it may ask for.
    pub scopes: Scopes,
    /// Where it needs something other than the standard.
    pub quirks: Vec<Quirk>,
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

    /// Whether it has this quirk.
    pub fn has(&self, quirk: Quirk) -> bool {
        self.quirks.contains(&quirk)
    }

    fn allowed(&self, registered: &[RegisteredUrl], asked: &str) -> Option<Url> {
        let url = Url::parse(asked).ok()?;
        let on_loopback = self.loopback == LoopbackRedirects::Any && is_plain_loopback(&url);
        // Compared as text: what a parser would forgive is refused.
        let is_registered = registered.iter().any(|one| one.as_str() == asked);
        (is_registered || on_loopback).then_some(url)
    }
}

/// A plain web address on the user's own machine, nothing hidden in it.
fn is_plain_loopback(url: &Url) -> bool {
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    loopback
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
}
