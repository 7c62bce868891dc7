//! A whole record out of two systems: FHIR Bundles of the EHR, and tables of a billing system that
//! never spoke FHIR.
//!
//! ```text
//! export DATABASE_URL=postgres://user:password@localhost/legacy
//! psql "$DATABASE_URL" --file examples/federated_records.sql
//! cargo run -- sample --patients 3 --out /tmp/records
//! cargo run --example federated_records -- /tmp/records
//! ```
//! Then open <http://127.0.0.1:8888/>. The export of Ms. Priya Fernhollow holds `ledger.csv`.

use std::env;
use std::sync::Arc;

use ehi_adapters::records::{BundleFolder, FederatedRecords, IdTable, Member};
use ehi_adapters::records::{TableDocuments, TableQueries};
use ehi_server::Failure;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let folder = env::args().nth(1).unwrap_or("records".to_owned());
    let url = env::var("DATABASE_URL")
        .map_err(|error| Failure::because("DATABASE_URL names the database", error))?;

    let bundles = BundleFolder::open(folder)
        .await
        .map_err(|error| Failure::because("the records cannot be read", error))?;

    let queries = TableQueries::parse(include_str!("federated_records.toml"))
        .map_err(|error| Failure::because("the queries cannot be used", error))?;
    let tables = TableDocuments::connect(&url.into(), &queries)
        .await
        .map_err(|error| Failure::because("the tables cannot be used", error))?;
    // By which number the billing system knows a patient of the EHR; yours is in a file.
    let ids = IdTable::parse("ours,theirs\n6d23933d-bb57-4e71-a35a-ac974f73a25c,100234\n")
        .map_err(|error| Failure::because("the table of ids cannot be used", error))?;

    let whole = FederatedRecords::new([
        Member::essential("the EHR", Arc::new(bundles)),
        Member::optional("the old billing system", Arc::new(tables)).with_ids(ids),
    ]);
    ehi_server::demo::serve(Arc::new(whole), 8888).await
}
