//! Private keys in JWK, turned into the DER that signing libraries read.
//!
//! Source: RFC 7517 and RFC 7518, 6.2 and 6.3; RFC 8017, A.1.2; RFC 5208 and RFC 5915.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde::Deserialize;

/// The members of a private key. No `Debug`: they are secret.
#[derive(Deserialize)]
#[serde(tag = "kty")]
enum PrivateJwk {
    #[serde(rename = "RSA")]
    Rsa {
        n: String,
        e: String,
        d: String,
        p: String,
        q: String,
        dp: String,
        dq: String,
        qi: String,
    },
    #[serde(rename = "EC")]
    Ec {
        crv: String,
        x: String,
        y: String,
        d: String,
    },
}

/// How long a coordinate on P-384 is, in bytes.
const P384: usize = 48;

/// `id-ecPublicKey` on `secp384r1`.
const EC_P384: [u8; 16] = [
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22,
];

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
/// The tagged `publicKey` of an EC private key.
const PUBLIC_KEY: u8 = 0xa1;

/// Reads a private key; `None` when it is none that SMART's algorithms can use.
pub(super) fn private_key(json: &str) -> Option<(Algorithm, EncodingKey)> {
    match serde_json::from_str(json).ok()? {
        PrivateJwk::Rsa {
            n,
            e,
            d,
            p,
            q,
            dp,
            dq,
            qi,
        } => {
            let mut content = integer(&[0]);
            for part in [n, e, d, p, q, dp, dq, qi] {
                content.extend(integer(&decode(&part)?));
            }
            let key = EncodingKey::from_rsa_der(&wrap(SEQUENCE, &content));
            Some((Algorithm::RS384, key))
        }
        PrivateJwk::Ec { crv, x, y, d } => {
            if crv != "P-384" {
                return None;
            }
            // No unused bits; a point that is written out.
            let mut point = vec![0, 4];
            for coordinate in [x, y] {
                point.extend(padded(&decode(&coordinate)?)?);
            }
            let key = [
                integer(&[1]),
                wrap(OCTET_STRING, &padded(&decode(&d)?)?),
                wrap(PUBLIC_KEY, &wrap(BIT_STRING, &point)),
            ];
            let content = [
                integer(&[0]),
                wrap(SEQUENCE, &EC_P384),
                wrap(OCTET_STRING, &wrap(SEQUENCE, &key.concat())),
            ];
            let key = EncodingKey::from_ec_der(&wrap(SEQUENCE, &content.concat()));
            Some((Algorithm::ES384, key))
        }
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD
        .decode(text.trim_end_matches('='))
        .ok()
}

/// A number in the full length of the curve.
fn padded(number: &[u8]) -> Option<[u8; P384]> {
    let mut full = [0; P384];
    let from = P384.checked_sub(number.len())?;
    full[from..].copy_from_slice(number);
    Some(full)
}

/// A number that is not negative, in DER.
fn integer(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let number = &number[zeros..];
    // The first bit is the sign.
    let mut content = Vec::new();
    if number.first().is_none_or(|byte| byte & 0x80 != 0) {
        content.push(0);
    }
    content.extend_from_slice(number);
    wrap(INTEGER, &content)
}

/// A value in DER: tag, length, content.
fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let zeros = length.iter().take_while(|byte| **byte == 0).count();
    let significant = &length[zeros..];
    let mut out = vec![tag];
    match significant {
        [] => out.push(0),
        [short @ 0..0x80] => out.push(*short),
        long => {
            // At most eight bytes.
            out.push(0x80 | u8::try_from(long.len()).unwrap_or(8));
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(content);
    out
}
