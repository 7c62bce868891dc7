//! Where patients' records come from: one module for each kind of source.

#[cfg(feature = "records-bundles")]
mod bundles;
#[cfg(feature = "records-tables")]
mod tables;

#[cfg(feature = "records-bundles")]
pub use bundles::BundleFolder;
#[cfg(feature = "records-tables")]
pub use tables::{ColumnFormat, TableDocuments, TableFormat, TableQueries, TablesError};
