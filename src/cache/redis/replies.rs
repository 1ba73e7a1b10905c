//! What Redis answers.

use ::redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};
use bytes::Bytes;

use crate::cache::Lease;
use crate::cache::entry::{self, Entry};

/// The entry in a reply.
fn decode(reply: Value) -> Option<Entry> {
    match reply {
        Value::BulkString(bytes) => entry::decode(Bytes::from(bytes)),
        _ => None,
    }
}

/// What `SET … NX GET` says.
pub(super) fn lease_answer(reply: Value) -> RedisResult<Lease> {
    match reply {
        Value::Nil => Ok(Lease::Granted),
        Value::BulkString(_) => Ok(match decode(reply) {
            Some(Entry::Value(cached)) => Lease::Value(cached),
            // What is no entry is deleted when the reader says what he has seen.
            Some(Entry::Lease) | None => Lease::Held,
        }),
        // No room for a lease: the reader goes on as if he had met another's.
        Value::ServerError(error) if error.code() == "OOM" => Ok(Lease::Held),
        Value::ServerError(error) if error.code() == "WRONGTYPE" => Ok(Lease::Held),
        Value::ServerError(error) => Err(error.into()),
        _ => Err(unexpected_reply()),
    }
}

pub(super) fn expect_count(replies: Vec<Value>, count: usize) -> RedisResult<Vec<Value>> {
    if replies.len() == count {
        Ok(replies)
    } else {
        Err(unexpected_reply())
    }
}

fn unexpected_reply() -> RedisError {
    RedisError::from((ErrorKind::UnexpectedReturnType, "an unexpected reply"))
}

pub(super) fn is_no_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
