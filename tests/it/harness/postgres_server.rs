//! PostgreSQL 15, started for the tests in a temporary directory.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::certificates::{Authority, Issued};
use super::guardian::Guardian;
use super::ports::free_port;
use super::process_tree;
use super::scratch::Scratch;
use super::shards::pg;
use super::wait::eventually;

/// The superuser that initdb makes; connections are trusted.
const USER: &str = "respgres";

/// A server of its own process and data directory. Dropping it stops it.
pub struct PostgresServer {
    dir: Scratch,
    port: u16,
    settings: &'static [&'static str],
    secured: Option<Secured>,
    running: Option<Guardian>,
}

/// What a server with TLS has in its data directory.
#[derive(Clone)]
struct Secured {
    certificate: String,
    key: String,
    client_ca: String,
    /// Lines of pg_hba.conf after that for the superuser of the tests.
    rules: String,
}

/// No durability, many connections: for the tests that share one server and never kill it.
const SHARED: &[&str] = &[
    "fsync=off",
    "max_connections=500",
    "shared_buffers=64MB",
    "max_wal_size=256MB",
    "max_prepared_transactions=200",
];

/// Durability as PostgreSQL has it by default.
const SEPARATE: &[&str] = &["max_connections=60", "shared_buffers=16MB"];

/// The same, for transactions over several shards.
const PREPARING: &[&str] = &[
    "max_connections=60",
    "shared_buffers=16MB",
    "max_prepared_transactions=20",
];

/// As `SEPARATE`, with TLS.
const SECURED: &[&str] = &[
    "max_connections=60",
    "shared_buffers=16MB",
    "ssl=on",
    "ssl_ca_file=root.crt",
];

impl PostgresServer {
    /// A server with TLS, that trusts `client_ca` for the certificates of clients. `rules` are lines of pg_hba.conf for
    /// everybody but the superuser of the tests, who is trusted.
    pub fn secured(issued: &Issued, client_ca: &Authority, rules: &str) -> PostgresServer {
        let secured = Secured {
            certificate: issued.certificate.clone(),
            key: issued.key.clone(),
            client_ca: client_ca.pem(),
            rules: rules.to_owned(),
        };
        PostgresServer::start_with(SECURED, Some(secured))
    }

    /// The one server that most tests share, each with databases of its own.
    pub fn shared() -> &'static PostgresServer {
        static SERVER: OnceLock<PostgresServer> = OnceLock::new();
        SERVER.get_or_init(|| PostgresServer::start(SHARED))
    }

    /// A server that the test may kill.
    pub fn separate() -> PostgresServer {
        PostgresServer::start(SEPARATE)
    }

    /// A server that the test may kill, and that can prepare transactions, as by default none can.
    pub fn preparing() -> PostgresServer {
        PostgresServer::start(PREPARING)
    }

    fn start(settings: &'static [&'static str]) -> PostgresServer {
        PostgresServer::start_with(settings, None)
    }

    fn start_with(settings: &'static [&'static str], secured: Option<Secured>) -> PostgresServer {
        let dir = Scratch::new("postgres");
        let status = Command::new("cp")
            .arg("-a")
            .arg(initialised_data())
            .arg(dir.join("data"))
            .status();
        assert!(
            status.expect("cp can be started").success(),
            "the data directory can be copied"
        );
        let mut server = PostgresServer {
            dir,
            port: 0,
            settings,
            secured,
            running: None,
        };
        server.put_secrets();
        for _attempt in 0..10 {
            server.port = free_port();
            if server.launch() {
                return server;
            }
        }
        panic!("PostgreSQL did not start:\n{}", server.log());
    }

    /// Writes what a server with TLS needs into its data directory, as files that only it can read.
    fn put_secrets(&self) {
        let Some(secured) = &self.secured else { return };
        let rules = format!("host all {USER} 127.0.0.1/32 trust\n{}\n", secured.rules);
        let data = self.dir.join("data");
        for (name, text) in [
            ("server.crt", &secured.certificate),
            ("server.key", &secured.key),
            ("root.crt", &secured.client_ca),
            ("pg_hba.conf", &rules),
        ] {
            let path = data.join(name);
            std::fs::write(&path, text).expect("a file can be written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
                .expect("its mode can be set");
            if is_root() {
                let status = Command::new("chown").arg("postgres").arg(&path).status();
                assert!(status.expect("chown can be started").success());
            }
        }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts the process on the port it has; false if it ended, which a taken port makes it do.
    fn launch(&mut self) -> bool {
        let data = self.dir.join("data");
        let mut command = as_postgres(&program("postgres"));
        command
            .arg("-D")
            .arg(&data)
            .arg("-p")
            .arg(self.port.to_string());
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "autovacuum=off",
        ] {
            command.arg("-c").arg(setting);
        }
        for setting in self.settings {
            command.arg("-c").arg(setting);
        }
        command.current_dir("/");
        // SIGQUIT: stop at once, and leave the data as a crash would.
        let mut guardian = Guardian::spawn(&command, &self.dir.join("log"), Signal::SIGQUIT);
        let url = self.url("postgres");
        let ready = eventually("PostgreSQL answers or ends", || {
            if guardian.exit_within(Duration::ZERO).is_some() {
                return Some(false);
            }
            let mut client = pg(&url).ok()?;
            let row = client.query_one("show data_directory", &[]).ok()?;
            Some(Path::new(row.get::<_, &str>(0)) == data)
        });
        if ready {
            self.running = Some(guardian);
        }
        ready
    }

    /// The URL of one of its databases.
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database with a name of its own, and returns its URL.
    pub fn create_database(&self) -> String {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut client = pg(&self.url("postgres")).expect("the server accepts connections");
        client
            .batch_execute(&format!("create database {name} template template0"))
            .expect("a database can be made");
        self.url(&name)
    }

    /// Removes a database made by `create_database`, whoever is still connected to it.
    pub fn drop_database(&self, url: &str) {
        let name = url.rsplit('/').next().unwrap_or_default();
        let mut client = pg(&self.url("postgres")).expect("the server accepts connections");
        client
            .batch_execute(&format!("drop database if exists {name} with (force)"))
            .expect("it can be dropped");
    }

    /// The server's process id.
    pub fn pid(&self) -> i32 {
        self.running.as_ref().expect("it runs").pid()
    }

    /// Ends the server as a crash does: nothing is written any more.
    pub fn crash(&mut self) {
        self.running = None;
    }

    /// Ends all of its processes with SIGKILL, at once.
    pub fn kill(&mut self) {
        let pid = self.pid();
        process_tree::stop(pid);
        process_tree::signal(pid, Signal::SIGKILL);
        self.running = None;
    }

    /// Ends one of its sessions' processes with SIGKILL: the server then throws all others out and recovers by itself.
    /// Returns when it has begun to.
    pub fn kill_a_session(&self) {
        let session = || pg(&self.url("postgres")).expect("the server accepts connections");
        let (mut victim, mut witness) = (session(), session());
        let row = victim
            .query_one("select pg_backend_pid()", &[])
            .expect("a row");
        process_tree::signal_one(row.get(0), Signal::SIGKILL);
        eventually("the other sessions end", || {
            witness.simple_query("").is_err().then_some(())
        });
    }

    /// Stops all of its processes in their tracks: connections stay, and nothing is answered.
    pub fn pause(&self) {
        process_tree::stop(self.pid());
    }

    /// Lets a paused server go on.
    pub fn resume(&self) {
        process_tree::signal(self.pid(), Signal::SIGCONT);
    }

    /// Starts it again on its data and its port.
    pub fn start_again(&mut self) {
        assert!(self.running.is_none(), "it runs already");
        // Backends of the crashed server may keep its shared memory for a moment; then it is tried again.
        eventually("PostgreSQL starts again", || self.launch().then_some(()));
    }

    /// The end of what it logged.
    pub fn log(&self) -> String {
        let log = std::fs::read(self.dir.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- PostgreSQL on port {}:\n{}", self.port, self.log());
        }
        if self.running.is_some() {
            // A paused session would not notice that the server ends.
            self.resume();
        }
        self.running = None;
    }
}

/// A data directory made by initdb once, from which every server's is copied.
fn initialised_data() -> &'static Path {
    static MADE: OnceLock<Scratch> = OnceLock::new();
    let dir = MADE.get_or_init(|| {
        let dir = Scratch::new("initdb");
        if is_root() {
            let status = Command::new("chown")
                .arg("postgres")
                .arg(dir.path())
                .status();
            assert!(
                status.expect("chown can be started").success(),
                "root can give a directory away"
            );
        }
        let mut command = as_postgres(&program("initdb"));
        command.arg("-D").arg(dir.join("data")).args([
            "-U",
            USER,
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
        ]);
        // Small WAL files: a copy for each server should cost little.
        command
            .args(["--no-sync", "--no-instructions", "--wal-segsize=1"])
            .current_dir("/");
        let output = command.output().expect("initdb can be started");
        assert!(
            output.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        dir
    });
    static DATA: OnceLock<PathBuf> = OnceLock::new();
    DATA.get_or_init(|| dir.join("data"))
}

/// PostgreSQL refuses to run as root; then it runs as the user that its package makes.
fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args([
            "--reuid=postgres",
            "--regid=postgres",
            "--init-groups",
            "--",
        ])
        .arg(program);
    command
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

/// A program of the server's package, which is usually not on the PATH.
fn program(name: &str) -> PathBuf {
    let debian = Path::new("/usr/lib/postgresql/15/bin").join(name);
    if debian.exists() {
        return debian;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|program| program.exists());
    found.unwrap_or_else(|| {
        panic!(
            "PostgreSQL 15's {name} is neither in {} nor on the PATH",
            debian.display()
        )
    })
}
