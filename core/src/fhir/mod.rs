//! The few FHIR R4 shapes this server speaks.
//!
//! A patient's records are *not* among them: a [`Record`] stays the JSON bytes it was, looked at
//! where a decision needs it and never rebuilt.

mod audit_event;
mod batch;
mod block;
mod capability;
mod coding;
mod date;
mod document_reference;
mod id;
mod name;
mod outcome;
mod reader;
mod record;
mod resource_type;
mod scan;
mod skip;

pub use audit_event::audit_event;
pub use capability::{Endpoint, capability_statement, operation_definition};
pub use coding::{Coding, codings};
pub use date::{DateError, PartialDate, Period};
pub use document_reference::{AttachedFile, document_reference};
pub use id::{InvalidId, PatientId};
pub use name::display_name;
pub use outcome::{IssueCode, OperationOutcome, Severity};
pub use reader::{BrokenRecord, Layout, Place, RecordReader};
pub use record::{Record, RecordSyntaxError};
pub use resource_type::ResourceType;
