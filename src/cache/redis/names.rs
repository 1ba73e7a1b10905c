//! How entries are called in Redis.

use ::redis::Cmd;

use crate::cache::EntryKey;
use crate::routing::ShardId;
use crate::view::Epoch;

/// How entries are called: `respgres:<namespace>:<shard index>:<epoch>:` and the key.
pub(super) struct Names {
    /// What all names begin with; no entry has it as its name.
    pub(super) prefix: Vec<u8>,
}

impl Names {
    pub(super) fn new(namespace: &str) -> Self {
        // No namespace may look like another one and a shard.
        let namespace = namespace.replace('%', "%25").replace(':', "%3A");
        Self {
            prefix: format!("respgres:{namespace}:").into_bytes(),
        }
    }

    /// Replaces what is in `out` by the name of `entry`.
    pub(super) fn write(&self, out: &mut Vec<u8>, entry: &EntryKey) {
        out.clear();
        self.add_beginning(out, entry.shard, entry.epoch);
        out.extend_from_slice(&entry.key);
    }

    pub(super) fn add_all(&self, command: &mut Cmd, entries: &[EntryKey]) {
        let mut name = Vec::new();
        for entry in entries {
            self.write(&mut name, entry);
            command.arg(&name[..]);
        }
    }

    /// What matches all names of this shard and epoch.
    pub(super) fn pattern(&self, shard: ShardId, epoch: Epoch) -> Vec<u8> {
        let mut beginning = Vec::new();
        self.add_beginning(&mut beginning, shard, epoch);
        let mut pattern = Vec::with_capacity(beginning.len() + 1);
        for byte in beginning {
            if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\') {
                pattern.push(b'\\');
            }
            pattern.push(byte);
        }
        pattern.push(b'*');
        pattern
    }

    fn add_beginning(&self, out: &mut Vec<u8>, shard: ShardId, epoch: Epoch) {
        let mut digits = itoa::Buffer::new();
        out.extend_from_slice(&self.prefix);
        out.extend_from_slice(digits.format(shard.index()).as_bytes());
        out.push(b':');
        out.extend_from_slice(digits.format(epoch.number()).as_bytes());
        out.push(b':');
    }
}
