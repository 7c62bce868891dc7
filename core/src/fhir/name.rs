//! Names of people, as one would address an envelope.

use serde::Deserialize;

/// A FHIR `HumanName`, as far as its display needs it.
#[derive(Debug, Deserialize)]
struct HumanName {
    #[serde(rename = "use")]
    usage: Option<String>,
    text: Option<String>,
    family: Option<String>,
    #[serde(default)]
    given: Vec<String>,
    #[serde(default)]
    prefix: Vec<String>,
    #[serde(default)]
    suffix: Vec<String>,
}

impl HumanName {
    /// The name a person goes by first: official, then usual, then whatever there is; a name
    /// they no longer use last.
    fn rank(&self) -> u8 {
        match self.usage.as_deref() {
            Some("official") => 0,
            Some("usual") => 1,
            Some("old" | "maiden") => 3,
            _ => 2,
        }
    }

    fn display(&self) -> Option<String> {
        let parts: Vec<&str> = (self.prefix.iter().chain(&self.given).chain(&self.family))
            .chain(&self.suffix)
            .map(String::as_str)
            .collect();
        let composed = parts.join(" ");
        let text = self.text.clone().unwrap_or(composed);
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }
}

/// The display of `Patient.name` (the raw JSON of the array), or `None` where there is none.
///
/// Source: FHIR R4, datatype `HumanName`.
pub fn display_name(names: &str) -> Option<String> {
    let mut names: Vec<HumanName> = serde_json::from_str(names).ok()?;
    names.sort_by_key(HumanName::rank);
    names.iter().find_map(HumanName::display)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_official_name_is_shown_as_on_an_envelope() {
        let names = r#"[{"use":"maiden","family":"Vogt"},
            {"use":"official","prefix":["Dr."],"given":["Ada","B."],"family":"Crane","suffix":["MD"]}]"#;
        assert_eq!(display_name(names).unwrap(), "Dr. Ada B. Crane MD");
    }

    #[test]
    fn a_written_name_wins_over_its_parts() {
        assert_eq!(
            display_name(r#"[{"text":"Ada Crane","family":"X"}]"#).unwrap(),
            "Ada Crane"
        );
    }

    #[test]
    fn no_name_is_none() {
        for names in ["[]", "[{}]", r#"[{"text":"  "}]"#, "7", "[{"] {
            assert_eq!(display_name(names), None, "{names}");
        }
    }
}
