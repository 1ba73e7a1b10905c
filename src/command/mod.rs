//! What a command means: the table of commands ([`table`]), their options (`parse.rs`), what a read
//! answers ([`query`]), what a write does to a row ([`mutation`]) or to several ([`operation`]). Pure: no
//! sockets, no tasks.

pub mod bits;
pub mod categories;
pub mod control;
pub mod edit;
pub mod glob;
mod help;
mod integers;
pub mod keyed;
pub mod keyspace;
pub mod lcs;
pub mod long_double;
pub mod mutation;
pub mod operation;
mod outcome;
mod parse;
pub mod query;
pub mod row;
pub mod rows;
pub mod subcommands;
pub mod syntax;
pub mod table;
pub mod transaction;
pub mod unsupported;

use bytes::Bytes;
use smallvec::SmallVec;

pub use control::Control;
pub use keyspace::Keyspace;
pub use mutation::{Deadline, Mutation, Set, SetExpiry};
pub use operation::{Many, Operation};
pub use outcome::Outcome;
pub use query::{Query, Unit};
pub use row::{Row, Stamp, Timestamp};
pub use rows::Rows;
pub use transaction::Transaction;

/// A command that the proxy serves, with its arguments understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A read: its keys, and what is asked of them.
    Read(SmallVec<[Bytes; 1]>, Query),
    /// A write to one key: SET, EXPIRE and relatives, PERSIST.
    Write(Bytes, Mutation),
    /// `DEL, UNLINK key [key …]`
    Delete(Vec<Bytes>),
    /// `MSET key value [key value …]`
    MSet(Vec<(Bytes, Bytes)>),
    /// A write that looks at several keys at one instant.
    Together(Many),
    /// MULTI, EXEC, DISCARD, WATCH, UNWATCH
    Transaction(Transaction),
    /// The text of a HELP subcommand.
    Help(&'static [&'static str]),
    /// A command on all keys of all shards.
    Keyspace(Keyspace),
    /// A command on the connection or the server, not on data.
    Control(Control),
}

/// A command that is not served as it was given; in Redis' own words. The connection goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Rejection {
    /// The error.
    pub text: String,
    /// Whether Redis refuses it before it is executed: unknown, or a wrong number of words. In a
    /// transaction that is when it is queued, and the transaction is discarded.
    pub is_early: bool,
}

impl Rejection {
    /// What is noticed when the command is executed: its options.
    pub fn late(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            is_early: false,
        }
    }

    /// What is noticed before.
    pub fn early(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            is_early: true,
        }
    }
}

impl Command {
    /// Understands the words of a request; `args` has at least one. `value_max` is the length of the
    /// longest value, in bytes: what Redis calls `proto-max-bulk-len`.
    ///
    /// # Errors
    ///
    /// The command is unknown, has the wrong number of arguments, or an option is wrong.
    pub fn parse(args: &[Bytes], value_max: usize) -> Result<Command, Rejection> {
        let (name, operands) = args
            .split_first()
            .ok_or_else(|| Rejection::early("ERR empty command"))?;
        let spec = table::find(name).ok_or_else(|| unknown(name, operands))?;
        if !spec.accepts(args.len()) {
            return Err(Rejection::early(wrong_arity(spec.name).text));
        }
        match spec.parse {
            table::Parse::Plain(parse) => parse(operands),
            table::Parse::Bounded(parse) => parse(operands, value_max),
        }
    }

    /// Tells each key of a command on data.
    pub fn keys(&self, tell: &mut dyn FnMut(&Bytes)) {
        match self {
            Command::Read(keys, _) => keys.iter().for_each(tell),
            Command::Write(key, _) => tell(key),
            Command::Delete(keys) | Command::Transaction(Transaction::Watch(keys)) => {
                keys.iter().for_each(tell);
            }
            Command::MSet(pairs) => pairs.iter().for_each(|(key, _)| tell(key)),
            Command::Together(many) => many.keys(&mut |key, _| tell(key)),
            Command::Transaction(_)
            | Command::Help(_)
            | Command::Keyspace(_)
            | Command::Control(_) => {}
        }
    }

    /// Length of its longest key, in bytes.
    pub fn longest_key(&self) -> usize {
        if let Command::Read(keys, _) = self {
            return keys.iter().map(Bytes::len).max().unwrap_or(0);
        }
        let mut longest = 0;
        self.keys(&mut |key| longest = longest.max(key.len()));
        longest
    }

    /// Length of the longest value that it brings along, in bytes.
    pub fn longest_value(&self) -> usize {
        match self {
            Command::Write(_, mutation) => mutation.weight(),
            Command::MSet(pairs) | Command::Together(Many::SetIfNone(pairs)) => {
                let lengths = pairs.iter().map(|(_, value)| value.len());
                lengths.max().unwrap_or(0)
            }
            _ => 0,
        }
    }
}

/// The text of Redis 7, which shows the first arguments up to 128 bytes, each up to a NUL.
fn unknown(name: &[u8], operands: &[Bytes]) -> Rejection {
    let mut shown = String::new();
    for operand in operands {
        if shown.len() >= 128 {
            break;
        }
        let room = 128 - shown.len();
        let cut = &operand[..operand.len().min(room)];
        shown.push_str(&format!("'{}' ", parse::quoted(cut)));
    }
    let name = parse::quoted(&name[..name.len().min(128)]);
    Rejection::early(format!(
        "ERR unknown command '{name}', with args beginning with: {shown}"
    ))
}

/// A number of words that the command, or a subcommand as `client|id`, does not take. What the table does
/// not say is noticed when the command is executed; what subcommands take is in Redis' table.
fn wrong_arity(name: &str) -> Rejection {
    Rejection {
        text: format!("ERR wrong number of arguments for '{name}' command"),
        is_early: name.contains('|'),
    }
}
