//! GET, SET and their relatives.

use bytes::Bytes;

use super::expiry::ExpiryUnit;
use super::{Parsed, integer_or_reject, is, one_key, read, reject, syntax_error};
use crate::command::edit::Edit;
use crate::command::mutation::{Existence, Mutation, Set, SetAnswer, SetExpiry};
use crate::command::{Command, Many, Query, Rejection, wrong_arity};

pub(in crate::command) fn get(operands: &[Bytes]) -> Parsed {
    read(operands, "get", Query::Value)
}

pub(in crate::command) fn mget(operands: &[Bytes]) -> Parsed {
    Ok(Command::Read(operands.into(), Query::Values))
}

pub(in crate::command) fn mset(operands: &[Bytes]) -> Parsed {
    Ok(Command::MSet(pairs(operands, "mset")?))
}

pub(in crate::command) fn msetnx(operands: &[Bytes]) -> Parsed {
    Ok(Command::Together(Many::SetIfNone(pairs(
        operands, "msetnx",
    )?)))
}

/// Keys and values in turn.
fn pairs(operands: &[Bytes], name: &str) -> Result<Vec<(Bytes, Bytes)>, Rejection> {
    let pairs = operands.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err(wrong_arity(name));
    }
    Ok(pairs
        .filter_map(|pair| Some((pair.first()?.clone(), pair.get(1)?.clone())))
        .collect())
}

pub(in crate::command) fn set(operands: &[Bytes]) -> Parsed {
    let [key, value, options @ ..] = operands else {
        return Err(wrong_arity("set"));
    };
    let mut set = Set::plain(value.clone());
    let mut expiry: Option<(ExpiryUnit, &Bytes)> = None;
    let mut options = options.iter();
    while let Some(option) = options.next() {
        if is(option, "nx") && set.condition != Some(Existence::Present) {
            set.condition = Some(Existence::Absent);
        } else if is(option, "xx") && set.condition != Some(Existence::Absent) {
            set.condition = Some(Existence::Present);
        } else if is(option, "get") {
            set.answer = SetAnswer::Previous;
        } else if is(option, "keepttl") && expiry.is_none() {
            set.expiry = SetExpiry::Keep;
        } else if let Some(unit) = ExpiryUnit::named(option)
            // The same option may come again, and the last one counts; another may not.
            .filter(|unit| {
                set.expiry == SetExpiry::Discard && expiry.is_none_or(|(known, _)| known == *unit)
            })
        {
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

pub(in crate::command) fn setex(operands: &[Bytes]) -> Parsed {
    set_for(operands, ExpiryUnit::Ex, "setex")
}

pub(in crate::command) fn psetex(operands: &[Bytes]) -> Parsed {
    set_for(operands, ExpiryUnit::Px, "psetex")
}

fn set_for(operands: &[Bytes], unit: ExpiryUnit, name: &str) -> Parsed {
    let [key, amount, value] = operands else {
        return Err(wrong_arity(name));
    };
    let mut set = Set::plain(value.clone());
    set.expiry = SetExpiry::Until(unit.deadline(integer_or_reject(amount)?, name)?);
    Ok(Command::Write(key.clone(), Mutation::Set(set)))
}

pub(in crate::command) fn setnx(operands: &[Bytes]) -> Parsed {
    let [key, value] = operands else {
        return Err(wrong_arity("setnx"));
    };
    let mut set = Set::plain(value.clone());
    set.condition = Some(Existence::Absent);
    set.answer = SetAnswer::Flag;
    Ok(Command::Write(key.clone(), Mutation::Set(set)))
}

pub(in crate::command) fn getset(operands: &[Bytes]) -> Parsed {
    let [key, value] = operands else {
        return Err(wrong_arity("getset"));
    };
    let mut set = Set::plain(value.clone());
    set.answer = SetAnswer::Previous;
    Ok(Command::Write(key.clone(), Mutation::Set(set)))
}

pub(in crate::command) fn getdel(operands: &[Bytes]) -> Parsed {
    one_key(operands, "getdel", |key| {
        Command::Write(key, Mutation::TakeAway)
    })
}

pub(in crate::command) fn getex(operands: &[Bytes]) -> Parsed {
    let [key, options @ ..] = operands else {
        return Err(wrong_arity("getex"));
    };
    let mut persist = false;
    let mut expiry: Option<(ExpiryUnit, &Bytes)> = None;
    let mut options = options.iter();
    while let Some(option) = options.next() {
        if is(option, "persist") && expiry.is_none() {
            persist = true;
        } else if let Some(unit) = ExpiryUnit::named(option)
            .filter(|unit| !persist && expiry.is_none_or(|(known, _)| known == *unit))
        {
            let Some(amount) = options.next() else {
                return syntax_error();
            };
            expiry = Some((unit, amount));
        } else {
            return syntax_error();
        }
    }
    let deadline = match expiry {
        Some((unit, amount)) => integer_or_reject(amount)
            .and_then(|amount| unit.deadline(amount, "getex"))
            .map(Some),
        None if persist => Ok(None),
        None => return read(&operands[..1], "getex", Query::Value),
    };
    Ok(Command::Write(
        key.clone(),
        Mutation::GetAndExpire(deadline),
    ))
}

pub(in crate::command) fn append(operands: &[Bytes]) -> Parsed {
    let [key, suffix] = operands else {
        return Err(wrong_arity("append"));
    };
    Ok(Command::Write(
        key.clone(),
        Mutation::Edit(Edit::Append(suffix.clone())),
    ))
}

pub(in crate::command) fn strlen(operands: &[Bytes]) -> Parsed {
    read(operands, "strlen", Query::Length)
}

pub(in crate::command) fn getrange(operands: &[Bytes]) -> Parsed {
    let [_, from, to] = operands else {
        return Err(wrong_arity("getrange"));
    };
    let query = Query::Range(integer_or_reject(from)?, integer_or_reject(to)?);
    read(&operands[..1], "getrange", query)
}

pub(in crate::command) fn setrange(operands: &[Bytes]) -> Parsed {
    let [key, offset, bytes] = operands else {
        return Err(wrong_arity("setrange"));
    };
    let Ok(offset) = usize::try_from(integer_or_reject(offset)?) else {
        return reject("ERR offset is out of range");
    };
    let bytes = bytes.clone();
    Ok(Command::Write(
        key.clone(),
        Mutation::Edit(Edit::Overwrite { offset, bytes }),
    ))
}

pub(in crate::command) fn incr(operands: &[Bytes]) -> Parsed {
    one_key(operands, "incr", |key| {
        Command::Write(key, Mutation::Increment(1))
    })
}

pub(in crate::command) fn decr(operands: &[Bytes]) -> Parsed {
    one_key(operands, "decr", |key| {
        Command::Write(key, Mutation::Increment(-1))
    })
}

pub(in crate::command) fn incrby(operands: &[Bytes]) -> Parsed {
    let [key, by] = operands else {
        return Err(wrong_arity("incrby"));
    };
    Ok(Command::Write(
        key.clone(),
        Mutation::Increment(integer_or_reject(by)?),
    ))
}

pub(in crate::command) fn decrby(operands: &[Bytes]) -> Parsed {
    let [key, by] = operands else {
        return Err(wrong_arity("decrby"));
    };
    let Some(by) = integer_or_reject(by)?.checked_neg() else {
        return reject("ERR decrement would overflow");
    };
    Ok(Command::Write(key.clone(), Mutation::Increment(by)))
}

pub(in crate::command) fn incrbyfloat(operands: &[Bytes]) -> Parsed {
    let [key, by] = operands else {
        return Err(wrong_arity("incrbyfloat"));
    };
    Ok(Command::Write(
        key.clone(),
        Mutation::IncrementFloat(by.clone()),
    ))
}
