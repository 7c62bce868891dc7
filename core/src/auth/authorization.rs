//! The authorization request: what an app asks a patient for.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use url::Url;

use super::token::required;
use super::{Client, LoginAttempt, Scope, Scopes};

/// An OAuth error as it goes over the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{error_description}")]
pub struct OAuthError {
    /// The code.
    pub error: OAuthErrorCode,
    /// What is wrong and what would be right, for a developer.
    pub error_description: String,
}

impl OAuthError {
    /// An error.
    pub fn new(error: OAuthErrorCode, description: impl Into<String>) -> Self {
        Self {
            error,
            error_description: description.into(),
        }
    }
}

/// The codes of OAuth errors. Source: RFC 6749 sections 4.1.2.1 and 5.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are OAuth's own")]
pub enum OAuthErrorCode {
    AccessDenied,
    InvalidClient,
    InvalidGrant,
    InvalidRequest,
    InvalidScope,
    TemporarilyUnavailable,
    UnauthorizedClient,
    UnsupportedGrantType,
}

impl OAuthErrorCode {
    /// As it stands on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccessDenied => "access_denied",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidRequest => "invalid_request",
            Self::InvalidScope => "invalid_scope",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
        }
    }
}

/// Why an authorization request is refused, and who is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthorizationError {
    /// The client or where to send the browser is in doubt: told here and now, nobody is sent
    /// anywhere.
    #[error(transparent)]
    Direct(OAuthError),
    /// Told to the app, at this address (RFC 6749 section 4.1.2.1).
    #[error("{1}")]
    Redirect(Url, OAuthError),
}

/// The addresses a token may be asked for: this server's FHIR bases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audience(Vec<String>);

impl Audience {
    /// The audience of a server with these FHIR bases.
    pub fn new<S: AsRef<str>>(bases: impl IntoIterator<Item = S>) -> Self {
        Self(
            bases
                .into_iter()
                .filter_map(|base| canonical(base.as_ref()))
                .collect(),
        )
    }

    /// Whether `aud` is one of them. The scheme and a slash at the end make no difference, and
    /// `localhost` is `127.0.0.1`.
    pub fn contains(&self, aud: &str) -> bool {
        canonical(aud).is_some_and(|aud| self.0.contains(&aud))
    }
}

fn canonical(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    let host = match url.host_str()? {
        "localhost" => "127.0.0.1",
        host => host,
    };
    let port = url
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    plain.then(|| format!("{host}{port}{}", url.path().trim_end_matches('/')))
}

/// A PKCE challenge by S256: the SHA-256 of the verifier in base64url. Source: RFC 7636.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PkceChallenge(String);

impl PkceChallenge {
    /// Reads a challenge: 43 characters of base64url.
    pub fn parse(text: &str) -> Option<Self> {
        let decoded = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        (decoded.len() == 32).then(|| Self(text.to_owned()))
    }

    /// Whether this verifier answers the challenge.
    pub fn is_answered_by(&self, verifier: &str) -> bool {
        let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        let well_formed = (43..=128).contains(&verifier.len()) && verifier.bytes().all(unreserved);
        let answer = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
        well_formed && bool::from(answer.as_bytes().ct_eq(self.0.as_bytes()))
    }
}

/// A valid authorization request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationRequest {
    /// Who asks.
    pub client: Client,
    /// Where the answer goes.
    pub redirect_uri: Url,
    /// `redirect_uri` as it was asked for, to be compared to the letter with the token request's.
    pub redirect_uri_text: String,
    /// What is asked for, as far as it can be granted.
    pub scopes: Scopes,
    /// What the app wants back with the answer.
    pub state: Option<String>,
    /// What the app will prove itself by.
    pub challenge: PkceChallenge,
    /// Who answers (RFC 9207).
    pub issuer: String,
}

/// The parameters of a request as they came, each at most once.
pub(super) type Parameters = BTreeMap<String, String>;

/// Reads parameters; one that came twice is an error (RFC 6749 section 3.1).
pub(super) fn parameters<'a>(
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Parameters, OAuthError> {
    let (once, twice) = once_and_twice(pairs);
    twice.first().map_or(Ok(once), |name| Err(came_twice(name)))
}

/// Reads parameters into those that came once, and the names of the others.
fn once_and_twice<'a>(
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> (Parameters, BTreeSet<String>) {
    let mut once = Parameters::new();
    let mut twice = BTreeSet::new();
    for (name, value) in pairs {
        // An empty parameter is as good as none (RFC 6749 section 3.1).
        if !value.is_empty() && once.insert(name.to_owned(), value.to_owned()).is_some() {
            twice.insert(name.to_owned());
        }
    }
    once.retain(|name, _| !twice.contains(name));
    (once, twice)
}

fn came_twice(name: &str) -> OAuthError {
    // Whoever made the link made the name: only what may stand in a description is repeated
    // (RFC 6749 section 4.1.2.1).
    let speakable = |c: &char| c.is_ascii_graphic() && !matches!(c, '"' | '\\');
    let name: String = name.chars().filter(speakable).take(40).collect();
    OAuthError::new(
        OAuthErrorCode::InvalidRequest,
        format!("'{name}' came twice"),
    )
}

/// The query of an authorization request.
#[derive(Debug)]
pub(super) struct AuthorizationQuery {
    once: Parameters,
    twice: BTreeSet<String>,
    /// Bytes.
    length: usize,
}

impl AuthorizationQuery {
    pub(super) fn read(query: &str) -> Self {
        let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
        let (once, twice) = once_and_twice(pairs.iter().map(|(name, value)| (&**name, &**value)));
        Self {
            once,
            twice,
            length: query.len(),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.once.get(name).map(String::as_str)
    }

    /// The parameter, where it says for sure who asks or where the answer goes.
    pub(super) fn certain(&self, name: &str) -> Result<&str, OAuthError> {
        if self.twice.contains(name) {
            return Err(came_twice(name));
        }
        required(&self.once, name)
    }
}

impl AuthorizationRequest {
    /// Checks everything else once the client and its redirect URI are known to be good.
    pub(super) fn check(
        client: Client,
        redirect_uri: Url,
        query: &AuthorizationQuery,
        audience: &Audience,
        issuer: &str,
    ) -> Result<Self, AuthorizationError> {
        let get = |name: &str| query.get(name);
        let state = get("state").map(str::to_owned);
        let tell = |error: OAuthError| {
            let url = error_url(&redirect_uri, &error, state.as_deref(), issuer);
            Err(AuthorizationError::Redirect(url, error))
        };
        let refuse = |code, description: &str| tell(OAuthError::new(code, description));
        let invalid = |description: &str| refuse(OAuthErrorCode::InvalidRequest, description);

        if let Some(name) = query.twice.first() {
            return tell(came_twice(name));
        }
        if query.length > LoginAttempt::LONGEST {
            return invalid(&format!(
                "the query is longer than {} bytes: send a shorter state",
                LoginAttempt::LONGEST
            ));
        }
        if get("response_type") != Some("code") {
            return invalid("response_type has to be 'code'");
        }
        match get("aud") {
            None => return invalid("aud is missing: send the FHIR base of this server"),
            Some(aud) if !audience.contains(aud) => {
                return invalid("aud is not the FHIR base of this server");
            }
            Some(_) => {}
        }
        let scopes = match get("scope") {
            None => return invalid("scope is missing"),
            Some(scope) if Scopes::asks_for(scope, "system/") => {
                return refuse(
                    OAuthErrorCode::InvalidScope,
                    "a patient cannot give what is asked for in 'system/': that is for client_credentials",
                );
            }
            Some(scope) => Scopes::requested(scope).intersection(&client.scopes),
        };
        if !scopes.contains(Scope::PatientEhiExport) {
            return refuse(
                OAuthErrorCode::InvalidScope,
                "scope has to hold 'patient/$ehi-export', and the client has to be registered for it",
            );
        }
        if get("code_challenge_method") != Some("S256") {
            return invalid("code_challenge_method has to be 'S256' (PKCE, RFC 7636)");
        }
        let Some(challenge) = get("code_challenge").and_then(PkceChallenge::parse) else {
            return invalid("code_challenge has to be the SHA-256 of the verifier in base64url");
        };
        Ok(Self {
            redirect_uri_text: get("redirect_uri").unwrap_or_default().to_owned(),
            client,
            redirect_uri,
            scopes,
            state,
            challenge,
            issuer: issuer.to_owned(),
        })
    }

    /// Where the browser goes when the patient says no.
    pub fn denied(&self) -> Url {
        let error = OAuthError::new(
            OAuthErrorCode::AccessDenied,
            "The patient did not authorize the app",
        );
        error_url(
            &self.redirect_uri,
            &error,
            self.state.as_deref(),
            &self.issuer,
        )
    }

    /// Where the browser goes with the code.
    pub(super) fn answered(&self, code: &str) -> Url {
        let mut url = self.redirect_uri.clone();
        url.query_pairs_mut().append_pair("code", code);
        if let Some(state) = &self.state {
            url.query_pairs_mut().append_pair("state", state);
        }
        url.query_pairs_mut().append_pair("iss", &self.issuer);
        url
    }
}

/// Where an error goes. Like every answer, it says who gives it, so that an app that talks to many
/// servers does not mix them up (RFC 9207).
fn error_url(redirect_uri: &Url, error: &OAuthError, state: Option<&str>, issuer: &str) -> Url {
    let mut url = redirect_uri.clone();
    url.query_pairs_mut()
        .append_pair("error", error.error.as_str())
        .append_pair("error_description", &error.error_description);
    if let Some(state) = state {
        url.query_pairs_mut().append_pair("state", state);
    }
    url.query_pairs_mut().append_pair("iss", issuer);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aud_is_this_server_under_any_of_its_names() {
        let audience = Audience::new([
            "http://127.0.0.1:8888/fhir",
            "http://127.0.0.1:8888/no-form/fhir",
        ]);
        for good in [
            "http://127.0.0.1:8888/fhir",
            "https://127.0.0.1:8888/fhir/",
            "http://localhost:8888/no-form/fhir",
        ] {
            assert!(audience.contains(good), "{good}");
        }
        for bad in [
            "",
            "fhir",
            "http://127.0.0.1:8888",
            "http://127.0.0.1:8889/fhir",
            "http://evil:8888/fhir",
            "http://127.0.0.1:8888/fhir?x",
            "http://u@127.0.0.1:8888/fhir",
            "http://127.0.0.1:8888/FHIR",
        ] {
            assert!(!audience.contains(bad), "{bad}");
        }
    }

    #[test]
    fn only_the_verifier_answers_its_challenge() {
        // RFC 7636, appendix B.
        let challenge =
            PkceChallenge::parse("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM").unwrap();
        assert!(challenge.is_answered_by("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"));
        assert!(!challenge.is_answered_by("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXl"));
        assert!(!challenge.is_answered_by(""));
        assert!(PkceChallenge::parse("short").is_none());
        assert!(PkceChallenge::parse(&"A".repeat(44)).is_none());
    }

    #[test]
    fn a_parameter_that_comes_twice_is_refused() {
        assert_eq!(
            parameters([("a", "1"), ("b", ""), ("b", "2")])
                .unwrap()
                .len(),
            2
        );
        let error = parameters([("a\"\nä", "1"), ("a\"\nä", "1"), ("b", "2")]).unwrap_err();
        assert_eq!(error.error, OAuthErrorCode::InvalidRequest);
        assert_eq!(error.error_description, "'a' came twice");
    }
}
