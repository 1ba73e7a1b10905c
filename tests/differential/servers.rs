//! A real redis-server and respgres side by side, over each of the backends. They are started once, and shared by all
//! tests of the binary.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::case::SHARDS;
use crate::generate::table::UNSERVED;
use crate::generate::words::VALUE_MAX;
use crate::harness::{Deployment, Guardian, Scratch, Setup, eventually, free_port};
use crate::wire::{Client, Frame};

/// What respgres runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// One SQLite shard, and the cache in its own memory.
    EmbeddedOneShard,
    /// The same with three shards.
    Embedded,
    /// Three PostgreSQL databases, and Redis as the cache.
    Postgres,
    /// No respgres: a second redis-server in its place. Whatever differs then is the tests' mistake.
    RedisItself,
}

impl Backend {
    /// The servers over this backend, when nobody else uses them.
    pub fn servers(self) -> MutexGuard<'static, Servers> {
        static ONE: OnceLock<Mutex<Servers>> = OnceLock::new();
        static EMBEDDED: OnceLock<Mutex<Servers>> = OnceLock::new();
        static POSTGRES: OnceLock<Mutex<Servers>> = OnceLock::new();
        static REDIS: OnceLock<Mutex<Servers>> = OnceLock::new();
        let servers = match self {
            Backend::EmbeddedOneShard => &ONE,
            Backend::Embedded => &EMBEDDED,
            Backend::Postgres => &POSTGRES,
            Backend::RedisItself => &REDIS,
        };
        let servers = servers.get_or_init(|| Mutex::new(Servers::start(self)));
        // A test that failed leaves them as good as any other: each case begins with an empty database.
        servers
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn start(self) -> Tested {
        let setup = match self {
            Backend::EmbeddedOneShard => Setup::embedded().shards(1),
            Backend::Embedded => Setup::embedded().shards(SHARDS),
            Backend::Postgres => Setup::postgres().shards(SHARDS),
            Backend::RedisItself => return Tested::Redis(Reference::start()),
        };
        let setup = setup.env("MAX_VALUE_SIZE", &VALUE_MAX.to_string());
        Tested::Respgres(Box::new(setup.start()))
    }
}

/// What has to answer as the reference does.
enum Tested {
    Respgres(Box<Deployment>),
    Redis(Reference),
}

impl Tested {
    fn addr(&self) -> String {
        match self {
            Tested::Respgres(deployment) => deployment.resp_addr(),
            Tested::Redis(server) => server.addr(),
        }
    }
}

/// Both servers.
pub struct Servers {
    pub backend: Backend,
    reference: Reference,
    tested: Tested,
    served: BTreeSet<String>,
    tally: Mutex<BTreeMap<String, (u64, u64)>>,
}

impl Servers {
    fn start(backend: Backend) -> Servers {
        let tested = backend.start();
        let served = Client::open(&tested.addr())
            .call(&[b"COMMAND", b"LIST"])
            .expect("a reply")
            .items()
            .expect("an array");
        let name = |frame: &Frame| {
            let name = frame.bulk().expect("a name");
            String::from_utf8_lossy(name).into_owned()
        };
        Servers {
            backend,
            reference: Reference::start(),
            served: served.iter().map(name).collect(),
            tested,
            tally: Mutex::default(),
        }
    }

    /// Counts a reply of the reference.
    pub fn count(&self, name: String, is_error: bool) {
        let mut tally = self
            .tally
            .lock()
            .expect("no thread panics while it holds this");
        let (good, errors) = tally.entry(name).or_default();
        *(if is_error { errors } else { good }) += 1;
    }

    /// How often each command was answered, and how often with an error.
    pub fn tally(&self) -> BTreeMap<String, (u64, u64)> {
        self.tally
            .lock()
            .expect("no thread panics while it holds this")
            .clone()
    }

    /// Whether respgres has this command.
    pub fn serves(&self, name: &str) -> bool {
        self.served.contains(name)
    }

    /// A connection to the redis-server.
    pub fn reference(&self) -> Client {
        Client::open(&self.reference.addr())
    }

    /// A connection to what is tested.
    pub fn tested(&self) -> Client {
        Client::open(&self.tested.addr())
    }
}

/// The redis-server whose answers are right.
struct Reference {
    _dir: Scratch,
    port: u16,
    _running: Guardian,
}

impl Reference {
    fn start() -> Reference {
        for _attempt in 0..10 {
            if let Some(reference) = Reference::launch() {
                return reference;
            }
        }
        panic!("redis-server did not start");
    }

    /// None if it ended, which a taken port makes it do.
    fn launch() -> Option<Reference> {
        let (dir, port) = (Scratch::new("reference"), free_port());
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        // One database and the same largest value, as the proxy has.
        command.args([
            "--databases",
            "1",
            "--proto-max-bulk-len",
            &VALUE_MAX.to_string(),
        ]);
        for name in UNSERVED {
            command.args(["--rename-command", name, ""]);
        }
        command.arg("--port").arg(port.to_string());
        command.arg("--dir").arg(dir.path()).current_dir(dir.path());
        let log = dir.join("log");
        let mut guardian = Guardian::spawn(&command, &log, Signal::SIGKILL);
        let ready = eventually("redis-server answers or ends", || {
            if guardian.exit_within(Duration::ZERO).is_some() {
                return Some(false);
            }
            let log = std::fs::read(&log).unwrap_or_default();
            String::from_utf8_lossy(&log)
                .contains("Ready to accept connections")
                .then_some(true)
        });
        ready.then_some(Reference {
            _dir: dir,
            port,
            _running: guardian,
        })
    }

    fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}
