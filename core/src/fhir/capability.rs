//! What this server says of itself in FHIR: CapabilityStatement and OperationDefinition.

use jiff::Timestamp;
use serde_json::{Value, json};

/// Where a FHIR endpoint of this server stands.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Its base URL.
    pub fhir: String,
    /// Where apps ask patients.
    pub authorize: String,
    /// Where apps get tokens.
    pub token: String,
    /// Where clients ask what a token is worth.
    pub introspect: String,
    /// Where clients end a token.
    pub revoke: String,
}

impl Endpoint {
    /// The canonical URL of the operation.
    fn operation(&self) -> String {
        format!("{}/OperationDefinition/ehi-export", self.fhir)
    }
}

/// The CapabilityStatement: one operation on Patient, secured by SMART on FHIR.
///
/// Source: FHIR R4, CapabilityStatement; SMART App Launch 2, conformance.
pub fn capability_statement(endpoint: &Endpoint, software: &str, started: Timestamp) -> Value {
    json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": started.to_string(),
        "kind": "instance",
        "software": {"name": "ehi-server", "version": software},
        "implementation": {
            "description": "Takes out the whole health record of a patient",
            "url": endpoint.fhir,
        },
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "implementationGuide": ["http://fhir.org/argonaut/ehi-api/ImplementationGuide/ehi.api"],
        "rest": [{
            "mode": "server",
            "security": {
                "cors": true,
                "service": [{"coding": [{
                    "system": "http://terminology.hl7.org/CodeSystem/restful-security-service",
                    "code": "SMART-on-FHIR",
                }]}],
                "extension": [{
                    "url": "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris",
                    "extension": [
                        {"url": "authorize", "valueUri": endpoint.authorize},
                        {"url": "token", "valueUri": endpoint.token},
                        {"url": "introspect", "valueUri": endpoint.introspect},
                        {"url": "revoke", "valueUri": endpoint.revoke},
                    ],
                }],
            },
            "resource": [{
                "type": "Patient",
                "operation": [{"name": "ehi-export", "definition": endpoint.operation()}],
            }],
        }],
    })
}

/// The definition of `$ehi-export`, with the codes that its Parameters take.
///
/// Source: FHIR R4, OperationDefinition; Argonaut EHI Export API 0.1.0.
pub fn operation_definition(
    endpoint: &Endpoint,
    categories: &[&str],
    authorizations: &[&str],
) -> Value {
    json!({
        "resourceType": "OperationDefinition",
        "id": "ehi-export",
        "url": endpoint.operation(),
        "name": "EhiExport",
        "title": "Export a patient's electronic health information",
        "status": "active",
        "kind": "operation",
        "affectsState": true,
        "code": "ehi-export",
        "resource": ["Patient"],
        "system": false,
        "type": false,
        "instance": true,
        "description": "Starts the export of everything the hospital knows about the patient. \
            Answers 202 with the status URL in Content-Location and, where the patient makes \
            choices first, the form in a Link header with rel=\"patient-interaction\". \
            Parameters are where the form starts; where there is no form they say what is taken, \
            and without them the whole record is.",
        "parameter": [
            repeated("category", "A part of the record to take; without any, all are. Instead of \
                parts, valueCode may name the code alone.", &[
                needed("code", &one_of(categories)),
                optional("from", "date", "First date that counts: a date, dateTime or instant"),
                optional("to", "date", "Last date that counts: a date, dateTime or instant"),
                optional("notes", "string", "A word to the hospital's staff"),
            ]),
            repeated("authorization", "A kind of sensitive record that may leave. Instead of \
                parts, valueCode may name the code alone.", &[
                needed("code", &one_of(authorizations)),
                optional("value", "string", "Whether they may leave; left out, they may. 'true' or \
                    'false', as valueString or valueBoolean; for 'genetic' and 'other' a \
                    valueString that says in words what may leave, where an empty one, 'false' \
                    and a valueBoolean false mean none, and a valueBoolean true is refused"),
            ]),
        ],
    })
}

fn parameter(name: &str, min: u8, max: &str, documentation: &str) -> Value {
    json!({
        "name": name, "use": "in", "min": min, "max": max, "documentation": documentation,
    })
}

fn repeated(name: &str, documentation: &str, parts: &[Value]) -> Value {
    let mut repeated = parameter(name, 0, "*", documentation);
    repeated["part"] = parts.into();
    repeated
}

fn needed(name: &str, documentation: &str) -> Value {
    let mut needed = parameter(name, 1, "1", documentation);
    needed["type"] = "code".into();
    needed
}

fn optional(name: &str, kind: &str, documentation: &str) -> Value {
    let mut optional = parameter(name, 0, "1", documentation);
    optional["type"] = kind.into();
    optional
}

fn one_of(codes: &[&str]) -> String {
    format!("One of {}", codes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint {
            fhir: "https://ehi.example/fhir".to_owned(),
            authorize: String::new(),
            token: String::new(),
            introspect: String::new(),
            revoke: String::new(),
        }
    }

    #[test]
    fn the_operation_names_every_code_it_takes() {
        let endpoint = endpoint();
        let definition = operation_definition(&endpoint, &["labs", "visits"], &["hiv"]);
        let told =
            |number: usize| definition["parameter"][number]["part"][0]["documentation"].clone();
        assert_eq!(
            (told(0), told(1)),
            ("One of labs, visits".into(), "One of hiv".into())
        );
        let statement = capability_statement(&endpoint, "1", Timestamp::UNIX_EPOCH);
        let operation = &statement["rest"][0]["resource"][0]["operation"][0];
        assert_eq!(operation["definition"], definition["url"]);
    }

    #[test]
    fn the_guide_is_named_by_its_canonical_url_and_nothing_that_it_has_not() {
        let statement = capability_statement(&endpoint(), "1", Timestamp::UNIX_EPOCH);
        let guide = "http://fhir.org/argonaut/ehi-api/ImplementationGuide/ehi.api";
        assert_eq!(statement["implementationGuide"], json!([guide]));
        assert!(statement["instantiates"].is_null());
    }
}
