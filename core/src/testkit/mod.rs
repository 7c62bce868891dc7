//! For tests of the core and of adapters: a clock one sets, repeatable randomness, small fakes
//! and sample values. Mocks of every port stand beside the ports (`MockJobStore`, …).

mod clock;
pub mod contract;
mod fakes;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use serde_json::Value;
use url::Url;

pub use clock::{FixedClock, SeededEntropy};
pub use fakes::{MemoryFiles, MemoryGuesses, RecordedAudit, Sessions};

use crate::auth::{
    Client, ClientAuthentication, ClientId, Door, Introspects, LoginGuard, LoopbackRedirects,
    Patience, Scope, StaffName, StaffRole, StaffSession, TokenLifetimes,
};
use crate::export::{
    AttachmentName, Choices, Export, ExportJob, Interaction, JobId, Kickoff, ParameterKey,
    Requester, Review, Selection, SensitivityRules,
};
use crate::fhir::{PatientId, Record};
use crate::ports::{Document, DocumentFormat, Origin, PatientSummary};

/// A moment some seconds after 2024-01-01.
///
/// # Panics
/// When that is beyond the end of time.
pub fn at(seconds: i64) -> Timestamp {
    let Ok(moment) = Timestamp::from_second(1_704_067_200 + seconds) else {
        panic!("{seconds} s is out of range")
    };
    moment
}

/// A record from a JSON value.
///
/// # Panics
/// When it is none.
pub fn record(resource: &Value) -> Record {
    match Record::parse(resource.to_string().as_bytes()) {
        Ok(record) => record,
        Err(error) => panic!("{resource}: {error}"),
    }
}

/// A selection that takes the whole record, as far as the standard rules let it leave.
pub fn everything() -> Selection {
    Selection::new(Choices::whole_record(), SensitivityRules::standard())
}

/// A PDF document with these bytes that goes with "other documents".
///
/// # Panics
/// When `name` is no file name.
pub fn document(name: &str, chunks: &[&'static str]) -> Document {
    let Ok(name) = AttachmentName::parse(name) else {
        panic!("{name} is no file name")
    };
    let chunks: Vec<_> = (chunks.iter())
        .map(|chunk| Ok(Bytes::from_static(chunk.as_bytes())))
        .collect();
    Document {
        name,
        content_type: "application/pdf".to_owned(),
        description: "A scan".to_owned(),
        format: DocumentFormat::of_type("application/pdf"),
        part: ParameterKey::Other,
        document_type: None,
        period: None,
        protections: Vec::new(),
        content: stream::iter(chunks).boxed(),
    }
}

/// A patient.
///
/// # Panics
/// Never: its id is one.
pub fn patient() -> PatientSummary {
    let Ok(id) = PatientId::parse("p-1") else {
        panic!("p-1 is an id")
    };
    PatientSummary {
        id,
        name: "Ada Crane".to_owned(),
        birth_date: "1970-02-03".parse().ok(),
    }
}

/// A public client that may use any loopback address.
pub fn client() -> Client {
    Client {
        id: client_id(),
        registration: None,
        name: "Test app".to_owned(),
        authentication: ClientAuthentication::Public,
        redirect_uris: Vec::new(),
        return_urls: Vec::new(),
        loopback: LoopbackRedirects::Any,
        scopes: Scope::ALL.iter().copied().collect(),
        lifetimes: TokenLifetimes::default(),
        introspects: Introspects::Own,
        quirks: Vec::new(),
    }
}

/// A member of staff who is logged in.
pub fn staff() -> StaffSession {
    StaffSession {
        name: StaffName::proven("grace"),
        role: StaffRole::Reviewer,
        expires_at: at(600),
        origin: Origin::default(),
    }
}

/// The id of [`client`].
///
/// # Panics
/// Never: it is one.
pub fn client_id() -> ClientId {
    let Some(id) = ClientId::parse("test-app") else {
        panic!("test-app is an id")
    };
    id
}

/// A guard at this door who saw nothing yet.
pub fn guard(door: Door) -> LoginGuard {
    LoginGuard::new(
        door,
        Patience::default(),
        Arc::new(MemoryGuesses::default()),
    )
}

/// What [`job`] was kicked off with.
///
/// # Panics
/// Never: its URL is one.
pub fn kickoff(interaction: Interaction) -> Kickoff {
    let Ok(request) = Url::parse("http://127.0.0.1/fhir/Patient/p-1/$ehi-export") else {
        panic!("it is a URL")
    };
    Kickoff {
        patient: patient(),
        requester: Requester::Patient(client_id()),
        request,
        review: Review::Staff,
        interaction,
        choices: Choices::whole_record(),
    }
}

/// A new job of [`patient`] through [`client`].
pub fn job(interaction: Interaction) -> ExportJob {
    ExportJob::kick_off(JobId::from_random([7; 32]), kickoff(interaction), at(0))
}

/// An export without files.
pub fn export(attempt: u32) -> Export {
    Export {
        attempt,
        transaction_time: at(0),
        files: Vec::new(),
        withheld: BTreeMap::new(),
        psychotherapy_notes: 0,
    }
}
