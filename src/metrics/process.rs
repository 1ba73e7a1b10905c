//! What Linux knows of this process. Elsewhere these are 0.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes of this process, as Linux counts them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// Now.
    pub resident: u64,
    /// At most.
    pub peak: u64,
}

impl Memory {
    /// What it is now.
    pub fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            resident: kilobytes(&status, "VmRSS:"),
            peak: kilobytes(&status, "VmHWM:"),
        }
    }
}

/// The bytes that a line of `/proc` tells in kilobytes; 0 if there is none.
pub fn kilobytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.trim().strip_suffix("kB"));
    let kilobytes: Option<u64> = number.and_then(|number| number.trim().parse().ok());
    kilobytes.unwrap_or(0).saturating_mul(1024)
}

/// Seconds as user and as system of the process or thread whose `stat` this is, which Linux counts in
/// hundredths.
pub fn cpu_seconds(path: &str) -> (f64, f64) {
    let stat = fs::read_to_string(path).unwrap_or_default();
    // The name of the process, in parentheses, may have spaces; `utime` is the twelfth field behind.
    let behind = stat.rsplit_once(") ").map_or("", |(_, behind)| behind);
    let mut ticks = behind.split(' ').skip(11).map(|ticks| {
        let ticks: u64 = ticks.parse().unwrap_or(0);
        ticks as f64 / 100.0
    });
    (ticks.next().unwrap_or(0.0), ticks.next().unwrap_or(0.0))
}

/// File descriptors: open ones, and how many there may be.
pub fn file_descriptors() -> (u64, u64) {
    let open = fs::read_dir("/proc/self/fd").map_or(0, |all| all.count() as u64);
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let most = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    (open, most.unwrap_or(0))
}

/// Time since the epoch.
pub fn unix_time() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
