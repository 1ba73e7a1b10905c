//! The control: a cache-aside as one would write it, under the same clients and the same checker. It must be caught;
//! if it is not, neither would a mistake of the proxy be.

use std::time::{Duration, Instant};

use crate::checker::{Op, check};
use crate::harness::{Conn, PostgresServer, RedisServer, args, pg};
use crate::workload::{Answer, Clock, Command, Workload, observed, value_in};

const CLIENTS: usize = 8;
const KEYS: usize = 2;

/// One client's connections to the database and to the cache.
struct CacheAside {
    database: postgres::Client,
    cache: Conn,
}

impl CacheAside {
    fn run(&mut self, key: &str, command: Command) -> Answer {
        match command {
            Command::Set(value) | Command::Write(value) => {
                let upsert = "insert into naive values ($1, $2) on conflict (key) do update set value = excluded.value";
                self.database
                    .execute(upsert, &[&key, &value.to_string()])
                    .unwrap();
                self.cache.cmd(&args!["DEL", key]);
                Answer::Stored
            }
            Command::Del => {
                let deleted = self
                    .database
                    .execute("delete from naive where key = $1", &[&key])
                    .unwrap();
                self.cache.cmd(&args!["DEL", key]);
                Answer::Removed(deleted > 0)
            }
            _ => Answer::Held(self.get(key).map(|value| value_in(&value))),
        }
    }

    fn get(&mut self, key: &str) -> Option<Vec<u8>> {
        if let Some(cached) = self.cache.get(key) {
            return Some(cached);
        }
        let row = self
            .database
            .query_opt("select value from naive where key = $1", &[&key])
            .unwrap()?;
        let value: String = row.get(0);
        self.cache.cmd(&args!["SETEX", key, "300", value]);
        Some(value.into_bytes())
    }
}

/// Lets all clients go on for a while; returns each key's history.
fn run(url: &str, redis: &RedisServer, workload: &Workload, round: usize) -> Vec<Vec<Op>> {
    let clock = Clock::start();
    let end = Instant::now() + Duration::from_secs(1);
    let of_client = |client: usize| {
        let mut store = CacheAside {
            database: pg(url).unwrap(),
            cache: redis.conn(),
        };
        let mut random = fastrand::Rng::with_seed((round * CLIENTS + client) as u64);
        let mut seen: Vec<Vec<Op>> = vec![Vec::new(); KEYS];
        while Instant::now() < end {
            let key = random.usize(0..KEYS);
            let command = match workload.any(&mut random) {
                Command::SetFor(..) | Command::SetIfAbsent(_) | Command::Swap(_) => continue,
                command => command,
            };
            let call = clock.now();
            let answer = store.run(&format!("{round}:{key}"), command);
            seen[key].extend(observed(client, command, &answer, call, clock.now()));
        }
        seen
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS)
            .map(|client| scope.spawn(move || of_client(client)))
            .collect();
        let mut histories = vec![Vec::new(); KEYS];
        for thread in threads {
            for (all, seen) in histories.iter_mut().zip(thread.join().unwrap()) {
                all.extend(seen);
            }
        }
        histories
    })
}

#[test]
fn a_plain_cache_aside_is_caught() {
    let url = PostgresServer::shared().create_database();
    let create = "create table naive (key text primary key, value text not null)";
    pg(&url).unwrap().batch_execute(create).unwrap();
    let redis = RedisServer::start();
    let workload = Workload::default();
    let violation = (0..20).find_map(|round| {
        let histories = run(&url, &redis, &workload, round);
        histories.iter().find_map(|history| check(history).err())
    });
    let violation = violation
        .expect("twenty seconds of a plain cache-aside without a violation that was found");
    println!("{violation}");
    PostgresServer::shared().drop_database(&url);
}
