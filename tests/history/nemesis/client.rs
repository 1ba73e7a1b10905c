//! One client: connections to one proxy, made again when they are gone, and what each answer means.

use std::time::Duration;

use super::cluster::{Node, Ports};
use crate::checker::Value;
use crate::harness::{Conn, Http, NoReply, Reply, args, encode};
use crate::workload::{Answer, Command, FOREIGN, value_in};

/// Longer than any answer takes that is still to come; a fault may last for some seconds.
const PATIENCE: Duration = Duration::from_secs(15);

/// A client of a proxy.
pub struct Client<'a> {
    node: &'a Node,
    ports: Ports,
    conn: Option<Conn>,
    http: Http,
}

/// An answer, and whether it is known to have come from the cache.
pub struct Outcome {
    pub answer: Answer,
    pub is_hit: bool,
}

impl<'a> Client<'a> {
    pub fn new(node: &'a Node) -> Client<'a> {
        let ports = node.ports();
        Client {
            node,
            conn: None,
            http: Http::with_limit(&ports.http, PATIENCE),
            ports,
        }
    }

    /// Makes the connection if there is none; false if it can't be made.
    pub fn connect(&mut self) -> bool {
        let ports = self.node.ports();
        if ports != self.ports {
            self.http = Http::with_limit(&ports.http, PATIENCE);
            self.ports = ports;
            self.conn = None;
        }
        if self.conn.is_none() {
            self.conn = Conn::try_open(&self.ports.resp);
        }
        if let Some(conn) = &self.conn {
            conn.set_limit(PATIENCE);
        }
        self.conn.is_some()
    }

    /// Runs a command on a key; the connection is made.
    pub fn run(&mut self, key: &str, command: Command) -> Outcome {
        let words = match command {
            Command::Read => return self.read(key),
            Command::Write(value) => {
                return Outcome {
                    answer: self.write(key, value),
                    is_hit: false,
                };
            }
            Command::Get => vec!["GET".to_owned(), key.to_owned()],
            Command::Del => vec!["DEL".to_owned(), key.to_owned()],
            Command::Set(value) => set(key, value, &[]),
            Command::SetIfAbsent(value) => set(key, value, &["NX"]),
            Command::Swap(value) => set(key, value, &["GET"]),
            Command::SetFor(value, ttl) => set(key, value, &["PX", &ttl.as_millis().to_string()]),
        };
        let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
        Outcome {
            answer: self.answer(&words),
            is_hit: false,
        }
    }

    /// SET of any value; true once it was acknowledged.
    pub fn set(&mut self, key: &str, value: &str) -> Answer {
        self.answer(&args!["SET", key, value])
    }

    /// MGET: what each key held.
    pub fn get_all(&mut self, keys: &[String]) -> Vec<Answer> {
        let words: Vec<&[u8]> = std::iter::once("MGET")
            .chain(keys.iter().map(String::as_str))
            .map(str::as_bytes)
            .collect();
        match self.reply(&words) {
            Ok(Reply::Array(items)) => {
                assert_eq!(items.len(), keys.len(), "an answer for each key");
                let held = |item: Reply| Answer::Held(item.value().map(|value| value_in(&value)));
                items.into_iter().map(held).collect()
            }
            Ok(Reply::Error(text)) => vec![meaning(&text); keys.len()],
            Ok(other) => panic!("not an answer to MGET: {other}"),
            Err(unknown) => vec![unknown; keys.len()],
        }
    }

    /// MSET of keys that are all on one shard, where it is atomic.
    pub fn set_all(&mut self, pairs: &[(&String, Value)]) -> Answer {
        let mut words = vec!["MSET".to_owned()];
        for (key, value) in pairs {
            words.extend([(*key).clone(), value.to_string()]);
        }
        let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
        self.answer(&words)
    }

    fn reply(&mut self, words: &[&[u8]]) -> Result<Reply, Answer> {
        let conn = self.conn.as_mut().expect("the connection is made");
        let reply = match conn.try_send(&encode(words)) {
            Ok(()) => conn.try_read(),
            Err(_) => Err(NoReply::Closed),
        };
        reply.map_err(|silence| {
            self.conn = None;
            Answer::Unknown(match silence {
                NoReply::Closed => "closed",
                NoReply::TimedOut => "silent",
            })
        })
    }

    fn answer(&mut self, words: &[&[u8]]) -> Answer {
        match self.reply(words) {
            Ok(Reply::Simple(text)) if text == "OK" => Answer::Stored,
            Ok(Reply::Bulk(bytes)) => Answer::Held(Some(value_in(&bytes))),
            // A SET with a condition, which does not ask for the value, says so when it was refused.
            Ok(Reply::Null(_)) if words.contains(&&b"NX"[..]) => Answer::Refused,
            Ok(Reply::Null(_)) => Answer::Held(None),
            Ok(Reply::Int(count)) => Answer::Removed(count == 1),
            Ok(Reply::Error(text)) => meaning(&text),
            Ok(other) => panic!("not an answer to {words:?}: {other}"),
            Err(unknown) => unknown,
        }
    }

    fn write(&self, key: &str, value: Value) -> Answer {
        let body = serde_json::json!({"key": key, "value": value.to_string()}).to_string();
        match self.http.try_post("/write", body.as_bytes()) {
            Some((200, _)) => Answer::Stored,
            Some((503, body)) => {
                let body = String::from_utf8_lossy(&body);
                if body.contains("nothing was") {
                    Answer::NotDone("HTTP 503")
                } else if body.contains("may or may not have happened") {
                    Answer::Unknown("HTTP 503")
                } else {
                    panic!("it does not say what became of the write: {body}")
                }
            }
            Some((status, body)) => panic!("{status}: {}", String::from_utf8_lossy(&body)),
            None => Answer::Unknown("HTTP closed"),
        }
    }

    fn read(&mut self, key: &str) -> Outcome {
        let (answer, is_hit) = match self.http.try_get(&format!("/read/{key}")) {
            Some((200, body)) => {
                let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
                let value = body["value"]
                    .as_str()
                    .map_or(FOREIGN, |value| value_in(value.as_bytes()));
                (Answer::Held(Some(value)), body["from_cache"] == true)
            }
            Some((404, _)) => (Answer::Held(None), false),
            Some((503, _)) => (Answer::NotDone("HTTP 503"), false),
            Some((status, body)) => panic!("{status}: {}", String::from_utf8_lossy(&body)),
            None => (Answer::Unknown("HTTP closed"), false),
        };
        Outcome { answer, is_hit }
    }
}

/// `SET` with options.
fn set(key: &str, value: Value, options: &[&str]) -> Vec<String> {
    let words = ["SET", key, &value.to_string()].map(str::to_owned);
    words
        .into_iter()
        .chain(options.iter().map(|option| (*option).to_owned()))
        .collect()
}

/// The errors that faults bring about, and what each promises.
fn meaning(error: &str) -> Answer {
    match error.split(' ').next().unwrap_or_default() {
        "SHARDDOWN" => Answer::NotDone("SHARDDOWN"),
        "SHARDERR" => Answer::NotDone("SHARDERR"),
        "BUSY" => Answer::NotDone("BUSY"),
        "SHUTDOWN" => Answer::NotDone("SHUTDOWN"),
        "UNKNOWNOUTCOME" => Answer::Unknown("UNKNOWNOUTCOME"),
        _ => panic!("no fault explains this answer: {error}"),
    }
}
