//! Options of each command. The texts, and the order in which mistakes are noticed, are Redis 7's.

use bytes::Bytes;

use super::mutation::{Deadline, Existence, ExpireCondition, Mutation, Set, SetExpiry};
use super::row::Timestamp;
use super::{
    Client, ClientFilter, Command, Credentials, Hello, Introspect, Rejection, Unit, wrong_arity,
};

type Parsed = Result<Command, Rejection>;

fn reject<T>(text: impl Into<String>) -> Result<T, Rejection> {
    Err(Rejection(text.into()))
}

fn syntax_error<T>() -> Result<T, Rejection> {
    reject("ERR syntax error")
}

fn shown(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(&bytes[..bytes.len().min(128)])
}

fn is(word: &[u8], name: &str) -> bool {
    word.eq_ignore_ascii_case(name.as_bytes())
}

/// A 64-bit integer as Redis reads it: no plus, no leading zero, no white space.
fn integer(bytes: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let magnitude = text.strip_prefix('-').unwrap_or(text);
    let canonical = magnitude == "0" && text == "0"
        || magnitude.starts_with(|first: char| matches!(first, '1'..='9'));
    if canonical { text.parse().ok() } else { None }
}

fn integer_or_reject(bytes: &[u8]) -> Result<i64, Rejection> {
    integer(bytes).ok_or_else(|| Rejection("ERR value is not an integer or out of range".into()))
}

// The number of words was checked against the table before, so `[key]` and the like always match.

pub(super) fn get(operands: &[Bytes]) -> Parsed {
    one_key(operands, "get", Command::Get)
}

pub(super) fn ttl(operands: &[Bytes]) -> Parsed {
    one_key(operands, "ttl", |key| {
        Command::TimeToLive(key, Unit::Seconds)
    })
}

pub(super) fn pttl(operands: &[Bytes]) -> Parsed {
    one_key(operands, "pttl", |key| {
        Command::TimeToLive(key, Unit::Millis)
    })
}

pub(super) fn persist(operands: &[Bytes]) -> Parsed {
    one_key(operands, "persist", |key| {
        Command::Write(key, Mutation::Persist)
    })
}

pub(super) fn echo(operands: &[Bytes]) -> Parsed {
    one_key(operands, "echo", Command::Echo)
}

fn one_key(operands: &[Bytes], name: &str, make: impl FnOnce(Bytes) -> Command) -> Parsed {
    match operands {
        [key] => Ok(make(key.clone())),
        _ => Err(wrong_arity(name)),
    }
}

pub(super) fn mget(operands: &[Bytes]) -> Parsed {
    Ok(Command::MGet(operands.to_vec()))
}

pub(super) fn exists(operands: &[Bytes]) -> Parsed {
    Ok(Command::Exists(operands.to_vec()))
}

pub(super) fn delete(operands: &[Bytes]) -> Parsed {
    Ok(Command::Delete(operands.to_vec()))
}

pub(super) fn mset(operands: &[Bytes]) -> Parsed {
    let pairs = operands.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err(wrong_arity("mset"));
    }
    Ok(Command::MSet(
        pairs
            .filter_map(|pair| Some((pair.first()?.clone(), pair.get(1)?.clone())))
            .collect(),
    ))
}

pub(super) fn set(operands: &[Bytes]) -> Parsed {
    let [key, value, options @ ..] = operands else {
        return Err(wrong_arity("set"));
    };
    let mut set = Set::plain(value.clone());
    let mut expiry: Option<(ExpiryUnit, &Bytes)> = None;
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let no_expiry_yet = set.expiry == SetExpiry::Discard && expiry.is_none();
        if is(option, "nx") && set.condition != Some(Existence::Present) {
            set.condition = Some(Existence::Absent);
        } else if is(option, "xx") && set.condition != Some(Existence::Absent) {
            set.condition = Some(Existence::Present);
        } else if is(option, "get") {
            set.get = true;
        } else if is(option, "keepttl") && expiry.is_none() {
            set.expiry = SetExpiry::Keep;
        } else if let Some(unit) = ExpiryUnit::named(option).filter(|_| no_expiry_yet) {
            let Some(amount) = options.next() else {
                return syntax_error();
            };
            expiry = Some((unit, amount));
        } else {
            return syntax_error();
        }
    }
    if let Some((unit, amount)) = expiry {
        set.expiry = SetExpiry::Until(unit.deadline(integer_or_reject(amount)?, "set")?);
    }
    Ok(Command::Write(key.clone(), Mutation::Set(set)))
}

#[derive(Clone, Copy)]
enum ExpiryUnit {
    Ex,
    Px,
    ExAt,
    PxAt,
}

impl ExpiryUnit {
    fn named(option: &[u8]) -> Option<Self> {
        [
            ("ex", Self::Ex),
            ("px", Self::Px),
            ("exat", Self::ExAt),
            ("pxat", Self::PxAt),
        ]
        .into_iter()
        .find_map(|(name, unit)| is(option, name).then_some(unit))
    }

    /// The deadline of a SET, which has to be positive and to fit in milliseconds.
    fn deadline(self, amount: i64, command: &str) -> Result<Deadline, Rejection> {
        if amount <= 0 {
            return invalid_expire(command);
        }
        match self {
            Self::Ex => relative(amount, 1000, command),
            Self::Px => relative(amount, 1, command),
            Self::ExAt => absolute(amount, 1000, command),
            Self::PxAt => absolute(amount, 1, command),
        }
    }
}

fn invalid_expire<T>(command: &str) -> Result<T, Rejection> {
    reject(format!("ERR invalid expire time in '{command}' command"))
}

/// A year far beyond any clock, as Redis adds its own now to a relative time and refuses an
/// overflow: 2^50 milliseconds, some 35,000 years.
const NOW_MILLIS_BOUND: i64 = 1 << 50;

fn relative(amount: i64, millis: i64, command: &str) -> Result<Deadline, Rejection> {
    match amount.checked_mul(millis) {
        Some(total) if total <= i64::MAX - NOW_MILLIS_BOUND => Ok(Deadline::InMillis(total)),
        _ => invalid_expire(command),
    }
}

fn absolute(amount: i64, millis: i64, command: &str) -> Result<Deadline, Rejection> {
    match amount.checked_mul(millis) {
        Some(total) => Ok(Deadline::At(Timestamp::from_millis(total))),
        None => invalid_expire(command),
    }
}

pub(super) fn expire(operands: &[Bytes]) -> Parsed {
    let [key, seconds, options @ ..] = operands else {
        return Err(wrong_arity("expire"));
    };
    let condition = expire_condition(options)?;
    let deadline = relative(integer_or_reject(seconds)?, 1000, "expire")?;
    Ok(Command::Write(
        key.clone(),
        Mutation::Expire {
            deadline,
            condition,
        },
    ))
}

fn expire_condition(options: &[Bytes]) -> Result<Option<ExpireCondition>, Rejection> {
    let (mut nx, mut xx, mut gt, mut lt) = (false, false, false, false);
    for option in options {
        match option {
            option if is(option, "nx") => nx = true,
            option if is(option, "xx") => xx = true,
            option if is(option, "gt") => gt = true,
            option if is(option, "lt") => lt = true,
            other => return reject(format!("ERR Unsupported option {}", shown(other))),
        }
    }
    if nx && (xx || gt || lt) {
        return reject("ERR NX and XX, GT or LT options at the same time are not compatible");
    }
    if gt && lt {
        return reject("ERR GT and LT options at the same time are not compatible");
    }
    // XX with GT is GT: a key without an expiry counts as infinite, so GT never holds for it.
    // XX with LT has to exclude such keys, which LT alone would accept.
    Ok(match (nx, xx, gt, lt) {
        (true, ..) => Some(ExpireCondition::NoExpiry),
        (_, _, true, _) => Some(ExpireCondition::Later),
        (_, true, _, true) => Some(ExpireCondition::HasExpiryAndEarlier),
        (_, _, _, true) => Some(ExpireCondition::Earlier),
        (_, true, ..) => Some(ExpireCondition::HasExpiry),
        _ => None,
    })
}

pub(super) fn dbsize(_operands: &[Bytes]) -> Parsed {
    Ok(Command::DbSize)
}

pub(super) fn flush(operands: &[Bytes]) -> Parsed {
    match operands {
        [] => Ok(Command::Flush),
        [mode] if is(mode, "async") || is(mode, "sync") => Ok(Command::Flush),
        _ => syntax_error(),
    }
}

pub(super) fn ping(operands: &[Bytes]) -> Parsed {
    match operands {
        [] => Ok(Command::Ping(None)),
        [message] => Ok(Command::Ping(Some(message.clone()))),
        _ => Err(wrong_arity("ping")),
    }
}

pub(super) fn quit(_operands: &[Bytes]) -> Parsed {
    Ok(Command::Quit)
}

pub(super) fn reset(_operands: &[Bytes]) -> Parsed {
    Ok(Command::Reset)
}

pub(super) fn select(operands: &[Bytes]) -> Parsed {
    match operands.first().map(|index| integer(index)) {
        Some(Some(0)) => Ok(Command::Select),
        Some(Some(_)) => reject("ERR DB index is out of range"),
        _ => reject("ERR value is not an integer or out of range"),
    }
}

pub(super) fn auth(operands: &[Bytes]) -> Parsed {
    match operands {
        [password] => Ok(Command::Auth(Credentials {
            username: None,
            password: password.clone(),
        })),
        [username, password] => Ok(Command::Auth(Credentials {
            username: Some(username.clone()),
            password: password.clone(),
        })),
        _ => syntax_error(),
    }
}

pub(super) fn hello(operands: &[Bytes]) -> Parsed {
    let mut hello = Hello::default();
    let Some((version, options)) = operands.split_first() else {
        return Ok(Command::Hello(hello));
    };
    match integer(version) {
        None => return reject("ERR Protocol version is not an integer or out of range"),
        Some(version @ 2..=3) => hello.version = Some(version),
        Some(_) => return reject("NOPROTO unsupported protocol version"),
    }
    let mut rest = options;
    loop {
        rest = match rest {
            [] => return Ok(Command::Hello(hello)),
            [option, username, password, rest @ ..] if is(option, "auth") => {
                hello.auth = Some(Credentials {
                    username: Some(username.clone()),
                    password: password.clone(),
                });
                rest
            }
            [option, name, rest @ ..] if is(option, "setname") => {
                hello.name = Some(client_text(name, "names")?);
                rest
            }
            [option, ..] => {
                return reject(format!(
                    "ERR Syntax error in HELLO option '{}'",
                    shown(option)
                ));
            }
        };
    }
}

/// A client's name or library: printable ASCII without spaces, so that CLIENT LIST stays readable.
fn client_text(text: &Bytes, what: &str) -> Result<Bytes, Rejection> {
    if text.iter().all(u8::is_ascii_graphic) {
        Ok(text.clone())
    } else {
        reject(format!(
            "ERR Client {what} cannot contain spaces, newlines or special characters."
        ))
    }
}

fn unknown_subcommand<T>(container: &str, subcommand: &[u8]) -> Result<T, Rejection> {
    reject(format!(
        "ERR unknown subcommand '{}'. Try {container} HELP.",
        shown(subcommand)
    ))
}

/// The first word in lower case, and the rest.
fn subcommand(operands: &[Bytes]) -> (String, &[Bytes]) {
    match operands.split_first() {
        Some((name, rest)) => (shown(name).to_ascii_lowercase(), rest),
        None => (String::new(), operands),
    }
}

pub(super) fn client(operands: &[Bytes]) -> Parsed {
    let (name, rest) = subcommand(operands);
    let client = match (name.as_str(), rest) {
        ("id", []) => Client::Id,
        ("getname", []) => Client::GetName,
        ("info", []) => Client::Info,
        ("help", []) => Client::Help,
        ("setname", [name]) => Client::SetName(client_text(name, "names")?),
        ("setinfo", [option, value]) if is(option, "lib-name") => {
            Client::SetLibraryName(client_text(value, "lib-name")?)
        }
        ("setinfo", [option, value]) if is(option, "lib-ver") => {
            Client::SetLibraryVersion(client_text(value, "lib-ver")?)
        }
        ("setinfo", [option, _]) => {
            return reject(format!("ERR Unrecognized option '{}'", shown(option)));
        }
        ("list", options) => Client::List(client_filter(options)?),
        ("id" | "getname" | "info" | "help" | "setname" | "setinfo", _) => {
            return Err(wrong_arity(&format!("client|{name}")));
        }
        _ => return unknown_subcommand("CLIENT", operands.first().map_or(&b""[..], |name| name)),
    };
    Ok(Command::Client(client))
}

fn client_filter(options: &[Bytes]) -> Result<ClientFilter, Rejection> {
    match options {
        [] => Ok(ClientFilter::All),
        [option, kind] if is(option, "type") => match kind {
            kind if is(kind, "normal") => Ok(ClientFilter::All),
            kind if ["master", "replica", "slave", "pubsub"]
                .iter()
                .any(|name| is(kind, name)) =>
            {
                Ok(ClientFilter::Nothing)
            }
            other => reject(format!("ERR Unknown client type '{}'", shown(other))),
        },
        [option, ids @ ..] if is(option, "id") && !ids.is_empty() => ids
            .iter()
            .map(|id| {
                integer(id)
                    .filter(|id| *id > 0)
                    .ok_or_else(|| Rejection("ERR Invalid client ID".into()))
            })
            .collect::<Result<_, _>>()
            .map(ClientFilter::Ids),
        _ => syntax_error(),
    }
}

pub(super) fn command(operands: &[Bytes]) -> Parsed {
    let (name, rest) = subcommand(operands);
    let introspect = match (name.as_str(), rest) {
        ("", []) if operands.is_empty() => Introspect::All,
        ("count", []) => Introspect::Count,
        ("list", []) => Introspect::List,
        ("help", []) => Introspect::Help,
        ("info", names) => Introspect::Info(names.to_vec()),
        ("docs", names) => Introspect::Docs(names.to_vec()),
        ("list", _) => return syntax_error(),
        ("count" | "help", _) => return Err(wrong_arity(&format!("command|{name}"))),
        _ => return unknown_subcommand("COMMAND", operands.first().map_or(&b""[..], |name| name)),
    };
    Ok(Command::Introspect(introspect))
}

pub(super) fn info(operands: &[Bytes]) -> Parsed {
    Ok(Command::Info(operands.to_vec()))
}

pub(super) fn config(operands: &[Bytes]) -> Parsed {
    let (name, rest) = subcommand(operands);
    match (name.as_str(), rest) {
        ("get", [_, ..]) => Ok(Command::ConfigGet(rest.to_vec())),
        ("get", []) => Err(wrong_arity("config|get")),
        _ => unknown_subcommand("CONFIG", operands.first().map_or(&b""[..], |name| name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, String> {
        let args: Vec<Bytes> = line
            .split(' ')
            .map(|word| Bytes::copy_from_slice(word.as_bytes()))
            .collect();
        Command::parse(&args).map_err(|rejection| rejection.0)
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
