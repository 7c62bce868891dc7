//! A real PostgreSQL for tests.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::{env, fs, process, thread};

use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};

/// Where a PostgreSQL that runs already may be named.
const URL: &str = "EHI_TEST_DATABASE_URL";
const INSTALL: &str = "Install it with 'apt-get install postgresql', name the folder of its programs in PG_BIN, or a server in EHI_TEST_DATABASE_URL (postgres://user:password@host/database, a user who may create databases)";

/// An empty database of a test's own, gone when it is dropped.
///
/// It is made in the server that `EHI_TEST_DATABASE_URL` names, or in one that is started for the
/// tests of this process: its programs are looked for in `PG_BIN`, in `PATH` and where
/// `pg_config --bindir` says.
#[derive(Debug)]
pub struct TestDatabase {
    server: Server,
    name: String,
}

#[derive(Debug)]
enum Server {
    /// Somebody else's.
    Given(String),
    /// Ours, shared by the tests that run at the same time.
    Started(Arc<Cluster>),
}

impl Server {
    fn url(&self, database: Option<&str>) -> String {
        match (self, database) {
            (Self::Given(url), None) => url.clone(),
            (Self::Given(url), Some(database)) => {
                let (front, query) = url.split_once('?').map_or((url.as_str(), ""), |both| both);
                let host = front.find("://").map_or(0, |at| at + 3);
                let end = front[host..].find('/').map_or(front.len(), |at| host + at);
                let mark = if query.is_empty() { "" } else { "?" };
                format!("{}/{database}{mark}{query}", &front[..end])
            }
            (Self::Started(cluster), database) => format!(
                "postgres://postgres@localhost/{}?host={}",
                database.unwrap_or("postgres"),
                cluster.folder.display()
            ),
        }
    }
}

impl TestDatabase {
    /// Makes a database.
    ///
    /// # Panics
    /// When there is no PostgreSQL; says how to get one.
    pub async fn create() -> Self {
        let server = match env::var(URL) {
            Ok(url) => Server::Given(url),
            Err(_) => Server::Started(Cluster::shared()),
        };
        Self::create_in(server).await
    }

    /// Makes a database in a server that nobody else uses, so that it can be
    /// [restarted](Self::restart_server).
    ///
    /// # Panics
    /// When there is no PostgreSQL; says how to get one.
    pub async fn alone() -> Self {
        Self::create_in(Server::Started(Arc::new(Cluster::start()))).await
    }

    async fn create_in(server: Server) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ehi_test_{}_{count}", process::id());
        let create = format!(
            "DROP DATABASE IF EXISTS {name}; CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0"
        );
        for sql in create.split(';') {
            if let Err(error) = run(&server.url(None), sql).await {
                panic!("no database could be made: {error}. {INSTALL}");
            }
        }
        Self { server, name }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        self.server.url(Some(&self.name))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs statements in it.
    ///
    /// # Panics
    /// When one fails.
    pub async fn run(&self, sql: &str) {
        if let Err(error) = run(&self.url(), sql).await {
            panic!("{sql}: {error}");
        }
    }

    /// Ends the server without letting it finish anything, and starts it again.
    ///
    /// # Panics
    /// When it is not this database's own.
    pub fn restart_server(&self) {
        let Server::Started(cluster) = &self.server else {
            panic!("somebody else's server is not restarted");
        };
        cluster.order("restart");
    }

    /// Writes the whole database into a file, as `pg_dump` does.
    ///
    /// # Panics
    /// When that fails.
    pub fn dump(&self, file: &Path) {
        let file = file.as_os_str();
        let words = ["--format=custom".as_ref(), "--file".as_ref(), file];
        call("pg_dump", &words, &self.url());
    }

    /// Fills the empty database from such a file, as `pg_restore` does.
    ///
    /// # Panics
    /// When that fails.
    pub fn restore(&self, file: &Path) {
        let words = ["--exit-on-error".as_ref(), file.as_os_str()];
        call("pg_restore", &words, &self.url());
    }

    /// Runs statements in the server's own database, as whoever administers it would.
    ///
    /// # Panics
    /// When one fails.
    pub async fn administer(&self, sql: &str) {
        if let Err(error) = run(&self.server.url(None), sql).await {
            panic!("{sql}: {error}");
        }
    }
}

async fn run(url: &str, sql: &str) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(&mut connection)
        .await?;
    connection.close().await
}

/// Runs one of PostgreSQL's programs on a database.
fn call(program: &str, words: &[&OsStr], url: &str) {
    let beside_the_server = programs().map(|folder| folder.join(program));
    let path = beside_the_server.filter(|path| path.is_file());
    let mut command = Command::new(path.unwrap_or_else(|| program.into()));
    match command.args(words).arg("--dbname").arg(url).status() {
        Ok(status) => assert!(status.success(), "{program}: {status}"),
        Err(error) => panic!("{program} could not be started: {error}. {INSTALL}"),
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        // One's own server goes with everything in it.
        let Server::Given(url) = &self.server else {
            return;
        };
        let (url, drop_it) = (
            url.clone(),
            format!("DROP DATABASE {} WITH (FORCE)", self.name),
        );
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.map(|runtime| runtime.block_on(run(&url, &drop_it)))
        });
        // A leftover is replaced by the next test of that name.
        drop(thread.join());
    }
}

/// A server in a temporary folder, stopped and removed when it is dropped or this process ends.
#[derive(Debug)]
struct Cluster {
    folder: PathBuf,
    keeper: Child,
    /// What it is told, and what it says.
    console: Mutex<Option<(ChildStdin, BufReader<ChildStdout>)>>,
}

impl Cluster {
    fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cluster) = shared.upgrade() {
            return cluster;
        }
        let cluster = Arc::new(Self::start());
        *shared = Arc::downgrade(&cluster);
        cluster
    }

    fn start() -> Self {
        let Some(programs) = programs() else {
            panic!("PostgreSQL is not there. {INSTALL}");
        };
        // The server refuses to run as root.
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--", "sh"]);
            command
        } else {
            Command::new("sh")
        };
        let script = include_str!("cluster.sh");
        let keeper = (command.args(["-c", script, "cluster.sh"]).arg(programs))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut keeper = match keeper {
            Ok(keeper) => keeper,
            Err(error) => panic!("PostgreSQL could not be started: {error}. {INSTALL}"),
        };
        let mut line = String::new();
        let output = keeper.stdout.take().map(BufReader::new);
        let mut console = keeper.stdin.take().zip(output);
        if let Some((_, output)) = &mut console {
            drop(output.read_line(&mut line));
        }
        assert!(
            !line.trim().is_empty(),
            "PostgreSQL did not start: see above. {INSTALL}"
        );
        Self {
            folder: line.trim().into(),
            keeper,
            console: Mutex::new(console),
        }
    }

    /// Tells the keeper to do something, and waits until it is done.
    fn order(&self, what: &str) {
        let mut console = self.console.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = String::new();
        if let Some((orders, answers)) = console.as_mut()
            && writeln!(orders, "{what}").is_ok()
        {
            drop(answers.read_line(&mut done));
        }
        assert!(!done.is_empty(), "PostgreSQL did not {what}: see above");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut console = self.console.lock().unwrap_or_else(PoisonError::into_inner);
        drop(console.take());
        drop(self.keeper.wait());
    }
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    (status.lines().find_map(|line| line.strip_prefix("Uid:")))
        .is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0"))
}

/// The folder of PostgreSQL's programs.
fn programs() -> Option<PathBuf> {
    let given = env::var_os("PG_BIN").map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let told = Command::new("pg_config").arg("--bindir").output().ok();
    let told = told.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    // Debian keeps them out of the way, and pg_config in a package for developers.
    let mut debian: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|version| Some(version.ok()?.path().join("bin")))
        .collect();
    debian.sort();
    (given.into_iter())
        .chain(env::split_paths(&path))
        .chain(told)
        .chain(debian.into_iter().rev())
        .find(|folder| has_server(folder))
}

fn has_server(folder: &Path) -> bool {
    ["initdb", "pg_ctl"]
        .iter()
        .all(|program| folder.join(program).is_file())
}
