//! Being logged in at a browser: from a login to the log-out, and not a moment longer.

use std::fs;
use std::net::TcpListener;

use tempfile::TempDir;

use crate::app::{ALLOW, App, AuthorizeRequest, PATIENT_PASSWORD, log_in};
use crate::browser::{Answer, Browser, SetCookie};
use crate::forms::Form;
use crate::patients::{ANNA, Records, anna};
use crate::served::hash;
use crate::server::Server;
use crate::staff::{PASSWORD, Staff, USER};

/// The form behind the button to log out.
#[track_caller]
fn log_out(page: &Answer) -> Form {
    let forms = Form::all(page).into_iter();
    let mut forms = forms.filter(|form| form.clone().enter("").action.path() == "/patient-logout");
    forms
        .next()
        .unwrap_or_else(|| panic!("no way to log out: {page}"))
}

async fn is_logged_in(browser: &Browser, server: &Server) -> bool {
    let page = browser.get(&server.url("/patient-login")).await.expect(200);
    page.text().contains("You are logged in")
}

#[tokio::test]
async fn who_logs_out_is_logged_out_on_the_server_as_well() {
    let server = Server::demo(&Records::small());
    let browser = Browser::new();
    let request = AuthorizeRequest::new(&server);
    let consent = log_in(&browser, &request.url(&server), ANNA).await;
    let cookie = browser.cookie("ehi_patient").unwrap();
    let page = browser
        .submit(log_out(&consent).enter(""))
        .await
        .expect(200);
    assert!(page.text().contains("You are logged out"), "{page}");
    assert_eq!(browser.cookie("ehi_patient"), None);
    // The consent that was still open in another tab leads nowhere.
    let thief = Browser::new();
    thief.set_cookie("ehi_patient", &cookie);
    assert!(!is_logged_in(&thief, &server).await);
    let allow = Form::with_button(&consent, ALLOW).press(ALLOW);
    let refused = thief.submit(allow).await.expect(401);
    assert!(refused.text().contains("log in again"), "{refused}");
    assert!(
        server.log().contains("patient-logout"),
        "not in the audit log"
    );
}

#[tokio::test]
async fn nobody_is_logged_out_by_another_sites_page() {
    let server = Server::demo(&Records::small());
    let browser = Browser::new();
    log_in(&browser, &server.url("/patient-login"), ANNA).await;
    let page = browser.open(&server.url("/patient-login")).await;
    browser
        .submit(log_out(&page).without("csrf").enter(""))
        .await
        .expect_refusal();
    browser
        .submit(log_out(&page).forge("csrf", "guess").enter(""))
        .await
        .expect_refusal();
    browser
        .get(&server.url("/patient-logout"))
        .await
        .expect(405);
    assert!(is_logged_in(&browser, &server).await);
}

#[tokio::test]
async fn every_page_of_somebody_who_is_logged_in_has_a_way_to_log_out() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let job = app.kick_off("").await;
    let welcome = app.browser.open(&server.url("/patient-login")).await;
    let request = AuthorizeRequest::new(&server);
    let consent = app.browser.open(&request.url(&server)).await;
    let form = app.browser.open(job.form()).await;
    let done = app.fill_in_the_form(&job).await;
    for page in [welcome, consent, form, done] {
        log_out(&page.expect(200));
    }
    let login = Browser::new().open(&server.url("/patient-login")).await;
    assert!(!login.text().contains("Log out"));
}

#[tokio::test]
async fn a_planted_cookie_is_not_the_session_after_a_login() {
    let server = Server::demo(&Records::small());
    let planted = "planted-by-somebody-else-0123456789abcdefg";
    let browser = Browser::new();
    browser.set_cookie("ehi_patient", planted);
    log_in(&browser, &server.url("/patient-login"), ANNA).await;
    assert!(is_logged_in(&browser, &server).await);
    let staff = Staff::stranger(&server);
    staff.browser.set_cookie("sid", planted);
    staff.try_log_in(USER, PASSWORD).await.expect(200);
    staff.get("/admin/jobs").await.expect(200);

    let attacker = Staff::stranger(&server);
    for name in ["ehi_patient", "sid"] {
        attacker.browser.set_cookie(name, planted);
    }
    assert!(!is_logged_in(&attacker.browser, &server).await);
    attacker.get("/admin/jobs").await.expect(401);
}

#[tokio::test]
async fn another_login_at_the_same_browser_ends_the_one_before() {
    let server = Server::demo(&Records::small());
    let staff = Staff::log_in(&server).await;
    let first = staff.browser.cookie("sid").unwrap();
    staff
        .try_log_in("admin2", "admin2-password")
        .await
        .expect(200);
    let thief = Staff::stranger(&server);
    thief.browser.set_cookie("sid", &first);
    thief.get("/admin/jobs").await.expect(401);
    staff.get("/admin/jobs").await.expect(200);
}

#[tokio::test]
async fn a_member_of_staff_is_told_their_role() {
    let server = Server::demo(&Records::small());
    let answer = Staff::stranger(&server).try_log_in(USER, PASSWORD).await;
    let told = answer.expect(200).json();
    assert_eq!(
        (&told["username"], &told["role"]),
        (&USER.into(), &"admin".into())
    );
}

#[tokio::test]
async fn nobody_learns_from_a_login_who_is_known() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let write = |name: &str, content: &str| fs::write(folder.path().join(name), content).unwrap();
    fs::create_dir(folder.path().join("records")).unwrap();
    write("records/anna.json", &anna());
    let hash = hash(PATIENT_PASSWORD);
    write(
        "directory.toml",
        &format!(
            "[[client]]\nid = 'app'\nname = 'App'\n\
             [[staff]]\nusername = 'ada'\npassword_hash = '{hash}'\n\
             [[patient]]\nusername = 'anna'\npassword_hash = '{hash}'\npatient = '{ANNA}'\n\
             [[patient]]\nusername = 'ghost'\npassword_hash = '{hash}'\npatient = 'no-record'\n"
        ),
    );
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    write(
        "ehi.toml",
        &format!(
            "public_url = 'http://{address}'\nlisten = '{address}'\ndata = '{}'\ndirectory = '{}'\n\
             records = [{{ bundles = '{}' }}]\n",
            at("data"),
            at("directory.toml"),
            at("records"),
        ),
    );
    let server = Server::serve(folder);

    let mut staff = Vec::new();
    for (user, password) in [
        ("ada", "wrong"),
        ("nobody", "wrong"),
        ("nobody", PATIENT_PASSWORD),
    ] {
        let answer = Staff::stranger(&server).try_log_in(user, password).await;
        staff.push(answer.expect(401).text());
    }
    assert!(staff.iter().all(|text| *text == staff[0]), "{staff:?}");

    let mut patients = Vec::new();
    let browser = Browser::new();
    let page = browser.open(&server.url("/patient-login")).await;
    for (user, password) in [
        ("anna", "wrong"),
        ("nobody", "wrong"),
        ("ghost", PATIENT_PASSWORD),
    ] {
        let form = Form::asking(&page, "password");
        let form = form.fill("username", user).fill("password", password);
        let answer = browser.submit(form.enter("")).await.expect(401);
        assert!(SetCookie::all(&answer).is_empty(), "{answer}");
        patients.push(answer.text());
    }
    assert!(
        patients.iter().all(|text| *text == patients[0]),
        "{patients:?}"
    );
    let staff = Staff::stranger(&server);
    let told = staff.try_log_in("ada", PATIENT_PASSWORD).await.expect(200);
    assert_eq!(told.json()["role"], "reviewer");
}
