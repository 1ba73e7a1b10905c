//! Points of the read and the write path at which the process can be made to die, so that tests see
//! what others then find. Without the feature `crash-points`, which only the tests' own build has,
//! nothing is left of this.

/// The point at which this process dies, if any.
#[derive(Debug, Clone, Default)]
pub struct CrashPoints {
    #[cfg(feature = "crash-points")]
    at: Option<String>,
}

/// The variable that names the point; `main` reads it, in builds for tests only.
pub const VARIABLE: &str = "RESPGRES_CRASH_AT";

impl CrashPoints {
    /// Dies at the point called `name`.
    #[cfg(feature = "crash-points")]
    pub fn at(name: Option<String>) -> Self {
        Self { at: name }
    }

    /// Ends the process at once, as SIGKILL would, if this is the point.
    #[cfg(feature = "crash-points")]
    pub fn pass(&self, name: &str) {
        if self.at.as_deref() == Some(name) {
            std::process::abort();
        }
    }

    /// Does nothing.
    #[cfg(not(feature = "crash-points"))]
    pub fn pass(&self, _name: &str) {}
}
