//! Codings, looked up in the raw JSON of an element.

use std::borrow::Cow;

use serde::Deserialize;

/// A FHIR `Coding`, as far as decisions need it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Coding<'a> {
    /// The code system.
    #[serde(borrow, default)]
    pub system: Cow<'a, str>,
    /// The code within it.
    #[serde(borrow, default)]
    pub code: Cow<'a, str>,
}

/// The shapes a coded element comes in: a `Coding`, a `CodeableConcept`, or many of either.
#[derive(Deserialize)]
#[serde(untagged)]
enum Coded<'a> {
    #[serde(borrow)]
    Many(Vec<Coded<'a>>),
    Concept {
        #[serde(borrow)]
        coding: Vec<Coding<'a>>,
    },
    #[serde(borrow)]
    One(Coding<'a>),
}

impl<'a> Coded<'a> {
    fn collect(self, into: &mut Vec<Coding<'a>>) {
        match self {
            Self::Many(many) => many.into_iter().for_each(|each| each.collect(into)),
            Self::Concept { coding } => into.extend(coding),
            Self::One(coding) => into.push(coding),
        }
    }
}

/// Every coding of an element: a `Coding`, a `CodeableConcept`, or an array of either. What has
/// another shape has no codings.
pub fn codings(raw: &str) -> Vec<Coding<'_>> {
    let mut found = Vec::new();
    if let Ok(coded) = serde_json::from_str::<Coded<'_>>(raw) {
        coded.collect(&mut found);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codings_are_found_in_every_shape() {
        let coding = r#"{"system":"s","code":"c","display":"d"}"#;
        for raw in [
            coding.to_owned(),
            format!("[{coding}]"),
            format!(r#"{{"coding":[{coding}],"text":"t"}}"#),
            format!(r#"[{{"coding":[{coding}]}}]"#),
        ] {
            let found = codings(&raw);
            assert_eq!(
                (found[0].system.as_ref(), found[0].code.as_ref()),
                ("s", "c"),
                "{raw}"
            );
        }
        for raw in ["7", "\"x\"", "[", "[7]", r#"{"coding":7}"#] {
            assert!(codings(raw).iter().all(|c| c.code.is_empty()), "{raw}");
        }
    }
}
