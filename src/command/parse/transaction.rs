//! MULTI and what goes with it.

use bytes::Bytes;

use super::Parsed;
use crate::command::{Command, Transaction};

pub(in crate::command) fn multi(_operands: &[Bytes]) -> Parsed {
    Ok(Command::Transaction(Transaction::Begin))
}

pub(in crate::command) fn exec(_operands: &[Bytes]) -> Parsed {
    Ok(Command::Transaction(Transaction::Execute))
}

pub(in crate::command) fn discard(_operands: &[Bytes]) -> Parsed {
    Ok(Command::Transaction(Transaction::Discard))
}

pub(in crate::command) fn watch(operands: &[Bytes]) -> Parsed {
    Ok(Command::Transaction(Transaction::Watch(operands.to_vec())))
}

pub(in crate::command) fn unwatch(_operands: &[Bytes]) -> Parsed {
    Ok(Command::Transaction(Transaction::Unwatch))
}
