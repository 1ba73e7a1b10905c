//! What systemd is told of the process, by sd_notify(3): that it serves, that it stops, and that it lives.
//!
//! Without `NOTIFY_SOCKET` in the environment all of it does nothing.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram as StdDatagram};
use std::sync::Arc;
use std::time::Duration;

use respgres::workers::Workers;
use tokio::net::UnixDatagram;
use tokio::time::MissedTickBehavior;

/// How much longer than its own limit a stop may take before systemd ends it.
const STOP_MARGIN: Duration = Duration::from_secs(5);

/// The way to the service manager. To be used on the main runtime.
#[derive(Clone)]
pub struct Notifier {
    socket: Option<Arc<UnixDatagram>>,
}

impl Notifier {
    /// Opens the socket that the environment names, if any. Where that fails, the log says so: the service manager, which
    /// then waits in vain, is the one to decide what comes of it.
    pub fn from_environment() -> Self {
        let name = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let socket = name.and_then(|name| match connect(name.as_bytes()) {
            Ok(socket) => Some(Arc::new(socket)),
            Err(error) => {
                tracing::warn!(
                    "can't reach the service manager at NOTIFY_SOCKET={}: {error}",
                    name.display()
                );
                None
            }
        });
        Self { socket }
    }

    /// It serves. `status` is one line for people.
    pub async fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}\n")).await;
    }

    /// It reads its configuration again; [`ready`](Notifier::ready) ends that.
    pub async fn reloading(&self) {
        // Newer versions of systemd want to know when, to tell this reload from one before.
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
        let now = now.map(Duration::from).unwrap_or_default().as_micros();
        self.send(&format!(
            "RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS=reading the configuration again\n"
        ))
        .await;
    }

    /// It stops, which takes up to `limit`. systemd's own limit is moved behind that. `status` is one line for people.
    pub async fn stopping(&self, limit: Duration, status: &str) {
        let patience = limit.saturating_add(STOP_MARGIN).as_micros();
        self.send(&format!(
            "STOPPING=1\nEXTEND_TIMEOUT_USEC={patience}\nSTATUS={status}\n"
        ))
        .await;
    }

    /// Tells, twice in the time that `WATCHDOG_USEC` gives, that the process lives, if the environment asks for that.
    ///
    /// Each time every worker has to run a task before the main runtime tells it. Where one is stuck, nothing is told
    /// any more, and systemd does what it is configured to.
    pub fn watch(&self, workers: &Workers) {
        let Some(limit) = watchdog_limit(|name| std::env::var(name).ok()) else {
            return;
        };
        if self.socket.is_none() {
            return;
        }
        let (notifier, workers) = (self.clone(), workers.clone());
        tokio::spawn(async move {
            let mut turns = tokio::time::interval(limit / 2);
            turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                turns.tick().await;
                if !answers(&workers).await {
                    return; // They have been stopped.
                }
                notifier.send("WATCHDOG=1\n").await;
            }
        });
    }

    async fn send(&self, message: &str) {
        let Some(socket) = &self.socket else {
            return;
        };
        match socket.send(message.as_bytes()).await {
            Ok(_) => {}
            Err(error) => tracing::warn!("the service manager can't be told: {error}"),
        }
    }
}

/// A path, or a name that begins with `@`, which stands for one that is in no file system.
fn connect(name: &[u8]) -> io::Result<UnixDatagram> {
    let address = match name {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
    };
    let socket = StdDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)
}

/// The time after which systemd takes the process for dead; `None` if it does not watch this process.
fn watchdog_limit(variable: impl Fn(&str) -> Option<String>) -> Option<Duration> {
    let micros: u64 = variable("WATCHDOG_USEC")?.parse().ok()?;
    let is_other = |pid: String| pid.parse() != Ok(std::process::id());
    if micros == 0 || variable("WATCHDOG_PID").is_some_and(is_other) {
        return None;
    }
    Some(Duration::from_micros(micros))
}

/// Waits until each worker has run something; false if one does not exist any more.
async fn answers(workers: &Workers) -> bool {
    let asked: Vec<_> = workers
        .runtimes()
        .iter()
        .map(|runtime| runtime.spawn(async {}))
        .collect();
    for answer in asked {
        if answer.await.is_err() {
            return false;
        }
    }
    true
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn limit(variables: &[(&str, &str)]) -> Option<Duration> {
        watchdog_limit(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_watchdog_is_for_this_process() {
        let pid = std::process::id().to_string();
        let second = Some(Duration::from_secs(1));
        assert_eq!(limit(&[]), None);
        assert_eq!(limit(&[("WATCHDOG_USEC", "1000000")]), second);
        assert_eq!(
            limit(&[("WATCHDOG_USEC", "1000000"), ("WATCHDOG_PID", &pid)]),
            second
        );
        assert_eq!(
            limit(&[("WATCHDOG_USEC", "1000000"), ("WATCHDOG_PID", "1")]),
            None
        );
        for nonsense in ["0", "", "-1", "soon"] {
            assert_eq!(limit(&[("WATCHDOG_USEC", nonsense)]), None, "{nonsense}");
        }
    }

    #[tokio::test]
    async fn a_name_without_a_file_is_reached_too() {
        let name = format!("respgres-notify-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = StdDatagram::bind_addr(&address).unwrap();
        let socket = connect(format!("@{name}").as_bytes()).unwrap();
        let notifier = Notifier {
            socket: Some(Arc::new(socket)),
        };
        notifier.reloading().await;
        let mut buffer = [0; 200];
        let length = manager.recv(&mut buffer).unwrap();
        let told = std::str::from_utf8(&buffer[..length]).unwrap();
        let mut lines = told.lines();
        assert_eq!(lines.next(), Some("RELOADING=1"));
        let at = lines.next().unwrap().strip_prefix("MONOTONIC_USEC=");
        assert!(at.unwrap().parse::<u64>().unwrap() > 0, "{told}");
    }

    #[tokio::test]
    async fn without_a_manager_nothing_is_told() {
        let notifier = Notifier { socket: None };
        notifier.ready("serving").await;
        notifier.watch(&Workers::here());
    }
}
