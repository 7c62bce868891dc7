//! What the patient chooses is what leaves; what makes no sense changes nothing.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::app::{App, progress_state};
use crate::choices::{everything, nothing, only};
use crate::export::{chosen, resources};
use crate::patients::{ANNA, Records, anna, read_bundle};
use crate::server::Server;
use crate::staff::Staff;

/// Of Anna's record, what was exported for these choices, by id.
async fn exported(app: &App<'_>, choices: &Value) -> BTreeSet<String> {
    let manifest = chosen(app, choices).await;
    resources(app, &manifest)
        .await
        .into_keys()
        .map(|(_, id)| id)
        .collect()
}

/// The same without the Patient, who may come along with anything.
async fn beside_the_patient(app: &App<'_>, choices: &Value) -> Vec<String> {
    let mut ids = exported(app, choices).await;
    ids.remove(ANNA);
    ids.into_iter().collect()
}

#[tokio::test]
async fn only_the_chosen_parts_of_the_record_leave() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    for (keys, ids) in [
        (&["visits"][..], &["visit-2019", "visit-2021"][..]),
        (&["labs"], &["lab-2019", "lab-2021"]),
        (&["billing"], &["bill-2020"]),
        (&["medicalRecord"], &["allergy"]),
        (&["dischargeSummary"], &["discharge"]),
        (&["operative"], &["operative-note"]),
        (
            &["labs", "operative"],
            &["lab-2019", "lab-2021", "operative-note"],
        ),
    ] {
        assert_eq!(
            beside_the_patient(&app, &only(keys)).await,
            ids,
            "for {keys:?}"
        );
    }
}

#[tokio::test]
async fn dates_limit_what_leaves_and_count_as_whole_days() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    for (key, from, to, ids) in [
        (
            "visits",
            json!("2020-01-01"),
            json!(null),
            &["visit-2021"][..],
        ),
        ("visits", json!(null), json!("2020-01-01"), &["visit-2019"]),
        (
            "visits",
            json!("2021-03-04"),
            json!("2021-03-04"),
            &["visit-2021"],
        ),
        (
            "visits",
            json!("2021-03-04T00:00:00Z"),
            json!("2021-03-04T23:00:00Z"),
            &["visit-2021"],
        ),
        (
            "labs",
            json!("2019-05-06"),
            json!("2020-12-31"),
            &["lab-2019"],
        ),
        ("billing", json!("2020-07-09"), json!(null), &[]),
        (
            "billing",
            json!("2020-07-08"),
            json!("2020-07-08"),
            &["bill-2020"],
        ),
    ] {
        let mut choices = only(&[key]);
        for (member, date) in [("from", &from), ("to", &to)] {
            if !date.is_null() {
                choices["parameters"][key][member] = date.clone();
            }
        }
        assert_eq!(
            beside_the_patient(&app, &choices).await,
            ids,
            "{key} from {from} to {to}"
        );
    }
}

#[tokio::test]
async fn what_needs_a_yes_of_its_own_leaves_only_with_it() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let mut choices = everything();
    choices["authorizations"]["hiv"]["value"] = false.into();
    let exported_ids = exported(&app, &choices).await;
    assert!(
        !exported_ids.contains("hiv"),
        "left without a yes: {exported_ids:?}"
    );
    assert_eq!(
        exported_ids.len(),
        read_bundle(&anna()).1.len() - 1,
        "only that one is kept back"
    );

    choices["authorizations"]["hiv"]["value"] = true.into();
    assert!(
        exported(&app, &choices).await.contains("hiv"),
        "kept back in spite of a yes"
    );
}

#[tokio::test]
async fn the_answer_to_the_form_is_the_job_with_the_choices() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let job = app.kick_off("").await;
    let mut choices = only(&["visits", "labs"]);
    choices["parameters"]["visits"]["from"] = "2020-01-01".into();
    choices["parameters"]["labs"]["notes"] = "only of Dr. \"Who\" <please>".into();
    choices["authorizations"]["genetic"]["value"] = "BRCA & kin".into();
    choices["parameters"]["radiation"] = json!({"name": "Radiation", "group": 2, "enabled": true});
    let answer = app.customise(&job, &choices).await.expect(200).json();
    assert_eq!(answer["id"], job.id.as_str());
    let kept = &answer["parameters"];
    assert_eq!(kept["visits"]["enabled"], true);
    assert!(
        kept["visits"]["from"]
            .as_str()
            .unwrap()
            .starts_with("2020-01-01"),
        "in {kept}"
    );
    assert_eq!(
        kept["labs"]["notes"],
        choices["parameters"]["labs"]["notes"]
    );
    assert_eq!(kept["billing"]["enabled"], false);
    assert_eq!(kept["radiation"]["enabled"], true);
    assert_eq!(answer["authorizations"]["genetic"]["value"], "BRCA & kin");
    assert_eq!(answer["authorizations"]["hiv"]["value"], false);
}

#[tokio::test]
async fn what_makes_no_sense_is_pointed_at_and_changes_nothing() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let job = app.kick_off("").await;
    let staff = Staff::log_in(&server).await;
    let before = staff.job(&job).await;
    for (pointer, value) in [
        (
            "/parameters/visitz",
            json!({"name": "Visits", "group": 1, "enabled": true}),
        ),
        (
            "/authorizations/everything",
            json!({"name": "All", "value": true}),
        ),
        ("/parameters/visits/from", json!("yesterday")),
        ("/parameters/visits/from", json!("2021-02-30")),
        ("/parameters/labs/to", json!("2021-13-01")),
        ("/parameters/billing/to", json!(20_210_101)),
        ("/parameters/visits/enabled", json!("yes")),
        ("/authorizations/hiv/value", json!("perhaps")),
        ("/authorizations/genetic/value", json!(17)),
    ] {
        let mut choices = everything();
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        choices.pointer_mut(parent).unwrap()[member] = value.clone();
        let answer = app.customise(&job, &choices).await.expect_outcome(400);
        assert!(
            answer.text().contains(&format!("{pointer} is ")),
            "{pointer} = {value} is not pointed at: {answer}"
        );
    }
    assert_eq!(progress_state(&app.status(&job).await), "awaiting-input");
    assert_eq!(staff.job(&job).await, before, "something changed");
    app.customise(&job, &everything()).await.expect(200);
}

#[tokio::test]
async fn a_beginning_after_the_end_is_refused() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let job = app.kick_off("").await;
    let mut choices = everything();
    choices["parameters"]["visits"]["from"] = "2021-01-02".into();
    choices["parameters"]["visits"]["to"] = "2021-01-01".into();
    let answer = app.customise(&job, &choices).await.expect_outcome(400);
    assert!(
        answer.text().contains("/parameters/visits"),
        "not pointed at: {answer}"
    );
    assert_eq!(progress_state(&app.status(&job).await), "awaiting-input");
}

#[tokio::test]
async fn a_body_of_another_shape_is_refused() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let job = app.kick_off("").await;
    for body in [
        "",
        "null",
        "[]",
        "\"visits\"",
        "{\"parameters\": []}",
        "{\"parameters\": {\"visits\": true}}",
        "{",
    ] {
        app.customise_with(&job, "application/json", body)
            .await
            .expect_outcome(400);
    }
    assert_eq!(progress_state(&app.status(&job).await), "awaiting-input");
}

#[tokio::test]
async fn one_chooses_only_once() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let job = app.kick_off("").await;
    app.customise(&job, &everything()).await.expect(200);
    app.customise(&job, &nothing()).await.expect_outcome(400);
    app.wait_for(&job, "retrieved").await;
    app.customise(&job, &nothing()).await.expect_outcome(400);

    let without_form = app.kick_off("/no-form").await;
    app.customise(&without_form, &nothing())
        .await
        .expect_outcome(400);
}

#[tokio::test]
async fn two_answers_at_the_same_time_count_once() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    for _ in 0..5 {
        let job = app.kick_off("").await;
        let choices = everything();
        let answers = tokio::join!(
            app.customise(&job, &choices),
            app.customise(&job, &choices),
            app.customise(&job, &choices),
        );
        let mut statuses = [answers.0.status, answers.1.status, answers.2.status];
        statuses.sort_unstable();
        assert_eq!(statuses[0], 200, "one of them counts");
        assert!(
            statuses[1..]
                .iter()
                .all(|status| (400..500).contains(status)),
            "{statuses:?}"
        );
    }
}
