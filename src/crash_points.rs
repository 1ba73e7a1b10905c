//! Points of the read and the write path at which the process can be made to die, or to stand still, or a worker to hang,
//! so that tests see what others then find. Without the feature `crash-points`, which only the tests'
//! own build has, nothing is left of this.

#[cfg(feature = "crash-points")]
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// The points at which something happens to this process, if any.
#[derive(Debug, Clone, Default)]
pub struct CrashPoints {
    #[cfg(feature = "crash-points")]
    die_at: Option<String>,
    #[cfg(feature = "crash-points")]
    stop_at: Option<String>,
    #[cfg(feature = "crash-points")]
    hang_at: Option<String>,
    #[cfg(feature = "crash-points")]
    has_stopped: Arc<AtomicBool>,
}

/// The variable that names the point at which to die; `main` reads it, in builds for tests only.
pub const DIE_AT: &str = "RESPGRES_DIE_AT";

/// The same for the point at which to stand still, the first time that it is passed.
pub const STOP_AT: &str = "RESPGRES_STOP_AT";

/// The same for the point at which the thread that passes it does not go on.
pub const HANG_AT: &str = "RESPGRES_HANG_AT";

impl CrashPoints {
    /// Names the points.
    #[cfg(feature = "crash-points")]
    pub fn new(die_at: Option<String>, stop_at: Option<String>, hang_at: Option<String>) -> Self {
        Self {
            die_at,
            stop_at,
            hang_at,
            has_stopped: Arc::default(),
        }
    }

    /// Ends the process at once, as SIGKILL would, or stops it, as SIGSTOP does, or keeps this thread for good, if this is
    /// the point.
    #[cfg(feature = "crash-points")]
    pub fn pass(&self, name: &str) {
        if self.die_at.as_deref() == Some(name) {
            std::process::abort();
        }
        if self.stop_at.as_deref() == Some(name) && !self.has_stopped.swap(true, Ordering::Relaxed)
        {
            // What it says would be of use to nobody.
            let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP);
        }
        while self.hang_at.as_deref() == Some(name) {
            std::thread::park();
        }
    }

    /// Does nothing.
    #[cfg(not(feature = "crash-points"))]
    pub fn pass(&self, _name: &str) {}
}
