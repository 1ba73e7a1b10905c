//! What a program that uses the fred crate does with its server.

use std::collections::HashSet;
use std::time::Duration;

use fred::prelude::*;
use fred::types::RespVersion;
use fred::types::scan::Scanner;
use futures_util::TryStreamExt;

use crate::harness::{Deployment, Setup, with_reference};

with_reference!(
    fred_reads_and_writes,
    fred_pipelines,
    fred_runs_transactions,
    fred_watches,
    fred_scans,
    fred_hears_messages,
);

/// A client that gives up rather than tries again.
async fn connect(it: &Deployment, version: RespVersion) -> Client {
    let addr = it.resp_addr();
    let (host, port) = addr.rsplit_once(':').unwrap();
    let config = Config {
        server: ServerConfig::new_centralized(host, port.parse().unwrap()),
        version,
        ..Config::default()
    };
    let client = Builder::from_config(config)
        .with_performance_config(|performance| {
            performance.default_command_timeout = Duration::from_secs(30);
        })
        .build()
        .unwrap();
    client.init().await.unwrap();
    client
}

/// Runs a program once over each protocol, the keys being gone.
fn over_both_protocols(setup: Setup, program: impl AsyncFn(&Deployment, RespVersion, Client)) {
    let it = setup.start();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    for version in [RespVersion::RESP2, RespVersion::RESP3] {
        runtime.block_on(async {
            let client = connect(&it, version.clone()).await;
            let () = client
                .custom(fred::cmd!("FLUSHDB"), Vec::<Value>::new())
                .await
                .unwrap();
            program(&it, version, client.clone()).await;
            client.quit().await.unwrap();
        });
    }
}

async fn set(client: &Client, key: &str, value: impl Into<Value>) {
    let () = client
        .set(key, value.into(), None, None, false)
        .await
        .unwrap();
}

fn fred_reads_and_writes(setup: Setup) {
    over_both_protocols(setup, async |_, _, client| {
        let pong: String = client.ping(None).await.unwrap();
        assert_eq!(pong, "PONG");
        let expiry = Some(Expiration::EX(1000));
        let () = client
            .set("key", &b"\0\xff"[..], expiry, None, false)
            .await
            .unwrap();
        let value: Vec<u8> = client.get("key").await.unwrap();
        assert_eq!(value, b"\0\xff");
        let ttl: i64 = client.ttl("key").await.unwrap();
        assert!((900..=1000).contains(&ttl), "{ttl}");
        let nothing: Option<String> = client.get("nosuch").await.unwrap();
        assert_eq!(nothing, None);
        let () = client.mset(vec![("a", 1), ("b", 2)]).await.unwrap();
        let many: Vec<Option<i64>> = client.mget(vec!["a", "nosuch", "b"]).await.unwrap();
        assert_eq!(many, [Some(1), None, Some(2)]);
        let count: i64 = client.incr_by("a", 41).await.unwrap();
        assert_eq!(count, 42);
        let float: f64 = client.incr_by_float("f", 0.25).await.unwrap();
        assert_eq!(float, 0.25);
        let length: i64 = client.append("b", "!").await.unwrap();
        assert_eq!(length, 2);
        let last: String = client.getdel("b").await.unwrap();
        assert_eq!(last, "2!");
        let error = client.incr::<i64, _>("key").await.unwrap_err();
        assert!(error.details().contains("not an integer"), "{error}");
        let size: i64 = client.dbsize().await.unwrap();
        assert_eq!(size, 3);
    });
}

fn fred_pipelines(setup: Setup) {
    over_both_protocols(setup, async |_, _, client| {
        let pipeline = client.pipeline();
        for n in 0..100 {
            let () = pipeline
                .set(format!("key:{n}"), n, None, None, false)
                .await
                .unwrap();
            let () = pipeline.get(format!("key:{n}")).await.unwrap();
        }
        let answers: Vec<Value> = pipeline.all().await.unwrap();
        let values: Vec<i64> = answers
            .into_iter()
            .skip(1)
            .step_by(2)
            .map(|value| value.convert().unwrap())
            .collect();
        assert_eq!(values, (0..100).collect::<Vec<i64>>());
    });
}

fn fred_runs_transactions(setup: Setup) {
    over_both_protocols(setup, async |_, _, client| {
        let transaction = client.multi();
        let () = transaction.set("key", 1, None, None, false).await.unwrap();
        let () = transaction.incr("key").await.unwrap();
        let () = transaction.get("key").await.unwrap();
        let answers: (String, i64, String) = transaction.exec(true).await.unwrap();
        assert_eq!(answers, ("OK".to_owned(), 2, "2".to_owned()));
    });
}

fn fred_watches(setup: Setup) {
    over_both_protocols(setup, async |it, version, client| {
        let other = connect(it, version).await;
        set(&client, "key", "1").await;
        client.watch("key").await.unwrap();
        set(&other, "key", "2").await;
        let transaction = client.multi();
        let () = transaction
            .set("key", "mine", None, None, false)
            .await
            .unwrap();
        let answer: Value = transaction.exec(true).await.unwrap();
        assert!(answer.is_null(), "{answer:?}");
        let value: String = client.get("key").await.unwrap();
        assert_eq!(value, "2");

        client.watch("key").await.unwrap();
        let transaction = client.multi();
        let () = transaction
            .set("key", "mine", None, None, false)
            .await
            .unwrap();
        let answers: Vec<String> = transaction.exec(true).await.unwrap();
        assert_eq!(answers, ["OK"]);
        other.quit().await.unwrap();
    });
}

fn fred_scans(setup: Setup) {
    over_both_protocols(setup, async |_, _, client| {
        let pairs: Vec<(String, i64)> = (0..1000).map(|n| (format!("user:{n}"), n)).collect();
        let () = client.mset(pairs.clone()).await.unwrap();
        set(&client, "other", "x").await;
        let mut found = HashSet::new();
        let mut pages = client.scan("user:*", Some(100), None);
        while let Some(mut page) = pages.try_next().await.unwrap() {
            for key in page.take_results().unwrap_or_default() {
                found.insert(key.into_string().unwrap());
            }
            page.next();
        }
        assert_eq!(found, pairs.into_iter().map(|(key, _)| key).collect());
    });
}

fn fred_hears_messages(setup: Setup) {
    over_both_protocols(setup, async |it, version, client| {
        let listener = connect(it, version).await;
        let mut messages = listener.message_rx();
        listener.subscribe("news").await.unwrap();
        let heard: i64 = client.publish("news", &b"a\0\xff"[..]).await.unwrap();
        assert_eq!(heard, 1);
        let message = tokio::time::timeout(Duration::from_secs(30), messages.recv())
            .await
            .expect("a message comes")
            .unwrap();
        assert_eq!(message.channel, "news");
        assert_eq!(message.value.into_owned_bytes().unwrap(), b"a\0\xff");
        listener.unsubscribe("news").await.unwrap();
        let heard: i64 = client.publish("news", "nobody hears it").await.unwrap();
        assert_eq!(heard, 0);
        listener.quit().await.unwrap();
    });
}
