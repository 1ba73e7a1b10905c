//! What a history is made of: one key's calls, each with what its answer tells.

use std::fmt;

/// Nanoseconds on the one clock of a run.
pub type Nanos = u64;

/// A value. Every write of a key has its own, so that an answer tells whose write it saw.
pub type Value = u64;

/// What an answer tells about the key at the moment when the call took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saw {
    /// Nothing: the call does the same whatever is there.
    Whatever,
    /// The key was absent.
    Nothing,
    /// The key was there, with some value.
    Something,
    /// The key had this value.
    This(Value),
}

/// What a call does to the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// It leaves it as it is.
    Keep,
    /// It gives it a value, for this time or for ever.
    Put(Value, Option<Nanos>),
    /// It removes it.
    Clear,
}

/// A call with its answer. All commands of a register come down to a condition and an effect: `SET … NX` that was
/// refused saw something and kept it, `DEL` that counted one saw something and cleared it.
#[derive(Clone, Copy, Debug)]
pub struct Op {
    /// Who called; only for people.
    pub client: usize,
    /// When it was called.
    pub call: Nanos,
    /// When the answer came. `None`: the outcome is unknown, so it may take effect at any time after the call, or never.
    pub answer: Option<Nanos>,
    /// The condition under which it took effect.
    pub saw: Saw,
    /// The effect.
    pub does: Does,
}

impl Op {
    /// The value that it writes.
    pub fn puts(&self) -> Option<Value> {
        match self.does {
            Does::Put(value, _) => Some(value),
            Does::Keep | Does::Clear => None,
        }
    }

    /// How long its value lives at most.
    pub fn time_to_live(&self) -> Option<Nanos> {
        match self.does {
            Does::Put(_, time_to_live) => time_to_live,
            Does::Keep | Does::Clear => None,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |nanos: Nanos| nanos as f64 / 1e6;
        write!(f, "client {:>2}  {:>12.3} .. ", self.client, ms(self.call))?;
        match self.answer {
            Some(answer) => write!(f, "{:>12.3} ms  ", ms(answer))?,
            None => write!(f, "{:>12} ms  ", "unknown")?,
        }
        match self.saw {
            Saw::Whatever => {}
            Saw::Nothing => f.write_str("saw nothing ")?,
            Saw::Something => f.write_str("saw something ")?,
            Saw::This(value) => write!(f, "saw {value} ")?,
        }
        match self.does {
            Does::Keep => Ok(()),
            Does::Put(value, None) => write!(f, "put {value}"),
            Does::Put(value, Some(ttl)) => write!(f, "put {value} for {} ms", ms(ttl)),
            Does::Clear => f.write_str("cleared"),
        }
    }
}
