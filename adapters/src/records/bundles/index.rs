//! Who the patients in a folder are, and which file is whose.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ehi_core::fhir::{Layout, PatientId, RecordReader, ResourceType};
use ehi_core::ports::PatientSummary;

use super::stream::{Pieces, place};

/// What tells one version of a file from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            length: metadata.len(),
            // Not every file system knows it.
            modified: metadata.modified().ok(),
        }
    }
}

/// A patient and the file that is theirs.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) patient: PatientSummary,
    pub(super) path: PathBuf,
    pub(super) stamp: Stamp,
}

impl Known {
    /// Whether the file is still the one that was read.
    pub(super) fn is_unchanged(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|metadata| Stamp::from(&metadata) == self.stamp)
    }
}

/// What is known of a folder.
#[derive(Debug, Default)]
pub(super) struct Index {
    files: BTreeMap<OsString, (Stamp, Result<PatientSummary, String>)>,
    known: HashMap<PatientId, Known>,
    /// In order of the files' names.
    warnings: Vec<String>,
}

impl Index {
    /// Looks through the folder. Files that have not changed since `before` are not read again,
    /// and nothing is logged twice.
    pub(super) fn look(folder: &Path, before: &Self) -> io::Result<Self> {
        let mut index = Self::default();
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name();
            let path = folder.join(&name);
            let is_hidden = name.as_encoded_bytes().starts_with(b".");
            let Some(layout) = layout_of(&path).filter(|_| !is_hidden) else {
                continue;
            };
            // Follows links. What is gone already, or leads nowhere, is not there.
            let Ok(metadata) = fs::metadata(&path) else {
                continue;
            };
            if !metadata.is_file() {
                continue;
            }
            let stamp = Stamp::from(&metadata);
            let content = match before.files.get(&name) {
                Some((known, content)) if *known == stamp => content.clone(),
                _ => match patient_of(&path, layout, stamp) {
                    Ok(content) => content,
                    // Permissions can change without a trace in the stamp: not remembered.
                    Err(error) => {
                        index.warn(
                            &path,
                            &format!("it cannot be read ({error}). Check the permissions"),
                        );
                        continue;
                    }
                },
            };
            index.files.insert(name, (stamp, content));
        }
        index.assign(folder);
        let told: HashSet<&String> = before.warnings.iter().collect();
        for warning in index.warnings.iter().filter(|each| !told.contains(each)) {
            tracing::warn!("{warning}");
        }
        Ok(index)
    }

    /// Gives each patient the first of their files.
    fn assign(&mut self, folder: &Path) {
        for (name, (stamp, content)) in std::mem::take(&mut self.files) {
            let path = folder.join(&name);
            let other = (content.as_ref()).map(|patient| self.known.get(&patient.id));
            match (&content, other) {
                (Err(reason), _) => self.warn(&path, reason),
                (Ok(_), Ok(Some(first))) => {
                    let first = first.path.file_name().unwrap_or_default().display();
                    let reason = format!(
                        "{first} holds the same patient. Put the whole record into one of them and remove the other"
                    );
                    self.warn(&path, &reason);
                }
                (Ok(patient), _) => {
                    let known = Known {
                        patient: patient.clone(),
                        path,
                        stamp,
                    };
                    self.known.insert(patient.id.clone(), known);
                }
            }
            self.files.insert(name, (stamp, content));
        }
    }

    fn warn(&mut self, path: &Path, reason: &str) {
        let warning = format!("{} is left out: {reason}", path.display());
        self.warnings.push(warning);
    }

    /// The patient with this id.
    pub(super) fn find(&self, id: &PatientId) -> Option<&Known> {
        self.known.get(id)
    }

    /// Everybody, in no order.
    pub(super) fn patients(&self) -> impl Iterator<Item = &PatientSummary> {
        self.known.values().map(|known| &known.patient)
    }

    /// What was left out.
    pub(super) fn warnings(&self) -> impl Iterator<Item = &str> {
        self.warnings.iter().map(String::as_str)
    }
}

/// What a file's name says is in it; `None` for files that are none of ours.
pub(super) fn layout_of(path: &Path) -> Option<Layout> {
    let extension = path.extension()?;
    if extension.eq_ignore_ascii_case("json") {
        Some(Layout::Bundle)
    } else if extension.eq_ignore_ascii_case("ndjson") {
        Some(Layout::Ndjson)
    } else {
        None
    }
}

/// Reads a file through for the one patient in it, or for why it cannot be used.
fn patient_of(
    path: &Path,
    layout: Layout,
    stamp: Stamp,
) -> io::Result<Result<PatientSummary, String>> {
    let mut found = None;
    let mut pieces = Pieces::new(File::open(path)?, layout, RecordReader::DEFAULT_LIMIT);
    while let Some(items) = pieces.next()? {
        for item in items {
            let patient = match item {
                Ok(record) if record.resource_type() == ResourceType::Patient => {
                    PatientSummary::of(&record).ok_or_else(|| {
                        "its Patient has no id that FHIR allows. Give it one".to_owned()
                    })
                }
                Err(broken) if broken.rest => {
                    let place = place(path, &broken);
                    return Ok(Err(format!(
                        "it is broken or still being written ({place}: {broken}). It is read again once it has changed"
                    )));
                }
                // Somebody's data all the same.
                Err(broken) if broken.resource_type == Some(ResourceType::Patient) => {
                    Err(format!("its Patient cannot be read ({broken}). Mend it"))
                }
                Ok(_) | Err(_) => continue,
            };
            if found.replace(patient).is_some() {
                return Ok(Err(
                    "it holds more than one Patient. Split it into one file for each".to_owned(),
                ));
            }
        }
    }
    if Stamp::from(&fs::metadata(path)?) != stamp {
        return Ok(Err(
            "it is still being written. It is read again once it has changed".to_owned(),
        ));
    }
    Ok(found.unwrap_or_else(|| {
        Err("it holds no Patient. Put each patient's whole record into one file, the Patient resource included".to_owned())
    }))
}
