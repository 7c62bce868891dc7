//! Federations of mocks.

use ehi_core::fhir::Record;
use ehi_core::ports::{MockRecordSource, RecordError, Unreadable};
use ehi_core::testkit::{document, everything, record};
use futures::stream;
use serde_json::json;

use super::*;

fn id(text: &str) -> PatientId {
    PatientId::parse(text).unwrap()
}

fn summary(text: &str, name: &str) -> PatientSummary {
    PatientSummary {
        id: id(text),
        name: name.to_owned(),
        birth_date: None,
    }
}

fn down() -> SourceError {
    SourceError::unavailable("secret host is down")
}

/// What a fake gives, one after another.
#[derive(Debug, Clone, Copy)]
enum Give {
    Record(&'static str),
    Broken,
    Down,
}

fn give(item: Give) -> Result<Record, RecordError> {
    match item {
        R(id) => Ok(record(&json!({"resourceType": "Condition", "id": id}))),
        Broken => Err(RecordError::Unreadable(Unreadable {
            place: "row 7".to_owned(),
            reason: "it is torn".to_owned(),
        })),
        Down => Err(down().into()),
    }
}

/// A source that has these records of this patient, and nobody else's.
fn having(patient: &'static str, items: &'static [Give]) -> MockRecordSource {
    let mut source = MockRecordSource::new();
    source.expect_records().returning(move |asked, _| {
        if asked.as_str() != patient {
            return Err(SourceError::NotFound);
        }
        Ok(stream::iter(items.iter().map(|item| give(*item))).boxed())
    });
    source
}

/// A source that does not answer.
fn dead() -> MockRecordSource {
    let mut source = MockRecordSource::new();
    source.expect_patient().returning(|_| Err(down()));
    source.expect_search().returning(|_| Err(down()));
    source.expect_records().returning(|_, _| Err(down()));
    source.expect_documents().returning(|_, _| Err(down()));
    source
}

/// A source that knows these patients.
fn knowing(patients: &'static [(&'static str, &'static str)]) -> MockRecordSource {
    let mut source = MockRecordSource::new();
    source.expect_patient().returning(|asked| {
        let found = patients.iter().find(|(id, _)| *id == asked.as_str());
        Ok(found.map(|(id, name)| summary(id, name)))
    });
    source.expect_search().returning(|search| {
        let found = patients.iter().map(|(id, name)| summary(id, name));
        Ok(found.take(search.limit).collect())
    });
    source
}

/// Everything that comes out for `p`: ids of records, and errors as text.
async fn records(members: Vec<Member>) -> Vec<String> {
    let wanted = everything();
    let source = FederatedRecords::new(members);
    let stream = source.records(&id("p"), &wanted).await.unwrap();
    let show = |item: Result<Record, RecordError>| match item {
        Ok(record) => record.id().unwrap().to_owned(),
        Err(RecordError::Unreadable(what)) => format!("unreadable: {what}"),
        Err(RecordError::Source(SourceError::NotFound)) => "not found".to_owned(),
        Err(RecordError::Source(error)) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            format!("over: {}", cause.unwrap_or_else(|| error.to_string()))
        }
    };
    stream.map(show).collect().await
}

fn essential(source: MockRecordSource) -> Member {
    Member::essential("the EHR", Arc::new(source))
}

fn optional(source: MockRecordSource) -> Member {
    Member::optional("the archive", Arc::new(source))
}

use Give::{Broken, Down, Record as R};

#[tokio::test]
async fn the_members_records_come_one_after_another() {
    let found = records(vec![
        essential(having("p", &[R("1"), Broken, R("2")])),
        optional(having("p", &[R("3"), Broken])),
    ])
    .await;
    let expected = [
        "1",
        "unreadable: the EHR, row 7: it is torn",
        "2",
        "3",
        "unreadable: the archive, row 7: it is torn",
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn records_of_the_same_id_both_go_in() {
    let members = vec![
        essential(having("p", &[R("1")])),
        essential(having("p", &[R("1"), R("2")])),
    ];
    assert_eq!(records(members).await, ["1", "1", "2"]);
}

#[tokio::test]
async fn an_optional_member_that_fails_is_reported_once_and_passed_over() {
    const TOLD: &str = "unreadable: the archive: the archive did not answer, and what it holds is missing or incomplete";
    for failing in [dead(), having("p", &[Down, R("never")])] {
        let members = vec![optional(failing), essential(having("p", &[R("1")]))];
        assert_eq!(records(members).await, [TOLD, "1"]);
    }
    let members = vec![
        optional(having("p", &[R("0"), Down])),
        essential(having("p", &[R("1")])),
    ];
    assert_eq!(records(members).await, ["0", TOLD, "1"]);
}

#[tokio::test]
async fn an_essential_member_that_fails_ends_the_run_and_is_named() {
    for failing in [dead(), having("p", &[Down, R("never")])] {
        let members = vec![
            optional(having("p", &[R("0")])),
            essential(failing),
            optional(having("p", &[R("1")])),
        ];
        assert_eq!(records(members).await, ["0", "over: the EHR failed"]);
    }
    let mut broken = MockRecordSource::new();
    broken
        .expect_records()
        .returning(|_, _| Err(SourceError::Broken("no table".to_owned())));
    let found = records(vec![essential(broken)]).await;
    assert_eq!(
        found,
        ["over: the record source is broken: the EHR: no table"]
    );
}

#[tokio::test]
async fn a_member_without_the_patient_gives_nothing() {
    let members = vec![
        essential(having("other", &[R("0")])),
        optional(having("p", &[R("1")])),
    ];
    assert_eq!(records(members).await, ["1"]);
    let members = vec![essential(having("other", &[R("0")]))];
    assert_eq!(records(members).await, ["not found"]);
    // Whom the table of ids does not list is not asked for.
    let table = IdTable::parse("ours,theirs\nq,p\n").unwrap();
    let members = vec![
        essential(having("p", &[R("1")])),
        essential(having("p", &[R("0")])).with_ids(table),
    ];
    assert_eq!(records(members).await, ["1"]);
}

#[tokio::test]
async fn the_next_member_is_asked_when_the_one_before_has_ended() {
    let never = MockRecordSource::new();
    let source = FederatedRecords::new([essential(having("p", &[R("1")])), essential(never)]);
    let wanted = everything();
    let mut stream = source.records(&id("p"), &wanted).await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
}

#[tokio::test]
async fn each_member_is_asked_with_its_own_id() {
    let table = IdTable::parse("ours,theirs\np,L-1\n").unwrap();
    let members = vec![
        essential(having("p", &[R("1")])),
        essential(having("L-1", &[R("2")])).with_ids(table),
    ];
    assert_eq!(records(members).await, ["1", "2"]);
}

#[tokio::test]
async fn the_first_member_that_knows_a_patient_names_them_by_our_id() {
    let table = IdTable::parse("ours,theirs\np,L-1\nq,L-2\n").unwrap();
    let source = FederatedRecords::new([
        essential(knowing(&[("p", "Ada")])),
        optional(knowing(&[
            ("L-1", "Other"),
            ("L-2", "Grace"),
            ("L-3", "Unlisted"),
        ]))
        .with_ids(table),
    ]);
    assert_eq!(
        source.patient(&id("p")).await.unwrap(),
        Some(summary("p", "Ada"))
    );
    assert_eq!(
        source.patient(&id("q")).await.unwrap(),
        Some(summary("q", "Grace"))
    );
    for unknown in ["L-1", "L-3", "r"] {
        assert_eq!(source.patient(&id(unknown)).await.unwrap(), None);
    }
    let search = |limit| PatientSearch {
        name: String::new(),
        birth_date: None,
        limit,
    };
    let found = source.search(&search(9)).await.unwrap();
    assert_eq!(found, [summary("p", "Ada"), summary("q", "Grace")]);
    assert_eq!(
        source.search(&search(1)).await.unwrap(),
        [summary("p", "Ada")]
    );
}

#[tokio::test]
async fn who_a_patient_is_does_not_hang_on_an_optional_member() {
    let everybody = PatientSearch {
        name: String::new(),
        birth_date: None,
        limit: 9,
    };
    let source = FederatedRecords::new([optional(dead()), essential(knowing(&[("p", "Ada")]))]);
    assert_eq!(
        source.patient(&id("p")).await.unwrap(),
        Some(summary("p", "Ada"))
    );
    assert_eq!(source.search(&everybody).await.unwrap().len(), 1);
    // It might have known this one.
    let error = source.patient(&id("q")).await.unwrap_err();
    assert!(matches!(error, SourceError::Unavailable(_)));

    let source = FederatedRecords::new([essential(dead()), optional(knowing(&[("p", "Ada")]))]);
    assert!(source.patient(&id("p")).await.is_err());
    assert!(source.search(&everybody).await.is_err());
}

/// What becomes of the documents of a member whose second document and stream break down.
async fn documents(member: fn(MockRecordSource) -> Member) -> Vec<String> {
    let mut source = MockRecordSource::new();
    source.expect_documents().returning(|_, _| {
        let torn = Document {
            content: stream::iter([Err(down().into())]).boxed(),
            ..document("b.pdf", &[])
        };
        let items = [Ok(document("a.pdf", &["A"])), Ok(torn), Err(down().into())];
        Ok(stream::iter(items).boxed())
    });
    let mut last = MockRecordSource::new();
    last.expect_documents()
        .returning(|_, _| Ok(stream::iter([Ok(document("c.pdf", &["C"]))]).boxed()));
    let source = FederatedRecords::new([member(source), essential(last)]);
    let wanted = everything();
    let mut stream = source.documents(&id("p"), &wanted).await.unwrap();
    let mut found = Vec::new();
    let kind = |error: RecordError| match error {
        RecordError::Unreadable(what) => format!("unreadable: {}", what.place),
        RecordError::Source(_) => "over".to_owned(),
    };
    while let Some(document) = stream.next().await {
        match document {
            Ok(mut document) => {
                found.push(document.name.to_string());
                while let Some(chunk) = document.content.next().await {
                    found.push(
                        chunk.map_or_else(kind, |bytes| String::from_utf8(bytes.to_vec()).unwrap()),
                    );
                }
            }
            Err(error) => found.push(kind(error)),
        }
    }
    found
}

#[tokio::test]
async fn a_document_that_breaks_off_counts_as_its_members_failure() {
    assert_eq!(
        documents(optional).await,
        [
            "a.pdf",
            "A",
            "b.pdf",
            "unreadable: the archive",
            "c.pdf",
            "C"
        ]
    );
    assert_eq!(
        documents(essential).await,
        ["a.pdf", "A", "b.pdf", "over", "over"]
    );
}

#[test]
fn mistakes_in_a_table_of_ids_are_told_by_their_line() {
    assert!(IdTable::parse("\u{feff}ours,theirs\r\na,b\r\n\r\nc,d\r\n").is_ok());
    for (text, error) in [
        ("", IdTableError::Header),
        ("a,b\n", IdTableError::Header),
        ("ours,theirs\n\na\n", IdTableError::Line(3)),
        ("ours,theirs\na,b,c\n", IdTableError::Line(2)),
        ("ours,theirs\na,\n", IdTableError::Line(2)),
        ("ours,theirs\na,x\na,y\n", IdTableError::Twice(3)),
        ("ours,theirs\na,x\nb,x\n", IdTableError::Twice(3)),
    ] {
        assert_eq!(IdTable::parse(text).unwrap_err(), error, "{text:?}");
    }
}

#[test]
fn what_is_printed_for_a_log_names_no_patient() {
    let table = IdTable::parse("ours,theirs\nsecret-1,secret-2\n").unwrap();
    let source = FederatedRecords::new([essential(knowing(&[])).with_ids(table)]);
    let printed = format!("{source:?}");
    assert!(
        printed.contains("the EHR") && !printed.contains("secret"),
        "{printed}"
    );
}
