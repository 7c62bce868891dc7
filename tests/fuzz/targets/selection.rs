//! Whatever a record holds: whether it leaves is decided, and asking for less never gives more.
#![no_main]

use std::sync::LazyLock;

use ehi_core::export::{Choices, Selection, SensitivityRules, Verdict};
use ehi_core::fhir::Record;
use libfuzzer_sys::fuzz_target;
use serde_json::json;

static EVERYTHING: LazyLock<Selection> =
    LazyLock::new(|| Selection::new(Choices::whole_record(), SensitivityRules::standard()));

static LITTLE: LazyLock<Selection> = LazyLock::new(|| {
    let choices = json!({
        "parameters": {"labs": {
            "name": "Labs", "group": 1, "enabled": true, "from": "2019-01-01", "to": "2020-12-31",
        }},
        "authorizations": {},
    });
    let choices = Choices::from_json(&choices).expect("they are choices");
    Selection::new(choices, SensitivityRules::standard())
});

fuzz_target!(|input: &[u8]| {
    if let Ok(record) = Record::parse(input) {
        let all = EVERYTHING.judge(&record);
        let little = LITTLE.judge(&record);
        if matches!(little, Verdict::Included) {
            assert!(matches!(all, Verdict::Included), "less gives more");
        }
    }
});
