//! Several record sources as one: the EHR, and the systems beside it.

mod chain;
mod ids;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use ehi_core::export::Selection;
use ehi_core::fhir::PatientId;
use ehi_core::ports::{
    Document, DocumentStream, FormatDescription, PatientSearch, PatientSummary, RecordSource,
    RecordStream, SourceError,
};
use futures::StreamExt;

pub use ids::{IdTable, IdTableError, PatientIds, SameIds};

/// A [`RecordSource`] made of several.
///
/// - **Who a patient is** comes from the members in order: the first that knows them. A search
///   asks all of them; a patient whom several find is listed once.
/// - **Records and documents** are the members' one after another, in order. The next member is
///   asked when the one before has ended. A member that says
///   [`NotFound`](SourceError::NotFound) has nothing of this patient, which is no failure unless
///   all of them say so.
/// - **A member that fails**: an essential one ends the run, which is tried again later. An
///   optional one is reported once, as a record that could not be read, and the run goes on; what
///   it gave before stays in the export.
/// - **Ids**: each member is asked with the patient's id in that system, see [`PatientIds`].
///   Records are passed on as they are. Where a member knows the patient by another id, its
///   records speak of that id, and its Patient resource, if it has one, carries it: the export
///   then holds a Patient of each such system, and every reference meets the one it means. Let a
///   member whose ids differ give documents, or records that stand on their own.
/// - **Duplicates**: two members may give a record of the same type and id. Both go in, in order.
///   Systems number their records independently, so that one of the two is no copy of the other,
///   and leaving out a part of somebody's record is worse than saying it twice.
#[derive(Debug)]
pub struct FederatedRecords {
    members: Arc<[Member]>,
}

/// One system of a federation.
#[derive(Debug, Clone)]
pub struct Member {
    name: String,
    is_essential: bool,
    source: Arc<dyn RecordSource>,
    ids: Arc<dyn PatientIds>,
}

impl Member {
    /// A system without which there is no export. The name is for staff and for patients: "the
    /// legacy billing system".
    pub fn essential(name: impl Into<String>, source: Arc<dyn RecordSource>) -> Self {
        Self {
            name: name.into(),
            is_essential: true,
            source,
            ids: Arc::new(SameIds),
        }
    }

    /// A system whose failure is reported in the export, which goes on without it.
    pub fn optional(name: impl Into<String>, source: Arc<dyn RecordSource>) -> Self {
        Self {
            is_essential: false,
            ..Self::essential(name, source)
        }
    }

    /// With these ids in that system; the same ids unless this is said.
    #[must_use]
    pub fn with_ids(mut self, ids: impl PatientIds) -> Self {
        self.ids = Arc::new(ids);
        self
    }

    /// The patient as this system knows them, by the federation's id.
    async fn patient(&self, id: &PatientId) -> Result<Option<PatientSummary>, SourceError> {
        let Some(theirs) = self.ids.theirs(id).await? else {
            return Ok(None);
        };
        let found = self.source.patient(&theirs).await?;
        Ok(found.map(|patient| PatientSummary {
            id: id.clone(),
            ..patient
        }))
    }

    async fn search(&self, search: &PatientSearch) -> Result<Vec<PatientSummary>, SourceError> {
        let mut found = Vec::new();
        for patient in self.source.search(search).await? {
            if let Some(id) = self.ids.ours(&patient.id).await? {
                found.push(PatientSummary { id, ..patient });
            }
        }
        Ok(found)
    }

    /// The failure, told of this member.
    fn blame(&self, error: SourceError) -> SourceError {
        match error {
            SourceError::Broken(reason) => SourceError::Broken(format!("{}: {reason}", self.name)),
            other => SourceError::unavailable(MemberFailed {
                member: self.name.clone(),
                error: other,
            }),
        }
    }

    /// Logs a failure the export goes on without.
    fn warn(&self, error: &SourceError) {
        tracing::warn!(
            member = self.name,
            error = error as &dyn std::error::Error,
            "a system of the federation failed"
        );
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{member} failed")]
struct MemberFailed {
    member: String,
    #[source]
    error: SourceError,
}

impl FederatedRecords {
    /// The federation of these. The first should be the one that knows the patients best.
    pub fn new(members: impl IntoIterator<Item = Member>) -> Self {
        Self {
            members: members.into_iter().collect(),
        }
    }
}

#[async_trait]
impl RecordSource for FederatedRecords {
    async fn patient(&self, id: &PatientId) -> Result<Option<PatientSummary>, SourceError> {
        let mut failure = None;
        for member in self.members.iter() {
            match member.patient(id).await {
                Ok(Some(patient)) => return Ok(Some(patient)),
                Ok(None) | Err(SourceError::NotFound) => {}
                Err(error) if member.is_essential => return Err(member.blame(error)),
                Err(error) => {
                    member.warn(&error);
                    failure.get_or_insert(member.blame(error));
                }
            }
        }
        // The one that could not answer might have known them.
        failure.map_or(Ok(None), Err)
    }

    async fn search(&self, search: &PatientSearch) -> Result<Vec<PatientSummary>, SourceError> {
        let mut found: Vec<PatientSummary> = Vec::new();
        let mut seen = HashSet::new();
        for member in self.members.iter() {
            match member.search(search).await {
                Ok(patients) => {
                    let fresh = (patients.into_iter()).filter(|each| seen.insert(each.id.clone()));
                    found.extend(fresh);
                }
                Err(error) if member.is_essential => return Err(member.blame(error)),
                Err(error) => member.warn(&error),
            }
        }
        found.sort_by_cached_key(|patient| (patient.name.to_lowercase(), patient.id.clone()));
        found.truncate(search.limit);
        Ok(found)
    }

    async fn records(
        &self,
        patient: &PatientId,
        wanted: &Selection,
    ) -> Result<RecordStream, SourceError> {
        let wanted = wanted.clone();
        let open = move |source: Arc<dyn RecordSource>, patient: PatientId| {
            let wanted = wanted.clone();
            async move { source.records(&patient, &wanted).await }
        };
        Ok(chain::chain(
            Arc::clone(&self.members),
            patient.clone(),
            open,
            |record, _| record,
        ))
    }

    fn formats(&self) -> Vec<FormatDescription> {
        (self.members.iter())
            .flat_map(|member| member.source.formats())
            .collect()
    }

    async fn documents(
        &self,
        patient: &PatientId,
        wanted: &Selection,
    ) -> Result<DocumentStream, SourceError> {
        let wanted = wanted.clone();
        let open = move |source: Arc<dyn RecordSource>, patient: PatientId| {
            let wanted = wanted.clone();
            async move { source.documents(&patient, &wanted).await }
        };
        let told = |document: Document, of: &Arc<chain::Telling>| {
            let of = Arc::clone(of);
            let content = (document.content)
                .map(move |chunk| chunk.map_err(|error| of.spoiled(error)))
                .boxed();
            Document {
                content,
                ..document
            }
        };
        Ok(chain::chain(
            Arc::clone(&self.members),
            patient.clone(),
            open,
            told,
        ))
    }
}
