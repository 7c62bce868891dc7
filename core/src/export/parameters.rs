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

use serde_json::{Map, Value, json};

use super::{AuthorizationKey, Choices, InvalidChoices};

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
        asked.choices()
    }
}

/// What was read so far, as the JSON that [`Choices::from_json`] reads.
#[derive(Default)]
struct Asked {
    parameters: Map<String, Value>,
    authorizations: Map<String, Value>,
    /// Where in the Parameters each of them stands.
    places: Vec<(String, String)>,
}

impl Asked {
    fn read(&mut self, entry: &Entry<'_>) -> Result<(), InvalidChoices> {
        match entry.name {
            "category" => {
                let mut asked = json!({"enabled": true});
                let code = entry.code(&["from", "to", "notes"], &mut asked)?;
                self.keep("parameters", code, asked, entry)
            }
            "authorization" => {
                let mut given = json!({});
                let code = entry.code(&["value"], &mut given)?;
                if given.get("value").is_none() {
                    let text = AuthorizationKey::parse(code).is_some_and(AuthorizationKey::is_text);
                    given["value"] = if text { "yes".into() } else { true.into() };
                }
                self.keep("authorizations", code, given, entry)
            }
            _ => Err(invalid(
                &format!("{}/name", entry.place),
                "is not known here; known are 'category' and 'authorization'",
            )),
        }
    }

    fn keep(
        &mut self,
        member: &str,
        code: &str,
        value: Value,
        entry: &Entry<'_>,
    ) -> Result<(), InvalidChoices> {
        let map = match member {
            "parameters" => &mut self.parameters,
            _ => &mut self.authorizations,
        };
        if map.insert(code.to_owned(), value).is_some() {
            return Err(invalid(
                &entry.place,
                &format!("names '{code}' a second time"),
            ));
        }
        self.places
            .push((format!("/{member}/{code}"), entry.place.clone()));
        Ok(())
    }

    fn choices(self) -> Result<Option<Choices>, InvalidChoices> {
        if self.parameters.is_empty() && self.authorizations.is_empty() {
            return Ok(None);
        }
        let mut body = json!({"authorizations": self.authorizations});
        if !self.parameters.is_empty() {
            body["parameters"] = self.parameters.into();
        }
        let places = self.places;
        Choices::from_json(&body).map(Some).map_err(|error| {
            // Told where the client wrote it, not where we moved it.
            let place = (places.iter()).find_map(|(at, place)| {
                let rest = error.pointer.strip_prefix(at)?;
                Some(format!("{place}{rest}"))
            });
            InvalidChoices {
                pointer: place.unwrap_or(error.pointer),
                message: error.message,
            }
        })
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
    fn value(&self) -> Result<&'a Value, InvalidChoices> {
        let mut values = (self.content.iter()).filter(|(name, _)| *name != "name" && *name != "id");
        match (values.next(), values.next()) {
            (Some((name, value)), None) if name.starts_with("value") => Ok(value),
            _ => Err(invalid(
                &self.place,
                "has to hold one value[x] beside its name",
            )),
        }
    }

    /// The code it names, by itself or in a part; the other parts go into `others`.
    fn code(&self, known: &[&str], others: &mut Value) -> Result<&'a str, InvalidChoices> {
        let text = |entry: &Self| {
            let code = entry.value()?.as_str();
            code.ok_or_else(|| invalid(&entry.place, "has to hold a valueCode"))
        };
        if !self.content.contains_key("part") {
            return text(self);
        }
        let mut code = None;
        for (number, part) in list(self.content, "part", &self.place)?.iter().enumerate() {
            let part = Entry::new(part, format!("{}/part/{number}", self.place))?;
            match part.name {
                "code" => code = Some(text(&part)?),
                name if known.contains(&name) => others[name] = part.value()?.clone(),
                _ => {
                    let known = known.join("', '");
                    let message = format!("is not known here; known are 'code', '{known}'");
                    return Err(invalid(&format!("{}/name", part.place), &message));
                }
            }
        }
        code.ok_or_else(|| invalid(&self.place, "has no part 'code'"))
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

fn invalid(pointer: &str, message: &str) -> InvalidChoices {
    InvalidChoices {
        pointer: pointer.to_owned(),
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::ParameterKey;

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
                "/parameter/0",
            ),
            (
                json!([{"name": "category", "valueBoolean": true}]),
                "/parameter/0",
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
                "/parameter/1/from",
            ),
            (
                category(json!([labs, {"name": "from"}])),
                "/parameter/1/part/1",
            ),
            (
                json!([{"name": "authorization", "valueCode": "aids"}]),
                "/parameter/0",
            ),
            (
                json!([{"name": "authorization", "part": [{"name": "code", "valueCode": "hiv"}, part("value", "yes")]}]),
                "/parameter/0/value",
            ),
        ] {
            assert_eq!(
                read(&parameters).unwrap_err().pointer,
                pointer,
                "{parameters}"
            );
        }
        for body in [json!([]), json!({}), json!({"resourceType": "Patient"})] {
            assert!(Choices::from_parameters(&body).is_err(), "{body}");
        }
    }
}
