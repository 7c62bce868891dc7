//! What the source promises, against a FHIR server on a port of this machine.

mod configuration;
mod contract;
mod keys;
mod login;
mod patience;
mod patients;
mod records;
mod support;
