//! Choices that come along with the kick-off, as FHIR Parameters.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{App, Job, progress_state};
use crate::browser::{Answer, send};
use crate::choices::{everything, only};
use crate::export::{chosen, resources};
use crate::forms::Form;
use crate::patients::{ANNA, ByKey, Records};
use crate::server::Server;

async fn kick_off_with(app: &App<'_>, prefix: &str, parameters: &Value) -> Answer {
    let body = json!({"resourceType": "Parameters", "parameter": parameters});
    let request = app
        .request(Method::POST, &app.kick_off_url(prefix))
        .header("content-type", "application/fhir+json")
        .body(body.to_string());
    send(request).await
}

async fn taken(app: &App<'_>, parameters: &Value) -> ByKey {
    let kick_off = kick_off_with(app, "/no-form/auto-approve", parameters).await;
    let job = Job::read(&kick_off.expect(202));
    let manifest = app.wait_for_manifest(&job).await.json();
    resources(app, &manifest).await
}

#[tokio::test]
async fn parameters_take_what_the_same_choices_in_json_take() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let mut some_labs = only(&["labs", "operative"]);
    some_labs["parameters"]["labs"]["from"] = "2020".into();
    for (parameters, choices) in [
        (
            json!([{"name": "category", "valueCode": "visits"}]),
            only(&["visits"]),
        ),
        (
            json!([
                {"name": "category", "valueCode": "operative"},
                {"name": "category", "part": [
                    {"name": "code", "valueCode": "labs"}, {"name": "from", "valueDate": "2020"}]},
            ]),
            some_labs,
        ),
        (
            json!([
                {"name": "authorization", "valueCode": "hiv"},
                {"name": "authorization", "valueCode": "alcoholAndDrug"},
                {"name": "authorization", "valueCode": "mentalHealth"},
                {"name": "authorization", "valueCode": "confidential"},
                {"name": "authorization", "valueCode": "domesticViolence"},
                {"name": "authorization", "valueCode": "sexualAssault"},
                {"name": "authorization", "valueCode": "genetic"},
                {"name": "authorization", "valueCode": "other"},
            ]),
            everything(),
        ),
    ] {
        let by_json = chosen(&app, &choices).await;
        let by_json = resources(&app, &by_json).await;
        assert_eq!(taken(&app, &parameters).await, by_json, "for {parameters}");
    }
}

#[tokio::test]
async fn nothing_sensitive_leaves_by_parameters_that_do_not_authorise_it() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let all = taken(&app, &json!([])).await;
    let unauthorised = json!([{"name": "authorization", "part": [
        {"name": "code", "valueCode": "hiv"}, {"name": "value", "valueBoolean": false}]}]);
    let some = taken(&app, &unauthorised).await;
    let kept = all.keys().filter(|key| !some.contains_key(*key));
    assert!(kept.count() > 0, "Anna's record holds something sensitive");
    assert!(some.keys().all(|key| all.contains_key(key)));
}

#[tokio::test]
async fn parameters_are_where_the_form_starts() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let parameters = json!([
        {"name": "category", "part": [
            {"name": "code", "valueCode": "labs"},
            {"name": "from", "valueDate": "2020"},
            {"name": "to", "valueDate": "2021"}]},
        {"name": "authorization", "valueCode": "hiv"},
    ]);
    let job = Job::read(
        &kick_off_with(&app, "/auto-approve", &parameters)
            .await
            .expect(202),
    );
    assert_eq!(progress_state(&app.status(&job).await), "awaiting-input");
    let page = app.browser.open(job.form()).await.expect(200);
    let ticked: BTreeSet<String> = Form::asking(&page, "visits").ticked().into_iter().collect();
    assert_eq!(
        ticked,
        BTreeSet::from([
            "parameters.labs.enabled".to_owned(),
            "authorizations.hiv.value".to_owned()
        ])
    );
    assert!(
        page.text().contains("value=\"2020-01-01\"")
            && page.text().contains("value=\"2021-12-31\"")
    );
    // Sent as it is, it says what the Parameters said.
    app.browser
        .submit(Form::asking(&page, "visits").enter(""))
        .await;
    let manifest = app.wait_for_manifest(&job).await.json();
    let by_form = resources(&app, &manifest).await;
    assert_eq!(by_form, taken(&app, &parameters).await);
}

#[tokio::test]
async fn json_that_leaves_parameters_out_keeps_those_of_the_kick_off() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let asked = json!([
        {"name": "category", "valueCode": "labs"},
        {"name": "authorization", "valueCode": "hiv"},
    ]);
    for (body, hiv) in [
        (json!({}), true),
        (json!({"authorizations": {"hiv": {"value": false}}}), false),
    ] {
        let kick_off = kick_off_with(&app, "", &asked).await;
        let job = Job::read(&kick_off.expect(202));
        let told = app.customise(&job, &body).await.expect(200).json();
        let parts = told["parameters"].as_object().unwrap().iter();
        let enabled: Vec<&String> = parts
            .filter(|(_, part)| part["enabled"] == true)
            .map(|(key, _)| key)
            .collect();
        assert_eq!(enabled, ["labs"], "by {body}");
        assert_eq!(told["authorizations"]["hiv"]["value"], hiv, "by {body}");
    }
    // Without Parameters the form starts with all of the record.
    let job = app.kick_off("").await;
    let told = app.customise(&job, &json!({})).await.expect(200).json();
    let mut parts = told["parameters"].as_object().unwrap().values();
    assert!(parts.all(|part| part["enabled"] == true), "{told}");
}

#[tokio::test]
async fn parameters_that_make_no_sense_are_pointed_at_and_start_nothing() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    for (parameters, pointer) in [
        (json!({"name": "category"}), "/parameter"),
        (
            json!([{"name": "since", "valueInstant": "2020-01-01T00:00:00Z"}]),
            "/parameter/0/name",
        ),
        (
            json!([{"name": "category", "valueCode": "teeth"}]),
            "/parameter/0/valueCode is not known",
        ),
        (
            json!([{"name": "category", "valueCode": "visits"}, {"name": "category", "part": [
                {"name": "code", "valueCode": "labs"}, {"name": "from", "valueDate": "soon"}]}]),
            "/parameter/1/part/1/valueDate is not a date",
        ),
    ] {
        let answer = kick_off_with(&app, "/no-form", &parameters).await;
        let answer = answer.expect_outcome(400);
        assert!(answer.text().contains(pointer), "not pointed at: {answer}");
        assert_eq!(answer.header("content-location"), "");
    }
}
