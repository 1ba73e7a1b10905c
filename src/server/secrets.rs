//! Which words of a request are passwords and the like, that neither MONITOR nor SLOWLOG may show.
//!
//! They go by the name alone: requests that were refused are in SLOWLOG as well. What is not understood
//! is taken for a secret.

use bytes::Bytes;

use super::config::is_adjustable;
use crate::command::table::find;
use crate::command::unsupported::UNSUPPORTED;

/// What is shown instead.
pub(super) const REDACTED: &[u8] = b"(redacted)";

/// Subcommands of ACL whose arguments are no secrets.
const PLAIN_OF_ACL: &[&str] = &[
    "cat", "deluser", "genpass", "getuser", "help", "list", "load", "log", "save", "users",
    "whoami",
];

/// Whether each word of a request is a secret, by its place.
pub(super) fn secrets(words: &[Bytes]) -> impl Fn(usize) -> bool {
    let secrets = places(words);
    move |at| secrets.as_ref().is_some_and(|secrets| secrets.contains(at))
}

/// Places of words.
#[derive(Debug, Default)]
struct Places {
    some: Vec<usize>,
    /// All from this one on.
    from: Option<usize>,
}

impl Places {
    fn contains(&self, at: usize) -> bool {
        self.from.is_some_and(|from| at >= from) || self.some.contains(&at)
    }
}

fn places(words: &[Bytes]) -> Option<Places> {
    let name = words.first()?;
    let from = |at| {
        Some(Places {
            from: Some(at),
            ..Places::default()
        })
    };
    let is = |at: usize, name: &str| {
        let word: Option<&Bytes> = words.get(at);
        word.is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
    };
    match &*name.to_ascii_lowercase() {
        b"auth" => from(1),
        b"hello" if words.get(1).is_some_and(|word| word.len() > 1) => from(1),
        b"hello" => Some(options(words, 2, &[("auth", 2)], &[("setname", 1)])),
        b"acl" if PLAIN_OF_ACL.iter().any(|name| is(1, name)) => None,
        b"acl" | b"sentinel" => from(2),
        b"config" if is(1, "set") => Some(settings(words)),
        b"migrate" => Some(options(
            words,
            6,
            &[("auth", 1), ("auth2", 2)],
            &[("copy", 0), ("replace", 0), ("keys", usize::MAX)],
        )),
        // It may be AUTH, misspelt.
        name if find(name).is_none() && !is_unsupported(name) => from(1),
        _ => None,
    }
}

fn is_unsupported(name: &[u8]) -> bool {
    UNSUPPORTED
        .binary_search_by(|(known, _)| known.as_bytes().cmp(name))
        .is_ok()
}

/// Walks options that begin at a place: those that have so many secrets behind them, and so many words
/// that are none. From one that is neither on, all are secret.
fn options(
    words: &[Bytes],
    first: usize,
    secret: &[(&str, usize)],
    plain: &[(&str, usize)],
) -> Places {
    let mut places = Places::default();
    let mut at = first;
    while let Some(word) = words.get(at) {
        let behind = |options: &[(&str, usize)]| {
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            options
                .iter()
                .find_map(|(name, count)| is(name).then_some(*count))
        };
        at += 1;
        if let Some(count) = behind(secret) {
            places.some.extend(at..at + count);
            at += count;
        } else if let Some(count) = behind(plain) {
            at = at.saturating_add(count);
        } else {
            places.from = Some(at - 1);
            break;
        }
    }
    places
}

/// CONFIG SET: the values of all parameters but those that can be set here, which are numbers.
fn settings(words: &[Bytes]) -> Places {
    if words.len() % 2 == 1 {
        return Places {
            from: Some(2),
            ..Places::default()
        };
    }
    let values = (3..words.len()).step_by(2);
    Places {
        some: values.filter(|at| !is_adjustable(&words[at - 1])).collect(),
        from: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request as it is shown.
    fn shown(line: &str) -> String {
        let words: Vec<Bytes> = line
            .split(' ')
            .map(|word| Bytes::copy_from_slice(word.as_bytes()))
            .collect();
        let is_secret = secrets(&words);
        let shown = words.iter().enumerate().map(|(at, word)| {
            let shown = if is_secret(at) { &b"*"[..] } else { word };
            String::from_utf8_lossy(shown).into_owned()
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn secrets_are_found_by_their_place() {
        for (sent, expected) in [
            ("get auth", "get auth"),
            ("set auth x", "set auth x"),
            ("auth x", "auth *"),
            ("AUTH x y", "AUTH * *"),
            ("AUTH x y z", "AUTH * * *"),
            ("hello", "hello"),
            ("hello 3", "hello 3"),
            ("hello 3 auth x y setname z", "hello 3 auth * * setname z"),
            (
                "HELLO 3 SETNAME auth AUTH x y",
                "HELLO 3 SETNAME auth AUTH * *",
            ),
            ("hello 3 auth x y auth z w", "hello 3 auth * * auth * *"),
            ("hello 3 auth x", "hello 3 auth *"),
            ("hello 3 x y", "hello 3 * *"),
            ("hello auth x y", "hello * * *"),
            ("acl whoami", "acl whoami"),
            ("acl getuser joe", "acl getuser joe"),
            ("ACL SETUSER joe >x", "ACL SETUSER * *"),
            ("acl setusr joe >x", "acl setusr * *"),
            ("config get requirepass", "config get requirepass"),
            (
                "config set timeout 1 requirepass x",
                "config set timeout 1 requirepass *",
            ),
            (
                "CONFIG SET masterauth x TIMEOUT 1",
                "CONFIG SET masterauth * TIMEOUT 1",
            ),
            ("config set a requirepass x", "config set * * *"),
            (
                "migrate host 1 key 0 5 copy auth x keys auth y",
                "migrate host 1 key 0 5 copy auth * keys auth y",
            ),
            (
                "MIGRATE host 1 key 0 5 AUTH2 x y REPLACE",
                "MIGRATE host 1 key 0 5 AUTH2 * * REPLACE",
            ),
            (
                "migrate host 1 key 0 5 auth x y",
                "migrate host 1 key 0 5 auth * *",
            ),
            ("sentinel set m auth-pass x", "sentinel set * * *"),
            ("auht x", "auht *"),
            ("lpush a b", "lpush a b"),
        ] {
            assert_eq!(shown(sent), expected);
        }
    }
}
