//! Logins at the hospital's identity provider, a real one.

use std::fs;
use std::net::TcpListener;

use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;

use crate::app::{ALLOW, AuthorizeRequest, back_to_app, param, trade};
use crate::browser::{Answer, Browser};
use crate::forms::Form;
use crate::pages::{RealBrowser, Scripts};
use crate::patients::{ANNA, anna};
use crate::provider::Provider;
use crate::server::Server;
use crate::site::Site;
use crate::staff::Staff;
use crate::wait::until;

const SECRET: &str = "a secret: with % and +";

/// A server whose people log in at a provider.
struct Hospital {
    server: Server,
    provider: Provider,
}

/// What a hospital says beyond the usual.
#[derive(Default)]
struct Wishes<'w> {
    staff_return_url: Option<&'w str>,
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn accounts() -> Value {
    json!({
        "anna": {"fhir_patient": ANNA},
        "unknown": {"fhir_patient": "somebody-else"},
        "odd": {"fhir_patient": "../anna-1"},
        "nothing": {},
        "rita": {"preferred_username": "rita", "groups": ["him", "choir"]},
        "ada": {"preferred_username": "ada", "groups": ["him", "him-admins"]},
        "visitor": {"preferred_username": "visitor", "groups": ["choir", "HIM"]},
        "nameless": {"groups": ["him"]},
    })
}

fn provider(port: u16, server: &str) -> Provider {
    let client = |id: &str, callback: &str| {
        json!({
            "client_id": id, "redirect_uris": [format!("{server}{callback}")],
            "grant_types": ["authorization_code"], "response_types": ["code"],
        })
    };
    let mut patients = client("ehi patients", "/patient-login/callback");
    patients["client_secret"] = SECRET.into();
    let mut staff = client("ehi-staff", "/admin/login/callback");
    staff["token_endpoint_auth_method"] = "none".into();
    Provider::start(port, &json!([patients, staff]), &accounts())
}

fn serve(server: &str, issuer: &str, wishes: &Wishes<'_>) -> Server {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let write = |name: &str, content: &str| fs::write(folder.path().join(name), content).unwrap();
    fs::create_dir(folder.path().join("records")).unwrap();
    write("records/anna.json", &anna());
    write("secret", &format!("{SECRET}\n"));
    // Nobody but the app is in the directory.
    let app = "[[client]]\nid = 'test_client_id'\nname = 'Plain app'\nloopback = 'any'\n";
    write("directory.toml", app);
    let address = server.strip_prefix("http://").unwrap();
    let home = wishes.staff_return_url;
    let home = home.map(|url| format!("return_url = '{url}'\n"));
    write(
        "ehi.toml",
        &format!(
            "public_url = '{server}'\nlisten = '{address}'\ndata = '{}'\ndirectory = '{}'\n\
             records = [{{ bundles = '{}' }}]\n\
             [patient_login]\nissuer = '{issuer}'\nclient_id = 'ehi patients'\n\
             client_secret_file = '{}'\npatient_claim = 'fhir_patient'\n\
             [staff_login]\nissuer = '{issuer}'\nclient_id = 'ehi-staff'\nrole_claim = 'groups'\n\
             roles = {{ him = 'reviewer', him-admins = 'admin' }}\n{}",
            at("data"),
            at("directory.toml"),
            at("records"),
            at("secret"),
            home.unwrap_or_default(),
        ),
    );
    Server::serve(folder)
}

impl Hospital {
    fn open() -> Self {
        Self::with(&Wishes::default())
    }

    fn with(wishes: &Wishes<'_>) -> Self {
        let server = format!("http://127.0.0.1:{}", free_port());
        let provider = provider(0, &server);
        let server = serve(&server, &provider.issuer, wishes);
        Self { server, provider }
    }

    /// Opens a page that leads to the provider's login.
    async fn leave(&self, browser: &Browser, url: &str) -> Answer {
        let away = browser.open(url).await;
        let page = self.provider.follow(browser, away).await;
        page.expect("the provider's login page")
    }

    /// Opens a page, logs in at the provider, and stops before coming back.
    async fn until_back(&self, browser: &Browser, url: &str, name: &str) -> Url {
        let page = self.leave(browser, url).await;
        self.provider.log_in(browser, page, name).await
    }

    /// Opens a page and logs in at the provider.
    async fn log_in(&self, browser: &Browser, url: &str, name: &str) -> Answer {
        let back = self.until_back(browser, url, name).await;
        browser.open(back.as_str()).await
    }

    fn patient_login(&self) -> String {
        self.server.url("/patient-login")
    }

    fn staff_login(&self) -> String {
        self.server.url("/admin/login/start")
    }

    /// Whether a patient is logged in at this browser.
    async fn knows(&self, browser: &Browser) -> bool {
        let answer = browser.get(&self.patient_login()).await;
        answer.status == 200 && answer.text().contains("You are logged in")
    }
}

/// A URL with another value of a parameter.
fn with(url: &Url, name: &str, value: &str) -> String {
    let pairs = url.query_pairs().filter(|(key, _)| key != name);
    let mut changed = url.clone();
    changed
        .query_pairs_mut()
        .clear()
        .extend_pairs(pairs)
        .append_pair(name, value);
    changed.into()
}

/// A page that tells what to do.
#[track_caller]
fn expect_page(answer: Answer, status: u16, words: &str) -> Answer {
    let answer = answer.expect(status);
    assert!(answer.is_page(), "no page: {answer}");
    assert!(answer.text().contains(words), "{words:?} not in {answer}");
    answer
}

/// Where a page lets people try again.
#[track_caller]
fn try_again(page: &Answer) -> Url {
    let html = scraper::Html::parse_document(&page.text());
    let link = scraper::Selector::parse("a.button").unwrap();
    let link = html.select(&link).next().expect("a way to try again");
    page.url.join(link.value().attr("href").unwrap()).unwrap()
}

#[tokio::test]
async fn a_patient_logs_in_at_the_provider_and_lets_the_app_in() {
    let hospital = Hospital::open();
    let browser = Browser::new();
    let request = AuthorizeRequest::new(&hospital.server);
    let consent = hospital
        .log_in(&browser, &request.url(&hospital.server), "anna")
        .await
        .expect(200);
    let allow = Form::with_button(&consent, ALLOW).press(ALLOW);
    let back = back_to_app(&browser.submit(allow).await);
    assert_eq!(param(&back, "state").as_ref(), Some(&request.state));
    let code = param(&back, "code").unwrap();
    let tokens = trade(&hospital.server, &code, &request.verifier).await;
    assert_eq!(tokens.expect(200).json()["patient"], ANNA);
    assert!(!hospital.server.log().contains(SECRET));
}

#[tokio::test]
async fn staff_get_the_role_that_their_groups_give_and_nobody_else_gets_in() {
    let hospital = Hospital::open();
    for (name, role, audit) in [("rita", "a reviewer", 403), ("ada", "an admin", 200)] {
        let browser = Browser::new();
        let page = hospital
            .log_in(&browser, &hospital.staff_login(), name)
            .await;
        expect_page(page, 200, role);
        // Both review; only an admin reads who did what.
        for (path, status) in [("/admin/jobs", 200), ("/admin/audit", audit)] {
            let answer = browser.get(&hospital.server.url(path)).await;
            answer.expect(status);
        }
        let refused = "/admin/audit?action=read-audit&outcome=refused";
        let tried = browser.get(&hospital.server.url(refused)).await;
        if tried.status == 200 {
            let tried = tried.json();
            assert!(
                !tried.as_array().unwrap().is_empty(),
                "it is forgotten who tried"
            );
        }
    }
    for name in ["visitor", "nameless", "anna"] {
        let browser = Browser::new();
        let page = hospital
            .log_in(&browser, &hospital.staff_login(), name)
            .await;
        let page = expect_page(page, 403, "no role here");
        let again = try_again(&page);
        assert_eq!(again.query(), Some("login=fresh"));
        let jobs = hospital.server.url("/admin/jobs");
        browser.get(&jobs).await.expect(401);
        // Trying again, they can be somebody else.
        let page = hospital.log_in(&browser, again.as_str(), "rita").await;
        expect_page(page, 200, "a reviewer");
    }
}

#[tokio::test]
async fn staff_land_on_their_own_pages_afterwards() {
    let hospital = Hospital::with(&Wishes {
        staff_return_url: Some("https://review.example.org/start"),
    });
    let browser = Browser::new();
    let answer = hospital
        .log_in(&browser, &hospital.staff_login(), "rita")
        .await;
    let home = answer.location().expect("a redirect");
    assert_eq!(home.as_str(), "https://review.example.org/start");
    browser
        .get(&hospital.server.url("/admin/jobs"))
        .await
        .expect(200);
}

#[tokio::test]
async fn only_the_browser_that_left_comes_back() {
    let hospital = Hospital::open();
    let (mine, other) = (Browser::new(), Browser::new());
    let back = hospital
        .until_back(&mine, &hospital.patient_login(), "anna")
        .await;
    hospital.leave(&other, &hospital.patient_login()).await;
    let lost = "begun in another browser";
    // A browser that never left, and one that left on another way.
    let stranger = Browser::new();
    for browser in [&stranger, &other] {
        let answer = browser.open(back.as_str()).await;
        let page = expect_page(answer, 400, lost);
        assert_eq!(try_again(&page).path(), "/patient-login");
        assert!(!hospital.knows(browser).await);
    }
    // The right browser with a state that is another's, changed, or missing.
    let of_other = hospital
        .until_back(&other, &hospital.patient_login(), "anna")
        .await;
    let of_other = param(&of_other, "state").unwrap();
    let changed = param(&back, "state").unwrap() + "A";
    for state in [of_other.as_str(), &changed, "", "."] {
        let answer = mine.open(&with(&back, "state", state)).await;
        expect_page(answer, 400, lost);
        assert!(!hospital.knows(&mine).await);
    }
}

#[tokio::test]
async fn nobody_comes_back_twice() {
    let hospital = Hospital::open();
    let browser = Browser::new();
    let back = hospital
        .until_back(&browser, &hospital.patient_login(), "anna")
        .await;
    let cookie = browser.cookie("ehi_patient_login").unwrap();
    browser.open(back.as_str()).await.expect(200);
    assert!(hospital.knows(&browser).await);
    assert_eq!(browser.cookie("ehi_patient_login"), None);
    let again = browser.open(back.as_str()).await;
    expect_page(again, 400, "used already");
    // Somebody who stole cookie and address is no better off.
    let thief = Browser::new();
    thief.set_cookie("ehi_patient_login", &cookie);
    expect_page(thief.open(back.as_str()).await, 401, "try again");
    assert!(!hospital.knows(&thief).await);
}

#[tokio::test]
async fn a_code_of_somebody_else_or_by_somebody_else_is_refused() {
    let hospital = Hospital::open();
    let (victim, attacker) = (Browser::new(), Browser::new());
    let login = hospital.patient_login();
    let stolen = hospital.until_back(&victim, &login, "anna").await;
    let stolen = param(&stolen, "code").unwrap();
    let own = hospital.until_back(&attacker, &login, "nothing").await;
    let answer = attacker.open(&with(&own, "code", &stolen)).await;
    expect_page(answer, 401, "try again");
    assert!(!hospital.knows(&attacker).await);
    // Another provider that answers in the place of this one (RFC 9207).
    let browser = Browser::new();
    let back = hospital.until_back(&browser, &login, "anna").await;
    let answer = browser
        .open(&with(&back, "iss", "https://evil.example"))
        .await;
    expect_page(answer, 401, "try again");
    assert!(!hospital.knows(&browser).await);
}

#[tokio::test]
async fn who_has_no_record_here_is_told_so_and_can_be_somebody_else() {
    let hospital = Hospital::open();
    for name in ["unknown", "odd", "nothing", "rita"] {
        let browser = Browser::new();
        let request = AuthorizeRequest::new(&hospital.server);
        let start = request.url(&hospital.server);
        let page = hospital.log_in(&browser, &start, name).await;
        let page = expect_page(page, 403, "no health record here");
        assert!(!hospital.knows(&browser).await);
        let again = try_again(&page);
        let consent = hospital.log_in(&browser, again.as_str(), "anna").await;
        Form::with_button(&consent.expect(200), ALLOW);
    }
}

#[tokio::test]
async fn who_cancels_can_try_again_and_still_gets_where_they_were_going() {
    let hospital = Hospital::open();
    let browser = Browser::new();
    let request = AuthorizeRequest::new(&hospital.server);
    let page = hospital
        .leave(&browser, &request.url(&hospital.server))
        .await;
    let cancel = page.text();
    let cancel = cancel.split('"').find(|part| part.ends_with("/abort"));
    let cancel = page.url.join(cancel.unwrap()).unwrap();
    let answer = browser.get(cancel.as_str()).await;
    let back = hospital.provider.follow(&browser, answer).await;
    let back = back.expect_err("sent back");
    assert_eq!(param(&back, "error").as_deref(), Some("access_denied"));
    let page = browser.open(back.as_str()).await;
    let page = expect_page(page, 401, "try again");
    let consent = hospital
        .log_in(&browser, try_again(&page).as_str(), "anna")
        .await;
    Form::with_button(&consent.expect(200), ALLOW);
}

#[tokio::test]
async fn while_the_provider_is_down_people_are_told_and_can_try_again() {
    let url = format!("http://127.0.0.1:{}", free_port());
    let port = free_port();
    let issuer = format!("http://127.0.0.1:{port}");
    let server = serve(&url, &issuer, &Wishes::default());
    let browser = Browser::new();
    for path in ["/patient-login?job=x", "/admin/login/start"] {
        let answer = browser.open(&server.url(path)).await;
        let page = expect_page(answer, 503, "try again");
        assert_ne!(page.header("retry-after"), "");
        assert_eq!(try_again(&page).as_str(), server.url(path));
        assert!(!page.text().contains(&issuer), "{page}");
    }
    let provider = provider(port, &url);
    let hospital = Hospital { server, provider };
    let page = until("the way to the provider", async || {
        let away = browser.get(&hospital.patient_login()).await;
        (away.status == 302).then_some(away)
    })
    .await;
    let page = hospital.provider.follow(&browser, page).await.unwrap();
    let back = hospital.provider.log_in(&browser, page, "anna").await;
    browser.open(back.as_str()).await.expect(200);
    assert!(hospital.knows(&browser).await);
}

#[tokio::test]
async fn nobody_comes_back_to_a_server_that_sent_nobody_away() {
    let hospital = Hospital::open();
    let here = Site::new().start("");
    for url in [hospital.patient_login(), hospital.staff_login()] {
        let browser = Browser::new();
        // The cookie and the state belong together: only the login is not there.
        let back = hospital.until_back(&browser, &url, "anna").await;
        let query = back.query().unwrap();
        let back = here.url(&format!("{}?{query}", back.path()));
        let page = browser.open(&back).await.expect(404);
        assert!(page.is_page(), "{page}");
        Browser::new().open(&back).await.expect(404);
    }
    Staff::log_in(&here).await;
    let logins = until("the login of staff in the log", async || {
        let log = here.log();
        let logins = log
            .lines()
            .filter(|line| line.contains("-login\",\"outcome"));
        Some(logins.count()).filter(|&count| count > 0)
    });
    assert_eq!(logins.await, 1, "the login of staff alone");
}

#[tokio::test]
async fn no_destination_leads_to_another_site() {
    let hospital = Hospital::open();
    for query in [
        "job=//evil.example",
        "job=https://evil.example",
        "redirect=https://evil.example&redirect_uri=https://evil.example",
        "client_id=x&redirect_uri=https://evil.example",
        "job=00000000-0000-4000-8000-000000000000&redirect=https://evil.example",
        "client_id=%0d%0aLocation:https://evil.example",
        "//evil.example",
        "@evil.example",
    ] {
        let browser = Browser::new();
        let start = format!("{}?{query}", hospital.patient_login());
        let back = hospital.until_back(&browser, &start, "anna").await;
        let answer = browser.get(back.as_str()).await;
        let next = answer.location().unwrap_or_else(|| panic!("{answer}"));
        assert_eq!(
            next.origin().ascii_serialization(),
            hospital.server.origin(),
            "{query}"
        );
        assert!(!next.path().contains("evil"), "{next}");
        // Nor does any page on the way.
        let last = browser.open(next.as_str()).await;
        assert_eq!(last.url.origin(), next.origin(), "{query}");
        assert!(last.location().is_none(), "{query}: {last}");
    }
    let long = format!("{}?job={}", hospital.patient_login(), "x".repeat(5_000));
    expect_page(Browser::new().open(&long).await, 400, "too long");
}

#[tokio::test]
async fn a_cookie_that_was_planted_before_the_login_opens_nothing_after_it() {
    let hospital = Hospital::open();
    let planted = "planted-by-somebody-else-0123456789abcdefg";
    let browser = Browser::new();
    for name in ["ehi_patient", "sid"] {
        browser.set_cookie(name, planted);
    }
    hospital
        .log_in(&browser, &hospital.patient_login(), "anna")
        .await
        .expect(200);
    assert!(hospital.knows(&browser).await);
    let start = format!("{}?login=fresh", hospital.staff_login());
    let page = hospital.log_in(&browser, &start, "rita").await;
    expect_page(page, 200, "a reviewer");
    let attacker = Browser::new();
    for name in ["ehi_patient", "sid"] {
        assert_ne!(browser.cookie(name).unwrap(), planted);
        attacker.set_cookie(name, planted);
    }
    assert!(!hospital.knows(&attacker).await);
    let jobs = hospital.server.url("/admin/jobs");
    attacker.get(&jobs).await.expect(401);
    browser.get(&jobs).await.expect(200);
}

#[tokio::test]
async fn with_a_provider_nobody_gets_in_by_a_password_here() {
    let hospital = Hospital::open();
    let staff = Staff::stranger(&hospital.server);
    staff.try_log_in("rita", "any").await.expect(401);
    let browser = Browser::new();
    let request = browser.request(reqwest::Method::POST, &hospital.patient_login());
    let form = [("username", "anna"), ("password", "any"), ("_csrf", "x")];
    browser.send(request.form(&form)).await.expect(403);
}

#[tokio::test]
async fn the_login_survives_the_cookie_rules_of_a_real_browser() {
    let hospital = Hospital::open();
    let browser = RealBrowser::start(Scripts::Off).await;
    let request = AuthorizeRequest::new(&hospital.server);
    let start = request.url(&hospital.server);
    browser.client.goto(&start).await.unwrap();
    browser.fill("input[name=login]", "anna").await;
    browser.fill("input[name=password]", "any").await;
    browser.press("button").await;
    browser.press("form[action*='interaction'] button").await;
    browser.shows("h1", "Plain app").await;
    browser.press("form.logout button").await;
    browser.shows("h1", "You are logged out").await;
    browser.end().await;
}

#[tokio::test]
async fn a_second_app_needs_no_second_login() {
    let hospital = Hospital::open();
    let browser = Browser::new();
    hospital
        .log_in(&browser, &hospital.patient_login(), "anna")
        .await
        .expect(200);
    let request = AuthorizeRequest::new(&hospital.server);
    let consent = browser.open(&request.url(&hospital.server)).await;
    Form::with_button(&consent.expect(200), ALLOW);
}
