//! One case on both servers.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::case::{CONNECTIONS, Case, Sent, line};
use crate::compare::{self, PAGES_MAX, name, scanned};
use crate::differences::{After, Pair, meant};
use crate::harness::encode;
use crate::servers::{Backend, Servers};
use crate::wire::{Client, Frame};

/// Two connections to each of the two servers.
pub struct Sessions<'a> {
    servers: &'a Servers,
    began: Instant,
    sessions: [Session; 2],
    /// A third connection, to look at what there is.
    observer: [Client; 2],
}

/// A connection to each, and what it has begun.
struct Session {
    reference: Client,
    ours: Client,
    /// The commands that an EXEC would execute, if there is a MULTI.
    queued: Option<Vec<Sent>>,
    /// Keys that were absent when they were watched.
    watched_absent: Vec<Vec<u8>>,
}

impl Session {
    /// Sends to the reference, to what is tested, or to both.
    fn send(&mut self, bytes: &[u8], to: [bool; 2]) {
        let clients = [&mut self.reference, &mut self.ours];
        for (client, _) in clients
            .into_iter()
            .zip(to)
            .filter(|(_, is_meant)| *is_meant)
        {
            client.send(bytes);
        }
    }

    /// Waits for what else was sent, so that it does not come about during the next case.
    fn pass_over(&mut self, replies: usize, stepped: [bool; 2]) {
        let clients = [&mut self.reference, &mut self.ours];
        for (client, _) in clients
            .into_iter()
            .zip(stepped)
            .filter(|(_, is_stepped)| !is_stepped)
        {
            for _reply in 0..replies {
                client.read().ok();
            }
        }
    }
}

/// Whether a case goes on.
type Outcome = Result<After, String>;

/// Runs a case; an error says what differs.
pub fn run(servers: &Servers, case: &Case) -> Result<(), String> {
    let mut sessions = Sessions::open(servers);
    let outcome = sessions.clear(case).and_then(|()| sessions.all(case));
    if outcome != Ok(After::Same) {
        // They may hold what is not the same.
        sessions.on_both(&[b"FLUSHALL"])?;
    }
    outcome.map(|_| ())
}

impl Sessions<'_> {
    fn open(servers: &Servers) -> Sessions<'_> {
        let session = || Session {
            reference: servers.reference(),
            ours: servers.tested(),
            queued: None,
            watched_absent: Vec::new(),
        };
        Sessions {
            servers,
            began: Instant::now(),
            sessions: [session(), session()],
            observer: [servers.reference(), servers.tested()],
        }
    }

    /// One command on both of the observer's connections.
    fn on_both(&mut self, words: &[&[u8]]) -> Result<[Frame; 2], String> {
        let [reference, ours] = &mut self.observer;
        reference.send(&encode(words));
        ours.send(&encode(words));
        Ok([reference.read()?, ours.read()?])
    }

    /// Removes all keys. Not by FLUSHALL: it is slower, and a key that was deleted should be like one that never was.
    fn clear(&mut self, case: &Case) -> Result<(), String> {
        let mut keys: BTreeSet<Vec<u8>> = case.spread.keys().iter().cloned().collect();
        keys.extend(self.reference_keys()?);
        let words: Vec<&[u8]> = std::iter::once(&b"DEL"[..])
            .chain(keys.iter().map(Vec::as_slice))
            .collect();
        self.on_both(&words)?;
        if case.resp3 {
            for session in &mut self.sessions {
                for client in [&mut session.reference, &mut session.ours] {
                    let reply = client.call(&[b"HELLO", b"3"])?;
                    assert!(reply.error().is_none(), "HELLO 3: {reply}");
                }
            }
        }
        Ok(())
    }

    /// What the reference has. That removes what has expired, which it would still count.
    fn reference_keys(&mut self) -> Result<BTreeSet<Vec<u8>>, String> {
        let scan: &[&[u8]] = &[b"SCAN", b"0", b"COUNT", b"1000000"];
        if self.servers.backend == Backend::RedisItself {
            self.observer[1].call(scan)?;
        }
        let page = self.observer[0].call(scan)?;
        let (_cursor, keys) = scanned(&page).expect("a page");
        Ok(keys)
    }

    fn all(&mut self, case: &Case) -> Outcome {
        for (connection, commands) in case.sent() {
            if self.pipeline(connection, &commands)? == After::Apart {
                return Ok(After::Apart);
            }
        }
        self.same_state()?;
        Ok(After::Same)
    }

    fn pipeline(&mut self, connection: usize, commands: &[Sent]) -> Outcome {
        let encoded = |command: &Sent| {
            let words: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
            encode(&words)
        };
        let bytes: Vec<Vec<u8>> = commands.iter().map(encoded).collect();
        // Pipelined or not is all the same to Redis, but between two commands it can be looked at.
        let looked_at = commands.iter().any(is_looked_at);
        let stepped = [
            looked_at,
            looked_at && self.servers.backend == Backend::RedisItself,
        ];
        self.sessions[connection].send(&bytes.concat(), stepped.map(|stepped| !stepped));
        for (number, (command, bytes)) in commands.iter().zip(&bytes).enumerate() {
            if looked_at {
                if ["dbsize", "exec"].contains(&&*name(command)) {
                    self.reference_keys()?;
                }
                self.sessions[connection].send(bytes, stepped);
            }
            let session = &mut self.sessions[connection];
            let (reference, ours) = (session.reference.read(), session.ours.read());
            let outcome = self.replies(connection, command, reference, ours);
            if outcome != Ok(After::Same) {
                self.sessions[connection].pass_over(commands.len() - number - 1, stepped);
                return outcome;
            }
        }
        self.scans(connection, commands)
    }

    fn replies(
        &mut self,
        connection: usize,
        command: &Sent,
        reference: Result<Frame, String>,
        ours: Result<Frame, String>,
    ) -> Outcome {
        let (reference, ours) = match (reference, ours) {
            (Ok(reference), Ok(ours)) => (reference, ours),
            (Err(_), Err(_)) => return Ok(After::Apart),
            (reference, ours) => {
                let text = |side: Result<Frame, String>| {
                    side.map_or_else(|error| error, |reply| reply.to_string())
                };
                return Err(told(connection, command, &text(reference), &text(ours)));
            }
        };
        self.servers
            .count(name(command), reference.error().is_some());
        let queued = self.note(connection, command, &reference)?;
        let absent_throughout = self.absent_throughout(connection, command, &reference)?;
        let pair = Pair {
            words: command,
            queued: &queued,
            reference: &reference,
            ours: &ours,
            absent_throughout: &absent_throughout,
        };
        let after = match ours.bulk() {
            Some(key)
                if name(command) == "randomkey" && !self.absent(&[key.to_vec()])?.is_empty() =>
            {
                Err("\nthere is no such key".to_owned())
            }
            _ => self.judge(&pair),
        };
        after.map_err(|nested| {
            let text = told(
                connection,
                command,
                &reference.to_string(),
                &ours.to_string(),
            );
            format!("{text}{nested}")
        })
    }

    /// An error names the element that differs, if it is one of an EXEC.
    fn judge(&self, pair: &Pair) -> Outcome {
        if compare::same(pair.words, pair.reference, pair.ours, self.began.elapsed()) {
            return Ok(After::Same);
        }
        if let Some(after) = meant(pair) {
            return Ok(after);
        }
        let (Some(reference), Some(ours)) = (pair.reference.items(), pair.ours.items()) else {
            return Err(String::new());
        };
        let is_exec = name(pair.words) == "exec";
        let count = pair.queued.len();
        if !is_exec || reference.len() != count || ours.len() != count {
            return Err(String::new());
        }
        for ((words, reference), ours) in pair.queued.iter().zip(&reference).zip(&ours) {
            let element = Pair {
                words,
                queued: &[],
                reference,
                ours,
                ..*pair
            };
            match self.judge(&element) {
                Ok(After::Same) => {}
                Ok(After::Apart) => return Ok(After::Apart),
                Err(_) => {
                    return Err(format!(
                        "\nin it: {}\n  redis    {reference}\n  respgres {ours}",
                        line(words)
                    ));
                }
            }
        }
        Ok(After::Same)
    }

    /// Keeps account of MULTI and WATCH, by what the reference says. Returns what an EXEC executes.
    fn note(
        &mut self,
        connection: usize,
        command: &Sent,
        reference: &Frame,
    ) -> Result<Vec<Sent>, String> {
        let name = name(command);
        let absent = if name == "watch" && reference.is_status("OK") {
            self.absent(&command[1..])?
        } else {
            Vec::new()
        };
        let session = &mut self.sessions[connection];
        session.watched_absent.extend(absent);
        if reference.is_status("QUEUED") {
            session.queued.get_or_insert_default().push(command.clone());
        } else if name == "multi" && reference.is_status("OK") {
            session.queued = Some(Vec::new());
        } else if name == "exec" || name == "discard" || name == "reset" {
            // A wrong number of words leaves the transaction as it is.
            let goes_on = reference
                .error()
                .is_some_and(|error| error.starts_with(b"ERR"));
            if !goes_on {
                return Ok(session.queued.take().unwrap_or_default());
            }
        }
        Ok(Vec::new())
    }

    /// The keys that the reference does not have.
    fn absent(&mut self, keys: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, String> {
        let mut absent = Vec::new();
        for key in keys {
            if self.observer[0].call(&[b"EXISTS", key])?.integer() == Some(0) {
                absent.push(key.clone());
            }
        }
        Ok(absent)
    }

    fn absent_throughout(
        &mut self,
        connection: usize,
        command: &Sent,
        reference: &Frame,
    ) -> Result<Vec<Vec<u8>>, String> {
        // EXEC without MULTI leaves what is watched as it is.
        let is_done = reference
            .error()
            .is_none_or(|error| !error.starts_with(b"ERR"));
        let ends_watch = ["exec", "discard", "unwatch", "reset"].contains(&&*name(command));
        if !ends_watch || !is_done || self.sessions[connection].queued.is_some() {
            return Ok(Vec::new());
        }
        let keys = std::mem::take(&mut self.sessions[connection].watched_absent);
        self.absent(&keys)
    }

    /// Follows the scans of a pipeline to their ends.
    fn scans(&mut self, connection: usize, commands: &[Sent]) -> Outcome {
        for command in commands {
            if name(command) == "scan" && self.sessions[connection].queued.is_none() {
                let [reference, ours] = &mut self.observer;
                let (reference, ours) = (scan(reference, command)?, scan(ours, command)?);
                if reference != ours {
                    let text = |keys: Option<BTreeSet<Vec<u8>>>| {
                        keys.map(|keys| line(&keys.into_iter().collect::<Vec<_>>()))
                            .unwrap_or_default()
                    };
                    return Err(told(connection, command, &text(reference), &text(ours)));
                }
            }
        }
        Ok(After::Same)
    }

    /// Fails unless both hold the same in the end.
    fn same_state(&mut self) -> Result<(), String> {
        let keys = self.reference_keys()?;
        let mut commands: Vec<Sent> = Vec::new();
        for key in keys {
            commands.push(vec![b"GET".to_vec(), key.clone()]);
            commands.push(vec![b"PTTL".to_vec(), key]);
        }
        commands.push(vec![b"DBSIZE".to_vec()]);
        let mut sent = Vec::new();
        for command in &commands {
            let words: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
            sent.extend(encode(&words));
        }
        let [reference, ours] = &mut self.observer;
        reference.send(&sent);
        ours.send(&sent);
        let replies: Result<Vec<(Frame, Frame)>, String> = commands
            .iter()
            .map(|_| Ok((reference.read()?, ours.read()?)))
            .collect();
        for (words, (reference, ours)) in commands.iter().zip(replies?) {
            let pair = Pair {
                words,
                queued: &[],
                reference: &reference,
                ours: &ours,
                absent_throughout: &[],
            };
            self.judge(&pair).map_err(|_| {
                let text = told(0, words, &reference.to_string(), &ours.to_string());
                format!("in the end, {text}")
            })?;
        }
        Ok(())
    }
}

fn is_looked_at(command: &Sent) -> bool {
    ["watch", "dbsize", "exec", "randomkey"].contains(&&*name(command))
}

/// All keys that a scan finds, or None if it is refused, or does not begin at the beginning.
fn scan(client: &mut Client, command: &Sent) -> Result<Option<BTreeSet<Vec<u8>>>, String> {
    if command.get(1).is_none_or(|cursor| cursor != b"0") {
        return Ok(None);
    }
    let mut found = BTreeSet::new();
    let mut cursor = b"0".to_vec();
    for _page in 0..PAGES_MAX {
        let mut words: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
        words[1] = &cursor;
        let reply = client.call(&words)?;
        let Some((next, keys)) = scanned(&reply) else {
            return Ok(None);
        };
        found.extend(keys);
        cursor = next;
        if cursor == b"0" {
            return Ok(Some(found));
        }
    }
    Err(format!(
        "not over after {PAGES_MAX} pages: {}",
        line(command)
    ))
}

fn told(connection: usize, command: &Sent, reference: &str, ours: &str) -> String {
    let name = CONNECTIONS[connection];
    format!(
        "{name}> {}\n  redis    {reference}\n  respgres {ours}",
        line(command)
    )
}
