//! FIN for all entries of a shard.

use ::redis::cmd;
use bytes::Bytes;

use super::RedisSession;
use crate::cache::Unavailable;
use crate::routing::ShardId;
use crate::view::Epoch;

/// Names that one step looks at.
const SCAN_COUNT: usize = 1000;

impl RedisSession {
    /// FIN for every entry of this shard and epoch. SCAN returns each entry that is there from its
    /// begin to its end; one that appears meanwhile was read from the shard later.
    ///
    /// It has no limit as a whole, as it takes a step for each thousand names in Redis; each step
    /// has one.
    ///
    /// # Errors
    ///
    /// Entries may be left.
    pub async fn clear(&self, shard: ShardId, epoch: Epoch) -> Result<(), Unavailable> {
        let pattern = self.generation.names.pattern(shard, epoch);
        let mut cursor = Bytes::from_static(b"0");
        loop {
            let mut command = cmd("SCAN");
            command
                .arg(&cursor[..])
                .arg("MATCH")
                .arg(&pattern[..])
                .arg("COUNT")
                .arg(SCAN_COUNT);
            let (next, found): (Vec<u8>, Vec<Vec<u8>>) = self
                .step("SCAN", self.allowance(0), async {
                    let mut connection = self.generation.duties.clone();
                    command.query_async(&mut connection).await
                })
                .await?;
            self.unlink(&found).await?;
            if next == b"0" {
                return Ok(());
            }
            cursor = next.into();
        }
    }

    async fn unlink(&self, names: &[Vec<u8>]) -> Result<(), Unavailable> {
        if names.is_empty() {
            return Ok(());
        }
        let mut command = cmd("UNLINK");
        for name in names {
            command.arg(&name[..]);
        }
        self.step("UNLINK", self.allowance(names.len() / SCAN_COUNT), async {
            let mut connection = self.generation.duties.clone();
            command.query_async(&mut connection).await
        })
        .await
    }
}
