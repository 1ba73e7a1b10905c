//! The lists of keys and commands on the page. What is in them comes from clients: it is text there, whatever it looks
//! like.

use serde::Serialize;
use utoipa::ToSchema;

use crate::http::text::{Encoding, encode};
use crate::metrics::{self, Metrics, SlowEntry};

/// Keys that are listed, if they are asked for at least so often, a second.
const HOT_KEYS_MAX: usize = 10;
const HOT_RATE_MIN: f64 = 0.05;

/// Slow commands that are listed.
const SLOW_MAX: usize = 20;

/// Bytes that a client sent.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(in crate::http) struct Sent {
    text: String,
    /// `base64` if they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<Encoding>,
    /// Bytes that were left out at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    more: Option<usize>,
}

impl Sent {
    /// `bytes`, which were `length` once.
    fn cut(bytes: &[u8], length: usize) -> Self {
        // Not within a character.
        let kept = match std::str::from_utf8(bytes) {
            Err(error) if bytes.len() < length && error.error_len().is_none() => {
                &bytes[..error.valid_up_to()]
            }
            _ => bytes,
        };
        let (text, encoding) = encode(kept);
        Self {
            text: text.into_owned(),
            encoding,
            more: length.checked_sub(kept.len()).filter(|more| *more > 0),
        }
    }

    fn whole(bytes: &[u8]) -> Self {
        Self::cut(bytes, bytes.len())
    }
}

/// A key that is asked for often.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct HotKey {
    key: Sent,
    /// The number of its shard.
    shard: usize,
    /// A second.
    reads: f64,
    /// A second.
    writes: f64,
    /// Its part of all requests for keys, from 0 to 1.
    share: f64,
}

impl From<metrics::HotKey> for HotKey {
    fn from(hot: metrics::HotKey) -> Self {
        Self {
            key: Sent::cut(&hot.key.bytes, hot.key.length),
            shard: hot.key.shard,
            reads: hot.reads,
            writes: hot.writes,
            share: hot.share,
        }
    }
}

/// What took long. Times are in microseconds.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Slow {
    id: u64,
    /// Milliseconds since the epoch.
    at: u64,
    took: u64,
    /// Of that, waiting for its turn at a shard.
    queue: u64,
    /// Waiting for the cache.
    cache: u64,
    /// Waiting for a shard.
    shard: u64,
    /// How many commands were handled together.
    commands: usize,
    /// The words of the first one, cut, without passwords.
    words: Vec<Sent>,
    /// The client's address.
    address: String,
    /// The client's name for itself.
    name: Sent,
}

impl From<(u64, SlowEntry)> for Slow {
    fn from((id, entry): (u64, SlowEntry)) -> Self {
        let micros =
            |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self {
            id,
            at: u64::try_from(entry.at.as_millis()).unwrap_or(u64::MAX),
            took: micros(entry.took),
            queue: micros(entry.spans.queue),
            cache: micros(entry.spans.cache),
            shard: micros(entry.spans.shard),
            commands: entry.commands,
            words: entry.words.iter().map(|word| Sent::whole(word)).collect(),
            address: entry.address,
            name: Sent::whole(&entry.name),
        }
    }
}

/// The keys that are asked for most.
pub(super) fn hot_keys(metrics: &Metrics) -> Vec<HotKey> {
    let hot = metrics.hot_keys(HOT_KEYS_MAX).into_iter();
    hot.filter(|hot| hot.requests() >= HOT_RATE_MIN)
        .map(HotKey::from)
        .collect()
}

/// What took long, the latest first.
pub(super) fn slow_log(metrics: &Metrics) -> Vec<Slow> {
    let latest = metrics.slow_log.latest(SLOW_MAX).into_iter();
    latest.map(Slow::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_sent_is_text_or_base64_and_cut_between_characters() {
        let sent = |text: &str, encoding, more| Sent {
            text: text.to_owned(),
            encoding,
            more,
        };
        let umlaut = "xü".as_bytes();
        assert_eq!(Sent::whole(umlaut), sent("xü", None, None));
        assert_eq!(Sent::cut(&umlaut[..2], 3), sent("x", None, Some(2)));
        assert_eq!(Sent::cut(b"x", 300), sent("x", None, Some(299)));
        let base64 = Some(Encoding::Base64);
        assert_eq!(Sent::whole(b"\xff\x00"), sent("/wA=", base64, None));
        assert_eq!(Sent::whole(&umlaut[..2]), sent("eMM=", base64, None));
    }
}
