//! The view of the cache: which process of the cache holds the entries of a shard, as all proxies
//! agree. It stands in a row of the shard itself, so that whoever can commit there can also learn it.
//!
//! A Redis that is restarted from a snapshot, fails over to a lagging replica, or is cut off from
//! one proxy, holds entries that nobody could remove. The view fences them off: the names of
//! entries carry its [`Epoch`], a proxy uses only the [`Instance`] that it names, and knowing it is
//! a lease of [`LEASE`]. Who changes it, or learns of a change, waits [`CHANGE_WAIT`] before using
//! the new one: by then every lease on the old one has ended. (`ARCHITECTURE.md`, 'The view'; the
//! idea is that of volume leases, and of the configuration numbers of Rejig.)

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

/// How long a proxy may rely on what it read of a view, counted from when it asked.
pub const LEASE: Duration = Duration::from_secs(1);

/// How long a new view is not used by who changed it or learned of it: a lease, and a tenth for
/// clocks that do not run at the same rate.
pub const CHANGE_WAIT: Duration = Duration::from_millis(1100);

/// How often a view is read.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A cache that can't be reached for this long is taken out of the view.
const OUT_AFTER: Duration = Duration::from_millis(200);

/// The same for a proxy that has not reached it since its start: it has nothing in it yet, and
/// connecting for the first time may take longer.
const OUT_AFTER_START: Duration = Duration::from_secs(2);

/// A cache that everybody has reached for this long is taken into the view.
const IN_AFTER: Duration = Duration::from_secs(5);

/// One that went out again and again is waited for longer each time, up to this.
const IN_AFTER_MAX: Duration = Duration::from_secs(60);

/// A cache that was in the view for this long did not come and go.
const STABLE_AFTER: Duration = Duration::from_secs(30);

/// A view that names another instance is changed directly to the one at hand only if it has stood
/// this long. Two proxies that see two different instances would change it in turns otherwise.
const STEADY_AFTER: Duration = Duration::from_secs(10);

/// Which view: a counter in the upper 32 bits, which each change moves on, and 32 random bits. A
/// shard that loses its last commits, as by a failover to a replica that lags or by a restore, also
/// goes back to an earlier counter: with the random bits, what it counts to then has not been there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// For a cache that has always been in this process alone, and is in no view.
    pub const FIRST: Epoch = Epoch(1 << 32);

    /// The epoch with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// The counter, and the random bits in hexadecimal digits.
impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

/// One process of the cache, and one history of its data: Redis' `run_id` and `master_replid`
/// (`INFO server`, `INFO replication`). The first is new for each process, the second for each
/// promotion: a server that was a replica for a while has another's data under its old run id.
/// A cache inside a process has random ones.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Instance {
    run_id: [u8; 20],
    replication_id: [u8; 20],
}

impl Instance {
    /// Draws one, for a cache inside a process: no other process has the same.
    pub fn draw() -> Self {
        // From the operating system's randomness: hosts that boot together must differ.
        let mut drawn = [0; 40];
        for chunk in drawn.chunks_mut(8) {
            let word = RandomState::new().build_hasher().finish();
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        let [mut run_id, mut replication_id] = [[0; 20]; 2];
        run_id.copy_from_slice(&drawn[..20]);
        replication_id.copy_from_slice(&drawn[20..]);
        Self {
            run_id,
            replication_id,
        }
    }

    /// The instance that `INFO` describes; `None` if these are not 40 hexadecimal digits each.
    pub fn of_redis(run_id: &str, replication_id: &str) -> Option<Self> {
        Some(Self {
            run_id: from_hex(run_id)?,
            replication_id: from_hex(replication_id)?,
        })
    }

    /// What it is for proxies that call its entries by `scheme`: whoever calls them otherwise can't
    /// remove them, so that it has to be another cache for him.
    #[must_use]
    pub fn with_names(mut self, scheme: u8) -> Self {
        self.run_id[0] ^= scheme;
        self
    }

    /// Reads what [`Display`](fmt::Display) wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (run_id, replication_id) = text.split_once('/')?;
        Self::of_redis(run_id, replication_id)
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.run_id {
            write!(f, "{byte:02x}")?;
        }
        f.write_str("/")?;
        for byte in self.replication_id {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instance({self})")
    }
}

fn from_hex(text: &str) -> Option<[u8; 20]> {
    let digits = text.as_bytes();
    if digits.len() != 40 {
        return None;
    }
    let mut bytes = [0; 20];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(bytes)
}

/// What the proxies agree on for a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// Its number, which is part of the name of every entry.
    pub epoch: Epoch,
    /// Where the entries are; `None` is off: everything goes straight to the shard.
    pub cache: Option<Instance>,
}

/// Which instance of the cache a proxy reaches, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// The instance; `None` while none can be used.
    pub cache: Option<Instance>,
    /// Since when this has been so.
    pub since: Instant,
}

/// Another proxy that lives and does not stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Other {
    /// The instance that it reaches.
    pub cache: Option<Instance>,
    /// How long it has done so.
    pub for_time: Duration,
}

/// A proxy that has not looked for this long has stood still.
const STILL_AFTER: Duration = Duration::from_secs(1);

/// What one proxy remembers of a view, to judge whether it should be changed.
#[derive(Debug, Clone, Copy)]
pub struct Judge {
    has_reached: bool,
    looked_at: Option<Instant>,
    /// Since when it has been looking without standing still.
    awake_since: Option<Instant>,
    on_since: Option<Instant>,
    in_after: Duration,
}

impl Default for Judge {
    fn default() -> Self {
        Self {
            has_reached: false,
            looked_at: None,
            awake_since: None,
            on_since: None,
            in_after: IN_AFTER,
        }
    }
}

impl Judge {
    /// Notes what this proxy reaches, as often as it looks at the view.
    pub fn sees(&mut self, sight: Sight, now: Instant) {
        self.has_reached |= sight.cache.is_some();
        let has_stood_still = self
            .looked_at
            .is_none_or(|last| now.saturating_duration_since(last) >= STILL_AFTER);
        if has_stood_still {
            self.awake_since = Some(now);
        }
        self.looked_at = Some(now);
    }

    /// Notes what the view is.
    pub fn learns(&mut self, view: View, now: Instant) {
        match (self.on_since, view.cache) {
            (None, Some(_)) => self.on_since = Some(now),
            (Some(since), None) => {
                self.on_since = None;
                let was_stable = now.saturating_duration_since(since) >= STABLE_AFTER;
                self.in_after = if was_stable {
                    IN_AFTER
                } else {
                    (self.in_after * 2).min(IN_AFTER_MAX)
                };
            }
            _ => {}
        }
    }

    /// When an instance that is lost goes out of the view, if it does not come back. While this proxy
    /// stood still it could not have reached it again.
    pub fn out_at(&self, sight: Sight) -> Option<Instant> {
        let after = if self.has_reached {
            OUT_AFTER
        } else {
            OUT_AFTER_START
        };
        let since = self
            .awake_since
            .map_or(sight.since, |awake| sight.since.max(awake));
        sight.cache.is_none().then(|| since + after)
    }

    /// Another proxy that has not reached what this one reaches for a while: while that is so, no
    /// cache goes in. (For a moment they differ at each outage.)
    pub fn disagrees(&self, sight: Sight, others: &[Other], now: Instant) -> Option<Other> {
        let seen_for = now.saturating_duration_since(sight.since);
        let differs = |other: &&Other| {
            other.cache != sight.cache && other.for_time >= IN_AFTER && seen_for >= IN_AFTER
        };
        others.iter().find(differs).copied()
    }

    /// What the view should be changed to, if it should; the outer `None` leaves it as it is. `age`
    /// is how long it has stood.
    ///
    /// - An instance that can't be reached goes out of the view at once, for everybody: a proxy that
    ///   can't remove entries must not leave others reading them.
    /// - Another instance goes in directly, as after a restart of Redis, unless there are others and
    ///   the view is young.
    /// - From off, an instance goes in once every proxy has reached it for a while: else one that is
    ///   cut off would put it out again.
    pub fn change(
        &self,
        view: View,
        age: Duration,
        sight: Sight,
        others: &[Other],
        now: Instant,
    ) -> Option<Option<Instance>> {
        match (view.cache, sight.cache) {
            (Some(named), Some(reached)) if named == reached => None,
            (Some(_), None) => self
                .out_at(sight)
                .is_some_and(|at| at <= now)
                .then_some(None),
            (Some(_), Some(reached)) => {
                let is_direct = others.is_empty() || age >= STEADY_AFTER;
                Some(is_direct.then_some(reached))
            }
            (None, None) => None,
            (None, Some(reached)) => {
                let mut times = others
                    .iter()
                    .map(|other| (other.cache, other.for_time))
                    .chain([(Some(reached), now.saturating_duration_since(sight.since))]);
                times
                    .all(|(cache, time)| cache == Some(reached) && time >= self.in_after)
                    .then_some(Some(reached))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(digit: char) -> Instance {
        let id = digit.to_string().repeat(40);
        Instance::of_redis(&id, &id).unwrap()
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn view(cache: Option<Instance>) -> View {
        let epoch = Epoch::FIRST;
        View { epoch, cache }
    }

    /// One that has been at work for a while.
    fn judge() -> Judge {
        Judge {
            has_reached: true,
            ..Judge::default()
        }
    }

    fn changed(
        judge: Judge,
        named: Option<Instance>,
        age: u64,
        (cache, seen_for): (Option<Instance>, u64),
        others: &[(Option<Instance>, u64)],
    ) -> Option<Option<Instance>> {
        let now = Instant::now() + Duration::from_secs(3600);
        let since = now - ms(seen_for);
        let others: Vec<Other> = others
            .iter()
            .map(|(cache, time)| Other {
                cache: *cache,
                for_time: ms(*time),
            })
            .collect();
        judge.change(view(named), ms(age), Sight { cache, since }, &others, now)
    }

    #[test]
    fn an_instance_is_written_as_it_is_read() {
        let one = Instance::of_redis(
            "00112233445566778899aabbccddeeff00112233",
            "ffeeddccbbaa99887766554433221100ffeeddcc",
        )
        .unwrap();
        assert_eq!(Instance::parse(&one.to_string()), Some(one));
        let drawn = Instance::draw();
        assert_eq!(Instance::parse(&drawn.to_string()), Some(drawn));
        assert_ne!(drawn, Instance::draw());
        for bad in [
            "",
            "/",
            "0/0",
            &"0".repeat(81),
            &one.to_string()[1..],
            &format!("{one}0"),
        ] {
            assert_eq!(Instance::parse(bad), None, "{bad}");
        }
        assert_eq!(Instance::of_redis(&"+1".repeat(20), &"00".repeat(20)), None);
    }

    #[test]
    fn a_view_that_fits_stays() {
        let a = Some(instance('a'));
        assert_eq!(changed(judge(), a, 0, (a, 0), &[(None, 0)]), None);
        assert_eq!(
            changed(judge(), None, 0, (None, 1_000_000), &[(a, 0)]),
            None
        );
    }

    #[test]
    fn an_instance_that_is_lost_goes_out_after_a_moment() {
        let a = Some(instance('a'));
        let others = [(a, 1_000_000)];
        assert_eq!(changed(judge(), a, 0, (None, 199), &others), None);
        assert_eq!(changed(judge(), a, 0, (None, 200), &others), Some(None));
        // Who starts has more patience.
        assert_eq!(changed(Judge::default(), a, 0, (None, 1999), &others), None);
        assert_eq!(
            changed(Judge::default(), a, 0, (None, 2000), &others),
            Some(None)
        );
    }

    #[test]
    fn who_stood_still_looks_for_a_lost_instance_first() {
        let a = Some(instance('a'));
        let start = Instant::now();
        let lost = Sight {
            cache: None,
            since: start,
        };
        let mut judge = judge();
        judge.sees(lost, start);
        judge.sees(lost, start + ms(100));
        let out_at = |judge: Judge| judge.out_at(lost).unwrap() - start;
        assert_eq!(out_at(judge), OUT_AFTER);
        judge.sees(lost, start + ms(5000));
        assert_eq!(out_at(judge), ms(5000) + OUT_AFTER);
        judge.sees(lost, start + ms(5250));
        assert_eq!(out_at(judge), ms(5000) + OUT_AFTER);
        let changed = |at| judge.change(view(a), ms(0), lost, &[], start + ms(at));
        assert_eq!(changed(5199), None);
        assert_eq!(changed(5200), Some(None));
    }

    #[test]
    fn a_restarted_instance_goes_in_directly_unless_it_alternates() {
        let (a, b) = (Some(instance('a')), Some(instance('b')));
        assert_eq!(changed(judge(), a, 10_000, (b, 0), &[(a, 0)]), Some(b));
        assert_eq!(changed(judge(), a, 9_999, (b, 0), &[(a, 0)]), Some(None));
        assert_eq!(changed(judge(), a, 0, (b, 0), &[]), Some(b));
    }

    #[test]
    fn an_instance_goes_in_when_everybody_has_reached_it_for_a_while() {
        let (a, b) = (Some(instance('a')), Some(instance('b')));
        let from_off = |seen_for, others: &[_]| changed(judge(), None, 0, (a, seen_for), others);
        assert_eq!(from_off(4_999, &[]), None);
        assert_eq!(from_off(5_000, &[]), Some(a));
        assert_eq!(from_off(5_000, &[(a, 5_000), (a, 6_000)]), Some(a));
        assert_eq!(from_off(5_000, &[(a, 6_000), (a, 4_999)]), None);
        assert_eq!(from_off(5_000, &[(a, 6_000), (None, 6_000)]), None);
        assert_eq!(from_off(5_000, &[(a, 6_000), (b, 6_000)]), None);
    }

    #[test]
    fn a_difference_counts_when_it_lasts() {
        let (a, b) = (Some(instance('a')), Some(instance('b')));
        let now = Instant::now() + Duration::from_secs(3600);
        let differs = |seen_for, (cache, time)| {
            let since = now - ms(seen_for);
            let for_time = ms(time);
            let others = [Other { cache, for_time }];
            let found = judge().disagrees(Sight { cache: a, since }, &others, now);
            found.is_some()
        };
        assert!(differs(5_000, (b, 5_000)));
        assert!(differs(5_000, (None, 5_000)));
        assert!(!differs(5_000, (a, 5_000)));
        assert!(!differs(4_999, (b, 5_000)));
        assert!(!differs(5_000, (b, 4_999)));
    }

    #[test]
    fn one_that_comes_and_goes_is_waited_for_longer_each_time() {
        let a = Some(instance('a'));
        let mut judge = judge();
        let mut now = Instant::now();
        for seconds in [5, 10, 20, 40, 60, 60] {
            let waits = seconds * 1000;
            assert_eq!(changed(judge, None, 0, (a, waits - 1), &[]), None);
            assert_eq!(changed(judge, None, 0, (a, waits), &[]), Some(a));
            judge.learns(view(a), now);
            now += STABLE_AFTER - ms(1);
            judge.learns(view(None), now);
        }
        judge.learns(view(a), now);
        judge.learns(view(a), now + ms(1));
        judge.learns(view(None), now + STABLE_AFTER);
        assert_eq!(changed(judge, None, 0, (a, 5_000), &[]), Some(a));
    }
}
