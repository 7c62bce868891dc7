//! The server as a process: started, watched and stopped as its operator would.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use url::Url;

use crate::app::PATIENT_PASSWORD;
use crate::patients::{ANNA, Records, anna};
use crate::served::hash;

/// How long a start may take: an unoptimised build makes its signing keys at the first one.
const START: Duration = Duration::from_mins(1);
/// How long a graceful shutdown may take.
const STOP: Duration = Duration::from_secs(20);
/// How much of the log a failed test shows.
const LAST_LINES: usize = 100;

/// How a process ends.
#[derive(Debug, Clone, Copy)]
pub enum End {
    /// As by Ctrl-C: in good order.
    Asked,
    /// As by a power cut: without a word.
    Killed,
}

/// A running `ehi-server demo`. Dropping it kills the process and, in a failing test, shows its log.
#[derive(Debug)]
pub struct Server {
    command: Command,
    child: Child,
    log: Log,
    base: Url,
    data: Data,
    /// Keeps the folder of records as long as the server.
    records: Option<Records>,
}

/// Where a server keeps its data.
#[derive(Debug)]
enum Data {
    /// In a folder that goes with it.
    Own(TempDir),
    /// In a folder that outlives it.
    Given(PathBuf),
}

impl Server {
    /// A demo on these records.
    pub fn demo(records: &Records) -> Self {
        Self::demo_with(records, &[])
    }

    /// A demo on these records with further command line arguments.
    pub fn demo_with(records: &Records, arguments: &[&str]) -> Self {
        let data = Data::Own(TempDir::new().unwrap());
        let mut server = Self::start(Some(records.folder()), data, arguments);
        server.records = Some(records.clone());
        server
    }

    /// A demo on these records whose log tells this much: `trace` for all there is.
    pub fn demo_that_logs(records: &Records, level: &str) -> Self {
        let data = Data::Own(TempDir::new().unwrap());
        let mut command = Self::demo_command(Some(records.folder()), &data);
        command.env("RUST_LOG", level);
        let mut server = Self::run(command, data);
        server.records = Some(records.clone());
        server
    }

    /// A demo on these records with further arguments and variables of its environment.
    pub fn demo_in(records: &Records, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let data = Data::Own(TempDir::new().unwrap());
        let mut command = Self::demo_command(Some(records.folder()), &data);
        command.args(arguments).envs(variables.iter().copied());
        let mut server = Self::run(command, data);
        server.records = Some(records.clone());
        server
    }

    /// A demo on these records, run by this command in front of its own; its data is in a folder
    /// that outlives it, where one is given.
    pub fn demo_by(
        mut front: Command,
        records: &Records,
        data: Option<&Path>,
        arguments: &[&str],
    ) -> Self {
        let data = match data {
            Some(folder) => Data::Given(folder.to_owned()),
            None => Data::Own(TempDir::new().unwrap()),
        };
        let demo = Self::demo_command(Some(records.folder()), &data);
        front
            .arg(demo.get_program())
            .args(demo.get_args())
            .args(arguments);
        let mut server = Self::run(bare(front), data);
        server.records = Some(records.clone());
        server
    }

    /// A demo on these records that is told no place for its data.
    pub fn demo_without_data(records: &Records, arguments: &[&str]) -> Self {
        let mut command = command();
        (command
            .args(["demo", "--port", "0", "--records"])
            .arg(records.folder()))
        .args(arguments);
        let mut server = Self::run(command, Data::Own(TempDir::new().unwrap()));
        server.records = Some(records.clone());
        server
    }

    /// A demo that makes its patients itself, into `records` below its data folder.
    pub fn demo_of_samples() -> Self {
        Self::start(None, Data::Own(TempDir::new().unwrap()), &[])
    }

    /// A demo on folders that outlive it.
    pub fn demo_on(records: &Path, data: &Path) -> Self {
        Self::start(Some(records), Data::Given(data.to_owned()), &[])
    }

    /// A real server, by the `ehi.toml` in this folder.
    pub fn serve(folder: TempDir) -> Self {
        Self::serve_in(folder, &[])
    }

    /// The same with variables of its environment.
    pub fn serve_in(folder: TempDir, variables: &[(&str, &str)]) -> Self {
        let mut command = command();
        command
            .envs(variables.iter().copied())
            .args(["serve", "--config"])
            .arg(folder.path().join("ehi.toml"));
        Self::run(command, Data::Own(folder))
    }

    /// One of several servers of one public URL, by a configuration in this folder, at this port.
    pub fn replica(folder: &Path, config: &str, port: u16) -> Self {
        let mut command = command();
        command.args(["serve", "--config"]).arg(folder.join(config));
        let mut server = Self::run(command, Data::Given(folder.to_owned()));
        server.base.set_port(Some(port)).unwrap();
        server
    }

    /// A real server of Anna's record, by an `ehi.toml` with these lines on top.
    pub fn serve_with(lines: &str) -> Self {
        Self::serve_with_in(lines, &[])
    }

    /// The same with variables of its environment.
    pub fn serve_with_in(lines: &str, variables: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        std::fs::create_dir(folder.path().join("records")).unwrap();
        write("records/anna.json", &anna());
        let (staff, patient) = (hash("admin-password"), hash(PATIENT_PASSWORD));
        write(
            "directory.toml",
            &format!(
                "[[client]]\nid = 'test_client_id'\nname = 'Plain app'\nloopback = 'any'\n\
                 [[staff]]\nusername = 'admin'\npassword_hash = '{staff}'\nrole = 'admin'\n\
                 [[patient]]\nusername = '{ANNA}'\npassword_hash = '{patient}'\npatient = '{ANNA}'\n"
            ),
        );
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        write(
            "ehi.toml",
            &format!(
                "{lines}\npublic_url = 'http://{address}'\nlisten = '{address}'\ndata = '{}'\n\
                 directory = '{}'\nrecords = [{{ bundles = '{}' }}]\n",
                at("data"),
                at("directory.toml"),
                at("records"),
            ),
        );
        Self::serve_in(folder, variables)
    }

    /// An integrator's own server: what an ignored test of this program runs, in a process of its
    /// own as the others.
    pub fn of_test(name: &str) -> Self {
        let data = TempDir::new().unwrap();
        let mut command = bare(Command::new(std::env::current_exe().unwrap()));
        command
            .args(["--exact", name, "--ignored", "--nocapture"])
            .env("TMPDIR", data.path());
        Self::run(command, Data::Own(data))
    }

    fn start(records: Option<&Path>, data: Data, arguments: &[&str]) -> Self {
        let mut command = Self::demo_command(records, &data);
        command.args(arguments);
        Self::run(command, data)
    }

    fn demo_command(records: Option<&Path>, data: &Data) -> Command {
        let mut command = command();
        command
            .args(["demo", "--port", "0", "--data"])
            .arg(data.path());
        if let Some(records) = records {
            command.arg("--records").arg(records);
        }
        command
    }

    fn run(mut command: Command, data: Data) -> Self {
        let mut child = command.spawn().unwrap();
        let log = Log::of(&mut child);
        let base = wait_for_address(&mut child, &log);
        Self {
            command,
            child,
            log,
            base,
            data,
            records: None,
        }
    }

    /// Ends it and starts it again, on the same data at the same address.
    pub fn restart(&mut self, end: End) {
        match end {
            End::Asked => {
                self.signal("INT");
                let status = wait_for_exit(&mut self.child, STOP).expect("it does not stop");
                assert!(status.success(), "it ends with {status}");
            }
            End::Killed => {
                self.child.kill().unwrap();
                self.child.wait().unwrap();
            }
        }
        // A demo was told to take any port.
        let port = self.port().to_string();
        let mut command = command();
        let mut before = "".as_ref();
        for argument in self.command.get_args() {
            let any = before == "--port" && argument == "0";
            command.arg(if any { port.as_ref() } else { argument });
            before = argument;
        }
        for (name, value) in self.command.get_envs() {
            command.env(name, value.unwrap());
        }
        self.child = command.spawn().unwrap();
        self.log = Log::of(&mut self.child);
        self.base = wait_for_address(&mut self.child, &self.log);
        self.command = command;
    }

    /// The server's address without a path: `http://127.0.0.1:49152`.
    pub fn origin(&self) -> String {
        self.base.origin().ascii_serialization()
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.base.port().unwrap()
    }

    /// The URL of a path such as `/fhir/metadata`.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin())
    }

    /// The folder it keeps its data in.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// Everything it has printed so far.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Sends it a signal such as `HUP`.
    pub fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// A path as the process sees it, which may have file systems of its own.
    pub fn seen(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.child.id()));
        root.join(path.strip_prefix("/").unwrap())
    }

    /// The memory it has now, in KiB.
    pub fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.unwrap().trim().trim_end_matches(" kB");
        number.parse().unwrap()
    }

    /// Sends what Ctrl-C sends and returns how the process ended.
    pub fn shutdown(mut self) -> ExitStatus {
        self.signal("INT");
        wait_for_exit(&mut self.child, STOP).expect("it does not stop in time")
    }
}

impl Data {
    fn path(&self) -> &Path {
        match self {
            Self::Own(folder) => folder.path(),
            Self::Given(folder) => folder,
        }
    }
}

impl Drop for Server {
    #[expect(
        clippy::print_stderr,
        reason = "a failed test has to show what the server said"
    )]
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = self.log.text();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
            eprintln!(
                "--- the server said, last of all:\n{}\n---",
                last.join("\n")
            );
        }
    }
}

/// The binary, with nothing of this process's environment that could configure it.
pub fn command() -> Command {
    bare(Command::new(env!("CARGO_BIN_EXE_ehi-server")))
}

/// A command with nothing of this process's environment that could configure it.
fn bare(mut command: Command) -> Command {
    command
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for kept in [
        "PATH",
        "HOME",
        "TMPDIR",
        "RUST_BACKTRACE",
        "LLVM_PROFILE_FILE",
    ] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    command.env("RUST_LOG", "debug");
    command
}

/// Sends a process a signal such as `HUP`.
pub fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    let mut kill = Command::new("kill");
    let sent = kill.args([&format!("-{name}"), &id]).status();
    assert!(sent.unwrap().success(), "no signal could be sent");
}

/// Waits for a process to end by itself. One that does not is killed and gives `None`.
pub fn wait_for_exit(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// Both output streams of a process, line by line as they came.
#[derive(Debug, Clone)]
pub struct Log(Arc<Mutex<String>>);

impl Log {
    /// Starts to collect what the process prints.
    pub fn of(child: &mut Child) -> Self {
        let log = Self(Arc::default());
        log.collect(child.stdout.take().unwrap());
        log.collect(child.stderr.take().unwrap());
        log
    }

    /// What there is so far.
    pub fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }

    fn collect(&self, stream: impl Read + Send + 'static) {
        let text = Arc::clone(&self.0);
        thread::spawn(move || {
            let mut lines = BufReader::new(stream);
            let mut line = Vec::new();
            while lines
                .read_until(b'\n', &mut line)
                .is_ok_and(|length| length > 0)
            {
                text.lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
    }
}

/// The address in the first line that has one.
fn wait_for_address(child: &mut Child, log: &Log) -> Url {
    let deadline = Instant::now() + START;
    while Instant::now() < deadline {
        let text = log.text();
        if let Some(address) = text.split_inclusive('\n').find_map(address_in) {
            return address;
        }
        if let Some(status) = child.try_wait().unwrap() {
            panic!(
                "the server ended with {status} instead of starting:\n{}",
                log.text()
            );
        }
        thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
    panic!("the server does not tell its address:\n{}", log.text());
}

/// The address a whole line tells: `… http://127.0.0.1:49152 …`.
fn address_in(line: &str) -> Option<Url> {
    ["http://127.0.0.1:", "https://127.0.0.1:"]
        .into_iter()
        .find_map(|start| {
            let (_, rest) = line.strip_suffix('\n')?.split_once(start)?;
            let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
            Url::parse(&format!("{start}{port}"))
                .ok()
                .filter(|url| url.port().is_some_and(|port| port != 0))
        })
}
