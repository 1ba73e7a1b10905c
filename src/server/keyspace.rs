//! Commands on all keys of all shards.

use bytes::Bytes;

use super::Server;
use super::answer::failed;
use crate::command::Keyspace;
use crate::command::keyspace::{Filter, Scan};
use crate::engine::Cursor;
use crate::error::Error;
use crate::resp::Reply;

/// Keys of one page of KEYS. Others have their turn between two pages.
const KEYS_PAGE: usize = 1000;

impl Server {
    /// What `keyspace` answers.
    pub(super) async fn keyspace(&self, keyspace: Keyspace) -> Reply {
        let reply = match keyspace {
            Keyspace::Count => self.count().await,
            Keyspace::Flush => self.engine.clear().await.map(|()| Reply::OK),
            Keyspace::Keys(filter) => self.keys(&filter).await,
            Keyspace::Random => self.engine.random_key().await.map(Reply::bulk_or_null),
            Keyspace::Scan(scan) => self.scan(scan).await,
        };
        reply.unwrap_or_else(|error| failed(&error))
    }

    async fn count(&self) -> Result<Reply, Error> {
        let count = self.engine.count().await?;
        Ok(Reply::Integer(i64::try_from(count).unwrap_or(i64::MAX)))
    }

    /// What is kept is what is answered: each page is filtered before the next is read.
    async fn keys(&self, filter: &Filter) -> Result<Reply, Error> {
        let mut accepted = Vec::new();
        let mut cursor = Cursor::START;
        loop {
            let page = self.engine.scan(cursor, KEYS_PAGE).await?;
            accepted.extend(bulks(page.keys, filter));
            cursor = page.next;
            if cursor == Cursor::START {
                return Ok(Reply::Array(accepted));
            }
        }
    }

    async fn scan(&self, scan: Scan) -> Result<Reply, Error> {
        let Scan {
            cursor,
            filter,
            count,
        } = scan;
        // Nobody need look for what there is not.
        let (next, keys) = match filter {
            Filter::Nothing => (Cursor::START, Vec::new()),
            filter => {
                let page = self.engine.scan(Cursor::from_bits(cursor), count).await?;
                (page.next, bulks(page.keys, &filter).collect())
            }
        };
        Ok(Reply::Array(vec![
            Reply::text(next.bits().to_string()),
            Reply::Array(keys),
        ]))
    }
}

fn bulks(keys: Vec<Bytes>, filter: &Filter) -> impl Iterator<Item = Reply> {
    keys.into_iter()
        .filter(|key| filter.accepts(key))
        .map(Reply::Bulk)
}
