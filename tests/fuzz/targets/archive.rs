//! Whatever archive a source delivers, in whatever pieces: the export goes on, and what goes out
//! is the archive as it was or one that holds all it held.
#![no_main]

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use ehi_core::export::{Counter, ExportLimits, Exporter, Interaction, Links, Rules, Selection};
use ehi_core::fhir::PatientId;
use ehi_core::ports::{
    Document, DocumentStream, PatientSearch, PatientSummary, RecordSource, RecordStream,
    SourceError,
};
use ehi_core::testkit::{
    FixedClock, MemoryFiles, SeededEntropy, at, document, job, patient, record,
};
use futures::StreamExt;
use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;
use serde_json::json;
use url::Url;

fuzz_target!(|input: &[u8]| {
    let Some((&piece, archive)) = input.split_first() else {
        return;
    };
    let base = Url::parse("https://ehi.example").expect("it is one");
    let exporter = Exporter {
        source: Arc::new(OneArchive {
            archive: Bytes::copy_from_slice(archive),
            piece: usize::from(piece) + 1,
        }),
        files: Arc::new(MemoryFiles::default()),
        clock: Arc::new(FixedClock::at(at(0))),
        entropy: Arc::new(SeededEntropy::default()),
        links: Links::new(&base),
        rules: Rules::standard(),
        limits: ExportLimits::default(),
    };
    let job = job(Interaction::None);
    let (_, documents) =
        block_on(exporter.run(&job, 1, &Counter::default())).expect("the export goes on");
    let [attachment] = &documents[..] else {
        panic!("one document went in, {} came out", documents.len());
    };
    assert!(attachment.size >= archive.len() as u64, "bytes are lost");
});

/// A source whose one document is an archive.
#[derive(Debug)]
struct OneArchive {
    archive: Bytes,
    piece: usize,
}

#[async_trait]
impl RecordSource for OneArchive {
    async fn patient(&self, _: &PatientId) -> Result<Option<PatientSummary>, SourceError> {
        Ok(Some(patient()))
    }

    async fn search(&self, _: &PatientSearch) -> Result<Vec<PatientSummary>, SourceError> {
        Ok(vec![patient()])
    }

    async fn records(&self, _: &PatientId, _: &Selection) -> Result<RecordStream, SourceError> {
        let patient = record(&json!({"resourceType": "Patient", "id": "p-1"}));
        Ok(futures::stream::iter([Ok(patient)]).boxed())
    }

    async fn documents(&self, _: &PatientId, _: &Selection) -> Result<DocumentStream, SourceError> {
        let pieces: Vec<_> = (self.archive.chunks(self.piece))
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        let archive = Document {
            content_type: "application/zip".to_owned(),
            content: futures::stream::iter(pieces).boxed(),
            ..document("a.zip", &[])
        };
        Ok(futures::stream::iter([Ok(archive)]).boxed())
    }
}
