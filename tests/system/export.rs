//! A finished export, read as an app reads it: the manifest, and every line of every file.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::app::{App, Job};
use crate::browser::Answer;
use crate::choices;
use crate::patients::{ByKey, key};
use crate::server::Server;
use crate::staff::Staff;

/// Starts an export that needs neither the form nor the staff, and waits for its manifest.
pub async fn at_once(app: &App<'_>) -> (Job, Value) {
    let job = app.kick_off("/no-form/auto-approve").await;
    let manifest = app.wait_for_manifest(&job).await.json();
    (job, manifest)
}

/// Starts an export of these choices and lets the staff release it.
pub async fn chosen(app: &App<'_>, choices: &Value) -> Value {
    let job = app.kick_off("/auto-approve").await;
    app.customise(&job, choices).await.expect(200);
    app.wait_for_manifest(&job).await.json()
}

/// Starts an export of everything and waits until it lies before the staff.
pub async fn in_review(app: &App<'_>) -> Job {
    let job = app.kick_off("").await;
    app.customise(&job, &choices::everything())
        .await
        .expect(200);
    app.wait_for(&job, "retrieved").await;
    job
}

/// The whole way with a form in the browser and a release by the staff.
pub async fn by_form_and_review(server: &Server, patient: &str) -> ByKey {
    let app = App::connect(server, patient).await;
    let job = app.kick_off("").await;
    app.fill_in_the_form(&job).await.expect(200);
    app.wait_for(&job, "retrieved").await;
    Staff::log_in(server).await.approve(&job).await.expect(200);
    let manifest = app.wait_for_manifest(&job).await.json();
    resources(&app, &manifest).await
}

/// Downloads every file of the manifest and checks it on the way.
pub async fn resources(app: &App<'_>, manifest: &Value) -> ByKey {
    let mut all = ByKey::new();
    for output in manifest["output"].as_array().unwrap() {
        let file = app.get(output["url"].as_str().unwrap()).await.expect(200);
        assert_eq!(
            file.header("content-type"),
            "application/fhir+ndjson",
            "of {}",
            file.url
        );
        let disposition = file.header("content-disposition");
        assert!(
            disposition.starts_with("attachment"),
            "{disposition} of {}",
            file.url
        );
        let lines = lines(&file);
        assert_eq!(output["count"], lines.len(), "lines of {}", file.url);
        for line in lines {
            assert_eq!(line["resourceType"], output["type"], "in {}", file.url);
            let key = key(&line);
            assert!(
                all.insert(key.clone(), line).is_none(),
                "{key:?} comes twice"
            );
        }
    }
    all
}

/// The lines of a file, each of which is a JSON object on its own.
#[track_caller]
pub fn lines(file: &Answer) -> Vec<Value> {
    let text = std::str::from_utf8(&file.body).unwrap();
    let text = text.strip_suffix('\n').unwrap_or(text);
    let read = |line| {
        let value: Value = serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("{error} in {} of {}", line, file.url));
        assert!(value.is_object(), "{value} in {}", file.url);
        value
    };
    text.split('\n').map(read).collect()
}

/// What came must be what the source has: nothing lost, nothing added, nothing changed.
#[track_caller]
pub fn assert_same(exported: &ByKey, source: &ByKey) {
    let keys = |records: &ByKey| records.keys().cloned().collect::<BTreeSet<_>>();
    let (exported_keys, source_keys) = (keys(exported), keys(source));
    let lost: Vec<_> = source_keys.difference(&exported_keys).collect();
    let added: Vec<_> = exported_keys.difference(&source_keys).collect();
    assert!(
        lost.is_empty() && added.is_empty(),
        "lost {lost:?}, added {added:?}"
    );
    for (key, record) in source {
        assert_eq!(&exported[key], record, "{key:?} is not as it was");
    }
}

/// The URL of the first file with resources of this type.
#[track_caller]
pub fn url_of<'m>(manifest: &'m Value, kind: &str) -> &'m str {
    let outputs = manifest["output"].as_array().unwrap();
    let found = outputs.iter().find(|output| output["type"] == kind);
    found.unwrap_or_else(|| panic!("no {kind} in {manifest}"))["url"]
        .as_str()
        .unwrap()
}
