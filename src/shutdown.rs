//! Signals: the first SIGTERM or Ctrl-C asks for an orderly stop, the second ends the process.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The exit code after a second signal: 128 + SIGINT, as shells report it.
const EXIT_FORCED: i32 = 130;

/// The signals that stop the process.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
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
        })
    }

    /// Waits for the next signal; returns its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Ends the process at the next signal.
    pub async fn exit_at_next(mut self) -> ! {
        let name = self.next().await;
        tracing::warn!("second signal ({name}): exiting at once");
        std::process::exit(EXIT_FORCED);
    }
}
