//! Radiology: the report, and the study it reads.

use jiff::ToSpan as _;
use serde_json::json;

use super::chart::{Chart, narrative, stamp};
use super::codes::{Code, concept, loinc, section, snomed};
use super::documents::attachment;
use super::encounters::Visit;

/// An examination and what the radiologist sees on it.
#[derive(Debug)]
pub(super) struct Study {
    procedure: Code,
    modality: (&'static str, &'static str),
    body_site: Code,
    /// The DICOM class of the images.
    image_class: &'static str,
    images: i64,
    findings: &'static str,
    impression: &'static str,
}

const RADIOGRAPH: (&str, &str) = ("DX", "Digital Radiography");
const RADIOGRAPH_CLASS: &str = "urn:oid:1.2.840.10008.5.1.4.1.1.1.1";

pub(super) static CHEST: Study = Study {
    procedure: snomed("399208008", "Plain chest X-ray (procedure)"),
    modality: RADIOGRAPH,
    body_site: snomed("51185008", "Thoracic structure (body structure)"),
    image_class: RADIOGRAPH_CLASS,
    images: 2,
    findings: "Patchy opacity in the right lower lobe. The heart is of normal size. No pleural effusion.",
    impression: "Right lower lobe opacity, consistent with pneumonia in the right clinical setting.",
};

pub(super) static WRIST: Study = Study {
    procedure: snomed("60027007", "Radiography of wrist (procedure)"),
    modality: RADIOGRAPH,
    body_site: snomed("8205005", "Wrist region structure (body structure)"),
    image_class: RADIOGRAPH_CLASS,
    images: 3,
    findings: "Transverse fracture of the distal radius without displacement. Soft tissue swelling.",
    impression: "Undisplaced fracture of the distal radius.",
};

pub(super) static ANKLE: Study = Study {
    procedure: snomed("19490002", "Ankle X-ray (procedure)"),
    modality: RADIOGRAPH,
    body_site: snomed("344001", "Ankle region structure (body structure)"),
    image_class: RADIOGRAPH_CLASS,
    images: 3,
    findings: "No fracture or dislocation. Soft tissue swelling over the lateral malleolus.",
    impression: "No fracture.",
};

pub(super) static KNEE: Study = Study {
    procedure: snomed("74016001", "Radiography of knee (procedure)"),
    modality: RADIOGRAPH,
    body_site: snomed("72696002", "Knee region structure (body structure)"),
    image_class: RADIOGRAPH_CLASS,
    images: 2,
    findings: "Narrowing of the medial joint space with marginal osteophytes and subchondral sclerosis.",
    impression: "Osteoarthritis of the knee, medial compartment.",
};

pub(super) static ABDOMEN: Study = Study {
    procedure: snomed("169070004", "Computed tomography of abdomen (procedure)"),
    modality: ("CT", "Computed Tomography"),
    body_site: snomed("113345001", "Abdominal structure (body structure)"),
    image_class: "urn:oid:1.2.840.10008.5.1.4.1.1.2",
    images: 6,
    findings: "Inflammatory change of the surrounding fat. No free air. No drainable collection.",
    impression: "Findings in keeping with the clinical diagnosis; no perforation.",
};

pub(super) fn examine(chart: &mut Chart, visit: &mut Visit, study: &Study) {
    let started = chart.no_later(visit.start.saturating_add(10.minutes()));
    let uid = format!("2.25.{}", chart.dice.between(1_000_000_000, 4_000_000_000));
    let (modality, modality_name) = study.modality;
    let modality = json!({
        "system": "http://dicom.nema.org/resources/ontology/DCM",
        "code": modality,
        "display": modality_name,
    });
    let instances: Vec<_> = (1..=study.images)
        .map(|image| {
            json!({
                "uid": format!("{uid}.1.{image}"),
                "sopClass": { "system": "urn:ietf:rfc:3986", "code": study.image_class },
                "number": image,
                "title": format!("Image {image} of {}", study.images),
            })
        })
        .collect();
    let body = json!({
        "identifier": [{ "use": "official", "system": "urn:dicom:uid", "value": format!("urn:oid:{uid}") }],
        "status": "available",
        "modality": [modality],
        "subject": chart.patient.json(),
        "encounter": visit.encounter.json(),
        "started": stamp(started),
        "numberOfSeries": 1,
        "numberOfInstances": study.images,
        "procedureCode": [study.procedure.concept()],
        "series": [{
            "uid": format!("{uid}.1"),
            "number": 1,
            "modality": modality,
            "numberOfInstances": study.images,
            "bodySite": study.body_site.coding(),
            "started": stamp(started),
            "instance": instances,
        }],
    });
    let images = chart.add("ImagingStudy", visit.security, body);

    let issued = chart.no_later(started.saturating_add(45.minutes()));
    let text = format!(
        "{}\n{} of {}\n\nFINDINGS\n{}\n\nIMPRESSION\n{}\n\nRead by {}\n",
        study.procedure.display,
        chart.person.name(),
        started.date(),
        study.findings,
        study.impression,
        chart.team.radiologist.name(),
    );
    let body = json!({
        "text": narrative(study.impression),
        "status": "final",
        "category": [section("RAD", "Radiology").concept()],
        "code": concept(&[loinc("18748-4", "Diagnostic imaging study"), study.procedure]),
        "subject": chart.patient.json(),
        "encounter": visit.encounter.json(),
        "effectiveDateTime": stamp(started),
        "issued": stamp(issued),
        "performer": [chart.team.hospital.organization.json()],
        "resultsInterpreter": [chart.team.radiologist.json()],
        "imagingStudy": [images.json()],
        "conclusion": study.impression,
        "presentedForm": [attachment("text/plain; charset=utf-8", "Radiology report", text.as_bytes(), issued)],
    });
    chart.add("DiagnosticReport", visit.security, body);
    visit.services.push((study.procedure, 21_900));
}
