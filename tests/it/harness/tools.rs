//! The command line tools that come with Redis, as clients.

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Runs redis-cli with these arguments and this standard input; returns what it printed.
#[track_caller]
pub fn redis_cli(addr: &str, args: &[&str], stdin: &[u8]) -> String {
    run("redis-cli", addr, args, stdin)
}

/// Runs redis-benchmark; returns what it printed.
#[track_caller]
pub fn redis_benchmark(addr: &str, args: &[&str]) -> String {
    run("redis-benchmark", addr, args, b"")
}

#[track_caller]
fn run(program: &str, addr: &str, args: &[&str], stdin: &[u8]) -> String {
    let (host, port) = addr.rsplit_once(':').expect("host:port");
    let mut command = Command::new(program);
    command.args(["-h", host, "-p", port]).args(args);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut input = child.stdin.take().expect("a pipe");
    let output: Output = std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(stdin).ok());
        child.wait_with_output().expect("it can be waited for")
    });
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {args:?}: {}\n{text}{errors}",
        output.status
    );
    text
}

/// How a tool ended.
#[derive(Debug)]
pub struct Ran {
    pub success: bool,
    /// Standard output and error.
    pub text: String,
}

/// Runs a tool to its end, whatever it is.
#[track_caller]
pub fn run_tool(program: &str, args: &[&str]) -> Ran {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = [output.stdout, output.stderr].concat();
    Ran {
        success: output.status.success(),
        text: String::from_utf8_lossy(&text).into_owned(),
    }
}

/// Runs curl, silent but for errors, with a limit on its time.
#[track_caller]
pub fn curl(args: &[&str]) -> Ran {
    run_tool("curl", &[&["-sS", "--max-time", "30"], args].concat())
}
