//! Rounds: each has keys of its own, so that what was recorded of one can be judged and forgotten while the next is
//! under way. A run of any length takes the memory of two rounds.

use std::collections::{BTreeMap, HashMap};

use super::client::Client;
use super::cluster::Cluster;
use super::{SHARDS, sql};
use crate::checker::{Op, Violation, check};
use crate::harness::{key_on, shard_of};
use crate::workload::{Answer, Clock, Command, observed, value_in};

/// Keys of a round on each shard. Few: everything happens to the same ones.
const KEYS: usize = 2;

/// The keys of one round.
pub struct Round {
    pub number: usize,
    /// By shard.
    pub keys: Vec<Vec<String>>,
}

impl Round {
    pub fn new(number: usize) -> Round {
        let keys_on = |shard| {
            (0..KEYS)
                .map(|key| key_on(shard, SHARDS, &format!("round:{number}:{key}")))
                .collect()
        };
        Round {
            number,
            keys: (0..SHARDS).map(keys_on).collect(),
        }
    }
}

/// What one client recorded in a round.
#[derive(Default)]
pub struct Log {
    pub round: usize,
    pub histories: HashMap<String, Vec<Op>>,
    /// Keys that were written once, by writes that were acknowledged, with their values.
    pub once: Vec<(String, String)>,
    pub operations: u64,
    pub errors: BTreeMap<&'static str, u64>,
}

/// Something that must not be.
pub enum Finding {
    /// A key's history is not that of a register.
    NotLinearizable {
        key: String,
        violation: Box<Violation>,
    },
    /// An acknowledged write is not on its shard.
    Lost(String),
    /// A row is on a shard that it does not belong to.
    Misplaced(String),
}

/// Who the readers after a round are, in what is printed.
pub const JUDGE: usize = 99;

/// Judges rounds. What was written once is looked for when its round is over, and again a round later.
pub struct Judge<'a> {
    pub cluster: &'a Cluster,
    pub clock: Clock,
    once_before: Vec<(String, String)>,
}

impl<'a> Judge<'a> {
    pub fn new(cluster: &'a Cluster, clock: Clock) -> Judge<'a> {
        Judge {
            cluster,
            clock,
            once_before: Vec::new(),
        }
    }

    /// Judges a round from what all its clients recorded; none of them uses its keys any more.
    pub fn judge(&mut self, round: &Round, logs: Vec<Log>) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut histories: HashMap<String, Vec<Op>> = HashMap::new();
        let mut once = Vec::new();
        for log in logs {
            for (key, history) in log.histories {
                histories.entry(key).or_default().extend(history);
            }
            once.extend(log.once);
        }
        for (shard, keys) in round.keys.iter().enumerate() {
            for key in keys {
                let mut history = histories.remove(key).unwrap_or_default();
                history.extend(self.read_through_proxies(key));
                history.extend(self.read_on_shards(key, shard, &mut findings));
                if let Err(violation) = check(&history) {
                    findings.push(Finding::NotLinearizable {
                        key: key.clone(),
                        violation,
                    });
                }
            }
        }
        findings.extend(self.lost(&once));
        let before = std::mem::replace(&mut self.once_before, once);
        findings.extend(self.lost(&before));
        for (shard, url) in self.cluster.urls.iter().enumerate() {
            sql::forget(url, &on_shard(&before, shard));
        }
        findings
    }

    /// What is still to be looked at a second time, at the end.
    pub fn finish(&mut self) -> Vec<Finding> {
        let before = std::mem::take(&mut self.once_before);
        self.lost(&before)
    }

    /// An old value may have been left in the cache: each proxy is asked.
    fn read_through_proxies(&self, key: &str) -> Vec<Op> {
        let reads = self.cluster.nodes.iter().filter_map(|node| {
            let mut client = Client::new(node);
            let call = self.clock.now();
            let answer = if client.connect() {
                client.run(key, Command::Get).answer
            } else {
                Answer::Unknown("refused")
            };
            observed(JUDGE, Command::Get, &answer, call, self.clock.now())
        });
        reads.collect()
    }

    /// What is on the shard in the end must be explained as well.
    fn read_on_shards(&self, key: &str, shard: usize, findings: &mut Vec<Finding>) -> Option<Op> {
        let call = self.clock.now();
        let rows = sql::live_rows(&self.cluster.urls, key);
        let end = self.clock.now();
        if rows.iter().any(|(on, _)| *on != shard) {
            findings.push(Finding::Misplaced(key.to_owned()));
        }
        let row = rows.into_iter().find(|(on, _)| *on == shard);
        let answer = Answer::Held(row.map(|(_, value)| value_in(&value)));
        observed(JUDGE, Command::Get, &answer, call, end)
    }

    fn lost(&self, once: &[(String, String)]) -> Vec<Finding> {
        let on_shards = self.cluster.urls.iter().enumerate();
        let missing = on_shards.flat_map(|(shard, url)| sql::missing(url, &on_shard(once, shard)));
        missing.map(Finding::Lost).collect()
    }
}

fn on_shard(once: &[(String, String)], shard: usize) -> Vec<(String, String)> {
    once.iter()
        .filter(|(key, _)| shard_of(key.as_bytes(), SHARDS) == shard)
        .cloned()
        .collect()
}
