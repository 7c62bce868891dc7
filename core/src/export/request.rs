//! What was asked: the patient's choices, read from JSON and shown as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::fhir::{DateError, PartialDate, Period};

/// Makes an enum of keys with their wire name and their title.
macro_rules! keys {
    ($(#[$doc:meta])* $enum:ident { $($name:ident $key:literal $title:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "the titles say it")]
        pub enum $enum { $(#[serde(rename = $key)] $name,)* }

        impl $enum {
            /// Every key, in the order a form shows them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The key on the wire.
            pub const fn key(self) -> &'static str {
                match self { $(Self::$name => $key,)* }
            }

            /// What a person calls it.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// Reads a key of the wire.
            pub fn parse(key: &str) -> Option<Self> {
                match key { $($key => Some(Self::$name),)* _ => None }
            }
        }
    };
}

keys! {
    /// A part of the record one can ask for.
    ParameterKey {
        Visits "visits" "Visits and appointments",
        Labs "labs" "Laboratory results",
        Billing "billing" "Billing and insurance",
        MedicalRecord "medicalRecord" "Everything else in the medical record",
        DischargeSummary "dischargeSummary" "Discharge summaries",
        Operative "operative" "Operative and procedure notes",
        Pathology "pathology" "Pathology reports",
        Radiology "radiology" "Radiology reports and images",
        Photographs "photographs" "Photographs",
        Radiation "radiation" "Radiation therapy records",
        Other "other" "Other documents",
    }
}

keys! {
    /// A kind of sensitive record that leaves only when it was authorised.
    AuthorizationKey {
        Hiv "hiv" "HIV and AIDS",
        AlcoholAndDrug "alcoholAndDrug" "Alcohol and drug use",
        MentalHealth "mentalHealth" "Mental health",
        Confidential "confidential" "Confidential talks with a social worker",
        DomesticViolence "domesticViolence" "Domestic violence",
        SexualAssault "sexualAssault" "Sexual assault",
        Genetic "genetic" "Genetic tests",
        Other "other" "Other sensitive matters",
    }
}

impl ParameterKey {
    /// Group 1 is asked of the structured record, group 2 finds documents.
    pub const fn group(self) -> u8 {
        match self {
            Self::Visits | Self::Labs | Self::Billing | Self::MedicalRecord => 1,
            _ => 2,
        }
    }

    /// Whether the form offers a range of dates.
    pub const fn offers_dates(self) -> bool {
        matches!(self, Self::Visits | Self::Labs | Self::Billing)
    }
}

impl AuthorizationKey {
    /// Whether the answer is free text rather than yes or no. Text authorises, "" does not.
    pub const fn is_text(self) -> bool {
        matches!(self, Self::Genetic | Self::Other)
    }
}

/// What was asked for one part of the record.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Parameter {
    /// First date that counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<PartialDate>,
    /// Last date that counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<PartialDate>,
    /// A word to staff.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
}

impl Parameter {
    /// The instants from the start of `from` to the end of `to`.
    pub fn period(&self) -> Period {
        Period {
            start: self.from.as_ref().and_then(|from| from.period().start),
            end: self.to.as_ref().and_then(|to| to.period().end),
        }
    }

    /// Whether it begins after its end, so that nothing can match.
    pub(super) fn is_backwards(&self) -> bool {
        let Period { start, end } = self.period();
        start.zip(end).is_some_and(|(start, end)| start > end)
    }
}

/// Whether the patient fills in a form before the export starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interaction {
    /// The app sends the patient to the form first.
    Form,
    /// The export starts at once.
    None,
}

/// What the patient (or a hospital's own system) asked for and authorised.
///
/// A part that is not in `parameters` was not asked for; a kind of sensitive record that is not
/// in `authorizations` stays in the hospital.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choices {
    pub(super) parameters: BTreeMap<ParameterKey, Parameter>,
    pub(super) authorizations: BTreeMap<AuthorizationKey, String>,
}

/// Why choices were not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {message}")]
pub struct InvalidChoices {
    /// JSON pointer (RFC 6901) to what is wrong.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// What stands for a yes that was not said in words.
pub(super) const YES: &str = "yes";
const LONGEST_TEXT: usize = 2_000;

impl Choices {
    /// What a patient's form starts with: all of the record, nothing sensitive authorised.
    pub fn form_default() -> Self {
        Self {
            parameters: (ParameterKey::ALL.iter())
                .map(|&key| (key, Parameter::default()))
                .collect(),
            authorizations: BTreeMap::new(),
        }
    }

    /// All of the record, everything authorised: what is taken where nobody was asked.
    pub fn whole_record() -> Self {
        Self {
            authorizations: (AuthorizationKey::ALL.iter())
                .map(|&key| (key, YES.to_owned()))
                .collect(),
            ..Self::form_default()
        }
    }

    /// What was asked for this part, `None` when it was not asked for.
    pub fn parameter(&self, key: ParameterKey) -> Option<&Parameter> {
        self.parameters.get(&key)
    }

    /// Whether sensitive records of this kind may leave.
    pub fn authorizes(&self, key: AuthorizationKey) -> bool {
        self.authorizations.contains_key(&key)
    }

    /// What was written for a kind that is answered in words; "" when nothing was.
    pub fn authorization_text(&self, key: AuthorizationKey) -> &str {
        self.authorizations.get(&key).map_or("", String::as_str)
    }

    /// Reads `{parameters?, authorizations?}`. Where a member is missing, the form's default stands
    /// in for it.
    pub fn from_json(body: &Value) -> Result<Self, InvalidChoices> {
        Self::form_default().with_json(body)
    }

    /// Reads `{parameters?, authorizations?}` on top of these choices: a member that is missing
    /// stays as it is. Where `parameters` is given, parts it does not mention are not asked for,
    /// and so with `authorizations`: what nobody asked for does not leave.
    pub fn with_json(mut self, body: &Value) -> Result<Self, InvalidChoices> {
        for (name, value) in object(body, "")? {
            let pointer = format!("/{}", escape(name));
            match name.as_str() {
                "parameters" => self.parameters = read_parameters(value, &pointer)?,
                "authorizations" => self.authorizations = read_authorizations(value, &pointer)?,
                _ => return Err(unknown(&pointer, "'parameters' and 'authorizations'")),
            }
        }
        Ok(self)
    }

    /// The `parameters` member of a job's JSON.
    pub fn parameters_json(&self) -> Value {
        let one = |&key: &ParameterKey| {
            let chosen = self.parameters.get(&key);
            let parameter = chosen.cloned().unwrap_or_default();
            let mut json = json!({
                "name": key.title(),
                "group": key.group(),
                "enabled": chosen.is_some(),
            });
            let date = |date: Option<PartialDate>| {
                date.map_or(Value::Bool(false), |d| d.to_string().into())
            };
            // Asked by the API, dates narrow every part; what narrows is always shown.
            if key.group() == 1 || parameter.period() != Period::default() {
                json["from"] = date(parameter.from);
                json["to"] = date(parameter.to);
            }
            if let Some(notes) = parameter.notes {
                json["notes"] = notes.into();
            }
            (key.key().to_owned(), json)
        };
        ParameterKey::ALL
            .iter()
            .map(one)
            .collect::<Map<_, _>>()
            .into()
    }

    /// The `authorizations` member of a job's JSON.
    pub fn authorizations_json(&self) -> Value {
        let one = |&key: &AuthorizationKey| {
            let value = if key.is_text() {
                self.authorization_text(key).into()
            } else {
                Value::Bool(self.authorizes(key))
            };
            (
                key.key().to_owned(),
                json!({"name": key.title(), "value": value}),
            )
        };
        AuthorizationKey::ALL
            .iter()
            .map(one)
            .collect::<Map<_, _>>()
            .into()
    }
}

fn read_parameters(
    value: &Value,
    pointer: &str,
) -> Result<BTreeMap<ParameterKey, Parameter>, InvalidChoices> {
    let mut parameters = BTreeMap::new();
    for (name, value) in object(value, pointer)? {
        let pointer = format!("{pointer}/{}", escape(name));
        let key = ParameterKey::parse(name)
            .ok_or_else(|| unknown(&pointer, &names(ParameterKey::ALL.iter().map(|k| k.key()))))?;
        if let Some(parameter) = read_parameter(value, &pointer)? {
            parameters.insert(key, parameter);
        }
    }
    Ok(parameters)
}

/// One part of the record; `None` where it is not enabled.
fn read_parameter(value: &Value, pointer: &str) -> Result<Option<Parameter>, InvalidChoices> {
    let mut parameter = Parameter::default();
    let mut enabled = None;
    for (name, value) in object(value, pointer)? {
        let pointer = format!("{pointer}/{}", escape(name));
        match name.as_str() {
            // Said by clients that send back what they were shown.
            "name" | "group" => {}
            "enabled" => enabled = Some(boolean(value, &pointer)?),
            "from" => parameter.from = read_date(value, &pointer)?,
            "to" => parameter.to = read_date(value, &pointer)?,
            "notes" => {
                parameter.notes = Some(read_text(value, &pointer)?).filter(|t| !t.is_empty());
            }
            _ => return Err(unknown(&pointer, "'enabled', 'from', 'to' and 'notes'")),
        }
    }
    if parameter.is_backwards() {
        return Err(invalid(&format!("{pointer}/from"), "is after 'to'"));
    }
    match enabled {
        Some(enabled) => Ok(enabled.then_some(parameter)),
        None => Err(invalid(
            &format!("{pointer}/enabled"),
            "is missing: say true or false",
        )),
    }
}

fn read_authorizations(
    value: &Value,
    pointer: &str,
) -> Result<BTreeMap<AuthorizationKey, String>, InvalidChoices> {
    let mut authorizations = BTreeMap::new();
    for (name, value) in object(value, pointer)? {
        let pointer = format!("{pointer}/{}", escape(name));
        let key = AuthorizationKey::parse(name).ok_or_else(|| {
            unknown(
                &pointer,
                &names(AuthorizationKey::ALL.iter().map(|k| k.key())),
            )
        })?;
        for (name, value) in object(value, &pointer)? {
            let pointer = format!("{pointer}/{}", escape(name));
            let answer = match name.as_str() {
                "name" => continue,
                "value" if key.is_text() => read_text(value, &pointer)?,
                "value" if boolean(value, &pointer)? => YES.to_owned(),
                "value" => String::new(),
                _ => return Err(unknown(&pointer, "'value'")),
            };
            if !answer.is_empty() {
                authorizations.insert(key, answer);
            }
        }
    }
    Ok(authorizations)
}

/// A date; `false`, `null` and "" say there is none.
pub(super) fn read_date(
    value: &Value,
    pointer: &str,
) -> Result<Option<PartialDate>, InvalidChoices> {
    match value {
        Value::Null | Value::Bool(false) => Ok(None),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(text) => (text.parse())
            .map(Some)
            .map_err(|error: DateError| invalid(pointer, &format!("is {error}"))),
        _ => Err(invalid(
            pointer,
            "is not a date: write it as text, or false",
        )),
    }
}

pub(super) fn read_text(value: &Value, pointer: &str) -> Result<String, InvalidChoices> {
    let text = match value {
        Value::Null | Value::Bool(false) => "",
        Value::String(text) => text.trim(),
        _ => return Err(invalid(pointer, "is not a text")),
    };
    if text.len() > LONGEST_TEXT {
        return Err(invalid(
            pointer,
            &format!("is longer than {LONGEST_TEXT} bytes"),
        ));
    }
    Ok(text.to_owned())
}

fn boolean(value: &Value, pointer: &str) -> Result<bool, InvalidChoices> {
    value
        .as_bool()
        .ok_or_else(|| invalid(pointer, "is neither true nor false"))
}

fn object<'a>(value: &'a Value, pointer: &str) -> Result<&'a Map<String, Value>, InvalidChoices> {
    value
        .as_object()
        .ok_or_else(|| invalid(pointer, "is not a JSON object"))
}

pub(super) fn invalid(pointer: &str, message: &str) -> InvalidChoices {
    InvalidChoices {
        pointer: pointer.to_owned(),
        message: message.to_owned(),
    }
}

pub(super) fn unknown(pointer: &str, known: &str) -> InvalidChoices {
    invalid(pointer, &format!("is not known here; known are {known}"))
}

pub(super) fn names(keys: impl Iterator<Item = &'static str>) -> String {
    keys.map(|key| format!("'{key}'"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// RFC 6901: `~` and `/` inside a name.
pub(super) fn escape(name: &str) -> String {
    let short: String = name.chars().take(80).collect();
    short.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_asked_for_is_off() {
        let choices = Choices::from_json(&json!({
            "parameters": {
                "labs": {"enabled": true, "from": "2019", "to": "2020-03-01T00:00:00Z", "notes": " all "},
                "visits": {"enabled": false, "from": false},
            },
            "authorizations": {"hiv": {"value": true}, "genetic": {"value": "BRCA"}, "other": {"value": ""}},
        }))
        .unwrap();
        let labs = choices.parameter(ParameterKey::Labs).unwrap();
        assert_eq!(labs.from.as_ref().unwrap().as_str(), "2019");
        assert_eq!(labs.notes.as_deref(), Some("all"));
        for &key in ParameterKey::ALL {
            assert_eq!(
                choices.parameter(key).is_some(),
                key == ParameterKey::Labs,
                "{key:?}"
            );
        }
        for &key in AuthorizationKey::ALL {
            let given = matches!(key, AuthorizationKey::Hiv | AuthorizationKey::Genetic);
            assert_eq!(choices.authorizes(key), given, "{key:?}");
        }
    }

    #[test]
    fn an_empty_body_is_the_forms_default() {
        let choices = Choices::from_json(&json!({})).unwrap();
        assert_eq!(choices, Choices::form_default());
        assert!(
            !AuthorizationKey::ALL
                .iter()
                .any(|&key| choices.authorizes(key))
        );
    }

    #[test]
    fn what_is_left_out_stays_as_it_is() {
        let labs = json!({"labs": {"enabled": true, "from": "2019"}});
        let hiv = json!({"hiv": {"value": true}});
        let before =
            Choices::from_json(&json!({"parameters": labs, "authorizations": hiv})).unwrap();
        let after = |body: Value| before.clone().with_json(&body).unwrap();
        assert_eq!(after(json!({})), before);
        let declined = after(json!({"authorizations": {"hiv": {"value": false}}}));
        assert_eq!(declined.parameters, before.parameters);
        assert!(declined.authorizations.is_empty());
        let visits = after(json!({"parameters": {"visits": {"enabled": true}}}));
        assert_eq!(visits.authorizations, before.authorizations);
        assert!(visits.parameters.keys().eq([&ParameterKey::Visits]));
    }

    #[test]
    fn what_is_no_date_is_said_in_a_sentence() {
        let body = json!({"parameters": {"labs": {"enabled": true, "from": "soon"}}});
        let error = Choices::from_json(&body).unwrap_err();
        assert!(error.message.starts_with("is not a date"), "{error}");
    }

    #[test]
    fn what_is_shown_can_be_sent_back() {
        for choices in [Choices::form_default(), Choices::whole_record()] {
            let shown = json!({
                "parameters": choices.parameters_json(),
                "authorizations": choices.authorizations_json(),
            });
            assert_eq!(Choices::from_json(&shown).unwrap(), choices);
        }
    }

    #[test]
    fn an_error_points_at_what_is_wrong() {
        for (body, pointer) in [
            (json!([]), ""),
            (json!({"params": {}}), "/params"),
            (json!({"parameters": []}), "/parameters"),
            (json!({"parameters": {"x/y": {}}}), "/parameters/x~1y"),
            (
                json!({"parameters": {"labs": {}}}),
                "/parameters/labs/enabled",
            ),
            (
                json!({"parameters": {"labs": {"enabled": "on"}}}),
                "/parameters/labs/enabled",
            ),
            (
                json!({"parameters": {"labs": {"enabled": true, "from": "soon"}}}),
                "/parameters/labs/from",
            ),
            (
                json!({"parameters": {"labs": {"enabled": true, "to": 2019}}}),
                "/parameters/labs/to",
            ),
            (
                json!({"parameters": {"labs": {"enabled": true, "from": "2020", "to": "2019"}}}),
                "/parameters/labs/from",
            ),
            (
                json!({"parameters": {"labs": {"enabled": true, "dates": 1}}}),
                "/parameters/labs/dates",
            ),
            (
                json!({"authorizations": {"hiv": {"value": "yes"}}}),
                "/authorizations/hiv/value",
            ),
            (
                json!({"authorizations": {"genetic": {"value": true}}}),
                "/authorizations/genetic/value",
            ),
            (
                json!({"authorizations": {"aids": {"value": true}}}),
                "/authorizations/aids",
            ),
        ] {
            assert_eq!(
                Choices::from_json(&body).unwrap_err().pointer,
                pointer,
                "{body}"
            );
        }
    }
}
