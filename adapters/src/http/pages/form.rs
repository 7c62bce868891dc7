//! The form in which patients make their choices.

use std::collections::BTreeMap;

use askama::Template;
use axum::response::Response;
use ehi_core::auth::{Client, Secret, csrf_token};
use ehi_core::export::{
    AuthorizationKey, Choices, ExportJob, InvalidChoices, Parameter, ParameterKey,
};
use ehi_core::fhir::Period;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::{Back, CSRF_FIELD, render};

#[derive(Template)]
#[template(path = "form.html")]
struct FormPage<'a> {
    patient: &'a str,
    app: Option<&'a str>,
    action: String,
    csrf_field: &'static str,
    csrf: String,
    record: Vec<Part>,
    documents: Vec<Part>,
    notes: String,
    sensitive: Vec<Kind>,
}

/// A part of the record on the form.
struct Part {
    key: &'static str,
    title: &'static str,
    checked: bool,
    dates: bool,
    from: String,
    to: String,
}

/// A kind of sensitive record on the form.
struct Kind {
    key: &'static str,
    title: &'static str,
    text: bool,
    checked: bool,
    words: String,
}

/// The form of a job.
pub fn form(
    job: &ExportJob,
    client: Option<&Client>,
    cookie: &Secret,
    back: Option<&Back<'_>>,
) -> Response {
    let choices = job.choices();
    let part = |&key: &ParameterKey| {
        let asked = choices.parameter(key).map(Parameter::period);
        let day = |at: Option<Timestamp>| at.map(day).unwrap_or_default();
        Part {
            key: key.key(),
            title: key.title(),
            checked: asked.is_some(),
            // Dates that came along with the kick-off can be seen and changed.
            dates: key.offers_dates() || asked.is_some_and(|asked| asked != Period::default()),
            from: day(asked.and_then(|asked| asked.start)),
            to: day(asked.and_then(|asked| asked.end)),
        }
    };
    let (record, documents) = (ParameterKey::ALL.iter()).partition(|key| key.group() == 1);
    let (record, documents): (Vec<&ParameterKey>, Vec<&ParameterKey>) = (record, documents);
    let action = match back.and_then(|back| back.asked) {
        Some(asked) => {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.append_pair("redirect", asked);
            format!("/jobs/{}?{}", job.id, query.finish())
        }
        None => format!("/jobs/{}", job.id),
    };
    let page = FormPage {
        patient: &job.patient.name,
        app: client.map(|client| client.name.as_str()),
        action,
        csrf_field: CSRF_FIELD,
        csrf: csrf_token(cookie),
        record: record.into_iter().map(part).collect(),
        documents: documents.into_iter().map(part).collect(),
        notes: (choices.parameter(ParameterKey::Other))
            .and_then(|other| other.notes.clone())
            .unwrap_or_default(),
        sensitive: (AuthorizationKey::ALL.iter())
            .map(|key| Kind {
                key: key.key(),
                title: key.title(),
                text: key.is_text(),
                checked: choices.authorizes(*key),
                words: choices.authorization_text(*key).to_owned(),
            })
            .collect(),
    };
    render(&page, back.map(|back| &back.url))
}

/// The day of an instant, as a date field shows it.
fn day(at: Timestamp) -> String {
    at.to_zoned_datetime(TimeZone::UTC).date().to_string()
}

/// The choices in a form that was sent: fields `parameters.<key>.<member>` and
/// `authorizations.<key>.value`, read as the JSON they stand for. A box that is not ticked is not
/// sent, so a part whose box is missing was not asked for.
pub fn choices_from_form(form: &[(String, String)]) -> Result<Choices, InvalidChoices> {
    let mut parameters: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut authorizations = Map::new();
    for (name, value) in form.iter().filter(|(name, _)| name != CSRF_FIELD) {
        let mut path = name.split('.');
        match (path.next(), path.next(), path.next(), path.next()) {
            (Some("parameters"), Some(key), Some(member), None) => {
                let value = match member {
                    "enabled" => ticked(value),
                    _ => Value::String(value.clone()),
                };
                parameters
                    .entry(key)
                    .or_default()
                    .insert(member.to_owned(), value);
            }
            (Some("authorizations"), Some(key), Some("value"), None) => {
                let text = AuthorizationKey::parse(key).is_some_and(AuthorizationKey::is_text);
                let value = if text {
                    Value::String(value.clone())
                } else {
                    ticked(value)
                };
                authorizations.insert(key.to_owned(), json!({"value": value}));
            }
            _ => {
                let pointer = format!("/{}", name.chars().take(80).collect::<String>());
                let message = "is no field of this form".to_owned();
                return Err(InvalidChoices { pointer, message });
            }
        }
    }
    for parameter in parameters.values_mut() {
        parameter.entry("enabled").or_insert(Value::Bool(false));
    }
    Choices::from_json(&json!({"parameters": parameters, "authorizations": authorizations}))
}

/// What a box that was sent says; anything else is left for the reader to refuse.
fn ticked(value: &str) -> Value {
    match value {
        "on" | "yes" | "true" => Value::Bool(true),
        "" | "no" | "false" => Value::Bool(false),
        other => Value::String(other.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[(&str, &str)]) -> Result<Choices, InvalidChoices> {
        let form: Vec<_> = fields
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        choices_from_form(&form)
    }

    #[test]
    fn ticked_boxes_are_asked_for_and_others_are_not() {
        let choices = read(&[
            (CSRF_FIELD, "x"),
            ("parameters.labs.enabled", "on"),
            ("parameters.labs.from", "2019-01-01"),
            ("parameters.labs.to", ""),
            ("parameters.visits.from", ""),
            ("authorizations.hiv.value", "on"),
            ("authorizations.genetic.value", " BRCA "),
            ("authorizations.other.value", ""),
        ])
        .unwrap();
        assert!(
            choices
                .parameter(ParameterKey::Labs)
                .unwrap()
                .from
                .is_some()
        );
        assert!(choices.parameter(ParameterKey::Visits).is_none());
        assert!(choices.parameter(ParameterKey::Billing).is_none());
        assert!(choices.authorizes(AuthorizationKey::Hiv));
        assert_eq!(
            choices.authorization_text(AuthorizationKey::Genetic),
            "BRCA"
        );
        assert!(!choices.authorizes(AuthorizationKey::Other));
    }

    #[test]
    fn unknown_fields_and_bad_dates_are_refused() {
        for (field, value, pointer) in [
            ("comment", "x", "/comment"),
            ("parameters.labs", "x", "/parameters.labs"),
            ("parameters.labs.from.x", "x", "/parameters.labs.from.x"),
            ("parameters.teeth.enabled", "on", "/parameters/teeth"),
            (
                "parameters.labs.enabled",
                "maybe",
                "/parameters/labs/enabled",
            ),
            ("parameters.labs.from", "1.1.2019", "/parameters/labs/from"),
            (
                "authorizations.hiv.value",
                "perhaps",
                "/authorizations/hiv/value",
            ),
        ] {
            assert_eq!(
                read(&[(field, value)]).unwrap_err().pointer,
                pointer,
                "{field}"
            );
        }
    }
}
