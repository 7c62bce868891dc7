use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ehi_core::export::{Choices, SensitivityRules};
use ehi_core::ports::RecordError;
use futures::StreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

fn patient(id: &str, family: &str) -> Value {
    json!({"resourceType": "Patient", "id": id, "birthDate": "1970-02-03",
        "name": [{"family": family, "given": ["Ada", "B."]}]})
}

fn observation(number: usize) -> Value {
    json!({"resourceType": "Observation", "id": format!("o{number}"), "note": [{"text": "x".repeat(900)}]})
}

fn bundle(resources: &[Value]) -> String {
    let entries: Vec<Value> = (resources.iter())
        .map(|resource| json!({"fullUrl": "urn:uuid:1", "resource": resource}))
        .collect();
    let bundle = json!({"resourceType": "Bundle", "type": "collection", "entry": entries});
    serde_json::to_string_pretty(&bundle).unwrap()
}

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

async fn open(folder: &TempDir) -> BundleFolder {
    BundleFolder::open(folder.path()).await.unwrap()
}

fn id(text: &str) -> PatientId {
    PatientId::parse(text).unwrap()
}

fn everything() -> Selection {
    Selection::new(Choices::whole_record(), SensitivityRules::standard())
}

async fn find(source: &BundleFolder, text: &str) -> Option<PatientSummary> {
    source.patient(&id(text)).await.unwrap()
}

async fn stream(source: &BundleFolder, text: &str) -> Result<RecordStream, SourceError> {
    source.records(&id(text), &everything()).await
}

/// Three patients in the three shapes a folder can have.
async fn filled() -> (BundleFolder, TempDir) {
    let subject = |number: usize, of: &str| json!({"resourceType": "Condition", "id": format!("c{number}"), "subject": {"reference": format!("Patient/{of}")}});
    let lines: Vec<String> = (0..20)
        .map(|number| subject(number, "lines").to_string())
        .collect();
    let mut one = vec![patient("one", "Crane")];
    one.extend((0..300).map(observation));
    let folder = folder(&[
        ("one.json", &bundle(&one)),
        (
            "two.json",
            &bundle(&[patient("two", "Øre-Crane"), subject(1, "two")]),
        ),
        (
            "lines.ndjson",
            &format!("{}\n{}\n", patient("lines", "Quill"), lines.join("\n")),
        ),
    ]);
    (open(&folder).await, folder)
}

ehi_core::record_source_contract!(filled());

/// What the stream says: records as values, errors as text.
async fn drain(source: &BundleFolder, text: &str) -> Vec<Result<Value, String>> {
    let show = |item: Result<ehi_core::fhir::Record, RecordError>| match item {
        Ok(record) => Ok(serde_json::from_slice(record.json()).unwrap()),
        Err(error) => Err(error.to_string()),
    };
    (stream(source, text).await.unwrap().map(show))
        .collect()
        .await
}

async fn search(source: &BundleFolder, name: &str, limit: usize) -> Vec<String> {
    let search = PatientSearch {
        name: name.to_owned(),
        birth_date: None,
        limit,
    };
    let found = source.search(&search).await.unwrap();
    found.into_iter().map(|patient| patient.name).collect()
}

#[tokio::test]
async fn every_record_of_a_patient_is_delivered_as_it_is() {
    let mut resources = vec![patient("p", "Crane")];
    resources.extend((0..2000).map(observation));
    resources.push(json!({"resourceType": "Organization", "id": "h"}));
    let lines: Vec<String> = resources.iter().map(Value::to_string).collect();
    let folder = folder(&[
        ("a.json", &bundle(&resources)),
        ("b.ndjson", &lines.join("\n").replace("\"p\"", "\"q\"")),
    ]);
    let source = open(&folder).await;
    assert_eq!(source.warnings(), [""; 0]);
    let delivered: Vec<Value> = drain(&source, "p")
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(delivered, resources);
    assert_eq!(drain(&source, "q").await.len(), resources.len());
    let error = stream(&source, "nobody").await.err().unwrap();
    assert!(matches!(error, SourceError::NotFound));
}

#[tokio::test]
async fn patients_are_found_by_words_of_their_name_and_birth_date() {
    let folder = folder(&[
        ("1.json", &bundle(&[patient("1", "Östergård")])),
        ("2.json", &bundle(&[patient("2", "Crane")])),
        ("3.JSON", &bundle(&[patient("3", "crane-lee")])),
        (
            "4.json",
            &bundle(&[json!({"resourceType": "Patient", "id": "nameless", "birthDate": "1980"})]),
        ),
    ]);
    let source = open(&folder).await;
    assert_eq!(source.patient_count(), 4);
    assert_eq!(
        search(&source, "CRANE ada", 9).await,
        ["Ada B. Crane", "Ada B. crane-lee"]
    );
    assert_eq!(search(&source, "östergÅrd", 9).await, ["Ada B. Östergård"]);
    assert_eq!(search(&source, "crane", 1).await, ["Ada B. Crane"]);
    assert_eq!(search(&source, "crane bob", 9).await, [""; 0]);
    assert_eq!(search(&source, " ", 9).await.len(), 4);
    let born = |date: &str| PatientSearch {
        name: String::new(),
        birth_date: Some(date.parse().unwrap()),
        limit: 9,
    };
    assert_eq!(source.search(&born("1970-02-03")).await.unwrap().len(), 3);
    assert_eq!(source.search(&born("1970")).await.unwrap().len(), 0);
    assert_eq!(
        source.search(&born("1980")).await.unwrap()[0].name,
        "nameless"
    );
}

#[tokio::test]
async fn a_file_that_is_not_one_patients_record_is_left_out_and_named() {
    let half = bundle(&[patient("half", "Half")]);
    let unreadable = bundle(&[patient("one", "One"), patient("two", "Two")]);
    let folder = folder(&[
        ("broken.json", &half[..half.len() - 20]),
        ("half.ndjson", &patient("line", "Line").to_string()[..40]),
        ("none.json", &bundle(&[observation(1)])),
        ("odd.json", &bundle(&[patient("no such id!", "Odd")])),
        ("same-a.json", &bundle(&[patient("same", "First")])),
        ("same-b.json", &bundle(&[patient("same", "Second")])),
        ("single.json", &patient("single", "Single").to_string()),
        (
            "two.json",
            &bundle(&[patient("one", "One"), observation(1), patient("two", "Two")]),
        ),
        // The second Patient is marred, and a patient all the same.
        (
            "two-marred.json",
            &unreadable.replace("\"Two\"", "\"T\two\""),
        ),
        ("words.txt", "not ours"),
        (".hidden.json", "not ours"),
    ]);
    fs::create_dir(folder.path().join("folder.json")).unwrap();
    let source = open(&folder).await;
    let expected = [
        ("broken.json", "broken or still being written"),
        ("half.ndjson", "broken or still being written"),
        ("none.json", "holds no Patient"),
        ("odd.json", "no id"),
        ("same-b.json", "same-a.json holds the same patient"),
        ("single.json", "not a FHIR Bundle"),
        ("two-marred.json", "more than one Patient"),
        ("two.json", "more than one Patient"),
    ];
    let warnings = source.warnings();
    for ((file, reason), warning) in expected.iter().zip(&warnings) {
        assert!(
            warning.contains(file) && warning.contains(reason),
            "{warning}"
        );
    }
    assert_eq!(warnings.len(), expected.len());
    assert_eq!(search(&source, "", 9).await, ["Ada B. First"]);
    assert!(find(&source, "one").await.is_none() && find(&source, "two").await.is_none());
}

#[tokio::test]
async fn a_broken_record_is_reported_by_its_place_and_the_rest_delivered() {
    let whole = bundle(&[patient("p", "Crane"), observation(7), observation(2)]);
    let folder = folder(&[("lemke.json", &whole.replace("\"o7\"", "\"o\t7\""))]);
    let source = open(&folder).await;
    let items = drain(&source, "p").await;
    assert_eq!(items.len(), 3);
    let error = items[1].as_ref().unwrap_err();
    assert!(error.starts_with("lemke.json, entry 2: "), "{error}");
    assert!(!error.contains("xxx"));
    assert_eq!(items[2].as_ref().unwrap()["id"], "o2");
    // A limit makes records unreadable, not exports.
    let source = source.with_record_limit(700);
    let items = drain(&source, "p").await;
    assert!(items[0].is_ok() && items[1].is_err() && items[2].is_err());
}

#[tokio::test]
async fn added_changed_and_removed_files_are_noticed() {
    let folder = folder(&[("a.json", &bundle(&[patient("a", "First")]))]);
    let source = open(&folder).await;
    let write = |name: &str, content: &str| fs::write(folder.path().join(name), content).unwrap();

    write("b.json", &bundle(&[patient("b", "Added")]));
    assert_eq!(find(&source, "b").await.unwrap().name, "Ada B. Added");

    write("a.json", &bundle(&[patient("a", "Renamed Longer")]));
    assert_eq!(
        find(&source, "a").await.unwrap().name,
        "Ada B. Renamed Longer"
    );
    assert_eq!(drain(&source, "a").await.len(), 1);

    write("a.json", &bundle(&[patient("c", "Other")]));
    assert!(find(&source, "a").await.is_none());
    assert!(find(&source, "c").await.is_some());

    fs::remove_file(folder.path().join("b.json")).unwrap();
    assert!(find(&source, "b").await.is_none());
    assert_eq!(search(&source, "", 9).await, ["Ada B. Other"]);

    let whole = bundle(&[patient("d", "Slow")]);
    write("d.json", &whole[..90]);
    assert!(find(&source, "d").await.is_none());
    assert_eq!(source.warnings().len(), 1);
    write("d.json", &whole);
    assert!(find(&source, "d").await.is_some());
    assert_eq!(source.warnings().len(), 0);

    drop(fs::remove_dir_all(folder.path()));
    let error = source.patient(&id("d")).await.unwrap_err();
    assert!(matches!(error, SourceError::Unavailable(_)));
}

#[tokio::test]
async fn a_file_is_not_read_again_until_it_changes() {
    let folder = folder(&[
        ("a.json", &bundle(&[patient("a", "First")])),
        ("b.json", "["),
    ]);
    let source = open(&folder).await;
    // What is inside is not looked at.
    let other = bundle(&[patient("a", "Third")]);
    replace_unseen(&folder.path().join("a.json"), &other);
    replace_unseen(&folder.path().join("b.json"), "{");
    let before = source.warnings();
    assert_eq!(search(&source, "", 9).await, ["Ada B. First"]);
    assert_eq!(source.warnings(), before);
}

/// Counts what is logged.
struct Counter(AtomicUsize);

impl tracing::Subscriber for Counter {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn the_operator_is_warned_once() {
    let folder = folder(&[
        ("a.json", "["),
        ("b.json", &bundle(&[patient("b", "First")])),
        ("c.json", &bundle(&[patient("b", "Second")])),
    ]);
    let counter = Arc::new(Counter(AtomicUsize::new(0)));
    // With a single subscriber in the process, tracing asks only that of the thread that comes by
    // first, which may be another test's that has none. A second one makes it ask them all.
    let _second = tracing::Dispatch::new(Arc::clone(&counter));
    let index = tracing::subscriber::with_default(Arc::clone(&counter), || {
        let first = Index::look(folder.path(), &Index::default()).unwrap();
        Index::look(folder.path(), &first).unwrap()
    });
    assert_eq!(index.warnings().count(), 2);
    assert_eq!(counter.0.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn another_patient_in_a_file_is_never_delivered_however_they_got_there() {
    let folder = folder(&[("a.json", &bundle(&[patient("a", "First")]))]);
    let source = open(&folder).await;
    replace_unseen(
        &folder.path().join("a.json"),
        &bundle(&[patient("b", "Other")]),
    );
    let mut records = stream(&source, "a").await.unwrap();
    let error = records.next().await.unwrap().unwrap_err();
    assert!(
        matches!(error, RecordError::Source(SourceError::Unavailable(_))),
        "{error}"
    );
    assert!(records.next().await.is_none());
}

/// Writes a file again so that its length and time do not tell.
fn replace_unseen(path: &Path, content: &str) {
    let before = fs::metadata(path).unwrap();
    assert_eq!(before.len(), content.len() as u64);
    fs::write(path, content).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_ends_the_stream_for_another_try() {
    let mut resources = vec![patient("p", "Crane")];
    resources.extend((0..20_000).map(observation));
    let folder = folder(&[("a.json", &bundle(&resources))]);
    let source = open(&folder).await;
    let mut records = stream(&source, "p").await.unwrap();
    assert!(records.next().await.unwrap().is_ok());
    let path = folder.path().join("a.json");
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(15_000_000).unwrap();
    let rest: Vec<_> = records.collect().await;
    let last = rest.last().unwrap();
    assert!(
        matches!(last, Err(RecordError::Source(SourceError::Unavailable(_)))),
        "{last:?}"
    );
    let cut = &rest[rest.len() - 2];
    assert!(matches!(cut, Err(RecordError::Unreadable(_))), "{cut:?}");
    assert!(rest.len() > 10_000);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn dropping_the_stream_stops_the_reading() {
    let mut resources = vec![patient("p", "Crane")];
    resources.extend((0..20_000).map(observation));
    let folder = folder(&[("a.json", &bundle(&resources))]);
    let source = open(&folder).await;
    let mut records = stream(&source, "p").await.unwrap();
    assert!(records.next().await.unwrap().is_ok());
    // Nobody takes more: the thread waits instead of reading the whole file.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(open_files(&folder), 1, "it should be waiting");
    drop(records);
    for _ in 0..500 {
        if open_files(&folder) == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("still reading");
}

/// How many files below the folder this process holds open.
#[cfg(target_os = "linux")]
fn open_files(folder: &TempDir) -> usize {
    let links = fs::read_dir("/proc/self/fd").unwrap();
    links
        .filter_map(|link| fs::read_link(link.ok()?.path()).ok())
        .filter(|target| target.starts_with(folder.path()))
        .count()
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_told_with_what_to_do() {
    let error = BundleFolder::open("/nonexistent/records")
        .await
        .unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("/nonexistent/records") && message.contains("Create it"),
        "{message}"
    );
}

#[tokio::test]
async fn what_is_printed_for_a_log_names_no_patient() {
    let folder = folder(&[("a.json", &bundle(&[patient("secret-id", "Crane")]))]);
    let printed = format!("{:?}", open(&folder).await);
    assert!(
        printed.contains("patients: 1")
            && !printed.contains("Crane")
            && !printed.contains("secret")
    );
}

#[cfg(unix)]
#[tokio::test]
async fn links_to_files_are_followed_and_dead_ones_passed_over() {
    let elsewhere = folder(&[("a", &bundle(&[patient("a", "Linked")]))]);
    let folder = folder(&[]);
    let link = |target: &Path, name: &str| {
        std::os::unix::fs::symlink(target, folder.path().join(name)).unwrap();
    };
    link(&elsewhere.path().join("a"), "a.json");
    link(&elsewhere.path().join("gone"), "b.json");
    let source = open(&folder).await;
    assert_eq!(search(&source, "", 9).await, ["Ada B. Linked"]);
    assert_eq!(source.warnings(), [""; 0]);
}

/// Runs where the shared records lie beside the checkout.
#[tokio::test]
async fn real_records_come_out_whole() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fhir");
    if !shared.is_dir() {
        return;
    }
    let source = BundleFolder::open(&shared).await.unwrap();
    assert_eq!(source.warnings(), [""; 0]);
    let mut total = 0;
    for file in fs::read_dir(&shared).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let bundle: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let resources: Vec<&Value> = (bundle["entry"].as_array().unwrap().iter())
            .map(|entry| &entry["resource"])
            .collect();
        let patient = resources
            .iter()
            .find(|each| each["resourceType"] == "Patient")
            .unwrap();
        let delivered = drain(&source, patient["id"].as_str().unwrap()).await;
        let delivered: Vec<&Value> = delivered
            .iter()
            .map(|each| each.as_ref().unwrap())
            .collect();
        assert_eq!(delivered, resources, "{}", path.display());
        total += delivered.len();
    }
    assert_eq!((source.patient_count(), total), (5, 2119));
}
