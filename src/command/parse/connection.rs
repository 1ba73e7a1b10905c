//! Commands on the connection.

use bytes::Bytes;

use super::{
    Parsed, database, integer, integer_or_reject, is, misused_subcommand, one_key, quoted, reject,
    shown, subcommand, syntax_error, timeout_millis, unknown_subcommand,
};
use crate::command::control::{
    Client, ClientFilter, ClientKind, Control, Credentials, Hello, KillFilter, ReplyMode,
};
use crate::command::{Command, Rejection, help, wrong_arity};

pub(in crate::command) fn ping(operands: &[Bytes]) -> Parsed {
    match operands {
        [] => Ok(Command::Control(Control::Ping(None))),
        [message] => Ok(Command::Control(Control::Ping(Some(message.clone())))),
        _ => Err(wrong_arity("ping")),
    }
}

pub(in crate::command) fn echo(operands: &[Bytes]) -> Parsed {
    one_key(operands, "echo", |message| {
        Command::Control(Control::Echo(message))
    })
}

pub(in crate::command) fn quit(_operands: &[Bytes]) -> Parsed {
    Ok(Command::Control(Control::Quit))
}

pub(in crate::command) fn reset(_operands: &[Bytes]) -> Parsed {
    Ok(Command::Control(Control::Reset))
}

pub(in crate::command) fn select(operands: &[Bytes]) -> Parsed {
    match operands {
        [index] if database(index)? == 0 => Ok(Command::Control(Control::Select)),
        _ => reject("ERR DB index is out of range"),
    }
}

pub(in crate::command) fn auth(operands: &[Bytes]) -> Parsed {
    match operands {
        [password] => Ok(Command::Control(Control::Auth(Credentials {
            username: None,
            password: password.clone(),
        }))),
        [username, password] => Ok(Command::Control(Control::Auth(Credentials {
            username: Some(username.clone()),
            password: password.clone(),
        }))),
        _ => syntax_error(),
    }
}

pub(in crate::command) fn hello(operands: &[Bytes]) -> Parsed {
    let mut hello = Hello::default();
    let Some((version, options)) = operands.split_first() else {
        return Ok(Command::Control(Control::Hello(hello)));
    };
    match integer(version) {
        None => return reject("ERR Protocol version is not an integer or out of range"),
        Some(version @ 2..=3) => hello.version = Some(version),
        Some(_) => return reject("NOPROTO unsupported protocol version"),
    }
    let mut rest = options;
    loop {
        rest = match rest {
            [] => return Ok(Command::Control(Control::Hello(hello))),
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
                    quoted(option)
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

pub(in crate::command) fn client(operands: &[Bytes]) -> Parsed {
    let (name, rest) = subcommand(operands);
    let client = match (name.as_str(), rest) {
        ("id", []) => Client::Id,
        ("getname", []) => Client::GetName,
        ("info", []) => Client::Info,
        ("help", []) => return Ok(Command::Help(help::CLIENT)),
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
        ("kill", [address]) => Client::KillAddress(address.clone()),
        ("kill", [_, _, ..]) => Client::Kill(kill_filter(rest)?),
        ("pause", [timeout]) => pause(timeout, false)?,
        ("pause", [timeout, mode]) if is(mode, "write") => pause(timeout, true)?,
        ("pause", [timeout, mode]) if is(mode, "all") => pause(timeout, false)?,
        ("pause", [_, _]) => return reject("ERR CLIENT PAUSE mode must be WRITE or ALL"),
        ("unpause", []) => Client::Unpause,
        ("reply", [mode]) if is(mode, "on") => Client::Reply(ReplyMode::On),
        ("reply", [mode]) if is(mode, "off") => Client::Reply(ReplyMode::Off),
        ("reply", [mode]) if is(mode, "skip") => Client::Reply(ReplyMode::Skip),
        ("no-evict", [mode]) => Client::NoEvict(on_or_off(mode)?),
        ("no-touch", [mode]) => {
            on_or_off(mode)?;
            Client::NoTouch
        }
        ("tracking", [mode, ..]) if on_or_off(mode)? => return reject(NO_TRACKING),
        ("tracking", [_]) => Client::TrackingOff,
        ("tracking", [_, ..]) | ("reply", [_]) => return syntax_error(),
        ("trackinginfo", []) => Client::TrackingInfo,
        ("getredir", []) => Client::GetRedirection,
        ("caching", [_]) => return reject(NOT_TRACKING),
        ("unblock", [id]) => unblock(id)?,
        ("unblock", [id, reason]) if is(reason, "timeout") || is(reason, "error") => unblock(id)?,
        ("unblock", [_, _]) => {
            return reject("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
        }
        ("pause", [_, _, ..]) | ("unblock", [_, ..]) => {
            return misused_subcommand("CLIENT", operands);
        }
        (
            "id" | "getname" | "info" | "help" | "setname" | "setinfo" | "kill" | "pause"
            | "unpause" | "reply" | "no-evict" | "no-touch" | "tracking" | "trackinginfo"
            | "getredir" | "caching" | "unblock",
            _,
        ) => return Err(wrong_arity(&format!("client|{name}"))),
        _ => return unknown_subcommand("CLIENT", operands.first().map_or(&b""[..], |name| name)),
    };
    Ok(Command::Control(Control::Client(client)))
}

/// Redis' own words for a connection that does not track.
const NOT_TRACKING: &str = "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled";

const NO_TRACKING: &str = "ERR CLIENT TRACKING is not served: the proxy does not tell clients which keys change; read without a cache of your own";

fn on_or_off(mode: &[u8]) -> Result<bool, Rejection> {
    match mode {
        mode if is(mode, "on") => Ok(true),
        mode if is(mode, "off") => Ok(false),
        _ => syntax_error(),
    }
}

/// A day. Nobody could end a longer pause, as CLIENT UNPAUSE waits as well.
const PAUSE_MAX: u64 = 24 * 60 * 60 * 1000;

fn pause(timeout: &[u8], writes_only: bool) -> Result<Client, Rejection> {
    let millis = timeout_millis(timeout)?;
    if millis > PAUSE_MAX {
        return reject("ERR timeout is out of range");
    }
    Ok(Client::Pause {
        millis,
        writes_only,
    })
}

/// Nobody waits for a key here, so nobody can be woken; the id is looked at all the same.
fn unblock(id: &[u8]) -> Result<Client, Rejection> {
    integer_or_reject(id).map(|_| Client::Unblock)
}

fn client_filter(options: &[Bytes]) -> Result<ClientFilter, Rejection> {
    match options {
        [] => Ok(ClientFilter::All),
        [option, kind] if is(option, "type") => client_kind(kind).map(ClientFilter::Kind),
        [option, ids @ ..] if is(option, "id") && !ids.is_empty() => ids
            .iter()
            .map(|id| integer(id).ok_or_else(|| Rejection::late("ERR Invalid client ID")))
            .collect::<Result<_, _>>()
            .map(ClientFilter::Ids),
        _ => syntax_error(),
    }
}

fn client_kind(kind: &[u8]) -> Result<ClientKind, Rejection> {
    [
        ("normal", ClientKind::Normal),
        ("pubsub", ClientKind::PubSub),
        ("master", ClientKind::Replication),
        ("replica", ClientKind::Replication),
        ("slave", ClientKind::Replication),
    ]
    .into_iter()
    .find_map(|(name, found)| is(kind, name).then_some(found))
    .ok_or_else(|| Rejection::late(format!("ERR Unknown client type '{}'", shown(kind))))
}

fn kill_filter(options: &[Bytes]) -> Result<KillFilter, Rejection> {
    let mut filter = KillFilter::default();
    let (pairs, rest) = options.as_chunks::<2>();
    for [option, value] in pairs {
        match option {
            option if is(option, "id") => {
                let id = integer(value).and_then(|id| u64::try_from(id).ok());
                filter.id =
                    Some(id.filter(|id| *id > 0).ok_or_else(|| {
                        Rejection::late("ERR client-id should be greater than 0")
                    })?);
            }
            option if is(option, "type") => filter.kind = Some(client_kind(value)?),
            option if is(option, "addr") => filter.address = Some(value.clone()),
            option if is(option, "laddr") => filter.local_address = Some(value.clone()),
            // Whether there is such a user is looked up when the command is executed.
            option if is(option, "user") => filter.user = Some(value.clone()),
            option if is(option, "skipme") && is(value, "yes") => filter.with_me = false,
            option if is(option, "skipme") && is(value, "no") => filter.with_me = true,
            _ => return syntax_error(),
        }
    }
    if rest.is_empty() {
        Ok(filter)
    } else {
        syntax_error()
    }
}
