//! GET, SET and their relatives.

use bytes::Bytes;

use super::expiry::ExpiryUnit;
use super::{Parsed, integer_or_reject, is, one_key, syntax_error};
use crate::command::mutation::{Existence, Mutation, Set, SetExpiry};
use crate::command::{Command, wrong_arity};

pub(in crate::command) fn get(operands: &[Bytes]) -> Parsed {
    one_key(operands, "get", Command::Get)
}

pub(in crate::command) fn mget(operands: &[Bytes]) -> Parsed {
    Ok(Command::MGet(operands.to_vec()))
}

pub(in crate::command) fn mset(operands: &[Bytes]) -> Parsed {
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
            set.get = true;
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
