//! The rules of the contract, as one table for both caches, and what its tests share.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use super::redis_tests::Server;
use super::{Cache, Cached, EntryKey, LEASE_TTL, Lease, MemoryCache, Session, Sighting, Token};
use crate::command::{Row, Stamp, Timestamp};
use crate::routing::ShardId;
use crate::view::{Epoch, Instance};

pub(super) const TTL: Duration = Duration::from_secs(60);

pub(super) const SHARD: ShardId = ShardId::new(0);

pub(super) fn name(key: &str) -> EntryKey {
    EntryKey {
        shard: SHARD,
        epoch: Epoch::FIRST,
        key: Bytes::copy_from_slice(key.as_bytes()),
    }
}

/// The row with this stamp.
pub(super) fn row(stamp: u64) -> Row {
    Row {
        value: Bytes::from(format!("value {stamp}\r\n\0\u{ff}").into_bytes()),
        created_at: Timestamp::from_micros(1),
        updated_at: Timestamp::from_micros(2),
        expires_at: stamp.is_multiple_of(2).then_some(Timestamp::from_micros(3)),
        stamp: Stamp::from_bits(stamp),
    }
}

pub(super) fn absent() -> Option<Row> {
    None
}

pub(super) fn sighting(key: &str, token: Option<Token>, row: Option<Row>) -> Sighting {
    Sighting {
        entry: name(key),
        token,
        row,
        time_left: None,
    }
}

/// A step of a case. A state is the stamp of its row; 0 is an absent row.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// GET finds this state, or nothing.
    Get(Option<u64>),
    /// LEASE with this token is granted.
    Granted(u128),
    /// LEASE with this token finds a lease.
    Held(u128),
    /// LEASE finds this state.
    Found(u64),
    /// FILL with this token and this state.
    Fill(u128, u64),
    /// SEEN of this state.
    Seen(u64),
    Fin,
}

use Step::*;

/// Each runs on an entry of its own.
const RULES: &[(&str, &[Step])] = &[
    ("absent: GET finds nothing", &[Get(None), Get(None)]),
    ("absent: LEASE is granted", &[Granted(1), Get(None)]),
    ("absent: FIN does nothing", &[Fin, Granted(1)]),
    (
        "absent: SEEN does nothing",
        &[Seen(5), Get(None), Granted(1), Fill(1, 7), Get(Some(7))],
    ),
    (
        "absent: FILL does nothing",
        &[Fill(1, 5), Get(None), Granted(2), Fill(2, 7), Get(Some(7))],
    ),
    ("lease: LEASE is held", &[Granted(1), Held(2), Held(1)]),
    ("lease: FIN ends it", &[Granted(1), Fin, Granted(2)]),
    (
        "lease: FILL of its token fills",
        &[Granted(1), Fill(1, 5), Get(Some(5)), Found(5)],
    ),
    (
        "lease: FILL of absence fills",
        &[Granted(1), Fill(1, 0), Get(Some(0)), Found(0)],
    ),
    (
        "lease: a second FILL is a SEEN",
        &[Granted(1), Fill(1, 5), Fill(1, 6), Get(None), Granted(2)],
    ),
    (
        "lease: FILL after FIN is late",
        &[Granted(1), Fin, Fill(1, 5), Get(None), Granted(2)],
    ),
    (
        "lease: FILL after FIN and another LEASE is late",
        &[Granted(1), Fin, Granted(2), Fill(1, 5), Get(None), Held(3)],
    ),
    (
        "lease: FILL of another token is noted",
        &[
            Granted(1),
            Fill(2, 5),
            Get(None),
            Held(3),
            Fill(1, 6),
            Get(None),
            Granted(4),
        ],
    ),
    (
        "lease: FILL of what was noted fills",
        &[Granted(1), Seen(5), Held(2), Fill(1, 5), Get(Some(5))],
    ),
    (
        "lease: FILL of another than noted ends it",
        &[Granted(1), Seen(5), Fill(1, 6), Get(None), Granted(2)],
    ),
    (
        "lease: absence is noted too",
        &[Granted(1), Seen(0), Fill(1, 6), Get(None), Granted(2)],
    ),
    (
        "lease: FILL of absence, a row was noted",
        &[Granted(1), Seen(5), Fill(1, 0), Get(None), Granted(2)],
    ),
    (
        "lease: FILL of absence as noted fills",
        &[Granted(1), Seen(0), Fill(1, 0), Get(Some(0))],
    ),
    (
        "lease: the same SEEN twice is one",
        &[
            Granted(1),
            Seen(5),
            Seen(5),
            Held(2),
            Fill(1, 5),
            Get(Some(5)),
        ],
    ),
    (
        "lease: two SEENs end it",
        &[Granted(1), Seen(5), Seen(6), Get(None), Granted(2)],
    ),
    (
        "lease: a new one has noted nothing",
        &[
            Granted(1),
            Seen(5),
            Fin,
            Granted(2),
            Fill(2, 6),
            Get(Some(6)),
        ],
    ),
    (
        "value: SEEN of it leaves it",
        &[Granted(1), Fill(1, 5), Seen(5), Get(Some(5))],
    ),
    (
        "value: SEEN of another ends it",
        &[Granted(1), Fill(1, 5), Seen(6), Get(None), Granted(2)],
    ),
    (
        "value: SEEN of absence ends it",
        &[Granted(1), Fill(1, 5), Seen(0), Get(None), Granted(2)],
    ),
    (
        "value: FILL of another token is a SEEN",
        &[Granted(1), Fill(1, 5), Fill(2, 6), Get(None)],
    ),
    (
        "value: FIN ends it",
        &[Granted(1), Fill(1, 5), Fin, Get(None), Granted(2)],
    ),
    (
        "absence: SEEN of it leaves it",
        &[Granted(1), Fill(1, 0), Seen(0), Get(Some(0))],
    ),
    (
        "absence: SEEN of a row ends it",
        &[Granted(1), Fill(1, 0), Seen(5), Get(None), Granted(2)],
    ),
    (
        "absence: FIN ends it",
        &[Granted(1), Fill(1, 0), Fin, Get(None), Granted(2)],
    ),
];

fn state(stamp: u64) -> Option<Row> {
    (stamp != 0).then(|| row(stamp))
}

fn cached(stamp: u64) -> Cached {
    state(stamp).map_or(Cached::Absent, Cached::Row)
}

/// A session for what is reached.
fn session_of(cache: &Cache) -> Session {
    let reached = cache.sight().cache.expect("the cache is reached");
    cache.session(reached).expect("a session for it")
}

async fn run(session: &Session, case: &str, step: Step) {
    let names = [name(case)];
    let lease = async |token| session.lease(&names, Token(token)).await.unwrap();
    match step {
        Get(found) => assert_eq!(session.get(&names).await.unwrap(), [found.map(cached)]),
        Granted(token) => assert_eq!(lease(token).await, [Lease::Granted]),
        Held(token) => assert_eq!(lease(token).await, [Lease::Held]),
        Found(stamp) => assert_eq!(lease(9).await, [Lease::Value(cached(stamp))]),
        Fill(token, stamp) => {
            let sighting = sighting(case, Some(Token(token)), state(stamp));
            session.settle(&[sighting]).await.unwrap();
        }
        Seen(stamp) => {
            let sighting = sighting(case, None, state(stamp));
            session.settle(&[sighting]).await.unwrap();
        }
        Fin => session.fin(&names).await.unwrap(),
    }
}

async fn check_rules(cache: &Cache) {
    let session = &session_of(cache);
    for (case, steps) in RULES {
        for (number, step) in steps.iter().enumerate() {
            eprintln!("{case}: step {number}, {step:?}");
            run(session, case, *step).await;
        }
    }
    check_batches(session).await;
    check_names(session).await;
    check_lifetimes(session).await;
    check_clear(cache).await;
}

/// Many entries in one call are independent and answered in order.
async fn check_batches(session: &Session) {
    let keys: Vec<String> = (0..600).map(|n| format!("batch {n}")).collect();
    let names: Vec<EntryKey> = keys.iter().map(|key| name(key)).collect();
    let every = |n: usize| keys.iter().step_by(n);

    let token = Token(1);
    let fill = every(3).map(|key| sighting(key, Some(token), Some(row(4))));
    session.lease(&names, token).await.unwrap();
    session.settle(&fill.collect::<Vec<_>>()).await.unwrap();
    let found = session.get(&names).await.unwrap();
    let leases = session.lease(&names, Token(2)).await.unwrap();
    for n in 0..keys.len() {
        let (value, lease) = match n % 3 {
            0 => (Some(cached(4)), Lease::Value(cached(4))),
            _ => (None, Lease::Held),
        };
        assert_eq!((&found[n], &leases[n]), (&value, &lease), "{n}");
    }

    session.fin(&names).await.unwrap();
    assert!(
        session
            .get(&names)
            .await
            .unwrap()
            .iter()
            .all(Option::is_none)
    );
    assert_eq!(session.get(&[]).await.unwrap(), []);
    assert_eq!(session.lease(&[], token).await.unwrap(), []);
    session.settle(&[]).await.unwrap();
    session.fin(&[]).await.unwrap();
}

/// Any bytes are a key, and the shard and the epoch are part of the name.
async fn check_names(session: &Session) {
    let entry = |shard, key: &'static [u8]| EntryKey {
        shard: ShardId::new(shard),
        epoch: Epoch::FIRST,
        key: Bytes::from_static(key),
    };
    let names = [
        entry(0, b""),
        entry(1, b""),
        entry(1, b"0:"),
        entry(10, b""),
        entry(0, b"\r\n\0\xff*?[a]\\"),
        entry(0, b"0"),
        EntryKey {
            epoch: Epoch::new(7),
            ..entry(0, b"0")
        },
    ];
    let all = session.lease(&names, Token(1)).await.unwrap();
    assert!(all.iter().all(|lease| *lease == Lease::Granted));
    session.fin(&names).await.unwrap();
}

async fn check_lifetimes(session: &Session) {
    let fill = |key: &str, time_left| Sighting {
        time_left,
        ..sighting(key, Some(Token(1)), Some(row(5)))
    };
    let short = Some(Duration::from_millis(150));
    let keys = ["over", "expiring", "lasting", "left alone", "noted"];
    let names = keys.map(name);
    session.lease(&names, Token(1)).await.unwrap();
    session
        .settle(&[
            fill("over", Some(Duration::ZERO)),
            fill("expiring", short),
            fill("lasting", Some(Duration::MAX)),
            sighting("noted", None, Some(row(5))),
        ])
        .await
        .unwrap();
    let value = Some(cached(5));
    let found = session.get(&names).await.unwrap();
    assert_eq!(found, [None, value.clone(), value.clone(), None, None]);
    let over = session.lease(&names[..1], Token(2)).await.unwrap();
    assert_eq!(over, [Lease::Granted], "nothing is left of the lease");

    sleep(Duration::from_millis(200)).await;
    let found = session.get(&names).await.unwrap();
    assert_eq!(found, [None, None, value, None, None]);
    let expired = session.lease(&names[1..2], Token(2)).await.unwrap();
    assert_eq!(expired, [Lease::Granted]);

    sleep(LEASE_TTL).await;
    // A lease that is over can't be filled, and is not held.
    let late = [fill("left alone", None), fill("noted", None)];
    session.settle(&late).await.unwrap();
    let found = session.get(&names[3..]).await.unwrap();
    assert_eq!(found, [None, None]);
    let leases = session.lease(&names[3..], Token(3)).await.unwrap();
    assert_eq!(leases, [Lease::Granted, Lease::Granted]);
}

async fn check_clear(cache: &Cache) {
    let session = session_of(cache);
    let names: Vec<EntryKey> = (0..2500).map(|n| name(&format!("clear {n}"))).collect();
    session.lease(&names, Token(1)).await.unwrap();
    assert!(cache.entry_count().await >= 2500);
    session.clear(SHARD, Epoch::FIRST).await.unwrap();
    let leases = session.lease(&names, Token(2)).await.unwrap();
    assert!(leases.iter().all(|lease| *lease == Lease::Granted));
}

#[tokio::test]
async fn the_rules_hold_in_memory() {
    let cache = Cache::Memory(MemoryCache::new(64 << 20, TTL));
    check_rules(&cache).await;
}

#[tokio::test]
async fn memory_is_reached_for_ever_and_is_one_instance() {
    let cache = Cache::Memory(MemoryCache::new(1 << 20, TTL));
    let own = cache.sight().cache.unwrap();
    assert!(cache.session(own).is_some());
    let other = Cache::Memory(MemoryCache::new(1 << 20, TTL));
    assert!(other.session(own).is_none());
    let another = Instance::of_redis(&"1".repeat(40), &"1".repeat(40)).unwrap();
    assert!(cache.session(another).is_none());
    let mut sights = cache.sights();
    let change = tokio::time::timeout(Duration::from_millis(20), sights.changed()).await;
    assert!(change.is_err(), "who waits for a change waits");
}

#[tokio::test]
async fn the_rules_hold_in_redis() {
    let server = Server::start(&[]);
    let cache = Cache::Redis(server.cache().await);
    check_rules(&cache).await;
}

#[tokio::test]
async fn values_live_no_longer_than_the_ttl() {
    let ttl = Duration::from_millis(150);
    let server = Server::start(&[]);
    let redis = server.cache_with(|settings| settings.ttl = ttl).await;
    for cache in [
        Cache::Memory(MemoryCache::new(1 << 20, ttl)),
        Cache::Redis(redis),
    ] {
        let session = session_of(&cache);
        for step in [Granted(1), Fill(1, 5), Get(Some(5))] {
            run(&session, "k", step).await;
        }
        sleep(ttl + Duration::from_millis(50)).await;
        run(&session, "k", Get(None)).await;
    }
}
