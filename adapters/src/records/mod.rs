//! Where patients' records come from: one module for each kind of source.

#[cfg(feature = "records-bundles")]
mod bundles;
#[cfg(feature = "records-fhir-server")]
mod fhir_server;

#[cfg(feature = "records-bundles")]
pub use bundles::BundleFolder;
#[cfg(feature = "records-fhir-server")]
pub use fhir_server::{BackendServicesConfig, FhirServer, FhirServerConfig, RetryConfig};
