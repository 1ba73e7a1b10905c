//! More than can be done: what is served, what is refused, and what is said.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Conn, Deployment, RaiseAtEnd, Reply, Setup, encode, eventually, pg};

/// Together they have three times as many writes under way as the shard does in the bound on the queue.
const CLIENTS: usize = 12;
const DEPTH: usize = 1000;
const WAIT_MAX_MS: &str = "300";

/// A shard whose statements of writes take a tenth of a second, however many rows they have: 512 at most.
fn slow_shard(wait_max_ms: &str) -> Deployment {
    let it = Setup::postgres()
        .shards(1)
        .env("MAX_QUEUE_WAIT_MS", wait_max_ms)
        .start();
    let slow = "
        create function slow() returns trigger language plpgsql as
            $$ begin perform pg_sleep(0.1); return null; end $$;
        create trigger slow after insert on respgres_rows for each statement execute function slow();";
    pg(&it.urls()[0]).unwrap().batch_execute(slow).unwrap();
    let began = Instant::now();
    it.conn().set("slow", "value");
    assert!(began.elapsed() >= Duration::from_millis(100));
    it
}

/// What a client was told of its writes.
#[derive(Default)]
struct Told {
    acknowledged: BTreeSet<String>,
    refused: BTreeSet<String>,
    texts: BTreeSet<String>,
}

/// Sends SETs of what `pair` makes for each place in each round, a pipeline after the other, until `stop`. `told` learns
/// what became of each.
fn pipelines(
    addr: &str,
    stop: &AtomicBool,
    pair: impl Fn(usize, usize) -> (String, String),
    mut told: impl FnMut(String, String, Reply),
) {
    let mut conn = Conn::open(addr);
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let pairs: Vec<_> = (0..DEPTH).map(|place| pair(round, place)).collect();
        let mut pipeline = Vec::new();
        for (key, value) in &pairs {
            pipeline.extend(encode(&[b"SET", key.as_bytes(), value.as_bytes()]));
        }
        conn.send(&pipeline);
        for (key, value) in pairs {
            told(key, value, conn.read());
        }
    }
}

/// Writes keys of its own.
fn flood(addr: &str, client: usize, stop: &AtomicBool, refused: &AtomicU64) -> Told {
    let mut told = Told::default();
    let pair = |round, place| {
        let key = format!("flood:{client}:{round}:{place}");
        (key, "value".to_owned())
    };
    pipelines(addr, stop, pair, |key, _, reply| match reply {
        Reply::Simple(ok) if ok == "OK" => {
            told.acknowledged.insert(key);
        }
        Reply::Error(text) => {
            refused.fetch_add(1, Ordering::Relaxed);
            told.refused.insert(key);
            told.texts.insert(text);
        }
        other => panic!("{other:?}"),
    });
    told
}

fn counter(it: &Deployment, name: &str) -> u64 {
    let text = it.http().get("/metrics").text();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("respgres_{name}_total ")));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

#[test]
fn what_waits_too_long_is_refused_and_not_done_and_the_rest_is_served_as_fast_as_before() {
    let it = slow_shard(WAIT_MAX_MS);
    let addr = it.resp_addr();
    let (stop, refused) = (AtomicBool::new(false), AtomicU64::new(0));
    let told: Vec<Told> = thread::scope(|scope| {
        let _end = RaiseAtEnd(&stop);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (addr, stop, refused) = (&addr, &stop, &refused);
                scope.spawn(move || flood(addr, client, stop, refused))
            })
            .collect();
        eventually("the shard is overloaded", || {
            (refused.load(Ordering::Relaxed) > 5000).then_some(())
        });
        let batches = counter(&it, "shard_write_batches");
        let writes = counter(&it, "shard_writes");
        eventually("many batches have left", || {
            (counter(&it, "shard_write_batches") > batches + 10).then_some(())
        });
        // Read in this order, so that the ratio errs on the low side.
        let writes = counter(&it, "shard_writes") - writes;
        let batches = counter(&it, "shard_write_batches") - batches;
        stop.store(true, Ordering::Relaxed);
        assert!(
            writes >= batches * 450,
            "the shard had less to do than it can: {writes} writes in {batches} batches"
        );
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect()
    });

    // What comes once it is over is served.
    let mut conn = it.conn();
    conn.set("after", "value");
    for Told {
        acknowledged,
        refused,
        texts,
    } in told
    {
        for text in texts {
            assert!(
                text.starts_with(
                    "BUSY shard_0 is overloaded: its write queue gets more than can be done"
                ) && text.contains("MAX_QUEUE_WAIT_MS")
                    && text.ends_with("nothing was done, try again later"),
                "{text}"
            );
        }
        assert_eq!(existing(&mut conn, &acknowledged), acknowledged.len());
        assert_eq!(existing(&mut conn, &refused), 0);
    }
}

/// How many of the keys exist.
fn existing(conn: &mut Conn, keys: &BTreeSet<String>) -> usize {
    let keys: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes()).collect();
    let count = |keys: &[&[u8]]| {
        let words: Vec<&[u8]> = [b"EXISTS".as_slice()]
            .into_iter()
            .chain(keys.iter().copied())
            .collect();
        conn.cmd(&words).int() as usize
    };
    keys.chunks(10_000).map(count).sum()
}

/// Writes one key; returns the value that was acknowledged last.
fn overwrite(addr: &str, key: &str, stop: &AtomicBool, refused: &AtomicU64) -> Option<String> {
    let mut last = None;
    let pair = |round, place| (key.to_owned(), format!("{round}:{place}"));
    pipelines(addr, stop, pair, |_, value, reply| {
        if reply.is_error() {
            refused.fetch_add(1, Ordering::Relaxed);
        } else {
            last = Some(value);
        }
    });
    last
}

#[test]
fn writes_of_one_key_keep_their_order_where_some_are_refused() {
    let it = slow_shard(WAIT_MAX_MS);
    let addr = it.resp_addr();
    let (stop, refused) = (AtomicBool::new(false), AtomicU64::new(0));
    let last: Vec<(String, Option<String>)> = thread::scope(|scope| {
        let _end = RaiseAtEnd(&stop);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (addr, stop, refused) = (&addr, &stop, &refused);
                let key = format!("overwritten:{client}");
                scope.spawn(move || {
                    let last = overwrite(addr, &key, stop, refused);
                    (key, last)
                })
            })
            .collect();
        eventually("the shard is overloaded", || {
            (refused.load(Ordering::Relaxed) > 5000).then_some(())
        });
        stop.store(true, Ordering::Relaxed);
        let join = |client: thread::ScopedJoinHandle<'_, _>| client.join().unwrap();
        clients.into_iter().map(join).collect()
    });
    let mut conn = it.conn();
    for (key, last) in last {
        let found = conn
            .get(&key)
            .map(|value| String::from_utf8(value).unwrap());
        assert_eq!(found, last, "{key}");
    }
}

#[test]
fn over_http_it_is_503_with_retry_after() {
    // Nobody waits for room.
    let it = slow_shard("1");
    let addr = it.resp_addr();
    let (stop, refused) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let _end = RaiseAtEnd(&stop);
        for client in 0..CLIENTS {
            let (addr, stop, refused) = (&addr, &stop, &refused);
            scope.spawn(move || flood(addr, client, stop, refused));
        }
        let answer = eventually("a write over HTTP is refused", || {
            let answer = it.http().write("key", "value");
            (answer.status != 200).then_some(answer)
        });
        stop.store(true, Ordering::Relaxed);
        let detail = answer.expect_detail(503);
        assert!(detail.starts_with("shard_0 is overloaded"), "{detail}");
        assert_eq!(answer.header("retry-after"), Some("1"));
    });
    it.http().write("key", "value").expect(200);
}

#[test]
fn large_requests_of_all_clients_share_a_bounded_memory() {
    const MIB: usize = 1 << 20;
    let it = Setup::embedded()
        .env("MAX_REQUEST_SIZE", "16777216")
        .env("MAX_REQUEST_MEMORY", "16777216")
        .start();
    let value = vec![b'x'; 10 * MIB];
    let request = encode(&[b"SET", b"large", &value]);
    let (mut one, mut other) = (it.conn(), it.conn());
    one.send(&request[..5 * MIB]);
    let refusal = eventually("the first has taken its part", || {
        other.send(&request);
        Some(other.read()).filter(Reply::is_error)
    });
    assert!(
        refusal.error().starts_with("BUSY the memory for large requests of all clients is taken (16777216 bytes, MAX_REQUEST_MEMORY)"),
        "{refusal}"
    );
    // The connection goes on, and small requests are served.
    other.set("small", "value");
    one.send(&request[5 * MIB..]);
    assert_eq!(one.read(), "+OK");
    eventually("there is room again", || {
        other.send(&request);
        (other.read() == "+OK").then_some(())
    });
}
