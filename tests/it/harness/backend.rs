//! A server process of PostgreSQL that stands still, as on a machine that is out of breath.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A stopped process; dropping it lets it go on.
pub struct Stopped(Pid);

impl Stopped {
    /// Stops the process.
    pub fn stop(pid: i32) -> Stopped {
        let pid = Pid::from_raw(pid);
        kill(pid, Signal::SIGSTOP).expect("the process is there");
        Stopped(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have been killed meanwhile.
        kill(self.0, Signal::SIGCONT).ok();
    }
}
