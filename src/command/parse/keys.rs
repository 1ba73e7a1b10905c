//! Commands on keys of any type.

use bytes::Bytes;

use super::expiry::relative;
use super::{Parsed, integer_or_reject, is, one_key, reject, shown};
use crate::command::mutation::{ExpireCondition, Mutation};
use crate::command::{Command, Rejection, Unit, wrong_arity};

pub(in crate::command) fn exists(operands: &[Bytes]) -> Parsed {
    Ok(Command::Exists(operands.to_vec()))
}

pub(in crate::command) fn delete(operands: &[Bytes]) -> Parsed {
    Ok(Command::Delete(operands.to_vec()))
}

pub(in crate::command) fn ttl(operands: &[Bytes]) -> Parsed {
    one_key(operands, "ttl", |key| {
        Command::TimeToLive(key, Unit::Seconds)
    })
}

pub(in crate::command) fn pttl(operands: &[Bytes]) -> Parsed {
    one_key(operands, "pttl", |key| {
        Command::TimeToLive(key, Unit::Millis)
    })
}

pub(in crate::command) fn persist(operands: &[Bytes]) -> Parsed {
    one_key(operands, "persist", |key| {
        Command::Write(key, Mutation::Persist)
    })
}

pub(in crate::command) fn expire(operands: &[Bytes]) -> Parsed {
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
