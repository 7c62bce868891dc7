//! The staff's side: log-in, the list of jobs, and what may be done to a job when.

use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{App, Job};
use crate::browser::{Answer, SetCookie};
use crate::choices::{AUTHORIZATIONS, AUTHORIZATIONS_IN_WORDS, DATED, DOCUMENTS};
use crate::export::{at_once, in_review, url_of};
use crate::patients::{ANNA, BEN, Records};
use crate::server::Server;
use crate::staff::{PASSWORD, Staff, USER, ids};

/// An error of the administration API.
#[track_caller]
fn assert_error(answer: &Answer) {
    assert!(
        answer
            .header("content-type")
            .starts_with("application/json"),
        "of {answer}"
    );
    let told = answer.json();
    assert!(told["error"].is_string(), "of {answer}");
    assert_eq!(told["resourceType"], "OperationOutcome", "of {answer}");
    let issue = &told["issue"][0];
    assert_eq!(issue["diagnostics"], told["error"], "of {answer}");
    assert!(issue["code"].is_string(), "of {answer}");
    assert_eq!(issue["severity"], "error", "of {answer}");
}

#[tokio::test]
async fn a_login_gives_a_session_scripts_cannot_read() {
    let server = Server::demo(&Records::small());
    let staff = Staff::stranger(&server);
    let answer = staff.try_log_in(USER, PASSWORD).await.expect(200);
    assert_eq!(answer.json()["username"], USER);
    let cookies = SetCookie::all(&answer);
    let cookie = cookies
        .iter()
        .find(|cookie| cookie.name == "sid")
        .expect("a session");
    let attribute = |name: &str| cookie.attributes.get(name).map(String::as_str);
    assert_eq!(attribute("path"), Some("/"));
    assert!(
        attribute("httponly").is_some() && attribute("expires").is_some(),
        "{cookie:?}"
    );
    // The demo names other origins, whose pages may use the session.
    assert_eq!(
        (attribute("samesite"), attribute("secure")),
        (Some("None"), Some(""))
    );
    assert!(cookie.value.len() >= 20, "can be guessed: {cookie:?}");
    staff.get("/admin/jobs").await.expect(200);
}

#[tokio::test]
async fn a_login_may_come_as_a_form_and_every_user_of_the_demo_can() {
    let server = Server::demo(&Records::small());
    for (user, password) in [(USER, PASSWORD), ("admin2", "admin2-password")] {
        let staff = Staff::stranger(&server);
        let fields = [("username", user), ("password", password)];
        let request = staff.request(Method::POST, "/admin/login").form(&fields);
        let answer = staff.browser.send(request).await.expect(200);
        assert_eq!(answer.json()["username"], user);
        staff.get("/admin/jobs").await.expect(200);
    }
}

#[tokio::test]
async fn a_failed_login_does_not_tell_why() {
    let server = Server::demo(&Records::small());
    let staff = Staff::stranger(&server);
    let mut answers = Vec::new();
    for (user, password) in [
        (USER, "wrong"),
        ("nobody", PASSWORD),
        (USER, ""),
        ("", ""),
        ("admin2", PASSWORD),
    ] {
        let answer = staff.try_log_in(user, password).await.expect(401);
        assert_error(&answer);
        assert_eq!(staff.browser.cookie("sid"), None, "a session for {user:?}");
        answers.push(answer.json());
    }
    assert!(
        answers.iter().all(|answer| answer == &answers[0]),
        "they differ: {answers:?}"
    );
}

#[tokio::test]
async fn every_login_has_its_own_session_and_logout_ends_it_on_the_server() {
    let server = Server::demo(&Records::small());
    let (one, two) = (Staff::log_in(&server).await, Staff::log_in(&server).await);
    let sid = one.browser.cookie("sid").unwrap();
    assert_ne!(Some(&sid), two.browser.cookie("sid").as_ref());
    // A session somebody else has chosen is not taken over by a log-in.
    let fixed = Staff::stranger(&server);
    fixed.browser.set_cookie("sid", "chosen-by-somebody-else");
    fixed.try_log_in(USER, PASSWORD).await.expect(200);
    assert_ne!(
        fixed.browser.cookie("sid").as_deref(),
        Some("chosen-by-somebody-else")
    );

    one.get("/admin/logout").await.expect(200);
    assert_eq!(one.browser.cookie("sid"), None, "the cookie is left");
    one.get("/admin/logout").await.expect(401);
    one.browser.set_cookie("sid", &sid);
    one.get("/admin/jobs").await.expect(401);
    two.get("/admin/jobs").await.expect(200);
}

#[tokio::test]
async fn without_a_session_nothing_is_told_not_even_what_is_missing() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let job = in_review(&app).await;
    let stranger = Staff::stranger(&server);
    stranger.browser.set_cookie("sid", "nonsense");
    for id in [job.id.as_str(), "00000000-0000-4000-8000-000000000000"] {
        for (method, route) in routes(id) {
            let answer = stranger
                .browser
                .send(stranger.request(method, &route))
                .await
                .expect(401);
            assert_error(&answer);
        }
    }
    stranger.get("/admin/jobs").await.expect(401);
    // A patient's token is no staff session.
    app.get(&server.url("/admin/jobs")).await.expect(401);
    app.wait_for(&job, "retrieved").await;
}

#[tokio::test]
async fn an_unknown_job_is_404_whatever_is_wanted() {
    let server = Server::demo(&Records::small());
    let staff = Staff::log_in(&server).await;
    for id in ["00000000-0000-4000-8000-000000000000", "no-id"] {
        let job = Job {
            id: id.to_owned(),
            status_url: String::new(),
            form_url: None,
        };
        for answer in [
            staff.get(&format!("/admin/jobs/{id}")).await,
            staff.approve(&job).await,
            staff.reject(&job, "reason").await,
            staff
                .add_files(&job, &[("a.txt", "text/plain", b"text")])
                .await,
            staff.remove_files(&job, &["a.txt"]).await,
            staff.delete(&job).await,
        ] {
            assert_error(&answer.expect(404));
        }
    }
}

/// Everything that can be asked about a job.
fn routes(id: &str) -> [(Method, String); 6] {
    let job = format!("/admin/jobs/{id}");
    [
        (Method::GET, job.clone()),
        (Method::POST, format!("{job}/approve")),
        (Method::POST, format!("{job}/reject")),
        (Method::POST, format!("{job}/add-files")),
        (Method::POST, format!("{job}/remove-files")),
        (Method::DELETE, job),
    ]
}

#[tokio::test]
async fn a_job_is_told_with_every_member() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let job = app.kick_off("").await;
    let told = staff.job(&job).await;
    assert_eq!(told["id"], job.id.as_str());
    assert_eq!(told["patient"]["id"], ANNA);
    let name = told["patient"]["name"].as_str().unwrap();
    assert!(
        name.contains("Anna") && name.contains("Åström"),
        "name {name}"
    );
    assert_eq!(told["manifest"], Value::Null);
    assert_eq!(told["status"], "awaiting-input");
    assert!(
        told["createdAt"].as_u64().unwrap() > 1_600_000_000_000,
        "no milliseconds: {told}"
    );
    assert_eq!(told["completedAt"], 0);
    assert_eq!(told["attachments"], json!([]));
    assert_eq!(told["autoApprove"], false);
    for (keys, group) in [(&DATED[..], 1), (&["medicalRecord"], 1), (&DOCUMENTS, 2)] {
        for &key in keys {
            let parameter = &told["parameters"][key];
            assert!(parameter["name"].is_string(), "{key} in {told}");
            assert_eq!(parameter["group"], group, "{key} in {told}");
            assert!(parameter["enabled"].is_boolean(), "{key} in {told}");
        }
    }
    for key in AUTHORIZATIONS {
        assert_eq!(
            told["authorizations"][key]["value"], false,
            "{key} in {told}"
        );
    }
    for key in AUTHORIZATIONS_IN_WORDS {
        assert_eq!(told["authorizations"][key]["value"], "", "{key} in {told}");
    }

    let (done, manifest) = at_once(&app).await;
    let told = staff.job(&done).await;
    assert_eq!(told["status"], "approved");
    assert_eq!(told["autoApprove"], true);
    assert_eq!(told["manifest"]["output"], manifest["output"]);
    assert!(
        told["completedAt"].as_u64().unwrap() >= told["createdAt"].as_u64().unwrap(),
        "{told}"
    );
}

#[tokio::test]
async fn the_list_begins_with_the_newest_and_can_be_narrowed() {
    let server = Server::demo(&Records::small());
    let (anna, ben) = (
        App::connect(&server, ANNA).await,
        App::connect(&server, BEN).await,
    );
    let staff = Staff::log_in(&server).await;
    assert_eq!(staff.job_ids("").await, Vec::<String>::new());
    let mut all = Vec::new();
    for app in [&anna, &ben, &anna, &ben, &anna] {
        all.insert(0, app.kick_off("").await.id);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(staff.job_ids("").await, all);
    let of_ben = [all[1].clone(), all[3].clone()];
    assert_eq!(staff.job_ids(&format!("?patient={BEN}")).await, of_ben);
    assert_eq!(staff.job_ids("?status=awaiting-input").await, all);
    assert_eq!(
        staff.job_ids("?status=approved").await,
        Vec::<String>::new()
    );
    assert_eq!(
        staff
            .job_ids(&format!("?status=awaiting-input&patient={BEN}&limit=1"))
            .await,
        of_ben[..1]
    );
    for nonsense in [
        "?status=lost",
        "?limit=0",
        "?limit=many",
        "?limit=-1",
        "?cursor=nonsense",
    ] {
        assert_error(
            &staff
                .get(&format!("/admin/jobs{nonsense}"))
                .await
                .expect(400),
        );
    }
}

#[tokio::test]
async fn the_list_is_turned_page_by_page_without_loss() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    for _ in 0..5 {
        app.kick_off("").await;
    }
    let whole = staff.job_ids("").await;
    assert_eq!(whole.len(), 5);
    let mut seen = Vec::new();
    let mut next = Some(server.url("/admin/jobs?limit=2&status=awaiting-input"));
    while let Some(url) = next {
        let page = staff.browser.get(&url).await.expect(200);
        assert!(ids(&page).len() <= 2, "more than asked for: {page}");
        seen.extend(ids(&page));
        next = next_page(&page);
        assert!(seen.len() <= whole.len(), "pages without end: {seen:?}");
        // A job that comes in between moves nothing on the pages to come.
        app.kick_off("").await;
    }
    assert_eq!(seen, whole);
}

/// The URL in `Link: <…>; rel="next"`.
fn next_page(answer: &Answer) -> Option<String> {
    let link = answer.headers.get("link")?.to_str().unwrap();
    let (url, relation) = link.split_once('>').unwrap();
    assert!(relation.contains("rel=\"next\""), "of {link}");
    Some(
        answer
            .url
            .join(url.strip_prefix('<').unwrap())
            .unwrap()
            .into(),
    )
}

#[tokio::test]
async fn only_what_is_ready_can_be_released_and_only_once() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let open = app.kick_off("").await;
    assert_error(&staff.approve(&open).await.expect(409));
    assert_eq!(staff.job(&open).await["status"], "awaiting-input");

    let job = in_review(&app).await;
    staff.approve(&job).await.expect(200);
    assert_eq!(staff.job(&job).await["status"], "approved");
    assert_error(&staff.approve(&job).await.expect(409));
    staff.reject(&job, "too late").await.expect_refusal();
    app.status(&job).await.expect(200);
}

#[tokio::test]
async fn a_refusal_reaches_the_patient_with_its_reason_and_the_data_is_gone() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let (done, manifest) = at_once(&app).await;
    let job = in_review(&app).await;
    staff
        .reject(&job, "Please call us first: desk 12")
        .await
        .expect(200);
    assert_eq!(staff.job(&job).await["status"], "rejected");

    let status = app.status(&job).await.expect_outcome(403);
    assert!(
        status.text().contains("Please call us first: desk 12"),
        "no reason: {status}"
    );
    let file = done.moved_to(&job, url_of(&manifest, "Patient"));
    app.get(&file).await.expect_refusal();
    staff.approve(&job).await.expect(409);

    let silent = in_review(&app).await;
    staff
        .post(&format!("/admin/jobs/{}/reject", silent.id))
        .await
        .expect(200);
    app.status(&silent).await.expect_outcome(403);
    // The patient can put even a refusal away.
    app.delete(&silent).await.expect_outcome(202);
    app.status(&silent).await.expect_outcome(404);
}

#[tokio::test]
async fn nothing_is_declined_by_a_body_that_makes_no_sense() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let job = in_review(&app).await;
    let path = format!("/admin/jobs/{}/reject", job.id);
    for body in [
        json!([1]),
        json!("x"),
        json!(1),
        json!(null),
        json!({"reason": 1}),
        json!({"reason": ["x"]}),
    ] {
        assert_error(&staff.post_json(&path, &body).await.expect(400));
        assert_eq!(staff.job(&job).await["status"], "retrieved", "by {body}");
    }
    staff.post_json(&path, &json!({})).await.expect(200);
}

#[tokio::test]
async fn what_the_staff_deletes_is_told_once_more_and_gone() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let (job, manifest) = at_once(&app).await;
    let deleted = staff.delete(&job).await.expect(200).json();
    assert_eq!(deleted["id"], job.id.as_str());
    assert_eq!(deleted["status"], "approved", "as it last was");
    staff.delete(&job).await.expect(404);
    app.status(&job).await.expect_outcome(404);
    app.get(url_of(&manifest, "Patient"))
        .await
        .expect_outcome(404);
    assert_eq!(staff.job_ids("").await, Vec::<String>::new());
}
