//! How many files a process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the number of files that this process may have open, and those that it starts.
pub fn allow_files(count: u64) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(
        hard >= count,
        "this test needs {count} open files for a process, and the hard limit is {hard}: raise it (ulimit -Hn)"
    );
    if soft < count {
        setrlimit(Resource::RLIMIT_NOFILE, count, hard).unwrap();
    }
}
