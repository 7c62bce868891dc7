//! Whatever an app or a browser sends to the authorization server: it is read or refused, and no
//! redirect leaves what was registered.
#![no_main]

use ehi_core::auth::{
    Audience, ClientCredentials, ClientKeySet, LoopbackRedirects, PkceChallenge, RegisteredUrl,
    Scopes, Secret, TokenRequest, TokenToInspect,
};
use ehi_core::testkit::client;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use url::{Host, Url, form_urlencoded};

const REGISTERED: &str = "https://app.example/callback";

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let mut app = client();
    app.redirect_uris = RegisteredUrl::parse(REGISTERED).into_iter().collect();
    app.loopback = LoopbackRedirects::Registered;
    if app.redirect_uri(text).is_some() {
        assert_eq!(text, REGISTERED);
    }
    app.loopback = LoopbackRedirects::Any;
    if let Some(url) = app.redirect_uri(text).filter(|_| text != REGISTERED) {
        assert!(is_loopback(&url) && url.username().is_empty(), "{url}");
    }
    let audience = Audience::new(["https://ehi.example/fhir"]);
    if audience.contains(text) {
        let url = Url::parse(text).expect("it is a URL");
        assert_eq!(url.host_str(), Some("ehi.example"));
    }
    let scopes = Scopes::requested(text);
    assert_eq!(Scopes::requested(&scopes.to_string()), scopes);
    if let Some(challenge) = PkceChallenge::parse(text) {
        assert!(
            !challenge.is_answered_by(text),
            "a challenge answers itself"
        );
    }
    let _ = Secret::presented(text);
    let pairs: Vec<_> = form_urlencoded::parse(input).collect();
    let pairs = pairs.iter().map(|(name, value)| (&**name, &**value));
    let _ = TokenRequest::from_pairs(pairs.clone());
    let _ = TokenToInspect::from_pairs(pairs.clone());
    let _ = ClientCredentials::read(None, pairs);
    let _ = ClientCredentials::read(Some(text), []);
    if let Ok(set) = serde_json::from_slice::<Value>(input) {
        let _ = ClientKeySet::published(set.clone());
        let _ = ClientKeySet::registered(set);
    }
});

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
