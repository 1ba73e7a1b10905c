//! The read path.
//!
//! ```text
//!   cache.get ──► hit: answered, one round trip, no shard involved
//!       │ miss
//!       ▼
//!   lane of the shard ──► LEASE ──► read the shard ──► FILL or SEEN ──► answered
//! ```
//!
//! A reader says what it saw at the shard (FILL or SEEN) *before* it answers. Without that, one
//! reader could get the new value from the shard and the next an old one from the cache.
//!
//! Reads of one key share a flight only if they were in the queue when it left. One that comes
//! later may come after a write that the flight did not see. A flight that finds its view changed,
//! or the cache lost, starts over with those it has not answered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::boot_clock::BootInstant;
use super::clock::ShardClock;
use super::lane::{Item, Weight};
use super::locked;
use super::shard_cache::{Place, ShardCache};
use super::{Found, outcome_of};
use crate::cache::{Cached, Lease, Session, Sighting, Token};
use crate::command::Row;
use crate::crash_points::CrashPoints;
use crate::error::Error;
use crate::metrics::{self, Metrics, Spans};
use crate::routing::ShardId;
use crate::shard::{Reading, Shard};
use crate::trace::{Trace, Traces};

/// How long a flight may take, all its attempts together. A change of view takes some 1.5 s.
const FLIGHT_MAX: Duration = Duration::from_secs(10);

/// How many attempts it has at least, if the process stood still meanwhile.
const ATTEMPTS_MIN: u32 = 3;

/// A key that has to be read from its shard.
pub(super) struct Miss {
    pub(super) key: Bytes,
    /// When the request was there.
    pub(super) since: Instant,
    pub(super) trace: Trace,
    /// Ends when its batch leaves.
    pub(super) queue: Trace,
    pub(super) done: oneshot::Sender<Answer>,
}

/// What was found for a miss, and what that took.
pub(super) type Answer = (Result<Found, Error>, Spans);

impl Item for Miss {
    fn weight(&self) -> Weight {
        Weight {
            operations: 1,
            bytes: self.key.len(),
        }
    }

    fn since(&self) -> Instant {
        self.since
    }
}

/// What a flight of reads needs.
pub(super) struct ReadPath {
    pub(super) shard: Arc<Shard>,
    pub(super) cache: Arc<ShardCache>,
    pub(super) clock: Arc<ShardClock>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) crash_points: CrashPoints,
}

/// The row that a cache entry stands for; `None` if it can't be used, since the row may have
/// expired at the shard by now.
pub(super) fn usable(cached: Cached, clock: &ShardClock) -> Option<Option<Row>> {
    match cached {
        Cached::Absent => Some(None),
        Cached::Row(row) if row.expires_at.is_none() => Some(Some(row)),
        Cached::Row(row) => clock
            .latest_possible_now()
            .filter(|now| row.is_live(*now))
            .map(|_| Some(row)),
    }
}

/// The view changed, or the cache was lost: nothing that was found may be answered.
struct StartOver;

impl ReadPath {
    /// One flight: answers every miss.
    pub(super) async fn fly(self: Arc<Self>, misses: Vec<Miss>) {
        let departure = Instant::now();
        let figures = &self.metrics.shard(self.shard.id().index()).reads;
        let mut waiting = Waiting {
            by_key: HashMap::with_capacity(misses.len()),
            spent: Spans::default(),
            figures,
        };
        for miss in misses {
            let queued = departure.saturating_duration_since(miss.since);
            figures.queued.note_time(queued);
            miss.queue.end();
            let waiter = Waiter {
                queued,
                trace: miss.trace,
                done: miss.done,
            };
            waiting.by_key.entry(miss.key).or_default().push(waiter);
        }
        for attempt in 1_u32.. {
            // Taken after everybody is on board: nobody joins a flight of a view that was over.
            let place = match self.cache.place_in_time().await {
                Ok(place) => place,
                Err(error) => return waiting.answer_all(&error),
            };
            match self.attempt(&place, &mut waiting).await {
                Ok(()) => return,
                Err(StartOver) if departure.elapsed() < FLIGHT_MAX || attempt < ATTEMPTS_MIN => {}
                Err(StartOver) => {
                    return waiting.answer_all(&Error::ShardDown {
                        shard: self.shard.id(),
                        reason: "the cache in front of it comes and goes".to_owned(),
                    });
                }
            }
        }
    }

    /// Tells whoever waits for a miss that it was not begun.
    pub(super) fn refuse(&self, miss: Miss, error: Error) {
        let figures = &self.metrics.shard(self.shard.id().index()).reads;
        figures.ended(outcome_of(&error), 1);
        let spans = Spans {
            queue: miss.since.elapsed(),
            ..Spans::default()
        };
        let _ = miss.done.send((Err(error), spans));
    }

    /// Reads what is waiting, in the view of `place`, and answers it.
    async fn attempt(&self, place: &Place, waiting: &mut Waiting<'_>) -> Result<(), StartOver> {
        let mut keys: Vec<Bytes> = waiting.by_key.keys().cloned().collect();
        let mut tokens = Vec::new();
        if let Some(session) = place.session() {
            (keys, tokens) = self.lease(place, session, keys, waiting).await?;
            self.crash_points.pass("read:leased");
        }
        if keys.is_empty() {
            return Ok(());
        }
        self.crash_points.pass("read:leaving");
        let asked = BootInstant::now();
        self.metrics.shard_read_batches.add(1);
        waiting.figures.batches.note_size(keys.len());
        let traces = waiting.traces("shard read", self.shard.id(), keys.len());
        let reading = self.shard.read(&keys).await;
        traces.end();
        let took = BootInstant::now().since(asked);
        waiting.figures.statements.note_time(took);
        waiting.spent.shard += took;
        let reading = match reading {
            Ok(reading) => reading,
            Err(error) => {
                self.metrics.shard_errors.add(1);
                waiting.answer_all(&error);
                return Ok(());
            }
        };
        if let Some(now) = reading.now {
            self.clock.observe(asked, now);
        }
        self.crash_points.pass("read:shard-answered");
        if !self.cache.is_still(place) {
            return Err(StartOver);
        }
        for position in &reading.locked {
            if let Some(key) = keys.get(*position) {
                waiting.answer(key, &Err(locked::expired(self.shard.id())));
            }
        }
        if let Some(session) = place.session() {
            let sightings = self.sightings(place, &keys, tokens, &reading, asked);
            let began = Instant::now();
            let traces = waiting.traces("cache fill", self.shard.id(), sightings.len());
            let settled = session.settle(&sightings).await;
            traces.end();
            waiting.spent.cache += began.elapsed();
            let fills = settled.map_err(|_unavailable| StartOver)?;
            self.note_fills(&sightings, fills);
            self.crash_points.pass("read:filled");
        }
        for (key, row) in keys.iter().zip(reading.rows) {
            let from_cache = false;
            waiting.answer(key, &Ok(Found { row, from_cache }));
        }
        Ok(())
    }

    /// Places leases. Answers what was filled in the meantime; returns the keys to read, and for each
    /// the token if it was granted.
    async fn lease(
        &self,
        place: &Place,
        session: &Session,
        keys: Vec<Bytes>,
        waiting: &mut Waiting<'_>,
    ) -> Result<(Vec<Bytes>, Vec<Option<Token>>), StartOver> {
        let token = Token::draw();
        let entries: Vec<_> = keys
            .iter()
            .map(|key| self.cache.entry(place, key))
            .collect();
        let began = Instant::now();
        let traces = waiting.traces("cache lease", self.shard.id(), entries.len());
        let leases = session.lease(&entries, token).await;
        traces.end();
        waiting.spent.cache += began.elapsed();
        let leases = leases.map_err(|_unavailable| StartOver)?;
        let mut to_read = Vec::with_capacity(keys.len());
        let mut tokens = Vec::with_capacity(keys.len());
        for (key, lease) in keys.into_iter().zip(leases) {
            let granted = match lease {
                Lease::Granted => Some(token),
                Lease::Held => None,
                Lease::Value(cached) => match usable(cached, &self.clock) {
                    Some(row) => {
                        let from_cache = true;
                        waiting.answer(&key, &Ok(Found { row, from_cache }));
                        continue;
                    }
                    None => None,
                },
            };
            to_read.push(key);
            tokens.push(granted);
        }
        Ok((to_read, tokens))
    }

    fn note_fills(&self, sightings: &[Sighting], fills: usize) {
        let leased = sightings.iter().filter(|sighting| sighting.token.is_some());
        let leased = leased.count();
        let figures = self.metrics.shard(self.shard.id().index());
        figures.fills.add(fills as u64);
        figures
            .fills_refused
            .add(leased.saturating_sub(fills) as u64);
        let others = sightings.len() - leased;
        figures.fills_left_to_others.add(others as u64);
    }

    fn sightings(
        &self,
        place: &Place,
        keys: &[Bytes],
        tokens: Vec<Option<Token>>,
        reading: &Reading,
        asked: BootInstant,
    ) -> Vec<Sighting> {
        let elapsed = BootInstant::now().since(asked);
        keys.iter()
            .zip(tokens)
            .zip(&reading.rows)
            .enumerate()
            // Nothing was seen of those.
            .filter(|(position, _)| !reading.locked.contains(position))
            .map(|(_, ((key, token), row))| Sighting {
                entry: self.cache.entry(place, key),
                token,
                row: row.clone(),
                // The shard looked when it was asked or later, so this never is too long.
                time_left: row.as_ref().and_then(|row| {
                    let left = row.expires_at?.since(reading.now?);
                    Some(left.saturating_sub(elapsed))
                }),
            })
            .collect()
    }
}

/// Who waits for each key of a flight.
struct Waiting<'a> {
    by_key: HashMap<Bytes, Vec<Waiter>>,
    /// What the flight has taken so far.
    spent: Spans,
    figures: &'a metrics::Operations,
}

struct Waiter {
    queued: Duration,
    trace: Trace,
    done: oneshot::Sender<Answer>,
}

impl Waiting<'_> {
    /// Spans of all that wait, for what is done next.
    fn traces(&self, name: &'static str, shard: ShardId, keys: usize) -> Traces {
        let waiters = self.by_key.values().flatten();
        let traces = waiters.map(|waiter| &waiter.trace);
        Traces::of(traces, name, shard.index(), keys)
    }

    fn answer(&mut self, key: &Bytes, result: &Result<Found, Error>) {
        let waiters = self.by_key.remove(key).unwrap_or_default();
        self.tell(waiters, result);
    }

    fn answer_all(&mut self, error: &Error) {
        let waiters = self.by_key.drain().flat_map(|(_, waiters)| waiters);
        let waiters = waiters.collect();
        self.tell(waiters, &Err(error.clone()));
    }

    fn tell(&self, waiters: Vec<Waiter>, result: &Result<Found, Error>) {
        let outcome = result.as_ref().err();
        let outcome = outcome.map_or(metrics::Outcome::Ok, outcome_of);
        self.figures.ended(outcome, waiters.len());
        for Waiter { queued, done, .. } in waiters {
            let spans = Spans {
                queue: queued,
                ..self.spent
            };
            // A client that is gone no longer wants to know.
            let _ = done.send((result.clone(), spans));
        }
    }
}
