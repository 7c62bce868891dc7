//! A real server by a configuration file, for promises that the demo has other settings for.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;

use crate::app::PATIENT_PASSWORD;
use crate::patients::{ANNA, anna};
use crate::server::{Server, command, wait_for_exit};
use crate::staff::PASSWORD;

/// The folder of a server that is about to start.
#[derive(Debug)]
pub struct Site {
    folder: TempDir,
    address: SocketAddr,
    /// Where its records come from, as its configuration says.
    pub records: String,
}

impl Site {
    /// Anna's records, and everybody's passwords.
    pub fn new() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let folder = TempDir::new().unwrap();
        let site = Self {
            records: format!("bundles = '{}'", folder.path().join("records").display()),
            folder,
            address: free.local_addr().unwrap(),
        };
        fs::create_dir(site.folder.path().join("records")).unwrap();
        site.write("records/anna.json", &anna());
        let (staff, patient) = (hash(PASSWORD), hash(PATIENT_PASSWORD));
        site.write(
            "directory.toml",
            &format!(
                "[[client]]\nid = 'test_client_id'\nname = 'Plain app'\nloopback = 'any'\n\
                 [[staff]]\nusername = 'admin'\npassword_hash = '{staff}'\n\
                 [[patient]]\nusername = '{ANNA}'\npassword_hash = '{patient}'\npatient = '{ANNA}'\n"
            ),
        );
        site
    }

    /// The path of a file in its folder.
    pub fn at(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Writes a file into its folder.
    pub fn write(&self, name: &str, content: &str) {
        fs::write(self.folder.path().join(name), content).unwrap();
    }

    /// Writes more into one of its files.
    pub fn append(&self, name: &str, content: &str) {
        let old = fs::read_to_string(self.at(name)).unwrap();
        self.write(name, &format!("{old}{content}"));
    }

    /// Starts it over plain HTTP, with more in its configuration.
    pub fn start(self, more: &str) -> Server {
        self.start_as("http", more)
    }

    /// The same with variables of its environment.
    pub fn start_in(self, more: &str, variables: &[(&str, &str)]) -> Server {
        self.configure("http", more);
        Server::serve_in(self.folder, variables)
    }

    /// Starts it with a public URL of this scheme.
    pub fn start_as(self, scheme: &str, more: &str) -> Server {
        self.configure(scheme, more);
        Server::serve(self.folder)
    }

    /// Starts it with a configuration that is wrong. What it says.
    pub fn refuse_as(self, scheme: &str, more: &str) -> String {
        self.configure(scheme, more);
        let mut command = command();
        command.args(["serve", "--config", &self.at("ehi.toml")]);
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let mut said = String::new();
        let mut log = child.stderr.take().unwrap();
        log.read_to_string(&mut said).unwrap();
        let status = wait_for_exit(&mut child, Duration::from_secs(20));
        assert!(!status.expect("it runs").success(), "{said}");
        said
    }

    fn configure(&self, scheme: &str, more: &str) {
        let address = self.address;
        let [data, directory] = ["data", "directory.toml"].map(|name| self.at(name));
        let records = &self.records;
        self.write(
            "ehi.toml",
            &format!(
                "public_url = '{scheme}://{address}'\nlisten = '{address}'\ndata = '{data}'\n\
                 directory = '{directory}'\nrecords = [{{{records}}}]\ntest_kickoffs = true\n{more}\n"
            ),
        );
    }
}

/// What `ehi-server hash-password` makes of a password.
fn hash(password: &str) -> String {
    let mut child = command()
        .arg("hash-password")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "{password}").unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
