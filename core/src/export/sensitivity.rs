//! Which records are protected, and by what.
//!
//! A record is protected by its security labels (`meta.security`). One that is protected in
//! several ways leaves only if every one of them was authorised. Psychotherapy notes are not part
//! of the electronic health information one can ask for (45 CFR 164.501) and never leave.
//!
//! Source of the labels: HL7 v3 `ActCode` (`InformationSensitivityPolicy`) and v3 Confidentiality.

use serde::Deserialize;

use super::AuthorizationKey::{
    self, AlcoholAndDrug, Confidential, DomesticViolence, Genetic, Hiv, MentalHealth, Other,
    SexualAssault,
};
use crate::fhir::{Coding, Record};

/// What a record is protected by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Leaves only with this authorization.
    Authorization(AuthorizationKey),
    /// A psychotherapy note: never leaves.
    PsychotherapyNote,
}

/// The names v3 `ActCode` goes by in records of different ages.
const ACT_CODE: &[&str] = &[
    "http://terminology.hl7.org/CodeSystem/v3-ActCode",
    "http://hl7.org/fhir/v3/ActCode",
    "urn:oid:2.16.840.1.113883.5.4",
];

/// The names v3 Confidentiality goes by.
const CONFIDENTIALITY: &[&str] = &[
    "http://terminology.hl7.org/CodeSystem/v3-Confidentiality",
    "http://hl7.org/fhir/v3/Confidentiality",
    "urn:oid:2.16.840.1.113883.5.25",
];

/// Labels of v3 `ActCode`. DVD is developmental disability, not domestic violence.
const LABELS: &[(&str, &[AuthorizationKey])] = &[
    ("HIV", &[Hiv]),
    ("ETH", &[AlcoholAndDrug]),
    ("SUD", &[AlcoholAndDrug]),
    ("ETHUD", &[AlcoholAndDrug]),
    ("OPIOIDUD", &[AlcoholAndDrug]),
    ("MH", &[MentalHealth]),
    ("PSY", &[MentalHealth]),
    ("BH", &[MentalHealth]),
    ("EMOTDIS", &[MentalHealth]),
    ("COGN", &[MentalHealth]),
    ("DVD", &[MentalHealth]),
    ("VIO", &[DomesticViolence]),
    ("MST", &[SexualAssault]),
    ("SDV", &[DomesticViolence, SexualAssault]),
    ("GDIS", &[Genetic]),
    ("SCA", &[Genetic]),
    ("SICKLE", &[Genetic]),
    ("SOC", &[Confidential]),
    ("SEX", &[Other]),
    ("STD", &[Other]),
    ("PREGNANT", &[Other]),
    ("TBOO", &[Other]),
    ("SPI", &[Other]),
];

/// A psychotherapy note.
const PSYCHOTHERAPY: &str = "PSYTHPN";

/// Very restricted. Restricted (R) alone protects nothing: it is the usual level of ordinary
/// charts.
const VERY_RESTRICTED: &str = "V";

/// Everything a record is protected by. Empty for most.
pub fn protected_by(record: &Record) -> Vec<Protection> {
    #[derive(Deserialize)]
    struct Meta<'a> {
        #[serde(borrow, default)]
        security: Vec<Coding<'a>>,
    }
    let labels = (record.field("meta"))
        .filter(|meta| meta.contains("\"security\""))
        .and_then(|meta| serde_json::from_str::<Meta<'_>>(meta).ok())
        .map(|meta| meta.security)
        .unwrap_or_default();
    let mut protections = Vec::new();
    for label in &labels {
        for protection in protections_of(label) {
            if !protections.contains(&protection) {
                protections.push(protection);
            }
        }
    }
    protections
}

fn protections_of(label: &Coding<'_>) -> Vec<Protection> {
    if ACT_CODE.contains(&label.system.as_ref()) {
        if label.code == PSYCHOTHERAPY {
            return vec![Protection::PsychotherapyNote];
        }
        let keys = LABELS.iter().find(|(code, _)| *code == label.code);
        keys.map_or(&[] as &[_], |(_, keys)| keys)
            .iter()
            .map(|&key| Protection::Authorization(key))
            .collect()
    } else if CONFIDENTIALITY.contains(&label.system.as_ref()) && label.code == VERY_RESTRICTED {
        vec![Protection::Authorization(Other)]
    } else {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::record;
    use serde_json::json;

    fn labelled(labels: &[(&str, &str)]) -> Vec<Protection> {
        let security: Vec<_> = (labels.iter())
            .map(|(system, code)| json!({"system": system, "code": code}))
            .collect();
        protected_by(&record(
            &json!({"resourceType": "Condition", "meta": {"security": security}}),
        ))
    }

    #[test]
    fn each_label_protects_under_each_name_of_its_system() {
        for system in ACT_CODE {
            for (label, keys) in LABELS {
                let expected: Vec<_> = keys
                    .iter()
                    .map(|&key| Protection::Authorization(key))
                    .collect();
                assert_eq!(labelled(&[(system, label)]), expected, "{system} {label}");
            }
            assert_eq!(
                labelled(&[(system, "PSYTHPN")]),
                [Protection::PsychotherapyNote]
            );
        }
        for system in CONFIDENTIALITY {
            assert_eq!(
                labelled(&[(system, "V")]),
                [Protection::Authorization(Other)]
            );
            assert_eq!(labelled(&[(system, "R")]), []);
        }
    }

    #[test]
    fn several_labels_protect_together_and_foreign_ones_not_at_all() {
        let found = labelled(&[
            (ACT_CODE[0], "HIV"),
            (ACT_CODE[0], "MH"),
            (ACT_CODE[1], "HIV"),
        ]);
        assert_eq!(
            found,
            [
                Protection::Authorization(Hiv),
                Protection::Authorization(MentalHealth)
            ]
        );
        assert_eq!(labelled(&[("http://example.org", "HIV")]), []);
        assert_eq!(
            protected_by(&record(&json!({"resourceType": "Condition"}))),
            []
        );
    }
}
