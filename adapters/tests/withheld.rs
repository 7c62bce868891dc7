//! What stays in the hospital, seen on whole patients: from their Bundle on disk to the lines of
//! the export.
#![expect(
    clippy::unwrap_used,
    reason = "in a test, what is missing is a failure"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ehi_adapters::memory::MemoryFiles;
use ehi_adapters::records::BundleFolder;
use ehi_adapters::sample::{SampleOptions, patients};
use ehi_core::export::{
    AuthorizationKey, Choices, Counter, Export, ExportJob, ExportLimits, Exporter, Interaction,
    JobId, Kickoff, Links, Selection, SensitivityRules, Verdict,
};
use ehi_core::fhir::Record;
use ehi_core::ports::{FileStore, PatientSearch, PatientSummary, RecordSource};
use ehi_core::testkit::{FixedClock, SeededEntropy, at, kickoff};
use futures::StreamExt;
use jiff::civil::date;
use serde_json::{Value, json};

/// The labels of HL7 that mark a record as sensitive, and the level of confidentiality that does.
const LABELS: &[&str] = &[
    "HIV", "ETH", "SUD", "ETHUD", "OPIOIDUD", "MH", "PSY", "BH", "EMOTDIS", "COGN", "DVD", "VIO",
    "MST", "SDV", "GDIS", "SCA", "SICKLE", "SOC", "SEX", "STD", "PREGNANT", "TBOO", "SPI",
    "PSYTHPN", "V",
];

fn labels(resource: &Value) -> impl Iterator<Item = &str> {
    let labels = resource["meta"]["security"].as_array();
    (labels.into_iter().flatten())
        .filter_map(|label| label["code"].as_str())
        .filter(|code| LABELS.contains(code))
}

/// What one export brought.
struct Brought {
    export: Export,
    lines: Vec<String>,
    /// What the selection says of each record of the source.
    verdicts: Vec<(Value, Verdict)>,
}

impl Brought {
    fn withheld(&self) -> usize {
        let stays = |verdict: &Verdict| {
            matches!(verdict, Verdict::Withheld(_) | Verdict::PsychotherapyNote)
        };
        (self.verdicts.iter())
            .filter(|(_, verdict)| stays(verdict))
            .count()
    }

    fn not_asked(&self) -> usize {
        let not_asked = |(_, verdict): &&(Value, Verdict)| *verdict == Verdict::NotAsked;
        self.verdicts.iter().filter(not_asked).count()
    }

    /// Exported and withheld and not asked for are the source, and the export says so.
    fn assert_whole(&self) {
        let source = self.verdicts.len();
        assert_eq!(
            self.lines.len() + self.withheld() + self.not_asked(),
            source
        );
        let told: u64 = self.export.files.iter().map(|file| file.count).sum();
        assert_eq!(usize::try_from(told).unwrap(), self.lines.len());
        let mut by_key = BTreeMap::new();
        let mut notes = 0;
        for (_, verdict) in &self.verdicts {
            match verdict {
                Verdict::Withheld(keys) => {
                    for key in keys {
                        *by_key.entry(*key).or_insert(0) += 1;
                    }
                }
                Verdict::PsychotherapyNote => notes += 1,
                Verdict::Included | Verdict::NotAsked => {}
            }
        }
        assert_eq!(self.export.withheld, by_key);
        assert_eq!(self.export.psychotherapy_notes, notes);
        let included: BTreeSet<String> = (self.verdicts.iter())
            .filter(|(_, verdict)| *verdict == Verdict::Included)
            .map(|(resource, _)| resource.to_string())
            .collect();
        let lines: BTreeSet<String> = (self.lines.iter())
            .map(|line| serde_json::from_str::<Value>(line).unwrap().to_string())
            .collect();
        assert_eq!(lines, included);
    }
}

async fn folder(path: &Path) -> (Arc<BundleFolder>, Vec<PatientSummary>) {
    let source = Arc::new(BundleFolder::open(path).await.unwrap());
    let everybody = PatientSearch {
        name: String::new(),
        birth_date: None,
        limit: usize::MAX,
    };
    let everybody = source.search(&everybody).await.unwrap();
    (source, everybody)
}

async fn export(source: &Arc<BundleFolder>, patient: &PatientSummary, choices: Choices) -> Brought {
    let files = Arc::new(MemoryFiles::default());
    let rules = SensitivityRules::standard();
    let exporter = Exporter {
        source: source.clone(),
        files: files.clone(),
        clock: Arc::new(FixedClock::at(at(0))),
        entropy: Arc::new(SeededEntropy::default()),
        links: Links::new(&"https://ehi.example/".parse().unwrap()),
        rules: rules.clone().into(),
        limits: ExportLimits::default(),
    };
    let kickoff = Kickoff {
        patient: patient.clone(),
        choices: choices.clone(),
        ..kickoff(Interaction::None)
    };
    let job = ExportJob::kick_off(JobId::from_random([1; 32]), kickoff, at(0));
    let (export, _) = exporter.run(&job, 1, &Counter::default()).await.unwrap();
    let mut lines = Vec::new();
    for file in &export.files {
        let path = job.file_path(&export, file);
        let mut chunks = files.read(&path, 0..file.size).await.unwrap().unwrap();
        let mut text = Vec::new();
        while let Some(chunk) = chunks.next().await {
            text.extend_from_slice(&chunk.unwrap());
        }
        let text = String::from_utf8(text).unwrap();
        lines.extend(text.lines().map(str::to_owned));
    }
    let selection = Selection::new(choices, rules);
    let records = source.records(&patient.id, &selection).await.unwrap();
    let records: Vec<Record> = records.map(Result::unwrap).collect().await;
    let verdicts = (records.iter())
        .map(|record| {
            let resource = serde_json::from_slice(record.json()).unwrap();
            (resource, selection.judge(record))
        })
        .collect();
    Brought {
        export,
        lines,
        verdicts,
    }
}

/// Made-up patient number 0, who has lived through every kind of sensitive episode.
async fn patient_zero(
    folder_path: &Path,
    seed: u64,
) -> (Arc<BundleFolder>, PatientSummary, Vec<Value>) {
    let options = SampleOptions {
        patients: 1,
        seed,
        today: date(2025, 6, 30),
    };
    let patient = patients(options).next().unwrap();
    let file = folder_path.join(&patient.file_name);
    std::fs::write(file, patient.bundle.to_string()).unwrap();
    let (source, mut everybody) = folder(folder_path).await;
    let entries = patient.bundle["entry"].as_array().unwrap();
    let resources = entries.iter().map(|entry| entry["resource"].clone());
    (source, everybody.remove(0), resources.collect())
}

#[tokio::test]
async fn with_nothing_authorised_no_labelled_record_leaves() {
    for seed in [1, 2, 3] {
        let place = tempfile::tempdir().unwrap();
        let (source, patient, resources) = patient_zero(place.path(), seed).await;
        let brought = export(&source, &patient, Choices::form_default()).await;
        brought.assert_whole();
        for line in &brought.lines {
            let resource: Value = serde_json::from_str(line).unwrap();
            assert_eq!(labels(&resource).next(), None, "{line}");
            // The codes of the sample's episodes, wherever they stand.
            for code in [
                "86406008", "B20", "F10.20", "F33.1", "T74.11XA", "Z04.41", "Z15.01",
            ] {
                assert!(!line.contains(&format!("\"{code}\"")), "{code}: {line}");
            }
        }
        let labelled = resources.iter().filter(|r| labels(r).next().is_some());
        assert!(labelled.count() > 40);
        for key in AuthorizationKey::ALL {
            assert!(brought.export.withheld.contains_key(key), "{key:?}");
        }
        assert!(brought.export.psychotherapy_notes > 0);
        assert!(brought.lines.len() > resources.len() / 4);
    }
}

#[tokio::test]
async fn with_everything_authorised_all_but_psychotherapy_notes_leave() {
    let place = tempfile::tempdir().unwrap();
    let (source, patient, resources) = patient_zero(place.path(), 1).await;
    let brought = export(&source, &patient, Choices::whole_record()).await;
    brought.assert_whole();
    let is_note = |resource: &&Value| labels(resource).any(|label| label == "PSYTHPN");
    let notes = resources.iter().filter(is_note).count();
    assert!(notes > 0);
    assert_eq!(brought.lines.len(), resources.len() - notes);
    assert_eq!(brought.withheld(), notes);
    assert!(!brought.lines.iter().any(|line| line.contains("PSYTHPN")));
}

#[tokio::test]
async fn one_authorization_lets_out_its_own_records_alone() {
    let place = tempfile::tempdir().unwrap();
    let (source, patient, _) = patient_zero(place.path(), 1).await;
    let nothing = export(&source, &patient, Choices::form_default()).await;
    for (key, value, label) in [
        ("hiv", json!(true), "HIV"),
        ("alcoholAndDrug", json!(true), "ETH"),
        ("domesticViolence", json!(true), "VIO"),
        ("confidential", json!(true), "SOC"),
        ("genetic", json!("all of it"), "GDIS"),
        ("other", json!("all of it"), "STD"),
    ] {
        let choices = json!({"authorizations": {key: {"value": value}}});
        let choices = Choices::from_json(&choices).unwrap();
        let brought = export(&source, &patient, choices).await;
        brought.assert_whole();
        let before: BTreeSet<_> = nothing.lines.iter().collect();
        let new = (brought.lines.iter()).filter(|line| !before.contains(line));
        let new: Vec<Value> = new
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(!new.is_empty(), "{key}");
        assert!(
            new.iter()
                .any(|record| labels(record).any(|code| code == label)),
            "{key}"
        );
        let rules = SensitivityRules::standard();
        for resource in new {
            let record = Record::parse(resource.to_string().as_bytes()).unwrap();
            let protections = rules.protected_by(&record);
            let expected = AuthorizationKey::parse(key).unwrap();
            assert_eq!(
                protections,
                [ehi_core::export::Protection::Authorization(expected)],
                "{resource}"
            );
        }
    }
}

#[tokio::test]
async fn parts_and_times_make_up_the_whole_of_a_patient() {
    let place = tempfile::tempdir().unwrap();
    let (source, patient, _) = patient_zero(place.path(), 1).await;
    let whole = export(&source, &patient, Choices::whole_record()).await;
    let mut met = BTreeSet::new();
    let keys = ehi_core::export::ParameterKey::ALL;
    for key in keys {
        for time in [
            json!({"enabled": true, "to": "2009"}),
            json!({"enabled": true, "from": "2010", "to": "2019"}),
            json!({"enabled": true, "from": "2020"}),
        ] {
            let all = AuthorizationKey::ALL.iter().map(|key| {
                let value = if key.is_text() {
                    json!("yes")
                } else {
                    json!(true)
                };
                (key.key().to_owned(), json!({"value": value}))
            });
            let choices = json!({
                "parameters": {key.key(): time},
                "authorizations": all.collect::<serde_json::Map<_, _>>(),
            });
            let brought = export(&source, &patient, Choices::from_json(&choices).unwrap()).await;
            brought.assert_whole();
            assert!(brought.lines.len() < whole.lines.len());
            met.extend(brought.lines);
        }
    }
    assert_eq!(met, whole.lines.into_iter().collect());
}

/// Records made by Synthea, where they are on this machine.
#[tokio::test]
async fn foreign_patients_are_exported_or_withheld_whole() {
    let shared: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fhir");
    if !shared.exists() {
        return;
    }
    let (source, everybody) = folder(&shared).await;
    assert!(!everybody.is_empty());
    for patient in &everybody {
        for choices in [
            Choices::form_default(),
            Choices::whole_record(),
            Choices::from_json(
                &json!({"parameters": {"visits": {"enabled": true, "from": "2015"}}}),
            )
            .unwrap(),
        ] {
            let everything = choices == Choices::whole_record();
            let brought = export(&source, patient, choices).await;
            brought.assert_whole();
            assert!(!everything || brought.withheld() == 0);
        }
    }
}
