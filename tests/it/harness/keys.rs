//! Which shard a key belongs to, computed here apart from the product's own code.

use md5::{Digest, Md5};

/// `int(md5(key), big endian) % num_shards`, the way one does it by hand: digit by digit.
pub fn shard_of(key: &[u8], num_shards: usize) -> usize {
    let digest = Md5::digest(key);
    digest.iter().fold(0, |rest, byte| {
        (rest * 256 + usize::from(*byte)) % num_shards
    })
}

/// A key that starts with `prefix` and is on the given shard.
pub fn key_on(shard: usize, num_shards: usize, prefix: &str) -> String {
    (0..)
        .map(|n| format!("{prefix}:{n}"))
        .find(|key| shard_of(key.as_bytes(), num_shards) == shard)
        .expect("some key")
}

/// One key for each shard, in the shards' order.
pub fn keys_on_each(num_shards: usize, prefix: &str) -> Vec<String> {
    (0..num_shards)
        .map(|shard| key_on(shard, num_shards, prefix))
        .collect()
}
