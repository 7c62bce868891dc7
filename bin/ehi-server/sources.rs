//! Where records come from, as the configuration says.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ehi_adapters::records::{
    BundleFolder, FederatedRecords, FhirServer, FhirServerConfig, IdTable, Member, TableDocuments,
    TableQueries,
};
use ehi_adapters::system::{SystemClock, SystemEntropy};
use ehi_core::ports::RecordSource;
use secrecy::SecretString;
use serde::Deserialize;

use crate::Failure;

/// One system that records come from: exactly one of the last three.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// What staff and patients call it when it could not deliver: "the old billing system".
    #[serde(default)]
    name: Option<String>,
    /// Whether exports go on, with a note, when this system fails.
    #[serde(default)]
    optional: bool,
    /// A CSV file (`ours,theirs`) of the ids it knows patients by, where those are its own.
    #[serde(default)]
    ids: Option<PathBuf>,
    /// A folder of FHIR Bundles and NDJSON files.
    #[serde(default)]
    bundles: Option<PathBuf>,
    /// A FHIR server.
    #[serde(default)]
    fhir_server: Option<FhirServerConfig>,
    /// SQL tables as documents.
    #[serde(default)]
    tables: Option<TablesConfig>,
}

/// SQL tables.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TablesConfig {
    /// `postgres://user:password@host/database`; a role that may only read these tables is best.
    database_url: SecretString,
    /// The file of queries and what their columns mean.
    queries: PathBuf,
}

/// Opens every source. Several become one.
pub async fn open(configs: &[SourceConfig]) -> Result<Arc<dyn RecordSource>, Failure> {
    let mut members = Vec::new();
    for config in configs {
        let source = config.open().await?;
        members.push(config.member(source)?);
    }
    if members.is_empty() {
        return Err(Failure::new(
            "no [[records]] says where records come from: name a folder of bundles, a fhir_server or tables",
        ));
    }
    Ok(Arc::new(FederatedRecords::new(members)))
}

impl SourceConfig {
    async fn open(&self) -> Result<Arc<dyn RecordSource>, Failure> {
        match (&self.bundles, &self.fhir_server, &self.tables) {
            (Some(folder), None, None) => {
                let source = BundleFolder::open(folder).await;
                Ok(Arc::new(source.map_err(|error| self.unusable(error))?))
            }
            (None, Some(server), None) => {
                let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
                let source = FhirServer::open(server.clone(), clock, entropy).await;
                Ok(Arc::new(source.map_err(|error| self.unusable(error))?))
            }
            (None, None, Some(tables)) => {
                let queries = TableQueries::parse(&read(&tables.queries)?)
                    .map_err(|error| self.unusable(error))?;
                let source = TableDocuments::connect(&tables.database_url, &queries).await;
                Ok(Arc::new(source.map_err(|error| self.unusable(error))?))
            }
            _ => Err(Failure::new(format!(
                "[[records]] '{}' has to name exactly one of bundles, fhir_server and tables",
                self.name()
            ))),
        }
    }

    fn member(&self, source: Arc<dyn RecordSource>) -> Result<Member, Failure> {
        let member = if self.optional {
            Member::optional(self.name(), source)
        } else {
            Member::essential(self.name(), source)
        };
        let Some(file) = &self.ids else {
            return Ok(member);
        };
        let ids = IdTable::parse(&read(file)?)
            .map_err(|error| Failure::because(file.display().to_string(), error))?;
        Ok(member.with_ids(ids))
    }

    fn unusable(&self, error: impl Error + Send + Sync + 'static) -> Failure {
        Failure::because(format!("{} cannot be used", self.name()), error)
    }

    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("the record system")
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file)
        .map_err(|error| Failure::because(format!("{} cannot be read", file.display()), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct File {
        records: Vec<SourceConfig>,
    }

    async fn told(text: &str) -> String {
        let file: File = toml::from_str(text).unwrap();
        let failure = open(&file.records).await.unwrap_err();
        let cause = failure.cause.as_ref().map(ToString::to_string);
        format!("{failure} {}", cause.unwrap_or_default())
    }

    #[tokio::test]
    async fn a_source_that_cannot_be_used_is_told_by_its_name() {
        for (text, expected) in [
            ("records = []", "[[records]]"),
            (
                "[[records]]\nname = 'the EHR'",
                "'the EHR' has to name exactly one",
            ),
            (
                "[[records]]\nbundles = '/nowhere'\ntables = {database_url = 'x', queries = 'y'}",
                "exactly one",
            ),
            (
                "[[records]]\nname = 'the EHR'\nbundles = '/nowhere'",
                "the EHR cannot be used",
            ),
            (
                "[[records]]\ntables = {database_url = 'x', queries = '/nowhere.toml'}",
                "/nowhere.toml",
            ),
        ] {
            let told = told(text).await;
            assert!(told.contains(expected), "{told}");
        }
    }

    #[tokio::test]
    async fn several_systems_become_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ids.csv"), "ours,theirs\np-1,77\n").unwrap();
        let path = folder.path().display();
        let text = format!(
            "[[records]]\nbundles = '{path}'\n[[records]]\nname = 'archive'\noptional = true\nids = '{path}/ids.csv'\nbundles = '{path}'\n"
        );
        let file: File = toml::from_str(&text).unwrap();
        assert!(open(&file.records).await.is_ok());
        let secret =
            "[[records]]\ntables = {database_url = 'postgres://u:hunter2@h/d', queries = 'q'}";
        let file: File = toml::from_str(secret).unwrap();
        assert!(!format!("{:?}", file.records).contains("hunter2"));
    }
}
