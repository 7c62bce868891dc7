//! Fresh keys in every form an operator may have them.

use aws_lc_rs::encoding::{AsBigEndian, AsDer, EcPrivateKeyBin, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Value, json};

/// A key pair of one of the two kinds.
pub struct Pair {
    pub algorithm: Algorithm,
    /// PKCS#8.
    pub pem: String,
    pub jwk: Value,
    pub public: DecodingKey,
}

fn pem(der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> = (text.as_bytes().chunks(64))
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    let lines = lines.join("\n");
    format!("-----BEGIN PRIVATE KEY-----\n{lines}\n-----END PRIVATE KEY-----\n")
}

pub fn p384() -> Pair {
    let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let (x, y) = pair.public_key().as_ref()[1..].split_at(48);
    let (x, y) = (encode(x), encode(y));
    let d: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().unwrap();
    Pair {
        algorithm: Algorithm::ES384,
        pem: pem(pair.to_pkcs8v1().unwrap().as_ref()),
        public: DecodingKey::from_ec_components(&x, &y).unwrap(),
        jwk: json!({"kty": "EC", "crv": "P-384", "x": x, "y": y, "d": encode(d.as_ref()), "use": "sig"}),
    }
}

pub fn rsa() -> Pair {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    // The PKCS#1 key stands behind a header of fixed length, its numbers behind another.
    let mut rest = &der.as_ref()[26 + 4..];
    let mut numbers = Vec::new();
    while let [2, length, content @ ..] = rest {
        let (length, content) = match length {
            0x82 => (
                usize::from(content[0]) << 8 | usize::from(content[1]),
                &content[2..],
            ),
            0x81 => (usize::from(content[0]), &content[1..]),
            short => (usize::from(*short), content),
        };
        let number = &content[..length];
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        numbers.push(BASE64_URL_SAFE_NO_PAD.encode(number));
        rest = &content[length..];
    }
    let mut jwk = json!({"kty": "RSA"});
    // The first number is a version.
    let names = ["n", "e", "d", "p", "q", "dp", "dq", "qi"];
    for (name, number) in names.into_iter().zip(&numbers[1..]) {
        jwk[name] = json!(number);
    }
    Pair {
        algorithm: Algorithm::RS384,
        pem: pem(der.as_ref()),
        public: DecodingKey::from_rsa_components(&numbers[1], &numbers[2]).unwrap(),
        jwk,
    }
}
