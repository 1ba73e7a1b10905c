//! FILL and SEEN: one call of a script for many entries.

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, RedisResult, cmd};
use bytes::Bytes;

use super::RedisSession;
use crate::cache::Sighting;
use crate::cache::entry::{self, ROW_HEAD_BYTES};
use crate::command::{Row, Stamp};

/// One call of the script settles no more entries than this, for the same reason.
const SETTLE_ENTRIES_MAX: usize = 256;
/// Nor does it carry more bytes of values than this, the last value apart.
const SETTLE_BYTES_MAX: usize = 1024 * 1024;
pub(super) const SETTLE_SCRIPT: &str = include_str!("settle.lua");
/// A larger value is not cached: it would hold up all the steps behind it on its connection.
pub(super) const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// Makes the script known to the server, which forgets it when it is restarted or flushed.
pub(super) async fn load_script(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    let mut command = cmd("SCRIPT");
    command.arg("LOAD").arg(SETTLE_SCRIPT);
    command.query_async(connection).await
}

impl RedisSession {
    /// The call of the script for `chunk`, and how many bytes of values it carries. It fills under one
    /// token: all are the same in a flight of reads, and one that is not makes a SEEN.
    pub(super) fn settle_command(&self, chunk: &[Sighting]) -> (Cmd, usize) {
        let token = chunk.iter().find_map(|sighting| sighting.token);
        let has_lease = |sighting: &&Sighting| token.is_some() && sighting.token == token;
        let with_lease = || chunk.iter().filter(has_lease);
        let without = || chunk.iter().filter(|sighting| !has_lease(sighting));
        let lease = token.map(entry::encode_lease);

        let mut command = cmd("EVALSHA");
        command.arg(self.shared.script.get_hash()).arg(chunk.len());
        let mut name = Vec::new();
        for sighting in with_lease().chain(without()) {
            self.generation.names.write(&mut name, &sighting.entry);
            command.arg(&name[..]);
        }
        command
            .arg(with_lease().count())
            .arg(lease.as_ref().map_or(&[][..], |lease| &lease[..]));
        let mut bytes = 0;
        for sighting in with_lease() {
            let row = sighting.row.as_ref();
            let lifetime_ms = self.lifetime_ms(sighting);
            let value = match lifetime_ms {
                // Its stamp is wanted all the same.
                0 => entry::encode_value(row.map(without_bytes).as_ref()),
                _ => entry::encode_value(row),
            };
            bytes += value.len();
            command.arg(&value[..]).arg(lifetime_ms);
        }
        for sighting in without() {
            let stamp = sighting.row.as_ref().map_or(Stamp::ABSENT, |row| row.stamp);
            command.arg(&entry::encode_stamp(stamp)[..]);
        }
        (command, bytes)
    }

    /// How long the value of a FILL lives; 0 if it must not be cached.
    fn lifetime_ms(&self, sighting: &Sighting) -> u64 {
        if sighting.row.as_ref().is_some_and(is_too_large) {
            return 0;
        }
        let ttl = self.shared.ttl.get();
        let lifetime = sighting.time_left.map_or(ttl, |left| left.min(ttl));
        u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Cuts sightings into the parts that one call of the script takes.
pub(super) struct SettleChunks<'a>(pub(super) &'a [Sighting]);

impl<'a> Iterator for SettleChunks<'a> {
    type Item = &'a [Sighting];

    fn next(&mut self) -> Option<Self::Item> {
        let mut bytes = 0;
        let mut count = 0;
        while count < self.0.len().min(SETTLE_ENTRIES_MAX) && bytes < SETTLE_BYTES_MAX {
            let row = self.0[count].row.as_ref();
            // The script gets no values that are too large.
            let row = row.filter(|row| !is_too_large(row));
            bytes += row.map_or(0, |row| row.value.len());
            count += 1;
        }
        let (chunk, rest) = self.0.split_at(count);
        self.0 = rest;
        (!chunk.is_empty()).then_some(chunk)
    }
}

fn is_too_large(row: &Row) -> bool {
    row.value.len() > VALUE_BYTES_MAX - ROW_HEAD_BYTES
}

fn without_bytes(row: &Row) -> Row {
    Row {
        value: Bytes::new(),
        ..row.clone()
    }
}
