//! The audit log: what everybody did is in it, only staff read it, and nobody changes it unseen.

use std::fs;
use std::process::Output;

use reqwest::Method;
use reqwest::header::{ACCEPT, ORIGIN};
use serde_json::Value;

use crate::app::{App, AuthorizeRequest, CLIENT, authorize};
use crate::browser::{Browser, http, send};
use crate::export::{at_once, in_review, resources, url_of};
use crate::patients::{ANNA, BEN, Records};
use crate::server::{Server, command};
use crate::staff::{Staff, USER};

/// One export from the login to the last file, with some who try what they may not.
async fn a_whole_day(server: &Server) -> (Staff<'_>, String) {
    let staff = Staff::stranger(server);
    staff.try_log_in(USER, "wrong").await.expect(401);
    let staff = Staff::log_in(server).await;
    let app = App::connect(server, ANNA).await;
    let job = in_review(&app).await;
    let ben = App::connect(server, BEN).await;
    ben.status(&job).await.expect(404);
    send(ben.request(Method::POST, &app.kick_off_url("")))
        .await
        .expect(403);
    staff.job(&job).await;
    let letter = ("letter to Anna.txt", "text/plain", &b"Dear Anna"[..]);
    staff.add_files(&job, &[letter]).await.expect(200);
    app.get(&server.url(&format!("/jobs/{}/download/Patient.ndjson", job.id)))
        .await
        .expect(404);
    staff.approve(&job).await.expect(200);
    let manifest = app.wait_for_manifest(&job).await.json();
    resources(&app, &manifest).await;
    app.get(&server.url(&format!(
        "/jobs/{}/download/attachments/letter%20to%20Anna.txt",
        job.id
    )))
    .await
    .expect(200);
    app.delete(&job).await.expect(202);
    (staff, job.id)
}

fn actions(entries: &Value) -> Vec<String> {
    let entries = entries.as_array().unwrap().iter();
    let told = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    entries
        .map(|entry| format!("{} {}", told(entry, "action"), told(entry, "outcome")))
        .collect()
}

#[tokio::test]
async fn what_everybody_did_is_remembered_with_who_where_and_when() {
    let server = Server::demo(&Records::small());
    let (staff, job) = a_whole_day(&server).await;
    let entries = staff
        .get("/admin/audit?limit=1000")
        .await
        .expect(200)
        .json();
    let done = actions(&entries);
    for expected in [
        "staff-login refused",
        "staff-login done",
        "patient-login done",
        "authorize done",
        "issue-token done",
        "kick-off done",
        "kick-off refused",
        "customise done",
        "view done",
        "view refused",
        "attach done",
        "download refused",
        "approve done",
        "download done",
        "remove done",
        "read-audit done",
    ] {
        assert!(
            done.iter().any(|each| each == expected),
            "{expected}: {done:?}"
        );
    }
    let numbers: Vec<_> = (entries.as_array().unwrap().iter())
        .map(|entry| entry["number"].as_u64().unwrap())
        .collect();
    let expected: Vec<_> = (1..=numbers.len() as u64).rev().collect();
    assert_eq!(numbers, expected, "newest first, none missing");
    for entry in entries.as_array().unwrap() {
        assert_eq!(entry["address"], "127.0.0.1", "{entry}");
        assert!(
            entry["request"].is_string() && entry["at"].is_string(),
            "{entry}"
        );
    }
    let approved = staff
        .get(&format!(
            "/admin/audit?action=approve&job={job}&patient={ANNA}&actor={USER}"
        ))
        .await
        .expect(200)
        .json();
    assert_eq!(approved.as_array().unwrap().len(), 1, "{approved}");
    assert_eq!(approved[0]["actor"]["staff"], USER);
    let text = entries.to_string();
    assert!(!text.contains("letter") && !text.contains("Anna"), "{text}");
}

#[tokio::test]
async fn what_is_refused_before_anything_begins_is_remembered_too() {
    let server = Server::demo(&Records::small());
    let staff = Staff::log_in(&server).await;
    let app = App::connect(&server, ANNA).await;
    let job = in_review(&app).await;
    let revoke = [("token", app.token.as_str()), ("client_id", CLIENT)];
    send(http().post(server.url("/auth/revoke")).form(&revoke))
        .await
        .expect(200);
    app.status(&job).await.expect(401);
    let stranger = http().get(server.url(&format!("/jobs/{}/status", job.id)));
    send(stranger.bearer_auth("made-up")).await.expect(401);
    let approve = server.url(&format!("/admin/jobs/{}/approve", job.id));
    let foreign =
        (staff.browser.request(Method::POST, &approve)).header(ORIGIN, "https://evil.example");
    staff.browser.send(foreign).await.expect(403);
    let filter = format!("/admin/audit?outcome=refused&job={}", job.id);
    let entries = staff.get(&filter).await.expect(200).json();
    assert_eq!(
        actions(&entries),
        ["approve refused", "view refused", "view refused"]
    );
    let actors: Vec<_> = (entries.as_array().unwrap().iter())
        .map(|entry| entry["actor"].to_string())
        .collect();
    let client = format!("{{\"client\":\"{CLIENT}\"}}");
    assert_eq!(actors, ["\"unknown\"", "\"unknown\"", client.as_str()]);
    assert_eq!(entries[2]["patient"], ANNA);
}

#[tokio::test]
async fn whoever_is_refused_again_and_again_does_not_fill_the_log() {
    let server = Server::demo(&Records::small());
    let staff = Staff::log_in(&server).await;
    let url = server.url("/jobs/00000000-0000-4000-8000-000000000000/status");
    for _ in 0..100 {
        send(http().get(&url).bearer_auth("made-up"))
            .await
            .expect(401);
    }
    let entries = staff.get("/admin/audit?action=view&outcome=refused").await;
    let remembered = actions(&entries.expect(200).json()).len();
    assert!((30..60).contains(&remembered), "{remembered}");
}

#[tokio::test]
async fn the_log_is_read_part_by_part_and_by_staff_alone() {
    let server = Server::demo(&Records::small());
    let (staff, _) = a_whole_day(&server).await;
    let first = staff
        .get("/admin/audit?limit=5&outcome=done")
        .await
        .expect(200);
    let (next, _) = first.header("link").split_once(';').unwrap();
    let next = next.trim_matches(['<', '>']).replace(&server.origin(), "");
    let second = staff.get(&next).await.expect(200).json();
    let last = first.json()[4]["number"].as_u64().unwrap();
    assert!(second[0]["number"].as_u64().unwrap() < last);
    staff.get("/admin/audit?action=dance").await.expect(400);
    let nobody = send(http().get(server.url("/admin/audit"))).await;
    nobody.expect(401);
    let patient = Browser::new();
    authorize(&patient, &server, &AuthorizeRequest::new(&server), ANNA).await;
    patient.get(&server.url("/admin/audit")).await.expect(401);
}

#[tokio::test]
async fn the_log_goes_out_as_fhir() {
    let server = Server::demo(&Records::small());
    let (staff, job) = a_whole_day(&server).await;
    let request = staff.request(Method::GET, &format!("/admin/audit?job={job}"));
    let request = request.header(ACCEPT, "application/fhir+ndjson");
    let answer = staff.browser.send(request).await.expect(200);
    assert_eq!(answer.header("content-type"), "application/fhir+ndjson");
    let text = answer.text();
    let events: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(events.len() > 5, "{text}");
    for event in &events {
        assert_eq!(event["resourceType"], "AuditEvent");
        for member in ["type", "recorded", "agent", "source"] {
            assert!(!event[member].is_null(), "{member} of {event}");
        }
    }
}

#[tokio::test]
async fn a_patient_can_be_told_to_whom_the_record_went() {
    let server = Server::demo(&Records::small());
    let (staff, job) = a_whole_day(&server).await;
    let path = format!("/admin/patients/{ANNA}/disclosures");
    let page = staff.get(&path).await.expect(200);
    let text = page.text();
    for told in ["Test app", "Patient.ndjson", "text/plain", &job] {
        assert!(text.contains(told), "{told} in {text}");
    }
    let request = staff.request(Method::GET, &path);
    let json = staff
        .browser
        .send(request.header(ACCEPT, "application/json"));
    let json = json.await.expect(200).json();
    assert_eq!(json["disclosures"].as_array().unwrap().len(), 1, "{json}");
    assert_eq!(json["disclosures"][0]["client"]["id"], "test_client_id");
    let none = staff
        .get(&format!("/admin/patients/{BEN}/disclosures"))
        .await;
    assert!(none.expect(200).text().contains("no disclosures"));
    let nobody = staff.get("/admin/patients/nobody/disclosures").await;
    nobody.expect(404);
}

#[tokio::test]
async fn what_was_only_asked_about_is_no_disclosure() {
    let server = Server::demo(&Records::small());
    let staff = Staff::log_in(&server).await;
    let app = App::connect(&server, ANNA).await;
    let (_, manifest) = at_once(&app).await;
    let ask = async |method: &Method, kind: &str, header: (&str, &str)| {
        let url = url_of(&manifest, kind);
        let request = app.request(method.clone(), url).header(header.0, header.1);
        send(request).await
    };
    let nothing = ("accept", "*/*");
    let head = ask(&Method::HEAD, "Patient", nothing).await.expect(200);
    let known = ("if-none-match", head.header("etag"));
    ask(&Method::GET, "Patient", known).await.expect(304);
    let beyond = ("range", "bytes=1000000-");
    ask(&Method::GET, "Patient", beyond).await.expect(416);
    let path = format!("/admin/patients/{ANNA}/disclosures");
    let told = staff.get(&path).await.expect(200);
    assert!(told.text().contains("no disclosures"), "{told}");

    let some = ("range", "bytes=0-0");
    ask(&Method::GET, "Observation", some).await.expect(206);
    let told = staff.get(&path).await.expect(200).text();
    assert!(told.contains("Observation.ndjson") && !told.contains("Patient.ndjson"));
}

fn verify(server: &Server, known: Option<&str>) -> Output {
    let mut command = command();
    command
        .args(["audit", "--data"])
        .arg(server.data())
        .arg("verify");
    if let Some(known) = known {
        command.args(["--known", known]);
    }
    command.output().unwrap()
}

#[tokio::test]
async fn the_operator_finds_a_changed_and_a_missing_entry() {
    let server = Server::demo(&Records::small());
    let (staff, _) = a_whole_day(&server).await;
    let whole = verify(&server, None);
    let said = String::from_utf8_lossy(&whole.stdout).into_owned();
    assert!(
        whole.status.success() && said.contains("none changed"),
        "{said}"
    );
    let link = said.split_whitespace().last().unwrap().to_owned();
    // The server is still running, and so is its log.
    staff.get("/admin/audit").await.expect(200);
    assert!(verify(&server, Some(&link)).status.success());

    let file = server.data().join("audit/audit-000000000001.ndjson");
    let text = fs::read_to_string(&file).unwrap();
    let changed = text.replacen("\"outcome\":\"refused\"", "\"outcome\":\"done\"", 1);
    let missing: String = text.split_inclusive('\n').skip(1).collect();
    let cut = &text[..=text[..text.len() - 1].rfind('\n').unwrap()];
    for (tampered, told) in [
        (changed.as_str(), "was changed"),
        (&missing, "missing"),
        (cut, "missing"),
    ] {
        assert_ne!(tampered, text);
        fs::write(&file, tampered).unwrap();
        let found = verify(&server, None);
        let said = String::from_utf8_lossy(&found.stderr).into_owned();
        assert!(!found.status.success() && said.contains(told), "{said}");
    }
    fs::write(&file, &text).unwrap();
    assert!(verify(&server, None).status.success());
}
