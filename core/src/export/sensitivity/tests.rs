//! What the rules promise.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::testkit::record;

mod files;
mod looks;
pub(in crate::export) mod samples;

use samples::{ACT_CODE, CONFIDENTIALITY_CODE, ICD, LOINC, SNOMED, coding};

fn protects(resource: &Value) -> Vec<Protection> {
    SensitivityRules::standard().protected_by(&record(resource))
}

fn keys(names: &[&str]) -> Vec<Protection> {
    (names.iter())
        .map(|name| match AuthorizationKey::parse(name) {
            Some(key) => Protection::Authorization(key),
            None => Protection::PsychotherapyNote,
        })
        .collect()
}

fn labelled(labels: &[(&str, &str)]) -> Value {
    let labels: Vec<_> = (labels.iter())
        .map(|(system, code)| coding(system, code))
        .collect();
    json!({"resourceType": "Condition", "meta": {"security": labels}})
}

fn condition(system: &str, code: &str) -> Value {
    json!({"resourceType": "Condition", "code": {"coding": [coding(system, code)]}})
}

#[test]
fn each_label_protects_under_each_name_of_its_system() {
    let labels: Vec<_> = samples::enabled()
        .into_iter()
        .filter(|sample| sample.label)
        .collect();
    assert!(labels.len() > 60, "{}", labels.len());
    for sample in labels {
        let found = protects(&labelled(&[(&sample.system, &sample.code)]));
        assert_eq!(found, sample.protections(), "{sample:?}");
    }
}

#[test]
fn each_code_protects_under_each_name_of_its_system() {
    let codes: Vec<_> = samples::enabled()
        .into_iter()
        .filter(|sample| !sample.label)
        .collect();
    assert!(codes.len() > 800, "{}", codes.len());
    for sample in codes {
        let found = protects(&condition(&sample.system, &sample.code));
        for protection in sample.protections() {
            assert!(found.contains(&protection), "{sample:?}: {found:?}");
        }
    }
}

#[test]
fn the_labels_mean_what_hl7_says() {
    for (code, names) in [
        ("HIV", &["hiv"][..]),
        ("ETH", &["alcoholAndDrug"]),
        ("MH", &["mentalHealth"]),
        ("DVD", &["mentalHealth"]),
        ("VIO", &["domesticViolence"]),
        ("MST", &["sexualAssault"]),
        ("SDV", &["domesticViolence", "sexualAssault"]),
        ("GDIS", &["genetic"]),
        ("SOC", &["confidential"]),
        ("STD", &["other"]),
        ("PSYTHPN", &["psychotherapyNotes"]),
        ("AMB", &[]),
    ] {
        assert_eq!(
            protects(&labelled(&[(ACT_CODE, code)])),
            keys(names),
            "{code}"
        );
    }
    let confidentiality = |code| protects(&labelled(&[(CONFIDENTIALITY_CODE, code)]));
    assert_eq!(confidentiality("V"), keys(&["other"]));
    assert_eq!(confidentiality("R"), []);
    assert_eq!(confidentiality("N"), []);
}

#[test]
fn several_labels_protect_together_and_foreign_ones_not_at_all() {
    let found = protects(&labelled(&[
        (ACT_CODE, "HIV"),
        (ACT_CODE, "MH"),
        ("http://hl7.org/fhir/v3/ActCode", "HIV"),
    ]));
    assert_eq!(found, keys(&["hiv", "mentalHealth"]));
    assert_eq!(protects(&labelled(&[("http://example.org", "HIV")])), []);
    assert_eq!(protects(&json!({"resourceType": "Condition"})), []);
}

#[test]
fn icd_codes_protect_with_all_below_them() {
    for (code, names) in [
        ("B20", &["hiv"][..]),
        ("b20", &["hiv"]),
        ("B2", &[]),
        ("B200", &["hiv"]),
        ("B95.35", &[]),
        ("B97.35", &["hiv"]),
        ("B97.3", &[]),
        ("F10", &["alcoholAndDrug"]),
        ("F10.20", &["alcoholAndDrug"]),
        ("f1920", &["alcoholAndDrug"]),
        ("F16.20", &["alcoholAndDrug"]),
        ("F17.210", &[]),
        ("F18.10", &["alcoholAndDrug"]),
        ("R78.4", &["alcoholAndDrug"]),
        ("R78.5", &[]),
        ("F09", &[]),
        ("F20.9", &["mentalHealth"]),
        ("F69", &["mentalHealth"]),
        ("F70", &[]),
        ("F79", &[]),
        ("F99", &["mentalHealth"]),
        ("T40.1X1A", &["alcoholAndDrug"]),
        ("T40.2X4A", &["alcoholAndDrug"]),
        ("T40.2X5A", &[]),
        ("T40.2X6A", &[]),
        ("T40.412D", &["alcoholAndDrug"]),
        ("T40.415A", &[]),
        ("T74.11XA", &["domesticViolence"]),
        ("T74.21XS", &["sexualAssault"]),
        ("Z91.410", &["domesticViolence", "sexualAssault"]),
        ("Z04.41", &["sexualAssault"]),
        ("Z15.01", &["genetic"]),
        ("Z31.430", &["genetic"]),
        ("Z31.41", &[]),
        ("Z63.0", &[]),
        ("J45.20", &[]),
    ] {
        for system in [
            ICD,
            "http://hl7.org/fhir/sid/icd-10",
            "urn:oid:2.16.840.1.113883.6.90",
        ] {
            assert_eq!(protects(&condition(system, code)), keys(names), "{code}");
        }
        assert_eq!(protects(&condition(SNOMED, code)), [], "{code}");
    }
    let icd9 = |code| protects(&condition("http://hl7.org/fhir/sid/icd-9-cm", code));
    assert_eq!(icd9("042"), keys(&["hiv"]));
    assert_eq!(icd9("303.90"), keys(&["alcoholAndDrug"]));
    assert_eq!(icd9("305.1"), []);
    assert_eq!(icd9("V08"), keys(&["hiv"]));
}

#[test]
fn a_cd4_count_alone_does_not_say_hiv() {
    assert_eq!(protects(&condition(LOINC, "24467-3")), []);
}

#[test]
fn a_code_counts_only_in_its_own_system() {
    assert_eq!(protects(&condition(LOINC, "86406008")), []);
    assert_eq!(protects(&condition("", "86406008")), []);
    assert_eq!(protects(&condition(SNOMED, "86406008")), keys(&["hiv"]));
    // Labels are no codes, and codes no labels.
    assert_eq!(protects(&condition(ACT_CODE, "HIV")), []);
    assert_eq!(protects(&labelled(&[(SNOMED, "86406008")])), []);
}

/// LOINC: the digit behind the dash, by mod 10 of Luhn.
fn loinc_digit(code: &str) -> bool {
    let Some((digits, check)) = code.split_once('-') else {
        return false;
    };
    let sum: u32 = (digits.chars().rev().enumerate())
        .map(|(n, c)| {
            let digit = c.to_digit(10).unwrap() * if n % 2 == 0 { 2 } else { 1 };
            digit / 10 + digit % 10
        })
        .sum();
    check == ((10 - sum % 10) % 10).to_string()
}

/// SNOMED CT: the last digit, by the dihedral check of Verhoeff.
fn snomed_digit(code: &str) -> bool {
    let times = |a: u32, b: u32| match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => (a + b - 5) % 5 + 5,
        (false, true) => (a - 5 + 5 - b) % 5 + 5,
        (false, false) => (a + 5 - b) % 5,
    };
    let mut step: Vec<u32> = (0..10).collect();
    let mut sum = 0;
    for letter in code.chars().rev() {
        sum = times(sum, step[letter.to_digit(10).unwrap() as usize]);
        let once = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
        step = step.iter().map(|&at| once[at as usize]).collect();
    }
    sum == 0
}

#[test]
fn no_code_is_mistyped() {
    let documents = crate::export::selection::document_codes();
    let rules = samples::all().into_iter().map(|s| (s.system, s.code));
    let mut counted = 0;
    for (system, code) in rules.chain(documents) {
        let right = match system.as_str() {
            LOINC if !code.starts_with("LP") => loinc_digit(&code),
            SNOMED => snomed_digit(&code),
            _ => continue,
        };
        assert!(right, "{system} {code}");
        counted += 1;
    }
    assert!(counted > 250, "{counted}");
    assert!(!loinc_digit("44249-2") && !snomed_digit("86406009"));
}

proptest! {
    /// The pass over the bytes may send a record to the closer look in vain, never keep it away.
    #[test]
    fn the_guess_never_hides_a_code(
        pick: prop::sample::Index,
        element in prop::sample::select(vec!["code", "item", "category", "meta", "contained"]),
        escaped: bool,
        noise in "[a-z\"\\\\{}:é ]{0,12}",
    ) {
        let samples = samples::enabled();
        let sample = pick.get(&samples);
        let coding = coding(&sample.system, &sample.code);
        let value = match element {
            "meta" => json!({"security": [coding], "note": noise}),
            "contained" => json!([{"resourceType": "Basic", "text": noise, "code": coding}]),
            _ => json!([{"text": noise, "coding": [coding]}]),
        };
        let mut text = json!({"resourceType": "Basic", "text": noise, element: value}).to_string();
        if escaped {
            text = text.replace("\"code\":\"", "\"c\\u006fde\":\"");
            // At the top level no name may be written so.
            text = text.replace("\"c\\u006fde\":[", "\"code\":[");
        }
        let rules = SensitivityRules::standard();
        let record = Record::parse(text.as_bytes()).unwrap();
        let mut all = Vec::new();
        rules.look_at(&record, &mut all);
        prop_assert_eq!(rules.protected_by(&record), all.clone());
        let right_place = (element == "meta") == sample.label;
        prop_assert_eq!(!all.is_empty(), right_place, "{}", text);
    }
}
