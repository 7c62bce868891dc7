//! `ehi-server demo`: everything on this machine, with made-up patients.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::RawQuery;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::Args;
use ehi_adapters::directory::Directory;
use ehi_adapters::http::{Edge, TestKickoffs, router_with};
use ehi_adapters::picker::PatientPicker;
use ehi_adapters::records::BundleFolder;
use ehi_adapters::sample::SampleOptions;
use ehi_core::export::{Downloads, Lifetimes, OpenLimits, Rules, WorkerSettings};
use ehi_core::ports::RecordSource;
use tempfile::TempDir;
use url::Url;

use crate::Failure;
use crate::app::{Parts, Stores, Times, wire};
use crate::config::origin;
use crate::database::{DatabaseUrl, Storage};
use crate::edge::RequestLimits;
use crate::files::{FilesPlace, FilesUrl};
use crate::keys::KeyPlace;
use crate::log::say;
use crate::{deployment, sample, start};

/// How to run the demo.
#[derive(Debug, Args)]
pub struct DemoArguments {
    /// The port on 127.0.0.1; 0 takes any that is free
    #[arg(long, default_value_t = 8888)]
    port: u16,
    /// A folder of FHIR Bundles or NDJSON files to use instead of made-up patients
    #[arg(long)]
    records: Option<PathBuf>,
    /// The folder to keep made-up patients, files and keys in; a temporary one unless it is given
    #[arg(long)]
    data: Option<PathBuf>,
    /// Keep jobs, tokens and sessions here (`sqlite:FILE` or `postgres://…`) instead of in memory:
    /// with --data and --port a demo goes on where it ended
    // Not by the environment: that may name a real one.
    #[arg(long)]
    database: Option<DatabaseUrl>,
    /// Keep files here, a folder or `s3://bucket/folder?…`, instead of with the data
    // Not by the environment either.
    #[arg(long, value_name = "DIR|s3://…")]
    files: Option<FilesUrl>,
    /// How many exports run at a time
    #[arg(long, default_value_t = WORKERS)]
    workers: usize,
    /// Another origin whose pages may use cookies, such as `http://127.0.0.1:4000`
    #[arg(long)]
    allow_origin: Vec<Url>,
    /// A file with [[client]] entries as in the directory file: your own apps and systems
    #[arg(long)]
    client: Vec<PathBuf>,
}

/// How many exports run at a time unless told.
const WORKERS: usize = 2;

/// Runs the demo.
pub async fn run(arguments: DemoArguments) -> Result<(), Failure> {
    // Kept until the end: dropping it deletes the folder.
    let temporary;
    let (data, lasting) = if let Some(data) = arguments.data {
        (data, Lasting::BeyondTheDemo)
    } else {
        temporary = temporary_folder()?;
        let lasting = match arguments.files {
            Some(_) => Lasting::BeyondTheDemo,
            None => Lasting::AsLongAsTheDemo,
        };
        (temporary.path().to_owned(), lasting)
    };
    let (records, whose) = match arguments.records {
        Some(records) => (records, "patients"),
        None => (made_up_records(&data)?, "made-up patients"),
    };
    let source = BundleFolder::open(&records)
        .await
        .map_err(|error| Failure::because("the records cannot be read", error))?;
    let patients = source.patient_count();
    let about = format!("{patients} {whose} in {}", records.display());
    let origins: Vec<Url> = (arguments.allow_origin.into_iter())
        .chain(ehi_app_origins())
        .collect();
    let directory = directory(&arguments.client)?;
    let place = Place {
        port: arguments.port,
        data: &data,
        storage: arguments
            .database
            .map_or(Storage::Memory, |url| Storage::Database(url.into())),
        files: FilesPlace::read(arguments.files.as_ref(), &data)?,
        lasting,
        workers: arguments.workers,
        origins: &origins,
    };
    run_on(Arc::new(source), &about, directory, place).await
}

/// Runs the demo with the patients of your own source, on this port of 127.0.0.1. Its files and
/// keys go when it ends.
pub async fn serve(source: Arc<dyn RecordSource>, port: u16) -> Result<(), Failure> {
    let data = temporary_folder()?;
    let place = Place {
        port,
        data: data.path(),
        storage: Storage::Memory,
        files: FilesPlace::below(data.path()),
        lasting: Lasting::AsLongAsTheDemo,
        workers: WORKERS,
        origins: &ehi_app_origins(),
    };
    run_on(source, "your own patients", directory(&[])?, place).await
}

/// Who the demo knows, and those in these files.
fn directory(files: &[PathBuf]) -> Result<Directory, Failure> {
    let mut text = include_str!("demo.toml").to_owned();
    for file in files {
        let told = |error: Box<dyn std::error::Error + Send + Sync>| {
            Failure::because(format!("{} cannot be used", file.display()), error)
        };
        let more = std::fs::read_to_string(file).map_err(|error| told(error.into()))?;
        text = format!("{text}\n{more}");
        // One after the other, so that a mistake is told with its file.
        Directory::parse(&text).map_err(|error| told(error.into()))?;
    }
    Directory::parse(&text)
        .map_err(|error| Failure::because("the demo's directory is broken", error))
}

/// Where the demo runs.
struct Place<'a> {
    port: u16,
    data: &'a Path,
    storage: Storage,
    files: FilesPlace,
    lasting: Lasting,
    workers: usize,
    origins: &'a [Url],
}

/// How long the files of a demo last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lasting {
    AsLongAsTheDemo,
    BeyondTheDemo,
}

async fn run_on(
    source: Arc<dyn RecordSource>,
    about: &str,
    directory: Directory,
    place: Place<'_>,
) -> Result<(), Failure> {
    let Place {
        port,
        data,
        storage,
        files,
        lasting,
        workers,
        origins,
    } = place;
    let directory = Arc::new(directory);
    let listener = start::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    let address = listener
        .local_addr()
        .map_err(|error| Failure::because("the address cannot be told", error))?;
    let base = Url::parse(&format!("http://{address}"))
        .map_err(|error| Failure::because("the address is no URL", error))?;
    let stores = Stores::open(&storage, data).await?;
    if lasting == Lasting::AsLongAsTheDemo {
        // A database may know exports of earlier demos, whose files went with them.
        deployment::begin_anew(&stores, &files).await?;
    }
    let parts = Parts {
        stores,
        files,
        downloads: Downloads::ByToken,
        keys: KeyPlace::Folder,
        base: base.clone(),
        patient_login: Arc::new(PatientPicker::new(source.clone())),
        staff_login: directory.clone(),
        staff_home: None,
        source,
        clients: directory,
        lifetimes: times(),
        test_kickoffs: TestKickoffs::On,
        allowed_origins: origins.iter().map(origin).collect::<Result<_, _>>()?,
        rules: Rules::standard(),
        workers,
        requests: RequestLimits::generous(),
        // Whoever tries an app here asks for the same patient again and again.
        open: OpenLimits::NONE,
        drain: Duration::from_secs(10),
        working: WorkerSettings::default(),
    };
    let wired = wire(parts, data).await?;
    let walk = Walk::new(&base);
    let router = router_with(wired.app.clone(), walk.routes());
    say(&walk.greeting(about));
    start::run(listener, router, wired, Edge::default()).await
}

fn temporary_folder() -> Result<TempDir, Failure> {
    tempfile::tempdir().map_err(|error| Failure::because("no temporary folder can be made", error))
}

/// Where the EHI app of the IG's authors runs on a developer's machine.
fn ehi_app_origins() -> Vec<Url> {
    [
        "127.0.0.1:3000",
        "localhost:3000",
        "127.0.0.1:5005",
        "localhost:5005",
    ]
    .iter()
    .filter_map(|host| Url::parse(&format!("http://{host}")).ok())
    .collect()
}

/// A dozen made-up patients, made once for each data folder.
fn made_up_records(data: &Path) -> Result<PathBuf, Failure> {
    let folder = data.join("records");
    if !folder.exists() {
        let options = SampleOptions {
            patients: 12,
            seed: 1,
            today: sample::today(),
        };
        sample::write(options, &folder)?;
    }
    Ok(folder)
}

/// Long enough to look around, short enough to see things expire.
fn times() -> Times {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    Times {
        jobs: Lifetimes {
            unfinished: minutes(60),
            unreviewed: minutes(60),
            finished: minutes(60),
            tombstone: minutes(60),
        },
        sweep: minutes(1),
        patient_session: minutes(60),
        staff_session: minutes(10),
        session_absolute: minutes(60 * 12),
        access_token: minutes(60),
        refresh_token: minutes(60 * 24 * 365),
    }
}

/// The walk through the demo: a start page, and a page that stands in for an app.
#[derive(Debug, Clone)]
struct Walk {
    base: String,
    authorize: String,
}

/// The demo's own app always proves itself by the same verifier. A real app makes a new one each
/// time.
const VERIFIER: &str = "a-real-app-makes-a-new-random-verifier-each-time";

impl Walk {
    fn new(base: &Url) -> Self {
        let base = base.as_str().trim_end_matches('/').to_owned();
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs([
            ("response_type", "code"),
            ("client_id", "test_client_id"),
            ("redirect_uri", &format!("{base}/demo-app")),
            ("scope", "patient/$ehi-export offline_access"),
            ("state", "demo"),
            ("aud", &format!("{base}/fhir")),
            ("code_challenge_method", "S256"),
            ("code_challenge", CHALLENGE),
        ]);
        let authorize = format!("/auth/authorize?{}", query.finish());
        Self { base, authorize }
    }

    fn routes(&self) -> Router {
        let (start, app) = (self.clone(), self.clone());
        Router::new()
            .route("/", get(move || async move { start.start_page() }))
            .route(
                "/demo-app",
                get(move |RawQuery(query): RawQuery| async move {
                    app.app_page(query.unwrap_or_default().as_str())
                }),
            )
    }

    fn greeting(&self, about: &str) -> String {
        let base = &self.base;
        format!(
            "ehi-server demo: {about}\n\
             \n\
             Take a record out in the browser: open\n  {base}/\n\
             and follow the first link. Everybody may be any patient: never use it for real records.\n\
             \n\
             Staff: admin / admin-password and admin2 / admin2-password\n\
             Apps:  client_id test_client_id, any redirect URI on this machine\n       \
             client_id confidential_client_id with the secret confidential-client-secret, likewise\n\
             \n\
             Three commands to copy:\n  \
             curl {base}/fhir/.well-known/smart-configuration\n  \
             curl -c staff.txt -d username=admin -d password=admin-password {base}/admin/login\n  \
             curl -b staff.txt {base}/admin/jobs\n\
             \n\
             Ctrl-C ends it."
        )
    }

    fn start_page(&self) -> Response {
        let authorize = escape(&self.authorize);
        page(
            "ehi-server demo",
            &format!(
                "<h1>Take a health record out</h1>\
                 <p><a class=\"button\" href=\"{authorize}\">Begin as a patient</a></p>\
                 <p>You choose a patient, let the demo app in, and are then shown the commands by which an app goes on.</p>\
                 <p>What an export holds: <a href=\"/documentation\">documentation</a>. \
                 What this server says of itself: <a href=\"/fhir/metadata\">FHIR</a>, \
                 <a href=\"/fhir/.well-known/smart-configuration\">SMART</a>.</p>"
            ),
        )
    }

    /// What an app would do with the code it gets, as commands to copy.
    fn app_page(&self, query: &str) -> Response {
        let get = |name: &str| {
            let mut pairs = url::form_urlencoded::parse(query.as_bytes());
            pairs
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned())
        };
        let base = &self.base;
        let Some(code) = get("code").filter(|code| is_code(code)) else {
            let told = get("error_description").unwrap_or_else(|| "No code came along.".to_owned());
            return page(
                "Not authorized",
                &format!(
                    "<h1>Not authorized</h1><p>{}</p><p><a href=\"/\">Start again</a></p>",
                    escape(&told)
                ),
            );
        };
        let commands = format!(
            "curl -s -o token.json {base}/auth/token -d grant_type=authorization_code \\\n  \
             -d client_id=test_client_id -d redirect_uri={base}/demo-app \\\n  \
             -d code_verifier={VERIFIER} -d code={code}\n\
             TOKEN=$(sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/' token.json)\n\
             PATIENT=$(sed 's/.*\"patient\":\"\\([^\"]*\\)\".*/\\1/' token.json)\n\
             curl -si -X POST -H \"Authorization: Bearer $TOKEN\" \"{base}/fhir/Patient/$PATIENT/\\$ehi-export\""
        );
        page(
            "The app is let in",
            &format!(
                "<h1>The app is let in</h1>\
                 <p>This page stands in for an app. Paste these commands into a terminal within two minutes: \
                 the first trades the code for a token, the last asks for the export.</p>\
                 <pre>{}</pre>\
                 <p>Its answer has a <code>Link</code>, the form to open in this browser, and a \
                 <code>Content-Location</code>, where to ask for the status. The README goes on from there.</p>",
                escape(&commands)
            ),
        )
    }
}

/// The SHA-256 of [`VERIFIER`] in base64url.
const CHALLENGE: &str = "x_ywIQkkiQj9BFoUDDHc2k8JAa41hm1XFqNWNoGtoIo";

/// Codes are base64url; anything else has no place in a command to copy.
fn is_code(code: &str) -> bool {
    code.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn page(title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title><link rel=\"icon\" href=\"/assets/icon.svg\"><link rel=\"stylesheet\" href=\"/assets/ehi.css\"></head>\
         <body><header><p>Health record export</p></header><main>{body}</main></body></html>"
    );
    let policy = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'";
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, policy),
    ];
    (headers, html).into_response()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ehi_core::auth::PkceChallenge;

    #[test]
    fn the_demo_app_can_answer_its_own_challenge() {
        assert!(
            PkceChallenge::parse(CHALLENGE)
                .unwrap()
                .is_answered_by(VERIFIER)
        );
    }

    #[tokio::test]
    async fn the_secret_that_is_printed_is_the_one_that_works() {
        use ehi_core::auth::ClientId;
        use ehi_core::ports::ClientRegistry;
        let directory = directory(&[]).unwrap();
        let id = ClientId::parse("confidential_client_id").unwrap();
        let secret = "confidential-client-secret".to_owned().into();
        assert!(directory.verify_secret(&id, &secret).await.unwrap());
    }

    #[tokio::test]
    async fn the_passwords_that_are_printed_are_those_that_work() {
        use ehi_core::auth::StaffRole;
        use ehi_core::ports::{Credentials, StaffAnswer, StaffLogin};
        let directory = Directory::parse(include_str!("demo.toml")).unwrap();
        for username in ["admin", "admin2"] {
            let password = format!("{username}-password").into();
            let credentials = Credentials {
                username: username.into(),
                password,
            };
            let answer = StaffAnswer::Password(credentials);
            let member = StaffLogin::verify(&directory, answer).await.unwrap();
            assert_eq!(member.name.as_str(), username);
            assert_eq!(member.role, StaffRole::Admin);
        }
    }
}
