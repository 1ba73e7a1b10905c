//! The harness itself: what it starts ends with the test process, however that ends.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{PostgresServer, RedisServer, Scratch, eventually};

const REPORT: &str = "RESPGRES_TEST_REPORT";

#[test]
#[ignore = "runs in a process of its own, started by the tests below"]
fn servers_in_a_process_of_their_own() {
    let Some(report) = std::env::var_os(REPORT) else {
        return;
    };
    let shared = PostgresServer::shared();
    let separate = PostgresServer::separate();
    let redis = RedisServer::start();
    let lines = [shared.pid(), separate.pid(), redis.pid()]
        .map(|pid| format!("{pid}\n"))
        .concat();
    let root = Scratch::new("report")
        .path()
        .parent()
        .unwrap()
        .display()
        .to_string();
    let unfinished = PathBuf::from(&report).with_extension("unfinished");
    std::fs::write(&unfinished, format!("{lines}{root}")).unwrap();
    std::fs::rename(unfinished, &report).unwrap();
    // Until told to fail, or killed.
    let fail = PathBuf::from(report).with_extension("fail");
    eventually("told to fail", || fail.exists().then_some(()));
    panic!("as the test wants it");
}

/// Runs the servers in another process, ends it with `end`, and waits until nothing is left.
fn check(end: impl FnOnce(&mut std::process::Child, &Path)) -> std::process::ExitStatus {
    let dir = Scratch::new("leftovers");
    let report = dir.join("report");
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "leftovers::servers_in_a_process_of_their_own",
        ])
        .env(REPORT, &report)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let text = eventually("the servers run", || std::fs::read_to_string(&report).ok());
    let lines: Vec<&str> = text.lines().collect();
    let [pids @ .., root] = &lines[..] else {
        panic!("an empty report")
    };
    for pid in pids {
        assert!(Path::new("/proc").join(pid).exists());
    }
    assert!(Path::new(root).exists());
    end(&mut process, &report.with_extension("fail"));
    let status = process.wait().unwrap();
    for pid in pids {
        eventually("the server is gone", || {
            (!Path::new("/proc").join(pid).exists()).then_some(())
        });
    }
    eventually("the directory is gone", || {
        (!Path::new(root).exists()).then_some(())
    });
    status
}

#[test]
fn nothing_outlives_a_test_process_that_is_killed() {
    let status = check(|process, _| process.kill().unwrap());
    assert_eq!(status.signal(), Some(9));
}

#[test]
fn nothing_outlives_a_test_that_fails() {
    let status = check(|_, fail| std::fs::write(fail, "").unwrap());
    assert_eq!(status.code(), Some(101));
}
