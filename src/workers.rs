//! The threads that do the work, each with a runtime of its own.
//!
//! What waits for each other is put on one thread where that can be: a connection and its lookups in
//! the cache, a shard's lanes and its connections to the database. Then nobody is woken on another
//! thread, no task is stolen, and what is ready together is gathered together. The main runtime keeps
//! the views: those must not wait for any load.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// Where tasks can be put: the workers, and the main runtime behind them.
#[derive(Debug, Clone)]
pub struct Workers {
    runtimes: Arc<[Handle]>,
    next: Arc<AtomicUsize>,
}

/// The threads. To be stopped last, when nobody needs what lives on them any more; dropped, they go on
/// until the process ends.
#[derive(Debug)]
#[must_use = "they are to be stopped when the rest is"]
pub struct Threads {
    stop: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` workers. To be called on the main runtime.
    ///
    /// # Errors
    ///
    /// The system gives no thread, or no more file descriptors.
    pub fn start(count: usize) -> io::Result<(Self, Threads)> {
        let mut threads = Threads {
            stop: CancellationToken::new(),
            threads: Vec::with_capacity(count),
        };
        let mut runtimes = Vec::with_capacity(count + 1);
        for number in 0..count {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            runtimes.push(runtime.handle().clone());
            let stop = threads.stop.clone();
            let thread = thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || runtime.block_on(stop.cancelled()))?;
            threads.threads.push(thread);
        }
        runtimes.push(Handle::current());
        let workers = Self {
            runtimes: runtimes.into(),
            next: Arc::default(),
        };
        Ok((workers, threads))
    }

    /// The runtime of the caller does all the work.
    pub fn here() -> Self {
        Self {
            runtimes: Arc::new([Handle::current()]),
            next: Arc::default(),
        }
    }

    /// All runtimes: each worker's, and the main one.
    pub fn runtimes(&self) -> &[Handle] {
        &self.runtimes
    }

    /// Which of the [`runtimes`](Workers::runtimes) the caller is on; the main one for any other.
    pub fn current(&self) -> usize {
        let current = Handle::current().id();
        let position = self.runtimes.iter().position(|other| other.id() == current);
        position.unwrap_or(self.runtimes.len() - 1)
    }

    /// The workers in turn.
    pub fn next(&self) -> &Handle {
        self.of(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// The worker of something that has a number, as shards do.
    pub fn of(&self, number: usize) -> &Handle {
        let workers = (self.runtimes.len() - 1).max(1);
        &self.runtimes[number % workers]
    }
}

impl Threads {
    /// Ends the workers and waits for them; tasks that are left on them are dropped.
    pub async fn stop(self) {
        self.stop.cancel();
        let join = move || {
            self.threads
                .into_iter()
                .for_each(|thread| drop(thread.join()))
        };
        let _ = tokio::task::spawn_blocking(join).await;
    }
}
