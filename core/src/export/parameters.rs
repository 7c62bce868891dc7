//! Choices that come along with a kick-off, as a FHIR Parameters resource.
//!
//! ```json
//! {"resourceType": "Parameters", "parameter": [
//!   {"name": "category", "valueCode": "visits"},
//!   {"name": "category", "part": [
//!     {"name": "code", "valueCode": "labs"},
//!     {"name": "from", "valueDate": "2019"},
//!     {"name": "to", "valueDate": "2020-06"},
//!     {"name": "notes", "valueString": "the blood count above all"}]},
//!   {"name": "authorization", "valueCode": "hiv"},
//!   {"name": "authorization", "part": [
//!     {"name": "code", "valueCode": "genetic"},
//!     {"name": "value", "valueString": "BRCA tests"}]}
//! ]}
//! ```
//!
//! Source: FHIR R4, Parameters; Argonaut EHI Export API 0.1.0, kick-off.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

use serde_json::{Map, Value};

use super::request::{YES, escape, invalid, names, read_date, read_text, unknown};
use super::{AuthorizationKey, Choices, InvalidChoices, Parameter, ParameterKey};

impl Choices {
    /// Reads a Parameters resource; `None` when it asks for nothing in particular.
    ///
    /// Where some `category` is named, only those are asked for; where none is, all are. Nothing
    /// sensitive is authorised but what an `authorization` names.
    pub fn from_parameters(body: &Value) -> Result<Option<Self>, InvalidChoices> {
        let resource = body
            .as_object()
            .ok_or_else(|| invalid("", "is not a JSON object"))?;
        if resource.get("resourceType").and_then(Value::as_str) != Some("Parameters") {
            return Err(invalid("/resourceType", "has to be 'Parameters'"));
        }
        let mut asked = Asked::default();
        for (number, parameter) in list(resource, "parameter", "")?.iter().enumerate() {
            asked.read(&Entry::new(parameter, format!("/parameter/{number}"))?)?;
        }
        Ok(asked.choices())
    }
}

/// What was read so far.
#[derive(Default)]
struct Asked {
    parameters: BTreeMap<ParameterKey, Parameter>,
    /// The answers; "" for no.
    authorizations: BTreeMap<AuthorizationKey, String>,
}

impl Asked {
    fn read(&mut self, entry: &Entry<'_>) -> Result<(), InvalidChoices> {
        match entry.name {
            "category" => {
                let (code, parts) = entry.code(&["from", "to", "notes"])?;
                let known = ParameterKey::ALL.iter().map(|key| key.key());
                let key = code.key(ParameterKey::parse, known)?;
                keep(&mut self.parameters, key, parameter(&parts)?, &code, entry)
            }
            "authorization" => {
                let (code, parts) = entry.code(&["value"])?;
                let known = AuthorizationKey::ALL.iter().map(|key| key.key());
                let key = code.key(AuthorizationKey::parse, known)?;
                let answer = match parts.get("value") {
                    Some(value) => value.answer(key)?,
                    None => YES.to_owned(),
                };
                keep(&mut self.authorizations, key, answer, &code, entry)
            }
            _ => Err(unknown(
                &format!("{}/name", entry.place),
                "'category' and 'authorization'",
            )),
        }
    }

    fn choices(mut self) -> Option<Choices> {
        if self.parameters.is_empty() && self.authorizations.is_empty() {
            return None;
        }
        self.authorizations.retain(|_, answer| !answer.is_empty());
        let mut choices = Choices {
            authorizations: self.authorizations,
            ..Choices::form_default()
        };
        if !self.parameters.is_empty() {
            choices.parameters = self.parameters;
        }
        Some(choices)
    }
}

fn keep<K: Ord, V>(
    map: &mut BTreeMap<K, V>,
    key: K,
    value: V,
    code: &Said<'_>,
    entry: &Entry<'_>,
) -> Result<(), InvalidChoices> {
    match map.entry(key) {
        Slot::Vacant(free) => {
            free.insert(value);
            Ok(())
        }
        Slot::Occupied(_) => {
            let message = format!("names {} a second time", code.value);
            Err(invalid(&entry.place, &message))
        }
    }
}

fn parameter(parts: &BTreeMap<&str, Said<'_>>) -> Result<Parameter, InvalidChoices> {
    let date = |name| match parts.get(name) {
        Some(said) => read_date(said.value, &said.place),
        None => Ok(None),
    };
    let notes = match parts.get("notes") {
        Some(said) => read_text(said.value, &said.place)?,
        None => String::new(),
    };
    let parameter = Parameter {
        from: date("from")?,
        to: date("to")?,
        notes: Some(notes).filter(|notes| !notes.is_empty()),
    };
    match parts.get("from") {
        Some(from) if parameter.is_backwards() => Err(invalid(&from.place, "is after 'to'")),
        _ => Ok(parameter),
    }
}

/// A value, and where it stands.
struct Said<'a> {
    value: &'a Value,
    place: String,
}

impl Said<'_> {
    /// The key that it names.
    fn key<T>(
        &self,
        parse: impl Fn(&str) -> Option<T>,
        known: impl Iterator<Item = &'static str>,
    ) -> Result<T, InvalidChoices> {
        let code = self.value.as_str();
        let code = code.ok_or_else(|| invalid(&self.place, "is not a code: write a valueCode"))?;
        parse(code).ok_or_else(|| unknown(&self.place, &names(known)))
    }

    /// What it answers to whether such records may leave; "" for no. A no is a no in whichever way
    /// it is said; a yes to what is answered in words is words.
    fn answer(&self, key: AuthorizationKey) -> Result<String, InvalidChoices> {
        match (self.value, self.value.as_str().map(str::trim)) {
            (Value::Bool(false), _) | (_, Some("false")) => Ok(String::new()),
            _ if key.is_text() => read_text(self.value, &self.place),
            (Value::Bool(true), _) | (_, Some("true")) => Ok(YES.to_owned()),
            _ => Err(invalid(&self.place, "is neither true nor false")),
        }
    }
}

/// One `parameter` or `part`, and where it stands.
struct Entry<'a> {
    name: &'a str,
    content: &'a Map<String, Value>,
    place: String,
}

impl<'a> Entry<'a> {
    fn new(value: &'a Value, place: String) -> Result<Self, InvalidChoices> {
        let content = value.as_object();
        let content = content.ok_or_else(|| invalid(&place, "is not a JSON object"))?;
        let name = content.get("name").and_then(Value::as_str);
        let name = name.ok_or_else(|| invalid(&format!("{place}/name"), "is missing"))?;
        Ok(Self {
            name,
            content,
            place,
        })
    }

    /// The one value it holds.
    fn value(&self) -> Result<Said<'a>, InvalidChoices> {
        // Ids, extensions and what extends a primitive value (`_valueCode`) are no values.
        let mut values = (self.content.iter()).filter(|(name, _)| name.starts_with("value"));
        match (values.next(), values.next()) {
            (Some((name, value)), None) => Ok(Said {
                value,
                place: format!("{}/{}", self.place, escape(name)),
            }),
            _ => Err(invalid(
                &self.place,
                "has to hold one value[x] beside its name",
            )),
        }
    }

    /// The code it names, by itself or in a part, and the other parts by their names.
    fn code(
        &self,
        known: &[&str],
    ) -> Result<(Said<'a>, BTreeMap<&'a str, Said<'a>>), InvalidChoices> {
        let mut others = BTreeMap::new();
        if !self.content.contains_key("part") {
            return Ok((self.value()?, others));
        }
        let mut code = None;
        for (number, part) in list(self.content, "part", &self.place)?.iter().enumerate() {
            let part = Entry::new(part, format!("{}/part/{number}", self.place))?;
            match part.name {
                "code" => code = Some(part.value()?),
                name if known.contains(&name) => {
                    others.insert(name, part.value()?);
                }
                _ => {
                    let known = known.join("', '");
                    let known = format!("'code', '{known}'");
                    return Err(unknown(&format!("{}/name", part.place), &known));
                }
            }
        }
        let code = code.ok_or_else(|| invalid(&self.place, "has no part 'code'"))?;
        Ok((code, others))
    }
}

fn list<'a>(
    object: &'a Map<String, Value>,
    name: &str,
    place: &str,
) -> Result<&'a [Value], InvalidChoices> {
    match object.get(name) {
        None => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(invalid(&format!("{place}/{name}"), "is not a list")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(parameters: &Value) -> Result<Option<Choices>, InvalidChoices> {
        Choices::from_parameters(&json!({"resourceType": "Parameters", "parameter": parameters}))
    }

    fn part(name: &str, value: &str) -> Value {
        json!({"name": name, "valueString": value})
    }

    #[test]
    fn parameters_say_what_the_form_says() {
        let asked = read(&json!([
            {"name": "category", "valueCode": "visits"},
            {"name": "category", "part": [
                {"name": "code", "valueCode": "labs"},
                {"name": "from", "valueDate": "2019"},
                {"name": "to", "valueDateTime": "2020-06-01T00:00:00Z"},
                part("notes", "all")]},
            {"name": "authorization", "valueCode": "hiv"},
            {"name": "authorization", "valueCode": "other"},
            {"name": "authorization", "part": [{"name": "code", "valueCode": "mentalHealth"}, {"name": "value", "valueBoolean": false}]},
            {"name": "authorization", "part": [{"name": "code", "valueCode": "genetic"}, part("value", "BRCA")]},
        ]));
        let said = Choices::from_json(&json!({
            "parameters": {
                "visits": {"enabled": true},
                "labs": {"enabled": true, "from": "2019", "to": "2020-06-01T00:00:00Z", "notes": "all"},
            },
            "authorizations": {
                "hiv": {"value": true}, "other": {"value": "yes"}, "mentalHealth": {"value": false}, "genetic": {"value": "BRCA"},
            },
        }));
        assert_eq!(asked.unwrap().unwrap(), said.unwrap());
    }

    #[test]
    fn an_answer_may_be_given_as_a_boolean_or_as_text() {
        let given = |code: &str, member: &str, value: Value| {
            let mut answer = json!({"name": "value"});
            answer[member] = value;
            let code = json!({"name": "code", "valueCode": code});
            let asked = read(&json!([{"name": "authorization", "part": [code, answer]}]));
            asked.map(|asked| asked.unwrap().authorizations.into_values().next())
        };
        let yes = Ok(Some("yes".to_owned()));
        for (member, value) in [
            ("valueBoolean", json!(true)),
            ("valueString", json!("true")),
        ] {
            assert_eq!(given("hiv", member, value), yes);
        }
        for code in ["hiv", "genetic"] {
            for (member, value) in [
                ("valueBoolean", json!(false)),
                ("valueString", json!("false")),
            ] {
                assert_eq!(given(code, member, value), Ok(None), "{code}");
            }
        }
        let words = given("genetic", "valueString", json!("BRCA tests"));
        assert_eq!(words, Ok(Some("BRCA tests".to_owned())));
        assert!(given("genetic", "valueBoolean", json!(true)).is_err());
        for wrong in [json!("yes"), json!("TRUE"), json!(""), json!(null)] {
            assert!(
                given("hiv", "valueString", wrong.clone()).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn what_fhir_allows_beside_a_value_does_no_harm() {
        let more = json!([{"url": "https://app.example/why", "valueString": "x"}]);
        let beside = json!({
            "name": "category", "valueCode": "labs", "id": "p1", "extension": more,
            "modifierExtension": more, "_valueCode": {"extension": more},
        });
        let asked = read(&json!([beside])).unwrap().unwrap();
        assert!(asked.parameters.keys().eq([&ParameterKey::Labs]));
    }

    #[test]
    fn without_a_category_all_are_asked_for_and_nothing_sensitive_is_authorised() {
        let asked = read(&json!([{"name": "authorization", "valueCode": "hiv"}]))
            .unwrap()
            .unwrap();
        assert!(
            ParameterKey::ALL
                .iter()
                .all(|&key| asked.parameter(key).is_some())
        );
        let given = |key: &&AuthorizationKey| asked.authorizes(**key);
        assert_eq!(AuthorizationKey::ALL.iter().filter(given).count(), 1);
        assert_eq!(read(&json!([])).unwrap(), None);
        assert_eq!(
            Choices::from_parameters(&json!({"resourceType": "Parameters"})).unwrap(),
            None
        );
    }

    #[test]
    fn an_error_points_at_what_the_client_wrote() {
        let category = |parts: Value| json!([{"name": "category", "valueCode": "visits"}, {"name": "category", "part": parts}]);
        let labs = json!({"name": "code", "valueCode": "labs"});
        for (parameters, pointer) in [
            (json!({}), "/parameter"),
            (json!(["x"]), "/parameter/0"),
            (json!([{"valueCode": "labs"}]), "/parameter/0/name"),
            (
                json!([{"name": "since", "valueInstant": "x"}]),
                "/parameter/0/name",
            ),
            (json!([{"name": "category"}]), "/parameter/0"),
            (
                json!([{"name": "category", "valueCode": "teeth"}]),
                "/parameter/0/valueCode",
            ),
            (
                json!([{"name": "category", "valueBoolean": true}]),
                "/parameter/0/valueBoolean",
            ),
            (
                category(json!([{"name": "code", "valueCode": "tee/th"}])),
                "/parameter/1/part/0/valueCode",
            ),
            (
                json!([{"name": "category", "valueCode": "labs", "valueString": "x"}]),
                "/parameter/0",
            ),
            (
                json!([{"name": "category", "valueCode": "labs"}, {"name": "category", "valueCode": "labs"}]),
                "/parameter/1",
            ),
            (category(json!([])), "/parameter/1"),
            (
                category(json!([labs, {"name": "since", "valueDate": "2019"}])),
                "/parameter/1/part/1/name",
            ),
            (
                category(json!([labs, {"name": "from", "valueDate": "soon"}])),
                "/parameter/1/part/1/valueDate",
            ),
            (
                category(
                    json!([{"name": "to", "valueDate": "2019"}, labs, {"name": "from", "valueDate": "2020"}]),
                ),
                "/parameter/1/part/2/valueDate",
            ),
            (
                category(json!([labs, {"name": "notes", "valueInteger": 1}])),
                "/parameter/1/part/1/valueInteger",
            ),
            (
                category(json!([labs, {"name": "from"}])),
                "/parameter/1/part/1",
            ),
            (
                json!([{"name": "authorization", "valueCode": "aids"}]),
                "/parameter/0/valueCode",
            ),
            (
                json!([{"name": "authorization", "part": [{"name": "code", "valueCode": "hiv"}, part("value", "yes")]}]),
                "/parameter/0/part/1/valueString",
            ),
        ] {
            let error = read(&parameters).unwrap_err();
            assert_eq!(error.pointer, pointer, "{parameters}");
            let verb = error.message.split(' ').next().unwrap();
            assert!(["is", "has", "names"].contains(&verb), "{error}");
        }
        for body in [json!([]), json!({}), json!({"resourceType": "Patient"})] {
            assert!(Choices::from_parameters(&body).is_err(), "{body}");
        }
    }
}
