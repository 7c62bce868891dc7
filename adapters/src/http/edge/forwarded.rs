//! Whom a trusted proxy speaks for.
//!
//! Anybody can send these headers, so they count only from proxies that the configuration names,
//! and only as far back as such proxies vouch for them.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use axum::http::header::{FORWARDED, HeaderName};
use ipnet::IpNet;

/// The proxies in front, and how they say whom they speak for.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// The networks they are in.
    pub trusted: Vec<IpNet>,
    /// The header they set. A proxy passes the other one on as it came, so it says nothing.
    pub header: ForwardedBy,
}

/// The header in which a proxy names the address that it got a request from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardedBy {
    /// `X-Forwarded-For: 192.0.2.1, 10.0.0.1`
    #[default]
    XForwardedFor,
    /// `Forwarded: for=192.0.2.1;proto=https` (RFC 7239)
    Forwarded,
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

impl Proxies {
    /// Whether this is the address of a proxy.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted
            .iter()
            .any(|network| network.contains(&address))
    }

    /// From where a request came that this peer sent: the last address that no proxy has, as told
    /// by proxies alone.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer;
        let mut named = self.named(headers).into_iter().rev();
        while self.trusts(client) {
            match named.next() {
                Some(Some(address)) => client = address,
                // The proxy itself, or one that keeps to itself whom it speaks for.
                Some(None) | None => break,
            }
        }
        client
    }

    /// The addresses in the header, from the client to the last proxy. `None` for what is none.
    fn named(&self, headers: &HeaderMap) -> Vec<Option<IpAddr>> {
        let name = match self.header {
            ForwardedBy::XForwardedFor => X_FORWARDED_FOR,
            ForwardedBy::Forwarded => FORWARDED,
        };
        let lines = headers.get_all(name).into_iter();
        let elements = lines.flat_map(|line| match line.to_str() {
            Ok(line) => split(line, ',').collect(),
            Err(_) => vec![""],
        });
        let address = |element: &str| match self.header {
            ForwardedBy::XForwardedFor => address(element.trim()),
            ForwardedBy::Forwarded => split(element, ';')
                .filter_map(|pair| pair.split_once('='))
                .find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))
                .and_then(|(_, value)| address(value.trim().trim_matches('"'))),
        };
        elements.map(address).collect()
    }
}

/// Splits where no quotes are around.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |character| {
        quoted ^= character == '"';
        character == separator && !quoted
    })
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let address = bare.parse::<IpAddr>();
    let address = address.or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(header: ForwardedBy, peer: &str, lines: &[(&'static str, &str)]) -> String {
        let proxies = Proxies {
            trusted: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            header,
        };
        let lines = lines.iter();
        let headers = lines.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let _: bool = map.append::<HeaderName>(name, value);
        }
        proxies.client(peer.parse().unwrap(), &map).to_string()
    }

    #[test]
    fn only_proxies_are_believed_and_only_what_proxies_said() {
        for (peer, sent, expected) in [
            ("192.0.2.1", "198.51.100.1", "192.0.2.1"),
            ("10.0.0.1", "192.0.2.1", "192.0.2.1"),
            ("10.0.0.1", "6.6.6.6, 192.0.2.1", "192.0.2.1"),
            ("10.0.0.1", "6.6.6.6, 192.0.2.1, 10.0.0.2", "192.0.2.1"),
            ("10.0.0.1", "10.0.0.3", "10.0.0.3"),
            ("10.0.0.1", "192.0.2.1, unknown", "10.0.0.1"),
            ("10.0.0.1", "192.0.2.1, , 10.0.0.2", "10.0.0.2"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("10.0.0.1", "192.0.2.1:4711", "192.0.2.1"),
            ("fd00::1", "2001:db8::7", "2001:db8::7"),
            ("fd00::1", "[2001:db8::7]:80", "2001:db8::7"),
        ] {
            let told = client(
                ForwardedBy::XForwardedFor,
                peer,
                &[("x-forwarded-for", sent)],
            );
            assert_eq!(told, expected, "{peer}: {sent}");
        }
        let lines = [
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "192.0.2.1"),
        ];
        let told = client(ForwardedBy::XForwardedFor, "10.0.0.1", &lines);
        assert_eq!(told, "192.0.2.1", "several lines are one list");
    }

    #[test]
    fn the_standard_header_is_read_as_its_rfc_says() {
        for (sent, expected) in [
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
            ("for=6.6.6.6, For=\"[2001:db8::17]:4711\"", "2001:db8::17"),
            (
                "for=6.6.6.6;x=\"a,for=7.7.7.7\", proto=https;for=192.0.2.1",
                "192.0.2.1",
            ),
            ("for=192.0.2.1, for=_hidden", "10.0.0.1"),
            ("for=192.0.2.1, for=unknown", "10.0.0.1"),
            ("for=192.0.2.1, by=10.0.0.9", "10.0.0.1"),
        ] {
            let told = client(ForwardedBy::Forwarded, "10.0.0.1", &[("forwarded", sent)]);
            assert_eq!(told, expected, "{sent}");
        }
    }

    #[test]
    fn the_header_that_the_proxy_passes_on_says_nothing() {
        let both = [
            ("forwarded", "for=6.6.6.6"),
            ("x-forwarded-for", "192.0.2.1"),
        ];
        assert_eq!(
            client(ForwardedBy::XForwardedFor, "10.0.0.1", &both),
            "192.0.2.1"
        );
        assert_eq!(client(ForwardedBy::Forwarded, "10.0.0.1", &both), "6.6.6.6");
    }
}
