//! The steps, on one generation.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::{Pipeline, RedisResult, cmd};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Shared;
use super::generation::Generation;
use super::lookups::{Found, Lookup, Lookups, NAMES_MAX};
use super::replies::{expect_count, is_no_script, lease_answer};
use super::settle::{SettleChunks, VALUE_BYTES_MAX, load_script};
use crate::cache::entry::{self, Cached, Entry};
use crate::cache::{EntryKey, LEASE_TTL, Lease, Sighting, Token, Unavailable};
use crate::metrics::CacheStep;

/// In how many limits of an answer a connection for lookups has to answer whether it lives: the
/// question waits behind others, of which each has its own limit.
const PING_LIMITS: u32 = 10;
/// Chunks of one GET that wait or are under way.
const CHUNKS_MAX: usize = 2;
/// What a step may take longer for each MiB that it may carry; 100 MiB/s is less than a 1 Gbit/s
/// network can do.
const TRANSFER_PER_MIB: Duration = Duration::from_millis(10);
/// Likewise for each name whose value is asked for.
pub(super) const TRANSFER_PER_NAME: Duration = TRANSFER_PER_MIB;

/// A generation to work with. See [`Session`](crate::cache::Session).
#[derive(Clone)]
pub struct RedisSession {
    pub(super) shared: Arc<Shared>,
    pub(super) generation: Arc<Generation>,
}

impl fmt::Debug for RedisSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSession")
            .field("address", &self.shared.address)
            .field("instance", &self.generation.instance)
            .field("is_over", &self.generation.is_over())
            .finish()
    }
}

impl RedisSession {
    /// What is known of each entry, in order.
    ///
    /// # Errors
    ///
    /// Nothing is known of any entry.
    pub async fn get(&self, entries: &[EntryKey]) -> Result<Vec<Option<Cached>>, Unavailable> {
        let lookups = self.lookups_of_this_worker();
        let mut found = Vec::with_capacity(entries.len());
        let mut chunks = entries.chunks(NAMES_MAX);
        // The next one waits in the queue while one is under way, and no more than that: others want
        // their turn.
        let mut flying: VecDeque<_> = chunks
            .by_ref()
            .take(CHUNKS_MAX)
            .map(|chunk| self.look_up(lookups, chunk))
            .collect();
        while let Some(answer) = flying.pop_front() {
            let bytes = self.landed(lookups, answer).await?.into_iter();
            found.extend(bytes.map(|bytes| match entry::decode(bytes?)? {
                Entry::Value(cached) => Some(cached),
                Entry::Lease => None,
            }));
            flying.extend(chunks.next().map(|chunk| self.look_up(lookups, chunk)));
        }
        Ok(found)
    }

    fn lookups_of_this_worker(&self) -> &Lookups {
        &self.generation.lookups[self.shared.workers.current()]
    }

    fn look_up(&self, lookups: &Lookups, entries: &[EntryKey]) -> oneshot::Receiver<Found> {
        let mut names = Vec::new();
        let mut last = 0;
        for entry in entries {
            last = names.len();
            self.generation.names.add_argument(&mut names, entry);
        }
        let (done, answer) = oneshot::channel();
        lookups.submit(Lookup {
            names,
            last,
            count: entries.len(),
            done,
        });
        answer
    }

    async fn landed(
        &self,
        lookups: &Lookups,
        answer: oneshot::Receiver<Found>,
    ) -> Result<Found, Unavailable> {
        let Ok(found) = answer.await else {
            self.end(format_args!("GET: {}", lookups.reason()));
            return Err(Unavailable);
        };
        if self.generation.is_over() {
            return Err(Unavailable);
        }
        Ok(found)
    }

    /// Asks whether the connection for lookups lives. It is lost, too, if it is so busy that the
    /// question does not get through in several times the limit of an answer.
    pub(super) async fn ping(&self, lookups: &Lookups) -> Result<(), Unavailable> {
        let answer = self.look_up(lookups, &[]);
        self.step("PING", PING_LIMITS * self.allowance(0), async {
            answer
                .await
                .map(drop)
                .map_err(|_| io::Error::other(lookups.reason().to_owned()).into())
        })
        .await
    }

    /// LEASE for each entry, in order.
    ///
    /// # Errors
    ///
    /// No lease was granted that could be used.
    pub async fn lease(
        &self,
        entries: &[EntryKey],
        token: Token,
    ) -> Result<Vec<Lease>, Unavailable> {
        let lease = entry::encode_lease(token);
        let lease_ms = LEASE_TTL.as_millis() as u64;
        let mut answers = Vec::with_capacity(entries.len());
        for chunk in entries.chunks(NAMES_MAX) {
            let mut commands = Pipeline::with_capacity(chunk.len());
            let mut name = Vec::new();
            for entry in chunk {
                self.generation.names.write(&mut name, entry);
                commands
                    .cmd("SET")
                    .arg(&name[..])
                    .arg(&lease[..])
                    .arg(b"NX")
                    .arg(b"GET")
                    .arg(b"PX")
                    .arg(lease_ms);
            }
            let leasing = self.step("LEASE", self.allowance(chunk.len()), async {
                // Not `query_async`, which makes one error of one command an error of all.
                let replies = self
                    .generation
                    .leases
                    .clone()
                    .send_packed_commands(&commands, 0, chunk.len())
                    .await?;
                expect_count(replies, chunk.len())?
                    .into_iter()
                    .map(lease_answer)
                    .collect::<RedisResult<Vec<_>>>()
            });
            answers.extend(self.timed(CacheStep::Lease, leasing).await?);
        }
        Ok(answers)
    }

    /// FILL or SEEN for each sighting. Returns how many were filled.
    ///
    /// # Errors
    ///
    /// It is not known what became of the entries.
    pub async fn settle(&self, sightings: &[Sighting]) -> Result<usize, Unavailable> {
        let mut filled = 0;
        for chunk in SettleChunks(sightings) {
            let (command, bytes) = self.settle_command(chunk);
            let allowance = self.allowance(bytes.div_ceil(VALUE_BYTES_MAX));
            let settling = self.step("SETTLE", allowance, async {
                let mut connection = self.generation.duties.clone();
                match command.query_async::<usize>(&mut connection).await {
                    Err(error) if is_no_script(&error) => {
                        load_script(&mut connection).await?;
                        command.query_async(&mut connection).await
                    }
                    answer => answer,
                }
            });
            filled += self.timed(CacheStep::Settle, settling).await?;
        }
        Ok(filled)
    }

    /// FIN for all the entries.
    ///
    /// # Errors
    ///
    /// Entries may be left as they were.
    pub async fn fin(&self, entries: &[EntryKey]) -> Result<(), Unavailable> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut command = cmd("UNLINK");
        self.generation.names.add_all(&mut command, entries);
        let finishing = self.step("FIN", self.allowance(entries.len() / NAMES_MAX), async {
            let mut connection = self.generation.duties.clone();
            command.query_async(&mut connection).await
        });
        self.timed(CacheStep::Fin, finishing).await
    }

    /// Notes how long a step took that was confirmed.
    async fn timed<T>(
        &self,
        step: CacheStep,
        taking: impl Future<Output = Result<T, Unavailable>>,
    ) -> Result<T, Unavailable> {
        let began = Instant::now();
        let answer = taking.await?;
        let figures = &self.shared.settings.metrics.cache_steps[step as usize];
        figures.note_time(began.elapsed());
        Ok(answer)
    }

    /// Entries of all users of this Redis.
    pub(super) async fn entry_count(&self) -> Result<u64, Unavailable> {
        self.step("DBSIZE", self.allowance(0), async {
            let mut connection = self.generation.leases.clone();
            cmd("DBSIZE").query_async(&mut connection).await
        })
        .await
    }

    /// Runs `request`. Any error or a late answer ends the generation; an answer that arrives after
    /// the end does not count.
    pub(super) async fn step<T>(
        &self,
        what: &str,
        allowance: Duration,
        request: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, Unavailable> {
        let over = &self.generation.over;
        let Some(answer) = over.run_until_cancelled(timeout(allowance, request)).await else {
            return Err(Unavailable);
        };
        match answer {
            Ok(Ok(answer)) if !self.generation.is_over() => return Ok(answer),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => self.end(format_args!("{what}: {error}")),
            Err(_) => {
                let ms = allowance.as_millis();
                self.end(format_args!("{what}: no answer in {ms} ms"));
            }
        }
        Err(Unavailable)
    }

    pub(super) fn end(&self, reason: impl fmt::Display) {
        self.shared.end(&self.generation, reason);
    }

    /// How long a step may take that carries up to `mib` MiB, or as many values.
    pub(super) fn allowance(&self, mib: usize) -> Duration {
        self.shared.settings.timeout + TRANSFER_PER_MIB * u32::try_from(mib).unwrap_or(u32::MAX)
    }
}
