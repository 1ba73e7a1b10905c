//! How entries are called in Redis.

use ::redis::Cmd;

use crate::cache::EntryKey;

/// How entries are called: `respgres:<namespace>:<shard index>:` and the key.
pub(super) struct Names {
    pub(super) prefix: Vec<u8>,
    /// Matches all names with the prefix.
    pub(super) pattern: Vec<u8>,
}

impl Names {
    pub(super) fn new(namespace: &str) -> Self {
        // No namespace may look like another one and a shard.
        let namespace = namespace.replace('%', "%25").replace(':', "%3A");
        let prefix = format!("respgres:{namespace}:").into_bytes();
        let mut pattern = Vec::with_capacity(prefix.len() + 1);
        for &byte in &prefix {
            if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\') {
                pattern.push(b'\\');
            }
            pattern.push(byte);
        }
        pattern.push(b'*');
        Self { prefix, pattern }
    }

    /// Replaces what is in `out` by the name of `entry`.
    pub(super) fn write(&self, out: &mut Vec<u8>, entry: &EntryKey) {
        out.clear();
        out.extend_from_slice(&self.prefix);
        out.extend_from_slice(itoa::Buffer::new().format(entry.shard.index()).as_bytes());
        out.push(b':');
        out.extend_from_slice(&entry.key);
    }

    pub(super) fn add_all(&self, command: &mut Cmd, entries: &[EntryKey]) {
        let mut name = Vec::new();
        for entry in entries {
            self.write(&mut name, entry);
            command.arg(&name[..]);
        }
    }
}
