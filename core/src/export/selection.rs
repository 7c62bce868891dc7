//! What goes into an export: which parts of the record were asked for, for which time, and what
//! is withheld.
//!
//! Every resource type has its place in [`place`]. A record that belongs to several parts goes in
//! when any of them was asked for. A record without a date goes in whenever its part was asked
//! for: a hospital that does not know when something happened still has to hand it over.

use serde::Deserialize;

use super::sensitivity::{Protection, protected_by};
use super::{AuthorizationKey, Choices, ParameterKey};
use crate::fhir::{Coding, PartialDate, Period, Record, ResourceType, codings};
use crate::ports::Document;

/// Decides about records, one by one.
#[derive(Debug, Clone)]
pub struct Selection {
    choices: Choices,
}

/// What becomes of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It goes in.
    Included,
    /// Nobody asked for it.
    NotAsked,
    /// It was asked for, and stays because these were not authorised.
    Withheld(Vec<AuthorizationKey>),
    /// It was asked for, and is never part of an export.
    PsychotherapyNote,
}

impl Selection {
    /// The selection these choices make.
    pub fn new(choices: Choices) -> Self {
        Self { choices }
    }

    /// The choices behind it.
    pub fn choices(&self) -> &Choices {
        &self.choices
    }

    /// Whether some record of this type could go in: a hint for sources.
    pub fn may_include(&self, resource_type: ResourceType) -> bool {
        match place(resource_type) {
            Place::Always | Place::Observation | Place::Report => true,
            Place::Part(key) => self.choices.parameter(key).is_some(),
            Place::Document => (ParameterKey::ALL.iter())
                .any(|key| key.group() == 2 && self.choices.parameter(*key).is_some()),
        }
    }

    /// What becomes of this record.
    pub fn judge(&self, record: &Record) -> Verdict {
        if self.asks_for(record) {
            self.release(&protected_by(record))
        } else {
            Verdict::NotAsked
        }
    }

    /// What becomes of this document.
    pub fn judge_document(&self, document: &Document) -> Verdict {
        if self.asks_for_part(document.part, || document.period) {
            self.release(&document.protections)
        } else {
            Verdict::NotAsked
        }
    }

    /// What becomes of something that was asked for and is protected so.
    fn release(&self, protections: &[Protection]) -> Verdict {
        if protections.contains(&Protection::PsychotherapyNote) {
            return Verdict::PsychotherapyNote;
        }
        let missing: Vec<AuthorizationKey> = (protections.iter())
            .filter_map(|protection| match protection {
                Protection::Authorization(key) => Some(*key),
                Protection::PsychotherapyNote => None,
            })
            .filter(|&key| !self.choices.authorizes(key))
            .collect();
        if missing.is_empty() {
            Verdict::Included
        } else {
            Verdict::Withheld(missing)
        }
    }

    fn asks_for(&self, record: &Record) -> bool {
        let asked = |key| self.asks_for_part(key, || period_of(record));
        match place(record.resource_type()) {
            Place::Always => true,
            Place::Part(key) => asked(key),
            Place::Observation => !is_laboratory(record) || asked(ParameterKey::Labs),
            Place::Report => match report_part(record) {
                Some(key) => asked(key),
                None => true,
            },
            Place::Document => asked(document_part(record)),
        }
    }

    /// Whether this part was asked for, for a time that meets `period`. Looks at the period only
    /// where a time was named.
    fn asks_for_part(&self, key: ParameterKey, period: impl FnOnce() -> Option<Period>) -> bool {
        self.choices.parameter(key).is_some_and(|parameter| {
            let wanted = parameter.period();
            wanted == Period::default() || period().is_none_or(|period| period.overlaps(&wanted))
        })
    }
}

/// Where records of a type belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In every export: who the patient is, and whom records refer to.
    Always,
    /// In one part of the record.
    Part(ParameterKey),
    /// Observations: laboratory ones are `labs`, all others always go.
    Observation,
    /// Diagnostic reports: by their section; those without one always go.
    Report,
    /// Documents and images: by their type.
    Document,
}

/// Where records of this type belong.
fn place(resource_type: ResourceType) -> Place {
    use ResourceType as T;
    match resource_type {
        T::Patient
        | T::Practitioner
        | T::PractitionerRole
        | T::Organization
        | T::OrganizationAffiliation
        | T::Location
        | T::HealthcareService
        | T::Endpoint
        | T::RelatedPerson
        | T::Person => Place::Always,
        T::Observation => Place::Observation,
        T::DiagnosticReport => Place::Report,
        T::DocumentReference
        | T::DocumentManifest
        | T::Composition
        | T::ImagingStudy
        | T::Media => Place::Document,
        T::Encounter
        | T::EpisodeOfCare
        | T::Procedure
        | T::Appointment
        | T::AppointmentResponse
        | T::Schedule
        | T::Slot => Place::Part(ParameterKey::Visits),
        T::Specimen => Place::Part(ParameterKey::Labs),
        T::Account
        | T::ChargeItem
        | T::ChargeItemDefinition
        | T::Claim
        | T::ClaimResponse
        | T::Contract
        | T::Coverage
        | T::CoverageEligibilityRequest
        | T::CoverageEligibilityResponse
        | T::EnrollmentRequest
        | T::EnrollmentResponse
        | T::ExplanationOfBenefit
        | T::InsurancePlan
        | T::Invoice
        | T::PaymentNotice
        | T::PaymentReconciliation => Place::Part(ParameterKey::Billing),
        _ => Place::Part(ParameterKey::MedicalRecord),
    }
}

const LOINC: &str = "http://loinc.org";
const SECTION: &[&str] = &[
    "http://terminology.hl7.org/CodeSystem/v2-0074",
    "http://hl7.org/fhir/v2/0074",
];

/// v2-0074 diagnostic service sections, and the LOINC parts used beside them.
const SECTIONS: &[(ParameterKey, &[&str])] = &[
    (
        ParameterKey::Labs,
        &[
            "LAB",
            "BG",
            "BLB",
            "CH",
            "HM",
            "IMM",
            "MB",
            "MCB",
            "MYC",
            "OSL",
            "PAR",
            "SR",
            "TX",
            "VR",
            "LP29693-6",
        ],
    ),
    (
        ParameterKey::Pathology,
        &["PAT", "SP", "CP", "CTH", "LP7839-6"],
    ),
    (
        ParameterKey::Radiology,
        &[
            "RAD",
            "RX",
            "RUS",
            "VUS",
            "CUS",
            "OUS",
            "CT",
            "NMR",
            "NMS",
            "LP29684-5",
        ],
    ),
];

/// LOINC document types, by the part they belong to.
const DOCUMENT_TYPES: &[(ParameterKey, &[&str])] = &[
    (ParameterKey::DischargeSummary, &["18842-5"]),
    (
        ParameterKey::Operative,
        &["11504-8", "28570-0", "8724-7", "10213-7"],
    ),
    (ParameterKey::Pathology, &["11526-1", "60568-3"]),
    (ParameterKey::Radiology, &["18748-4", "68604-8"]),
    (ParameterKey::Photographs, &["72170-4"]),
];

fn coded<'a>(record: &'a Record, element: &str) -> Vec<Coding<'a>> {
    record.field(element).map(codings).unwrap_or_default()
}

fn is_laboratory(record: &Record) -> bool {
    coded(record, "category").iter().any(|coding| {
        coding.code == "laboratory"
            && matches!(
                coding.system.as_ref(),
                "http://terminology.hl7.org/CodeSystem/observation-category"
                    | "http://hl7.org/fhir/observation-category"
            )
    })
}

/// The part whose section a report or document is filed under.
fn section_part(categories: &[Coding<'_>]) -> Option<ParameterKey> {
    let filed = |codes: &[&str]| {
        categories.iter().any(|coding| {
            let system = coding.system.as_ref();
            (SECTION.contains(&system) || system == LOINC) && codes.contains(&coding.code.as_ref())
        })
    };
    (SECTIONS.iter().find(|(_, codes)| filed(codes))).map(|(key, _)| *key)
}

/// The part a LOINC document type belongs to.
fn type_part(types: &[Coding<'_>]) -> Option<ParameterKey> {
    let named = |codes: &[&str]| {
        (types.iter()).any(|t| t.system == LOINC && codes.contains(&t.code.as_ref()))
    };
    (DOCUMENT_TYPES.iter().find(|(_, codes)| named(codes))).map(|(key, _)| *key)
}

fn report_part(record: &Record) -> Option<ParameterKey> {
    section_part(&coded(record, "category")).or_else(|| type_part(&coded(record, "code")))
}

fn document_part(record: &Record) -> ParameterKey {
    let by_type = match record.resource_type() {
        ResourceType::ImagingStudy => Some(ParameterKey::Radiology),
        ResourceType::Media if is_image(record) => Some(ParameterKey::Photographs),
        _ => type_part(&coded(record, "type")),
    };
    by_type
        .or_else(|| section_part(&coded(record, "category")).filter(|key| key.group() == 2))
        .unwrap_or(ParameterKey::Other)
}

/// A photograph: Media of type image, or with an image inside.
fn is_image(media: &Record) -> bool {
    #[derive(Deserialize)]
    struct Content {
        #[serde(rename = "contentType", default)]
        content_type: String,
    }
    let image_inside = (media.field("content"))
        .and_then(|content| serde_json::from_str::<Content>(content).ok())
        .is_some_and(|content| content.content_type.starts_with("image/"));
    image_inside
        || coded(media, "type")
            .iter()
            .any(|coding| coding.code == "image")
}

/// Elements that say when something happened, best first. Those in one row belong together.
const DATES: &[&[&str]] = &[
    &[
        "effectiveDateTime",
        "effectivePeriod",
        "effectiveInstant",
        "effectiveTiming",
    ],
    &["performedDateTime", "performedPeriod"],
    &[
        "onsetDateTime",
        "onsetPeriod",
        "abatementDateTime",
        "abatementPeriod",
    ],
    &["occurrenceDateTime", "occurrencePeriod", "occurrenceTiming"],
    &["billablePeriod"],
    &["servicePeriod", "servicedDate", "servicedPeriod"],
    &["period"],
    &["start", "end"],
    &["started"],
    &["createdDateTime", "createdPeriod"],
    &["collectedDateTime", "receivedTime"],
    &["authoredOn"],
    &["recordedDate"],
    &["dateAsserted"],
    &["issued"],
    &["sent"],
    &["date"],
    &["created"],
    &["recorded"],
];

/// When the record's matter happened; `None` when it does not say.
fn period_of(record: &Record) -> Option<Period> {
    DATES.iter().find_map(|row| {
        (row.iter())
            .filter_map(|element| period_in(record.field(element)?))
            .reduce(|a, b| Period {
                start: a.start.zip(b.start).map(|(a, b)| a.min(b)),
                end: a.end.zip(b.end).map(|(a, b)| a.max(b)),
            })
    })
}

/// The period a date, dateTime, instant, Period or Timing covers.
fn period_in(raw: &str) -> Option<Period> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum When {
        Date(PartialDate),
        Timing {
            event: Vec<PartialDate>,
        },
        Span {
            start: Option<PartialDate>,
            end: Option<PartialDate>,
        },
    }
    match serde_json::from_str(raw).ok()? {
        When::Date(date) => Some(date.period()),
        When::Timing { event } => Some(Period {
            start: event.iter().filter_map(|date| date.period().start).min(),
            end: event.iter().filter_map(|date| date.period().end).max(),
        }),
        When::Span {
            start: None,
            end: None,
        } => None,
        When::Span { start, end } => Some(Period {
            start: start.and_then(|date| date.period().start),
            end: end.and_then(|date| date.period().end),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::record;
    use serde_json::{Value, json};

    fn asking(parameters: &Value) -> Selection {
        Selection::new(Choices::from_json(&json!({"parameters": parameters})).unwrap())
    }

    fn goes(selection: &Selection, resource: &Value) -> bool {
        selection.judge(&record(resource)) == Verdict::Included
    }

    fn report(section: &str) -> Value {
        json!({"resourceType": "DiagnosticReport",
            "category": [{"coding": [{"system": SECTION[0], "code": section}]}]})
    }

    fn document(loinc: &str) -> Value {
        json!({"resourceType": "DocumentReference", "type": {"coding": [{"system": LOINC, "code": loinc}]}})
    }

    fn observation(category: &str) -> Value {
        json!({"resourceType": "Observation", "category": [{"coding": [
            {"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": category}]}]})
    }

    /// A record of each part, and the part it belongs to; `None` for what always goes.
    fn one_of_each() -> Vec<(Value, Option<ParameterKey>)> {
        let plain = |name: &str| json!({"resourceType": name});
        vec![
            (plain("Patient"), None),
            (plain("Practitioner"), None),
            (plain("Organization"), None),
            (observation("vital-signs"), None),
            (report("EC"), None),
            (plain("Encounter"), Some(ParameterKey::Visits)),
            (plain("Procedure"), Some(ParameterKey::Visits)),
            (observation("laboratory"), Some(ParameterKey::Labs)),
            (report("LAB"), Some(ParameterKey::Labs)),
            (plain("Specimen"), Some(ParameterKey::Labs)),
            (plain("Claim"), Some(ParameterKey::Billing)),
            (plain("ExplanationOfBenefit"), Some(ParameterKey::Billing)),
            (plain("Condition"), Some(ParameterKey::MedicalRecord)),
            (
                plain("AllergyIntolerance"),
                Some(ParameterKey::MedicalRecord),
            ),
            (document("18842-5"), Some(ParameterKey::DischargeSummary)),
            (document("11504-8"), Some(ParameterKey::Operative)),
            (document("11526-1"), Some(ParameterKey::Pathology)),
            (report("SP"), Some(ParameterKey::Pathology)),
            (document("18748-4"), Some(ParameterKey::Radiology)),
            (report("RAD"), Some(ParameterKey::Radiology)),
            (plain("ImagingStudy"), Some(ParameterKey::Radiology)),
            (
                json!({"resourceType": "Media", "content": {"contentType": "image/png"}}),
                Some(ParameterKey::Photographs),
            ),
            (
                json!({"resourceType": "Media", "content": {"contentType": "audio/mp3"}}),
                Some(ParameterKey::Other),
            ),
            (document("34133-9"), Some(ParameterKey::Other)),
        ]
    }

    #[test]
    fn a_record_goes_with_its_own_part_alone() {
        for &key in ParameterKey::ALL {
            let selection = asking(&json!({key.key(): {"enabled": true}}));
            for (resource, part) in one_of_each() {
                let expected = part.is_none_or(|part| part == key);
                assert_eq!(goes(&selection, &resource), expected, "{key:?} {resource}");
            }
        }
    }

    #[test]
    fn the_hint_for_sources_never_hides_what_would_go() {
        for &key in ParameterKey::ALL {
            let selection = asking(&json!({key.key(): {"enabled": true}}));
            for (resource, _) in one_of_each() {
                let resource_type = record(&resource).resource_type();
                assert!(
                    !goes(&selection, &resource) || selection.may_include(resource_type),
                    "{resource}"
                );
            }
        }
    }

    #[test]
    fn dates_are_those_of_the_matter_itself() {
        let in_2019 = asking(&json!({"visits": {"enabled": true, "from": "2019", "to": "2019"}}));
        for (expected, dates) in [
            (
                true,
                json!({"period": {"start": "2018-12-30", "end": "2019-01-01"}}),
            ),
            (true, json!({"period": {"start": "2010"}})),
            (
                true,
                json!({"period": {"end": "2019-06-01T00:00:00-05:00"}}),
            ),
            (true, json!({})),
            (true, json!({"period": {}})),
            (true, json!({"period": "nonsense"})),
            (
                false,
                json!({"period": {"start": "2020-01-01", "end": "2020-01-02"}}),
            ),
            (
                false,
                json!({"period": {"start": "2017", "end": "2018-12-31T23:59:59Z"}}),
            ),
        ] {
            let mut encounter = dates;
            encounter["resourceType"] = "Encounter".into();
            assert_eq!(goes(&in_2019, &encounter), expected, "{encounter}");
        }
        let procedure =
            |when: &str| json!({"resourceType": "Procedure", "performedDateTime": when});
        assert!(goes(&in_2019, &procedure("2019-12-31T23:59:59Z")));
        assert!(!goes(&in_2019, &procedure("2019-12-31T23:59:59-01:00")));
    }

    #[test]
    fn sensitive_records_stay_unless_authorised() {
        let labelled = |code: &str| {
            json!({"resourceType": "Condition", "meta": {"security": [
            {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": code}]}})
        };
        let form = Selection::new(Choices::form_default());
        let whole = Selection::new(Choices::whole_record());
        let judge = |selection: &Selection, code| selection.judge(&record(&labelled(code)));
        assert_eq!(
            judge(&form, "HIV"),
            Verdict::Withheld(vec![AuthorizationKey::Hiv])
        );
        assert_eq!(judge(&whole, "HIV"), Verdict::Included);
        assert_eq!(judge(&whole, "PSYTHPN"), Verdict::PsychotherapyNote);
        let half = Selection::new(
            Choices::from_json(&json!({"authorizations": {"sexualAssault": {"value": true}}}))
                .unwrap(),
        );
        assert_eq!(
            judge(&half, "SDV"),
            Verdict::Withheld(vec![AuthorizationKey::DomesticViolence])
        );
    }
}
