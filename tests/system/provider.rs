//! A real identity provider on loopback, and people who log in at it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use url::Url;

use crate::browser::{Answer, Browser};
use crate::forms::Form;

/// Where the provider's program is.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/system/oidc-provider");

/// A running provider. Ends with the test.
#[derive(Debug)]
pub struct Provider {
    child: Child,
    /// Its issuer.
    pub issuer: String,
}

impl Provider {
    /// A provider that knows these clients and accounts, on this port or on any that is free (0).
    pub fn start(port: u16, clients: &Value, accounts: &Value) -> Self {
        assert!(
            Path::new(FOLDER).join("node_modules").exists(),
            "the provider is not installed: npm ci --prefix tests/system/oidc-provider"
        );
        let setup = json!({"port": port, "clients": clients, "accounts": accounts});
        let mut child = Command::new("node")
            .arg("provider.mjs")
            .arg(setup.to_string())
            .current_dir(FOLDER)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("no node: apt-get install nodejs npm");
        let mut issuer = String::new();
        let output = child.stdout.take().unwrap();
        let mut output = BufReader::new(output);
        output.read_line(&mut issuer).unwrap();
        let issuer = issuer.trim().to_owned();
        assert!(issuer.starts_with("http://127.0.0.1:"), "{issuer}");
        // Whatever it prints later must not make it wait.
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        Self { child, issuer }
    }

    /// Logs in with this name on the provider's pages, and agrees to what they ask. Returns where
    /// the browser is sent back to.
    pub async fn log_in(&self, browser: &Browser, page: Answer, name: &str) -> Url {
        let mut page = page.expect(200);
        for _ in 0..5 {
            let form = Form::all(&page).remove(0);
            let form = if page.text().contains("name=\"login\"") {
                form.fill("login", name).fill("password", "any")
            } else {
                form
            };
            let answer = browser.post(&form.enter("")).await;
            page = match self.follow(browser, answer).await {
                Ok(page) => page.expect(200),
                Err(back) => return back,
            };
        }
        panic!("the provider asks without end: {page}")
    }

    /// Follows redirects within the provider: to a page of its, or to where it sends people back.
    pub async fn follow(&self, browser: &Browser, mut answer: Answer) -> Result<Answer, Url> {
        for _ in 0..10 {
            match answer.location() {
                None => return Ok(answer),
                Some(next) if next.as_str().starts_with(&self.issuer) => {
                    answer = browser.get(next.as_str()).await;
                }
                Some(back) => return Err(back),
            }
        }
        panic!("redirects without end, the last to {}", answer.url)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
