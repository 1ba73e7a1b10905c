//! What systemd is told, with a socket of the test in systemd's place.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{DEADLINE, Scratch, Setup, args, encode};

/// What `WatchdogSec=` would be.
const WATCHDOG: Duration = Duration::from_millis(400);

/// Where the proxy tells what happens.
struct Manager {
    socket: UnixDatagram,
    dir: Scratch,
}

impl Manager {
    fn new() -> Manager {
        let dir = Scratch::new("notify");
        let socket = UnixDatagram::bind(dir.join("socket")).unwrap();
        Manager { socket, dir }
    }

    fn watches(&self, setup: Setup) -> Setup {
        let socket = self.dir.join("socket");
        setup
            .env("NOTIFY_SOCKET", socket.to_str().unwrap())
            .env("WATCHDOG_USEC", &WATCHDOG.as_micros().to_string())
    }

    /// The next message, unless none comes in time.
    fn told_within(&self, limit: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(limit)).unwrap();
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    /// The next message that has this line, with all that came before it.
    #[track_caller]
    fn wait_for(&self, line: &str) -> Vec<String> {
        let mut told = Vec::new();
        loop {
            match self.told_within(DEADLINE) {
                Some(message) => told.push(message),
                None => panic!("not told: {line}; {told:?}"),
            }
            if told.last().unwrap().lines().any(|found| found == line) {
                return told;
            }
        }
    }

    /// Waits until nothing has been told for several times what the watchdog allows.
    #[track_caller]
    fn wait_for_silence(&self) {
        let end = Instant::now() + DEADLINE;
        while let Some(message) = self.told_within(WATCHDOG * 5) {
            assert!(Instant::now() < end, "it goes on telling: {message}");
        }
    }
}

#[test]
fn ready_when_the_ports_are_open_and_stopping_at_sigterm() {
    let manager = Manager::new();
    let setup = manager.watches(Setup::embedded());
    let mut it = setup.env("SHUTDOWN_TIMEOUT_MS", "60000").start();
    let told = manager.wait_for("READY=1");
    let (ready, before) = told.split_last().unwrap();
    assert!(before.iter().all(|other| other == "WATCHDOG=1\n"));
    // It says where, and that is where somebody answers.
    assert!(ready.contains(&format!(
        "\nSTATUS=serving: resp listening on {}",
        it.resp_addr()
    )));
    assert_eq!(it.conn().run("PING"), "+PONG");
    manager.wait_for("WATCHDOG=1");
    it.proxy_mut().terminate();
    let told = manager.wait_for("STOPPING=1");
    let stopping = told.last().unwrap();
    assert!(
        stopping.contains("\nEXTEND_TIMEOUT_USEC=65000000\n"),
        "{stopping}"
    );
    assert_eq!(it.proxy_mut().wait_exit().code, 0);
}

#[test]
fn reading_the_configuration_again_begins_and_ends() {
    let manager = Manager::new();
    let mut it = manager.watches(Setup::embedded()).start();
    manager.wait_for("READY=1");
    it.proxy_mut().signal(Signal::SIGHUP);
    let told = manager.wait_for("RELOADING=1");
    let reloading = told.last().unwrap();
    assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
    manager.wait_for("READY=1");
    assert_eq!(it.conn().run("PING"), "+PONG");
}

/// As long as it serves those who are connected, and as it may take after that.
#[test]
fn sigquit_asks_for_the_time_that_it_takes() {
    let manager = Manager::new();
    let setup = manager.watches(Setup::embedded());
    let setup = setup.env("DRAIN_TIMEOUT_MS", "20000");
    let mut it = setup.env("SHUTDOWN_TIMEOUT_MS", "60000").start();
    manager.wait_for("READY=1");
    it.proxy_mut().signal(Signal::SIGQUIT);
    let told = manager.wait_for("STOPPING=1");
    let stopping = told.last().unwrap();
    assert!(
        stopping.contains("\nEXTEND_TIMEOUT_USEC=85000000\n"),
        "{stopping}"
    );
    assert_eq!(it.proxy_mut().wait_exit().code, 0);
}

/// A port that is taken is found before anything is told.
#[test]
fn a_proxy_that_can_not_start_is_never_ready() {
    let manager = Manager::new();
    let first = Setup::embedded().start();
    let socket = manager.dir.join("socket");
    let second = first.builder().env("RESP_ADDR", first.resp_addr());
    let second = second.env("NOTIFY_SOCKET", socket.to_str().unwrap());
    second.run_refused();
    assert_eq!(manager.told_within(Duration::from_millis(1)), None);
}

#[test]
fn a_stopped_process_does_not_say_that_it_lives() {
    let manager = Manager::new();
    let mut it = manager.watches(Setup::embedded()).start();
    manager.wait_for("READY=1");
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
    }
    it.proxy_mut().signal(Signal::SIGSTOP);
    manager.wait_for_silence();
    it.proxy_mut().signal(Signal::SIGCONT);
    manager.wait_for("WATCHDOG=1");
}

/// The other threads are well, and that must not hide it.
#[test]
fn a_worker_that_hangs_keeps_the_watchdog_waiting() {
    let manager = Manager::new();
    let setup = manager.watches(Setup::embedded());
    let setup = setup
        .env("WORKER_THREADS", "3")
        .env("RESPGRES_HANG_AT", "write:before-commit");
    let mut it = setup.start();
    manager.wait_for("READY=1");
    manager.wait_for("WATCHDOG=1");
    let mut conn = it.conn();
    conn.send(&encode(&args!["SET", "key", "value"]));
    manager.wait_for_silence();
    // Nobody waits for that worker.
    it.proxy_mut().kill();
}
