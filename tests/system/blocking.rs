//! A record source of an integrator that blocks the thread it runs on.

use std::sync::Arc;
use std::thread;

use async_trait::async_trait;
use ehi_core::export::Selection;
use ehi_core::fhir::PatientId;
use ehi_core::ports::{PatientSearch, PatientSummary, RecordSource, RecordStream, SourceError};

use crate::app::App;
use crate::browser::{http, send};
use crate::server::Server;
use crate::wait::until;

const GRACE: &str = "grace";

#[derive(Debug)]
struct Stuck;

#[async_trait]
impl RecordSource for Stuck {
    async fn patient(&self, id: &PatientId) -> Result<Option<PatientSummary>, SourceError> {
        Ok((id.as_str() == GRACE).then(|| PatientSummary {
            id: id.clone(),
            name: "Grace Quill".to_owned(),
            birth_date: None,
        }))
    }

    async fn search(&self, _: &PatientSearch) -> Result<Vec<PatientSummary>, SourceError> {
        let grace = self.patient(&PatientId::parse(GRACE).unwrap()).await?;
        Ok(grace.into_iter().collect())
    }

    async fn records(&self, _: &PatientId, _: &Selection) -> Result<RecordStream, SourceError> {
        // As a driver that knows nothing of async does, or work without end.
        loop {
            thread::park();
        }
    }
}

#[tokio::test]
#[ignore = "no test, but the server of the one below"]
async fn the_server_of_an_integrator() {
    ehi_server::log::start();
    ehi_server::demo::serve(Arc::new(Stuck), 0).await.unwrap();
}

#[tokio::test]
async fn exports_that_block_their_threads_keep_no_request_waiting() {
    let server = Server::of_test("blocking::the_server_of_an_integrator");
    let app = App::connect(&server, GRACE).await;
    // As many as run at a time. The test's server has one thread for requests.
    for _ in 0..2 {
        app.kick_off("/no-form").await;
    }
    let begun = || server.log().matches("export begins").count();
    until("both to begin", async || (begun() == 2).then_some(())).await;
    for _ in 0..20 {
        send(http().get(server.url("/healthz"))).await.expect(200);
        app.kick_off("").await;
    }
}
