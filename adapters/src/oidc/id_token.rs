//! What an ID token has to be before it proves anything.
//!
//! Source: OpenID Connect Core 1.0, section 3.1.3.7, and RFC 8725.

use jiff::Timestamp;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde_json::Value;
use subtle::ConstantTimeEq;

use super::{Fault, Issuer};

/// Bytes of an ID token, at most.
const LONGEST: usize = 64 << 10;

/// Clocks may disagree by so many seconds.
const LEEWAY: i64 = 60;

/// A token that says it is signed, its signature not looked at yet.
pub(super) struct Unproven<'a> {
    token: &'a str,
    header: Header,
}

/// What the token has to say.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a Issuer,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
    pub(super) now: Timestamp,
}

impl<'a> Unproven<'a> {
    /// Reads the header. "none" and signatures by a shared secret are no signatures here.
    pub(super) fn read(token: &'a str) -> Result<Self, Fault> {
        if token.len() > LONGEST {
            return Err(Fault::Refused("the ID token is too long"));
        }
        let header = jsonwebtoken::decode_header(token)
            .map_err(|_| Fault::Refused("the ID token is not signed in a way we know"))?;
        if kind_of(header.alg).is_none() {
            return Err(Fault::Refused(
                "the ID token is not signed by a key of its own",
            ));
        }
        if header.crit.is_some() {
            return Err(Fault::Refused(
                "the ID token demands extensions we do not know",
            ));
        }
        let is_jwt = (header.typ.as_deref()).is_none_or(|typ| typ.eq_ignore_ascii_case("jwt"));
        if !is_jwt {
            return Err(Fault::Refused(
                "the token is of another kind than an ID token",
            ));
        }
        Ok(Self { token, header })
    }

    /// The key among these that the token says it is signed by.
    pub(super) fn key<'k>(&self, keys: &'k JwkSet) -> Option<&'k Jwk> {
        let mut fitting = keys.keys.iter().filter(|key| self.fits(key));
        let first = fitting.next()?;
        // Where the token names no key, it has to be clear which one it is.
        (self.header.kid.is_some() || fitting.next().is_none()).then_some(first)
    }

    fn fits(&self, key: &Jwk) -> bool {
        let common = &key.common;
        let named = self.header.kid.is_none() || common.key_id == self.header.kid;
        let signs = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature));
        let same = |named| Algorithm::try_from(named).is_ok_and(|alg| alg == self.header.alg);
        let agreed = common.key_algorithm.is_none_or(same);
        named && signs && agreed && kind_of(self.header.alg) == Kind::of(&key.algorithm)
    }

    /// Checks signature and claims.
    pub(super) fn prove(&self, key: &Jwk, expected: &Expected<'_>) -> Result<Value, Fault> {
        let unusable = |_| Fault::Broken("publishes a key that is none".to_owned());
        let key = DecodingKey::from_jwk(key).map_err(unusable)?;
        let mut validation = Validation::new(self.header.alg);
        // All claims are judged below, times by our own clock.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let decoded = jsonwebtoken::decode::<Value>(self.token, &key, &validation)
            .map_err(|_| Fault::Refused("the signature of the ID token is wrong"))?;
        check(&decoded.claims, expected).map_err(Fault::Refused)?;
        Ok(decoded.claims)
    }
}

/// Kinds of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Kind {
    fn of(parameters: &AlgorithmParameters) -> Option<Self> {
        match parameters {
            AlgorithmParameters::RSA(_) => Some(Self::Rsa),
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => Some(Self::P256),
                EllipticCurve::P384 => Some(Self::P384),
                _ => None,
            },
            AlgorithmParameters::OctetKeyPair(_) => Some(Self::Ed25519),
            _ => None,
        }
    }
}

/// The kind of key an algorithm takes. `None` for those by a shared secret, and those we do not
/// know.
fn kind_of(algorithm: Algorithm) -> Option<Kind> {
    match algorithm {
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512 => Some(Kind::Rsa),
        Algorithm::ES256 => Some(Kind::P256),
        Algorithm::ES384 => Some(Kind::P384),
        Algorithm::EdDSA => Some(Kind::Ed25519),
        _ => None,
    }
}

fn check(claims: &Value, expected: &Expected<'_>) -> Result<(), &'static str> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if text("iss") != Some(expected.issuer.as_str()) {
        return Err("the ID token is by another issuer");
    }
    let client = expected.client_id;
    let (for_us, for_others) = match claims.get("aud") {
        Some(Value::String(audience)) => (audience == client, false),
        Some(Value::Array(audiences)) => (
            audiences.iter().any(|audience| audience == client),
            audiences.iter().any(|audience| audience != client),
        ),
        _ => (false, false),
    };
    if !for_us {
        return Err("the ID token is for somebody else");
    }
    let party = text("azp");
    if party.is_some_and(|party| party != client) || for_others && party.is_none() {
        return Err("the ID token was given to somebody else");
    }
    let time = |name: &str| claims.get(name).and_then(Value::as_i64);
    let now = expected.now.as_second();
    if time("exp").is_none_or(|exp| exp <= now.saturating_sub(LEEWAY)) {
        return Err("the ID token has expired");
    }
    let future = now.saturating_add(LEEWAY);
    if time("iat").is_none_or(|iat| iat > future) || time("nbf").is_some_and(|nbf| nbf > future) {
        return Err("the ID token is from the future");
    }
    if text("sub").is_none_or(str::is_empty) {
        return Err("the ID token is about nobody");
    }
    let nonce = text("nonce").unwrap_or_default().as_bytes();
    if !bool::from(nonce.ct_eq(expected.nonce.as_bytes())) {
        return Err("the ID token answers another login");
    }
    Ok(())
}
