//! Scopes: what a token opens.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A scope this server grants.
///
/// Source: Argonaut EHI Export API 0.1.0; SMART App Launch 2, scopes and launch context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    /// Export the record of the patient who authorized it.
    #[serde(rename = "patient/$ehi-export")]
    PatientEhiExport,
    /// Export any record the client may.
    #[serde(rename = "system/$ehi-export")]
    SystemEhiExport,
    /// Tell the app who the patient is.
    #[serde(rename = "launch/patient")]
    LaunchPatient,
    /// Go on when the patient has left.
    #[serde(rename = "offline_access")]
    OfflineAccess,
    /// Go on while the patient is there.
    #[serde(rename = "online_access")]
    OnlineAccess,
}

impl Scope {
    /// Every scope.
    pub const ALL: &'static [Self] = &[
        Self::PatientEhiExport,
        Self::SystemEhiExport,
        Self::LaunchPatient,
        Self::OfflineAccess,
        Self::OnlineAccess,
    ];

    /// As it stands on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PatientEhiExport => "patient/$ehi-export",
            Self::SystemEhiExport => "system/$ehi-export",
            Self::LaunchPatient => "launch/patient",
            Self::OfflineAccess => "offline_access",
            Self::OnlineAccess => "online_access",
        }
    }

    /// Reads one scope; `None` for those this server does not grant.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|scope| scope.as_str() == text)
    }
}

/// A set of scopes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scopes(BTreeSet<Scope>);

impl Scopes {
    /// The scopes of a space-separated list that this server knows. Others are not granted, as
    /// RFC 6749 section 3.3 allows; the token response tells what was.
    pub fn requested(text: &str) -> Self {
        Self(text.split(' ').filter_map(Scope::parse).collect())
    }

    /// Whether a space-separated list asks for anything in this context: `patient/` or `system/`.
    pub fn asks_for(text: &str, context: &str) -> bool {
        text.split(' ').any(|scope| scope.starts_with(context))
    }

    /// The scopes of a space-separated list; `None` where it asks for more than these (RFC 6749
    /// section 6).
    pub fn narrowed_to(&self, text: &str) -> Option<Self> {
        let asked = text.split(' ').filter(|scope| !scope.is_empty());
        asked
            .map(|scope| Scope::parse(scope).filter(|scope| self.contains(*scope)))
            .collect()
    }

    /// Whether it holds the scope.
    pub fn contains(&self, scope: Scope) -> bool {
        self.0.contains(&scope)
    }

    /// Those that are in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).copied().collect())
    }

    /// Whether a refresh token goes with them.
    pub fn allow_refresh(&self) -> bool {
        self.contains(Scope::OfflineAccess) || self.contains(Scope::OnlineAccess)
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(|scope| scope.as_str()).collect();
        f.write_str(&names.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_scopes_are_not_granted() {
        let scopes = Scopes::requested("openid patient/$ehi-export  patient/*.read offline_access");
        assert_eq!(scopes.to_string(), "patient/$ehi-export offline_access");
        assert!(scopes.allow_refresh());
        assert_eq!(Scopes::requested("").to_string(), "");
        assert_eq!(Scopes::requested(&scopes.to_string()), scopes);
    }
}
