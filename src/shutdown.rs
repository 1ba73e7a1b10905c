//! How a proxy comes to its end, and the signals that ask for it.
//!
//! The first SIGTERM or Ctrl-C asks for an orderly stop, the second ends the process. SIGQUIT asks for a slow
//! one, as nginx has it: who is connected is served on for a while, so that another process, which listens on
//! the same ports already, can take over without a client noticing more than a reconnect.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Two steps; who takes the second takes the first as well.
#[derive(Debug, Clone)]
pub struct Stopping {
    drain: CancellationToken,
    stop: CancellationToken,
}

impl Default for Stopping {
    fn default() -> Self {
        let stop = CancellationToken::new();
        Self {
            drain: stop.child_token(),
            stop,
        }
    }
}

impl Stopping {
    /// From now on no new clients are taken. Those that are there are served until they leave, or have nothing to
    /// say for a moment.
    pub fn begin_drain(&self) {
        self.drain.cancel();
    }

    /// What was read is answered, and that is all.
    pub fn begin_stop(&self) {
        self.stop.cancel();
    }

    /// Whether no new clients are taken.
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Completes when no new clients are taken any more.
    pub fn draining(&self) -> impl Future<Output = ()> + Send + use<> {
        self.drain.clone().cancelled_owned()
    }

    /// Completes when nothing more is read.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + use<> {
        self.stop.clone().cancelled_owned()
    }

    /// The second step for a part of the whole, which may also be taken for it alone.
    pub fn part(&self) -> CancellationToken {
        self.stop.child_token()
    }
}

/// The exit code after a second signal: 128 + SIGINT, as shells report it.
const EXIT_FORCED: i32 = 130;

/// The signals that the process obeys.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// An orderly stop; the name of the signal.
    Stop(&'static str),
    /// A slow one.
    Drain,
    /// Another look at the configuration.
    Reload,
}

impl Signals {
    /// Takes the signals over from their default, which is to end the process at once.
    ///
    /// # Errors
    ///
    /// The operating system refuses.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Request::Stop("SIGINT"),
            _ = self.quit.recv() => Request::Drain,
            _ = self.hangup.recv() => Request::Reload,
        }
    }

    /// Waits for the next signal that asks for a stop; returns its name.
    pub async fn stop(&mut self) -> &'static str {
        loop {
            if let Request::Stop(name) = self.next().await {
                return name;
            }
        }
    }

    /// Ends the process at the next signal that asks for a stop.
    pub async fn exit_at_next(mut self) -> ! {
        let name = self.stop().await;
        tracing::warn!("second signal ({name}): exiting at once");
        std::process::exit(EXIT_FORCED);
    }
}
