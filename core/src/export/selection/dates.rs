//! When the matter of a record happened.
//!
//! FHIR R4 gives nearly every resource an element of its own for that, often of several types
//! (`effective[x]`). The table names them all; the first row that holds a date counts. A date that
//! cannot be read is none.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::fhir::{PartialDate, Period, Record};

/// Elements that tell a time together.
struct Row {
    /// The element that holds them; empty when they stand at the top.
    inside: &'static str,
    elements: &'static [&'static str],
    /// Whether a beginning without an end means that it goes on.
    lasts: bool,
}

const fn row(elements: &'static [&'static str]) -> Row {
    Row {
        inside: "",
        elements,
        lasts: false,
    }
}

const fn nested(inside: &'static str, elements: &'static [&'static str]) -> Row {
    Row {
        inside,
        elements,
        lasts: false,
    }
}

/// Elements that say when something happened, best first: when it was, then when it was planned,
/// then when it was written down. Those in one row belong together. Ages, ranges and free text
/// (`onsetAge`, `performedString`, …) are no dates: the next row is asked.
const ROWS: &[Row] = &[
    // Observation, DiagnosticReport, MedicationAdministration, MedicationStatement, ClinicalImpression
    row(&[
        "effectiveDateTime",
        "effectivePeriod",
        "effectiveInstant",
        "effectiveTiming",
    ]),
    // Procedure
    row(&["performedDateTime", "performedPeriod"]),
    // Condition, AllergyIntolerance. What has begun and is not known to have abated goes on.
    Row {
        inside: "",
        elements: &[
            "onsetDateTime",
            "onsetPeriod",
            "abatementDateTime",
            "abatementPeriod",
        ],
        lasts: true,
    },
    row(&["lastOccurrence"]),
    // Immunization, ServiceRequest, DeviceRequest, SupplyDelivery, RiskAssessment, ChargeItem, …
    row(&["occurrenceDateTime", "occurrencePeriod", "occurrenceTiming"]),
    // Provenance; DetectedIssue; DeviceUseStatement
    row(&["occurredDateTime", "occurredPeriod"]),
    row(&["identifiedDateTime", "identifiedPeriod"]),
    row(&["timingDateTime", "timingPeriod", "timingTiming"]),
    // MedicationDispense
    row(&["whenHandedOver"]),
    row(&["whenPrepared"]),
    // Claim, ExplanationOfBenefit; CoverageEligibilityRequest and -Response; Account; Contract
    row(&["billablePeriod"]),
    nested("item", &["servicedDate", "servicedPeriod"]),
    row(&["servicedDate", "servicedPeriod"]),
    row(&["servicePeriod"]),
    row(&["applies"]),
    // Encounter, EpisodeOfCare, CarePlan, CareTeam, Coverage, Flag, …
    row(&["period"]),
    // Documents: the care they tell of
    nested("context", &["period"]),
    nested("event", &["period"]),
    // Appointment, AppointmentResponse, Slot; Schedule
    row(&["start", "end"]),
    row(&["requestedPeriod"]),
    row(&["planningHorizon"]),
    // ImagingStudy; Media; Task; Goal
    row(&["started"]),
    row(&["createdDateTime", "createdPeriod"]),
    row(&["executionPeriod"]),
    Row {
        inside: "",
        elements: &["startDate"],
        lasts: true,
    },
    // Specimen, BiologicallyDerivedProduct
    nested("collection", &["collectedDateTime", "collectedPeriod"]),
    row(&["receivedTime"]),
    // When it was asked for or said
    row(&["authoredOn"]),
    row(&["authored"]),
    row(&["dateWritten"]),
    row(&["sent", "received"]),
    row(&["dateTime"]),
    row(&["detected"]),
    // When it was written down
    row(&["recordedDate"]),
    row(&["recordedOn"]),
    row(&["dateAsserted"]),
    row(&["enteredDate"]),
    row(&["issued"]),
    row(&["date"]),
    row(&["statusDate"]),
    row(&["paymentDate"]),
    row(&["created"]),
    row(&["recorded"]),
    row(&["timestamp"]),
    row(&["lastModified"]),
];

/// When the record's matter happened; `None` when it does not say.
pub(super) fn period_of(record: &Record) -> Option<Period> {
    ROWS.iter().find_map(|row| {
        let mut told = None;
        let mut ended = false;
        let mut see = |element: &str, raw: &str| {
            if let Some(period) = period_in(raw) {
                told = Some(told.map_or(period, |before| both(before, period)));
                ended |= element.starts_with("abatement");
            }
        };
        if row.inside.is_empty() {
            for element in row.elements {
                if let Some(raw) = record.field(element) {
                    see(element, raw);
                }
            }
        } else {
            for object in objects(record.field(row.inside)?) {
                for (element, raw) in object {
                    if row.elements.contains(&element.as_str()) {
                        see(&element, raw.get());
                    }
                }
            }
        }
        if row.lasts && !ended {
            told = told.map(|period: Period| Period {
                end: None,
                ..period
            });
        }
        told
    })
}

/// The objects of an element that is one or holds several.
fn objects(raw: &str) -> Vec<BTreeMap<String, &RawValue>> {
    if raw.starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(raw).unwrap_or_default();
        items.iter().flat_map(|item| objects(item.get())).collect()
    } else {
        serde_json::from_str(raw).into_iter().collect()
    }
}

/// The time from the beginning of the one to the end of the other. An open end stays open.
fn both(a: Period, b: Period) -> Period {
    Period {
        start: a.start.zip(b.start).map(|(a, b)| a.min(b)),
        end: a.end.zip(b.end).map(|(a, b)| a.max(b)),
    }
}

/// The period that a date, dateTime, instant, Period or Timing covers, or several of them.
fn period_in(raw: &str) -> Option<Period> {
    #[derive(Deserialize)]
    struct Span<'a> {
        #[serde(borrow)]
        start: Option<&'a RawValue>,
        #[serde(borrow)]
        end: Option<&'a RawValue>,
        #[serde(borrow)]
        event: Option<&'a RawValue>,
        #[serde(borrow)]
        repeat: Option<Repeat<'a>>,
    }
    #[derive(Deserialize)]
    struct Repeat<'a> {
        #[serde(borrow, rename = "boundsPeriod")]
        bounds: Option<&'a RawValue>,
    }
    match raw.as_bytes().first()? {
        b'"' => {
            let date: PartialDate = serde_json::from_str(raw).ok()?;
            Some(date.period())
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
            (items.iter())
                .filter_map(|item| period_in(item.get()))
                .reduce(both)
        }
        _ => {
            let span: Span<'_> = serde_json::from_str(raw).ok()?;
            let told = |raw: Option<&RawValue>| raw.and_then(|raw| period_in(raw.get()));
            let (start, end) = (told(span.start), told(span.end));
            if start.is_some() || end.is_some() {
                // Written the wrong way round, it is the time between the two: no time would
                // find it otherwise.
                let (first, last) = match (start, end) {
                    (Some(start), Some(end)) if end.end < start.start && end.end.is_some() => {
                        (Some(end), Some(start))
                    }
                    ends => ends,
                };
                return Some(Period {
                    start: first.and_then(|date| date.start),
                    end: last.and_then(|date| date.end),
                });
            }
            told(span.event).or_else(|| told(span.repeat.and_then(|repeat| repeat.bounds)))
        }
    }
}

#[cfg(test)]
mod tests;
