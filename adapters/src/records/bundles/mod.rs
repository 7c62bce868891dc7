//! Records from a folder of files, one patient's whole record in each.

mod index;
mod stream;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use ehi_core::export::Selection;
use ehi_core::fhir::{PatientId, RecordReader};
use ehi_core::ports::{
    Cause, PatientSearch, PatientSummary, RecordSource, RecordStream, SourceError,
};
use tokio::task::spawn_blocking;

use index::{Index, Known};

/// A [`RecordSource`] over a folder of FHIR R4 Bundles (`*.json`, of any type, in any layout) and
/// NDJSON files (`*.ndjson`, one resource a line), in UTF-8.
///
/// - One file holds one patient's whole record, with exactly one Patient resource. A file with
///   none or with several is left out, with a warning that says what to do, so that nobody gets
///   another patient's data; so is the later by name of two files for the same patient.
/// - Only files directly in the folder count; names that begin with a dot do not. Symbolic links
///   are followed: operators mount and share records that way, and whoever may write to the
///   folder decides what is in it anyhow.
/// - Added, changed and removed files are noticed when somebody asks. A file that is broken, or
///   that somebody is still writing, is left out until it changes. Best write next to the folder
///   and rename into it.
/// - What is in memory is who the patients are and which file is whose. Records are read in
///   bounded memory: a few windows of 256 KiB for each export that runs, or of one record where
///   that is longer.
///
/// A record that cannot be read is an [`Unreadable`](ehi_core::ports::Unreadable) in its place. A
/// failure to read, or a file that changes meanwhile, ends the stream with
/// [`SourceError::Unavailable`] behind what could be read, so that the export is tried again.
pub struct BundleFolder {
    folder: PathBuf,
    record_limit: usize,
    index: RwLock<Arc<Index>>,
    /// Held while the folder is looked through, so that no file is read twice for its patient.
    looking: tokio::sync::Mutex<()>,
}

impl BundleFolder {
    /// Looks through the folder and finds out whose records it holds. Reads every file once.
    ///
    /// Fails with [`SourceError::Broken`] where there is no folder that can be read.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, SourceError> {
        let folder = path.into();
        let index = look(&folder, Arc::default()).await.map_err(|cause| {
            SourceError::Broken(format!(
                "cannot read the folder of records {}: {cause}. Create it, or correct its path or its permissions",
                folder.display()
            ))
        })?;
        Ok(Self {
            folder,
            record_limit: RecordReader::DEFAULT_LIMIT,
            index: RwLock::new(Arc::new(index)),
            looking: tokio::sync::Mutex::default(),
        })
    }

    /// Takes single records of up to so many bytes, 64 MiB if nothing is said; a longer one is
    /// reported as unreadable.
    #[must_use]
    pub fn with_record_limit(mut self, bytes: usize) -> Self {
        self.record_limit = bytes;
        self
    }

    /// How many patients' records the folder held when it was last looked through.
    pub fn patient_count(&self) -> usize {
        self.index().patients().count()
    }

    /// Which files were left out then and why, a sentence each, for the operator.
    pub fn warnings(&self) -> Vec<String> {
        self.index().warnings().map(str::to_owned).collect()
    }

    fn index(&self) -> Arc<Index> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&index)
    }

    /// Looks through the folder again; reads only files that are new or have changed.
    async fn look_again(&self) -> Result<Arc<Index>, SourceError> {
        let _one_at_a_time = self.looking.lock().await;
        let fresh = look(&self.folder, self.index()).await;
        let fresh = Arc::new(fresh.map_err(SourceError::Unavailable)?);
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        *index = Arc::clone(&fresh);
        Ok(fresh)
    }

    /// The patient and their file, as it is now.
    async fn find(&self, id: &PatientId) -> Result<Option<Known>, SourceError> {
        if let Some(known) = self.index().find(id).cloned() {
            let unchanged = spawn_blocking(move || known.is_unchanged().then_some(known));
            if let Some(known) = unchanged.await.map_err(SourceError::unavailable)? {
                return Ok(Some(known));
            }
        }
        Ok(self.look_again().await?.find(id).cloned())
    }
}

async fn look(folder: &std::path::Path, before: Arc<Index>) -> Result<Index, Cause> {
    let folder = folder.to_owned();
    Ok(spawn_blocking(move || Index::look(&folder, &before)).await??)
}

impl fmt::Debug for BundleFolder {
    /// Names no patient.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BundleFolder")
            .field("folder", &self.folder)
            .field("patients", &self.patient_count())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl RecordSource for BundleFolder {
    async fn patient(&self, id: &PatientId) -> Result<Option<PatientSummary>, SourceError> {
        Ok(self.find(id).await?.map(|known| known.patient))
    }

    async fn search(&self, search: &PatientSearch) -> Result<Vec<PatientSummary>, SourceError> {
        let index = self.look_again().await?;
        let known = index.patients();
        let mut found: Vec<&PatientSummary> =
            known.filter(|patient| search.matches(patient)).collect();
        found.sort_by_cached_key(|patient| (patient.name.to_lowercase(), &patient.id));
        Ok(found.into_iter().take(search.limit).cloned().collect())
    }

    async fn records(
        &self,
        patient: &PatientId,
        _wanted: &Selection,
    ) -> Result<RecordStream, SourceError> {
        let known = self.find(patient).await?.ok_or(SourceError::NotFound)?;
        Ok(stream::records(known, self.record_limit))
    }
}
