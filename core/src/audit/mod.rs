//! The audit log as it is kept and read: chained, searched, and told to patients.
//!
//! | file | what it holds |
//! |---|---|
//! | `chain` | how each entry is tied to the one before it |
//! | `disclosures` | to whom a patient's record went: the accounting of 45 CFR 164.528 |
//! | `trail` | the use cases of those who read the log |
//!
//! What is written stands with the use cases that write it; the port is
//! [`AuditLog`](crate::ports::AuditLog).

mod chain;
mod disclosures;
mod trail;

pub use chain::{ChainCheck, ChainError, Link, LinkHash};
pub use disclosures::{Accounting, Disclosure};
pub use trail::{AuditPart, AuditTrail};
