//! A record source of an integrator, with documents that are no FHIR resources.

use std::io::{Cursor, Read, Write};
use std::sync::Arc;

use async_trait::async_trait;
use base64::prelude::{BASE64_STANDARD, Engine};
use ehi_core::export::{AttachmentName, ParameterKey, Selection};
use ehi_core::fhir::{DocumentType, PartialDate, PatientId, Record};
use ehi_core::ports::{
    Document, DocumentFormat, DocumentStream, PatientSearch, PatientSummary, RecordSource,
    RecordStream, SourceError,
};
use futures::{StreamExt, stream};
use serde_json::Value;
use sha1::{Digest, Sha1};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use crate::app::App;
use crate::export::{in_review, lines, url_of};
use crate::server::Server;
use crate::staff::Staff;

const GRACE: &str = "grace";
const FILES: [(&str, &[u8]); 3] = [
    ("1998/page 1.png", b"\x89PNG\r\n\x1a\n\0"),
    ("1998/page 2.png", b"\x89PNG\r\n\x1a\n\xff"),
    (
        "letter.txt",
        b"Dear colleague, dear colleague, dear colleague",
    ),
];

/// Grace's scans, as a hospital's archive department packed them.
fn scans() -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in FILES {
        writer
            .start_file(name, SimpleFileOptions::default())
            .unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// Every file of an archive.
fn unpacked(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = ZipArchive::new(Cursor::new(archive)).unwrap();
    (0..archive.len())
        .map(|index| {
            let mut file = archive.by_index(index).unwrap();
            let mut content = Vec::new();
            file.read_to_end(&mut content).unwrap();
            (file.name().unwrap().into_owned(), content)
        })
        .collect()
}

#[derive(Debug)]
struct Cellar;

#[async_trait]
impl RecordSource for Cellar {
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
        let patient = Record::parse(br#"{"resourceType": "Patient", "id": "grace"}"#);
        Ok(stream::iter([Ok(patient.unwrap())]).boxed())
    }

    async fn documents(&self, _: &PatientId, _: &Selection) -> Result<DocumentStream, SourceError> {
        let stay: PartialDate = "1998-03".parse().unwrap();
        let pieces: Vec<_> = (scans().chunks(100).map(<[u8]>::to_vec))
            .map(|piece| Ok(piece.into()))
            .collect();
        let scans = Document {
            name: AttachmentName::parse("scans.zip").unwrap(),
            content_type: "application/zip".to_owned(),
            description: "Scans of your stay in 1998".to_owned(),
            format: DocumentFormat::of_type("application/zip"),
            part: ParameterKey::Other,
            document_type: DocumentType::new("http://loinc.org", "18842-5", "Discharge summary")
                .ok(),
            period: Some(stay.period()),
            protections: Vec::new(),
            content: stream::iter(pieces).boxed(),
        };
        Ok(stream::iter([Ok(scans)]).boxed())
    }
}

#[tokio::test]
#[ignore = "no test, but the server of the one below"]
async fn the_server_of_an_integrator() {
    ehi_server::log::start();
    ehi_server::demo::serve(Arc::new(Cellar), 0).await.unwrap();
}

#[tokio::test]
async fn an_archive_of_a_source_arrives_with_a_description_and_one_of_staff_untouched() {
    let server = Server::of_test("own_source::the_server_of_an_integrator");
    let app = App::connect(&server, GRACE).await;
    let job = in_review(&app).await;
    let staff = Staff::log_in(&server).await;
    let theirs = scans();
    let added = ("more.zip", "application/zip", theirs.as_slice());
    staff.add_files(&job, &[added]).await.expect(200);
    let told = staff.job(&job).await;
    let warned: Vec<(&str, bool)> = (told["attachments"].as_array().unwrap().iter())
        .map(|one| (one["title"].as_str().unwrap(), one["warning"].is_string()))
        .collect();
    assert_eq!(warned, [("scans.zip", false), ("more.zip", true)]);
    staff.approve(&job).await.expect(200);

    let manifest = app.wait_for_manifest(&job).await.json();
    let announced = url_of(&manifest, "DocumentReference");
    // The demo's client reads the file as one document.
    let announced = lines(&app.get(announced).await.expect(200)).remove(0);
    let attachment = |index: usize| &announced["content"][index]["attachment"];
    let fetch = async |index: usize| {
        let url = attachment(index)["url"].as_str().unwrap();
        app.get(url).await.expect(200).body
    };
    assert_eq!(fetch(1).await, theirs, "byte by byte");
    let given = fetch(0).await;
    assert_eq!(attachment(0)["size"], given.len());
    let hash = BASE64_STANDARD.encode(Sha1::digest(&given));
    assert_eq!(attachment(0)["hash"], hash);

    let mut files = unpacked(&given);
    let (name, description) = files.pop().unwrap();
    assert_eq!(files, unpacked(&theirs));
    assert_eq!(name, "document_reference.ndjson");
    let description = String::from_utf8(description).unwrap();
    let described: Vec<Value> = (description.lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let urls: Vec<&str> = (described.iter())
        .map(|one| one["content"][0]["attachment"]["url"].as_str().unwrap())
        .collect();
    let names = ["1998/page%201.png", "1998/page%202.png", "letter.txt"];
    assert_eq!(urls, names);
    for one in &described {
        assert_eq!(one["subject"]["reference"], "Patient/grace");
        assert_eq!(one["meta"]["tag"][0]["code"], "ehi-export");
        let documentation = &manifest["extension"]["ehiDocumentationUrl"];
        assert_eq!(&one["content"][0]["format"]["system"], documentation);
    }
    assert!(server.shutdown().success());
}
