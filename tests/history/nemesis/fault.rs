//! The faults: what each does, what ends it, and whom it touches.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::availability::Touched;
use super::cluster::{Cluster, Node};
use super::{PROXIES, SHARDS, sql};
use crate::harness::{Cut, Direction, FaultProxy, RedisServer, Silence, Stopped};

/// Every kind of fault, by the name that `NEMESIS_FAULTS` has for it, and how many milliseconds it lasts.
pub const KINDS: [(Kind, &str, std::ops::Range<u64>); 21] = [
    (Kind::RedisKill, "redis-kill", 50..1500),
    (Kind::RedisSnapshot, "redis-snapshot", 600..3000),
    (Kind::RedisPause, "redis-pause", 100..2500),
    (Kind::RedisFlush, "redis-flush", 0..1),
    (Kind::RedisEvict, "redis-evict", 500..3000),
    (Kind::RedisDemote, "redis-demote", 300..3000),
    (Kind::RedisSecond, "redis-second", 500..4000),
    (Kind::RedisCut, "redis-cut", 0..2000),
    (Kind::RedisDelay, "redis-delay", 500..3000),
    (Kind::RedisMute, "redis-mute", 300..3000),
    (Kind::RedisFlap, "redis-flap", 0..1),
    (Kind::ShardPause, "shard-pause", 300..4000),
    (Kind::ShardKill, "shard-kill", 50..1500),
    (Kind::ShardSession, "shard-session", 0..1),
    (Kind::ShardCut, "shard-cut", 0..2000),
    (Kind::ShardDelay, "shard-delay", 500..3000),
    (Kind::ShardMute, "shard-mute", 500..4000),
    (Kind::RowLock, "row-lock", 1000..3000),
    (Kind::ProxyStop, "proxy-stop", 0..4000),
    (Kind::ProxyRestart, "proxy-restart", 0..2000),
    (Kind::ProxyOrphan, "proxy-orphan", 2000..5000),
];

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Killed, and empty when it is back.
    RedisKill,
    /// Killed, and back with what it held some time before.
    RedisSnapshot,
    RedisPause,
    /// An administrator's FLUSHALL.
    RedisFlush,
    /// Hardly any memory: entries vanish, or can't be made.
    RedisEvict,
    /// Copied by another one, some time later made a replica of that one, and then a master again, with the old entries.
    /// It stays a replica for longer than a proxy needs to notice it: that a shorter time may go unnoticed between two
    /// looks is a documented limit.
    RedisDemote,
    /// Some proxies reach another Redis where they think theirs is.
    RedisSecond,
    RedisCut,
    RedisDelay,
    RedisMute,
    /// One proxy loses it, and reaches it again, over and over.
    RedisFlap,
    ShardPause,
    ShardKill,
    /// One session's process is killed; the server recovers by itself.
    ShardSession,
    ShardCut,
    ShardDelay,
    ShardMute,
    /// Somebody's transaction holds the rows.
    RowLock,
    /// Killed and started again, or paused for longer than it may trust what it knows.
    ProxyStop,
    /// Asked to stop, and started again.
    ProxyRestart,
    /// Killed, while a process of PostgreSQL that worked for it stands still, and goes on later.
    ProxyOrphan,
}

impl Kind {
    /// Whether it takes the cache away, from some or all.
    pub fn is_of_redis(&self) -> bool {
        let (_, name, _) = KINDS
            .iter()
            .find(|(kind, ..)| kind == self)
            .expect("a known kind");
        name.starts_with("redis-")
    }
}

/// What no two faults do at once, since each undoes what it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Redis,
    Shard(usize),
    Proxy(usize),
    ToRedis(usize),
    ToShard(usize, usize),
}

/// What becomes of a link.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    /// Connections are cut; new ones are refused while it lasts.
    Cut(Cut),
    Delay(Direction, Duration),
    Mute(Direction, Silence),
}

/// A fault with all its particulars.
#[derive(Clone, Debug)]
pub enum Fault {
    RedisKill,
    RedisSnapshot,
    RedisPause,
    RedisFlush,
    /// With so much memory more than it uses, in bytes; none: nothing can be written.
    RedisEvict {
        is_full: bool,
    },
    RedisDemote {
        /// How much older the copy is that it comes back with.
        age: Duration,
        /// Whether nobody writes while it is copied and while it is a replica: the copy has every key then, and a proxy
        /// that only reads is not told by a refused write.
        only_reads: bool,
    },
    RedisSecond {
        proxies: Vec<usize>,
    },
    ToRedis {
        proxies: Vec<usize>,
        trouble: Trouble,
    },
    RedisFlap {
        proxy: usize,
        /// For how long it is reached, and for how long it is not.
        turns: Vec<(Duration, Duration)>,
    },
    ShardPause(usize),
    ShardKill(usize),
    ShardSession(usize),
    ToShard {
        proxies: Vec<usize>,
        shard: usize,
        trouble: Trouble,
    },
    RowLock(usize),
    ProxyKill(usize),
    ProxyPause(usize),
    ProxyRestart(usize),
    ProxyOrphan {
        proxy: usize,
        shard: usize,
    },
}

impl Fault {
    /// The parts that it needs for itself.
    pub fn parts(&self) -> Vec<Part> {
        match self {
            Fault::RedisKill
            | Fault::RedisSnapshot
            | Fault::RedisPause
            | Fault::RedisFlush
            | Fault::RedisEvict { .. }
            | Fault::RedisDemote { .. } => vec![Part::Redis],
            Fault::RedisFlap { proxy, .. } => vec![Part::ToRedis(*proxy)],
            Fault::RedisSecond { proxies } | Fault::ToRedis { proxies, .. } => {
                proxies.iter().map(|proxy| Part::ToRedis(*proxy)).collect()
            }
            Fault::ToShard { proxies, shard, .. } => proxies
                .iter()
                .map(|proxy| Part::ToShard(*proxy, *shard))
                .collect(),
            Fault::ShardPause(shard)
            | Fault::ShardKill(shard)
            | Fault::ShardSession(shard)
            | Fault::RowLock(shard) => vec![Part::Shard(*shard)],
            Fault::ProxyKill(proxy) | Fault::ProxyPause(proxy) | Fault::ProxyRestart(proxy) => {
                vec![Part::Proxy(*proxy)]
            }
            Fault::ProxyOrphan { proxy, shard } => vec![Part::Proxy(*proxy), Part::Shard(*shard)],
        }
    }

    /// Whose work it may stop.
    pub fn touched(&self) -> Touched {
        let all: Vec<usize> = (0..PROXIES).collect();
        let lanes = |proxies: &[usize], shards: &[usize]| {
            let of_proxy = |proxy: &usize| {
                shards
                    .iter()
                    .map(|shard| (*proxy, *shard))
                    .collect::<Vec<_>>()
            };
            proxies.iter().flat_map(of_proxy).collect()
        };
        let shards: Vec<usize> = (0..SHARDS).collect();
        match self {
            Fault::RedisFlush => Touched::default(),
            Fault::RedisKill
            | Fault::RedisSnapshot
            | Fault::RedisPause
            | Fault::RedisEvict { .. }
            | Fault::RedisDemote { .. } => Touched {
                lanes: Vec::new(),
                caches: all,
            },
            Fault::RedisSecond { proxies } | Fault::ToRedis { proxies, .. } => Touched {
                lanes: Vec::new(),
                caches: proxies.clone(),
            },
            Fault::RedisFlap { proxy, .. } => Touched {
                lanes: Vec::new(),
                caches: vec![*proxy],
            },
            Fault::ShardPause(shard)
            | Fault::ShardKill(shard)
            | Fault::ShardSession(shard)
            | Fault::RowLock(shard) => Touched {
                lanes: lanes(&all, &[*shard]),
                caches: Vec::new(),
            },
            Fault::ToShard { proxies, shard, .. } => Touched {
                lanes: lanes(proxies, &[*shard]),
                caches: Vec::new(),
            },
            Fault::ProxyKill(proxy) | Fault::ProxyPause(proxy) | Fault::ProxyRestart(proxy) => {
                Touched {
                    lanes: lanes(&[*proxy], &shards),
                    caches: vec![*proxy],
                }
            }
            // What stands still may hold locks on rows that others want.
            Fault::ProxyOrphan { proxy, shard } => {
                let mut touched = lanes(&[*proxy], &shards);
                let others = all.iter().filter(|other| *other != proxy);
                touched.extend(others.map(|other| (*other, *shard)));
                Touched {
                    lanes: touched,
                    caches: vec![*proxy],
                }
            }
        }
    }

    /// Does it, for as long as it shall last, and undoes it. `keys` are those in use on each shard.
    ///
    /// It holds the server that it is done to: another fault of that server waits until this one has ended.
    pub fn happen(&self, cluster: &Cluster, lasts: Duration, keys: &[Vec<String>]) {
        match self {
            Fault::RedisKill => restart_redis(&mut cluster.redis(), lasts),
            Fault::RedisSnapshot => {
                let mut redis = cluster.redis();
                redis.save();
                std::thread::sleep(lasts * 2 / 3);
                restart_redis(&mut redis, lasts / 3);
                redis.forget_saved();
            }
            Fault::RedisPause => {
                let mut redis = cluster.redis();
                redis.pause();
                std::thread::sleep(lasts);
                redis.resume();
            }
            Fault::RedisFlush => {
                cluster.redis().conn().run("FLUSHALL");
            }
            Fault::RedisEvict { is_full } => starve_redis(&cluster.redis(), lasts, *is_full),
            Fault::RedisDemote { age, only_reads } => {
                demote_redis(cluster, *age, lasts.saturating_sub(*age), *only_reads);
            }
            Fault::RedisFlap { proxy, turns } => {
                let link = &cluster.nodes[*proxy].to_redis;
                for (up, down) in turns {
                    std::thread::sleep(*up);
                    disturb(vec![link], Trouble::Cut(Cut::Reset), *down);
                }
            }
            Fault::RedisSecond { proxies } => second_redis(cluster, proxies, lasts),
            Fault::ToRedis { proxies, trouble } => {
                disturb(
                    links(cluster, proxies, |node| &node.to_redis),
                    *trouble,
                    lasts,
                );
            }
            Fault::ToShard {
                proxies,
                shard,
                trouble,
            } => {
                disturb(
                    links(cluster, proxies, |node| &node.to_shards[*shard]),
                    *trouble,
                    lasts,
                );
            }
            Fault::ShardPause(shard) => {
                let server = cluster.shard(*shard);
                server.pause();
                std::thread::sleep(lasts);
                server.resume();
            }
            Fault::ShardKill(shard) => {
                let mut server = cluster.shard(*shard);
                server.kill();
                std::thread::sleep(lasts);
                server.start_again();
            }
            Fault::ShardSession(shard) => {
                let server = cluster.shard(*shard);
                server.kill_a_session();
                sql::wait_until_up(&cluster.urls[*shard]);
            }
            Fault::RowLock(shard) => {
                let _running = cluster.shard(*shard);
                sql::hold_rows(&cluster.urls[*shard], &keys[*shard], lasts);
            }
            Fault::ProxyKill(proxy) => {
                cluster.nodes[*proxy].note_reads();
                cluster.nodes[*proxy].proxy().kill();
                std::thread::sleep(lasts);
                cluster.nodes[*proxy].start_again();
            }
            Fault::ProxyPause(proxy) => {
                let mut paused = cluster.nodes[*proxy].proxy();
                paused.signal(Signal::SIGSTOP);
                std::thread::sleep(lasts);
                paused.signal(Signal::SIGCONT);
            }
            Fault::ProxyRestart(proxy) => {
                let node = &cluster.nodes[*proxy];
                node.note_reads();
                let exit = {
                    let mut proxy = node.proxy();
                    proxy.terminate();
                    proxy.wait_exit()
                };
                assert_eq!(exit.code, 0, "{}", exit.output);
                std::thread::sleep(lasts);
                node.start_again();
            }
            Fault::ProxyOrphan { proxy, shard } => {
                let _running = cluster.shard(*shard);
                orphan(&cluster.nodes[*proxy], *shard, &cluster.urls[*shard], lasts);
            }
        }
    }
}

fn links<'a>(
    cluster: &'a Cluster,
    proxies: &[usize],
    link: impl Fn(&'a Node) -> &'a FaultProxy,
) -> Vec<&'a FaultProxy> {
    proxies
        .iter()
        .map(|proxy| link(&cluster.nodes[*proxy]))
        .collect()
}

fn disturb(links: Vec<&FaultProxy>, trouble: Trouble, lasts: Duration) {
    for link in &links {
        match trouble {
            Trouble::Cut(cut) => {
                link.refuse();
                link.cut(cut);
            }
            Trouble::Delay(direction, delay) => link.delay(direction, delay),
            Trouble::Mute(direction, silence) => link.silence(direction, silence),
        }
    }
    std::thread::sleep(lasts);
    for link in &links {
        link.heal();
    }
}

fn restart_redis(redis: &mut RedisServer, down: Duration) {
    redis.crash();
    std::thread::sleep(down);
    redis.start_again();
}

/// Keeps the memory limit just below what is used, or at nothing.
fn starve_redis(redis: &RedisServer, lasts: Duration, is_full: bool) {
    let mut conn = redis.conn();
    conn.run("CONFIG SET maxmemory-policy allkeys-random");
    let end = Instant::now() + lasts;
    while Instant::now() < end {
        let memory = conn.info("memory");
        let used = memory
            .lines()
            .find_map(|line| line.strip_prefix("used_memory:")?.parse::<u64>().ok());
        let limit = if is_full {
            1
        } else {
            used.expect("INFO has it").saturating_sub(300)
        };
        conn.run(&format!("CONFIG SET maxmemory {limit}"));
        std::thread::sleep(Duration::from_millis(20));
    }
    conn.run("CONFIG SET maxmemory 0");
}

fn demote_redis(cluster: &Cluster, age: Duration, stays: Duration, only_reads: bool) {
    let (redis, other) = (cluster.redis(), &cluster.other_redis);
    let set_quiet = |is_quiet: bool| {
        if only_reads {
            cluster.only_reads.store(is_quiet, Ordering::Relaxed);
            std::thread::sleep(QUIET);
        }
    };
    set_quiet(true);
    other.follow(&redis);
    other.lead();
    set_quiet(false);
    std::thread::sleep(age);
    set_quiet(true);
    let demoted = Instant::now();
    redis.follow(other);
    std::thread::sleep(stays.saturating_sub(demoted.elapsed()));
    redis.lead();
    set_quiet(false);
}

/// Reads fill the cache within this time.
const QUIET: Duration = Duration::from_millis(200);

/// Kills a proxy and leaves behind a session that does not end. It is started again before that one goes on.
fn orphan(node: &Node, shard: usize, url: &str, lasts: Duration) {
    node.note_reads();
    let session = sql::session_from(url, &node.to_shards[shard].ports_at_server());
    let stopped = session.and_then(Stopped::try_stop);
    node.proxy().kill();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(lasts);
            drop(stopped);
        });
        std::thread::sleep(lasts / 2);
        node.start_again();
    });
}

fn second_redis(cluster: &Cluster, proxies: &[usize], lasts: Duration) {
    let home = cluster.redis_addr.clone();
    let links = links(cluster, proxies, |node| &node.to_redis);
    for (target, wait) in [(cluster.other_redis.addr(), lasts), (home, Duration::ZERO)] {
        for link in &links {
            link.redirect(&target);
            link.cut(Cut::Close);
        }
        std::thread::sleep(wait);
    }
}
