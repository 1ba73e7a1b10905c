//! Commands on the connection.

use bytes::Bytes;

use super::{
    Parsed, integer, is, one_key, reject, shown, subcommand, syntax_error, unknown_subcommand,
};
use crate::command::control::{Client, ClientFilter, Control, Credentials, Hello};
use crate::command::{Command, Rejection, wrong_arity};

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
    match operands.first().map(|index| integer(index)) {
        Some(Some(0)) => Ok(Command::Control(Control::Select)),
        Some(Some(_)) => reject("ERR DB index is out of range"),
        _ => reject("ERR value is not an integer or out of range"),
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

pub(in crate::command) fn client(operands: &[Bytes]) -> Parsed {
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
    Ok(Command::Control(Control::Client(client)))
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
                    .ok_or_else(|| Rejection::late("ERR Invalid client ID"))
            })
            .collect::<Result<_, _>>()
            .map(ClientFilter::Ids),
        _ => syntax_error(),
    }
}
