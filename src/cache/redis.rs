//! The cache in Redis, shared with other proxies of the deployment.
//!
//! All connections belong to a *generation*. They are made together, lead to one instance of Redis,
//! and end together, at the first error or late answer on any of them:
//!
//! ```text
//!                 every connection leads to the same master,           first error or late answer,
//!                 it takes writes, and knows the script                another instance, a replica
//!   connecting ────────────────────────────────────────────▶ serving ────────────────────────────▶ over
//!   no session                                      sessions for its instance        its steps fail
//!       ▲                                                                                          │
//!       └──────────────────── at once, then after a delay that grows ──────────────────────────────┘
//! ```
//!
//! - **A step belongs to the generation of its session** and fails with it, whatever the answer, and
//!   although the next generation may lead to the same instance: a FIN may have been lost.
//! - **Nothing is removed when a generation begins.** Entries that missed a FIN, or came back with a
//!   snapshot, are fenced off by the view: who couldn't remove them does not acknowledge before it
//!   has changed, and another instance is used only by another view. (See [`crate::view`].)
//! - **Late messages of an old generation do no harm.** To the same instance they are as if they had
//!   taken long: a FILL needs its lease still in place, a FIN or SEEN only makes entries absent, and
//!   a lease that nobody knows of expires. To another they don't come, as it has other connections.
//! - **A server that is demoted answers nothing**: every step that counts on what it finds has a
//!   write in it, which a replica refuses.

pub(super) mod channels;
mod clear;
mod generation;
mod lookups;
mod maintain;
mod names;
mod replies;
mod reply_scanner;
mod server;
mod settle;
mod steps;
pub(super) mod survey;

use std::fmt;
use std::sync::{Arc, OnceLock, RwLock};
use std::time::{Duration, Instant};

use ::redis::Script;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::generation::Generation;
use self::settle::SETTLE_SCRIPT;
use crate::adjustable::Time;
use crate::metrics::Metrics;
use crate::tls::{ClientTls, RedisTarget};
use crate::view::{Instance, Sight};
use crate::workers::Workers;

pub use self::steps::RedisSession;

/// How Redis is used.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a value may live.
    pub ttl: Duration,
    /// A Redis that takes longer to answer is down.
    pub timeout: Duration,
    /// Tells the entries of this deployment from others in the same Redis. Not known before a shard
    /// has been reached; until then the cache is not used.
    pub namespace: Arc<OnceLock<String>>,
    /// How connections are secured, for a URL that wants it.
    pub tls: Option<ClientTls>,
    /// Where it is counted how long Redis takes.
    pub metrics: Arc<Metrics>,
}

/// The cache in Redis. See [`super`] for the steps.
pub struct RedisCache {
    shared: Arc<Shared>,
}

struct Shared {
    target: RedisTarget,
    /// Host and port, for the log: a URL may hold a password.
    address: String,
    settings: Settings,
    ttl: Time,
    workers: Workers,
    script: Script,
    /// The generation that serves.
    current: RwLock<Option<Arc<Generation>>>,
    /// Tells of it.
    sights: watch::Sender<Sight>,
}

impl fmt::Debug for RedisCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCache")
            .field("address", &self.shared.address)
            .field("sight", &self.sight())
            .finish_non_exhaustive()
    }
}

impl RedisCache {
    /// Starts to connect, in the background; a Redis that is down is not an error. The task ends
    /// with `stop`; sessions go on working until the Redis is lost.
    ///
    /// # Errors
    ///
    /// The URL can't be used. The text shows no password.
    pub fn start(
        url: &str,
        settings: Settings,
        workers: Workers,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, String> {
        let target = RedisTarget::new(url, settings.tls.as_ref())?;
        let shared = Arc::new(Shared {
            address: target.address(),
            target,
            ttl: Time::new(settings.ttl),
            settings,
            workers,
            script: Script::new(SETTLE_SCRIPT),
            current: RwLock::default(),
            sights: watch::Sender::new(Sight {
                cache: None,
                since: Instant::now(),
            }),
        });
        let task = Arc::clone(&shared);
        let maintain = async move { stop.run_until_cancelled(task.maintain()).await };
        // Where it makes the connections for LEASE, FILL and FIN.
        tasks.spawn_on(maintain, shared.workers.of(0));
        Ok(Self { shared })
    }

    /// What leads to `instance`, if that is what is reached now.
    pub fn session(&self, instance: Instance) -> Option<RedisSession> {
        let session = self.shared.session()?;
        (session.generation.instance == instance).then_some(session)
    }

    /// Which instance is reached now, and since when.
    pub fn sight(&self) -> Sight {
        *self.shared.sights.borrow()
    }

    /// The [`sight`](RedisCache::sight) of now and those to come.
    pub fn sights(&self) -> watch::Receiver<Sight> {
        self.shared.sights.subscribe()
    }

    /// How an entry is called by a deployment.
    #[cfg(test)]
    pub(super) fn name_of(namespace: &str, entry: &super::EntryKey) -> String {
        let mut name = Vec::new();
        names::Names::new(namespace).write(&mut name, entry);
        String::from_utf8_lossy(&name).into_owned()
    }

    /// Changes how long what is filled from now on may live.
    pub(super) fn set_ttl(&self, ttl: Duration) {
        self.shared.ttl.set(ttl);
    }

    /// Entries of all users of this Redis; 0 if it can't be used now.
    pub async fn entry_count(&self) -> u64 {
        match self.shared.session() {
            Some(session) => session.entry_count().await.unwrap_or(0),
            None => 0,
        }
    }
}
