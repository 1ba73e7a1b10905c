//! What of a request is noted for `PROXY HOTKEYS` and `PROXY BIGKEYS`: its keys, and how large their values are
//! where request or reply tell.

use std::time::Instant;

use bytes::Bytes;

use super::Server;
use super::spec_of;
use crate::command::table::Spec;
use crate::metrics::{Access, Sampler};
use crate::resp::Reply;

impl Server {
    /// Notes a request that was drawn and stands for `weight` of its kind, and its reply.
    pub(super) fn sample(
        &self,
        sampler: &Sampler,
        weight: f64,
        words: &[Bytes],
        reply: &Reply,
        now: Instant,
    ) {
        let spec = spec_of(words).filter(|spec| spec.accepts(words.len()));
        let is_write = spec.is_some_and(|spec| spec.flags.contains(&"write"));
        let places = spec.map(|spec| keys(spec, words.len())).unwrap_or_default();
        let (count, step) = (places.places().count(), places.step);
        let keys = places.places().enumerate().map(|(position, at)| Access {
            key: &words[at],
            size: spec.and_then(|spec| size(spec.name, words, at, position, step, reply)),
        });
        let shard = |key: &[u8]| self.engine.shard_of(key).index();
        sampler.note(now, weight, is_write, count, keys, shard);
    }
}

/// Where keys are among the words.
#[derive(Debug, Default)]
struct Places {
    first: usize,
    /// The one after the last.
    end: usize,
    step: usize,
}

impl Places {
    fn places(&self) -> impl Iterator<Item = usize> + use<> {
        (self.first..self.end).step_by(self.step.max(1))
    }
}

fn keys(spec: &Spec, words: usize) -> Places {
    let (first, last, step) = spec.keys;
    let last = match usize::try_from(last) {
        Ok(last) => last,
        // From the end.
        Err(_) => words.saturating_sub(last.unsigned_abs() as usize),
    };
    match (usize::try_from(first), usize::try_from(step)) {
        (Ok(first @ 1..), Ok(step @ 1..)) => Places {
            first,
            end: (last + 1).min(words),
            step,
        },
        _ => Places::default(),
    }
}

/// Bytes of the value of the key at a place, which is the key of that position.
fn size(
    command: &str,
    words: &[Bytes],
    at: usize,
    position: usize,
    step: usize,
    reply: &Reply,
) -> Option<usize> {
    let word = |at: usize| words.get(at).map(Bytes::len);
    match (command, reply) {
        (_, Reply::Error(_)) => None,
        ("set" | "setnx" | "getset", _) => word(2),
        ("setex" | "psetex", _) => word(3),
        ("mset" | "msetnx", _) if step == 2 => word(at + 1),
        ("get" | "getex" | "getdel", Reply::Bulk(value)) => Some(value.len()),
        ("mget", Reply::Array(values)) => match values.get(position)? {
            Reply::Bulk(value) => Some(value.len()),
            _ => None,
        },
        ("append" | "setrange" | "strlen", Reply::Integer(length)) => usize::try_from(*length).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table;

    #[track_caller]
    fn check(line: &str, reply: Reply, expected: &[(&str, Option<usize>)]) {
        let words: Vec<Bytes> = line
            .split(' ')
            .map(|word| Bytes::copy_from_slice(word.as_bytes()))
            .collect();
        let spec = table::find(&words[0]).unwrap();
        let places = keys(spec, words.len());
        let found: Vec<_> = places
            .places()
            .enumerate()
            .map(|(position, at)| {
                let size = size(spec.name, &words, at, position, places.step, &reply);
                (std::str::from_utf8(&words[at]).unwrap(), size)
            })
            .collect();
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn keys_and_sizes_are_found_where_they_are() {
        let bulk = |text: &'static str| Reply::Bulk(Bytes::from_static(text.as_bytes()));
        check("GET k", bulk("value"), &[("k", Some(5))]);
        check("get k", Reply::Null, &[("k", None)]);
        check("GETRANGE k 0 1", bulk("va"), &[("k", None)]);
        check("SET k value EX 5", Reply::OK, &[("k", Some(5))]);
        check("SET k v", Reply::Error("OOM".into()), &[("k", None)]);
        check("SETEX k 100 v", Reply::OK, &[("k", Some(1))]);
        check(
            "MSET a 1 b 22",
            Reply::OK,
            &[("a", Some(1)), ("b", Some(2))],
        );
        check(
            "MGET a b",
            Reply::Array(vec![bulk("xyz"), Reply::Null]),
            &[("a", Some(3)), ("b", None)],
        );
        check("APPEND k tail", Reply::Integer(40), &[("k", Some(40))]);
        check(
            "DEL a b c",
            Reply::Integer(1),
            &[("a", None), ("b", None), ("c", None)],
        );
        // The table has no keys of subcommands, as Redis has none of containers.
        check("OBJECT ENCODING k", bulk("raw"), &[]);
        check("PING", Reply::Status("PONG"), &[]);
    }
}
