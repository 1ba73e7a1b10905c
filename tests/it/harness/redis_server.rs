//! Redis 7, started for one test, that may kill, restart and pause it.

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::certificates::{Authority, Issued};
use super::guardian::Guardian;
use super::ports::free_port;
use super::resp::Conn;
use super::scratch::Scratch;
use super::wait::eventually;

/// A redis-server that saves only when told to. Dropping it stops it.
pub struct RedisServer {
    dir: Scratch,
    port: u16,
    databases: u32,
    /// Further arguments, and whether it asks who connects.
    arguments: Vec<String>,
    asks: bool,
    /// The port with TLS, and the options that it needs.
    secured: Option<(u16, Vec<String>)>,
    running: Option<Guardian>,
}

impl RedisServer {
    /// Starts one as it is by default.
    pub fn start() -> RedisServer {
        RedisServer::with_databases(16)
    }

    /// Starts one with a number of logical databases.
    pub fn with_databases(databases: u32) -> RedisServer {
        RedisServer::of(RedisServer::stopped(databases))
    }

    /// Starts one of one logical database which asks for a password, or has the users of an ACL file.
    pub fn with_access(password: Option<&str>, users: Option<&str>) -> RedisServer {
        let mut server = RedisServer::stopped(1);
        server.asks = true;
        if let Some(password) = password {
            server.arguments = vec!["--requirepass".to_owned(), password.to_owned()];
        }
        if let Some(users) = users {
            let file = server.users_file();
            std::fs::write(&file, users).expect("a scratch directory takes files");
            let file = file.to_str().expect("a UTF-8 path").to_owned();
            server.arguments = vec!["--aclfile".to_owned(), file];
        }
        RedisServer::of(server)
    }

    /// Its ACL file, where it has one.
    pub fn users_file(&self) -> std::path::PathBuf {
        self.dir.join("users.acl")
    }

    fn of(mut server: RedisServer) -> RedisServer {
        for _attempt in 0..10 {
            if server.launch() {
                return server;
            }
            server.port = free_port();
        }
        panic!("redis-server did not start:\n{}", server.log());
    }

    /// Starts one that has a port with TLS beside the other. With `client_ca`, clients of it need a certificate.
    pub fn secured(issued: &Issued, client_ca: Option<&Authority>) -> RedisServer {
        let mut server = RedisServer::stopped(16);
        let dir = server.dir.path();
        let (certificate, key) = issued.files(dir, "server");
        let ca = match client_ca {
            Some(authority) => authority.file(dir, "ca.pem"),
            None => certificate.clone(),
        };
        let asks = if client_ca.is_some() { "yes" } else { "no" };
        let options = [
            ("--tls-cert-file", certificate.as_str()),
            ("--tls-key-file", &key),
            ("--tls-ca-cert-file", &ca),
            ("--tls-auth-clients", asks),
        ];
        let options = options.iter().flat_map(|(name, value)| [*name, *value]);
        let options: Vec<String> = options.map(str::to_owned).collect();
        for _attempt in 0..10 {
            server.secured = Some((free_port(), options.clone()));
            if server.launch() {
                return server;
            }
            server.port = free_port();
        }
        panic!("redis-server did not start:\n{}", server.log());
    }

    /// As REDIS_URL wants it for the port with TLS, by this name of the host.
    pub fn secured_url(&self, host: &str) -> String {
        format!("rediss://{host}:{}/0", self.secured_port())
    }

    /// The port with TLS.
    pub fn secured_port(&self) -> u16 {
        self.secured.as_ref().expect("it has one").0
    }

    /// One that has a port, but does not run yet.
    pub fn down() -> RedisServer {
        RedisServer::stopped(16)
    }

    fn stopped(databases: u32) -> RedisServer {
        RedisServer {
            dir: Scratch::new("redis"),
            port: free_port(),
            databases,
            arguments: Vec::new(),
            asks: false,
            secured: None,
            running: None,
        }
    }

    fn launch(&mut self) -> bool {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        // A replica is sent its copy at once, not after 5 s.
        command.args(["--repl-diskless-sync-delay", "0"]);
        command
            .arg("--port")
            .arg(self.port.to_string())
            .arg("--databases")
            .arg(self.databases.to_string());
        if let Some((port, options)) = &self.secured {
            command
                .arg("--tls-port")
                .arg(port.to_string())
                .args(options);
        }
        command
            .arg("--dir")
            .arg(self.dir.path())
            .current_dir(self.dir.path());
        command.args(&self.arguments);
        let mut guardian = Guardian::spawn(&command, &self.dir.join("log"), Signal::SIGKILL);
        let ready = eventually("redis-server answers or ends", || {
            if guardian.exit_within(Duration::ZERO).is_some() {
                return Some(false);
            }
            if self.asks {
                // It says nothing of itself to a stranger.
                let is_ready = self.log().contains("Ready to accept connections");
                return is_ready.then_some(true);
            }
            let info = Conn::try_open(&self.addr())?.info("server");
            Some(info.contains(&format!("process_id:{}\r\n", guardian.pid())))
        });
        if ready {
            self.running = Some(guardian);
        }
        ready
    }

    /// Host and port.
    pub fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// As REDIS_URL wants it.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// A connection past the proxy.
    pub fn conn(&self) -> Conn {
        Conn::open(&self.addr())
    }

    /// The server's process id.
    pub fn pid(&self) -> i32 {
        self.running.as_ref().expect("it runs").pid()
    }

    /// Saves what it holds now: it will start again with it.
    pub fn save(&self) {
        assert_eq!(self.conn().run("SAVE"), "+OK");
    }

    /// Ends it with SIGKILL; what it held and did not save is gone.
    pub fn crash(&mut self) {
        self.running = None;
    }

    /// Forgets what was saved.
    pub fn forget_saved(&self) {
        // Without it there is nothing to forget.
        std::fs::remove_file(self.dir.join("dump.rdb")).ok();
    }

    /// Starts it again on its port, with what was saved.
    pub fn start_again(&mut self) {
        assert!(self.running.is_none(), "it runs already");
        eventually("redis-server starts again", || self.launch().then_some(()));
    }

    /// Makes it a replica of another one, and waits until it has that one's entries instead of its own.
    pub fn follow(&self, master: &RedisServer) {
        let mut conn = self.conn();
        let reply = conn.run(&format!("REPLICAOF 127.0.0.1 {}", master.port));
        assert_eq!(reply, "+OK");
        eventually("a replica has its copy", || {
            let info = conn.info("replication");
            info.contains("master_link_status:up\r\n").then_some(())
        });
    }

    /// Whether it has had a replica. The first one that it is given changes its replication id.
    pub fn had_replica(&self) -> bool {
        let info = self.conn().info("replication");
        info.contains("repl_backlog_active:1\r\n")
    }

    /// Makes a replica a master, with the entries that it has.
    pub fn lead(&self) {
        assert_eq!(self.conn().run("REPLICAOF NO ONE"), "+OK");
        // The copy that it was sent is on its disk, and nothing that it was told to save.
        self.forget_saved();
    }

    /// Stops the process in its tracks: it holds its connections and answers nothing.
    pub fn pause(&mut self) {
        self.running
            .as_mut()
            .expect("it runs")
            .signal(Signal::SIGSTOP);
    }

    /// Lets a paused process go on.
    pub fn resume(&mut self) {
        self.running
            .as_mut()
            .expect("it runs")
            .signal(Signal::SIGCONT);
    }

    fn log(&self) -> String {
        let log = std::fs::read(self.dir.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- redis-server on port {}:\n{}", self.port, self.log());
        }
        self.running = None;
    }
}
