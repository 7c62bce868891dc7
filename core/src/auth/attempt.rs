//! A login that goes elsewhere and comes back.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::Secret;

/// One attempt to log in at another server, such as the hospital's identity provider.
///
/// Everything it takes follows from a random secret that only the browser keeps, in a cookie, so
/// nothing is stored here and every replica can take up what another began. Whoever comes back
/// without the cookie of the browser that left has the wrong `state` (RFC 6749 section 10.12).
#[derive(Debug, Clone)]
pub struct LoginAttempt {
    cookie: Secret,
    destination: String,
}

/// Where somebody was going is longer than can be carried along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the address is longer than {} bytes", LoginAttempt::LONGEST)]
pub struct DestinationTooLong;

/// What a value is made for: the same cookie gives another one for each purpose.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    State,
    Nonce,
    Verifier,
}

impl LoginAttempt {
    /// Bytes of a destination, at most.
    pub const LONGEST: usize = 4 << 10;

    /// Begins an attempt with a new secret. `destination` says where the person was going; it
    /// travels in `state` and comes back unchanged.
    pub fn begin(cookie: Secret, destination: &str) -> Result<Self, DestinationTooLong> {
        if destination.len() > Self::LONGEST {
            return Err(DestinationTooLong);
        }
        let destination = destination.to_owned();
        Ok(Self {
            cookie,
            destination,
        })
    }

    /// The attempt a browser with this cookie comes back from. `None` when it is another
    /// browser's, or nobody's.
    pub fn resume(cookie: Secret, state: &str) -> Option<Self> {
        let (mac, destination) = state.split_once('.')?;
        let mac = BASE64_URL_SAFE_NO_PAD.decode(mac).ok()?;
        let destination = BASE64_URL_SAFE_NO_PAD.decode(destination).ok()?;
        let destination = String::from_utf8(destination).ok()?;
        let attempt = Self::begin(cookie, &destination).ok()?;
        // Compares in constant time.
        let genuine = attempt.mac(Purpose::State).verify_slice(&mac).is_ok();
        genuine.then_some(attempt)
    }

    /// What the browser keeps: a cookie of this attempt alone.
    pub fn cookie(&self) -> &Secret {
        &self.cookie
    }

    /// Where the person was going.
    pub fn destination(&self) -> &str {
        &self.destination
    }

    /// The `state` parameter (OpenID Connect Core section 3.1.2.1).
    pub fn state(&self) -> String {
        let destination = BASE64_URL_SAFE_NO_PAD.encode(&self.destination);
        format!("{}.{destination}", self.value(Purpose::State))
    }

    /// The `nonce` that the ID token has to carry (OpenID Connect Core section 3.1.2.1).
    pub fn nonce(&self) -> String {
        self.value(Purpose::Nonce)
    }

    /// The PKCE verifier (RFC 7636 section 4.1).
    pub fn code_verifier(&self) -> String {
        self.value(Purpose::Verifier)
    }

    fn value(&self, purpose: Purpose) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.mac(purpose).finalize().into_bytes())
    }

    fn mac(&self, purpose: Purpose) -> Hmac<Sha256> {
        let label: &[u8] = match purpose {
            Purpose::State => b"ehi-server login state\0",
            Purpose::Nonce => b"ehi-server login nonce\0",
            Purpose::Verifier => b"ehi-server login code verifier\0",
        };
        // Only the state vouches for the destination; the others are the cookie's alone.
        let message: &[u8] = match purpose {
            Purpose::State => self.destination.as_bytes(),
            Purpose::Nonce | Purpose::Verifier => b"",
        };
        // HMAC fills a short key up with zeros to the block length of its hash.
        let mut key = [0; 64];
        key[..32].copy_from_slice(self.cookie.hash().as_bytes());
        let mac = <Hmac<Sha256> as KeyInit>::new(&key.into());
        mac.chain_update(label).chain_update(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::PkceChallenge;
    use sha2::Digest;

    fn secret(byte: u8) -> Secret {
        Secret::from_random([byte; 32])
    }

    fn begun() -> LoginAttempt {
        LoginAttempt::begin(secret(1), "job=7&redirect=%C3%BC").unwrap()
    }

    #[test]
    fn an_attempt_comes_back_to_its_own_browser_with_its_destination() {
        let begun = begun();
        let back = LoginAttempt::resume(secret(1), &begun.state()).unwrap();
        assert_eq!(back.destination(), "job=7&redirect=%C3%BC");
        assert_eq!(back.nonce(), begun.nonce());
        assert_eq!(back.code_verifier(), begun.code_verifier());
    }

    #[test]
    fn another_browser_or_a_changed_state_comes_back_to_nothing() {
        let state = begun().state();
        assert!(LoginAttempt::resume(secret(2), &state).is_none());
        let (mac, _) = state.split_once('.').unwrap();
        let other = BASE64_URL_SAFE_NO_PAD.encode("job=8");
        let half = &mac[..mac.len() / 2];
        for forged in [
            format!("{mac}.{other}"),
            format!("{mac}."),
            mac.to_owned(),
            format!("{half}.{}", state.split_once('.').unwrap().1),
            format!("{}.{other}", begun().nonce()),
            format!("{state}A"),
            ".".to_owned(),
            String::new(),
        ] {
            assert!(
                LoginAttempt::resume(secret(1), &forged).is_none(),
                "{forged}"
            );
        }
    }

    #[test]
    fn no_value_of_an_attempt_tells_another_one_or_the_cookie() {
        let begun = begun();
        let state = begun.state();
        let mac = state.split_once('.').unwrap().0;
        let values = [
            mac,
            &begun.nonce(),
            &begun.code_verifier(),
            begun.cookie().expose(),
        ];
        for (at, value) in values.iter().enumerate() {
            assert!(!values[..at].contains(value));
        }
        assert!(!format!("{begun:?}").contains(begun.cookie().expose()));
    }

    #[test]
    fn the_verifier_is_one_that_pkce_takes() {
        let verifier = begun().code_verifier();
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
        let challenge = PkceChallenge::parse(&challenge).unwrap();
        assert!(challenge.is_answered_by(&verifier));
    }

    #[test]
    fn a_destination_without_end_is_not_carried() {
        let long = "x".repeat(LoginAttempt::LONGEST + 1);
        assert!(LoginAttempt::begin(secret(1), &long).is_err());
        let fits = LoginAttempt::begin(secret(1), &long[1..]).unwrap();
        assert!(LoginAttempt::resume(secret(1), &fits.state()).is_some());
    }
}
