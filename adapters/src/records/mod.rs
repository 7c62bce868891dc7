//! Where patients' records come from: one module for each kind of source.

#[cfg(feature = "records-bundles")]
mod bundles;

#[cfg(feature = "records-bundles")]
pub use bundles::BundleFolder;
