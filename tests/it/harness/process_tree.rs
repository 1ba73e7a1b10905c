//! A process with its children and theirs: PostgreSQL is one process for each connection and some more.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Stops a process and all below it. A process that is being stopped may still have made another one, so it is looked
/// again until there is none that is new.
pub fn stop(root: i32) {
    let mut stopped: Vec<i32> = Vec::new();
    loop {
        let new: Vec<i32> = tree(root)
            .into_iter()
            .filter(|pid| !stopped.contains(pid))
            .collect();
        if new.is_empty() {
            return;
        }
        for pid in new {
            signal_one(pid, Signal::SIGSTOP);
            stopped.push(pid);
        }
    }
}

/// Sends a signal to a process and all below it, children first: they must not see their parent gone before.
pub fn signal(root: i32, signal: Signal) {
    for pid in tree(root).into_iter().rev() {
        signal_one(pid, signal);
    }
}

/// Sends a signal to a process, if it is still there.
pub fn signal_one(pid: i32, signal: Signal) {
    // It may just have ended.
    kill(Pid::from_raw(pid), signal).ok();
}

/// A process and all below it, parents first.
fn tree(root: i32) -> Vec<i32> {
    let all = parents();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(
            all.iter()
                .filter(|(_, of)| *of == parent)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    found
}

/// Each process with its parent.
fn parents() -> Vec<(i32, i32)> {
    let processes = std::fs::read_dir("/proc").expect("Linux has /proc");
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name before it is in parentheses, and may have any character in it.
        let parent = stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()?;
        Some((pid, parent))
    })
    .collect()
}
