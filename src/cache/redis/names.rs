//! How entries are called in Redis: `respgres:`, eleven characters for the deployment, the shard and
//! the epoch, `:`, and the key.
//!
//! Names are short on purpose: Redis hashes each twice, the second time for its expiry, and keeps one
//! of up to 44 bytes in one piece. A hit costs it a third less than by a name that spells all out.

use ::redis::Cmd;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::cache::EntryKey;
use crate::routing::ShardId;
use crate::view::Epoch;

/// The number of this scheme; another way to call entries takes another number. (The first one spelled
/// everything out, and had 0.)
pub(super) const SCHEME: u8 = 1;

const PREFIX: &[u8; 9] = b"respgres:";
/// Eight bytes in base64.
const FAMILY_BYTES: usize = 11;
const BEGINNING_BYTES: usize = PREFIX.len() + FAMILY_BYTES + 1;

/// A name that no entry has.
pub(super) const NOTHING: &[u8] = PREFIX;

/// The names of one deployment.
pub(super) struct Names {
    deployment: u64,
}

impl Names {
    pub(super) fn new(namespace: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(namespace).into();
        let (first, _) = digest.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
        Self {
            deployment: u64::from_le_bytes(*first),
        }
    }

    /// Replaces what is in `out` by the name of `entry`.
    pub(super) fn write(&self, out: &mut Vec<u8>, entry: &EntryKey) {
        out.clear();
        out.extend_from_slice(&self.beginning(entry.shard, entry.epoch));
        out.extend_from_slice(&entry.key);
    }

    /// Adds the name of `entry` as an argument of a command, in RESP.
    pub(super) fn add_argument(&self, out: &mut Vec<u8>, entry: &EntryKey) {
        bulk(out, [&self.beginning(entry.shard, entry.epoch), &entry.key]);
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
        // Nothing in a beginning has a meaning in a pattern.
        let mut pattern = self.beginning(shard, epoch).to_vec();
        pattern.push(b'*');
        pattern
    }

    /// What the names of this shard and epoch begin with. Different for any two epochs of a shard;
    /// the same for two shards or deployments no more likely than that two deployments draw the
    /// same id.
    fn beginning(&self, shard: ShardId, epoch: Epoch) -> [u8; BEGINNING_BYTES] {
        let family = mixed(self.deployment ^ mixed(shard.index() as u64)) ^ epoch.number();
        let mut out = [b':'; BEGINNING_BYTES];
        out[..PREFIX.len()].copy_from_slice(PREFIX);
        let written = URL_SAFE_NO_PAD.encode_slice(
            mixed(family).to_be_bytes(),
            &mut out[PREFIX.len()..PREFIX.len() + FAMILY_BYTES],
        );
        debug_assert_eq!(written, Ok(FAMILY_BYTES));
        out
    }
}

/// SplitMix64's finalizer: every output has one input, and looks unlike it.
fn mixed(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Adds a bulk string of two parts.
pub(super) fn bulk(out: &mut Vec<u8>, parts: [&[u8]; 2]) {
    let length = parts[0].len() + parts[1].len();
    out.push(b'$');
    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(parts[0]);
    out.extend_from_slice(parts[1]);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_of_deployment_shard_and_epoch_share_a_beginning() {
        let mut seen = HashSet::new();
        for namespace in ["a", "b", "6efa0c908b0edd27"] {
            let names = Names::new(namespace);
            for shard in [0, 1, 2, 1023] {
                for epoch in [0, 1, 2, 1 << 32, (1 << 32) + 1, u64::MAX] {
                    let beginning = names.beginning(ShardId::new(shard), Epoch::new(epoch));
                    assert!(seen.insert(beginning), "{namespace} {shard} {epoch}");
                }
            }
        }
    }

    /// Other proxies of the deployment compute the same: this must not change without notice.
    #[test]
    fn a_name_is_what_it_was() {
        let mut name = Vec::new();
        let entry = EntryKey {
            shard: ShardId::new(2),
            epoch: Epoch::new((1 << 32) + 5),
            key: b"user:123"[..].into(),
        };
        Names::new("6efa0c908b0edd27").write(&mut name, &entry);
        assert_eq!(
            String::from_utf8(name).unwrap(),
            "respgres:IAokG60Rark:user:123"
        );
    }
}
