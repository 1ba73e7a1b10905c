//! MONITOR: every command of every client, in Redis' format.
//! <https://redis.io/docs/latest/commands/monitor/>
//!
//! While nobody watches, a request costs one look at a number.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::admission::Admission;
use super::clients::Client;
use super::control::refusal;
use super::secrets::{REDACTED, secrets};
use super::spec_of;

/// Bytes of an argument that are shown, and of all of a request's: a monitor that reads is not cut off
/// because of a large value, which would be too much at once.
const WORD_BYTES_MAX: usize = 64 * 1024;
const BYTES_MAX: usize = 1024 * 1024;

/// Subcommands that Redis counts among the administrative ones, which monitors don't see.
const ADMINISTRATIVE: &[(&str, &[&str])] = &[
    (
        "acl",
        &[
            "deluser", "dryrun", "getuser", "list", "load", "log", "save", "setuser", "users",
        ],
    ),
    (
        "client",
        &["kill", "list", "no-evict", "pause", "unblock", "unpause"],
    ),
    ("config", &["get", "resetstat", "rewrite", "set"]),
    (
        "latency",
        &["doctor", "graph", "histogram", "history", "latest", "reset"],
    ),
    ("module", &["list", "load", "loadex", "unload"]),
    ("slowlog", &["get", "len", "reset"]),
];

/// The clients that watch.
#[derive(Debug, Default)]
pub(super) struct Monitors {
    count: AtomicUsize,
    list: Mutex<Vec<Arc<Client>>>,
}

impl Monitors {
    fn change<T>(&self, change: impl FnOnce(&mut Vec<Arc<Client>>) -> T) -> T {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut list);
        self.count.store(list.len(), Ordering::Relaxed);
        result
    }

    pub(super) fn add(&self, client: &Arc<Client>) {
        self.change(|list| list.push(Arc::clone(client)));
    }

    pub(super) fn remove(&self, client: &Client) {
        self.change(|list| list.retain(|other| other.id != client.id));
    }

    /// Whether anybody watches.
    pub(super) fn is_anybody_there(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Shows them a request of `client`, before it is executed: what comes later may change what it may do, and as
    /// whom.
    #[cold]
    pub(super) fn show(&self, client: &Client, admission: &Admission, words: &[Bytes]) {
        if !is_shown(words) || refusal(client, words).is_some() || admission.forbids(words) {
            return;
        }
        let mut line = String::new();
        write_line(&mut line, client.address(), words);
        // It ends the watching of its own client, which gets nothing more before the reply.
        let is_reset = words[0].eq_ignore_ascii_case(b"reset");
        self.change(|list| {
            for monitor in list.iter() {
                if !(is_reset && monitor.id == client.id) {
                    monitor.mailbox.post(line.as_bytes());
                }
            }
        });
    }
}

/// Commands that are executed, and are no affair of administrators alone.
fn is_shown(words: &[Bytes]) -> bool {
    let Some(spec) = spec_of(words) else {
        return false;
    };
    if !spec.accepts(words.len()) || spec.flags.contains(&"admin") {
        return false;
    }
    let subcommands = ADMINISTRATIVE
        .iter()
        .find_map(|(name, subcommands)| (*name == spec.name).then_some(*subcommands));
    !words.get(1).zip(subcommands).is_some_and(|(word, names)| {
        names
            .iter()
            .any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
    })
}

fn write_line(out: &mut String, address: SocketAddr, words: &[Bytes]) {
    let now = crate::metrics::process::unix_time();
    // Writing to a String does not fail.
    let _ = write!(
        out,
        "+{}.{:06} [0 {address}]",
        now.as_secs(),
        now.subsec_micros()
    );
    let is_secret = secrets(words);
    let mut left = BYTES_MAX;
    for (at, word) in words.iter().enumerate() {
        let word = if is_secret(at) { REDACTED } else { word };
        if left == 0 {
            let _ = write!(out, " \"... ({} more arguments)\"", words.len() - at);
            break;
        }
        let shown = &word[..word.len().min(WORD_BYTES_MAX).min(left)];
        // With what stands between two.
        left = left.saturating_sub(shown.len() + 3);
        out.push_str(" \"");
        for byte in shown {
            match byte {
                b'\\' => out.push_str("\\\\"),
                b'"' => out.push_str("\\\""),
                b'\n' => out.push_str("\\n"),
                b'\r' => out.push_str("\\r"),
                b'\t' => out.push_str("\\t"),
                0x07 => out.push_str("\\a"),
                0x08 => out.push_str("\\b"),
                b' '..=b'~' => out.push(char::from(*byte)),
                _ => {
                    let _ = write!(out, "\\x{byte:02x}");
                }
            }
        }
        if shown.len() < word.len() {
            let _ = write!(out, "... ({} more bytes)", word.len() - shown.len());
        }
        out.push('"');
    }
    out.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<Bytes> {
        line.split(' ')
            .map(|word| Bytes::copy_from_slice(word.as_bytes()))
            .collect()
    }

    fn line(words: &[Bytes]) -> String {
        let mut out = String::new();
        write_line(&mut out, ([127, 0, 0, 1], 7).into(), words);
        out.split_once(" [0 127.0.0.1:7] ").unwrap().1.to_owned()
    }

    #[test]
    fn words_are_quoted_and_credentials_are_not_shown() {
        for (sent, shown) in [
            ("GET a", r#""GET" "a""#),
            ("auth x", r#""auth" "(redacted)""#),
            ("AUTH x y", r#""AUTH" "(redacted)" "(redacted)""#),
            (
                "hello 3 auth x y setname z",
                r#""hello" "3" "auth" "(redacted)" "(redacted)" "setname" "z""#,
            ),
            ("set auth x", r#""set" "auth" "x""#),
            (
                "get a\t\r\n\"\\\x07\x08 \u{1}",
                "\"get\" \"a\\t\\r\\n\\\"\\\\\\a\\b\" \"\\x01\"",
            ),
        ] {
            assert_eq!(line(&words(sent)), format!("{shown}\r\n"), "{sent:?}");
        }
    }

    #[test]
    fn large_requests_are_cut() {
        let long = Bytes::from(vec![b'x'; WORD_BYTES_MAX + 2]);
        let shown = line(&[Bytes::from_static(b"get"), long.clone()]);
        let expected = "x".repeat(WORD_BYTES_MAX);
        assert_eq!(
            shown,
            format!("\"get\" \"{expected}... (2 more bytes)\"\r\n")
        );
        let mut many = vec![long; 100];
        many[0] = Bytes::from_static(b"mget");
        let shown = line(&many);
        assert!(shown.len() < BYTES_MAX + 1000, "{}", shown.len());
        let end = &shown[shown.len() - 40..];
        assert!(end.ends_with("... (83 more arguments)\"\r\n"), "{end}");
    }

    #[test]
    fn what_administrators_do_is_not_shown() {
        for (sent, shown) in [
            ("get a", true),
            ("get", false),
            ("nosuch", false),
            ("client id", true),
            ("client LIST", false),
            ("config get x", false),
            ("CONFIG help", true),
            ("monitor", false),
            ("slowlog get", false),
            ("acl whoami", true),
            ("ACL SETUSER joe >x", false),
            ("acl log", false),
        ] {
            assert_eq!(is_shown(&words(sent)), shown, "{sent}");
        }
    }
}
