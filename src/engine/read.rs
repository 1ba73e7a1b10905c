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

use super::Found;
use super::boot_clock::BootInstant;
use super::clock::ShardClock;
use super::lane::{Item, Weight};
use super::locked;
use super::shard_cache::{Place, ShardCache};
use crate::cache::{Cached, Lease, Session, Sighting, Token};
use crate::command::Row;
use crate::crash_points::CrashPoints;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::shard::{Reading, Shard};

/// How long a flight may take, all its attempts together. A change of view takes some 1.5 s.
const FLIGHT_MAX: Duration = Duration::from_secs(10);

/// How many attempts it has at least, if the process stood still meanwhile.
const ATTEMPTS_MIN: u32 = 3;

/// A key that has to be read from its shard.
pub(super) struct Miss {
    pub(super) key: Bytes,
    pub(super) done: oneshot::Sender<Result<Found, Error>>,
}

impl Item for Miss {
    fn weight(&self) -> Weight {
        Weight {
            operations: 1,
            bytes: self.key.len(),
        }
    }

    fn refuse(self, error: Error) {
        let _ = self.done.send(Err(error));
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
        let mut waiting = Waiting::default();
        for miss in misses {
            waiting.0.entry(miss.key).or_default().push(miss.done);
        }
        let departure = Instant::now();
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

    /// Reads what is waiting, in the view of `place`, and answers it.
    async fn attempt(&self, place: &Place, waiting: &mut Waiting) -> Result<(), StartOver> {
        let mut keys: Vec<Bytes> = waiting.0.keys().cloned().collect();
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
        let reading = match self.shard.read(&keys).await {
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
            let settled = session.settle(&sightings).await;
            settled.map_err(|_unavailable| StartOver)?;
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
        waiting: &mut Waiting,
    ) -> Result<(Vec<Bytes>, Vec<Option<Token>>), StartOver> {
        let token = Token::draw();
        let entries: Vec<_> = keys
            .iter()
            .map(|key| self.cache.entry(place, key))
            .collect();
        let leases = session.lease(&entries, token).await;
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
#[derive(Default)]
struct Waiting(HashMap<Bytes, Vec<oneshot::Sender<Result<Found, Error>>>>);

impl Waiting {
    fn answer(&mut self, key: &Bytes, result: &Result<Found, Error>) {
        for done in self.0.remove(key).unwrap_or_default() {
            // A client that is gone no longer wants to know.
            let _ = done.send(result.clone());
        }
    }

    fn answer_all(&mut self, error: &Error) {
        for done in self.0.drain().flat_map(|(_, waiting)| waiting) {
            let _ = done.send(Err(error.clone()));
        }
    }
}
