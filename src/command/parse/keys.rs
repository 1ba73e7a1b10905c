//! Commands on keys of any type.

use bytes::Bytes;

use super::expiry::{absolute, relative};
use super::{
    Parsed, database, integer_or_reject, is, one_key, quoted, read, reject, subcommand,
    syntax_error, unknown_subcommand,
};
use crate::command::help;
use crate::command::mutation::{Deadline, ExpireCondition, Mutation};
use crate::command::{Command, Many, Query, Rejection, Unit, wrong_arity};

pub(in crate::command) fn exists(operands: &[Bytes]) -> Parsed {
    Ok(Command::Read(operands.into(), Query::Count))
}

pub(in crate::command) fn delete(operands: &[Bytes]) -> Parsed {
    Ok(Command::Delete(operands.to_vec()))
}

pub(in crate::command) fn ttl(operands: &[Bytes]) -> Parsed {
    read(operands, "ttl", Query::TimeToLive(Unit::Seconds))
}

pub(in crate::command) fn pttl(operands: &[Bytes]) -> Parsed {
    read(operands, "pttl", Query::TimeToLive(Unit::Millis))
}

pub(in crate::command) fn persist(operands: &[Bytes]) -> Parsed {
    one_key(operands, "persist", |key| {
        Command::Write(key, Mutation::Persist)
    })
}

pub(in crate::command) fn expire(operands: &[Bytes]) -> Parsed {
    expire_when(operands, "expire", |amount| {
        relative(amount, 1000, "expire")
    })
}

pub(in crate::command) fn pexpire(operands: &[Bytes]) -> Parsed {
    expire_when(operands, "pexpire", |amount| relative(amount, 1, "pexpire"))
}

pub(in crate::command) fn expireat(operands: &[Bytes]) -> Parsed {
    expire_when(operands, "expireat", |amount| {
        absolute(amount, 1000, "expireat")
    })
}

pub(in crate::command) fn pexpireat(operands: &[Bytes]) -> Parsed {
    expire_when(operands, "pexpireat", |amount| {
        absolute(amount, 1, "pexpireat")
    })
}

fn expire_when(
    operands: &[Bytes],
    name: &str,
    deadline: impl FnOnce(i64) -> Result<Deadline, Rejection>,
) -> Parsed {
    let [key, amount, options @ ..] = operands else {
        return Err(wrong_arity(name));
    };
    let condition = expire_condition(options)?;
    let deadline = deadline(integer_or_reject(amount)?)?;
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
            other => return reject(format!("ERR Unsupported option {}", quoted(other))),
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

pub(in crate::command) fn expiretime(operands: &[Bytes]) -> Parsed {
    read(operands, "expiretime", Query::ExpireTime(Unit::Seconds))
}

pub(in crate::command) fn pexpiretime(operands: &[Bytes]) -> Parsed {
    read(operands, "pexpiretime", Query::ExpireTime(Unit::Millis))
}

pub(in crate::command) fn kind(operands: &[Bytes]) -> Parsed {
    read(operands, "type", Query::Type)
}

pub(in crate::command) fn rename(operands: &[Bytes]) -> Parsed {
    rename_if(operands, "rename", false)
}

pub(in crate::command) fn renamenx(operands: &[Bytes]) -> Parsed {
    rename_if(operands, "renamenx", true)
}

fn rename_if(operands: &[Bytes], name: &str, if_absent: bool) -> Parsed {
    let [from, to] = operands else {
        return Err(wrong_arity(name));
    };
    Ok(Command::Together(Many::Rename {
        from: from.clone(),
        to: to.clone(),
        if_absent,
    }))
}

pub(in crate::command) fn copy(operands: &[Bytes]) -> Parsed {
    let [from, to, options @ ..] = operands else {
        return Err(wrong_arity("copy"));
    };
    let mut replace = false;
    let mut options = options.iter();
    while let Some(option) = options.next() {
        if is(option, "replace") {
            replace = true;
        } else if let (true, Some(index)) = (is(option, "db"), options.next()) {
            if database(index)? != 0 {
                return reject("ERR DB index is out of range");
            }
        } else {
            return syntax_error();
        }
    }
    if from == to {
        return reject("ERR source and destination objects are the same");
    }
    Ok(Command::Together(Many::Copy {
        from: from.clone(),
        to: to.clone(),
        replace,
    }))
}

pub(in crate::command) fn object(operands: &[Bytes]) -> Parsed {
    let (name, rest) = subcommand(operands);
    let query = match name.as_str() {
        "encoding" => Query::Encoding,
        "freq" => Query::Frequency,
        "idletime" => Query::IdleTime,
        "refcount" => Query::ReferenceCount,
        "help" if rest.is_empty() => return Ok(Command::Help(help::OBJECT)),
        "help" => return Err(wrong_arity("object|help")),
        _ => return unknown_subcommand("OBJECT", operands.first().map_or(&b""[..], |name| name)),
    };
    read(rest, &format!("object|{name}"), query)
}
