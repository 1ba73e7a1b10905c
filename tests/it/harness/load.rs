//! Clients that write without pause, and remember what was acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use super::resp::{Conn, Reply, args};

/// Key and value of every write that was answered with OK.
pub type Acknowledged = BTreeMap<String, String>;

/// Connections that each set new keys, eight at a time, until told to stop or disconnected.
pub struct Writers {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Acknowledged>>,
}

const DEPTH: usize = 8;

impl Writers {
    /// Starts `clients` of them; their keys start with `prefix`.
    pub fn start(addr: &str, clients: usize, prefix: &str) -> Writers {
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicUsize::new(0));
        let threads = (0..clients).map(|client| {
            let (stop, count) = (stop.clone(), count.clone());
            let mut conn = Conn::open(addr);
            let prefix = format!("{prefix}:{client}");
            std::thread::spawn(move || write_until_closed(&mut conn, &prefix, &stop, &count))
        });
        Writers {
            threads: threads.collect(),
            stop,
            count,
        }
    }

    /// How many writes have been acknowledged so far.
    pub fn acknowledged_so_far(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Tells them to stop, and collects what was acknowledged.
    pub fn finish(self) -> Acknowledged {
        self.stop.store(true, Ordering::Relaxed);
        let each = self
            .threads
            .into_iter()
            .map(|thread| thread.join().expect("a writer does not fail"));
        each.flatten().collect()
    }
}

fn write_until_closed(
    conn: &mut Conn,
    prefix: &str,
    stop: &AtomicBool,
    count: &AtomicUsize,
) -> Acknowledged {
    let mut acknowledged = Acknowledged::new();
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let sent: Vec<(String, String)> = (0..DEPTH)
            .map(|n| {
                (
                    format!("{prefix}:{round}:{n}"),
                    format!("value {round} {n}"),
                )
            })
            .collect();
        let commands: Vec<u8> = sent
            .iter()
            .flat_map(|(key, value)| set(key, value))
            .collect();
        if conn.try_send(&commands).is_err() {
            // What was answered before the connection went is still read below.
        }
        for (key, value) in sent {
            match conn.try_read() {
                Ok(Reply::Simple(text)) if text == "OK" => {
                    acknowledged.insert(key, value);
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Ok(Reply::Error(_)) => {}
                Ok(other) => panic!("not an answer to SET: {other}"),
                Err(_) => return acknowledged,
            }
        }
    }
    acknowledged
}

fn set(key: &str, value: &str) -> Vec<u8> {
    super::resp::encode(&args!["SET", key, value])
}
