//! SLOWLOG: the commands that took long. <https://redis.io/docs/latest/commands/slowlog/>
//!
//! What is timed is one buffer of requests, from its being read to its last reply: that costs one look
//! at the clock. Mostly it holds one request. The requests of a pipeline are under way together, so
//! it has one entry, with the first request's words and how many followed.

use std::time::Duration;

use bytes::Bytes;

use super::clients::Client;
use super::dispatch::Request;
use super::secrets::{REDACTED, secrets};
use crate::command::control::Slowlog;
use crate::metrics::process::unix_time;
use crate::metrics::{SlowEntry, SlowLog, Spans};
use crate::resp::Reply;

/// Words of a request that are kept, and bytes of each, as in Redis.
const WORDS_MAX: usize = 32;
const WORD_BYTES_MAX: usize = 128;

/// Notes that `requests`, which were handled together, took so long.
pub(super) fn note(
    slow_log: &SlowLog,
    client: &Client,
    requests: &[Request],
    took: Duration,
    spans: Spans,
    entries_max: usize,
) {
    let Some(Request::Words(first)) = requests.first() else {
        return;
    };
    let mut words = trimmed(first);
    if requests.len() > 1 {
        let others = format!("... ({} more commands)", requests.len() - 1);
        words.push(Bytes::from(others));
    }
    let entry = SlowEntry {
        at: unix_time(),
        took,
        spans,
        commands: requests.len(),
        words,
        address: client.address().to_string(),
        name: client.describe(|described| described.name.clone()),
    };
    slow_log.note(entry, entries_max);
}

pub(super) fn answer(slow_log: &SlowLog, asked: Slowlog) -> Reply {
    match asked {
        Slowlog::Len => Reply::Integer(slow_log.count() as i64),
        Slowlog::Reset => {
            slow_log.clear();
            Reply::OK
        }
        Slowlog::Get(count) => {
            let latest = slow_log.latest(count.unwrap_or(usize::MAX));
            Reply::Array(latest.into_iter().map(shown).collect())
        }
    }
}

/// As Redis shows it: six fields, and no more, as some clients read just those.
fn shown((id, entry): (u64, SlowEntry)) -> Reply {
    Reply::Array(vec![
        Reply::Integer(id as i64),
        Reply::Integer(entry.at.as_secs() as i64),
        micros(entry.took),
        Reply::Array(entry.words.into_iter().map(Reply::Bulk).collect()),
        Reply::text(entry.address),
        Reply::Bulk(entry.name),
    ])
}

/// PROXY SLOWLOG: with what each waited for.
pub(super) fn answer_split(slow_log: &SlowLog, count: usize) -> Reply {
    let latest = slow_log.latest(count).into_iter();
    let shown = latest.map(|(id, entry)| {
        let Spans {
            queue,
            cache,
            shard,
        } = entry.spans;
        let field = |name: &'static str, reply: Reply| (Reply::text(name), reply);
        Reply::Map(vec![
            field("id", Reply::Integer(id as i64)),
            field("time", Reply::Integer(entry.at.as_secs() as i64)),
            field("micros", micros(entry.took)),
            field("queue", micros(queue)),
            field("cache", micros(cache)),
            field("shard", micros(shard)),
            field("commands", Reply::Integer(entry.commands as i64)),
            field(
                "command",
                Reply::Array(entry.words.into_iter().map(Reply::Bulk).collect()),
            ),
            field("client", Reply::text(entry.address)),
            field("name", Reply::Bulk(entry.name)),
        ])
    });
    Reply::Array(shown.collect())
}

fn micros(time: Duration) -> Reply {
    Reply::Integer(i64::try_from(time.as_micros()).unwrap_or(i64::MAX))
}

/// Copies of the words, as much of them as Redis keeps.
fn trimmed(words: &[Bytes]) -> Vec<Bytes> {
    let kept = match words.len() {
        count if count > WORDS_MAX => WORDS_MAX - 1,
        count => count,
    };
    let is_secret = secrets(words);
    let mut trimmed: Vec<Bytes> = words[..kept]
        .iter()
        .enumerate()
        .map(|(at, word)| match word.len().checked_sub(WORD_BYTES_MAX) {
            _ if is_secret(at) => Bytes::from_static(REDACTED),
            Some(more @ 1..) => {
                let mut cut = word[..WORD_BYTES_MAX].to_vec();
                cut.extend_from_slice(format!("... ({more} more bytes)").as_bytes());
                Bytes::from(cut)
            }
            _ => Bytes::copy_from_slice(word),
        })
        .collect();
    if kept < words.len() {
        let more = words.len() - kept;
        trimmed.push(Bytes::from(format!("... ({more} more arguments)")));
    }
    trimmed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&[u8]]) -> Vec<Bytes> {
        words
            .iter()
            .map(|word| Bytes::copy_from_slice(word))
            .collect()
    }

    #[test]
    fn long_requests_are_cut_as_redis_does() {
        let long = [b'x'; 130];
        let cut = trimmed(&words(&[b"SET", b"key", &long]));
        let expected = format!("{}... (2 more bytes)", "x".repeat(128));
        assert_eq!(cut[1..], words(&[b"key", expected.as_bytes()]));
        let many = vec![Bytes::from_static(b"k"); 33];
        let cut = trimmed(&many);
        assert_eq!(cut.len(), 32);
        assert_eq!(cut[31], "... (2 more arguments)");
        assert_eq!(trimmed(&many[..32]).len(), 32);
    }

    #[test]
    fn passwords_are_not_kept() {
        let cut = trimmed(&words(&[b"AUTH", b"secret"]));
        assert_eq!(cut, words(&[b"AUTH", b"(redacted)"]));
    }
}
