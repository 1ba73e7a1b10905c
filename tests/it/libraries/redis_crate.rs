//! What a program that uses the redis crate does with its server, beyond what `clients.rs` has.

use std::collections::HashSet;
use std::time::Duration;

use redis::{AsyncCommands, Commands, PushKind, ScanOptions, TypedCommands};

use crate::harness::{Deployment, Setup, with_reference};

with_reference!(
    counters_and_strings,
    a_transaction_is_atomic,
    a_watched_key_that_changes_stops_a_transaction,
    optimistic_locking_loses_nothing,
    a_scan_finds_every_key,
    messages_are_heard,
    one_connection_is_shared_by_tasks,
    messages_are_pushed,
);

/// RESP2, and RESP3.
const PROTOCOLS: [&str; 2] = ["", "?protocol=resp3"];

fn client(it: &Deployment, parameters: &str) -> redis::Client {
    redis::Client::open(format!("redis://{}/{parameters}", it.resp_addr())).unwrap()
}

fn connect(it: &Deployment, parameters: &str) -> redis::Connection {
    let connection = client(it, parameters).get_connection().unwrap();
    connection
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    connection
}

fn counters_and_strings(setup: Setup) {
    let it = setup.start();
    for protocol in PROTOCOLS {
        let mut it = connect(&it, protocol);
        TypedCommands::flushdb(&mut it).unwrap();
        assert_eq!(TypedCommands::incr(&mut it, "n", 1).unwrap(), 1);
        assert_eq!(TypedCommands::incr(&mut it, "n", 41).unwrap(), 42);
        assert_eq!(TypedCommands::decr(&mut it, "n", 50).unwrap(), -8);
        let float: f64 = Commands::incr(&mut it, "f", 0.25).unwrap();
        assert_eq!(float, 0.25);
        assert_eq!(TypedCommands::append(&mut it, "s", "abc").unwrap(), 3);
        assert_eq!(TypedCommands::getrange(&mut it, "s", 1, -1).unwrap(), "bc");
        assert_eq!(
            TypedCommands::get_del(&mut it, "s").unwrap().as_deref(),
            Some("abc")
        );
        assert!(!TypedCommands::exists(&mut it, "s").unwrap());
    }
}

fn a_transaction_is_atomic(setup: Setup) {
    let it = setup.start();
    for protocol in PROTOCOLS {
        let mut it = connect(&it, protocol);
        let answers: (i64, String) = redis::pipe()
            .atomic()
            .set("key", 1)
            .ignore()
            .incr("key", 1)
            .get("key")
            .query(&mut it)
            .unwrap();
        assert_eq!(answers, (2, "2".to_owned()));
        let error = redis::pipe()
            .atomic()
            .set("key", "x")
            .cmd("NOSUCH")
            .exec(&mut it)
            .unwrap_err();
        assert!(error.to_string().contains("aborted"), "{error}");
        assert_eq!(TypedCommands::get(&mut it, "key").unwrap().unwrap(), "2");
    }
}

fn a_watched_key_that_changes_stops_a_transaction(setup: Setup) {
    let it = setup.start();
    let (mut one, mut other) = (connect(&it, ""), connect(&it, ""));
    let mut tries = 0;
    let (now,): (i64,) = redis::transaction(&mut one, &["key"], |one, pipe| {
        tries += 1;
        let now: Option<i64> = Commands::get(one, "key")?;
        if tries == 1 {
            let () = Commands::set(&mut other, "key", 10)?;
        }
        pipe.set("key", now.unwrap_or(0) + 1)
            .ignore()
            .get("key")
            .query(one)
    })
    .unwrap();
    assert_eq!((tries, now), (2, 11));
}

fn optimistic_locking_loses_nothing(setup: Setup) {
    let it = setup.start();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut own = connect(&it, "");
                for _ in 0..10 {
                    let () = redis::transaction(&mut own, &["sum"], |own, pipe| {
                        let now: Option<i64> = Commands::get(own, "sum")?;
                        pipe.set("sum", now.unwrap_or(0) + 1).ignore().query(own)
                    })
                    .unwrap();
                }
            });
        }
    });
    assert_eq!(it.conn().get("sum").unwrap(), b"40");
}

fn a_scan_finds_every_key(setup: Setup) {
    let it = setup.start();
    for protocol in PROTOCOLS {
        let mut it = connect(&it, protocol);
        let pairs: Vec<(String, u8)> = (0..1000).map(|n| (format!("user:{n}"), 1)).collect();
        TypedCommands::mset(&mut it, &pairs).unwrap();
        TypedCommands::set(&mut it, "other", "x").unwrap();
        let options = ScanOptions::default()
            .with_pattern("user:*")
            .with_count(100);
        let found: HashSet<String> = Commands::scan_options(&mut it, options)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(found, pairs.into_iter().map(|(key, _)| key).collect());
        let all: HashSet<String> = Commands::scan(&mut it)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(all.len(), 1001);
    }
}

fn messages_are_heard(setup: Setup) {
    let it = setup.start();
    let (mut listening, mut speaking) = (connect(&it, ""), connect(&it, ""));
    let mut listener = listening.as_pubsub();
    listener.subscribe("news").unwrap();
    listener.psubscribe("sport.*").unwrap();
    let heard: i64 = Commands::publish(&mut speaking, "news", b"a\0\xff").unwrap();
    assert_eq!(heard, 1);
    let message = listener.get_message().unwrap();
    assert_eq!(message.get_channel_name(), "news");
    assert_eq!(message.get_payload_bytes(), b"a\0\xff");
    let heard: i64 = Commands::publish(&mut speaking, "sport.chess", "e4").unwrap();
    assert_eq!(heard, 1);
    let message = listener.get_message().unwrap();
    assert_eq!(message.get_channel_name(), "sport.chess");
    assert_eq!(message.get_pattern::<String>().unwrap(), "sport.*");
    listener.unsubscribe("news").unwrap();
    let heard: i64 = Commands::publish(&mut speaking, "news", "nobody hears it").unwrap();
    assert_eq!(heard, 0);
}

fn in_a_runtime<T>(program: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(program)
}

fn one_connection_is_shared_by_tasks(setup: Setup) {
    let it = setup.start();
    for protocol in PROTOCOLS {
        let client = client(&it, protocol);
        let sum: i64 = in_a_runtime(async {
            let shared = client.get_multiplexed_async_connection().await.unwrap();
            let tasks = (0..100).map(|n| {
                let mut own = shared.clone();
                tokio::spawn(async move {
                    let key = format!("{protocol}:{n}");
                    let () = AsyncCommands::set(&mut own, &key, n).await.unwrap();
                    AsyncCommands::get::<_, i64>(&mut own, &key).await.unwrap()
                })
            });
            let mut sum = 0;
            for task in tasks.collect::<Vec<_>>() {
                sum += task.await.unwrap();
            }
            sum
        });
        assert_eq!(sum, 99 * 100 / 2);
    }
}

/// In RESP3 a connection goes on with commands while it is subscribed.
fn messages_are_pushed(setup: Setup) {
    let it = setup.start();
    let client = client(&it, "?protocol=resp3");
    in_a_runtime(async {
        let (sender, mut pushed) = tokio::sync::mpsc::unbounded_channel();
        let config = redis::AsyncConnectionConfig::new().set_push_sender(sender);
        let mut shared = client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .unwrap();
        shared.subscribe("news").await.unwrap();
        let heard: i64 = AsyncCommands::publish(&mut shared, "news", "rain")
            .await
            .unwrap();
        assert_eq!(heard, 1);
        loop {
            let push = tokio::time::timeout(Duration::from_secs(30), pushed.recv())
                .await
                .expect("a message comes")
                .unwrap();
            if push.kind == PushKind::Message {
                let data: Vec<Vec<u8>> =
                    redis::from_redis_value(redis::Value::Array(push.data)).unwrap();
                assert_eq!(data, [b"news".to_vec(), b"rain".to_vec()]);
                break;
            }
        }
    });
}
