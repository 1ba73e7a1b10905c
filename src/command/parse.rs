//! Options of each command. The texts, and the order in which mistakes are noticed, are Redis 7's.
//!
//! The number of words was checked against the table before, so `[key]` and the like always match.

pub(super) mod bits;
pub(super) mod connection;
mod expiry;
pub(super) mod keys;
pub(super) mod keyspace;
pub(super) mod lcs;
pub(super) mod pubsub;
pub(super) mod server;
pub(super) mod strings;
pub(super) mod transaction;

use bytes::Bytes;
use smallvec::smallvec;

use super::integers::integer;
use super::{Command, Query, Rejection, wrong_arity};

type Parsed = Result<Command, Rejection>;

fn reject<T>(text: impl Into<String>) -> Result<T, Rejection> {
    Err(Rejection::late(text))
}

fn syntax_error<T>() -> Result<T, Rejection> {
    reject("ERR syntax error")
}

/// A word as an error shows it: as C has it, up to a NUL.
pub(super) fn quoted(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    let end = memchr::memchr(0, bytes).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end])
}

/// The same, up to 128 bytes of it.
fn shown(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    quoted(&bytes[..bytes.len().min(128)])
}

/// Whether an option is this one; as C has it, up to a NUL.
pub(super) fn is(word: &[u8], name: &str) -> bool {
    let word = word.split(|byte| *byte == 0).next().unwrap_or_default();
    word.eq_ignore_ascii_case(name.as_bytes())
}

fn integer_or_reject(bytes: &[u8]) -> Result<i64, Rejection> {
    integer(bytes).ok_or_else(|| Rejection::late("ERR value is not an integer or out of range"))
}

fn one_key(operands: &[Bytes], name: &str, make: impl FnOnce(Bytes) -> Command) -> Parsed {
    match operands {
        [key] => Ok(make(key.clone())),
        _ => Err(wrong_arity(name)),
    }
}

/// A read of one key.
fn read(operands: &[Bytes], name: &str, query: Query) -> Parsed {
    one_key(operands, name, |key| Command::Read(smallvec![key], query))
}

fn unknown_subcommand<T>(container: &str, subcommand: &[u8]) -> Result<T, Rejection> {
    Err(Rejection::early(format!(
        "ERR unknown subcommand '{}'. Try {container} HELP.",
        shown(subcommand)
    )))
}

/// A subcommand that is known, with arguments that it does not take.
fn misused_subcommand<T>(container: &str, operands: &[Bytes]) -> Result<T, Rejection> {
    reject(format!(
        "ERR unknown subcommand or wrong number of arguments for '{}'. Try {container} HELP.",
        operands
            .first()
            .map_or_else(Default::default, |name| shown(name))
    ))
}

/// A time to wait, in milliseconds.
fn timeout_millis(bytes: &[u8]) -> Result<u64, Rejection> {
    let millis = integer(bytes)
        .ok_or_else(|| Rejection::late("ERR timeout is not an integer or out of range"))?;
    u64::try_from(millis).map_err(|_| Rejection::late("ERR timeout is negative"))
}

/// A 32-bit integer: the number of a database.
fn database(bytes: &[u8]) -> Result<i32, Rejection> {
    i32::try_from(integer_or_reject(bytes)?).map_err(|_| {
        Rejection::late(format!(
            "ERR value is out of range, value must between {} and {}",
            i32::MIN,
            i32::MAX
        ))
    })
}

/// The first word in lower case, and the rest.
fn subcommand(operands: &[Bytes]) -> (String, &[Bytes]) {
    match operands.split_first() {
        Some((name, rest)) => (String::from_utf8_lossy(name).to_ascii_lowercase(), rest),
        None => (String::new(), operands),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Timestamp;
    use crate::command::mutation::{Deadline, Mutation, SetExpiry};

    fn parse(line: &str) -> Result<Command, String> {
        let args: Vec<Bytes> = line
            .split(' ')
            .map(|word| Bytes::copy_from_slice(word.as_bytes()))
            .collect();
        Command::parse(&args, 1024).map_err(|rejection| rejection.text)
    }

    fn expiry(line: &str) -> SetExpiry {
        match parse(line) {
            Ok(Command::Write(_, Mutation::Set(set))) => set.expiry,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_expiry_of_a_set_has_four_units() {
        assert_eq!(expiry("set k v"), SetExpiry::Discard);
        assert_eq!(expiry("set k v keepttl"), SetExpiry::Keep);
        assert_eq!(
            expiry("set k v EX 2"),
            SetExpiry::Until(Deadline::InMillis(2000))
        );
        assert_eq!(
            expiry("set k v px 2"),
            SetExpiry::Until(Deadline::InMillis(2))
        );
        let at = |millis| SetExpiry::Until(Deadline::At(Timestamp::from_millis(millis)));
        assert_eq!(expiry("set k v exat 2"), at(2000));
        assert_eq!(expiry("set k v pxat 2"), at(2));
    }

    #[test]
    fn mistakes_have_the_words_of_redis() {
        for (line, expected) in [
            (
                "nope a b",
                "ERR unknown command 'nope', with args beginning with: 'a' 'b' ",
            ),
            ("get", "ERR wrong number of arguments for 'get' command"),
            ("GET a b", "ERR wrong number of arguments for 'get' command"),
            ("set k v nx xx", "ERR syntax error"),
            ("set k v ex 1 keepttl", "ERR syntax error"),
            ("set k v keepttl px 1", "ERR syntax error"),
            ("set k v ex", "ERR syntax error"),
            ("set k v ex 0", "ERR invalid expire time in 'set' command"),
            (
                "set k v ex x",
                "ERR value is not an integer or out of range",
            ),
            (
                "set k v ex +1",
                "ERR value is not an integer or out of range",
            ),
            (
                "set k v ex 01",
                "ERR value is not an integer or out of range",
            ),
            (
                "set k v ex 9223372036854775807",
                "ERR invalid expire time in 'set' command",
            ),
            (
                "set k v px 9223372036854775807",
                "ERR invalid expire time in 'set' command",
            ),
            (
                "expire k 1 gt lt",
                "ERR GT and LT options at the same time are not compatible",
            ),
            ("expire k 1 foo", "ERR Unsupported option foo"),
            (
                "mset a b c",
                "ERR wrong number of arguments for 'mset' command",
            ),
            ("select 1", "ERR DB index is out of range"),
            ("hello 4", "NOPROTO unsupported protocol version"),
            ("hello 3 foo", "ERR Syntax error in HELLO option 'foo'"),
            (
                "client nope",
                "ERR unknown subcommand 'nope'. Try CLIENT HELP.",
            ),
            (
                "client setname",
                "ERR wrong number of arguments for 'client|setname' command",
            ),
        ] {
            assert_eq!(parse(line).unwrap_err(), expected, "{line}");
        }
    }
}
