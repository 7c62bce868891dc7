//! Adapters for [`ehi_core`]: stores, files, record sources, keys and the HTTP server.
//!
//! One module and one cargo feature each; an adapter never imports another.

#[cfg(feature = "records-bundles")]
pub mod records;
#[cfg(feature = "sample")]
pub mod sample;
