//! What a selection promises.

use serde_json::{Value, json};

use super::*;
use crate::export::SensitivityRules;
use crate::testkit::record;

mod properties;
mod types;

const LOINC: &str = "http://loinc.org";
const SECTION: &str = "http://terminology.hl7.org/CodeSystem/v2-0074";

fn select(choices: Choices) -> Selection {
    Selection::new(choices, SensitivityRules::standard())
}

fn asking(parameters: &Value) -> Selection {
    select(Choices::from_json(&json!({"parameters": parameters})).unwrap())
}

fn goes(selection: &Selection, resource: &Value) -> bool {
    selection.judge(&record(resource)) == Verdict::Included
}

fn report(section: &str) -> Value {
    json!({"resourceType": "DiagnosticReport",
        "category": [{"coding": [{"system": SECTION, "code": section}]}]})
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
    let procedure = |when: &str| json!({"resourceType": "Procedure", "performedDateTime": when});
    assert!(goes(&in_2019, &procedure("2019-12-31T23:59:59Z")));
    assert!(!goes(&in_2019, &procedure("2019-12-31T23:59:59-01:00")));
}

#[test]
fn sensitive_records_stay_unless_authorised() {
    let labelled = |code: &str| {
        json!({"resourceType": "Condition", "meta": {"security": [
        {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": code}]}})
    };
    let form = select(Choices::form_default());
    let whole = select(Choices::whole_record());
    let judge = |selection: &Selection, code| selection.judge(&record(&labelled(code)));
    assert_eq!(
        judge(&form, "HIV"),
        Verdict::Withheld(vec![AuthorizationKey::Hiv])
    );
    assert_eq!(judge(&whole, "HIV"), Verdict::Included);
    assert_eq!(judge(&whole, "PSYTHPN"), Verdict::PsychotherapyNote);
    let half = select(
        Choices::from_json(&json!({"authorizations": {"sexualAssault": {"value": true}}})).unwrap(),
    );
    assert_eq!(
        judge(&half, "SDV"),
        Verdict::Withheld(vec![AuthorizationKey::DomesticViolence])
    );
}
