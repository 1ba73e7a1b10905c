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
use std::time::{Duration, Instant};

/// How long a proxy may rely on what it read of a view, counted from when it asked.
pub const LEASE: Duration = Duration::from_secs(1);

/// How long a new view is not used by who changed it or learned of it: a lease, and a tenth for
/// clocks that do not run at the same rate.
pub const CHANGE_WAIT: Duration = Duration::from_millis(1100);

/// A view that has stood for this long, by the shard's clock, is used by a starting proxy at once:
/// nobody can hold a lease on the one before. The rest of the minute is for a clock that was set.
pub const SETTLED_AFTER: Duration = Duration::from_secs(60);

/// How often a view is read.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A cache that can't be reached for this long is taken out of the view.
const OUT_AFTER: Duration = Duration::from_millis(200);

/// A cache that has been reachable for this long is taken into the view.
const IN_AFTER: Duration = Duration::from_secs(5);

/// A view that names another instance is changed directly to the one at hand only if it has stood
/// this long. Two proxies that see two different instances would change it in turns otherwise.
const STEADY_AFTER: Duration = Duration::from_secs(10);

/// The number of a view; each change adds one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// The first.
    pub const FIRST: Epoch = Epoch(1);

    /// The epoch with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One process of the cache, and one history of its data: Redis' `run_id` and `master_replid`
/// (`INFO server`, `INFO replication`). The first is new for each process, the second for each
/// promotion: a server that was a replica for a while has another's data under its old run id.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Instance {
    run_id: [u8; 20],
    replication_id: [u8; 20],
}

impl Instance {
    /// The cache inside the process, of which there is one.
    pub const IN_PROCESS: Instance = Instance {
        run_id: [0; 20],
        replication_id: [0; 20],
    };

    /// The instance that `INFO` describes; `None` if these are not 40 hexadecimal digits each.
    pub fn of_redis(run_id: &str, replication_id: &str) -> Option<Self> {
        Some(Self {
            run_id: from_hex(run_id)?,
            replication_id: from_hex(replication_id)?,
        })
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

impl View {
    /// The view where one process has the cache to itself: it never changes.
    pub const IN_PROCESS: View = View {
        epoch: Epoch::FIRST,
        cache: Some(Instance::IN_PROCESS),
    };
}

/// Which instance of the cache a proxy reaches, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// The instance; `None` while none can be used.
    pub cache: Option<Instance>,
    /// Since when this has been so.
    pub since: Instant,
}

/// When an instance that is lost goes out of the view, if it does not come back.
pub fn out_at(sight: Sight) -> Option<Instant> {
    sight.cache.is_none().then(|| sight.since + OUT_AFTER)
}

/// What a view should be changed to, if it should; the outer `None` leaves it as it is.
///
/// `age` is how long the view has stood, `others` is what the other living proxies reach.
///
/// - An instance that can't be reached goes out of the view at once, for everybody: a proxy that
///   can't remove entries must not leave others reading them.
/// - Another instance goes in directly, as after a restart of Redis, unless the view is young.
/// - From off, an instance goes in once it has been reachable for a while, and only if every other
///   proxy reaches the same one: else one that is cut off would put it out again.
pub fn change(
    view: View,
    age: Duration,
    sight: Sight,
    others: &[Option<Instance>],
    now: Instant,
) -> Option<Option<Instance>> {
    let seen_for = now.saturating_duration_since(sight.since);
    match (view.cache, sight.cache) {
        (Some(named), Some(reached)) if named == reached => None,
        (Some(_), None) => out_at(sight).is_some_and(|at| at <= now).then_some(None),
        (Some(_), Some(reached)) => Some((age >= STEADY_AFTER).then_some(reached)),
        (None, None) => None,
        (None, Some(reached)) => {
            let agreed = others.iter().all(|other| *other == Some(reached));
            (seen_for >= IN_AFTER && agreed).then_some(Some(reached))
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

    fn changed(
        named: Option<Instance>,
        age_ms: u64,
        reached: Option<Instance>,
        seen_for_ms: u64,
        others: &[Option<Instance>],
    ) -> Option<Option<Instance>> {
        let now = Instant::now() + Duration::from_secs(3600);
        let view = View {
            epoch: Epoch::FIRST,
            cache: named,
        };
        let sight = Sight {
            cache: reached,
            since: now - Duration::from_millis(seen_for_ms),
        };
        change(view, Duration::from_millis(age_ms), sight, others, now)
    }

    #[test]
    fn an_instance_is_written_as_it_is_read() {
        let one = Instance::of_redis(
            "00112233445566778899aabbccddeeff00112233",
            "ffeeddccbbaa99887766554433221100ffeeddcc",
        )
        .unwrap();
        assert_eq!(Instance::parse(&one.to_string()), Some(one));
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
        assert_eq!(changed(a, 0, a, 0, &[None]), None);
        assert_eq!(changed(None, 0, None, 1_000_000, &[a]), None);
    }

    #[test]
    fn an_instance_that_is_lost_goes_out_after_a_moment() {
        let a = Some(instance('a'));
        assert_eq!(changed(a, 0, None, 199, &[a]), None);
        assert_eq!(changed(a, 0, None, 200, &[a]), Some(None));
    }

    #[test]
    fn a_restarted_instance_goes_in_directly_unless_it_alternates() {
        let (a, b) = (Some(instance('a')), Some(instance('b')));
        assert_eq!(changed(a, 10_000, b, 0, &[a]), Some(b));
        assert_eq!(changed(a, 9_999, b, 0, &[]), Some(None));
    }

    #[test]
    fn an_instance_goes_in_when_it_is_steady_and_everybody_reaches_it() {
        let (a, b) = (Some(instance('a')), Some(instance('b')));
        assert_eq!(changed(None, 0, a, 4_999, &[]), None);
        assert_eq!(changed(None, 0, a, 5_000, &[]), Some(a));
        assert_eq!(changed(None, 0, a, 5_000, &[a, a]), Some(a));
        assert_eq!(changed(None, 0, a, 5_000, &[a, None]), None);
        assert_eq!(changed(None, 0, a, 5_000, &[a, b]), None);
    }
}
