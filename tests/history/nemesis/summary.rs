//! What a run comes to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::PROXIES;
use super::availability::{Gap, Gaps};
use super::cluster::Reads;
use super::judge::{Finding, JUDGE};
use super::storm::{Happened, Record};
use crate::checker::Nanos;

/// Counts of a run.
#[derive(Default)]
pub struct Summary {
    pub seed: u64,
    pub length: Duration,
    pub rounds: usize,
    pub operations: u64,
    pub once: u64,
    pub violations: usize,
    pub errors: BTreeMap<&'static str, u64>,
    pub faults: BTreeMap<&'static str, u64>,
    pub gaps: Gaps,
    /// Of each proxy.
    pub reads: Vec<Reads>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}, {} s, {} rounds",
            self.seed,
            self.length.as_secs(),
            self.rounds
        )?;
        writeln!(
            f,
            "  operations     {}, {} keys written once",
            self.operations, self.once
        )?;
        writeln!(f, "  violations     {}", self.violations)?;
        writeln!(f, "  faults         {}", counts(&self.faults))?;
        writeln!(f, "  errors         {}", counts(&self.errors))?;
        let reads: Vec<String> = self.reads.iter().map(of_cache).collect();
        writeln!(f, "  cache          {}", reads.join(", "))?;
        writeln!(f, "  longest times without success:")?;
        writeln!(f, "    undisturbed  {}", gap(&self.gaps.undisturbed))?;
        writeln!(f, "    recovery     {}", gap(&self.gaps.recovery))?;
        write!(f, "    cache unused {}", gap(&self.gaps.cache_unused))
    }
}

fn counts(counts: &BTreeMap<&'static str, u64>) -> String {
    let total: u64 = counts.values().sum();
    let each: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    format!("{total}: {}", each.join(", "))
}

fn of_cache(reads: &Reads) -> String {
    format!("{} hits {} misses", reads.hits, reads.misses)
}

fn gap(gap: &Gap) -> String {
    format!(
        "{:.2} s ({}, until {:.1} s)",
        gap.length as f64 / 1e9,
        gap.place,
        gap.end as f64 / 1e9
    )
}

/// How long before a violation faults are told of: it may have been laid some time before it was seen.
const LAID: Nanos = 10_000_000_000;

/// Tells of a finding, with the faults about that time.
pub fn describe(finding: &Finding, record: &Record) -> String {
    match finding {
        Finding::Lost(key) => format!("an acknowledged write is lost: {key}"),
        Finding::Misplaced(key) => format!("a row is on another shard than its own: {key}"),
        Finding::NotLinearizable { key, violation } => {
            let at = violation.at.answer.unwrap_or(violation.at.call);
            let faults = record.between(at.saturating_sub(LAID), at);
            let faults: Vec<String> = faults.iter().map(Happened::to_string).collect();
            format!(
                "{key} is not linearizable (client n is at proxy n % {PROXIES}, {JUDGE} asks all): {violation}  faults until then:\n{}",
                faults.join("\n")
            )
        }
    }
}
