//! A proxy with its shards and its cache, over each of the backends.

use super::http::Http;
use super::postgres_server::PostgresServer;
use super::proxy::{Proxy, ProxyBuilder};
use super::redis_server::RedisServer;
use super::resp::Conn;
use super::scratch::Scratch;
use super::shards::Shards;
use super::wait::eventually;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Backend {
    /// SQLite shards and the in-process cache: no configuration.
    Embedded,
    /// Databases on the shared PostgreSQL server, and a redis-server.
    Postgres,
    /// No proxy: a redis-server answers, as the reference.
    RedisItself,
}

/// What to start for a test.
#[derive(Clone)]
pub struct Setup {
    backend: Backend,
    num_shards: usize,
    env: Vec<(String, String)>,
    password: Option<String>,
    users: Option<String>,
}

impl Setup {
    /// The embedded default.
    pub fn embedded() -> Setup {
        Setup::over(Backend::Embedded)
    }

    /// PostgreSQL and Redis.
    pub fn postgres() -> Setup {
        Setup::over(Backend::Postgres)
    }

    /// A real redis-server in the proxy's place.
    pub fn redis_itself() -> Setup {
        Setup::over(Backend::RedisItself)
    }

    fn over(backend: Backend) -> Setup {
        Setup {
            backend,
            num_shards: 3,
            env: Vec::new(),
            password: None,
            users: None,
        }
    }

    /// Another number of shards than three.
    pub fn shards(mut self, num_shards: usize) -> Setup {
        self.num_shards = num_shards;
        self
    }

    /// A variable for the proxy.
    pub fn env(mut self, name: &str, value: &str) -> Setup {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a password for the default user.
    pub fn password(mut self, password: &str) -> Setup {
        self.password = Some(password.to_owned());
        self
    }

    /// With these users, in the format of Redis' ACL file.
    pub fn users(mut self, file: &str) -> Setup {
        self.users = Some(file.to_owned());
        self
    }

    /// Starts it, and waits until it is ready.
    #[track_caller]
    pub fn start(self) -> Deployment {
        let dir = Scratch::new("deployment");
        let mut builder = ProxyBuilder::new(dir.path());
        if let Some(password) = &self.password {
            builder = builder.env("PASSWORD", password);
        }
        if let Some(users) = &self.users {
            let file = dir.join("users.acl");
            std::fs::write(&file, users).expect("a scratch directory takes files");
            builder = builder.env("USERS_FILE", file.to_str().expect("a UTF-8 path"));
        }
        let mut urls = Vec::new();
        let mut redis = None;
        match self.backend {
            Backend::Embedded => {
                builder = builder.env("DATA_DIR", dir.join("data").to_str().expect("a UTF-8 path"));
                builder = builder.env("NUM_SHARDS", self.num_shards.to_string());
            }
            Backend::Postgres => {
                urls = blank_databases(self.num_shards);
                let server = RedisServer::start();
                builder = builder.shard_urls(&urls).env("REDIS_URL", server.url());
                redis = Some(server);
            }
            Backend::RedisItself => {
                // One logical database, as the proxy has.
                let (password, users) = (self.password.as_deref(), self.users.as_deref());
                redis = Some(match password.or(users) {
                    Some(_) => RedisServer::with_access(password, users),
                    None => RedisServer::with_databases(1),
                });
            }
        }
        for (name, value) in &self.env {
            builder = builder.env(name, value);
        }
        let proxy = (self.backend != Backend::RedisItself).then(|| builder.clone().start());
        if let Some(proxy) = &proxy {
            // The ports may be open a moment before the cache is in use.
            let http = proxy.http();
            eventually("the cache is in use", || {
                (http.health().1["cache"] == "healthy").then_some(())
            });
        }
        Deployment {
            proxy,
            redis,
            urls,
            builder,
            dir,
            backend: self.backend,
        }
    }
}

/// Databases on the shared PostgreSQL server.
pub fn blank_databases(count: usize) -> Vec<String> {
    (0..count)
        .map(|_| PostgresServer::shared().create_database())
        .collect()
}

/// A running proxy with all that belongs to it. Dropping it stops and removes everything.
pub struct Deployment {
    // The order of the fields is the order in which they are stopped.
    proxy: Option<Proxy>,
    redis: Option<RedisServer>,
    urls: Vec<String>,
    builder: ProxyBuilder,
    dir: Scratch,
    backend: Backend,
}

impl Deployment {
    /// A RESP connection.
    #[track_caller]
    pub fn conn(&self) -> Conn {
        Conn::open(&self.resp_addr())
    }

    /// Where RESP is spoken.
    pub fn resp_addr(&self) -> String {
        match &self.proxy {
            Some(proxy) => proxy.resp_addr().to_owned(),
            None => self.redis().addr(),
        }
    }

    /// A RESP connection of a user.
    #[track_caller]
    pub fn conn_of(&self, user: &str, password: &str) -> Conn {
        let mut conn = self.conn();
        conn.auth(user, password);
        conn
    }

    /// The file with the users, where there is one.
    pub fn users_file(&self) -> std::path::PathBuf {
        match &self.redis {
            Some(redis) if self.is_redis_itself() => redis.users_file(),
            _ => self.dir.join("users.acl"),
        }
    }

    /// An HTTP client.
    pub fn http(&self) -> Http {
        self.proxy().http()
    }

    /// The proxy.
    pub fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().expect("there is a proxy")
    }

    /// The proxy, to be signalled.
    pub fn proxy_mut(&mut self) -> &mut Proxy {
        self.proxy.as_mut().expect("there is a proxy")
    }

    /// The redis-server.
    pub fn redis(&self) -> &RedisServer {
        self.redis.as_ref().expect("there is a redis-server")
    }

    /// The redis-server, to be killed or paused.
    pub fn redis_mut(&mut self) -> &mut RedisServer {
        self.redis.as_mut().expect("there is a redis-server")
    }

    /// The settings of the proxy, to start another one on the same shards.
    pub fn builder(&self) -> ProxyBuilder {
        self.builder.clone()
    }

    /// The URLs of the shards, where they are PostgreSQL databases.
    pub fn urls(&self) -> &[String] {
        &self.urls
    }

    /// The directory in which the proxy runs.
    pub fn dir(&self) -> &Scratch {
        &self.dir
    }

    /// Whether the shards are SQLite files.
    pub fn is_embedded(&self) -> bool {
        self.backend == Backend::Embedded
    }

    /// Whether a real redis-server answers in the proxy's place.
    pub fn is_redis_itself(&self) -> bool {
        self.backend == Backend::RedisItself
    }

    /// The shards, for SQL.
    pub fn shards(&self) -> Shards {
        match self.backend {
            Backend::Embedded => Shards::in_data_dir(&self.dir.join("data")),
            _ => Shards::Postgres(self.urls.clone()),
        }
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        self.proxy = None;
        if std::thread::panicking() && self.backend == Backend::Postgres {
            eprintln!(
                "--- the shared PostgreSQL:\n{}",
                PostgresServer::shared().log()
            );
        }
        for url in &self.urls {
            PostgresServer::shared().drop_database(url);
        }
    }
}
