//! What the steps leave in Redis.

use std::time::Duration;

use bytes::Bytes;

use super::{Server, called, fill, get, named, session, value};
use crate::cache::tests::{SHARD, name, row, sighting};
use crate::cache::{EntryKey, Lease, RedisSession, Token};
use crate::routing::ShardId;
use crate::view::Epoch;

fn in_epoch(epoch: u64, entry: EntryKey) -> EntryKey {
    EntryKey {
        epoch: Epoch::new(epoch),
        ..entry
    }
}

#[tokio::test]
async fn entries_of_one_epoch_are_not_seen_in_another() {
    let server = Server::start(&[]);
    let session = session(&server.cache().await);
    fill(&session, "k", 1).await;
    for epoch in [0, 2, 11, u64::MAX] {
        let entry = [in_epoch(epoch, name("k"))];
        assert_eq!(session.get(&entry).await.unwrap(), [None]);
        let lease = session.lease(&entry, Token(1)).await.unwrap();
        assert_eq!(lease, [Lease::Granted], "epoch {epoch}");
        session.fin(&entry).await.unwrap();
    }
    // Not by a key that looks like an epoch either.
    let odd = [(1, "1:k"), (11, "k"), (1, "1k")].map(|(epoch, key)| in_epoch(epoch, name(key)));
    let leases = session.lease(&odd, Token(1)).await.unwrap();
    assert_eq!(leases, [Lease::Granted, Lease::Granted, Lease::Granted]);
    assert_eq!(get(&session, "k").await, value(1));
}

#[tokio::test]
async fn a_clear_takes_a_shard_and_epoch_and_nothing_else() {
    let server = Server::start(&[]);
    let odd = "te*st[a-z]\\?:0";
    let mine = server.cache_with(|settings| settings.namespace = named(odd));
    let others = server.cache_with(|settings| settings.namespace = named("te"));
    let (mine, others) = (session(&mine.await), session(&others.await));
    let keys: Vec<EntryKey> = (0..3000).map(|n| name(&n.to_string())).collect();
    let of_shard = |shard| EntryKey {
        shard: ShardId::new(shard),
        ..name("0")
    };
    let kept = [
        in_epoch(2, name("0")),
        // Its number begins with that of the one that is cleared.
        in_epoch(Epoch::FIRST.number() * 10 + 1, name("0")),
        of_shard(1),
        of_shard(10),
    ];
    for session in [&mine, &others] {
        session.lease(&keys, Token(1)).await.unwrap();
        session.lease(&kept, Token(1)).await.unwrap();
    }
    let similar = called("0").to_uppercase();
    for foreign in [&similar, "foreign"] {
        server.run_command::<()>(&["SET", foreign, "kept"]).await;
    }
    let count = async || server.run_command::<usize>(&["DBSIZE"]).await;
    assert_eq!(count().await, 2 * (3000 + 4) + 2);

    mine.clear(SHARD, Epoch::FIRST).await.unwrap();
    assert_eq!(count().await, 3000 + 2 * 4 + 2);
    let held = |session: &RedisSession, entries: &[EntryKey]| {
        let (session, entries) = (session.clone(), entries.to_vec());
        async move {
            let leases = session.lease(&entries, Token(2)).await.unwrap();
            leases.iter().all(|lease| *lease == Lease::Held)
        }
    };
    assert!(held(&mine, &kept).await);
    assert!(held(&others, &keys).await);
}

#[tokio::test]
async fn scripts_that_vanished_are_loaded_again() {
    let server = Server::start(&[]);
    let session = session(&server.cache().await);
    server.run_command::<()>(&["SCRIPT", "FLUSH"]).await;
    fill(&session, "k", 1).await;
}

#[tokio::test]
async fn with_full_memory_fills_fail_and_invalidations_work() {
    let server = Server::start(&["--maxmemory-policy", "noeviction"]);
    let session = session(&server.cache().await);
    fill(&session, "seen", 1).await;
    fill(&session, "finished", 1).await;
    let token = Token(1);
    let leased = ["filled", "noted", "noted before"].map(name);
    session.lease(&leased, token).await.unwrap();
    let noted = [sighting("noted before", None, Some(row(1)))];
    session.settle(&noted).await.unwrap();
    server
        .run_command::<()>(&["CONFIG", "SET", "maxmemory", "1"])
        .await;

    assert_eq!(get(&session, "seen").await, value(1));
    let fresh = session.lease(&[name("fresh")], token).await.unwrap();
    assert_eq!(fresh, [Lease::Held]);
    // One call each, as Redis refuses only the first write of a script.
    for step in [
        sighting("filled", Some(token), Some(row(1))),
        sighting("noted", None, Some(row(1))),
        sighting("noted before", None, Some(row(2))),
        sighting("seen", None, Some(row(2))),
    ] {
        session.settle(&[step]).await.unwrap();
    }
    session.fin(&[name("finished")]).await.unwrap();

    server
        .run_command::<()>(&["CONFIG", "SET", "maxmemory", "0"])
        .await;
    for key in ["filled", "noted", "noted before", "seen", "finished"] {
        assert_eq!(get(&session, key).await, None, "{key}");
        let lease = session.lease(&[name(key)], Token(2)).await.unwrap();
        assert_eq!(lease, [Lease::Granted], "{key}");
    }
}

#[tokio::test]
async fn with_full_memory_no_later_fill_of_a_call_slips_through() {
    let server = Server::start(&["--maxmemory-policy", "noeviction"]);
    let session = session(&server.cache().await);
    let keys = ["a", "b", "c"];
    session.lease(&keys.map(name), Token(1)).await.unwrap();
    server
        .run_command::<()>(&["CONFIG", "SET", "maxmemory", "1"])
        .await;
    let fills = keys.map(|key| sighting(key, Some(Token(1)), Some(row(1))));
    session.settle(&fills).await.unwrap();
    assert_eq!(server.run_command::<u64>(&["DBSIZE"]).await, 0);
}

#[tokio::test]
async fn what_is_no_entry_is_deleted_when_settled() {
    let server = Server::start(&[]);
    let session = session(&server.cache().await);
    server
        .run_command::<()>(&["SET", &called("text"), "garbage"])
        .await;
    server
        .run_command::<()>(&["SET", &called("short lease"), "L123"])
        .await;
    server
        .run_command::<()>(&["SET", &called("short value"), "V"])
        .await;
    for key in ["text", "short lease", "short value"] {
        assert_eq!(get(&session, key).await, None);
        let lease = session.lease(&[name(key)], Token(1)).await.unwrap();
        assert_eq!(lease, [Lease::Held], "{key}");
        session
            .settle(&[sighting(key, None, Some(row(1)))])
            .await
            .unwrap();
        fill(&session, key, 1).await;
    }
    server
        .run_command::<()>(&["RPUSH", &called("list"), "1"])
        .await;
    for names in [vec!["list"], vec!["list", "other"], vec!["other", "list"]] {
        let names: Vec<EntryKey> = names.into_iter().map(name).collect();
        let found = session.get(&names).await.unwrap();
        assert!(found.iter().all(Option::is_none));
    }
    let lease = session.lease(&[name("list")], Token(1)).await.unwrap();
    assert_eq!(lease, [Lease::Held]);
    session
        .settle(&[sighting("list", None, Some(row(1)))])
        .await
        .unwrap();
    fill(&session, "list", 1).await;
}

#[tokio::test]
async fn entries_in_redis_always_have_a_lifetime() {
    let server = Server::start(&[]);
    let session = session(&server.cache().await);
    let lifetime = async |key: &str| server.run_command::<i64>(&["PTTL", &called(key)]).await;
    session.lease(&[name("lease")], Token(1)).await.unwrap();
    session
        .settle(&[sighting("lease", None, Some(row(1)))])
        .await
        .unwrap();
    assert!((1..=3000).contains(&lifetime("lease").await));
    fill(&session, "value", 1).await;
    assert!((50_000..=60_000).contains(&lifetime("value").await));
}

#[tokio::test]
async fn large_values_are_not_cached_and_do_no_harm() {
    let server = Server::start(&[]);
    let session = session(&server.cache().await);
    let sizes = [0, 1 << 19, 1 << 19, (1 << 20) - 34, 1 << 20, 16 << 20];
    let keys: Vec<String> = (0..sizes.len()).map(|n| format!("k{n}")).collect();
    let names: Vec<_> = keys.iter().map(|key| name(key)).collect();
    session.lease(&names, Token(1)).await.unwrap();
    let fills: Vec<_> = std::iter::zip(&keys, sizes)
        .map(|(key, size)| {
            let mut row = row(1);
            row.value = Bytes::from(vec![b'x'; size]);
            sighting(key, Some(Token(1)), Some(row))
        })
        .collect();
    session.settle(&fills).await.unwrap();
    let found = session.get(&names).await.unwrap();
    let are_found: Vec<bool> = found.iter().map(Option::is_some).collect();
    assert_eq!(are_found, [true, true, true, true, false, false]);
    let lease = session.lease(&names[5..], Token(2)).await.unwrap();
    assert_eq!(lease, [Lease::Granted]);
}

/// What each entry needs is different, and its arguments are found by its place among the others.
#[tokio::test]
async fn one_call_settles_entries_of_every_kind() {
    let server = Server::start(&[]);
    let session = session(&server.cache().await);
    let (own, other) = (Token(1), Token(2));
    let leased = ["own", "noted same", "noted other", "gone", "over"].map(name);
    session.lease(&leased, own).await.unwrap();
    session.lease(&[name("foreign")], other).await.unwrap();
    let noted = [
        sighting("noted same", None, Some(row(1))),
        sighting("noted other", None, Some(row(2))),
    ];
    session.settle(&noted).await.unwrap();
    session.fin(&[name("gone")]).await.unwrap();
    for (key, stamp) in [("same", 1), ("newer", 2), ("seen", 2), ("seen older", 2)] {
        fill(&session, key, stamp).await;
    }

    let mut over = sighting("over", Some(own), Some(row(1)));
    over.time_left = Some(Duration::ZERO);
    let with_lease = |key| sighting(key, Some(own), Some(row(1)));
    session
        .settle(&[
            sighting("seen older", None, Some(row(1))),
            with_lease("own"),
            with_lease("noted same"),
            over,
            with_lease("noted other"),
            sighting("seen", None, Some(row(2))),
            with_lease("foreign"),
            with_lease("same"),
            with_lease("newer"),
            with_lease("gone"),
        ])
        .await
        .unwrap();

    for (key, expected) in [
        ("own", value(1)),
        ("noted same", value(1)),
        ("noted other", None),
        ("over", None),
        ("foreign", None),
        ("same", value(1)),
        ("newer", None),
        ("gone", None),
        ("seen", value(2)),
        ("seen older", None),
    ] {
        assert_eq!(get(&session, key).await, expected, "{key}");
    }
    let held = session.lease(&[name("foreign")], own).await.unwrap();
    assert_eq!(held, [Lease::Held]);
    let absent = ["noted other", "over", "newer", "gone", "seen older"].map(name);
    let leases = session.lease(&absent, own).await.unwrap();
    assert!(
        leases.iter().all(|lease| *lease == Lease::Granted),
        "{leases:?}"
    );
    // The stamp was noted in the foreign lease: another one now ends it.
    let differs = [sighting("foreign", None, Some(row(2)))];
    session.settle(&differs).await.unwrap();
    let granted = session.lease(&[name("foreign")], own).await.unwrap();
    assert_eq!(granted, [Lease::Granted]);
}
