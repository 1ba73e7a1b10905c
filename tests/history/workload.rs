//! What the clients do, and how an answer becomes part of a history.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::checker::{Does, Nanos, Op, Saw, Value};

/// A command on one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Get,
    /// `GET /read/{key}`.
    Read,
    Set(Value),
    /// `POST /write`.
    Write(Value),
    /// `SET … PX`.
    SetFor(Value, Duration),
    /// `SET … NX`.
    SetIfAbsent(Value),
    /// `SET … GET`.
    Swap(Value),
    Del,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The value, before the command where it is one that writes.
    Held(Option<Value>),
    /// `OK`.
    Stored,
    /// The condition did not hold.
    Refused,
    /// Whether there was something.
    Removed(bool),
    /// An error that says that nothing was done; which one.
    NotDone(&'static str),
    /// No answer, or an error that leaves open what happened; which one.
    Unknown(&'static str),
}

/// A value of no write: what stands for bytes that are no value at all.
pub const FOREIGN: Value = Value::MAX;

/// The value in bytes that were read.
pub fn value_in(bytes: &[u8]) -> Value {
    let text = std::str::from_utf8(bytes).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(FOREIGN)
}

/// Draws the commands of a run.
#[derive(Default)]
pub struct Workload {
    last_value: AtomicU64,
}

impl Workload {
    /// A value that no other write of the run has.
    pub fn value(&self) -> Value {
        self.last_value.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Any command: reads mostly, so that values are cached and staleness is seen.
    pub fn any(&self, random: &mut fastrand::Rng) -> Command {
        match random.u32(0..100) {
            0..55 => Command::Get,
            55..62 => Command::Read,
            62..74 => Command::Set(self.value()),
            74..78 => Command::Write(self.value()),
            78..84 => Command::SetFor(self.value(), Duration::from_millis(random.u64(50..600))),
            84..88 => Command::SetIfAbsent(self.value()),
            88..92 => Command::Swap(self.value()),
            _ => Command::Del,
        }
    }
}

/// The clock of a run: monotonic, and the same for all clients.
#[derive(Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    pub fn now(&self) -> Nanos {
        Nanos::try_from(self.0.elapsed().as_nanos()).expect("a run ends within 584 years")
    }
}

/// What an answered command says of its key. `None`: nothing that a history needs; it did nothing and saw nothing.
pub fn observed(
    client: usize,
    command: Command,
    answer: &Answer,
    call: Nanos,
    end: Nanos,
) -> Option<Op> {
    let does = match command {
        Command::Get | Command::Read => Does::Keep,
        Command::Set(value)
        | Command::Write(value)
        | Command::SetIfAbsent(value)
        | Command::Swap(value) => Does::Put(value, None),
        Command::SetFor(value, time_to_live) => Does::Put(
            value,
            Some(Nanos::try_from(time_to_live.as_nanos()).expect("it is short")),
        ),
        Command::Del => Does::Clear,
    };
    let held = |value: Option<Value>| value.map_or(Saw::Nothing, Saw::This);
    let (saw, does) = match (command, answer) {
        (_, Answer::NotDone(_)) => return None,
        (Command::Get | Command::Read, Answer::Unknown(_)) => return None,
        (Command::SetIfAbsent(_), Answer::Unknown(_) | Answer::Stored) => (Saw::Nothing, does),
        (_, Answer::Unknown(_) | Answer::Stored) => (Saw::Whatever, does),
        (_, Answer::Refused) => (Saw::Something, Does::Keep),
        (_, Answer::Removed(true)) => (Saw::Something, does),
        (_, Answer::Removed(false)) => (Saw::Nothing, Does::Keep),
        (_, Answer::Held(value)) => (held(*value), does),
    };
    let answer = (!matches!(answer, Answer::Unknown(_))).then_some(end);
    Some(Op {
        client,
        call,
        answer,
        saw,
        does,
    })
}

#[test]
fn an_answer_tells_no_more_than_it_should() {
    let seen = |command, answer| {
        let op = observed(0, command, &answer, 10, 20)?;
        Some((op.saw, op.does, op.answer))
    };
    let (set, set_nx) = (Command::Set(1), Command::SetIfAbsent(1));
    let put = Does::Put(1, None);
    assert_eq!(
        seen(set, Answer::Stored),
        Some((Saw::Whatever, put, Some(20)))
    );
    assert_eq!(
        seen(set, Answer::Unknown("closed")),
        Some((Saw::Whatever, put, None))
    );
    assert_eq!(seen(set, Answer::NotDone("SHARDDOWN")), None);
    assert_eq!(
        seen(set_nx, Answer::Stored),
        Some((Saw::Nothing, put, Some(20)))
    );
    assert_eq!(
        seen(set_nx, Answer::Refused),
        Some((Saw::Something, Does::Keep, Some(20)))
    );
    assert_eq!(
        seen(set_nx, Answer::Unknown("closed")),
        Some((Saw::Nothing, put, None))
    );
    assert_eq!(
        seen(Command::Swap(1), Answer::Held(Some(7))),
        Some((Saw::This(7), put, Some(20)))
    );
    assert_eq!(
        seen(Command::Get, Answer::Held(None)),
        Some((Saw::Nothing, Does::Keep, Some(20)))
    );
    assert_eq!(seen(Command::Get, Answer::Unknown("closed")), None);
    assert_eq!(
        seen(Command::Del, Answer::Removed(false)),
        Some((Saw::Nothing, Does::Keep, Some(20)))
    );
    assert_eq!(
        seen(Command::Del, Answer::Unknown("closed")),
        Some((Saw::Whatever, Does::Clear, None))
    );
    assert_eq!(value_in(b"12x"), FOREIGN);
}
