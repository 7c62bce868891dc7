//! The Bundle being written, and the links inside it.

use jiff::civil::DateTime;
use serde_json::{Map, Value, json};

use super::codes::Code;
use super::dice::Dice;
use super::people::Person;
use super::places::{self, Team};

/// The labels a resource carries in `meta.security`.
pub(super) type Security = &'static [Code];

/// A reference to an entry of the same Bundle.
#[derive(Debug, Clone)]
pub(super) struct Link {
    url: String,
    display: Option<String>,
}

impl Link {
    pub(super) fn json(&self) -> Value {
        json!({ "reference": self.url, "display": self.display })
    }

    pub(super) fn named(self, display: &str) -> Self {
        Self {
            display: Some(display.to_owned()),
            ..self
        }
    }

    pub(super) fn name(&self) -> &str {
        self.display.as_deref().unwrap_or_default()
    }
}

/// One patient's record while it grows.
pub(super) struct Chart {
    pub(super) dice: Dice,
    pub(super) person: Person,
    /// The id of the Patient resource.
    pub(super) id: String,
    pub(super) patient: Link,
    pub(super) team: Team,
    pub(super) coverage: Link,
    /// LOINC codes of laboratory values that an illness keeps raised.
    pub(super) raised: Vec<&'static str>,
    entries: Entries,
}

impl Chart {
    /// Opens the record: first the patient, then who cares for them.
    pub(super) fn open(mut dice: Dice, person: Person) -> Self {
        let mut entries = Entries::default();
        let id = dice.uuid();
        let patient = Link {
            url: format!("urn:uuid:{id}"),
            display: Some(person.name()),
        };
        let team = Team::hire(&mut dice, &mut entries);
        let body = person.patient(&mut dice, &team.clinic.organization);
        entries.put(0, &id, "Patient", &[], body);
        let body = places::coverage(&mut dice, &person, &patient, &team.insurer);
        let coverage = entries.add(&mut dice, "Coverage", &[], body);
        Self {
            dice,
            person,
            id,
            patient,
            team,
            coverage,
            raised: Vec::new(),
            entries,
        }
    }

    /// Adds a resource with an id of its own and returns how to refer to it.
    pub(super) fn add(&mut self, kind: &str, security: Security, body: Value) -> Link {
        self.entries.add(&mut self.dice, kind, security, body)
    }

    /// The record ends with the patient's life, or today: a later moment becomes that one.
    pub(super) fn no_later(&self, moment: DateTime) -> DateTime {
        moment.min(self.person.last)
    }

    pub(super) fn into_bundle(self) -> Value {
        Value::Object(fields([
            ("resourceType", json!("Bundle")),
            ("type", json!("collection")),
            ("entry", Value::Array(self.entries.0)),
        ]))
    }
}

/// The entries of the Bundle, in the order they happened.
#[derive(Default)]
pub(super) struct Entries(Vec<Value>);

impl Entries {
    /// Adds a resource. An element written as `null` is absent, which lets the templates of the
    /// resources stay in one piece.
    pub(super) fn add(
        &mut self,
        dice: &mut Dice,
        kind: &str,
        security: Security,
        body: Value,
    ) -> Link {
        let id = dice.uuid();
        self.put(self.0.len(), &id, kind, security, body)
    }

    fn put(&mut self, place: usize, id: &str, kind: &str, security: Security, body: Value) -> Link {
        let url = format!("urn:uuid:{id}");
        let mut resource = fields([("resourceType", json!(kind)), ("id", json!(id))]);
        if !security.is_empty() {
            let labels: Vec<_> = security.iter().map(Code::coding).collect();
            resource.insert("meta".to_owned(), json!({ "security": labels }));
        }
        if let Value::Object(mut body) = body {
            drop_nulls(&mut body);
            resource.extend(body);
        }
        let entry = fields([
            ("fullUrl", json!(url)),
            ("resource", Value::Object(resource)),
        ]);
        self.0.insert(place, Value::Object(entry));
        Link { url, display: None }
    }
}

/// An object made of values that are moved into it, where `json!` would copy them.
pub(super) fn fields<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn drop_nulls(fields: &mut Map<String, Value>) {
    fields.retain(|_, value| !value.is_null());
    fields.values_mut().for_each(drop_nulls_within);
}

fn drop_nulls_within(value: &mut Value) {
    match value {
        Value::Object(fields) => drop_nulls(fields),
        Value::Array(items) => items.iter_mut().for_each(drop_nulls_within),
        _ => {}
    }
}

/// How a moment is written; the invented hospital keeps Eastern standard time all year round.
pub(super) fn stamp(moment: DateTime) -> String {
    format!("{moment}-05:00")
}

/// A `Narrative` with one paragraph.
pub(super) fn narrative(text: &str) -> Value {
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    json!({
        "status": "generated",
        "div": format!("<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>{text}</p></div>"),
    })
}
