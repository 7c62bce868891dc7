//! What a [`RecordSource`] promises.

#![expect(
    clippy::unwrap_used,
    reason = "in a test, what is missing is a failure"
)]
#![expect(
    missing_docs,
    clippy::missing_panics_doc,
    reason = "the names are the promises"
)]

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};

use crate::export::{Choices, Selection, SensitivityRules, Verdict};
use crate::fhir::{PatientId, ResourceType};
use crate::ports::{PatientSearch, PatientSummary, RecordError, RecordSource, SourceError};
use crate::testkit::everything;

/// Makes the tests of a [`RecordSource`]: `record_source_contract!(filled())`, where `filled()` is a future of a source that
/// knows at least one patient with some records, none of them broken, and of whatever has to live as long as it.
#[macro_export]
macro_rules! record_source_contract {
    ($filled:expr) => {
        $crate::contract_tests!(
            record_source, $filled,
            who_is_found_is_known_by_the_same_name
            names_are_found_by_any_of_their_words_however_they_are_written
            a_birth_date_has_to_match
            no_more_are_found_than_were_asked_for
            whom_nobody_knows_is_nobody
            a_record_says_once_whose_it_is
            no_resource_comes_twice
            a_record_is_the_same_each_time_and_for_all_who_read_at_once
            a_record_that_is_not_read_to_its_end_is_in_nobodys_way
            a_hint_takes_nothing_away_that_is_wanted
            documents_can_be_read_to_their_end_or_left
        );
    };
}

type Source = Arc<dyn RecordSource>;

/// Everybody, or as many as a test can bear.
async fn patients(source: &Source) -> Vec<PatientSummary> {
    let found = search(source, "", None, 20).await;
    assert!(!found.is_empty(), "the source has to know somebody");
    found
}

async fn search(
    source: &Source,
    name: &str,
    born: Option<&PatientSummary>,
    limit: usize,
) -> Vec<PatientSummary> {
    let search = PatientSearch {
        name: name.to_owned(),
        birth_date: born.and_then(|patient| patient.birth_date.clone()),
        limit,
    };
    source.search(&search).await.unwrap()
}

/// What identifies each resource, in the order of the stream.
async fn keys(source: &Source, patient: &PatientId) -> Vec<(ResourceType, Option<String>, u64)> {
    let stream = source.records(patient, &everything()).await.unwrap();
    let records: Vec<_> = stream.try_collect().await.unwrap();
    let key = |record: &crate::fhir::Record| {
        let id = record.id().map(str::to_owned);
        (record.resource_type(), id, record.json().len() as u64)
    };
    records.iter().map(key).collect()
}

pub async fn who_is_found_is_known_by_the_same_name(source: Source) {
    for found in patients(&source).await {
        let known = source.patient(&found.id).await.unwrap();
        assert_eq!(known.as_ref(), Some(&found));
    }
}

pub async fn names_are_found_by_any_of_their_words_however_they_are_written(source: Source) {
    for patient in patients(&source).await {
        let mut words: Vec<_> = patient.name.split_whitespace().collect();
        words.reverse();
        for text in [
            words.join(" "),
            patient.name.to_uppercase(),
            words[0].to_lowercase(),
        ] {
            let found = search(&source, &text, None, 1_000).await;
            assert!(found.contains(&patient), "{text} finds no {patient:?}");
        }
        let other = format!("{} Nobody-is-called-so", patient.name);
        assert_eq!(search(&source, &other, None, 1_000).await, []);
    }
}

pub async fn a_birth_date_has_to_match(source: Source) {
    for patient in patients(&source).await {
        if patient.birth_date.is_some() {
            let found = search(&source, &patient.name, Some(&patient), 1_000).await;
            assert!(found.contains(&patient), "{found:?}");
        }
        let never = PatientSummary {
            birth_date: "1799-12-31".parse().ok(),
            ..patient.clone()
        };
        let found = search(&source, &patient.name, Some(&never), 1_000).await;
        assert_eq!(found, []);
    }
}

pub async fn no_more_are_found_than_were_asked_for(source: Source) {
    let all = patients(&source).await;
    for limit in [0, 1, all.len()] {
        let found = search(&source, "", None, limit).await;
        assert_eq!(found, all[..limit], "the same, in the same order");
    }
}

pub async fn whom_nobody_knows_is_nobody(source: Source) {
    let nobody = PatientId::parse("nobody-has-this-id").unwrap();
    assert_eq!(source.patient(&nobody).await.unwrap(), None);
    let refused = match source.records(&nobody, &everything()).await {
        Err(error) => error,
        Ok(mut stream) => match stream.next().await {
            Some(Err(RecordError::Source(error))) => error,
            other => panic!("records of nobody: {other:?}"),
        },
    };
    assert!(matches!(refused, SourceError::NotFound), "{refused:?}");
    if let Ok(mut documents) = source.documents(&nobody, &everything()).await {
        let first = documents.next().await;
        assert!(!matches!(first, Some(Ok(_))), "{first:?}");
    }
}

pub async fn a_record_says_once_whose_it_is(source: Source) {
    for patient in patients(&source).await {
        let keys = keys(&source, &patient.id).await;
        let own = (keys.iter()).filter(|(kind, ..)| *kind == ResourceType::Patient);
        let own: Vec<_> = own.map(|(_, id, _)| id.as_deref()).collect();
        assert_eq!(own, [Some(patient.id.as_str())]);
    }
}

pub async fn no_resource_comes_twice(source: Source) {
    for patient in patients(&source).await {
        let keys = keys(&source, &patient.id).await;
        let named = keys.iter().filter(|(_, id, _)| id.is_some());
        let mut seen = BTreeSet::new();
        for (kind, id, _) in named {
            assert!(seen.insert((kind.as_str(), id)), "{kind:?} {id:?}");
        }
    }
}

pub async fn a_record_is_the_same_each_time_and_for_all_who_read_at_once(source: Source) {
    let patients = patients(&source).await;
    let sorted = async |patient: PatientId, source: Source| {
        let mut keys = keys(&source, &patient).await;
        keys.sort_by_key(|(kind, id, size)| (kind.as_str(), id.clone(), *size));
        keys
    };
    let first = join_all((patients.iter()).map(|who| sorted(who.id.clone(), source.clone()))).await;
    let readers = (0..8).flat_map(|_| patients.iter().zip(&first));
    let readers = readers.map(async |(who, expected)| {
        let again = sorted(who.id.clone(), source.clone()).await;
        assert_eq!(&again, expected);
    });
    join_all(readers).await;
}

pub async fn a_record_that_is_not_read_to_its_end_is_in_nobodys_way(source: Source) {
    let patients = patients(&source).await;
    let whole = keys(&source, &patients[0].id).await.len();
    for _ in 0..32 {
        let mut stream = (source.records(&patients[0].id, &everything()).await).unwrap();
        stream.next().await.unwrap().unwrap();
    }
    assert_eq!(keys(&source, &patients[0].id).await.len(), whole);
}

pub async fn a_hint_takes_nothing_away_that_is_wanted(source: Source) {
    let form = Selection::new(Choices::form_default(), SensitivityRules::standard());
    for patient in patients(&source).await {
        let wanted = async |hint| {
            let stream = source.records(&patient.id, hint).await.unwrap();
            let records: Vec<_> = stream.try_collect().await.unwrap();
            let wanted = (records.iter()).filter(|record| form.judge(record) == Verdict::Included);
            let mut ids: Vec<_> = wanted.map(|record| record.json().to_owned()).collect();
            ids.sort();
            ids
        };
        assert_eq!(wanted(&form).await, wanted(&everything()).await);
    }
}

pub async fn documents_can_be_read_to_their_end_or_left(source: Source) {
    for patient in patients(&source).await {
        let mut sizes = Vec::new();
        let mut documents = (source.documents(&patient.id, &everything()).await).unwrap();
        while let Some(document) = documents.next().await {
            let chunks: Vec<_> = document.unwrap().content.try_collect().await.unwrap();
            sizes.push(chunks.iter().map(bytes::Bytes::len).sum::<usize>());
        }
        let mut left = 0;
        let mut documents = (source.documents(&patient.id, &everything()).await).unwrap();
        while let Some(document) = documents.next().await {
            drop(document.unwrap().content);
            left += 1;
        }
        assert_eq!(left, sizes.len());
    }
}
