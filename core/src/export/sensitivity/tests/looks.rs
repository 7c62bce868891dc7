//! Where a record is looked at.

use super::*;

fn hiv() -> Value {
    json!({"coding": [coding(SNOMED, "86406008")]})
}

#[test]
fn a_code_counts_where_the_record_says_what_it_is_about() {
    for resource in [
        json!({"resourceType": "Condition", "code": hiv()}),
        json!({"resourceType": "Encounter", "type": [hiv()]}),
        json!({"resourceType": "Encounter", "reasonCode": [hiv()]}),
        json!({"resourceType": "Encounter", "serviceType": hiv()}),
        json!({"resourceType": "Claim", "diagnosis": [{"sequence": 1, "diagnosisCodeableConcept": hiv()}]}),
        json!({"resourceType": "Claim", "item": [{"sequence": 1e300, "productOrService": hiv()}]}),
        json!({"resourceType": "Claim", "procedure": [{"procedureCodeableConcept": hiv()}]}),
        json!({"resourceType": "ExplanationOfBenefit", "addItem": [{"detail": [{"productOrService": hiv()}]}]}),
        json!({"resourceType": "ExplanationOfBenefit", "supportingInfo": [{"code": hiv()}]}),
        json!({"resourceType": "MedicationRequest", "medicationCodeableConcept": hiv()}),
        json!({"resourceType": "MedicationRequest", "reasonCode": [hiv()]}),
        json!({"resourceType": "Medication", "ingredient": [{"itemCodeableConcept": hiv()}]}),
        json!({"resourceType": "Immunization", "vaccineCode": hiv()}),
        json!({"resourceType": "Immunization", "protocolApplied": [{"targetDisease": [hiv()]}]}),
        json!({"resourceType": "Observation", "component": [{"code": hiv()}]}),
        json!({"resourceType": "Observation", "valueCodeableConcept": hiv()}),
        json!({"resourceType": "DiagnosticReport", "conclusionCode": [hiv()]}),
        json!({"resourceType": "DocumentReference", "context": {"event": [hiv()]}}),
        json!({"resourceType": "Composition", "section": [{"section": [{"code": hiv()}]}]}),
        json!({"resourceType": "CarePlan", "activity": [{"detail": {"code": hiv()}}]}),
        json!({"resourceType": "Goal", "description": hiv()}),
        json!({"resourceType": "FamilyMemberHistory", "condition": [{"code": hiv()}]}),
        json!({"resourceType": "QuestionnaireResponse", "item": [{"answer": [{"valueCoding": coding(SNOMED, "86406008")}]}]}),
    ] {
        assert_eq!(protects(&resource), keys(&["hiv"]), "{resource}");
    }
}

#[test]
fn a_code_elsewhere_says_nothing_about_the_record() {
    for resource in [
        json!({"resourceType": "Consent", "provision": {"code": [hiv()]}}),
        json!({"resourceType": "Condition", "bodySite": [hiv()]}),
        json!({"resourceType": "Practitioner", "qualification": [{"code": hiv()}]}),
        json!({"resourceType": "ValueSet", "compose": {"include": [hiv()]}}),
        json!({"resourceType": "Condition", "code": {"text": r#"{"code":"86406008"}"#}}),
    ] {
        assert_eq!(protects(&resource), [], "{resource}");
    }
}

#[test]
fn labels_stand_in_meta_and_on_documents() {
    let label = coding(ACT_CODE, "HIV");
    for resource in [
        json!({"resourceType": "Basic", "meta": {"security": [label]}}),
        json!({"resourceType": "Basic", "meta": {"tag": [label]}}),
        json!({"resourceType": "DocumentReference", "securityLabel": [{"coding": [label]}]}),
    ] {
        assert_eq!(protects(&resource), keys(&["hiv"]), "{resource}");
    }
    let composition =
        |level: &str| json!({"resourceType": "Composition", "confidentiality": level});
    assert_eq!(protects(&composition("V")), keys(&["other"]));
    assert_eq!(protects(&composition("R")), []);
    let contained = json!({"resourceType": "DocumentReference", "contained": [composition("V")]});
    assert_eq!(protects(&contained), keys(&["other"]));
}

#[test]
fn what_is_inside_protects_the_whole() {
    let condition = json!({"resourceType": "Condition", "code": hiv()});
    for resource in [
        json!({"resourceType": "Observation", "contained": [{"resourceType": "Patient"}, condition]}),
        json!({"resourceType": "Bundle", "entry": [{"resource": condition}]}),
        json!({"resourceType": "Bundle", "entry": [
            {"fullUrl": "x"}, {"resource": {"resourceType": "Bundle", "entry": [{"resource": condition}]}}]}),
        json!({"resourceType": "Parameters", "parameter": [{"name": "x", "resource": condition}]}),
    ] {
        assert_eq!(protects(&resource), keys(&["hiv"]), "{resource}");
    }
    // What is inside is looked at like a record: by what it is about.
    let consent = json!({"resourceType": "Consent", "provision": {"code": [hiv()]}});
    let inside = json!({"resourceType": "Observation", "contained": [consent]});
    assert_eq!(protects(&inside), []);
}

#[test]
fn whole_types_are_protected_wherever_they_are() {
    let sequence = json!({"resourceType": "MolecularSequence"});
    assert_eq!(protects(&sequence), keys(&["genetic"]));
    let inside = json!({"resourceType": "Observation", "contained": [sequence]});
    assert_eq!(protects(&inside), keys(&["genetic"]));
}

#[test]
fn a_report_stands_for_itself() {
    let report =
        json!({"resourceType": "DiagnosticReport", "result": [{"reference": "Observation/hiv"}]});
    assert_eq!(protects(&report), []);
}

#[test]
fn no_rules_protect_nothing() {
    let rules = SensitivityRules::none();
    let record = record(&labelled(&[(ACT_CODE, "PSYTHPN"), (ACT_CODE, "HIV")]));
    assert_eq!(rules.protected_by(&record), []);
}
