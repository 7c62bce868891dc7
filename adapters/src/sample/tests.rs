use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::civil::{Date, DateTime, date};
use proptest::prelude::{ProptestConfig, prop_assert, proptest};
use serde_json::Value;

use super::{SampleOptions, SamplePatient, patients};

const TODAY: Date = date(2025, 6, 30);

fn sample(patients: u32, seed: u64) -> impl Iterator<Item = SamplePatient> {
    super::patients(SampleOptions {
        patients,
        seed,
        today: TODAY,
    })
}

fn resources(patient: &SamplePatient) -> impl Iterator<Item = &Value> {
    patient.bundle["entry"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|entry| &entry["resource"])
}

fn kind(resource: &Value) -> &str {
    resource["resourceType"].as_str().unwrap()
}

/// Calls `see` with the name and the value of every element, however deep.
fn walk<'a>(value: &'a Value, see: &mut impl FnMut(&'a str, &'a Value)) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                see(name, value);
                walk(value, see);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, see)),
        _ => {}
    }
}

fn security_codes(resource: &Value) -> impl Iterator<Item = &str> {
    let labels = resource["meta"]["security"]
        .as_array()
        .into_iter()
        .flatten();
    labels.map(|label| label["code"].as_str().unwrap())
}

/// A FHIR date or instant: the local time, and whether it names one.
fn moment(text: &str) -> Option<(DateTime, bool)> {
    if let Some(local) = text.strip_suffix("-05:00") {
        return local.parse().ok().map(|moment| (moment, true));
    }
    let looks_like_a_date =
        text.len() == 10 && text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-';
    looks_like_a_date
        .then(|| text.parse().ok())
        .flatten()
        .map(|day: Date| (day.at(0, 0, 0, 0), false))
}

fn assert_dates_fit(patient: &SamplePatient) {
    let person = resources(patient).next().unwrap();
    let birth: Date = person["birthDate"].as_str().unwrap().parse().unwrap();
    let death = person["deceasedDateTime"]
        .as_str()
        .map(|death| moment(death).unwrap().0);
    let last = death.unwrap_or(TODAY.at(0, 0, 0, 0));
    let mut dates = 0;
    for resource in resources(patient) {
        walk(resource, &mut |name, value| {
            if let Some(text) = value.as_str()
                && let Some((moment, _)) = moment(text)
            {
                dates += 1;
                assert!(
                    moment >= birth.at(0, 0, 0, 0),
                    "{name} {text} before birth {birth}: {resource}"
                );
                assert!(moment <= last, "{name} {text} after {last}: {resource}");
            }
            if let (Some(start), Some(end)) = (value["start"].as_str(), value["end"].as_str()) {
                assert!(
                    moment(start) <= moment(end),
                    "{name} ends before it starts: {resource}"
                );
            }
        });
        if let (Some(onset), Some(abatement)) = (
            resource["onsetDateTime"].as_str(),
            resource["abatementDateTime"].as_str(),
        ) {
            assert!(
                moment(onset) <= moment(abatement),
                "over before it began: {resource}"
            );
        }
    }
    assert!(dates > 50, "only {dates} dates were looked at");
}

fn assert_references_resolve(patient: &SamplePatient) {
    let entries = patient.bundle["entry"].as_array().unwrap();
    let urls: BTreeSet<_> = entries
        .iter()
        .map(|entry| entry["fullUrl"].as_str().unwrap())
        .collect();
    assert_eq!(urls.len(), entries.len(), "every fullUrl is used once");
    let mut references = 0;
    walk(&patient.bundle, &mut |name, value| {
        if name == "reference" {
            references += 1;
            assert!(
                urls.contains(value.as_str().unwrap()),
                "{value} is not in the bundle"
            );
        }
    });
    assert!(references > entries.len(), "only {references} references");
}

#[test]
fn the_same_seed_makes_the_same_bytes() {
    let bytes = |seed| {
        sample(3, seed)
            .map(|patient| patient.bundle.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(bytes(7), bytes(7));
}

#[test]
fn another_seed_makes_other_people() {
    let ids = |seed| {
        sample(5, seed)
            .map(|patient| patient.id)
            .collect::<BTreeSet<_>>()
    };
    assert!(ids(1).is_disjoint(&ids(2)));
}

#[test]
fn a_patient_is_the_same_however_many_are_asked_for() {
    let third = |count| sample(count, 11).nth(2).unwrap();
    assert_eq!(third(3), third(40));
}

#[test]
fn as_many_patients_come_as_are_asked_for() {
    let all: BTreeSet<_> = sample(9, 3).map(|patient| patient.id).collect();
    assert_eq!(all.len(), 9);
    assert_eq!(sample(0, 3).count(), 0);
}

#[test]
fn the_patient_comes_first_and_names_the_file() {
    for patient in sample(12, 5) {
        let first = resources(&patient).next().unwrap();
        assert_eq!(kind(first), "Patient");
        assert_eq!(first["id"], patient.id);
        let (name, id) = patient
            .file_name
            .trim_end_matches(".json")
            .rsplit_once('_')
            .unwrap();
        assert_eq!(id, patient.id);
        assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'),
            "{name}"
        );
        assert_eq!(
            resources(&patient)
                .filter(|resource| kind(resource) == "Patient")
                .count(),
            1
        );
    }
}

#[test]
fn every_reference_resolves_inside_the_bundle() {
    sample(12, 17).for_each(|patient| assert_references_resolve(&patient));
}

#[test]
fn every_date_lies_between_birth_and_the_end_of_the_record() {
    let everybody: Vec<_> = sample(40, 19).collect();
    everybody.iter().for_each(assert_dates_fit);
    let dead = everybody
        .iter()
        .filter(|patient| resources(patient).next().unwrap()["deceasedDateTime"].is_string());
    assert!(dead.count() > 0, "somebody has died");
}

#[test]
fn ids_are_valid_and_used_once() {
    let mut seen = BTreeSet::new();
    for patient in sample(12, 23) {
        for entry in patient.bundle["entry"].as_array().unwrap() {
            let id = entry["resource"]["id"].as_str().unwrap();
            assert!((1..=64).contains(&id.len()));
            assert!(
                id.bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')),
                "{id}"
            );
            assert!(uuid::Uuid::parse_str(id).is_ok());
            assert_eq!(entry["fullUrl"], format!("urn:uuid:{id}"));
            assert!(seen.insert(id.to_owned()), "{id} is used twice");
        }
    }
}

/// The elements that R4 requires, with those that the record is of no use without.
const REQUIRED: &[(&str, &[&str])] = &[
    (
        "Patient",
        &["name", "gender", "birthDate", "identifier", "extension"],
    ),
    ("Organization", &["name", "active"]),
    ("Practitioner", &["name"]),
    ("Location", &["name", "status"]),
    ("Coverage", &["status", "beneficiary", "payor"]),
    (
        "Encounter",
        &[
            "status",
            "class",
            "type",
            "subject",
            "period",
            "serviceProvider",
        ],
    ),
    (
        "Condition",
        &[
            "clinicalStatus",
            "verificationStatus",
            "category",
            "code",
            "subject",
        ],
    ),
    (
        "Observation",
        &["status", "category", "code", "subject", "effectiveDateTime"],
    ),
    (
        "DiagnosticReport",
        &[
            "status",
            "category",
            "code",
            "subject",
            "effectiveDateTime",
            "issued",
        ],
    ),
    (
        "Procedure",
        &["status", "code", "subject", "performedPeriod"],
    ),
    (
        "MedicationRequest",
        &[
            "status",
            "intent",
            "medicationCodeableConcept",
            "subject",
            "authoredOn",
            "requester",
            "dosageInstruction",
        ],
    ),
    (
        "Immunization",
        &["status", "vaccineCode", "patient", "occurrenceDateTime"],
    ),
    (
        "AllergyIntolerance",
        &["clinicalStatus", "verificationStatus", "code", "patient"],
    ),
    (
        "CarePlan",
        &["status", "intent", "category", "subject", "activity"],
    ),
    (
        "Claim",
        &[
            "status",
            "type",
            "use",
            "patient",
            "created",
            "provider",
            "priority",
            "insurance",
            "item",
        ],
    ),
    (
        "ExplanationOfBenefit",
        &[
            "status",
            "type",
            "use",
            "patient",
            "created",
            "insurer",
            "provider",
            "outcome",
            "insurance",
            "item",
        ],
    ),
    (
        "DocumentReference",
        &[
            "status", "type", "category", "subject", "date", "content", "context",
        ],
    ),
    ("Media", &["status", "type", "subject", "content"]),
    ("ImagingStudy", &["status", "subject", "started", "series"]),
];

#[test]
fn required_elements_are_present() {
    let required: BTreeMap<_, _> = REQUIRED.iter().copied().collect();
    for patient in sample(12, 29) {
        for resource in resources(&patient) {
            let Some(elements) = required.get(kind(resource)) else {
                panic!("an unexpected {}", kind(resource))
            };
            for element in *elements {
                assert!(
                    !resource[*element].is_null(),
                    "{element} is missing: {resource}"
                );
            }
            if kind(resource) == "Observation" {
                let fields = resource.as_object().unwrap();
                assert!(
                    fields
                        .keys()
                        .any(|name| name.starts_with("value") || name == "component"),
                    "{resource}"
                );
            }
        }
    }
}

#[test]
fn nothing_in_a_resource_is_null_or_empty() {
    for patient in sample(12, 30) {
        walk(&patient.bundle, &mut |name, value| {
            assert!(!value.is_null(), "{name} is null");
            assert!(
                value.as_array().is_none_or(|items| !items.is_empty()),
                "{name} is an empty list"
            );
            assert!(
                value.as_str().is_none_or(|text| !text.is_empty()),
                "{name} is empty"
            );
        });
    }
}

#[test]
fn every_kind_of_resource_occurs_within_twelve_patients() {
    for seed in 0..6 {
        let everybody: Vec<_> = sample(12, seed).collect();
        let seen: BTreeSet<_> = everybody.iter().flat_map(resources).map(kind).collect();
        let expected: BTreeSet<_> = REQUIRED.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(seen, expected, "seed {seed}");
    }
}

#[test]
fn reports_of_every_section_and_documents_of_every_sort_occur() {
    let patient = sample(1, 31).next().unwrap();
    let sections: BTreeSet<_> = resources(&patient)
        .filter(|resource| kind(resource) == "DiagnosticReport")
        .map(|report| report["category"][0]["coding"][0]["code"].as_str().unwrap())
        .collect();
    assert_eq!(sections, BTreeSet::from(["LAB", "PAT", "RAD"]));
    let documents: BTreeSet<_> = resources(&patient)
        .filter(|resource| kind(resource) == "DocumentReference")
        .map(|document| document["type"]["coding"][0]["code"].as_str().unwrap())
        .collect();
    for code in [
        "18842-5", "11506-3", "11504-8", "34117-2", "11488-4", "28653-4",
    ] {
        assert!(documents.contains(code), "no {code} in {documents:?}");
    }
}

#[test]
fn laboratory_reports_list_their_observations_and_radiology_its_images() {
    for patient in sample(6, 37) {
        let kinds: BTreeMap<_, _> = resources(&patient)
            .map(|resource| {
                (
                    format!("urn:uuid:{}", resource["id"].as_str().unwrap()),
                    kind(resource),
                )
            })
            .collect();
        for report in resources(&patient).filter(|resource| kind(resource) == "DiagnosticReport") {
            let (element, target) =
                match report["category"][0]["coding"][0]["code"].as_str().unwrap() {
                    "LAB" => ("result", "Observation"),
                    "RAD" => ("imagingStudy", "ImagingStudy"),
                    _ => continue,
                };
            for link in report[element].as_array().unwrap() {
                assert_eq!(kinds[link["reference"].as_str().unwrap()], target);
            }
        }
    }
}

#[test]
fn the_first_patient_carries_every_family_of_labels() {
    for seed in 0..6 {
        let patient = sample(1, seed).next().unwrap();
        let labels: BTreeSet<_> = resources(&patient).flat_map(security_codes).collect();
        for label in [
            "HIV", "ETH", "SUD", "MH", "VIO", "SDV", "MST", "GDIS", "SOC", "STD", "SEX", "PSYTHPN",
            "R", "V",
        ] {
            assert!(
                labels.contains(label),
                "seed {seed}: no {label} in {labels:?}"
            );
        }
    }
}

#[test]
fn most_of_a_record_carries_no_label() {
    for patient in sample(12, 41) {
        let labelled = resources(&patient)
            .filter(|resource| security_codes(resource).next().is_some())
            .count();
        assert!(
            labelled * 2 < resources(&patient).count(),
            "{}: {labelled} labelled",
            patient.file_name
        );
    }
}

#[test]
fn embedded_files_decode_to_what_they_say_they_are() {
    let mut seen = BTreeSet::new();
    for patient in sample(12, 43) {
        walk(&patient.bundle, &mut |_, value| {
            let Some(data) = value["data"].as_str() else {
                return;
            };
            let bytes = STANDARD.decode(data).unwrap();
            assert_eq!(value["size"], bytes.len());
            let content_type = value["contentType"].as_str().unwrap();
            seen.insert(content_type.to_owned());
            match content_type {
                "application/pdf" => {
                    assert!(bytes.starts_with(b"%PDF-") && bytes.ends_with(b"%%EOF\n"));
                }
                "image/png" => assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n")),
                _ => assert!(String::from_utf8(bytes).unwrap().lines().count() > 3),
            }
        });
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

#[test]
fn the_cross_reference_table_of_a_pdf_points_at_its_objects() {
    let file = super::files::pdf(&["One line (with brackets)", "and \\ another"]);
    let text = String::from_utf8(file).unwrap();
    let (_, start) = text
        .trim_end_matches("\n%%EOF\n")
        .rsplit_once('\n')
        .unwrap();
    let table = &text[start.parse().unwrap()..];
    assert!(table.starts_with("xref\n0 6\n"));
    for (number, line) in table.lines().skip(3).take(5).enumerate() {
        let offset: usize = line[..10].parse().unwrap();
        assert!(
            text[offset..].starts_with(&format!("{} 0 obj\n", number + 1)),
            "{line}"
        );
    }
    assert!(text.contains("(One line \\(with brackets\\)) '"));
}

#[test]
fn bundles_are_about_as_large_as_a_real_adult_record() {
    let sizes: Vec<_> = sample(12, 47)
        .map(|patient| serde_json::to_vec_pretty(&patient.bundle).unwrap().len())
        .collect();
    let average = sizes.iter().sum::<usize>() / sizes.len();
    assert!(
        (300_000..1_500_000).contains(&average),
        "average {average}: {sizes:?}"
    );
}

#[test]
fn a_calendar_at_its_edges_still_makes_records() {
    for today in [Date::MIN, date(1900, 1, 1), date(2024, 2, 29), Date::MAX] {
        assert_eq!(
            patients(SampleOptions {
                patients: 2,
                seed: 1,
                today
            })
            .count(),
            2
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_seed_makes_a_record_that_holds_together(seed: u64, number: u32) {
        let patient = super::life::live(seed, number, TODAY);
        assert_references_resolve(&patient);
        assert_dates_fit(&patient);
        prop_assert!(resources(&patient).any(|resource| kind(resource) == "Encounter"));
    }
}
