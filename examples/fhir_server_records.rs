//! Export from any FHIR R4 server that knows `Patient/{id}/$everything`.
//!
//! ```text
//! cargo run --example fhir_server_records -- https://fhir.example.org/r4
//! ```
//! Then open <http://127.0.0.1:8888/>.
//!
//! For a server that asks for a login (SMART Backend Services), add the client id, the file of the
//! private key (PEM or JWK) and the key's id:
//!
//! ```text
//! cargo run --example fhir_server_records -- https://fhir.example.org/r4 ehi-export key.pem 2024
//! ```

use std::sync::Arc;

use ehi_adapters::records::{BackendServicesConfig, FhirServer, FhirServerConfig};
use ehi_adapters::system::{SystemClock, SystemEntropy};
use ehi_server::Failure;

const USAGE: &str =
    "usage: cargo run --example fhir_server_records -- BASE_URL [CLIENT_ID KEY_FILE KEY_ID]";

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (base_url, login) = match &arguments[..] {
        [base_url] => (base_url, None),
        [base_url, client_id, key_file, kid] => {
            let login = BackendServicesConfig {
                client_id: client_id.clone(),
                key_file: key_file.into(),
                kid: kid.clone(),
                scope: "system/*.read".to_owned(),
                token_url: None,
            };
            (base_url, Some(login))
        }
        _ => return Err(Failure::new(USAGE)),
    };
    let base_url = base_url
        .parse()
        .map_err(|error| Failure::because(USAGE, error))?;
    let mut config = FhirServerConfig::new(base_url);
    config.backend_services = login;

    let source = FhirServer::open(config, Arc::new(SystemClock), Arc::new(SystemEntropy))
        .await
        .map_err(|error| Failure::because("the FHIR server cannot be used", error))?;
    ehi_server::demo::serve(Arc::new(source), 8888).await
}
