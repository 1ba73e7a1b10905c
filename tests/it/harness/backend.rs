//! A server process of PostgreSQL that stands still, as on a machine that is out of breath.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A stopped process; dropping it lets it go on.
pub struct Stopped(Pid);

impl Stopped {
    /// Stops the process.
    pub fn stop(pid: i32) -> Stopped {
        Stopped::try_stop(pid).expect("the process is there")
    }

    /// Stops the process, unless it has ended.
    pub fn try_stop(pid: i32) -> Option<Stopped> {
        let pid = Pid::from_raw(pid);
        kill(pid, Signal::SIGSTOP).ok()?;
        Some(Stopped(pid))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have been killed meanwhile.
        kill(self.0, Signal::SIGCONT).ok();
    }
}
