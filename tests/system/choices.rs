//! What a patient can choose, as the JSON the form's answer can be sent in.

use serde_json::{Value, json};

/// Categories of the record, with dates except for the last.
pub const DATED: [&str; 3] = ["visits", "labs", "billing"];
/// Kinds of documents.
pub const DOCUMENTS: [&str; 6] = [
    "dischargeSummary",
    "operative",
    "pathology",
    "radiology",
    "photographs",
    "other",
];
/// What needs a yes of its own.
pub const AUTHORIZATIONS: [&str; 6] = [
    "hiv",
    "alcoholAndDrug",
    "mentalHealth",
    "confidential",
    "domesticViolence",
    "sexualAssault",
];
/// The same, said in words.
pub const AUTHORIZATIONS_IN_WORDS: [&str; 2] = ["genetic", "other"];

/// Nothing at all.
pub fn nothing() -> Value {
    let mut choices = json!({"parameters": {}, "authorizations": {}});
    for key in DATED {
        choices["parameters"][key] = json!({"name": key, "group": 1, "enabled": false});
    }
    choices["parameters"]["medicalRecord"] = json!({"name": "everything else", "group": 1, "enabled": false, "from": false, "to": false});
    for key in DOCUMENTS {
        choices["parameters"][key] = json!({"name": key, "group": 2, "enabled": false});
    }
    for key in AUTHORIZATIONS {
        choices["authorizations"][key] = json!({"name": key, "value": false});
    }
    for key in AUTHORIZATIONS_IN_WORDS {
        choices["authorizations"][key] = json!({"name": key, "value": ""});
    }
    choices
}

/// Only these categories and kinds, without anything that needs a yes of its own.
pub fn only(keys: &[&str]) -> Value {
    let mut choices = nothing();
    for &key in keys {
        choices["parameters"][key]["enabled"] = true.into();
    }
    choices
}

/// The whole record.
pub fn everything() -> Value {
    let mut choices = only(&DATED);
    for key in DOCUMENTS.iter().chain(&["medicalRecord"]) {
        choices["parameters"][key]["enabled"] = true.into();
    }
    for key in AUTHORIZATIONS {
        choices["authorizations"][key]["value"] = true.into();
    }
    for key in AUTHORIZATIONS_IN_WORDS {
        choices["authorizations"][key]["value"] = "yes, all of it".into();
    }
    choices
}
