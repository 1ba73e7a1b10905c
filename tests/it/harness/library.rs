//! Shards driven through the library, without a proxy around them: what a test needs to hold a
//! proxy at a point that no client could bring it to.

use std::sync::Arc;
use std::time::Duration;

use respgres::config::{SecretUrl, ShardTarget};
use respgres::routing::Scheme;
use respgres::shard::{self, Membership, Settings, Shard, Shards};
use respgres::workers::Workers;
use tokio::runtime::Runtime;

/// All that a proxy has to do with its shards. Dropping it closes every session, as a crash does.
pub struct Library {
    // The order of the fields is the order in which they end.
    shards: Shards,
    runtime: Runtime,
}

impl Library {
    /// Opens `SHARD_0_URL`, `SHARD_1_URL` … with small pools and long patience.
    #[track_caller]
    pub fn open(urls: &[&str]) -> Library {
        Library::with_query_timeout(urls, Duration::from_secs(30))
    }

    /// The same with another longest statement.
    #[track_caller]
    pub fn with_query_timeout(urls: &[&str], query_timeout: Duration) -> Library {
        let targets: Vec<ShardTarget> = urls
            .iter()
            .enumerate()
            .map(|(number, url)| target(number, url))
            .collect();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let settings = Settings {
            metrics: Arc::default(),
            pool_min_size: 1,
            pool_max_size: 4,
            connect_timeout: Duration::from_secs(10),
            pool_wait_timeout: Duration::from_secs(10),
            query_timeout,
            value_max: 16 * 1024 * 1024,
            workers: runtime.block_on(async { Workers::here() }),
            scheme: Scheme::WholeKey,
        };
        let shards = runtime
            .block_on(shard::open(&targets, &settings))
            .unwrap_or_else(|error| panic!("{error}"));
        Library { shards, runtime }
    }

    /// The shards.
    pub fn shards(&self) -> &Shards {
        &self.shards
    }

    /// The first shard.
    pub fn shard(&self) -> Arc<Shard> {
        Arc::clone(&self.shards.all()[0])
    }

    /// Takes a place among the members of the first shard.
    #[track_caller]
    pub fn join(&self) -> Membership {
        let shard = self.shard();
        self.run(async move { shard.join(None).await })
            .expect("the shard can be joined")
    }

    /// Runs something to its end.
    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Runs something meanwhile.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn(work)
    }
}

fn target(number: usize, url: &str) -> ShardTarget {
    let variable = format!("SHARD_{number}_URL");
    match url.strip_prefix("sqlite:") {
        Some(path) => ShardTarget::Sqlite {
            variable,
            path: path.into(),
        },
        None => ShardTarget::Postgres {
            variable,
            url: SecretUrl::new(url),
            config: Box::new(url.parse().expect("a PostgreSQL URL")),
            tls: Default::default(),
        },
    }
}
