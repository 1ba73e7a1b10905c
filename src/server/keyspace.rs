//! Commands on all keys of all shards.

use super::Server;
use super::answer::failed;
use crate::command::Keyspace;
use crate::resp::Reply;

impl Server {
    /// What `keyspace` answers.
    pub(super) async fn keyspace(&self, keyspace: Keyspace) -> Reply {
        match keyspace {
            Keyspace::Count => match self.engine.count().await {
                Ok(count) => Reply::Integer(i64::try_from(count).unwrap_or(i64::MAX)),
                Err(error) => failed(&error),
            },
            Keyspace::Flush => {
                let cleared = self.engine.clear().await;
                cleared.map_or_else(|error| failed(&error), |()| Reply::OK)
            }
        }
    }
}
