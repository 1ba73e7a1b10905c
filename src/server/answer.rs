//! From what the engine answers to replies.

use crate::command::Outcome;
use crate::error::Error;
use crate::resp::Reply;

/// The reply to an operation on data.
pub(super) fn reply(outcome: Outcome) -> Reply {
    match outcome {
        Outcome::Done => Reply::OK,
        Outcome::Nil => Reply::Null,
        Outcome::Integer(number) => Reply::Integer(number),
        Outcome::Value(value) => Reply::Bulk(value),
        Outcome::Word(word) => Reply::Status(word),
        Outcome::List(items) => Reply::Array(items.into_iter().map(reply).collect()),
        Outcome::Map(pairs) => Reply::Map(
            pairs
                .into_iter()
                .map(|(name, outcome)| (Reply::text(name), reply(outcome)))
                .collect(),
        ),
        Outcome::Failed(text) => Reply::Error(text.into_owned()),
    }
}

/// The one mapping from errors to the words of RESP clients.
pub(super) fn failed(error: &Error) -> Reply {
    Reply::Error(error.to_string())
}
