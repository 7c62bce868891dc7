//! The pages in a real browser, as patients see them.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use fantoccini::key::Key;
use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use tempfile::TempDir;

use crate::app::{App, Job};
use crate::export::resources;
use crate::patients::{ANNA, Records, anna, read_bundle};
use crate::server::Server;
use crate::staff::Staff;
use crate::wait::until;

/// Whether pages may run scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scripts {
    /// They may not.
    Off,
    /// They may.
    On,
}

/// A real browser with nothing remembered.
pub struct RealBrowser {
    /// What drives it.
    pub client: Client,
    driver: Child,
    _profile: TempDir,
}

impl RealBrowser {
    /// Starts one.
    pub async fn start(scripts: Scripts) -> Self {
        let port = free_port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("no chromedriver: apt-get install chromium chromium-driver");
        let profile = TempDir::new().unwrap();
        let allowed = if scripts == Scripts::On { 1 } else { 2 };
        let options = json!({
            "args": [
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                "--disable-dev-shm-usage", "--window-size=1000,900",
                format!("--user-data-dir={}", profile.path().display()),
            ],
            "prefs": {"profile.managed_default_content_settings.javascript": allowed},
        });
        let mut capabilities = Capabilities::new();
        capabilities.insert("goog:chromeOptions".to_owned(), options);
        let url = format!("http://127.0.0.1:{port}");
        let client = until("a browser", async || {
            let mut builder = ClientBuilder::new(HttpConnector::new());
            builder.capabilities(capabilities.clone());
            builder.connect(&url).await.ok()
        })
        .await;
        Self {
            client,
            driver,
            _profile: profile,
        }
    }

    /// Clicks on what is there or is about to be.
    pub async fn press(&self, css: &str) {
        let place = Locator::Css(css);
        let element = self.client.wait().for_element(place).await;
        let element = element.unwrap_or_else(|error| panic!("no {css}: {error}"));
        element.click().await.unwrap();
    }

    /// Waits until the page shows this text here. A click returns before the next page is there.
    pub async fn shows(&self, css: &str, text: &str) {
        until(&format!("{text:?} in {css}"), async || {
            let element = self.client.find(Locator::Css(css)).await.ok()?;
            let shown = element.text().await.ok()?;
            shown.contains(text).then_some(())
        })
        .await;
    }

    async fn choose(&self, patient: &str) {
        self.press(&format!("option[value='{patient}']")).await;
        self.press("button").await;
    }

    /// What the page calls the element that has the focus.
    async fn focused(&self) -> String {
        let element = self.client.active_element().await.unwrap();
        let id = element.attr("id").await.unwrap();
        id.unwrap_or_default()
    }

    /// Types into a field that is there or is about to be.
    pub async fn fill(&self, css: &str, text: &str) {
        let place = Locator::Css(css);
        let field = self.client.wait().for_element(place).await;
        let field = field.unwrap_or_else(|error| panic!("no {css}: {error}"));
        field.send_keys(text).await.unwrap();
    }

    /// Closes it.
    pub async fn end(self) {
        // Dropping it ends the rest.
        let _ = self.client.clone().close().await;
    }
}

impl Drop for RealBrowser {
    fn drop(&mut self) {
        // Asked politely, the driver takes its browser along.
        let id = self.driver.id().to_string();
        let _ = Command::new("kill").arg(&id).status();
        let _ = self.driver.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn a_patient_needs_no_javascript_from_login_to_the_sent_form() {
    let server = Server::demo(&Records::small());
    let browser = RealBrowser::start(Scripts::Off).await;
    browser.client.goto(&server.url("/")).await.unwrap();
    browser.press("a.button").await;
    browser.shows("h1", "Log in").await;
    browser.choose(ANNA).await;
    browser.shows("h1", "Test app").await;
    browser.press("button[value=allow]").await;
    // Browsers refuse a redirect that the page's policy does not name.
    browser.shows("h1", "The app is let in").await;
    browser.shows("pre", "code=").await;

    let app = App::connect(&server, ANNA).await;
    let job: Job = app.kick_off("/auto-approve").await;
    let back = server.url("/demo-app");
    browser
        .client
        .goto(&format!("{}&redirect={back}", job.form()))
        .await
        .unwrap();
    browser.shows("main", "Anna").await;
    browser.press("#p-billing").await;
    for sensitive in browser
        .client
        .find_all(Locator::Css("fieldset:last-of-type input"))
        .await
        .unwrap()
    {
        match sensitive.attr("type").await.unwrap().as_deref() {
            Some("checkbox") => sensitive.click().await.unwrap(),
            _ => sensitive.send_keys("all of it").await.unwrap(),
        }
    }
    browser.press("form > p > button").await;
    browser.shows("h1", "Not authorized").await;
    let back = browser.client.current_url().await.unwrap();
    assert_eq!(back.path(), "/demo-app");
    browser.end().await;

    let manifest = app.wait_for_manifest(&job).await.json();
    let exported = resources(&app, &manifest).await;
    let mut source = read_bundle(&anna()).1;
    source.retain(|(kind, _), _| kind != "Claim");
    crate::export::assert_same(&exported, &source);
}

#[tokio::test]
async fn the_form_is_walked_through_by_keyboard_in_the_order_it_is_read() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let job: Job = app.kick_off("").await;
    let browser = RealBrowser::start(Scripts::On).await;
    browser.client.goto(job.form()).await.unwrap();
    browser.choose(ANNA).await;
    let place = Locator::Css("#p-visits");
    let first = browser.client.wait().for_element(place).await.unwrap();
    first.send_keys("").await.unwrap();
    let mut walked: Vec<String> = Vec::new();
    // A date field is one stop for each of its parts and the picker.
    for _ in 0..80 {
        let focused = browser.focused().await;
        if walked.last() != Some(&focused) {
            walked.push(focused.clone());
        }
        if focused == "a-other" {
            break;
        }
        let element = browser.client.active_element().await.unwrap();
        element
            .send_keys(&char::from(Key::Tab).to_string())
            .await
            .unwrap();
    }
    let mut read = Vec::new();
    for field in browser
        .client
        .find_all(Locator::Css("form input, form textarea"))
        .await
        .unwrap()
    {
        read.extend(field.attr("id").await.unwrap());
    }
    assert_eq!(walked, read);
    for id in &read {
        let label = browser
            .client
            .find(Locator::Css(&format!("label[for='{id}']")))
            .await;
        assert!(label.is_ok(), "{id} has no label");
    }
    browser.end().await;
}

#[tokio::test]
async fn a_name_that_looks_like_html_is_shown_as_text() {
    let records = Records::empty();
    let name = "<script>document.title='caught'</script><b>Bold</b> & \"Co\"";
    records.write(
        "odd.json",
        &crate::patients::bundle(&[crate::patients::patient("odd", name, "O'<i>")]),
    );
    let server = Server::demo(&records);
    let browser = RealBrowser::start(Scripts::On).await;
    browser.client.goto(&server.url("/")).await.unwrap();
    browser.press("a.button").await;
    browser.choose("odd").await;
    browser.shows("strong", name).await;
    assert!(!browser.client.title().await.unwrap().contains("caught"));
    browser.end().await;
}

#[tokio::test]
async fn what_went_wrong_is_told_on_a_page_that_says_what_to_do() {
    let server = Server::demo(&Records::small());
    let staff = Staff::log_in(&server).await;
    staff.get("/admin/jobs").await.expect(200);
    let browser = RealBrowser::start(Scripts::Off).await;
    let nowhere = server.url("/jobs/00000000-0000-4000-8000-000000000000/customize");
    browser.client.goto(&nowhere).await.unwrap();
    browser.choose(ANNA).await;
    browser.shows("[role=alert]", "Check the address").await;
    browser.end().await;
}
