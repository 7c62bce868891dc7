//! A patient's app and the browser it sends the patient to.

use std::sync::atomic::{AtomicU32, Ordering};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use sha2::{Digest, Sha256};
use url::Url;

use crate::browser::{Answer, Browser, http, send};
use crate::forms::Form;
use crate::server::Server;
use crate::wait::until;

/// The client every demo knows.
pub const CLIENT: &str = "test_client_id";
/// Where the app waits for the code. Nobody listens there: the browser stops before.
pub const CALLBACK: &str = "http://127.0.0.1:3000/back?visit=7";
/// What the app asks for.
pub const SCOPE: &str = "launch/patient patient/$ehi-export offline_access";
/// Words on the button that consents.
pub const ALLOW: &[&str] = &["allow", "approve", "authorize", "accept", "yes"];
/// Words on the button that declines.
pub const DENY: &[&str] = &["deny", "decline", "refuse", "reject", "no"];

/// The query of an authorization request, and the secret behind it.
#[derive(Debug, Clone)]
pub struct AuthorizeRequest {
    /// The parameters.
    pub query: Vec<(String, String)>,
    /// The PKCE verifier.
    pub verifier: String,
    /// What must come back.
    pub state: String,
}

impl AuthorizeRequest {
    /// A flawless request, different from every other one.
    pub fn new(server: &Server) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let verifier = format!("a-verifier-of-the-length-it-has-to-have-{number:04}");
        let state = format!("state & more {number}");
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
        let query = [
            ("response_type", "code"),
            ("client_id", CLIENT),
            ("redirect_uri", CALLBACK),
            ("scope", SCOPE),
            ("aud", &server.url("/fhir")),
            ("state", &state),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let query = query
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec();
        Self {
            query,
            verifier,
            state,
        }
    }

    /// The same with a parameter changed, or added.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.query.retain(|(each, _)| each != name);
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same without a parameter.
    pub fn without(mut self, name: &str) -> Self {
        self.query.retain(|(each, _)| each != name);
        self
    }

    /// The URL the browser is sent to.
    pub fn url(&self, server: &Server) -> String {
        Url::parse_with_params(&server.url("/auth/authorize"), &self.query)
            .unwrap()
            .into()
    }
}

/// Goes through log-in and consent as this patient, to the callback.
pub async fn authorize(
    browser: &Browser,
    server: &Server,
    request: &AuthorizeRequest,
    patient: &str,
) -> Url {
    let page = log_in(browser, &request.url(server), patient).await;
    let consent = Form::with_button(&page, ALLOW).press(ALLOW);
    back_to_app(&browser.submit(consent).await)
}

/// Opens a page that asks for a log-in first, and logs in as this patient.
pub async fn log_in(browser: &Browser, url: &str, patient: &str) -> Answer {
    let page = browser.open(url).await.expect(200);
    let form = if page.text().contains("type=\"password\"") {
        Form::asking(&page, "password")
            .fill("username", patient)
            .fill("password", PATIENT_PASSWORD)
            .enter("")
    } else {
        Form::offering(&page, patient)
            .choose(patient)
            .enter(patient)
    };
    browser.submit(form).await.expect(200)
}

/// The password of every patient, where one is asked for. Their user names are their ids.
pub const PATIENT_PASSWORD: &str = "a patient's password";

/// The callback's URL an answer leads to.
#[track_caller]
pub fn back_to_app(answer: &Answer) -> Url {
    let location = answer
        .location()
        .unwrap_or_else(|| panic!("no redirect: {answer}"));
    assert_eq!(location.path(), "/back", "not the callback: {location}");
    assert_eq!(
        param(&location, "visit").as_deref(),
        Some("7"),
        "lost its query: {location}"
    );
    location
}

/// A parameter of a URL.
pub fn param(url: &Url, name: &str) -> Option<String> {
    url.query_pairs()
        .find(|(each, _)| each == name)
        .map(|(_, value)| value.into_owned())
}

/// Asks the token endpoint.
pub async fn token(server: &Server, fields: &[(&str, &str)]) -> Answer {
    send(http().post(server.url("/auth/token")).form(fields)).await
}

/// Trades a code for tokens.
pub async fn trade(server: &Server, code: &str, verifier: &str) -> Answer {
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("client_id", CLIENT),
        ("code_verifier", verifier),
    ];
    token(server, &fields).await
}

/// Refreshes as ehi-app does: without telling who it is.
pub async fn refresh(server: &Server, refresh_token: &str) -> Answer {
    token(
        server,
        &[
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token),
        ],
    )
    .await
}

/// An app that a patient has let in.
#[derive(Debug)]
pub struct App<'s> {
    /// The server it talks to.
    pub server: &'s Server,
    /// The patient's browser.
    pub browser: Browser,
    /// Whose app it is.
    pub patient: String,
    /// The access token.
    pub token: String,
    /// The whole answer of the token endpoint.
    pub tokens: Value,
    /// What must never be found in a log.
    pub secrets: Vec<String>,
    http: Client,
}

impl<'s> App<'s> {
    /// Goes the whole way from discovery to the token.
    pub async fn connect(server: &'s Server, patient: &str) -> Self {
        let browser = Browser::new();
        let request = AuthorizeRequest::new(server);
        let back = authorize(&browser, server, &request, patient).await;
        assert_eq!(
            param(&back, "state").as_ref(),
            Some(&request.state),
            "state of {back}"
        );
        let code = param(&back, "code").unwrap_or_else(|| panic!("no code in {back}"));
        let tokens = trade(server, &code, &request.verifier)
            .await
            .expect(200)
            .json();
        assert_eq!(tokens["patient"], patient);
        let refresh = tokens["refresh_token"].as_str().unwrap().to_owned();
        let mut app = Self::with_tokens(server, patient, tokens);
        app.browser = browser;
        app.secrets = vec![code, request.verifier, app.token.clone(), refresh];
        app
    }

    /// An app that got this answer of the token endpoint in some other way.
    pub fn with_tokens(server: &'s Server, patient: &str, tokens: Value) -> Self {
        Self {
            server,
            browser: Browser::new(),
            patient: patient.to_owned(),
            token: tokens["access_token"].as_str().unwrap().to_owned(),
            tokens,
            secrets: Vec::new(),
            http: http(),
        }
    }

    /// A request with the token.
    pub fn request(&self, method: Method, url: &str) -> RequestBuilder {
        self.http
            .request(method, url)
            .bearer_auth(&self.token)
            .header(ACCEPT, "application/fhir+json, */*;q=0.5")
    }

    /// Fetches something with the token.
    pub async fn get(&self, url: &str) -> Answer {
        send(self.request(Method::GET, url)).await
    }

    /// The kick-off's URL below a prefix such as `/no-form`, or below none.
    pub fn kick_off_url(&self, prefix: &str) -> String {
        self.server.url(&format!(
            "{prefix}/fhir/Patient/{}/$ehi-export",
            self.patient
        ))
    }

    /// Sends the kick-off and returns whatever comes.
    pub async fn try_kick_off(&self, prefix: &str) -> Answer {
        let request = self.request(Method::POST, &self.kick_off_url(prefix));
        send(request.header("Prefer", "respond-async")).await
    }

    /// Starts an export.
    pub async fn kick_off(&self, prefix: &str) -> Job {
        Job::read(&self.try_kick_off(prefix).await.expect(202))
    }

    /// Asks how far the export is.
    pub async fn status(&self, job: &Job) -> Answer {
        self.get(&job.status_url).await
    }

    /// Waits until the export is in this state. One that has ended otherwise fails the test.
    pub async fn wait_for(&self, job: &Job, state: &str) -> Answer {
        until(state, async || {
            let answer = self.status(job).await.expect(202);
            (progress_state(&answer) == state).then_some(answer)
        })
        .await
    }

    /// Waits for the manifest.
    pub async fn wait_for_manifest(&self, job: &Job) -> Answer {
        until("the manifest", async || {
            let answer = self.status(job).await;
            (answer.status != 202).then(|| answer.expect(200))
        })
        .await
    }

    /// Sends the form as JSON, with the token.
    pub async fn customise(&self, job: &Job, choices: &Value) -> Answer {
        send(
            self.request(Method::POST, &job.url(self.server))
                .json(choices),
        )
        .await
    }

    /// Sends any body instead of the form, with the token.
    pub async fn customise_with(&self, job: &Job, content_type: &str, body: &str) -> Answer {
        let request = self.request(Method::POST, &job.url(self.server));
        send(
            request
                .header(CONTENT_TYPE, content_type)
                .body(body.to_owned()),
        )
        .await
    }

    /// Fills in the form in the browser, everything wanted, and sends it.
    pub async fn fill_in_the_form(&self, job: &Job) -> Answer {
        let page = self.browser.open(job.form()).await.expect(200);
        let form = job_form(&page).say_yes_to_everything();
        self.browser.submit(form.enter("")).await
    }

    /// Cancels the export, or removes it.
    pub async fn delete(&self, job: &Job) -> Answer {
        send(self.request(Method::DELETE, &job.status_url)).await
    }
}

/// The form of a job among the forms of its page.
#[track_caller]
pub fn job_form(page: &Answer) -> Form {
    Form::asking(page, "visits")
}

/// An export, by what the kick-off told about it.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// Where to ask how far it is.
    pub status_url: String,
    /// Where the patient chooses, if the patient may.
    pub form_url: Option<String>,
}

impl Job {
    /// Reads the kick-off's answer.
    #[track_caller]
    pub fn read(answer: &Answer) -> Self {
        let status_url = answer.header("content-location").to_owned();
        let path = Url::parse(&status_url).unwrap().path().to_owned();
        let id = path
            .strip_prefix("/jobs/")
            .and_then(|path| path.strip_suffix("/status"));
        let id = id.unwrap_or_else(|| panic!("no job in {path}")).to_owned();
        // By RFC 8288 for most clients, bare for those that cannot read that.
        let form_url = match answer.header("link").strip_prefix('<') {
            Some(link) => link.split_once('>').map(|(url, _)| url.to_owned()),
            None => patient_interaction(answer),
        };
        Self {
            id,
            status_url,
            form_url,
        }
    }

    /// The one of this id.
    pub fn of(server: &Server, id: &str) -> Self {
        Self {
            id: id.to_owned(),
            status_url: server.url(&format!("/jobs/{id}/status")),
            form_url: None,
        }
    }

    /// Where the choices are sent.
    pub fn url(&self, server: &Server) -> String {
        server.url(&format!("/jobs/{}", self.id))
    }

    /// The same place of another job.
    #[track_caller]
    pub fn moved_to(&self, other: &Self, url: &str) -> String {
        let (from, to) = (format!("/jobs/{}", self.id), format!("/jobs/{}", other.id));
        assert!(url.contains(&from), "not of this job: {url}");
        url.replace(&from, &to)
    }

    /// Where the patient chooses.
    #[track_caller]
    pub fn form(&self) -> &str {
        self.form_url.as_deref().expect("a form")
    }
}

/// The form's URL in a `Link` header, read as ehi-app reads it.
pub fn patient_interaction(answer: &Answer) -> Option<String> {
    let link = answer.headers.get("link")?.to_str().unwrap();
    let (url, relation) = link.split_once(';').unwrap();
    assert_eq!(relation.trim(), "rel=\"patient-interaction\"", "of {link}");
    Some(
        Url::parse(url.trim())
            .expect("a URL without brackets")
            .into(),
    )
}

/// The state a status answer tells in `X-Progress`.
#[track_caller]
pub fn progress_state(answer: &Answer) -> String {
    let progress = answer.header("x-progress");
    let word = |character: char| character.is_ascii_lowercase() || character == '-';
    let state: String = progress
        .chars()
        .take_while(|&character| word(character))
        .collect();
    let known = ["awaiting-input", "requested", "retrieved", "approved"];
    assert!(
        known.contains(&state.as_str()),
        "no state first in {progress:?} of {answer}"
    );
    assert!(progress.len() <= 100, "too long: {progress:?}");
    state
}
