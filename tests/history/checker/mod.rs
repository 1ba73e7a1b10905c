//! Decides whether one key's history is linearizable: whether each call can be given one instant between its call and
//! its answer, so that the answers are those of a register which does one thing at a time.
//!
//! The search is the just-in-time linearization of Lowe (Testing for linearizability, 2017): it goes through the calls
//! and answers in the order of their times, and keeps the set of all configurations that the register may be in. A call
//! is given its instant only when an answer needs it. If no configuration is left, there is no such order of instants,
//! and the history is a violation; otherwise it is none. Nothing is guessed on either side.
//!
//! The existing crates were looked at: todc-utils and stateright want every call answered and have no notion of time,
//! so that unknown outcomes and expiry would have to be brought to them as further calls, which multiply their search.
//!
//! What is particular here:
//!
//! - **Unknown outcomes** never end. Those whose value somebody saw have taken effect by then, which gives them an end.
//!   The others are alike as far as any answer can tell, and are counted instead of told apart (see `search`).
//! - **Expiry** is decided by a clock that read some instant between the call and the answer of the write. So the value
//!   may vanish from `call + time to live` on, and must be gone at `answer + time to live`.
//! - **Reads** change nothing: a read is given its instant as soon as the register shows what it saw.

mod at_random;
mod brute;
mod by_hand;
mod make;
mod op;
mod search;
mod size;

use std::collections::HashMap;
use std::fmt;

pub use op::{Does, Nanos, Op, Saw, Value};

/// By how much the shard's clock and the clients' may have drifted apart within one time to live, on one machine.
pub const CLOCK_SLACK: Nanos = 5_000_000;

/// Why a history is not that of a register.
#[derive(Debug)]
pub struct Violation {
    /// What was found.
    pub what: String,
    /// The call at which it was found.
    pub at: Op,
    /// The calls around it, in the order of their calls.
    pub around: Vec<Op>,
    /// Calls after it that saw what had to be gone by then.
    pub later: Vec<Op>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        writeln!(f, "  found at  {}", self.at)?;
        for op in &self.around {
            writeln!(f, "            {op}")?;
        }
        for op in &self.later {
            writeln!(f, "   and yet  {op}")?;
        }
        Ok(())
    }
}

/// Checks the history of a key that was absent at its beginning.
pub fn check(history: &[Op]) -> Result<(), Box<Violation>> {
    check_with_slack(history, CLOCK_SLACK)
}

/// The same with another slack of the clocks.
pub fn check_with_slack(history: &[Op], slack: Nanos) -> Result<(), Box<Violation>> {
    let writers = writers(history);
    for op in history {
        assert!(
            op.answer.is_some() || is_known_without_answer(op),
            "it has no answer that could have told this: {op}"
        );
        let (Saw::This(value), Some(answer)) = (op.saw, op.answer) else {
            continue;
        };
        match writers.get(&value) {
            None => {
                return Err(violation(
                    history,
                    op,
                    "a value of no write that was acknowledged or may have happened",
                ));
            }
            Some(writer) if history[*writer].call > answer => {
                return Err(violation(history, op, "a value before it was written"));
            }
            Some(_) => {}
        }
    }
    search::search(history, &writers, slack)
}

/// A call of unknown outcome has the condition that the command itself has, and none that an answer tells.
fn is_known_without_answer(op: &Op) -> bool {
    match op.does {
        Does::Put(..) => matches!(op.saw, Saw::Whatever | Saw::Nothing),
        Does::Clear | Does::Keep => matches!(op.saw, Saw::Whatever | Saw::Something),
    }
}

/// Which write each value is of.
fn writers(history: &[Op]) -> HashMap<Value, usize> {
    let mut writers = HashMap::new();
    for (index, op) in history.iter().enumerate() {
        if let Some(value) = op.puts() {
            let other = writers.insert(value, index);
            assert!(other.is_none(), "two writes have the value {value}");
        }
    }
    writers
}

/// How many calls around a violation are shown.
const AROUND: usize = 30;

fn violation(history: &[Op], at: &Op, what: &str) -> Box<Violation> {
    let end = at.answer.unwrap_or(at.call);
    // The value in question may be an old one: its own calls are shown as well.
    let is_of_value = |op: &Op| match at.saw {
        Saw::This(value) => op.puts() == Some(value) || op.saw == Saw::This(value),
        _ => false,
    };
    let mut before: Vec<Op> = history
        .iter()
        .filter(|op| op.call <= end)
        .copied()
        .collect();
    before.sort_by_key(|op| op.call);
    let recent = before.len().saturating_sub(AROUND);
    let mut of_value: Vec<Op> = before[..recent]
        .iter()
        .filter(|op| is_of_value(op))
        .copied()
        .collect();
    of_value.truncate(AROUND);
    Box::new(Violation {
        what: what.to_owned(),
        at: *at,
        around: of_value
            .into_iter()
            .chain(before.split_off(recent))
            .collect(),
        later: Vec::new(),
    })
}
