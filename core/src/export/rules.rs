//! The rules that exports go by. Each is a file in TOML that a hospital can replace.

use std::sync::Arc;

use super::{DocumentRules, SensitivityRules};

/// All rules of a server.
#[derive(Debug, Clone)]
pub struct Rules {
    /// What is protected.
    pub sensitivity: Arc<SensitivityRules>,
    /// Which part of the record documents and reports belong to.
    pub documents: Arc<DocumentRules>,
}

impl Rules {
    /// The rules a server starts with.
    pub fn standard() -> Self {
        SensitivityRules::standard().into()
    }
}

/// These, beside the standard rules for documents.
impl From<Arc<SensitivityRules>> for Rules {
    fn from(sensitivity: Arc<SensitivityRules>) -> Self {
        Self {
            sensitivity,
            documents: DocumentRules::standard(),
        }
    }
}

/// Why a rule file was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// Not TOML, or not of the shape rules have; says where.
    #[error("the rules cannot be read: {0}")]
    Syntax(String),
    /// A rule makes no sense.
    #[error("{rule}: {message}")]
    Rule {
        /// Which one: `[[code]] number 3`.
        rule: String,
        /// What is wrong and what would be right.
        message: String,
    },
}
