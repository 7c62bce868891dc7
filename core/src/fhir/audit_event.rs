//! AuditEvent: the audit log as FHIR has it.

use serde_json::{Value, json};

use crate::ports::{Action, Actor, AuditEntry, Outcome};

/// The code systems of DICOM and of FHIR that events are told by.
const DICOM: &str = "http://dicom.nema.org/resources/ontology/DCM";
const ENTITY_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-entity-type";
const OBJECT_ROLE: &str = "http://terminology.hl7.org/CodeSystem/object-role";

/// What an action is in DICOM's audit trail, and which of create, read, update, delete and
/// execute it comes to.
fn kind(action: Action) -> ([&'static str; 2], &'static str) {
    const LOGIN: [&str; 2] = ["110114", "User Authentication"];
    const SECURITY: [&str; 2] = ["110113", "Security Alert"];
    const EXPORT: [&str; 2] = ["110106", "Export"];
    match action {
        Action::PatientLogin | Action::PatientLogout | Action::StaffLogin | Action::StaffLogout => {
            (LOGIN, "E")
        }
        Action::Authorize
        | Action::RefuseConsent
        | Action::IssueToken
        | Action::RevokeGrant
        | Action::IntrospectToken => (SECURITY, "E"),
        Action::AddClient | Action::AddStaff => (SECURITY, "C"),
        Action::RotateClientSecret
        | Action::ChangeStaffPassword
        | Action::ChangeDirectory
        | Action::RotateKeys => (SECURITY, "U"),
        Action::RemoveClient | Action::RemoveStaff | Action::RevokeKeys => (SECURITY, "D"),
        Action::KickOff => (EXPORT, "C"),
        Action::Download => (EXPORT, "R"),
        Action::Customise
        | Action::Attach
        | Action::Detach
        | Action::Approve
        | Action::AutoApprove
        | Action::Reject => (EXPORT, "U"),
        Action::Remove | Action::Expire => (EXPORT, "D"),
        Action::ListExports => (["110112", "Query"], "E"),
        Action::View => (["110110", "Patient Record"], "R"),
        Action::ReadAudit => (["110101", "Audit Log Used"], "R"),
    }
}

/// An entry of the audit log as an AuditEvent. `observer` is the server's public URL.
///
/// Source: FHIR R4, AuditEvent; DICOM PS3.16 CID 400.
pub fn audit_event(entry: &AuditEntry, observer: &str) -> Value {
    let event = &entry.event;
    let ([code, display], what) = kind(event.action);
    let outcome = match event.outcome {
        Outcome::Done => "0",
        // "Minor failure": nothing was harmed, somebody was refused.
        Outcome::Refused => "4",
    };
    let mut resource = json!({
        "resourceType": "AuditEvent",
        "id": entry.number.to_string(),
        "type": {"system": DICOM, "code": code, "display": display},
        "subtype": [{"system": format!("{observer}/documentation"), "code": event.action}],
        "action": what,
        "recorded": event.at.to_string(),
        "outcome": outcome,
        "agent": [agent(entry)],
        "source": {
            "observer": {"display": observer},
            "type": [{"system": "http://terminology.hl7.org/CodeSystem/security-source-type", "code": "4", "display": "Application Server"}],
        },
    });
    let entities = entities(entry);
    if !entities.is_empty() {
        resource["entity"] = Value::Array(entities);
    }
    resource
}

fn agent(entry: &AuditEntry) -> Value {
    let event = &entry.event;
    let who = match &event.actor {
        Actor::Patient(id) => json!({"reference": format!("Patient/{id}")}),
        Actor::Client(id) => json!({"identifier": {"value": id}, "display": "App"}),
        Actor::Staff(name) => json!({"identifier": {"value": name}, "display": "Staff"}),
        Actor::Operator => json!({"display": "Operator of the server"}),
        Actor::Unknown => json!({"display": "Not recognised"}),
        Actor::Server => json!({"display": "The server by itself"}),
    };
    let mut agent = json!({"who": who, "requestor": event.actor != Actor::Server});
    if let Some(address) = event.origin.address {
        // Type 2: an IP address.
        agent["network"] = json!({"address": address.to_string(), "type": "2"});
    }
    agent
}

fn entities(entry: &AuditEntry) -> Vec<Value> {
    let event = &entry.event;
    let mut entities = Vec::new();
    if let Some(patient) = &event.patient {
        entities.push(json!({
            "what": {"reference": format!("Patient/{patient}")},
            "type": {"system": ENTITY_TYPE, "code": "1", "display": "Person"},
            "role": {"system": OBJECT_ROLE, "code": "1", "display": "Patient"},
        }));
    }
    let system_object = json!({"system": ENTITY_TYPE, "code": "2", "display": "System Object"});
    if let Some(job) = &event.job {
        let mut entity = json!({
            "what": {"identifier": {"value": job}, "display": "EHI export"},
            "type": system_object,
            "role": {"system": OBJECT_ROLE, "code": "20", "display": "Job"},
        });
        if let Some(file) = &event.file {
            entity["detail"] = json!([{"type": "file", "valueString": file.as_str()}]);
        }
        entities.push(entity);
    }
    if let Some(client) = &event.client {
        entities.push(json!({
            "what": {"identifier": {"value": client}, "display": "App"},
            "type": system_object,
        }));
    }
    if let Some(staff) = &event.staff {
        entities.push(json!({
            "what": {"identifier": {"value": staff}, "display": "Staff"},
            "type": {"system": ENTITY_TYPE, "code": "1", "display": "Person"},
        }));
    }
    if let Some(request) = &event.origin.request {
        entities.push(json!({
            "what": {"identifier": {"value": request}, "display": "Request"},
            "type": system_object,
        }));
    }
    entities
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::StaffName;
    use crate::export::JobId;
    use crate::ports::{AuditEvent, By, Origin};
    use crate::testkit::{at, client_id, patient};

    #[test]
    fn an_entry_tells_who_did_what_to_whose_record_and_from_where() {
        let by = By {
            actor: Actor::Client(client_id()),
            origin: Origin {
                address: "192.0.2.7".parse().ok(),
                request: None,
            },
        };
        let event = AuditEvent {
            patient: Some(patient().id),
            job: Some(JobId::from_random([7; 32])),
            ..by.was_refused(Action::Download, at(0))
        };
        let resource = audit_event(&AuditEntry { number: 7, event }, "https://ehi.example");
        assert_eq!(resource["id"], "7");
        assert_eq!(resource["outcome"], "4");
        assert_eq!(resource["action"], "R");
        assert_eq!(resource["subtype"][0]["code"], "download");
        assert_eq!(resource["recorded"], "2024-01-01T00:00:00Z");
        assert_eq!(
            resource["agent"][0]["who"]["identifier"]["value"],
            "test-app"
        );
        assert_eq!(resource["agent"][0]["network"]["address"], "192.0.2.7");
        assert_eq!(resource["entity"][0]["what"]["reference"], "Patient/p-1");
        assert_eq!(resource["entity"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn an_entry_about_staff_names_them() {
        let by = By {
            actor: Actor::Operator,
            origin: Origin::default(),
        };
        let event = AuditEvent {
            staff: StaffName::parse("ada"),
            ..by.did(Action::AddStaff, at(0))
        };
        let resource = audit_event(&AuditEntry { number: 1, event }, "https://ehi.example");
        assert_eq!(resource["action"], "C");
        let what = &resource["entity"][0]["what"];
        assert_eq!(what["identifier"]["value"], "ada");
    }

    #[test]
    fn the_server_itself_is_no_requestor() {
        let event = By::server().did(Action::Expire, at(0));
        let resource = audit_event(&AuditEntry { number: 1, event }, "https://ehi.example");
        assert_eq!(resource["agent"][0]["requestor"], false);
        assert!(resource.get("entity").is_none());
    }
}
