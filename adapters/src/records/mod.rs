//! Where patients' records come from: one module for each kind of source.

#[cfg(feature = "records-bundles")]
mod bundles;
#[cfg(feature = "records-federated")]
mod federated;
#[cfg(feature = "records-fhir-server")]
mod fhir_server;
#[cfg(feature = "records-tables")]
mod tables;

#[cfg(feature = "records-bundles")]
pub use bundles::BundleFolder;
#[cfg(feature = "records-federated")]
pub use federated::{FederatedRecords, IdTable, IdTableError, Member, PatientIds, SameIds};
#[cfg(feature = "records-fhir-server")]
pub use fhir_server::{BackendServicesConfig, FhirServer, FhirServerConfig, RetryConfig};
#[cfg(feature = "records-tables")]
pub use tables::{TableDocuments, TableQueries, TablesError};
