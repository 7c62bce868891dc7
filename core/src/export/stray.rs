//! Stored attachments that their job does not list: whoever brought them was cut off in the last
//! moment, or they were taken away again and could not be deleted.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::ExportJob;
use super::service::{ExportService, UseCaseError};
use crate::ports::FilePath;

/// A file that is listed at all is listed within moments of being stored; this is far beyond.
const WAIT: SignedDuration = SignedDuration::from_hours(1);

/// How many are remembered; the others have to wait until these are gone.
const REMEMBERED: usize = 100_000;

/// Files that no job listed when they were seen first.
#[derive(Debug, Default)]
pub(super) struct Strays(Mutex<HashMap<FilePath, Timestamp>>);

impl Strays {
    /// Whether nobody will list it any more; counts from the first time it is asked for.
    fn is_forsaken(&self, path: &FilePath, now: Timestamp) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What was deleted, or listed after all, is not asked for again.
        if seen.len() >= REMEMBERED {
            seen.retain(|_, first| now.duration_since(*first) < WAIT * 24);
        }
        if seen.len() >= REMEMBERED && !seen.contains_key(path) {
            return false;
        }
        let first = *seen.entry(path.clone()).or_insert(now);
        now.duration_since(first) >= WAIT
    }

    fn forget(&self, path: &FilePath) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.remove(path);
    }
}

impl ExportService {
    /// Deletes stored attachments that the job does not list and nobody is about to. Returns how
    /// many are waited for.
    pub(super) async fn sweep_strays(
        &self,
        job: &ExportJob,
        now: Timestamp,
    ) -> Result<usize, UseCaseError> {
        let Some(export) = job.export() else {
            return Ok(0);
        };
        let listed: HashSet<_> = (job.attachments().iter())
            .map(|attachment| job.attachment_path(attachment))
            .collect();
        let mut stored = Vec::new();
        for attempt in [None, Some(export.attempt)] {
            let folder = job.attachments_folder(attempt);
            stored.extend(self.ports.files.list(&folder).await?);
        }
        let mut waiting = 0;
        for path in stored.into_iter().filter(|path| !listed.contains(path)) {
            if self.strays.is_forsaken(&path, now) {
                tracing::info!(job = %job.id, "a stored file that is no attachment of this export is deleted");
                self.ports.files.delete_prefix(&path).await?;
                self.strays.forget(&path);
            } else {
                waiting += 1;
            }
        }
        Ok(waiting)
    }
}
