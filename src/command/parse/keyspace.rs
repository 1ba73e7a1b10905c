//! Commands on all keys.

use bytes::Bytes;

use super::{Parsed, is, syntax_error};
use crate::command::{Command, Keyspace};

pub(in crate::command) fn dbsize(_operands: &[Bytes]) -> Parsed {
    Ok(Command::Keyspace(Keyspace::Count))
}

pub(in crate::command) fn flush(operands: &[Bytes]) -> Parsed {
    match operands {
        [] => Ok(Command::Keyspace(Keyspace::Flush)),
        [mode] if is(mode, "async") || is(mode, "sync") => Ok(Command::Keyspace(Keyspace::Flush)),
        _ => syntax_error(),
    }
}
