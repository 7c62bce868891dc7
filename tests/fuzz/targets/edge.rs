//! Whatever a connection carries, and whatever a proxy claims: where requests end does not depend on
//! the pieces they come in, and no address is believed that no trusted proxy vouches for.
#![no_main]

use std::net::IpAddr;

use axum::http::header::FORWARDED;
use axum::http::{HeaderMap, HeaderValue};
use ehi_adapters::http::{ForwardedBy, Framing, Proxies};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&piece, bytes)) = input.split_first() else {
        return;
    };
    let whole = refused(bytes, usize::MAX);
    assert_eq!(refused(bytes, usize::from(piece) + 1), whole);

    let Ok(value) = HeaderValue::from_bytes(bytes) else {
        return;
    };
    let stranger: IpAddr = "192.0.2.1".parse().expect("it is one");
    let proxy: IpAddr = "10.0.0.1".parse().expect("it is one");
    for (header, name) in [
        (ForwardedBy::XForwardedFor, "x-forwarded-for"),
        (ForwardedBy::Forwarded, FORWARDED.as_str()),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.clone());
        let proxies = Proxies {
            trusted: vec![proxy.into()],
            header,
        };
        assert_eq!(proxies.client(stranger, &headers), stranger);
        let _ = proxies.client(proxy, &headers);
    }
});

/// The place of the byte that is refused, read in pieces of this length.
fn refused(bytes: &[u8], piece: usize) -> Option<usize> {
    let mut framing = Framing::default();
    let mut read = 0;
    for piece in bytes.chunks(piece) {
        if let Err(malformed) = framing.read(piece) {
            return Some(read + malformed.at);
        }
        read += piece.len();
    }
    None
}
