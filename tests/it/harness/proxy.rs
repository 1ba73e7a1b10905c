//! The program under test as a process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::guardian::Guardian;
use super::http::Http;
use super::resp::Conn;
use super::wait::{DEADLINE, eventually};

/// How a process ended.
#[derive(Debug)]
pub struct Exit {
    /// Its exit code; 128 + n where signal n ended it.
    pub code: i32,
    /// What it printed, stdout and stderr together.
    pub output: String,
}

/// Environment and flags for a process. Nothing is taken over from the tests' own environment.
#[derive(Clone)]
pub struct ProxyBuilder {
    dir: PathBuf,
    env: Vec<(String, String)>,
    flags: Vec<String>,
}

impl ProxyBuilder {
    /// A process whose current directory is `dir`, on ports of its own choice.
    pub fn new(dir: &Path) -> ProxyBuilder {
        let builder = ProxyBuilder {
            dir: dir.to_owned(),
            env: Vec::new(),
            flags: Vec::new(),
        };
        builder
            .env("RESP_ADDR", "127.0.0.1:0")
            .env("HTTP_ADDR", "127.0.0.1:0")
            .env("RUST_BACKTRACE", "1")
    }

    /// Sets a variable.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> ProxyBuilder {
        self = self.without_env(name);
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Takes a variable back.
    pub fn without_env(mut self, name: &str) -> ProxyBuilder {
        self.env.retain(|(known, _)| known != name);
        self
    }

    /// SHARD_n_URL for each URL.
    pub fn shard_urls(mut self, urls: &[impl AsRef<str>]) -> ProxyBuilder {
        for (number, url) in urls.iter().enumerate() {
            self = self.env(&format!("SHARD_{number}_URL"), url.as_ref());
        }
        self
    }

    /// Adds a command line argument.
    pub fn flag(mut self, flag: &str) -> ProxyBuilder {
        self.flags.push(flag.to_owned());
        self
    }

    /// Starts it, and waits until both ports are open.
    #[track_caller]
    pub fn start(self) -> Proxy {
        let mut proxy = self.launch();
        proxy.wait_ready();
        proxy
    }

    /// Starts it without waiting for anything.
    pub fn launch(self) -> Proxy {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let log = self.dir.join(format!(
            "respgres-{}.log",
            NEXT.fetch_add(1, Ordering::Relaxed)
        ));
        let mut command = Command::new(env!("CARGO_BIN_EXE_respgres"));
        command
            .args(&self.flags)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.dir);
        let guardian = Guardian::spawn(&command, &log, Signal::SIGKILL);
        Proxy {
            builder: self,
            guardian,
            log,
            resp_addr: String::new(),
            http_addr: String::new(),
        }
    }

    /// Runs it to its end, which must come by itself.
    #[track_caller]
    pub fn run(self) -> Exit {
        let mut proxy = self.launch();
        proxy.wait_exit()
    }

    /// Runs it to its end, which must be a failure.
    #[track_caller]
    pub fn run_refused(self) -> String {
        let exit = self.run();
        assert!(
            exit.code != 0 && exit.code < 128,
            "a refusal exits with a failure code: {exit:?}"
        );
        assert!(
            !exit.output.contains("panicked"),
            "a refusal is no panic: {}",
            exit.output
        );
        exit.output
    }
}

/// A running process. Dropping it kills it.
pub struct Proxy {
    builder: ProxyBuilder,
    guardian: Guardian,
    log: PathBuf,
    resp_addr: String,
    http_addr: String,
}

impl Proxy {
    /// Waits until both ports are open.
    #[track_caller]
    pub fn wait_ready(&mut self) {
        let (resp, http) = eventually("respgres listens on both ports, or ends", || {
            let log = self.log();
            if let Some(code) = self.guardian.exit_within(Duration::ZERO) {
                panic!("respgres ended with code {code}:\n{log}");
            }
            let is_off = |name: &str| {
                let off = (name.to_owned(), "off".to_owned());
                self.builder.env.contains(&off)
            };
            let address = |name, port| match is_off(name) {
                true => Some(String::new()),
                false => listening(&log, port),
            };
            Some((address("RESP_ADDR", "resp")?, address("HTTP_ADDR", "http")?))
        });
        self.resp_addr = resp;
        self.http_addr = http;
    }

    /// Where it speaks RESP.
    pub fn resp_addr(&self) -> &str {
        &self.resp_addr
    }

    /// Where it speaks RESP with TLS.
    #[track_caller]
    pub fn resp_tls_addr(&self) -> String {
        eventually("it listens", || listening(&self.log(), "resp (TLS)"))
    }

    /// Where it speaks HTTPS.
    #[track_caller]
    pub fn http_tls_addr(&self) -> String {
        eventually("it listens", || listening(&self.log(), "http (TLS)"))
    }

    /// A RESP connection.
    #[track_caller]
    pub fn conn(&self) -> Conn {
        Conn::open(&self.resp_addr)
    }

    /// An HTTP client.
    pub fn http(&self) -> Http {
        Http::new(&self.http_addr)
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.guardian.pid()
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Sends a signal.
    pub fn signal(&mut self, signal: Signal) {
        self.guardian.signal(signal);
    }

    /// Asks it to stop.
    pub fn terminate(&mut self) {
        self.signal(Signal::SIGTERM);
    }

    /// Ends it with SIGKILL.
    #[track_caller]
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.wait_exit();
    }

    /// Whether it is running.
    pub fn is_running(&mut self) -> bool {
        self.guardian.exit_within(Duration::ZERO).is_none()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait_exit(&mut self) -> Exit {
        let code = self.guardian.exit_within(DEADLINE);
        let output = self.log();
        let code =
            code.unwrap_or_else(|| panic!("respgres did not end within {DEADLINE:?}:\n{output}"));
        Exit { code, output }
    }

    /// Starts a process of the same settings in place of one that has ended, and waits until it is ready.
    #[track_caller]
    pub fn start_again(&mut self) {
        assert!(!self.is_running(), "it runs already");
        let settings = self.builder.clone();
        *self = settings.start();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- respgres, pid {}:\n{}", self.pid(), self.log());
        }
    }
}

/// The address that a log line gives after `PORT listening on`.
fn listening(log: &str, port: &str) -> Option<String> {
    let start = format!("{port} listening on ");
    let rest = &log[log.find(&start)? + start.len()..];
    let end = rest.find(|letter: char| !(letter.is_ascii_digit() || ".:[]".contains(letter)))?;
    Some(rest[..end].to_owned())
}
