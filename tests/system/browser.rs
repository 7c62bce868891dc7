//! A browser as far as a sign-in needs one: cookies, redirects by hand, answers to look at.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use jiff::fmt::rfc2822;
use reqwest::header::{ACCEPT, COOKIE, HeaderMap, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use url::Url;

use crate::forms::Submission;

/// An HTTP client without redirects, cookies or proxies: what it is told, it sends.
pub fn http() -> Client {
    Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .timeout(Duration::from_mins(1))
        .build()
        .unwrap()
}

/// Sends a request and reads the whole answer.
pub async fn send(request: RequestBuilder) -> Answer {
    try_send(request).await.unwrap()
}

/// Sends a request, and reads the whole answer if there is one.
pub async fn try_send(request: RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    let url = response.url().clone();
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let body = response.bytes().await?.to_vec();
    Ok(Answer {
        url,
        status,
        headers,
        body,
    })
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What was asked.
    pub url: Url,
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}) in {self}"))
    }

    /// A header's value, empty where it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Where the answer sends the browser.
    pub fn location(&self) -> Option<Url> {
        if !(300..400).contains(&self.status) {
            return None;
        }
        let location = self.headers.get(LOCATION)?.to_str().unwrap();
        Some(self.url.join(location).unwrap())
    }

    /// The status must be this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "of {self}");
        self
    }

    /// The request must have been refused as the client's fault.
    #[track_caller]
    pub fn expect_refusal(self) -> Self {
        assert!((400..500).contains(&self.status), "no refusal: {self}");
        self
    }

    /// An error in FHIR's shape, with this status.
    #[track_caller]
    pub fn expect_outcome(self, status: u16) -> Self {
        let answer = self.expect(status);
        answer.assert_outcome();
        answer
    }

    /// An error in OAuth's shape, with this status and code.
    #[track_caller]
    pub fn expect_oauth(self, status: u16, code: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.json()["error"], code, "of {answer}");
        assert!(
            answer.json()["error_description"].is_string(),
            "undescribed: {answer}"
        );
        assert!(
            answer
                .header("content-type")
                .starts_with("application/json"),
            "type of {answer}"
        );
        answer
    }

    /// The body must be an `OperationOutcome` that says something.
    #[track_caller]
    pub fn assert_outcome(&self) {
        let kind = self.header("content-type");
        assert!(
            kind.starts_with("application/fhir+json"),
            "content type {kind:?} of {self}"
        );
        let outcome = self.json();
        assert_eq!(outcome["resourceType"], "OperationOutcome", "of {self}");
        let issue = &outcome["issue"][0];
        for member in ["severity", "code"] {
            assert!(
                issue[member].is_string(),
                "an issue without {member}: {self}"
            );
        }
        assert!(
            issue["diagnostics"].is_string() || issue["details"]["text"].is_string(),
            "an issue that says nothing: {self}"
        );
    }

    /// Whether the body is a page.
    pub fn is_page(&self) -> bool {
        self.header("content-type").starts_with("text/html")
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body: String = self.text().chars().take(2000).collect();
        write!(
            f,
            "{} from {}: {:?}\n{body}",
            self.status, self.url, self.headers
        )
    }
}

/// Somebody's browser: it keeps cookies, and follows redirects only within the server.
#[derive(Debug)]
pub struct Browser {
    http: Client,
    cookies: Mutex<BTreeMap<String, String>>,
}

impl Browser {
    /// A fresh browser without cookies.
    pub fn new() -> Self {
        Self {
            http: http(),
            cookies: Mutex::default(),
        }
    }

    /// The same browser without its connections: the server they led to may be another one now.
    pub fn reconnected(self) -> Self {
        Self {
            http: http(),
            ..self
        }
    }

    /// A request to be completed and given to [`send`](Self::send).
    pub fn request(&self, method: Method, url: &str) -> RequestBuilder {
        self.http.request(method, url)
    }

    /// Sends a request with the cookies there are and keeps those that come back.
    ///
    /// The one server of a test has all cookies; its loopback address counts as secure, as it does
    /// for real browsers.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let cookies = self.cookie_header();
        let request = if cookies.is_empty() {
            request
        } else {
            request.header(COOKIE, cookies)
        };
        let answer = send(request).await;
        self.keep(&answer.headers);
        answer
    }

    /// Opens a page without following where it leads.
    pub async fn get(&self, url: &str) -> Answer {
        self.send(
            self.request(Method::GET, url)
                .header(ACCEPT, "text/html,*/*;q=0.8"),
        )
        .await
    }

    /// Opens a page and follows redirects as long as they stay on the same server.
    pub async fn open(&self, url: &str) -> Answer {
        let answer = self.get(url).await;
        self.follow(answer).await
    }

    /// Sends a form and follows redirects as long as they stay on the same server.
    pub async fn submit(&self, form: Submission) -> Answer {
        let answer = self.post(&form).await;
        self.follow(answer).await
    }

    /// Sends a form without following where it leads.
    pub async fn post(&self, form: &Submission) -> Answer {
        let request = match form.method {
            Method::GET => self
                .request(Method::GET, form.action.as_str())
                .query(&form.fields),
            _ => self
                .request(Method::POST, form.action.as_str())
                .header("Origin", form.action.origin().ascii_serialization())
                .form(&form.fields),
        };
        self.send(request.header(ACCEPT, "text/html,*/*;q=0.8"))
            .await
    }

    /// The value of a cookie.
    pub fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.lock().unwrap().get(name).cloned()
    }

    /// Puts a cookie into the browser, as somebody would who stole it.
    pub fn set_cookie(&self, name: &str, value: &str) {
        self.cookies
            .lock()
            .unwrap()
            .insert(name.to_owned(), value.to_owned());
    }

    /// The values of all cookies.
    pub fn cookie_values(&self) -> Vec<String> {
        self.cookies.lock().unwrap().values().cloned().collect()
    }

    async fn follow(&self, mut answer: Answer) -> Answer {
        for _ in 0..10 {
            match answer.location() {
                Some(next) if next.origin() == answer.url.origin() => {
                    answer = self.get(next.as_str()).await;
                }
                _ => return answer,
            }
        }
        panic!("redirects without end, the last to {}", answer.url);
    }

    fn cookie_header(&self) -> String {
        let cookies = self.cookies.lock().unwrap();
        let pairs: Vec<String> = cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        pairs.join("; ")
    }

    fn keep(&self, headers: &HeaderMap) {
        let mut cookies = self.cookies.lock().unwrap();
        for line in headers.get_all(SET_COOKIE) {
            let cookie = SetCookie::parse(line.to_str().unwrap());
            if cookie.removes(headers) {
                cookies.remove(&cookie.name);
            } else {
                cookies.insert(cookie.name, cookie.value);
            }
        }
    }
}

/// A `Set-Cookie` header, taken apart.
#[derive(Debug)]
pub struct SetCookie {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Its attributes, names in lower case; those without a value have an empty one.
    pub attributes: BTreeMap<String, String>,
}

impl SetCookie {
    /// Reads a header's value.
    pub fn parse(line: &str) -> Self {
        let mut parts = line.split(';').map(str::trim);
        let (name, value) = parts.next().unwrap().split_once('=').unwrap();
        let attributes = parts
            .map(|part| part.split_once('=').unwrap_or((part, "")))
            .map(|(key, value)| (key.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Self {
            name: name.to_owned(),
            value: value.to_owned(),
            attributes,
        }
    }

    /// All cookies an answer sets.
    pub fn all(answer: &Answer) -> Vec<Self> {
        let lines = answer.headers.get_all(SET_COOKIE).iter();
        lines
            .map(|line| Self::parse(line.to_str().unwrap()))
            .collect()
    }

    /// Whether the cookie is set to be forgotten: empty, or out of date by the server's own clock.
    fn removes(&self, headers: &HeaderMap) -> bool {
        if self
            .attributes
            .get("max-age")
            .is_some_and(|age| age.starts_with(['0', '-']))
        {
            return true;
        }
        let expires = self
            .attributes
            .get("expires")
            .map(|date| rfc2822::parse(date).unwrap());
        let now = headers
            .get("date")
            .map(|date| rfc2822::parse(date.to_str().unwrap()).unwrap());
        let past = expires
            .zip(now)
            .is_some_and(|(expires, now)| expires <= now);
        past || self.value.is_empty()
    }
}
