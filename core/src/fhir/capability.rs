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
        "instantiates": ["http://hl7.org/fhir/us/ehi-api/CapabilityStatement/ehi-api"],
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

/// The definition of `$ehi-export`.
///
/// Source: FHIR R4, OperationDefinition; Argonaut EHI Export API 0.1.0.
pub fn operation_definition(endpoint: &Endpoint) -> Value {
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
            choices first, the form in a Link header with rel=\"patient-interaction\".",
    })
}
