//! The file that says which tables there are.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use ehi_core::export::{AttachmentName, AuthorizationKey, ParameterKey};
use ehi_core::fhir::DocumentType;
use serde::Deserialize;

use super::TablesError;

/// The queries whose rows become documents, and how hard they may be run: a TOML file.
///
/// ```toml
/// [limits]                    # may be left out, and so may each of these
/// connections = 4             # at most; each export that runs holds one
/// connect_seconds = 10        # how long to wait for one
/// statement_seconds = 60      # how long the database may think about one step
///
/// [patient]                   # may be left out: see `TableDocuments`
/// sql = "SELECT mrn AS id, name, born AS birth_date FROM persons"
///
/// [[query]]
/// name = "ledger"                                     # ledger.csv
/// description = "Charges and payments on your account"
/// part = "billing"                                    # as in the patient's form
/// # may be left out:
/// type = { system = "http://loinc.org", code = "34133-9", display = "Summary of episode note" }
/// format = { code = "billing-ledger", display = "Billing ledger" }
/// protected_by = []                                   # such as ["hiv"]; may be left out
/// dates = { from = "posted", to = "posted" }          # may be left out, and so may `to`
/// sql = "SELECT posted, amount FROM ledger WHERE mrn = $patient ORDER BY posted"
///
/// [query.columns]                                     # what each means
/// posted = "Day of the posting"
/// amount = "Amount in US dollars, charges above zero"
/// ```
///
/// - `$patient` is the patient's id as text, bound as a parameter and never part of the SQL. It
///   has to occur; where the column is none of text, cast it: `id = $patient::integer`.
/// - `dates` names the columns that say when the matter of a row happened. Where a patient asks
///   for a time, the database leaves out the rows of other times; a row without a date goes in,
///   an open end is open. Times without a zone, and days, are of UTC.
/// - `type` says by a code what kind of document it is, and is passed on to the patient's app.
///   `part` is final: no rule leads the document elsewhere because of its type.
/// - `protected_by` withholds the document unless each of these was authorised, and so does a
///   `type` that the sensitivity rules know.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableQueries {
    #[serde(default)]
    pub(super) limits: Limits,
    pub(super) patient: Option<PatientQuery>,
    #[serde(rename = "query", default)]
    pub(super) queries: Vec<Query>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    connections: u32,
    connect_seconds: u64,
    statement_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4,
            connect_seconds: 10,
            statement_seconds: 60,
        }
    }
}

impl Limits {
    pub(super) fn connections(&self) -> u32 {
        self.connections
    }

    pub(super) fn connect(&self) -> Duration {
        Duration::from_secs(self.connect_seconds)
    }

    pub(super) fn statement(&self) -> Duration {
        Duration::from_secs(self.statement_seconds)
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PatientQuery {
    pub(super) sql: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) part: ParameterKey,
    #[serde(rename = "type")]
    pub(super) document_type: Option<DocumentType>,
    pub(super) format: Format,
    pub(super) sql: String,
    pub(super) dates: Option<Dates>,
    #[serde(default)]
    pub(super) protected_by: Vec<AuthorizationKey>,
    #[serde(default)]
    pub(super) columns: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Format {
    pub(super) code: String,
    pub(super) display: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dates {
    pub(super) from: String,
    to: Option<String>,
}

impl Dates {
    pub(super) fn to(&self) -> &str {
        self.to.as_ref().unwrap_or(&self.from)
    }
}

impl TableQueries {
    /// Reads the text of the file. What can be wrong without asking the database is told here.
    pub fn parse(text: &str) -> Result<Self, TablesError> {
        let file: Self = toml::from_str(text)?;
        let numbers = [
            u64::from(file.limits.connections),
            file.limits.connect_seconds,
            file.limits.statement_seconds,
        ];
        // PostgreSQL counts the time-out in milliseconds, in 31 bits.
        if numbers.iter().any(|number| !(1..=86_400).contains(number)) {
            return Err(TablesError::Limits);
        }
        if file.queries.is_empty() {
            return Err(TablesError::NoQuery);
        }
        let (mut names, mut codes) = (HashSet::new(), HashSet::new());
        for query in &file.queries {
            if query.file_name().is_none() {
                return Err(query.wrong("its name cannot name a file: give it 1 to 100 characters without '/', '\\' and control characters"));
            }
            if !names.insert(query.name.to_lowercase()) {
                return Err(query.wrong("there are two of this name: rename one"));
            }
            if query.format.code.trim().is_empty() || query.format.display.trim().is_empty() {
                return Err(query.wrong("its format needs a code and a display"));
            }
            if !codes.insert(&query.format.code) {
                return Err(query.wrong("another query has the same format code: each has columns of its own, so give it a code of its own"));
            }
            query.bound_sql().map_err(|problem| query.wrong(problem))?;
        }
        Ok(file)
    }
}

impl Query {
    /// The document's name; `None` when it would be none.
    pub(super) fn file_name(&self) -> Option<AttachmentName> {
        let fits = !self.name.is_empty() && self.name.chars().count() <= 100;
        (fits.then(|| AttachmentName::parse(&format!("{}.csv", self.name)))?).ok()
    }

    pub(super) fn wrong(&self, problem: impl Into<String>) -> TablesError {
        TablesError::Query {
            name: self.name.clone(),
            problem: problem.into(),
        }
    }

    /// The SQL with a parameter of the database in the place of `$patient`.
    ///
    /// This does not know comments and strings from code: what counts is that the database finds
    /// the parameter in what it parsed, and that is looked at when the query is prepared.
    pub(super) fn bound_sql(&self) -> Result<String, String> {
        let mut bound = String::with_capacity(self.sql.len() + 16);
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let mut rest = statement(&self.sql);
        while let Some(at) = rest.find('$') {
            bound.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            let word = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
            // A dollar sign may stand inside a name of SQL.
            if bound.ends_with(is_word) || word.is_empty() {
                bound.push('$');
            } else if word == "patient" {
                bound.push_str("($1::text)");
                rest = &rest[word.len()..];
            } else {
                return Err(format!(
                    "its SQL says ${word}: the only placeholder is $patient, and strings are quoted with '"
                ));
            }
        }
        bound.push_str(rest);
        Ok(bound)
    }
}

/// SQL without the semicolon that ends it.
pub(super) fn statement(sql: &str) -> &str {
    sql.trim().trim_end_matches(';').trim_end()
}
