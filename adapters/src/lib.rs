//! Adapters for [`ehi_core`]: stores, files, record sources, keys and the HTTP server.
//!
//! | module | feature | what it plugs in |
//! |---|---|---|
//! | [`memory`] | `memory` | every store, in memory |
//! | [`audit_folder`] | `audit-folder` | the audit log in a folder |
//! | [`fs`] | `fs` | files in a folder |
//! | [`records`] | `records-bundles` | records from a folder of FHIR Bundles and NDJSON files |
//! | [`records`] | `records-fhir-server` | records from a FHIR server, by `$everything` |
//! | [`records`] | `records-tables` | documents from the SQL tables of a legacy system |
//! | [`records`] | `records-federated` | several record sources as one |
//! | [`directory`] | `directory` | clients, staff and patients from a TOML file |
//! | [`oidc`] | `oidc` | logins of patients and staff at an identity provider, by OpenID Connect |
//! | [`picker`] | `picker` | a patient login for demonstrations |
//! | [`client_keys`] | `client-keys` | the keys of clients, registered or fetched |
//! | [`keys`] | `keys` | RSA keys that sign access tokens |
//! | [`sql`] | `sql` | every store in SQLite or PostgreSQL |
//! | [`s3`] | `s3` | files on S3 |
//! | [`system`] | `system` | the system's clock and randomness |
//! | [`http`] | `http` | the HTTP server: routes and pages |
//! | [`sample`] | `sample` | believable made-up patients |
//! | [`testing`] | `testing` | a PostgreSQL and an S3 server of their own for tests |
//!
//! One module and one cargo feature each; an adapter never imports another. [`accounts`] is none:
//! it is what two of them share.

#[cfg(any(feature = "directory", feature = "sql"))]
pub mod accounts;
#[cfg(feature = "audit-folder")]
pub mod audit_folder;
#[cfg(feature = "client-keys")]
pub mod client_keys;
#[cfg(feature = "directory")]
pub mod directory;
#[cfg(feature = "fs")]
pub mod fs;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "keys")]
pub mod keys;
#[cfg(feature = "memory")]
pub mod memory;
#[cfg(feature = "oidc")]
pub mod oidc;
#[cfg(feature = "picker")]
pub mod picker;
#[cfg(any(
    feature = "records-bundles",
    feature = "records-federated",
    feature = "records-fhir-server",
    feature = "records-tables"
))]
pub mod records;
#[cfg(feature = "s3")]
pub mod s3;
#[cfg(feature = "sample")]
pub mod sample;
#[cfg(feature = "sql")]
pub mod sql;
#[cfg(feature = "system")]
pub mod system;
#[cfg(any(
    feature = "testing",
    all(test, any(feature = "records-tables", feature = "s3", feature = "sql"))
))]
pub mod testing;
