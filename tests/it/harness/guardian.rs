//! A child process that can't outlive the test process: a small `sh` stands between.
//!
//! The guardian starts the server, then waits for end of file on a pipe whose other end only the test process holds.
//! A failed assertion, a panic and SIGKILL all close that pipe; the guardian then stops its child, by pid.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Lines};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// `$1` log file, `$2` signal that stops the child, the rest is the command.
///
/// The watcher reads with a builtin: it is one process, and is ended as soon as the child has.
const SCRIPT: &str = r#"
log=$1; signal=$2; shift 2
exec 3<&0 </dev/null
"$@" >>"$log" 2>&1 3<&- &
child=$!
echo "pid $child"
(
    read -r _ <&3
    kill -s CONT "$child"; kill -s "$signal" "$child"
    tries=0
    while kill -s 0 "$child"; do
        tries=$((tries + 1))
        [ "$tries" -lt 200 ] || kill -s KILL "$child"
        sleep 0.05
    done
) >/dev/null 2>&1 &
watcher=$!
exec 3<&-
wait "$child"
code=$?
kill "$watcher" 2>/dev/null
echo "exit $code"
"#;

/// A running server below its guardian; dropping it stops the server and waits until it is gone.
pub struct Guardian {
    shell: Child,
    lifeline: Option<ChildStdin>,
    /// In a mutex, so that a guardian can be part of a static; `&mut` reaches past it.
    lines: Mutex<Receiver<String>>,
    pid: Pid,
    exit: Option<i32>,
}

impl Guardian {
    /// Starts `command` with its output appended to `log`; `stop` is the signal that ends it.
    pub fn spawn(command: &Command, log: &Path, stop: Signal) -> Guardian {
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(SCRIPT).arg("guardian");
        shell.arg(log).arg(stop.as_str().trim_start_matches("SIG"));
        shell.arg(command.get_program()).args(command.get_args());
        if let Some(dir) = command.get_current_dir() {
            shell.current_dir(dir);
        }
        shell.env_clear().env("PATH", search_path());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        // A group of its own: Ctrl-C reaches the test process only, and the pipe does the rest.
        shell.process_group(0);
        shell
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut shell = shell.spawn().expect("sh can be started");
        let lifeline = shell.stdin.take();
        let stdout = shell
            .stdout
            .take()
            .expect("the guardian's stdout is a pipe");
        let lines = read_lines(BufReader::new(stdout).lines());
        let first = lines
            .recv_timeout(Duration::from_secs(30))
            .expect("the guardian tells its child's pid");
        let pid = first
            .strip_prefix("pid ")
            .and_then(|pid| pid.parse().ok())
            .expect("a pid line");
        Guardian {
            shell,
            lifeline,
            lines: Mutex::new(lines),
            pid: Pid::from_raw(pid),
            exit: None,
        }
    }

    /// The server's process id.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Sends a signal to the server, if it is still running.
    pub fn signal(&mut self, signal: Signal) {
        if self.exit_within(Duration::ZERO).is_none() {
            kill(self.pid, signal).expect("the process takes signals");
        }
    }

    /// The exit code, once the server has ended (128 + n when signal n ended it), or None after `limit`.
    pub fn exit_within(&mut self, limit: Duration) -> Option<i32> {
        if self.exit.is_none() {
            let lines = self
                .lines
                .get_mut()
                .expect("no thread panics while it holds this");
            match lines.recv_timeout(limit) {
                Ok(line) => {
                    self.exit = line
                        .strip_prefix("exit ")
                        .and_then(|code| code.parse().ok())
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.exit = Some(-1),
            }
        }
        self.exit
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        self.lifeline.take();
        self.shell.wait().expect("the guardian can be waited for");
    }
}

/// Where servers and tools are looked for: the environment's PATH.
fn search_path() -> OsString {
    std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/local/bin:/usr/bin:/bin"))
}

/// Lines as messages, so that they can be waited for with a limit.
fn read_lines(lines: Lines<BufReader<ChildStdout>>) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
