//! The staff's side: the administration API, spoken as ehi-app's admin pages speak it.

use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::app::Job;
use crate::browser::{Answer, Browser};
use crate::server::Server;

/// The user every demo knows.
pub const USER: &str = "admin";
/// Its password.
pub const PASSWORD: &str = "admin-password";

/// A member of staff at a browser.
#[derive(Debug)]
pub struct Staff<'s> {
    server: &'s Server,
    /// The browser with the session.
    pub browser: Browser,
}

/// A file to attach: name, content type, bytes.
pub type File<'f> = (&'f str, &'f str, &'f [u8]);

impl<'s> Staff<'s> {
    /// Somebody who has not logged in.
    pub fn stranger(server: &'s Server) -> Self {
        Self {
            server,
            browser: Browser::new(),
        }
    }

    /// Somebody at a browser that was used before.
    pub fn at(server: &'s Server, browser: Browser) -> Self {
        Self { server, browser }
    }

    /// Logs in as the demo's first user.
    pub async fn log_in(server: &'s Server) -> Self {
        let staff = Self::stranger(server);
        staff.try_log_in(USER, PASSWORD).await.expect(200);
        staff
    }

    /// Tries to log in.
    pub async fn try_log_in(&self, user: &str, password: &str) -> Answer {
        let request = self.request(Method::POST, "/admin/login");
        self.browser
            .send(request.json(&json!({"username": user, "password": password})))
            .await
    }

    /// A request below `/admin` or elsewhere, to be sent by the browser.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.browser
            .request(method, &self.server.url(path))
            .header("Origin", self.server.origin())
    }

    /// Fetches something.
    pub async fn get(&self, path: &str) -> Answer {
        self.browser.send(self.request(Method::GET, path)).await
    }

    /// A POST without a body.
    pub async fn post(&self, path: &str) -> Answer {
        self.browser.send(self.request(Method::POST, path)).await
    }

    /// A POST of JSON.
    pub async fn post_json(&self, path: &str, body: &Value) -> Answer {
        self.browser
            .send(self.request(Method::POST, path).json(body))
            .await
    }

    /// A job as the API tells it.
    pub async fn job(&self, job: &Job) -> Value {
        self.get(&format!("/admin/jobs/{}", job.id))
            .await
            .expect(200)
            .json()
    }

    /// The ids of the listed jobs.
    pub async fn job_ids(&self, query: &str) -> Vec<String> {
        ids(&self.get(&format!("/admin/jobs{query}")).await.expect(200))
    }

    /// Releases what was exported.
    pub async fn approve(&self, job: &Job) -> Answer {
        self.post(&format!("/admin/jobs/{}/approve", job.id)).await
    }

    /// Refuses to release what was exported.
    pub async fn reject(&self, job: &Job, reason: &str) -> Answer {
        self.post_json(
            &format!("/admin/jobs/{}/reject", job.id),
            &json!({"reason": reason}),
        )
        .await
    }

    /// Attaches files.
    pub async fn add_files(&self, job: &Job, files: &[File<'_>]) -> Answer {
        self.add_files_as("attachments", job, files).await
    }

    /// Attaches files in a form field of any name.
    pub async fn add_files_as(&self, field: &'static str, job: &Job, files: &[File<'_>]) -> Answer {
        // Names go as they are: a browser does not encode a slash in a file name either.
        let mut form = Form::new().percent_encode_noop();
        for &(name, content_type, bytes) in files {
            let part = Part::bytes(bytes.to_vec()).file_name(name.to_owned());
            form = form.part(field, part.mime_str(content_type).unwrap());
        }
        let path = format!("/admin/jobs/{}/add-files", job.id);
        self.browser
            .send(self.request(Method::POST, &path).multipart(form))
            .await
    }

    /// Takes attachments away again.
    pub async fn remove_files(&self, job: &Job, titles: &[&str]) -> Answer {
        let path = format!("/admin/jobs/{}/remove-files", job.id);
        self.post_json(&path, &json!({"params": titles})).await
    }

    /// Removes a job.
    pub async fn delete(&self, job: &Job) -> Answer {
        self.browser
            .send(self.request(Method::DELETE, &format!("/admin/jobs/{}", job.id)))
            .await
    }
}

/// The ids in a list of jobs.
pub fn ids(list: &Answer) -> Vec<String> {
    let list = list.json();
    list.as_array()
        .unwrap()
        .iter()
        .map(|job| job["id"].as_str().unwrap().to_owned())
        .collect()
}

/// The titles of a job's attachments.
pub fn titles(job: &Value) -> Vec<String> {
    let attachments = job["attachments"].as_array().unwrap();
    attachments
        .iter()
        .map(|each| each["title"].as_str().unwrap().to_owned())
        .collect()
}
