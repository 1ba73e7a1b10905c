//! Many clients at once: no torn or foreign value, no step back in time, one winner where there can be only one.

use std::collections::HashMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::{Conn, RaiseAtEnd, Setup, args, with_reference};

with_reference!(
    a_hundred_clients_on_one_key_never_see_time_go_back,
    a_hundred_clients_on_keys_of_their_own_see_only_their_own_values,
    a_hundred_clients_on_few_keys_end_with_a_last_write,
    of_many_set_nx_exactly_one_wins,
    of_many_deletes_exactly_one_counts,
    set_get_hands_each_old_value_to_one_client,
);

const CLIENTS: usize = 100;

/// Runs a function in as many threads as there are clients, each with a connection of its own, all at once.
fn at_once<T: Send>(
    addr: &str,
    clients: usize,
    run: impl Fn(usize, &mut Conn) -> T + Sync,
) -> Vec<T> {
    let start = Barrier::new(clients);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|client| {
                let (start, run) = (&start, &run);
                scope.spawn(move || {
                    let mut conn = Conn::open(addr);
                    start.wait();
                    run(client, &mut conn)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

/// A value that tells its writer and number, and whose tail shows whether it is whole.
fn value(writer: usize, number: usize) -> String {
    let tail = format!("-{writer}:{number}").repeat(1 + (writer * 7 + number) % 60);
    format!("{writer}:{number}{tail}")
}

/// The writer and the number of a value; panics if it is not exactly what that writer wrote.
#[track_caller]
fn writer_and_number(read: &[u8]) -> (usize, usize) {
    let text = str::from_utf8(read).unwrap();
    let head = text.split('-').next().unwrap();
    let (writer, number) = head.split_once(':').unwrap();
    let (writer, number) = (writer.parse().unwrap(), number.parse().unwrap());
    assert_eq!(text, value(writer, number), "a torn value");
    (writer, number)
}

fn a_hundred_clients_on_one_key_never_see_time_go_back(setup: Setup) {
    let it = setup.start();
    const ROUNDS: usize = 20;
    it.conn().set("key", value(0, 0));
    at_once(&it.resp_addr(), CLIENTS, |client, conn| {
        // What this client has read or written of each writer, at least.
        let mut seen: HashMap<usize, usize> = HashMap::new();
        for number in 1..=ROUNDS {
            if client % 4 == 0 {
                conn.set("key", value(client, number));
                seen.insert(client, number);
            }
            for _ in 0..3 {
                let (writer, number) = writer_and_number(&conn.get("key").unwrap());
                let least = seen.entry(writer).or_default();
                assert!(
                    number >= *least,
                    "writer {writer}'s number {number} was read after {least}"
                );
                *least = number;
            }
        }
    });
    let (_, number) = writer_and_number(&it.conn().get("key").unwrap());
    assert_eq!(
        number, ROUNDS,
        "what is left is the last write of the client that wrote it"
    );
}

fn a_hundred_clients_on_keys_of_their_own_see_only_their_own_values(setup: Setup) {
    let it = setup.start();
    at_once(&it.resp_addr(), CLIENTS, |client, conn| {
        for number in 0..30 {
            let key = format!("client:{client}:{}", number % 5);
            conn.set(&key, value(client, number));
            assert_eq!(
                writer_and_number(&conn.get(&key).unwrap()),
                (client, number)
            );
            assert_eq!(
                writer_and_number(&conn.get(&key).unwrap()),
                (client, number)
            );
        }
    });
    let mut conn = it.conn();
    assert_eq!(conn.run("DBSIZE").int(), 5 * CLIENTS as i64);
    for client in 0..CLIENTS {
        for slot in 0..5 {
            let read = conn.get(format!("client:{client}:{slot}")).unwrap();
            assert_eq!(writer_and_number(&read), (client, 25 + slot));
        }
    }
}

fn a_hundred_clients_on_few_keys_end_with_a_last_write(setup: Setup) {
    let it = setup.start();
    const KEYS: usize = 5;
    const ROUNDS: usize = 20;
    at_once(&it.resp_addr(), CLIENTS, |client, conn| {
        for number in 0..ROUNDS {
            for key in 0..KEYS {
                conn.set(format!("key:{key}"), value(client, number));
            }
        }
    });
    let mut conn = it.conn();
    for key in 0..KEYS {
        let key = format!("key:{key}");
        let (_, number) = writer_and_number(&conn.get(&key).unwrap());
        assert_eq!(number, ROUNDS - 1);
        if !it.is_redis_itself() {
            let shards = it.shards();
            let [shard] = shards.holding(key.as_bytes())[..] else {
                panic!("{key} is on one shard")
            };
            let stored = shards.value(shard, key.as_bytes());
            assert_eq!(
                stored,
                conn.get(&key),
                "the cache and the row agree when all is quiet"
            );
        }
    }
}

fn of_many_set_nx_exactly_one_wins(setup: Setup) {
    let it = setup.start();
    const KEYS: usize = 20;
    let wins = at_once(&it.resp_addr(), 40, |client, conn| {
        let value = client.to_string();
        let try_key = |key| conn.cmd(&args!["SET", format!("lock:{key}"), value, "NX"]) == "+OK";
        (0..KEYS).map(try_key).collect::<Vec<bool>>()
    });
    let mut conn = it.conn();
    for key in 0..KEYS {
        let winners: Vec<usize> = (0..wins.len())
            .filter(|client| wins[*client][key])
            .collect();
        assert_eq!(winners.len(), 1, "lock:{key} was won by {winners:?}");
        assert_eq!(
            conn.get(format!("lock:{key}")).unwrap(),
            winners[0].to_string().as_bytes()
        );
    }
}

fn of_many_deletes_exactly_one_counts(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    for n in 0..20 {
        conn.set(format!("key:{n}"), "value");
    }
    let counts = at_once(&it.resp_addr(), 40, |_, conn| {
        (0..20)
            .map(|n| conn.cmd(&args!["DEL", format!("key:{n}")]).int())
            .sum::<i64>()
    });
    assert_eq!(counts.iter().sum::<i64>(), 20);
    assert_eq!(conn.run("DBSIZE"), ":0");
}

fn set_get_hands_each_old_value_to_one_client(setup: Setup) {
    let it = setup.start();
    const ROUNDS: usize = 10;
    it.conn().set("baton", "start");
    let received = at_once(&it.resp_addr(), 40, |client, conn| {
        let swap = |round| {
            conn.cmd(&args!["SET", "baton", format!("{client}:{round}"), "GET"])
                .string()
        };
        (0..ROUNDS).map(swap).collect::<Vec<String>>()
    });
    let mut received: Vec<String> = received.into_iter().flatten().collect();
    received.push(String::from_utf8(it.conn().get("baton").unwrap()).unwrap());
    let mut expected: Vec<String> = (0..40)
        .flat_map(|client| (0..ROUNDS).map(move |round| format!("{client}:{round}")))
        .collect();
    expected.push("start".to_owned());
    received.sort();
    expected.sort();
    assert_eq!(received, expected, "each value is taken over exactly once");
}

#[test]
fn clients_of_two_proxies_never_see_time_go_back() {
    let it = Setup::postgres().start();
    let other = it.builder().start();
    let addrs = [it.resp_addr(), other.resp_addr().to_owned()];
    const ROUNDS: usize = 40;
    for key in 0..3 {
        it.conn().set(format!("key:{key}"), value(0, 0));
    }
    at_once(&addrs[0], 40, |client, conn| {
        let mut conn = if client % 2 == 0 {
            conn
        } else {
            &mut Conn::open(&addrs[1])
        };
        let conn = &mut conn;
        let mut seen: HashMap<(usize, usize), usize> = HashMap::new();
        for number in 1..=ROUNDS {
            for key in 0..3 {
                let name = format!("key:{key}");
                if client < 8 {
                    conn.set(&name, value(client, number));
                    seen.insert((key, client), number);
                }
                let (writer, number) = writer_and_number(&conn.get(&name).unwrap());
                let least = seen.entry((key, writer)).or_default();
                assert!(
                    number >= *least,
                    "{name}: writer {writer}'s number {number} was read after {least}"
                );
                *least = number;
            }
        }
    });
}

/// Commands that do nothing to an absent key must not undo what another proxy writes at that moment.
#[test]
fn a_command_on_an_absent_key_leaves_what_another_proxy_just_wrote() {
    const ROUNDS: usize = 150;
    let it = Setup::postgres().shards(1).start();
    let other = it.builder().start();
    for idle in ["EXPIRE lost 1000", "PERSIST lost", "SET lost x XX EX 1000"] {
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _end = RaiseAtEnd(&is_done);
            let busy = scope.spawn(|| {
                let mut conn = Conn::open(other.resp_addr());
                while !is_done.load(Ordering::Relaxed) {
                    conn.run(idle);
                }
            });
            let mut conn = it.conn();
            let mut lost = 0;
            for round in 0..ROUNDS {
                assert_eq!(conn.run(&format!("SET lost {round}")), "+OK");
                lost += usize::from(conn.run("EXISTS lost") != ":1");
                conn.run("DEL lost");
            }
            is_done.store(true, Ordering::Relaxed);
            busy.join().unwrap();
            assert_eq!(lost, 0, "acknowledged writes were undone by {idle}");
        });
    }
}
