use bytes::Bytes;

use super::*;
use crate::export::fixture::links;
use crate::export::{Archive, Choices, FileKind, Interaction, JobState, ParameterKey, Protection};
use crate::fhir::DocumentType;
use crate::ports::{MockRecordSource, Unreadable};
use crate::testkit::{self, FixedClock, MemoryFiles, SeededEntropy, at, record};
use futures::stream;
use serde_json::{Value, json};

fn exporter(source: MockRecordSource, files: &Arc<MemoryFiles>, limits: ExportLimits) -> Exporter {
    Exporter {
        source: Arc::new(source),
        files: files.clone(),
        clock: Arc::new(FixedClock::at(at(100))),
        entropy: Arc::new(SeededEntropy::default()),
        links: links(),
        rules: Rules::standard(),
        limits,
    }
}

fn source(records: Vec<Result<Value, RecordError>>) -> MockRecordSource {
    let mut source = MockRecordSource::new();
    let records: Vec<_> = records
        .into_iter()
        .map(|item| item.map(|r| record(&r)))
        .collect();
    source
        .expect_records()
        .return_once(move |_, _| Ok(stream::iter(records).boxed()));
    source
        .expect_documents()
        .returning(|_, _| Ok(stream::empty().boxed()));
    source
}

fn patient() -> Value {
    json!({"resourceType": "Patient", "id": "p"})
}

#[tokio::test]
async fn every_record_is_one_line_in_the_file_of_its_type() {
    let conditions =
        (0..3).map(|n| Ok(json!({"resourceType": "Condition", "id": format!("c{n}")})));
    let files = Arc::new(MemoryFiles::default());
    let exporter = exporter(
        source([Ok(patient())].into_iter().chain(conditions).collect()),
        &files,
        ExportLimits::default(),
    );
    let job = testkit::job(Interaction::None);
    let counter = Counter::default();
    let (export, _) = exporter.run(&job, 1, &counter).await.unwrap();
    let told: Vec<_> = export
        .files
        .iter()
        .map(|f| (f.name.as_str(), f.count))
        .collect();
    assert_eq!(told, [("Condition.ndjson", 3), ("Patient.ndjson", 1)]);
    for file in &export.files {
        let text = files.text(&job.file_path(&export, file));
        assert_eq!(text.len() as u64, file.size);
        assert_eq!(text.lines().count() as u64, file.count);
        assert!(text.ends_with('\n'));
    }
    assert_eq!(counter.progress().resources, 4);
    assert_eq!(export.transaction_time, at(100));
}

#[tokio::test]
async fn large_files_are_split_between_lines() {
    let many = (0..10)
        .map(|n| Ok(json!({"resourceType": "Condition", "id": format!("c{n}")})))
        .collect();
    let files = Arc::new(MemoryFiles::default());
    let limits = ExportLimits {
        file_size: 120,
        chunk_size: 50,
    };
    let job = testkit::job(Interaction::None);
    let (export, _) = exporter(source(many), &files, limits)
        .run(&job, 1, &Counter::default())
        .await
        .unwrap();
    assert_eq!(export.files.len(), 4);
    assert_eq!(export.files.iter().map(|f| f.count).sum::<u64>(), 10);
    assert!(export.files.iter().all(|f| f.size <= 120));
    let ids: Vec<String> = export
        .files
        .iter()
        .flat_map(|f| {
            files
                .text(&job.file_path(&export, f))
                .lines()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(ids.len(), 10);
}

#[tokio::test]
async fn a_broken_record_is_reported_and_does_not_stop_the_rest() {
    let broken = RecordError::Unreadable(Unreadable {
        place: "secret-folder/lemke.json, entry 3".into(),
        reason: "not valid JSON".into(),
    });
    let files = Arc::new(MemoryFiles::default());
    let job = testkit::job(Interaction::None);
    let records = vec![
        Ok(patient()),
        Err(broken),
        Ok(json!({"resourceType": "Condition"})),
    ];
    let (export, _) = exporter(source(records), &files, ExportLimits::default())
        .run(&job, 1, &Counter::default())
        .await
        .unwrap();
    let errors: Vec<_> = export
        .files
        .iter()
        .filter(|f| f.kind == FileKind::Error)
        .collect();
    assert_eq!(
        (errors.len(), errors[0].count, export.files.len()),
        (1, 1, 3)
    );
    let text = files.text(&job.file_path(&export, errors[0]));
    assert!(
        text.contains("not valid JSON") && !text.contains("lemke"),
        "{text}"
    );
}

#[tokio::test]
async fn a_source_that_breaks_down_leaves_no_file() {
    let files = Arc::new(MemoryFiles::default());
    let down = Err(RecordError::Source(SourceError::unavailable("gone")));
    let outcome = exporter(
        source(vec![Ok(patient()), down]),
        &files,
        ExportLimits::default(),
    )
    .run(&testkit::job(Interaction::None), 1, &Counter::default())
    .await;
    assert!(matches!(outcome, Err(ExportError::Source(_))));
    assert_eq!(files.count(), 0);
}

#[tokio::test]
async fn what_is_withheld_is_counted_and_not_written() {
    let labelled = |code: &str| {
        Ok(json!({"resourceType": "Condition", "meta": {"security": [
        {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": code}]}}))
    };
    let files = Arc::new(MemoryFiles::default());
    let mut job = testkit::job(Interaction::Form);
    job.customise(Choices::form_default(), at(0)).unwrap();
    assert!(matches!(job.state(), JobState::Requested { .. }));
    let records = vec![
        Ok(patient()),
        labelled("HIV"),
        labelled("HIV"),
        labelled("PSYTHPN"),
    ];
    let (export, _) = exporter(source(records), &files, ExportLimits::default())
        .run(&job, 1, &Counter::default())
        .await
        .unwrap();
    assert_eq!(
        export.withheld,
        BTreeMap::from([(AuthorizationKey::Hiv, 2)])
    );
    assert_eq!((export.psychotherapy_notes, export.files.len()), (1, 1));
}

#[tokio::test]
async fn a_document_goes_in_only_where_its_part_was_asked_for_and_nothing_protects_it() {
    let mut mock = source(vec![]);
    mock.checkpoint();
    mock.expect_records()
        .returning(|_, _| Ok(stream::empty().boxed()));
    mock.expect_documents().returning(|_, _| {
        let document = |name, part, protections| Document {
            part,
            protections,
            ..testkit::document(name, &["x"])
        };
        let hiv = vec![Protection::Authorization(AuthorizationKey::Hiv)];
        let note = vec![Protection::PsychotherapyNote];
        let documents = [
            document("bill.csv", ParameterKey::Billing, vec![]),
            document("visit.csv", ParameterKey::Visits, vec![]),
            document("hiv.csv", ParameterKey::Billing, hiv),
            document("note.txt", ParameterKey::Billing, note),
        ];
        Ok(stream::iter(documents.map(Ok)).boxed())
    });
    let mut job = testkit::job(Interaction::Form);
    let asked = json!({"parameters": {"billing": {"enabled": true}}});
    job.customise(Choices::from_json(&asked).unwrap(), at(0))
        .unwrap();
    let files = Arc::new(MemoryFiles::default());
    let (export, documents) = exporter(mock, &files, ExportLimits::default())
        .run(&job, 1, &Counter::default())
        .await
        .unwrap();
    let titles: Vec<_> = documents.iter().map(|one| one.title.as_str()).collect();
    assert_eq!(titles, ["bill.csv"]);
    assert_eq!(
        export.withheld,
        BTreeMap::from([(AuthorizationKey::Hiv, 1)])
    );
    assert_eq!((export.psychotherapy_notes, files.count()), (1, 1));
}

#[tokio::test]
async fn a_type_that_the_rules_know_protects_a_document_and_its_part_stays_the_sources() {
    let mut mock = source(vec![]);
    mock.checkpoint();
    mock.expect_records()
        .returning(|_, _| Ok(stream::empty().boxed()));
    mock.expect_documents().returning(|_, _| {
        let document = |name, code, protections| Document {
            part: ParameterKey::Billing,
            document_type: DocumentType::new("http://loinc.org", code, "x").ok(),
            protections,
            ..testkit::document(name, &["x"])
        };
        let mental = vec![Protection::Authorization(AuthorizationKey::MentalHealth)];
        let documents = [
            document("summary.pdf", "18842-5", vec![]),
            document("psychiatry.pdf", "59259-2", vec![]),
            document("twice.pdf", "59259-2", mental),
        ];
        Ok(stream::iter(documents.map(Ok)).boxed())
    });
    let mock = Arc::new(mock);
    let files = Arc::new(MemoryFiles::default());
    let exporter = Exporter {
        source: mock,
        ..exporter(source(vec![]), &files, ExportLimits::default())
    };
    let kept = async |authorised: bool| {
        let mut job = testkit::job(Interaction::Form);
        let asked = json!({"parameters": {"billing": {"enabled": true}},
            "authorizations": {"mentalHealth": {"value": authorised}}});
        job.customise(Choices::from_json(&asked).unwrap(), at(0))
            .unwrap();
        let (export, documents) = exporter.run(&job, 1, &Counter::default()).await.unwrap();
        (export.withheld, documents)
    };
    let (withheld, documents) = kept(false).await;
    assert_eq!(
        withheld,
        BTreeMap::from([(AuthorizationKey::MentalHealth, 2)])
    );
    // By its type it would go with discharge summaries, which nobody asked for.
    assert_eq!(documents.len(), 1);
    let kind = documents[0].document_type.as_ref().unwrap();
    assert_eq!(kind.code(), "18842-5");
    assert_eq!(kept(true).await.1.len(), 3);
}

#[tokio::test]
async fn a_document_that_is_spoiled_is_reported_and_does_not_stop_the_rest() {
    let mut mock = source(vec![]);
    mock.checkpoint();
    mock.expect_records()
        .returning(|_, _| Ok(stream::empty().boxed()));
    mock.expect_documents().returning(|_, _| {
        let unreadable = || {
            RecordError::Unreadable(Unreadable {
                place: "archive".into(),
                reason: "the page is missing".into(),
            })
        };
        let half = Document {
            content: stream::iter([Ok(Bytes::from_static(b"a")), Err(unreadable())]).boxed(),
            ..testkit::document("half.pdf", &[])
        };
        let whole = testkit::document("whole.pdf", &["a"]);
        Ok(stream::iter([Ok(half), Err(unreadable()), Ok(whole)]).boxed())
    });
    let files = Arc::new(MemoryFiles::default());
    let job = testkit::job(Interaction::None);
    let (export, documents) = exporter(mock, &files, ExportLimits::default())
        .run(&job, 1, &Counter::default())
        .await
        .unwrap();
    assert_eq!(documents.len(), 1);
    assert_eq!((export.files.len(), export.files[0].count), (1, 2));
    assert_eq!(files.count(), 2, "half a document is not kept");
}

#[tokio::test]
async fn a_binary_goes_where_the_records_go_that_it_belongs_to() {
    let note = |id: &str, kind: &str, url: &str, label: &str| {
        json!({
            "resourceType": "DocumentReference", "id": id,
            "meta": {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": label}]},
            "type": {"coding": [{"system": "http://loinc.org", "code": kind}]},
            "content": [{"attachment": {"url": url}}],
        })
    };
    let binary = |id: &str| json!({"resourceType": "Binary", "id": id, "data": "eA=="});
    let mut in_context = binary("in-context");
    in_context["securityContext"] = json!({"reference": "DocumentReference/hiv"});
    // The discharge summary is asked for, the operative note is not. Binaries come first.
    let records = vec![
        binary("summary-text"),
        binary("hiv-text"),
        binary("note-text"),
        binary("shared-text"),
        binary("loose"),
        in_context,
        note("summary", "18842-5", "Binary/summary-text", "-"),
        note(
            "summary-2",
            "18842-5",
            "https://ehr.example/fhir/Binary/shared-text",
            "-",
        ),
        note("hiv", "18842-5", "urn:uuid:hiv-text", "HIV"),
        note("hiv-2", "18842-5", "Binary/shared-text", "HIV"),
        note("operation", "11504-8", "Binary/note-text", "-"),
    ];
    let exported = async |asked: Value| {
        let mut mock = MockRecordSource::new();
        let records: Vec<_> = records.iter().map(record).collect();
        mock.expect_records()
            .times(2)
            .returning(move |_, _| Ok(stream::iter(records.clone().into_iter().map(Ok)).boxed()));
        mock.expect_documents()
            .returning(|_, _| Ok(stream::empty().boxed()));
        let files = Arc::new(MemoryFiles::default());
        let mut job = testkit::job(Interaction::Form);
        job.customise(Choices::from_json(&asked).unwrap(), at(0))
            .unwrap();
        let (export, _) = exporter(mock, &files, ExportLimits::default())
            .run(&job, 1, &Counter::default())
            .await
            .unwrap();
        let binaries = (export.files.iter()).filter(|f| f.name.as_str() == "Binary.ndjson");
        let text: String = binaries
            .map(|file| files.text(&job.file_path(&export, file)))
            .collect();
        let mut ids: Vec<String> = (text.lines())
            .map(|line| record(&line.parse().unwrap()).id().unwrap().to_owned())
            .collect();
        ids.sort();
        ids
    };
    let summaries = json!({"dischargeSummary": {"enabled": true}});
    assert_eq!(
        exported(json!({"parameters": summaries})).await,
        ["loose", "summary-text"]
    );
    assert_eq!(
        exported(json!({"parameters": summaries, "authorizations": {"hiv": {"value": true}}}))
            .await,
        [
            "hiv-text",
            "in-context",
            "loose",
            "shared-text",
            "summary-text"
        ]
    );
    let all_but_documents = json!({"medicalRecord": {"enabled": true}});
    assert_eq!(
        exported(json!({"parameters": all_but_documents})).await,
        ["loose"]
    );
}

#[tokio::test]
async fn documents_of_the_source_become_attachments() {
    let mut mock = MockRecordSource::new();
    mock.expect_records()
        .return_once(|_, _| Ok(stream::empty().boxed()));
    mock.expect_documents().return_once(|_, _| {
        let document = testkit::document("scan.pdf", &["ab", "c"]);
        Ok(stream::iter([Ok(document)]).boxed())
    });
    let files = Arc::new(MemoryFiles::default());
    let job = testkit::job(Interaction::None);
    let (_, documents) = exporter(mock, &files, ExportLimits::default())
        .run(&job, 1, &Counter::default())
        .await
        .unwrap();
    assert_eq!(
        (documents[0].title.as_str(), documents[0].size),
        ("scan.pdf", 3)
    );
    assert_eq!(documents[0].hash, "qZk+NkcGgWq6PiVxeFDCbJzQ2J0=");
    assert_eq!(files.text(&job.attachment_path(&documents[0])), "abc");
}

#[tokio::test]
async fn an_archive_of_the_source_is_kept_with_its_description() {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    writer.start_file("page.png", options).unwrap();
    let packed = Bytes::from(writer.finish().unwrap().into_inner());
    let torn = packed.slice(..packed.len() - 1);
    let mut mock = source(vec![]);
    mock.checkpoint();
    mock.expect_records()
        .returning(|_, _| Ok(stream::empty().boxed()));
    let (whole, cut) = (packed.clone(), torn.clone());
    mock.expect_documents().return_once(move |_, _| {
        let document = |name, content| {
            Ok(Document {
                content: stream::iter([Ok(content)]).boxed(),
                ..testkit::document(name, &[])
            })
        };
        let documents = [document("scans.zip", whole), document("torn.zip", cut)];
        Ok(stream::iter(documents).boxed())
    });
    let files = Arc::new(MemoryFiles::default());
    let job = testkit::job(Interaction::None);
    let (_, documents) = exporter(mock, &files, ExportLimits::default())
        .run(&job, 1, &Counter::default())
        .await
        .unwrap();
    let kept: Vec<_> = (documents.iter())
        .map(|one| (one.archive, one.size > packed.len() as u64))
        .collect();
    assert_eq!(
        kept,
        [(Archive::Described, true), (Archive::Undescribed, false)],
        "staff are warned of what could not be described"
    );
    assert_eq!(documents[1].size, torn.len() as u64);
}
