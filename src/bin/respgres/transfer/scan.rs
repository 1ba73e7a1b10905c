//! A source that speaks RESP: a Redis, or a respgres.
//!
//! SCAN gives the keys, some of them twice. What was there all the time is among them as long as the server is the same
//! process: the cursor of another one leads nowhere, so then it starts anew. A respgres' cursor is the same for all its
//! processes.
//!
//! A key's value and expiry are asked for together, and not as one: who writes the key at that moment may be between them.
//! The check at the end sees that.

use std::collections::{HashSet, VecDeque};

use redis::{RedisError, Value};

use super::page::{PAGE_BYTES, PAGE_KEYS, Page, Position};
use super::record::Record;
use super::resp::Resp;
use crate::failure::{Failure, failure};
use crate::printing::tell;

/// Answers to a key's expiry: no such key, and never.
const ABSENT: i64 = -2;
const NEVER: i64 = -1;

pub struct Scan {
    pub resp: Resp,
    pattern: Option<String>,
    run_id: String,
    /// At which of its connections the server was asked who it is.
    asked_at: u64,
    is_respgres: bool,
    /// PEXPIRETIME is there from Redis 7 on; before that it is PTTL.
    has_expiretime: bool,
    cursor: u64,
    is_over: bool,
    /// Keys that SCAN has given, in groups of which each makes a page.
    groups: VecDeque<Group>,
}

#[derive(Default)]
struct Group {
    keys: Vec<Vec<u8>>,
    others: Vec<(Vec<u8>, String)>,
    gone: u64,
    position: Option<Position>,
}

impl Scan {
    /// All keys of a server, or those that match.
    pub async fn open(resp: Resp, pattern: Option<String>) -> Result<Self, Failure> {
        let server = resp.server().await?;
        let probe = resp
            .one(|pipeline| {
                pipeline.cmd("PEXPIRETIME").arg("");
            })
            .await?;
        Ok(Self {
            pattern,
            run_id: server.run_id,
            asked_at: resp.connections(),
            is_respgres: server.is_respgres,
            has_expiretime: probe.is_ok(),
            resp,
            cursor: 0,
            is_over: false,
            groups: VecDeque::new(),
        })
    }

    /// What the cursors belong to.
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// Keys, about.
    pub async fn expected(&self) -> Option<u64> {
        let answer = self.resp.one(|pipeline| {
            pipeline.cmd("DBSIZE");
        });
        match answer.await {
            Ok(Ok(Value::Int(keys))) if self.pattern.is_none() => u64::try_from(keys).ok(),
            _ => None,
        }
    }

    /// Goes on at `position`, or from the beginning. False if the position is one of another process, so that it is the
    /// beginning after all.
    pub fn rewind(&mut self, position: Option<&Position>) -> bool {
        self.groups.clear();
        self.is_over = false;
        self.cursor = 0;
        match position {
            Some(Position::Scan { run_id, cursor })
                if self.is_respgres || *run_id == self.run_id =>
            {
                self.cursor = *cursor;
                true
            }
            other => other.is_none(),
        }
    }

    /// The next page; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Page>, Failure> {
        loop {
            if let Some(group) = self.groups.pop_front() {
                return self.page(group).await.map(Some);
            }
            if self.is_over {
                return Ok(None);
            }
            self.scan().await?;
        }
    }

    async fn scan(&mut self) -> Result<(), Failure> {
        let cursor = self.cursor;
        let answer = self
            .resp
            .one(|pipeline| {
                pipeline.cmd("SCAN").arg(cursor).arg("COUNT").arg(PAGE_KEYS);
                if let Some(pattern) = &self.pattern {
                    pipeline.arg("MATCH").arg(pattern);
                }
            })
            .await?
            .map_err(|error| self.refusal("SCAN", &error))?;
        if self.resp.connections() != self.asked_at {
            // Asked after the answer: whichever connection gave that, this one came later or is the same.
            self.asked_at = self.resp.connections();
            let server = self.resp.server().await?;
            if server.run_id != self.run_id && !self.is_respgres {
                tell(&format!(
                    "{} was started again, so that its cursors are void: beginning anew",
                    self.resp.label()
                ));
                self.run_id = server.run_id;
                self.cursor = 0;
                return Ok(());
            }
            self.run_id = server.run_id;
        }
        let (next, keys): (u64, Vec<Vec<u8>>) = redis::from_redis_value(answer)
            .map_err(|error| failure(format!("{}: SCAN: {error}", self.resp.label())))?;
        let mut seen = HashSet::with_capacity(keys.len());
        let keys = keys
            .into_iter()
            .filter(|key| seen.insert(key.clone()))
            .collect();
        self.groups = self.grouped(keys).await?;
        self.cursor = next;
        self.is_over = next == 0;
        if let (Some(last), false) = (self.groups.back_mut(), self.is_over) {
            last.position = Some(Position::Scan {
                run_id: self.run_id.clone(),
                cursor: next,
            });
        }
        Ok(())
    }

    /// Groups the keys of strings so that each makes a page of a bounded size. At least one group.
    async fn grouped(&self, keys: Vec<Vec<u8>>) -> Result<VecDeque<Group>, Failure> {
        let lengths = self
            .resp
            .all(keys.len(), |pipeline, position| {
                pipeline.cmd("STRLEN").arg(&keys[position]);
            })
            .await?;
        let (mut groups, mut group, mut bytes) = (VecDeque::new(), Group::default(), 0);
        let mut others = Vec::new();
        for (key, length) in keys.into_iter().zip(lengths) {
            let length = match length {
                Ok(Value::Int(length)) => usize::try_from(length).unwrap_or(0),
                Err(error) if error.code() == Some("WRONGTYPE") => {
                    others.push(key);
                    continue;
                }
                Ok(other) => return Err(failure(format!("STRLEN: {other:?}"))),
                Err(error) => return Err(self.refusal("STRLEN", &error)),
            };
            if bytes + length > PAGE_BYTES && !group.keys.is_empty() {
                groups.push_back(std::mem::take(&mut group));
                bytes = 0;
            }
            bytes += length;
            group.keys.push(key);
        }
        let types = self
            .resp
            .all(others.len(), |pipeline, position| {
                pipeline.cmd("TYPE").arg(&others[position]);
            })
            .await?;
        for (key, name) in others.into_iter().zip(types) {
            match name {
                Ok(Value::SimpleString(name)) if name == "none" => group.gone += 1,
                // Written as a string a moment ago.
                Ok(Value::SimpleString(name)) if name == "string" => group.keys.push(key),
                Ok(Value::SimpleString(name)) => group.others.push((key, name)),
                _ => group.others.push((key, "unknown".to_owned())),
            }
        }
        groups.push_back(group);
        Ok(groups)
    }

    async fn page(&self, group: Group) -> Result<Page, Failure> {
        let asked = (group.keys.len() + group.others.len()) as u64 + group.gone;
        let records = self.read(&group.keys).await?;
        let found: Vec<Record> = records.into_iter().flatten().collect();
        Ok(Page {
            gone: group.gone + (group.keys.len() - found.len()) as u64,
            records: found,
            others: group.others,
            amount: asked,
            position: group.position,
            ..Page::default()
        })
    }

    /// What `keys` have now, in their order; `None` for one that is not there, or is no string.
    pub async fn read(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Record>>, Failure> {
        read(&self.resp, keys, self.has_expiretime).await
    }

    fn refusal(&self, command: &str, error: &RedisError) -> Failure {
        failure(format!("{}: {command}: {error}", self.resp.label()))
    }
}

/// What `keys` have now on a server, in their order. With or without PEXPIRETIME.
pub async fn read(
    resp: &Resp,
    keys: &[Vec<u8>],
    has_expiretime: bool,
) -> Result<Vec<Option<Record>>, Failure> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let answers = resp
        .all(keys.len() + 2, |pipeline, position| match position {
            0 => {
                pipeline.cmd("MGET").arg(keys);
            }
            1 => {
                match has_expiretime {
                    // Something that is answered in its place.
                    true => pipeline.cmd("PING"),
                    false => pipeline.cmd("TIME"),
                };
            }
            position => {
                let command = match has_expiretime {
                    true => "PEXPIRETIME",
                    false => "PTTL",
                };
                pipeline.cmd(command).arg(&keys[position - 2]);
            }
        })
        .await?;
    let unexpected =
        |what: &str, answer: String| failure(format!("{}: {what}: {answer}", resp.label()));
    let mut answers = answers.into_iter();
    let values: Vec<Option<Vec<u8>>> = match answers.next() {
        Some(Ok(values)) => redis::from_redis_value(values)
            .map_err(|error| unexpected("MGET", error.to_string()))?,
        Some(Err(error)) => return Err(unexpected("MGET", error.to_string())),
        None => Vec::new(),
    };
    let base = match answers.next() {
        Some(Ok(time)) if !has_expiretime => {
            let (seconds, micros): (u64, u64) = redis::from_redis_value(time)
                .map_err(|error| unexpected("TIME", error.to_string()))?;
            seconds * 1000 + micros / 1000
        }
        _ => 0,
    };
    let mut records = Vec::with_capacity(keys.len());
    for ((key, value), expiry) in keys.iter().zip(values).zip(answers) {
        let expires_at = match expiry {
            Ok(Value::Int(ABSENT)) => {
                records.push(None);
                continue;
            }
            Ok(Value::Int(NEVER)) => None,
            Ok(Value::Int(millis)) => Some(base + u64::try_from(millis).unwrap_or(0)),
            Ok(other) => return Err(unexpected("the expiry", format!("{other:?}"))),
            Err(error) => return Err(unexpected("the expiry", error.to_string())),
        };
        records.push(value.map(|value| Record {
            key: key.clone(),
            value,
            expires_at,
        }));
    }
    Ok(records)
}
