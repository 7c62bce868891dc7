//! How a client proves at the token endpoint, and at those beside it, that it is itself.
//!
//! Sources: RFC 6749 section 2.3; RFC 7521 and RFC 7523 (assertions); SMART App Launch 2, client
//! authentication.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use super::authorization::parameters;
use super::service::{bad_client, down, unavailable};
use super::token::{client_id, invalid};
use super::{
    AuthorizationServer, Client, ClientAuthentication, ClientId, OAuthError, Secret, SecretHash,
};
use crate::ports::{Action, AssertionError, AuditEvent, By, JtiUse, Origin};

/// What a client sends to prove itself.
#[derive(Debug)]
pub enum ClientCredentials {
    /// Nothing, or no more than its name.
    Unproven(Option<ClientId>),
    /// Its secret (`client_secret_basic`).
    Secret(ClientId, SecretString),
    /// A signed assertion (`private_key_jwt`).
    Assertion(ClientId, ClientAssertion),
}

/// A signed JWT by which a client proves itself, its signature not looked at yet. Its `Debug` does
/// not show it.
pub struct ClientAssertion(String);

impl std::fmt::Debug for ClientAssertion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientAssertion(…)")
    }
}

/// The only type of assertion there is. Source: RFC 7523 section 2.2.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// No honest assertion is longer, in bytes.
const LONGEST_ASSERTION: usize = 8 << 10;

/// How long an assertion may live, in seconds. Source: SMART App Launch 2.
const LONGEST_LIFE: i64 = 300;

/// How far a client's clock may be ahead of ours, in seconds.
const CLOCK_LEEWAY: i64 = 10;

impl ClientCredentials {
    /// Who they say they are, proven or not.
    pub fn client(&self) -> Option<&ClientId> {
        match self {
            Self::Unproven(id) => id.as_ref(),
            Self::Secret(id, _) | Self::Assertion(id, _) => Some(id),
        }
    }

    /// Reads them from the `Authorization` header and the form. More than one way of proving at a
    /// time is refused, as RFC 6749 section 2.3 wants it.
    pub fn read<'a>(
        authorization: Option<&str>,
        form: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, OAuthError> {
        let form = parameters(form)?;
        let get = |name: &str| form.get(name).map(String::as_str);
        let named = client_id(&form)?;
        let assertion = get("client_assertion");
        let by_assertion = assertion.is_some() || get("client_assertion_type").is_some();
        let by_body = get("client_secret").is_some();
        let ways = [authorization.is_some(), by_assertion, by_body];
        if ways.into_iter().filter(|used| *used).count() > 1 {
            return Err(invalid(
                "the client has to authenticate in one way: Authorization header or client_assertion",
            ));
        }
        if by_body {
            return Err(bad_client(
                "client_secret is not taken in the body: send it by HTTP Basic (client_secret_basic)",
            ));
        }
        let (id, credentials) = if let Some(header) = authorization {
            let (id, secret) = basic(header).ok_or_else(|| {
                bad_client("Authorization has to be 'Basic' with the client's id and secret")
            })?;
            (id.clone(), Self::Secret(id, secret))
        } else if by_assertion {
            if get("client_assertion_type") != Some(JWT_BEARER) {
                return Err(invalid(format!(
                    "client_assertion_type has to be '{JWT_BEARER}'"
                )));
            }
            let assertion = assertion.ok_or_else(|| invalid("client_assertion is missing"))?;
            let id = issuer(assertion).ok_or_else(|| bad_client(UNPROVEN))?;
            let assertion = ClientAssertion(assertion.to_owned());
            (id.clone(), Self::Assertion(id, assertion))
        } else {
            return Ok(Self::Unproven(named));
        };
        if named.is_some_and(|named| named != id) {
            return Err(invalid("client_id is another than the one that is proven"));
        }
        Ok(credentials)
    }
}

/// What every client is told that is not who it says: whether there is such a client stays open.
const UNPROVEN: &str = "the client could not be authenticated: check its client_id, the method it is registered with, and its secret or key";

/// The id and secret of HTTP Basic, each form-encoded first (RFC 6749 section 2.3.1).
fn basic(header: &str) -> Option<(ClientId, SecretString)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(encoded.trim()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (id, secret) = text.split_once(':')?;
    let secret = form_decoded(secret)?;
    let sensible = (1..=512).contains(&secret.len());
    let id = ClientId::parse(&form_decoded(id)?)?;
    sensible.then_some((id, secret.into()))
}

fn form_decoded(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    let decoded = percent_encoding::percent_decode_str(&text).decode_utf8();
    Some(decoded.ok()?.into_owned())
}

/// Who an assertion says to be from. Nothing of it is to be believed yet.
fn issuer(assertion: &str) -> Option<ClientId> {
    #[derive(Deserialize)]
    struct Issuer {
        iss: ClientId,
    }
    if assertion.len() > LONGEST_ASSERTION {
        return None;
    }
    let claims = assertion.split('.').nth(1)?;
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
    let Issuer { iss } = serde_json::from_slice(&claims).ok()?;
    Some(iss)
}

/// The claims of an assertion. Source: RFC 7523 section 3; SMART App Launch 2.
#[derive(Deserialize)]
struct AssertionClaims {
    iss: ClientId,
    sub: ClientId,
    aud: Audiences,
    exp: Seconds,
    #[serde(default)]
    nbf: Option<Seconds>,
    #[serde(default)]
    iat: Option<Seconds>,
    jti: String,
}

/// One audience or several (RFC 7519 section 4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Many(Vec<String>),
}

/// Seconds since the epoch, perhaps with a fraction (RFC 7519 section 2).
#[derive(Deserialize, Clone, Copy, PartialEq, PartialOrd)]
#[serde(transparent)]
struct Seconds(f64);

impl AssertionClaims {
    /// When it must not come again any more, and the hash of its `jti`. Otherwise what is wrong.
    fn judge(
        &self,
        client: &ClientId,
        token_url: &str,
        now: Timestamp,
    ) -> Result<(SecretHash, Timestamp), &'static str> {
        if self.iss != *client || self.sub != *client {
            return Err("iss and sub of the assertion have to be the client_id");
        }
        let for_us = match &self.aud {
            Audiences::One(aud) => aud == token_url,
            // Another server among them could use it here first.
            Audiences::Many(all) => matches!(&all[..], [aud] if aud == token_url),
        };
        if !for_us {
            return Err("aud of the assertion has to be the token URL of this server");
        }
        let after = |seconds: i64| {
            Seconds(
                (now + jiff::SignedDuration::from_secs(seconds))
                    .as_duration()
                    .as_secs_f64(),
            )
        };
        // Anything but a number in between fails.
        let living = self.exp > after(0);
        if !living {
            return Err("the assertion has expired: make a new one for each request");
        }
        let short = self.exp <= after(LONGEST_LIFE + CLOCK_LEEWAY);
        if !short {
            return Err("exp of the assertion has to be at most five minutes ahead");
        }
        let begun = |at: Option<Seconds>| at.is_none_or(|at| at <= after(CLOCK_LEEWAY));
        if !begun(self.nbf) || !begun(self.iat) {
            return Err("the assertion is from the future: check the clock of the client");
        }
        let jti = Secret::presented(&self.jti);
        let jti = jti.ok_or("jti of the assertion has to have 1 to 512 bytes")?;
        let until = now + jiff::SignedDuration::from_secs(LONGEST_LIFE + CLOCK_LEEWAY + 1);
        Ok((jti.hash(), until))
    }
}

impl AuthorizationServer {
    /// The client that asks, proven by the method it is registered with; `None` where none says
    /// who it is. A refusal is remembered as one of `action`.
    pub(super) async fn client(
        &self,
        credentials: &ClientCredentials,
        action: Action,
        origin: &Origin,
    ) -> Result<Option<Client>, OAuthError> {
        let (id, told) = match credentials {
            ClientCredentials::Unproven(None) => return Ok(None),
            ClientCredentials::Unproven(Some(id)) => (id, self.unproven(id).await?),
            ClientCredentials::Secret(id, secret) => (id, self.by_secret(id, secret).await?),
            ClientCredentials::Assertion(id, assertion) => {
                (id, self.by_assertion(id, assertion).await?)
            }
        };
        match told {
            Ok(client) => Ok(Some(client)),
            Err(refusal) => {
                tracing::info!(client = %id, reason = refusal, "a client was not recognised");
                let event = AuditEvent {
                    client: Some(id.clone()),
                    ..By::unknown(origin).was_refused(action, self.ports.clock.now())
                };
                self.ports.audit.append(&event).await.map_err(down)?;
                Err(bad_client(refusal))
            }
        }
    }

    async fn unproven(&self, id: &ClientId) -> Result<Result<Client, &'static str>, OAuthError> {
        let client = self.ports.clients.client(id).await.map_err(down)?;
        Ok(client
            .filter(|client| client.authentication == ClientAuthentication::Public)
            .ok_or(UNPROVEN))
    }

    async fn by_secret(
        &self,
        id: &ClientId,
        secret: &SecretString,
    ) -> Result<Result<Client, &'static str>, OAuthError> {
        // Asked whether or not there is such a client: both take the same time.
        let verified = self.ports.clients.verify_secret(id, secret).await;
        let verified = verified.map_err(down)?;
        let client = self.ports.clients.client(id).await.map_err(down)?;
        Ok(client
            .filter(|client| client.authentication == ClientAuthentication::Secret && verified)
            .ok_or(UNPROVEN))
    }

    async fn by_assertion(
        &self,
        id: &ClientId,
        assertion: &ClientAssertion,
    ) -> Result<Result<Client, &'static str>, OAuthError> {
        let Some(client) = self.ports.clients.client(id).await.map_err(down)? else {
            return Ok(Err(UNPROVEN));
        };
        let ClientAuthentication::Key(keys) = &client.authentication else {
            return Ok(Err(UNPROVEN));
        };
        let verified = self.ports.assertions.verify(id, keys, &assertion.0).await;
        let claims: Value = match verified {
            Ok(claims) => claims,
            Err(AssertionError::Invalid) => return Ok(Err(UNPROVEN)),
            Err(AssertionError::Unavailable(cause)) => {
                tracing::warn!(client = %id, error = &*cause as &dyn std::error::Error, "the keys of a client cannot be fetched");
                return Err(unavailable());
            }
        };
        // From here on it is the client itself that made the mistake: it is told.
        let Ok(claims) = serde_json::from_value::<AssertionClaims>(claims) else {
            return Ok(Err(
                "the assertion needs iss, sub, aud, exp and jti, each of its type",
            ));
        };
        let now = self.ports.clock.now();
        let (jti, until) = match claims.judge(id, &self.settings.token_url, now) {
            Ok(once) => once,
            Err(mistake) => return Ok(Err(mistake)),
        };
        Ok(match self.ports.grants.use_jti(id, jti, until).await {
            Ok(JtiUse::First) => Ok(client),
            Ok(JtiUse::Again) => Err(
                "the assertion was used before: make a new one, with a new jti, for each request",
            ),
            Err(error) => return Err(down(error)),
        })
    }
}

#[cfg(test)]
mod tests;
