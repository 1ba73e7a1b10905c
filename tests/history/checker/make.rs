//! Short names for the calls of the checker's own tests. Times are small numbers.

use super::{Does, Nanos, Op, Saw, Value};

const LOST: Option<Nanos> = None;

fn op(call: Nanos, answer: Option<Nanos>, saw: Saw, does: Does) -> Op {
    Op {
        client: 0,
        call,
        answer,
        saw,
        does,
    }
}

/// `SET`, acknowledged.
pub fn set(value: Value, call: Nanos, answer: Nanos) -> Op {
    op(call, Some(answer), Saw::Whatever, Does::Put(value, None))
}

/// `SET` of unknown outcome.
pub fn lost_set(value: Value, call: Nanos) -> Op {
    op(call, LOST, Saw::Whatever, Does::Put(value, None))
}

/// `SET … PX`, acknowledged.
pub fn set_for(ttl: Nanos, value: Value, call: Nanos, answer: Nanos) -> Op {
    op(
        call,
        Some(answer),
        Saw::Whatever,
        Does::Put(value, Some(ttl)),
    )
}

/// `SET … PX` of unknown outcome.
pub fn lost_set_for(ttl: Nanos, value: Value, call: Nanos) -> Op {
    op(call, LOST, Saw::Whatever, Does::Put(value, Some(ttl)))
}

/// `SET … GET`, which answered with a value.
pub fn swap(old: Value, value: Value, call: Nanos, answer: Nanos) -> Op {
    op(call, Some(answer), Saw::This(old), Does::Put(value, None))
}

/// `SET … NX`, done.
pub fn set_if_absent(value: Value, call: Nanos, answer: Nanos) -> Op {
    op(call, Some(answer), Saw::Nothing, Does::Put(value, None))
}

/// `SET … NX`, refused.
pub fn refused(call: Nanos, answer: Nanos) -> Op {
    op(call, Some(answer), Saw::Something, Does::Keep)
}

/// `SET … NX` of unknown outcome.
pub fn lost_set_if_absent(value: Value, call: Nanos) -> Op {
    op(call, LOST, Saw::Nothing, Does::Put(value, None))
}

/// `GET`, which answered with a value.
pub fn get(value: Value, call: Nanos, answer: Nanos) -> Op {
    op(call, Some(answer), Saw::This(value), Does::Keep)
}

/// `GET`, or `DEL`, which found nothing.
pub fn nothing(call: Nanos, answer: Nanos) -> Op {
    op(call, Some(answer), Saw::Nothing, Does::Keep)
}

/// `DEL`, which removed something.
pub fn del(call: Nanos, answer: Nanos) -> Op {
    op(call, Some(answer), Saw::Something, Does::Clear)
}

/// `DEL` of unknown outcome.
pub fn lost_del(call: Nanos) -> Op {
    op(call, LOST, Saw::Whatever, Does::Clear)
}
