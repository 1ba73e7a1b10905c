//! How generations begin and end, and what of them can be seen.

use std::time::{Duration, Instant};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::server::TIMEOUT;
use super::{PATIENCE, Server, assert_over, fill, get, lost, reached, session, value};
use crate::cache::tests::name;
use crate::cache::{RedisCache, Unavailable};
use crate::view::Instance;
use crate::workers::Workers;

#[tokio::test]
async fn a_redis_that_is_down_at_the_start_is_taken_up_later() {
    let mut server = Server::planned(&[]);
    let cache = server.cache_now(|_| {});
    sleep(Duration::from_millis(50)).await;
    assert_eq!(cache.sight().cache, None);
    assert_eq!(cache.entry_count().await, 0);
    server.run();
    reached(&cache).await;
    fill(&session(&cache), "k", 1).await;
}

#[tokio::test]
async fn there_are_sessions_for_the_instance_that_is_reached_and_no_other() {
    let (one, two) = (Server::start(&[]), Server::start(&[]));
    let (first, second) = (one.cache().await, two.cache().await);
    let instance = reached(&first).await;
    let another = reached(&second).await;
    assert_ne!(instance, another);
    assert!(first.session(instance).is_some());
    assert!(first.session(another).is_none());
    assert!(first.session(Instance::draw()).is_none());

    let same = one.cache().await;
    assert_eq!(reached(&same).await, instance, "others see the same");
}

/// An address that leads to these servers in turns.
async fn in_turns(servers: [u16; 2]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for server in servers.into_iter().cycle() {
            let (mut here, _) = listener.accept().await.unwrap();
            let mut there = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut here, &mut there).await });
        }
    });
    port
}

#[tokio::test]
async fn an_address_that_leads_to_two_servers_is_not_used() {
    let (one, two) = (Server::start(&[]), Server::start(&[]));
    let instance = reached(&one.cache().await).await;
    reached(&two.cache().await).await;
    let start = async |servers| {
        let url = format!("redis://127.0.0.1:{}", in_turns(servers).await);
        let stop = CancellationToken::new();
        RedisCache::start(
            &url,
            Server::settings(),
            Workers::here(),
            &TaskTracker::new(),
            stop,
        )
        .unwrap()
    };
    let to_one = start([one.port, one.port]).await;
    assert_eq!(reached(&to_one).await, instance);
    let to_both = start([one.port, two.port]).await;
    sleep(Duration::from_millis(300)).await;
    assert_eq!(to_both.sight().cache, None);
}

#[tokio::test]
async fn a_redis_that_died_comes_back_as_another_instance() {
    let mut server = Server::start(&["--dbfilename", "old.rdb"]);
    let cache = server.cache().await;
    let before = cache.sight();
    let old = session(&cache);
    fill(&old, "k", 1).await;
    server.run_command::<()>(&["SAVE"]).await;

    server.kill();
    // Without a step: the next question is not answered.
    lost(&cache).await;
    assert!(cache.sight().since > before.since);
    assert!(cache.session(before.cache.unwrap()).is_none());
    assert_over(&old).await;

    server.run();
    assert_ne!(Some(reached(&cache).await), before.cache);
    assert!(cache.session(before.cache.unwrap()).is_none());
    assert_over(&old).await;
    let new = session(&cache);
    // It is not for the cache to remove what the snapshot held.
    assert_eq!(get(&new, "k").await, value(1));
}

/// Cuts the connections of a cache; how long it was without.
async fn blip() -> Duration {
    let mut server = Server::planned(&[]);
    let cache = server.cache_now(|_| {});
    // What it took to come up must not count.
    sleep(Duration::from_millis(300)).await;
    server.run();
    let before = reached(&cache).await;
    let old = session(&cache);
    fill(&old, "k", 1).await;
    let mut sights = cache.sights();

    let kill = ["CLIENT", "KILL", "TYPE", "normal"];
    server.run_command::<()>(&kill).await;
    assert_eq!(old.get(&[name("k")]).await, Err(Unavailable));
    let lost = *sights.borrow_and_update();
    assert_eq!(lost.cache, None, "the sight is lost when the step fails");
    sights.changed().await.unwrap();
    let again = *sights.borrow_and_update();
    assert_eq!(again.cache, Some(before));

    assert_over(&old).await;
    assert_eq!(get(&session(&cache), "k").await, value(1));
    again.since - lost.since
}

#[tokio::test]
async fn connections_that_are_cut_come_back_at_once_to_the_same_instance() {
    let mut gaps = Vec::new();
    // More than once, as a machine may be busy.
    for _ in 0..5 {
        gaps.push(blip().await);
        if gaps.iter().any(|gap| *gap < Duration::from_millis(100)) {
            return;
        }
    }
    panic!("it took {gaps:?}");
}

#[tokio::test]
async fn a_redis_that_hangs_costs_one_timeout() {
    let server = Server::start(&[]);
    let cache = server.cache().await;
    let before = reached(&cache).await;
    let old = session(&cache);
    fill(&old, "k", 1).await;

    server.signal("-STOP");
    let since = Instant::now();
    let names = [name("k")];
    let step = async || old.fin(&names).await;
    let (one, two, three) = tokio::join!(step(), step(), step());
    assert_eq!([one, two, three], [Err(Unavailable); 3]);
    let elapsed = since.elapsed();
    assert!(elapsed < TIMEOUT * 2, "it took {elapsed:?}");
    assert_eq!(cache.sight().cache, None);
    assert_over(&old).await;

    server.signal("-CONT");
    assert_eq!(reached(&cache).await, before);
    // The FINs have been answered by now, too late.
    assert_over(&old).await;
}

#[tokio::test]
async fn a_redis_that_hangs_is_noticed_when_idle() {
    let server = Server::start(&[]);
    let cache = server.cache().await;
    server.signal("-STOP");
    lost(&cache).await;
    server.signal("-CONT");
}

#[tokio::test]
async fn a_redis_that_can_not_write_is_not_used() {
    let server = Server::start(&[]);
    let cache = server.cache().await;
    let old = session(&cache);
    fill(&old, "k", 1).await;
    // Refuses writes while there are too few replicas.
    let needs = async |replicas| {
        let words = ["CONFIG", "SET", "min-replicas-to-write", replicas];
        server.run_command::<()>(&words).await;
    };
    needs("1").await;
    assert_eq!(old.fin(&[name("k")]).await, Err(Unavailable));
    sleep(Duration::from_millis(500)).await;
    assert_eq!(cache.sight().cache, None);
    needs("0").await;
    reached(&cache).await;
    assert_over(&old).await;
    assert_eq!(get(&session(&cache), "k").await, value(1));
}

#[tokio::test]
async fn a_password_works_and_is_never_shown() {
    let server = Server::start(&["--requirepass", "hunter2"]);
    let url = format!("redis://:hunter2@127.0.0.1:{}", server.port);
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let start = |url: &str| {
        RedisCache::start(
            url,
            Server::settings(),
            Workers::here(),
            &tasks,
            stop.clone(),
        )
    };
    let cache = start(&url).unwrap();
    reached(&cache).await;
    let shown = format!("{cache:?}");
    assert!(shown.contains(&format!("127.0.0.1:{}", server.port)));
    assert!(!shown.contains("hunter2"), "{shown}");

    let wrong = start(&url.replace("hunter2", "hunter3")).unwrap();
    sleep(Duration::from_millis(200)).await;
    assert_eq!(wrong.sight().cache, None);
    for url in [
        "redis://:hunter2@h/x",
        "http://hunter2@h",
        "hunter2",
        "rediss://:hunter2@h",
    ] {
        let error = start(url).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }

    // The tracked task ends with the token; sessions go on working.
    stop.cancel();
    tasks.close();
    tokio::time::timeout(PATIENCE, tasks.wait()).await.unwrap();
    assert_eq!(get(&session(&cache), "k").await, None);
}
