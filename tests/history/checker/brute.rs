//! The definition itself, tried out: every order of the calls that their times allow. For tiny histories.
//!
//! It shares nothing with the search: expiries are events of their own in the order, and calls of unknown outcome are
//! in it or not.

use super::op::{Does, Nanos, Op, Saw};

#[derive(Clone, Copy, Debug)]
enum Doing {
    Call(Op),
    /// The value of this item vanishes, if it is still there.
    Expire(usize),
}

/// Something that has one instant within a span.
#[derive(Clone, Copy, Debug)]
struct Item {
    start: Nanos,
    /// `None`: at any time from the start on, or never.
    end: Option<Nanos>,
    doing: Doing,
}

/// Whether there is an order that explains the history.
pub fn is_linearizable(history: &[Op], slack: Nanos) -> bool {
    let mut items: Vec<Item> = Vec::new();
    for op in history {
        items.push(Item {
            start: op.call,
            end: op.answer,
            doing: Doing::Call(*op),
        });
    }
    for (index, op) in history.iter().enumerate() {
        let Does::Put(value, Some(ttl)) = op.does else {
            continue;
        };
        let seen = history.iter().filter(|other| other.saw == Saw::This(value));
        let written = seen.filter_map(|other| other.answer).chain(op.answer).min();
        items.push(Item {
            start: (op.call + ttl).saturating_sub(slack),
            end: written.map(|written| written + ttl + slack),
            doing: Doing::Expire(index),
        });
    }
    let mut is_placed = vec![false; items.len()];
    can_be_completed(&items, &mut is_placed, None)
}

/// `held` is the item that wrote what is there.
fn can_be_completed(items: &[Item], is_placed: &mut [bool], held: Option<usize>) -> bool {
    let is_owed = |index: usize, is_placed: &[bool]| {
        !is_placed[index]
            && items[index].end.is_some()
            // What was never written need not expire.
            && !matches!(items[index].doing, Doing::Expire(writer)
                if items[writer].end.is_none() && !is_placed[writer])
    };
    if (0..items.len()).all(|index| !is_owed(index, is_placed)) {
        return true;
    }
    for index in 0..items.len() {
        // What ended before this began must have been placed.
        let is_early = (0..items.len()).any(|other| {
            is_owed(other, is_placed)
                && items[other].end.is_some_and(|end| end < items[index].start)
        });
        if is_placed[index] || is_early {
            continue;
        }
        let next = match items[index].doing {
            Doing::Expire(writer) if !is_placed[writer] => continue,
            Doing::Expire(writer) if held == Some(writer) => None,
            Doing::Expire(_) => held,
            Doing::Call(op) => {
                let is_seen = match (op.saw, held.map(|writer| items[writer].doing)) {
                    (Saw::Whatever, _) | (Saw::Nothing, None) | (Saw::Something, Some(_)) => true,
                    (Saw::This(value), Some(Doing::Call(writer))) => writer.puts() == Some(value),
                    _ => false,
                };
                if !is_seen {
                    continue;
                }
                match op.does {
                    Does::Keep => held,
                    Does::Put(..) => Some(index),
                    Does::Clear => None,
                }
            }
        };
        is_placed[index] = true;
        if can_be_completed(items, is_placed, next) {
            return true;
        }
        is_placed[index] = false;
    }
    false
}
