//! A redis-server of a test.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::aio::MultiplexedConnection;
use ::redis::{FromRedisValue, cmd};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{NAMESPACE, PATIENCE, named, reached};
use crate::cache::RedisCache;
use crate::cache::redis::Settings;
use crate::cache::tests::TTL;
use crate::workers::Workers;

/// Longer than a server on a busy machine may take; the default is for production.
pub(super) const TIMEOUT: Duration = Duration::from_millis(500);

/// A redis-server of one test, in a directory of its own.
pub(in crate::cache) struct Server {
    pub(super) port: u16,
    directory: PathBuf,
    arguments: Vec<String>,
    process: Option<Child>,
}

impl Server {
    pub(in crate::cache) fn start(arguments: &[&str]) -> Self {
        let mut server = Self::planned(arguments);
        server.run();
        server
    }

    /// A server that does not run yet.
    pub(super) fn planned(arguments: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let unique = format!("respgres-cache-test-{}-{port}", std::process::id());
        let directory = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&directory).unwrap();
        Self {
            port,
            directory,
            arguments: arguments.iter().map(|text| text.to_string()).collect(),
            process: None,
        }
    }

    pub(super) fn run(&mut self) {
        let process = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(&self.directory)
            .args(&self.arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server must be installed");
        self.process = Some(process);
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub(super) fn signal(&self, signal: &str) {
        let id = self.process.as_ref().unwrap().id().to_string();
        let status = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(status.success());
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(super) fn settings() -> Settings {
        Settings {
            ttl: TTL,
            timeout: TIMEOUT,
            namespace: named(NAMESPACE),
            tls: None,
            metrics: Arc::default(),
        }
    }

    /// A cache that does not wait for the server.
    pub(super) fn cache_now(&self, change: impl FnOnce(&mut Settings)) -> RedisCache {
        let mut settings = Self::settings();
        change(&mut settings);
        let stop = CancellationToken::new();
        RedisCache::start(
            &self.url(),
            settings,
            Workers::here(),
            &TaskTracker::new(),
            stop,
        )
        .unwrap()
    }

    pub(in crate::cache) async fn cache_with(
        &self,
        change: impl FnOnce(&mut Settings),
    ) -> RedisCache {
        let cache = self.cache_now(change);
        reached(&cache).await;
        cache
    }

    pub(in crate::cache) async fn cache(&self) -> RedisCache {
        self.cache_with(|_| {}).await
    }

    /// A connection past the cache.
    async fn connection(&self) -> MultiplexedConnection {
        let client = ::redis::Client::open(self.url()).unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            match client.get_multiplexed_async_connection().await {
                Ok(connection) => return connection,
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs the words as a command.
    pub(super) async fn run_command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = cmd(words[0]);
        command.arg(&words[1..]);
        command
            .query_async(&mut self.connection().await)
            .await
            .unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
