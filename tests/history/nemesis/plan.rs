//! Which faults happen when: drawn from the seed alone, so that the seed is enough to have them again.

use std::time::Duration;

use super::fault::{Fault, KINDS, Kind, Part, Trouble};
use super::{PROXIES, SHARDS};
use crate::harness::{Cut, Direction, Silence};

/// A fault of a storm.
#[derive(Clone, Debug)]
pub struct Planned {
    /// After the beginning of the storm.
    pub at: Duration,
    pub lasts: Duration,
    pub kind: Kind,
    pub fault: Fault,
}

impl Planned {
    /// Whether both do something to the same part at the same time.
    fn collides(&self, other: &Planned) -> bool {
        let parts: Vec<Part> = other.fault.parts();
        let is_shared = self.fault.parts().iter().any(|part| parts.contains(part));
        let end = |planned: &Planned| planned.at + planned.lasts + RESTART;
        is_shared && self.at < end(other) && other.at < end(self)
    }
}

/// What a server needs to be back after a fault. If it takes longer, the next fault waits.
const RESTART: Duration = Duration::from_millis(500);

/// An endless sequence of storms, each of several faults that overlap.
///
/// Every other storm leaves Redis alone: the cache needs time to be in use again, and what happens while it is in use
/// is of interest as well.
pub struct Plan {
    random: fastrand::Rng,
    storms: usize,
    of_redis: Bag,
    others: Bag,
}

/// Kinds that come in turn, in an order that changes.
struct Bag {
    all: Vec<Kind>,
    left: Vec<Kind>,
}

impl Bag {
    fn new(all: Vec<Kind>) -> Bag {
        Bag {
            all,
            left: Vec::new(),
        }
    }

    fn draw(&mut self, random: &mut fastrand::Rng) -> Option<Kind> {
        if self.left.is_empty() {
            self.left = self.all.clone();
            random.shuffle(&mut self.left);
        }
        self.left.pop()
    }

    /// Its turn comes again, when the others have had theirs.
    fn put_back(&mut self, kind: Kind) {
        self.left.insert(0, kind);
    }
}

/// Faults begin within this time of their storm.
const BEGINNINGS_MS: u64 = 4500;

/// Faults of a storm.
const FAULTS: std::ops::RangeInclusive<usize> = 5..=9;

impl Plan {
    /// Of the chosen kinds.
    pub fn new(seed: u64, chosen: Vec<Kind>) -> Plan {
        let (of_redis, others) = chosen.into_iter().partition(Kind::is_of_redis);
        Plan {
            random: fastrand::Rng::with_seed(seed),
            storms: 0,
            of_redis: Bag::new(of_redis),
            others: Bag::new(others),
        }
    }

    /// The next storm, and the calm after it.
    pub fn storm(&mut self) -> (Vec<Planned>, Duration) {
        let mut storm: Vec<Planned> = Vec::new();
        let leaves_redis = self.storms % 2 == 1;
        self.storms += 1;
        for _ in 0..self.random.usize(FAULTS) {
            let is_of_redis = !leaves_redis && self.random.u32(0..3) > 0;
            let Some(kind) = self.kind(is_of_redis) else {
                break;
            };
            let fault = self.fault(kind);
            let (_, _, lasts) = KINDS
                .iter()
                .find(|(known, ..)| *known == kind)
                .expect("a known kind")
                .clone();
            let mut lasts = self.random.u64(lasts);
            if matches!(fault, Fault::ProxyPause(_)) {
                // Longer than the second for which it may trust what it knew.
                lasts = lasts.max(1500);
            }
            let mut lasts = Duration::from_millis(lasts);
            match &fault {
                Fault::RedisDemote { age, .. } => lasts += *age,
                Fault::RedisFlap { turns, .. } => {
                    lasts += turns.iter().map(|(up, down)| *up + *down).sum::<Duration>();
                }
                _ => {}
            }
            // What shall bring entries back needs that there are some: it comes before the cache has been lost.
            let begins = match kind {
                Kind::RedisDemote => 0..300,
                _ => 0..BEGINNINGS_MS,
            };
            let planned = Planned {
                at: Duration::from_millis(self.random.u64(begins)),
                lasts,
                kind,
                fault,
            };
            if storm.iter().any(|other| other.collides(&planned)) {
                self.bag(kind.is_of_redis()).put_back(kind);
            } else {
                storm.push(planned);
            }
        }
        (storm, Duration::from_millis(self.random.u64(1500..3000)))
    }

    /// Of either sort, or where none of it was chosen, of the other.
    fn kind(&mut self, is_of_redis: bool) -> Option<Kind> {
        let mut random = self.random.fork();
        let first = self.bag(is_of_redis).draw(&mut random);
        first.or_else(|| self.bag(!is_of_redis).draw(&mut random))
    }

    fn bag(&mut self, is_of_redis: bool) -> &mut Bag {
        if is_of_redis {
            &mut self.of_redis
        } else {
            &mut self.others
        }
    }

    fn fault(&mut self, kind: Kind) -> Fault {
        let shard = self.random.usize(0..SHARDS);
        let proxy = self.random.usize(0..PROXIES);
        let direction = self.one_of(&[Direction::ToServer, Direction::ToClient]);
        let cut = Trouble::Cut(self.one_of(&[Cut::Close, Cut::Reset]));
        // From what hardly disturbs to what is beyond every limit.
        let delay = self.one_of(&[5, 30, 150, 400, 1200]);
        let delay = Trouble::Delay(direction, Duration::from_millis(delay));
        let mute = Trouble::Mute(direction, self.one_of(&[Silence::Hold, Silence::Swallow]));
        let proxies = self.some_proxies();
        match kind {
            Kind::RedisKill => Fault::RedisKill,
            Kind::RedisSnapshot => Fault::RedisSnapshot,
            Kind::RedisPause => Fault::RedisPause,
            Kind::RedisFlush => Fault::RedisFlush,
            Kind::RedisEvict => Fault::RedisEvict {
                is_full: self.random.bool(),
            },
            Kind::RedisDemote => Fault::RedisDemote {
                age: Duration::from_millis(self.random.u64(50..2000)),
                only_reads: self.random.bool(),
            },
            Kind::RedisSecond => Fault::RedisSecond { proxies },
            Kind::RedisCut => Fault::ToRedis {
                proxies,
                trouble: cut,
            },
            Kind::RedisDelay => Fault::ToRedis {
                proxies,
                trouble: delay,
            },
            Kind::RedisMute => Fault::ToRedis {
                proxies,
                trouble: mute,
            },
            Kind::RedisFlap => Fault::RedisFlap {
                proxy,
                turns: self.turns(),
            },
            Kind::ShardPause => Fault::ShardPause(shard),
            Kind::ShardKill => Fault::ShardKill(shard),
            Kind::ShardSession => Fault::ShardSession(shard),
            Kind::ShardCut => Fault::ToShard {
                proxies,
                shard,
                trouble: cut,
            },
            Kind::ShardDelay => Fault::ToShard {
                proxies,
                shard,
                trouble: delay,
            },
            Kind::ShardMute => Fault::ToShard {
                proxies,
                shard,
                trouble: mute,
            },
            Kind::RowLock => Fault::RowLock(shard),
            Kind::ProxyStop if self.random.bool() => Fault::ProxyKill(proxy),
            Kind::ProxyStop => Fault::ProxyPause(proxy),
            Kind::ProxyRestart => Fault::ProxyRestart(proxy),
            Kind::ProxyOrphan => Fault::ProxyOrphan { proxy, shard },
        }
    }

    /// Some eight seconds of a link that comes and goes.
    fn turns(&mut self) -> Vec<(Duration, Duration)> {
        let turn = |_| {
            let (up, down) = (self.random.u64(1000..2000), self.random.u64(300..500));
            (Duration::from_millis(up), Duration::from_millis(down))
        };
        (0..4).map(turn).collect()
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.random.usize(0..choices.len())]
    }

    /// One or more; mostly one, as what happens to all at once is no difference between them.
    fn some_proxies(&mut self) -> Vec<usize> {
        let mut proxies: Vec<usize> = (0..PROXIES).collect();
        self.random.shuffle(&mut proxies);
        let count = self.one_of(&[1, 1, 1, 2, PROXIES]);
        proxies.truncate(count);
        proxies
    }
}

#[test]
fn a_seed_is_a_plan() {
    let all: Vec<Kind> = KINDS.iter().map(|(kind, ..)| *kind).collect();
    let text = |seed| {
        let mut plan = Plan::new(seed, all.clone());
        (0..20)
            .map(|_| format!("{:?}", plan.storm()))
            .collect::<String>()
    };
    assert_eq!(text(1), text(1));
    assert_ne!(text(1), text(2));
    for (kind, name, _) in &KINDS {
        assert!(text(1).contains(&format!("{kind:?}")), "{name} has no turn");
    }
}
