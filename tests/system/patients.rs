//! Records small enough to be read: one patient with a bit of everything, one with next to nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

/// The patient with a bit of everything.
pub const ANNA: &str = "anna-1";
/// The patient with next to nothing.
pub const BEN: &str = "ben-2";

/// A record by type and id.
pub type ByKey = BTreeMap<(String, String), Value>;

/// A folder of records, removed at the end of the test.
#[derive(Debug, Clone)]
pub struct Records(Arc<TempDir>);

impl Records {
    /// An empty folder.
    pub fn empty() -> Self {
        Self(Arc::new(TempDir::new().unwrap()))
    }

    /// Anna and Ben.
    pub fn small() -> Self {
        let records = Self::empty();
        records.write("anna.json", &anna());
        records.write("ben.json", &ben());
        records
    }

    /// Puts a file into the folder, in place at once.
    pub fn write(&self, name: &str, content: &str) {
        let draft = self.0.path().join(format!(".{name}.draft"));
        fs::write(&draft, content).unwrap();
        fs::rename(draft, self.0.path().join(name)).unwrap();
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        self.0.path()
    }
}

/// The Bundles of a folder: who the patient is, and every resource.
pub fn patients_in(folder: &Path) -> Vec<(String, ByKey)> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    files.sort();
    files
        .iter()
        .map(|file| read_bundle(&fs::read_to_string(file).unwrap()))
        .collect()
}

/// The one patient of a Bundle, and every resource.
pub fn read_bundle(text: &str) -> (String, ByKey) {
    let bundle: Value = serde_json::from_str(text).unwrap();
    let entries = bundle["entry"].as_array().unwrap();
    let resources: ByKey = entries
        .iter()
        .map(|entry| (key(&entry["resource"]), entry["resource"].clone()))
        .collect();
    assert_eq!(
        resources.len(),
        entries.len(),
        "a source with doubles proves nothing"
    );
    let patient = resources
        .keys()
        .find(|(kind, _)| kind == "Patient")
        .unwrap()
        .1
        .clone();
    (patient, resources)
}

/// The type and id of a resource.
pub fn key(resource: &Value) -> (String, String) {
    let text = |member: &str| resource[member].as_str().unwrap().to_owned();
    (text("resourceType"), text("id"))
}

/// A Bundle of these resources.
pub fn bundle(resources: &[Value]) -> String {
    let entries: Vec<Value> = resources
        .iter()
        .map(|resource| json!({"fullUrl": format!("urn:uuid:{}", resource["id"].as_str().unwrap_or("none")), "resource": resource}))
        .collect();
    let bundle = json!({"resourceType": "Bundle", "type": "collection", "entry": entries});
    serde_json::to_string_pretty(&bundle).unwrap()
}

/// A Patient resource.
pub fn patient(id: &str, given: &str, family: &str) -> Value {
    json!({
        "resourceType": "Patient", "id": id, "birthDate": "1980-02-29",
        "name": [{"use": "official", "family": family, "given": [given]}]
    })
}

/// A Bundle with a patient and an allergy.
pub fn ben() -> String {
    bundle(&[
        patient(BEN, "Ben", "Brook"),
        of(BEN, "AllergyIntolerance", "ben-allergy", "patient"),
    ])
}

/// A Bundle with something of every choice on the form.
///
/// It is text and not a tree, so that it can hold what a tree loses: a decimal with its zeros, and
/// characters of every length.
pub fn anna() -> String {
    let text = bundle(&[
        patient(ANNA, "Anna", "Åström"),
        with(
            of(ANNA, "Encounter", "visit-2019", "subject"),
            json!({
                "status": "finished", "class": {"code": "AMB"},
                "period": {"start": "2019-05-06T09:00:00+02:00", "end": "2019-05-06T09:30:00+02:00"}
            }),
        ),
        with(
            of(ANNA, "Encounter", "visit-2021", "subject"),
            json!({
                "status": "finished", "class": {"code": "AMB"},
                "period": {"start": "2021-03-04T09:00:00+01:00", "end": "2021-03-04T09:30:00+01:00"}
            }),
        ),
        lab("lab-2019", "2019-05-06T10:00:00+02:00"),
        lab("lab-2021", "2021-03-04T10:00:00+01:00"),
        with(
            of(ANNA, "Claim", "bill-2020", "patient"),
            json!({
                "status": "active", "use": "claim", "created": "2020-07-08T00:00:00Z",
                "billablePeriod": {"start": "2020-07-08T00:00:00Z", "end": "2020-07-08T00:00:00Z"},
                "total": {"value": 129.16, "currency": "USD"}
            }),
        ),
        with(
            of(ANNA, "AllergyIntolerance", "allergy", "patient"),
            json!({
                "code": {"text": "Peanuts — \"groundnuts\" 🥜\u{2028}and kin\n\ttwo lines"}
            }),
        ),
        with(
            of(ANNA, "Condition", "hiv", "subject"),
            json!({
                "meta": {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}]},
                "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "B20"}]},
                "recordedDate": "2018-01-01"
            }),
        ),
        document("discharge", "18842-5", "2019-05-07T00:00:00Z"),
        document("operative-note", "11504-8", "2019-05-06T00:00:00Z"),
    ]);
    text.replace("\"value\": 129.16", "\"value\": 129.1600")
}

/// A laboratory result of Anna's.
fn lab(id: &str, when: &str) -> Value {
    with(
        of(ANNA, "Observation", id, "subject"),
        json!({
            "status": "final", "effectiveDateTime": when,
            "category": [{"coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/observation-category",
                "code": "laboratory"
            }]}],
            "code": {"coding": [{"system": "http://loinc.org", "code": "2339-0"}]},
            "valueQuantity": {"value": 5.3, "unit": "mmol/L"}
        }),
    )
}

/// A document of Anna's.
fn document(id: &str, loinc: &str, when: &str) -> Value {
    with(
        of(ANNA, "DocumentReference", id, "subject"),
        json!({
            "status": "current", "date": when,
            "type": {"coding": [{"system": "http://loinc.org", "code": loinc}]},
            "content": [{"attachment": {"contentType": "text/plain", "data": "aGVsbG8="}}]
        }),
    )
}

/// A resource that belongs to a patient.
pub fn of(patient: &str, kind: &str, id: &str, member: &str) -> Value {
    json!({"resourceType": kind, "id": id, member: {"reference": format!("Patient/{patient}")}})
}

/// A resource with more members.
pub fn with(mut resource: Value, more: Value) -> Value {
    let (Value::Object(members), Value::Object(more)) = (&mut resource, more) else {
        panic!("two objects");
    };
    members.extend(more);
    resource
}
