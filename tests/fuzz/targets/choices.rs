//! Whatever a patient or app sends as choices: refused with a pointer, or understood so that what
//! is shown can be sent back.
#![no_main]

use ehi_core::export::Choices;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fuzz_target!(|input: &[u8]| {
    let Ok(body) = serde_json::from_slice::<Value>(input) else {
        return;
    };
    match Choices::from_json(&body) {
        Ok(choices) => {
            let shown = json!({
                "parameters": choices.parameters_json(),
                "authorizations": choices.authorizations_json(),
            });
            assert_eq!(Choices::from_json(&shown).as_ref(), Ok(&choices), "{shown}");
        }
        Err(error) => assert!(error.pointer.is_empty() || error.pointer.starts_with('/')),
    }
    let _ = Choices::from_parameters(&body);
});
