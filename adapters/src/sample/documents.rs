//! What is written and photographed: `DocumentReference`, `Media` and pathology reports.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::ToSpan as _;
use jiff::civil::DateTime;
use serde_json::{Value, json};

use super::chart::{Chart, Link, Security, narrative, stamp};
use super::codes::{Code, concept, loinc, section, snomed};
use super::encounters::Visit;
use super::files;

pub(super) const PROGRESS_NOTE: Code = loinc("11506-3", "Progress note");
pub(super) const DISCHARGE_SUMMARY: Code = loinc("18842-5", "Discharge summary");
pub(super) const OPERATIVE_NOTE: Code = loinc("11504-8", "Surgical operation note");
pub(super) const HISTORY_AND_PHYSICAL: Code = loinc("34117-2", "History and physical note");
pub(super) const CONSULT_NOTE: Code = loinc("11488-4", "Consult note");
pub(super) const PSYCHOLOGY_NOTE: Code = loinc("11510-5", "Psychology Progress note");
pub(super) const SOCIAL_WORK_NOTE: Code = loinc("28653-4", "Social work Note");

pub(super) const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// An `Attachment` with its bytes inside.
pub(super) fn attachment(
    content_type: &str,
    title: &str,
    bytes: &[u8],
    created: DateTime,
) -> Value {
    json!({
        "contentType": content_type,
        "language": "en-US",
        "data": STANDARD.encode(bytes),
        "size": bytes.len(),
        "title": title,
        "creation": stamp(created),
    })
}

/// A document of a visit: a heading, who and when, and the paragraphs.
pub(super) struct Document<'a> {
    pub(super) kind: Code,
    pub(super) author: &'a Link,
    pub(super) security: Security,
    pub(super) paragraphs: &'a [String],
    /// Whether it was also printed, as a PDF.
    pub(super) printed: bool,
}

pub(super) fn write(chart: &mut Chart, visit: &Visit, document: &Document<'_>) {
    let Document {
        kind,
        author,
        security,
        paragraphs,
        printed,
    } = *document;
    let written = visit.end;
    let heading = [
        kind.display.to_uppercase(),
        visit.site.organization.name().to_owned(),
        format!(
            "Patient: {}, born {}",
            chart.person.name(),
            chart.person.birth.date()
        ),
        format!("Visit: {} to {}", visit.start, visit.end),
        format!("Author: {}", author.name()),
    ];
    let text = format!("{}\n\n{}\n", heading.join("\n"), paragraphs.join("\n\n"));
    let mut content = vec![content(&attachment(
        PLAIN_TEXT,
        kind.display,
        text.as_bytes(),
        written,
    ))];
    if printed {
        let lines: Vec<_> = text.lines().flat_map(|line| wrap(line, 88)).collect();
        content.push(self::content(&attachment(
            "application/pdf",
            kind.display,
            &files::pdf(&lines),
            written,
        )));
    }
    let body = json!({
        "text": narrative(&format!("{} of {} by {}", kind.display, written.date(), author.name())),
        "identifier": [{ "system": "urn:ietf:rfc:3986", "value": format!("urn:uuid:{}", chart.dice.uuid()) }],
        "status": "current",
        "docStatus": "final",
        "type": kind.concept(),
        "category": [{
            "coding": [{
                "system": "http://hl7.org/fhir/us/core/CodeSystem/us-core-documentreference-category",
                "code": "clinical-note",
                "display": "Clinical Note",
            }],
            "text": "Clinical Note",
        }],
        "subject": chart.patient.json(),
        "date": stamp(written),
        "author": [author.json()],
        "custodian": visit.site.organization.json(),
        "content": content,
        "context": { "encounter": [visit.encounter.json()], "period": visit.period() },
    });
    chart.add("DocumentReference", security, body);
}

fn content(attachment: &Value) -> Value {
    json!({
        "attachment": attachment,
        "format": {
            "system": "http://ihe.net/fhir/ValueSet/IHE.FormatCode.codesystem",
            "code": "urn:ihe:iti:xds:2017:mimeTypeSufficient",
            "display": "mimeType Sufficient",
        },
    })
}

/// Breaks a line at spaces so that it fits on paper.
fn wrap(line: &str, width: usize) -> Vec<&str> {
    let mut rest = line;
    let mut lines = Vec::new();
    while let Some((far, _)) = rest.char_indices().nth(width) {
        let Some(space) = rest[..far].rfind(' ') else {
            break;
        };
        lines.push(&rest[..space]);
        rest = &rest[space + 1..];
    }
    lines.push(rest);
    lines
}

/// A photo of what the patient shows, as it is taken at the bedside.
pub(super) fn photograph(chart: &mut Chart, visit: &Visit, body_site: Code, reason: &[Code]) {
    let mark = (
        chart.dice.pick(&[10, 14, 18, 22]),
        chart.dice.pick(&[10, 13, 18, 21]),
    );
    let taken = chart.no_later(visit.start.saturating_add(5.minutes()));
    let body = json!({
        "status": "completed",
        "type": { "coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/media-type",
            "code": "image",
            "display": "Image",
        }] },
        "subject": chart.patient.json(),
        "encounter": visit.encounter.json(),
        "createdDateTime": stamp(taken),
        "operator": visit.doctor.json(),
        "reasonCode": [concept(reason)],
        "bodySite": body_site.concept(),
        "height": files::SIDE,
        "width": files::SIDE,
        "content": attachment("image/png", "Clinical photograph", &files::png(mark), taken),
    });
    chart.add("Media", visit.security, body);
}

/// The pathologist's word on what the surgeon sent.
pub(super) fn pathology(chart: &mut Chart, visit: &mut Visit, specimen: &str, diagnosis: &str) {
    let taken = visit.start;
    let issued = chart.no_later(taken.saturating_add(3.days()));
    let text = format!(
        "SURGICAL PATHOLOGY\n{}, born {}\n\nSPECIMEN\n{specimen}\n\nGROSS DESCRIPTION\nReceived in formalin, \
         labelled with the patient's name. Representative sections are submitted.\n\nDIAGNOSIS\n{diagnosis}\n\n\
         Signed by {}\n",
        chart.person.name(),
        chart.person.birth.date(),
        chart.team.pathologist.name(),
    );
    let lines: Vec<_> = text.lines().flat_map(|line| wrap(line, 88)).collect();
    let body = json!({
        "text": narrative(&format!("{specimen} {diagnosis}")),
        "status": "final",
        "category": [section("PAT", "Pathology (gross & histopath, not surgical)").concept()],
        "code": loinc("11526-1", "Pathology study").concept(),
        "subject": chart.patient.json(),
        "encounter": visit.encounter.json(),
        "effectiveDateTime": stamp(taken),
        "issued": stamp(issued),
        "performer": [chart.team.hospital.organization.json()],
        "resultsInterpreter": [chart.team.pathologist.json()],
        "conclusion": diagnosis,
        "presentedForm": [attachment("application/pdf", "Pathology report", &files::pdf(&lines), issued)],
    });
    chart.add("DiagnosticReport", visit.security, body);
    visit.services.push((
        snomed("252416005", "Histopathology test (procedure)"),
        31_000,
    ));
}
