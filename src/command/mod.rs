//! What a command means: the table of commands ([`table`]), their options (`parse.rs`), and what a
//! write does to a row ([`mutation`]). Pure: no sockets, no tasks.

pub mod control;
pub mod glob;
mod help;
pub mod mutation;
mod parse;
pub mod row;
pub mod table;
pub mod unsupported;

use bytes::Bytes;

pub use control::Control;
pub use mutation::{Deadline, Mutation, Outcome, Set, SetExpiry};
pub use row::{Row, Stamp, Timestamp};

/// A command that the proxy serves, with its arguments understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// GET key
    Get(Bytes),
    /// `MGET key [key …]`
    MGet(Vec<Bytes>),
    /// `EXISTS key [key …]`; a key counts as often as it is named.
    Exists(Vec<Bytes>),
    /// TTL key, PTTL key
    TimeToLive(Bytes, Unit),
    /// A write to one key: SET, EXPIRE and relatives, PERSIST.
    Write(Bytes, Mutation),
    /// `DEL, UNLINK key [key …]`
    Delete(Vec<Bytes>),
    /// `MSET key value [key value …]`
    MSet(Vec<(Bytes, Bytes)>),
    /// A command on all keys of all shards.
    Keyspace(Keyspace),
    /// A command on the connection or the server, not on data.
    Control(Control),
}

/// The unit in which a time to live is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// TTL, rounded to the nearest second as Redis does.
    Seconds,
    /// PTTL
    Millis,
}

/// Commands on all keys of all shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keyspace {
    /// DBSIZE
    Count,
    /// FLUSHDB, FLUSHALL, with or without ASYNC and SYNC
    Flush,
}

/// A command that is not served as it was given; in Redis' own words. The connection goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Rejection(pub String);

impl Command {
    /// Understands the words of a request; `args` has at least one.
    ///
    /// # Errors
    ///
    /// The command is unknown, has the wrong number of arguments, or an option is wrong.
    pub fn parse(args: &[Bytes]) -> Result<Command, Rejection> {
        let (name, operands) = args
            .split_first()
            .ok_or_else(|| Rejection("ERR empty command".into()))?;
        let spec = table::find(name).ok_or_else(|| unknown(name, operands))?;
        if !spec.accepts(args.len()) {
            return Err(wrong_arity(spec.name));
        }
        (spec.parse)(operands)
    }
}

/// The text of Redis 7, which shows the first arguments up to 128 bytes.
fn unknown(name: &[u8], operands: &[Bytes]) -> Rejection {
    let mut shown = String::new();
    for operand in operands {
        if shown.len() >= 128 {
            break;
        }
        let room = 128 - shown.len();
        let cut = &operand[..operand.len().min(room)];
        shown.push_str(&format!("'{}' ", String::from_utf8_lossy(cut)));
    }
    let name = &name[..name.len().min(128)];
    Rejection(format!(
        "ERR unknown command '{}', with args beginning with: {shown}",
        String::from_utf8_lossy(name)
    ))
}

fn wrong_arity(name: &str) -> Rejection {
    Rejection(format!(
        "ERR wrong number of arguments for '{name}' command"
    ))
}
