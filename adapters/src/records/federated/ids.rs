//! By which id each system knows a patient.

use std::collections::HashMap;
use std::fmt::{self, Debug};

use async_trait::async_trait;
use ehi_core::fhir::PatientId;
use ehi_core::ports::SourceError;

/// Translates patients' ids between the federation and one member: a master patient index.
///
/// Both ways have to agree: where `theirs(a)` is `b`, `ours(b)` is `a`. Two patients must never
/// share an id, or one gets the record of the other.
#[async_trait]
pub trait PatientIds: Debug + Send + Sync + 'static {
    /// The id in the member's system; `None` when the patient is not there.
    async fn theirs(&self, ours: &PatientId) -> Result<Option<PatientId>, SourceError>;

    /// The id in the federation; `None` for whom it does not know.
    async fn ours(&self, theirs: &PatientId) -> Result<Option<PatientId>, SourceError>;
}

/// The same id in both.
#[derive(Debug, Clone, Copy, Default)]
pub struct SameIds;

#[async_trait]
impl PatientIds for SameIds {
    async fn theirs(&self, ours: &PatientId) -> Result<Option<PatientId>, SourceError> {
        Ok(Some(ours.clone()))
    }

    async fn ours(&self, theirs: &PatientId) -> Result<Option<PatientId>, SourceError> {
        Ok(Some(theirs.clone()))
    }
}

/// Ids from a file of CSV: a header `ours,theirs`, then two ids a line. Whom it does not list is
/// not in the member's system.
#[derive(Clone)]
pub struct IdTable {
    theirs: HashMap<PatientId, PatientId>,
    ours: HashMap<PatientId, PatientId>,
}

/// Why a table of ids cannot be used. Names lines and no ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdTableError {
    /// Another file, or the header is missing.
    #[error("the table of ids has to begin with the line 'ours,theirs'")]
    Header,
    /// Not two ids.
    #[error(
        "line {0} of the table of ids has to be two ids with a comma between, each 1 to 64 letters, digits, '-' and '.'"
    )]
    Line(usize),
    /// An id that stands in an earlier line as well.
    #[error(
        "line {0} of the table of ids repeats an id of an earlier line: remove the wrong one, or one patient gets another's record"
    )]
    Twice(usize),
}

impl IdTable {
    /// Reads the text of the file.
    pub fn parse(text: &str) -> Result<Self, IdTableError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = (text.lines().enumerate())
            .map(|(index, line)| (index + 1, line.trim()))
            .filter(|(_, line)| !line.is_empty());
        if lines.next().is_none_or(|(_, line)| line != "ours,theirs") {
            return Err(IdTableError::Header);
        }
        let mut table = Self {
            theirs: HashMap::new(),
            ours: HashMap::new(),
        };
        for (number, line) in lines {
            let (ours, theirs) = (line.split_once(',')).ok_or(IdTableError::Line(number))?;
            let id = |text: &str| PatientId::parse(text).map_err(|_| IdTableError::Line(number));
            let (ours, theirs) = (id(ours)?, id(theirs)?);
            let before = (
                table.theirs.insert(ours.clone(), theirs.clone()),
                table.ours.insert(theirs, ours),
            );
            if before != (None, None) {
                return Err(IdTableError::Twice(number));
            }
        }
        Ok(table)
    }
}

impl Debug for IdTable {
    /// Names no patient.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdTable")
            .field("patients", &self.theirs.len())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl PatientIds for IdTable {
    async fn theirs(&self, ours: &PatientId) -> Result<Option<PatientId>, SourceError> {
        Ok(self.theirs.get(ours).cloned())
    }

    async fn ours(&self, theirs: &PatientId) -> Result<Option<PatientId>, SourceError> {
        Ok(self.ours.get(theirs).cloned())
    }
}
