//! The cache in this process: the entries and steps of [`super`], bounded by bytes.
//!
//! quick_cache gives each step its atomicity. While an entry goes from one state to another it is a
//! *placeholder*: [`get`](MemoryCache::get) sees nothing, the other steps wait for it to be
//! resolved, and a FIN takes it away, so that what was to be put there is not. Two rules follow.
//! A placeholder lives only within one call below, never across an await. And every step but `get`
//! and FIN goes through `entry()`, which waits: a SEEN that overlooked a FILL in the making would
//! leave an older value behind.

use std::mem::size_of;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quick_cache::sync::{Cache, EntryAction, EntryResult};
use quick_cache::{DefaultHashBuilder, Equivalent, OptionsBuilder, Weighter};
use tokio::sync::watch;

use crate::adjustable::Time;
use crate::cache::entry::Cached;
use crate::cache::{EntryKey, LEASE_TTL, Lease, Sighting, Token};
use crate::command::{Row, Stamp};
use crate::routing::ShardId;
use crate::view::{Epoch, Instance, Sight};

/// What the map needs for an entry besides the key's and the value's bytes: its slot, its place in
/// the hash table, and the headers of the two allocations.
const ENTRY_OVERHEAD_BYTES: u64 = (size_of::<Name>() + size_of::<Entry>() + 64) as u64;

/// A part of the cache (it has a lock of its own) is not smaller than this, as an entry larger than
/// a part can't be cached.
const PART_BYTES_MIN: u64 = 32 * 1024 * 1024;

/// More parts than threads that could ever contend for them gain nothing.
const PARTS_MAX: u64 = 64;

/// Sizes what the map remembers of evicted keys; a guess of the mean entry.
const MEAN_ENTRY_BYTES: u64 = 512;

/// An [`EntryKey`] with a key of its own: the caller's is a slice of a read buffer, which the entry
/// would keep alive as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Name {
    shard: ShardId,
    epoch: Epoch,
    key: Bytes,
}

impl Name {
    fn of(entry: &EntryKey) -> Self {
        Self {
            shard: entry.shard,
            epoch: entry.epoch,
            key: Bytes::copy_from_slice(&entry.key),
        }
    }
}

/// A [`Name`] to look for. It has the same hash, as the same fields in the same order.
#[derive(Hash)]
struct NameRef<'a> {
    shard: ShardId,
    epoch: Epoch,
    key: &'a Bytes,
}

impl<'a> NameRef<'a> {
    fn of(entry: &'a EntryKey) -> Self {
        Self {
            shard: entry.shard,
            epoch: entry.epoch,
            key: &entry.key,
        }
    }
}

impl Equivalent<Name> for NameRef<'_> {
    fn equivalent(&self, name: &Name) -> bool {
        self.shard == name.shard && self.epoch == name.epoch && self.key == &name.key
    }
}

#[derive(Debug, Clone)]
enum Entry {
    Value {
        cached: Cached,
        deadline: Instant,
    },
    Lease {
        token: Token,
        noted: Option<Stamp>,
        deadline: Instant,
    },
}

impl Entry {
    /// An entry past its deadline is absent.
    fn is_over(&self, now: Instant) -> bool {
        let (Entry::Value { deadline, .. } | Entry::Lease { deadline, .. }) = self;
        *deadline <= now
    }
}

#[derive(Debug, Clone)]
struct Bytesize;

impl Weighter<Name, Entry> for Bytesize {
    fn weight(&self, name: &Name, entry: &Entry) -> u64 {
        let value = match entry {
            Entry::Value {
                cached: Cached::Row(row),
                ..
            } => row.value.len(),
            _ => 0,
        };
        (name.key.len() + value) as u64 + ENTRY_OVERHEAD_BYTES
    }
}

/// The cache of this process. See [`super`] for the steps. Clones share the entries.
#[derive(Debug, Clone)]
pub struct MemoryCache {
    entries: Arc<Cache<Name, Entry, Bytesize>>,
    ttl: Time,
    /// Kept for who waits for a change, which never comes.
    sights: Arc<watch::Sender<Sight>>,
}

impl MemoryCache {
    /// An empty cache of at most `capacity_bytes`; values live for `ttl` at most.
    pub fn new(capacity_bytes: u64, ttl: Duration) -> Self {
        let parts = (capacity_bytes / PART_BYTES_MIN).clamp(1, PARTS_MAX) as usize;
        // quick_cache rounds up to a power of two; down keeps the parts large enough.
        let parts = 1 << parts.ilog2();
        let items = usize::try_from(capacity_bytes / MEAN_ENTRY_BYTES).unwrap_or(usize::MAX);
        // It makes fewer parts of a cache for few items.
        let items = items.max(parts * 32);
        let options = OptionsBuilder::new()
            .shards(parts)
            .estimated_items_capacity(items)
            .weight_capacity(capacity_bytes)
            .build();
        let entries = match options {
            Ok(options) => Cache::with_options(
                options,
                Bytesize,
                DefaultHashBuilder::default(),
                Default::default(),
            ),
            // Only for options left out; the default number of parts would do as well.
            Err(_) => Cache::with_weighter(items, capacity_bytes, Bytesize),
        };
        let sight = Sight {
            cache: Some(Instance::draw()),
            since: Instant::now(),
        };
        Self {
            entries: Arc::new(entries),
            ttl: Time::new(ttl),
            sights: Arc::new(watch::Sender::new(sight)),
        }
    }

    /// This process, since the cache was made.
    pub fn sight(&self) -> Sight {
        *self.sights.borrow()
    }

    /// The same for ever.
    pub fn sights(&self) -> watch::Receiver<Sight> {
        self.sights.subscribe()
    }

    /// What is known of each entry, in order.
    pub fn get(&self, entries: &[EntryKey]) -> Vec<Option<Cached>> {
        let now = Instant::now();
        entries
            .iter()
            .map(|entry| self.get_one(&NameRef::of(entry), now))
            .collect()
    }

    fn get_one(&self, name: &NameRef<'_>, now: Instant) -> Option<Cached> {
        match self.entries.get(name)? {
            entry if entry.is_over(now) => {
                // Gives the memory back; asked again under the lock, as it may be another by now.
                self.entries.remove_if(name, |entry| entry.is_over(now));
                None
            }
            Entry::Value { cached, .. } => Some(cached),
            Entry::Lease { .. } => None,
        }
    }

    /// LEASE for each entry, in order.
    pub fn lease(&self, entries: &[EntryKey], token: Token) -> Vec<Lease> {
        entries
            .iter()
            .map(|entry| self.lease_one(&Name::of(entry), token))
            .collect()
    }

    fn lease_one(&self, name: &Name, token: Token) -> Lease {
        let lease = |now| Entry::Lease {
            token,
            noted: None,
            deadline: now + LEASE_TTL,
        };
        let step = self.entries.entry(name, None, |_, entry| {
            // Asked here, as the wait for the entry may have taken a while.
            let now = Instant::now();
            if entry.is_over(now) {
                return EntryAction::ReplaceWithGuard;
            }
            EntryAction::Retain(match entry {
                Entry::Value { cached, .. } => Lease::Value(cached.clone()),
                Entry::Lease { .. } => Lease::Held,
            })
        });
        match step {
            EntryResult::Retained(found) => found,
            EntryResult::Vacant(place) | EntryResult::Replaced(place, _) => {
                // Fails if a FIN came in between: that FIN then came after this LEASE.
                let _ = place.insert(lease(Instant::now()));
                Lease::Granted
            }
            // Neither is asked for above.
            EntryResult::Removed(..) | EntryResult::Timeout => Lease::Held,
        }
    }

    /// FILL or SEEN for each sighting. Returns how many were filled.
    pub fn settle(&self, sightings: &[Sighting]) -> usize {
        let filled = sightings
            .iter()
            .filter(|sighting| self.settle_one(sighting));
        filled.count()
    }

    fn settle_one(&self, sighting: &Sighting) -> bool {
        let seen = sighting.row.as_ref().map_or(Stamp::ABSENT, |row| row.stamp);
        // Copied before anyone may have to wait for it.
        let value = sighting.token.and_then(|_| self.value_of(sighting));
        let step = self
            .entries
            .entry(&Name::of(&sighting.entry), None, |_, entry| {
                if entry.is_over(Instant::now()) {
                    return EntryAction::Remove;
                }
                match entry {
                    Entry::Value { cached, .. } if cached.stamp() == seen => {
                        EntryAction::Retain(())
                    }
                    Entry::Value { .. } => EntryAction::Remove,
                    Entry::Lease {
                        noted: Some(noted), ..
                    } if *noted != seen => EntryAction::Remove,
                    Entry::Lease { token, .. } if Some(*token) == sighting.token => {
                        EntryAction::ReplaceWithGuard
                    }
                    Entry::Lease { noted, .. } => {
                        *noted = Some(seen);
                        EntryAction::Retain(())
                    }
                }
            });
        // Dropping the place of a vacant entry leaves it vacant.
        if let EntryResult::Replaced(place, _) = step
            && let Some(value) = value
        {
            // Not in place of the lease, under `entry()`: only this makes room by evicting others.
            // Fails if a FIN came in between.
            return place.insert(value).is_ok();
        }
        false
    }

    /// Changes how long what is filled from now on lives at most.
    pub(super) fn set_ttl(&self, ttl: Duration) {
        self.ttl.set(ttl);
    }

    /// The value to fill in; `None` if it is over already.
    fn value_of(&self, sighting: &Sighting) -> Option<Entry> {
        let ttl = self.ttl.get();
        let lifetime = sighting.time_left.map_or(ttl, |left| left.min(ttl));
        if lifetime.is_zero() {
            return None;
        }
        let cached = match &sighting.row {
            None => Cached::Absent,
            Some(row) => Cached::Row(Row {
                value: Bytes::copy_from_slice(&row.value),
                ..row.clone()
            }),
        };
        Some(Entry::Value {
            cached,
            deadline: Instant::now() + lifetime,
        })
    }

    /// FIN for all the entries.
    pub fn fin(&self, entries: &[EntryKey]) {
        for entry in entries {
            self.entries.remove(&NameRef::of(entry));
        }
    }

    /// FIN for everything. There is none for a single shard, as quick_cache's `retain` overlooks
    /// placeholders: a FILL in the making would leave behind a value from before. An entry that is
    /// lost without need does no harm.
    pub fn clear(&self) {
        self.entries.clear();
    }

    /// The bytes that the entries take, with what each costs besides.
    pub fn bytes(&self) -> u64 {
        self.entries.weight()
    }

    /// Entries, some of which may be past their deadline.
    pub fn entry_count(&self) -> u64 {
        self.entries.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;
    use crate::cache::tests::{absent, name, row, sighting};

    const TTL: Duration = Duration::from_secs(60);
    const ROUNDS: usize = 20_000;

    fn fill(cache: &MemoryCache, key: &str, value: &[u8]) {
        let token = Token::draw();
        assert_eq!(cache.lease(&[name(key)], token), [Lease::Granted]);
        let mut row = row(1);
        row.value = Bytes::copy_from_slice(value);
        cache.settle(&[sighting(key, Some(token), Some(row))]);
    }

    #[test]
    fn of_many_threads_leasing_one_key_one_is_granted() {
        const THREADS: usize = 8;
        let cache = MemoryCache::new(1 << 20, TTL);
        for round in 0..500 {
            let key = [name(&round.to_string())];
            let (granted, start) = (AtomicUsize::new(0), Barrier::new(THREADS));
            thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| {
                        start.wait();
                        // SEENs of nothing must not get in the way.
                        cache.settle(&[sighting("other", None, absent())]);
                        match cache.lease(&key, Token::draw())[0] {
                            Lease::Granted => granted.fetch_add(1, Ordering::Relaxed),
                            Lease::Held => 0,
                            Lease::Value(_) => panic!("a value out of nothing"),
                        };
                    });
                }
            });
            assert_eq!(granted.into_inner(), 1);
        }
    }

    /// Whichever comes first, the other finds out: nothing is left.
    #[test]
    fn a_fill_and_a_seen_of_another_state_never_miss_each_other() {
        let cache = MemoryCache::new(1 << 20, TTL);
        let start = Barrier::new(2);
        let end = Barrier::new(2);
        let mut left = 0;
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    start.wait();
                    cache.settle(&[sighting("k", None, Some(row(2)))]);
                    end.wait();
                }
            });
            for _ in 0..ROUNDS {
                cache.lease(&[name("k")], Token(1));
                start.wait();
                cache.settle(&[sighting("k", Some(Token(1)), Some(row(1)))]);
                end.wait();
                left += usize::from(cache.get(&[name("k")])[0].is_some());
                cache.fin(&[name("k")]);
            }
        });
        // Not asserted above, where the other thread would wait for ever.
        assert_eq!(left, 0, "values left in {ROUNDS} rounds");
    }

    /// Whichever comes first, nothing of before is left.
    #[test]
    fn a_fill_and_a_clear_never_miss_each_other() {
        let cache = MemoryCache::new(1 << 20, TTL);
        // Many, for the clear to come between the parts of one of the fills.
        let keys: Vec<String> = (0..16).map(|n| n.to_string()).collect();
        let names: Vec<EntryKey> = keys.iter().map(|key| name(key)).collect();
        let fills: Vec<Sighting> = keys
            .iter()
            .map(|key| sighting(key, Some(Token(1)), Some(row(1))))
            .collect();
        let start = Barrier::new(2);
        let end = Barrier::new(2);
        let mut left = 0;
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    start.wait();
                    cache.clear();
                    end.wait();
                }
            });
            for _ in 0..ROUNDS {
                cache.lease(&names, Token(1));
                start.wait();
                cache.settle(&fills);
                end.wait();
                left += cache.get(&names).iter().flatten().count();
                cache.fin(&names);
            }
        });
        assert_eq!(left, 0, "values left in {ROUNDS} rounds");
    }

    /// Readers and a writer of one key, by the protocol. The row's number only grows; once a
    /// reader has returned a number, no later read may return a smaller one.
    #[test]
    fn no_reader_goes_back_in_time() {
        let cache = MemoryCache::new(1 << 20, TTL);
        let key = [name("k")];
        let shard = AtomicUsize::new(1);
        let returned = AtomicUsize::new(0);
        let hits = AtomicUsize::new(0);
        let until = Instant::now() + Duration::from_millis(600);
        let number = |cached: &Cached| cached.stamp().bits() as usize;

        let read = || {
            let token = Token::draw();
            let mut mine = None;
            if let Some(cached) = &cache.get(&key)[0] {
                hits.fetch_add(1, Ordering::Relaxed);
                return number(cached);
            }
            match &cache.lease(&key, token)[0] {
                Lease::Value(cached) => return number(cached),
                Lease::Granted => mine = Some(token),
                Lease::Held => {}
            }
            let seen = shard.load(Ordering::SeqCst);
            if fastrand::u8(..) < 8 {
                thread::yield_now();
            }
            cache.settle(&[sighting("k", mine, Some(row(seen as u64)))]);
            seen
        };
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while Instant::now() < until {
                        let at_least = returned.load(Ordering::SeqCst);
                        let seen = read();
                        assert!(seen >= at_least, "{seen} after {at_least}");
                        returned.fetch_max(seen, Ordering::SeqCst);
                    }
                });
            }
            scope.spawn(|| {
                while Instant::now() < until {
                    let written = shard.fetch_add(1, Ordering::SeqCst) + 1;
                    cache.fin(&key);
                    returned.fetch_max(written, Ordering::SeqCst);
                    for _ in 0..fastrand::u8(..20) {
                        thread::yield_now();
                    }
                }
            });
        });
        assert!(hits.into_inner() > 0, "the cache was never hit");
    }

    #[test]
    fn fills_push_out_others_within_the_capacity() {
        let capacity = 1 << 20;
        let cache = MemoryCache::new(capacity, TTL);
        // All the leases first: it is the fills that must make room.
        let token = Token::draw();
        let keys: Vec<String> = (0..300).map(|n| n.to_string()).collect();
        for key in &keys {
            cache.lease(&[name(key)], token);
        }
        for key in &keys {
            let mut row = row(1);
            row.value = Bytes::from(vec![0; 32 * 1024]);
            cache.settle(&[sighting(key, Some(token), Some(row))]);
        }
        assert!(cache.entries.weight() <= capacity);
        assert!(cache.entry_count() > 0);
    }

    #[test]
    fn what_is_too_large_is_not_cached() {
        let cache = MemoryCache::new(64 * 1024, TTL);
        fill(&cache, "small", &[0; 1024]);
        fill(&cache, "large", &[0; 128 * 1024]);
        let found = cache.get(&[name("small"), name("large")]);
        assert!(found[0].is_some());
        assert_eq!(found[1], None);
        assert_eq!(cache.lease(&[name("large")], Token(1)), [Lease::Granted]);

        let none = MemoryCache::new(0, TTL);
        fill(&none, "k", b"v");
        assert_eq!(none.get(&[name("k")]), [None]);
    }

    #[test]
    fn entries_hold_copies() {
        let cache = MemoryCache::new(1 << 20, TTL);
        let buffer = Bytes::from(b"keyvalue".to_vec());
        let entry = EntryKey {
            key: buffer.slice(..3),
            ..name("")
        };
        cache.lease(std::slice::from_ref(&entry), Token(1));
        let mut row = row(1);
        row.value = buffer.slice(3..);
        cache.settle(&[Sighting {
            entry,
            token: Some(Token(1)),
            row: Some(row),
            time_left: None,
        }]);
        assert!(cache.get(&[name("key")])[0].is_some());
        assert!(buffer.is_unique(), "an entry pins the buffer it came from");
    }
}
