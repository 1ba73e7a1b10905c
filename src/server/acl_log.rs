//! ACL LOG: logins and commands that were refused. <https://redis.io/docs/latest/commands/acl-log/>

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::clients::Client;
use crate::resp::Reply;

/// Entries that are kept, as in Redis.
pub(super) const ENTRIES_MAX: usize = 128;

/// Refusals that are alike, and follow each other in this time, share an entry, as in Redis.
const ALIKE_WITHIN: Duration = Duration::from_secs(60);

/// Bytes that are kept of a key.
const OBJECT_BYTES_MAX: usize = 128;

#[derive(Debug, Default)]
pub(super) struct AclLog {
    /// The latest first.
    entries: Mutex<VecDeque<Entry>>,
}

/// What was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Noted {
    /// `auth`, `command`, `key` or `channel`.
    pub(super) reason: &'static str,
    /// `toplevel` or `multi`.
    pub(super) context: &'static str,
    pub(super) object: Bytes,
    pub(super) username: String,
}

#[derive(Debug, Clone)]
struct Entry {
    noted: Noted,
    count: i64,
    when: Instant,
    client: String,
}

impl AclLog {
    fn entries(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, client: &Client, mut noted: Noted) {
        let kept = noted.object.len().min(OBJECT_BYTES_MAX);
        noted.object = Bytes::copy_from_slice(&noted.object[..kept]);
        let when = Instant::now();
        let mut entries = self.entries();
        let is_alike =
            |entry: &Entry| entry.noted == noted && when.duration_since(entry.when) <= ALIKE_WITHIN;
        let known = entries.iter().position(is_alike);
        let count = known
            .and_then(|at| entries.remove(at))
            .map_or(0, |entry| entry.count);
        entries.push_front(Entry {
            noted,
            count: count.saturating_add(1),
            when,
            client: client.line().trim_end().to_owned(),
        });
        entries.truncate(ENTRIES_MAX);
    }

    pub(super) fn reset(&self) {
        self.entries().clear();
    }

    /// The latest `count` entries.
    pub(super) fn answer(&self, count: usize) -> Reply {
        let entries: Vec<Entry> = self.entries().iter().take(count).cloned().collect();
        Reply::Array(entries.into_iter().map(shown).collect())
    }
}

fn shown(entry: Entry) -> Reply {
    let Noted {
        reason,
        context,
        object,
        username,
    } = entry.noted;
    let age = entry.when.elapsed().as_secs_f64();
    let field = |name: &str, value: Reply| (Reply::text(name), value);
    Reply::Map(vec![
        field("count", Reply::Integer(entry.count)),
        field("reason", Reply::text(reason)),
        field("context", Reply::text(context)),
        field("object", Reply::Bulk(object)),
        field("username", Reply::text(username)),
        field("age-seconds", Reply::text(format!("{age:.3}"))),
        field("client-info", Reply::text(entry.client)),
    ])
}
