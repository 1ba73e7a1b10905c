//! What was counted, and what it says in the end.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::record::shown;

/// Keys of a kind that are named; the others are only counted.
const NAMED_MAX: usize = 10;

/// Counts of a transfer.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Keys read.
    pub read: u64,
    /// Keys written.
    pub written: u64,
    /// Keys that were there already, and were left alone (`--if-absent`).
    pub kept: u64,
    /// Keys that went between being named and being read.
    pub gone: u64,
    /// Rows without a key or a value.
    pub nulls: u64,
    /// Rows with the key of another row, and lines with that of a later one.
    pub duplicates: u64,
    /// Keys of other types than string, by type.
    pub others: BTreeMap<String, u64>,
    /// Keys that the target refused.
    pub refused: u64,
    /// The first of the others, and of the refused, with what is the matter.
    pub named: Vec<String>,
    /// Milliseconds that it took, all runs together.
    pub millis: u64,
}

/// What the check found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Findings {
    /// Keys that are the same on both sides.
    pub same: u64,
    /// Keys that were written or changed at the source meanwhile, and were copied again.
    pub again: u64,
    /// Keys that are different since the target's were left alone (`--if-absent`).
    pub kept: u64,
    /// Keys that went, or expired, meanwhile.
    pub gone: u64,
    /// Keys that change so fast that they were different each time.
    pub changing: u64,
    /// Keys that are not at the target.
    pub missing: u64,
    /// Keys that are different at the target.
    pub different: u64,
    /// The first of the missing and the different.
    pub named: Vec<String>,
    /// Milliseconds that it took.
    pub millis: u64,
}

impl Tally {
    pub fn other(&mut self, key: &[u8], kind: &str) {
        *self.others.entry(kind.to_owned()).or_default() += 1;
        self.name(format!("{} is of type {kind}", shown(key)));
    }

    pub fn refused(&mut self, key: &[u8], reason: &str) {
        self.refused += 1;
        self.name(format!("{} was refused: {reason}", shown(key)));
    }

    /// Adds the refusals of a part.
    pub fn take_refused(&mut self, part: Tally) {
        self.refused += part.refused;
        part.named.into_iter().for_each(|text| self.name(text));
    }

    fn name(&mut self, text: String) {
        if self.named.len() < NAMED_MAX {
            self.named.push(text);
        }
    }

    /// Whether keys were left out because of their type.
    pub fn has_others(&self) -> bool {
        !self.others.is_empty()
    }

    /// Lines for people.
    pub fn lines(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, count: u64, always: bool| {
            if always || count > 0 {
                // Writing to a String does not fail.
                let _ = writeln!(text, "  {name:<32} {count}");
            }
        };
        line("read", self.read, true);
        line("written", self.written, true);
        line("there already, left alone", self.kept, false);
        line("expired or deleted meanwhile", self.gone, false);
        line("rows without key or value", self.nulls, false);
        line("with the key of another", self.duplicates, false);
        for (kind, count) in &self.others {
            line(&format!("left out: of type {kind}"), *count, true);
        }
        line("refused by the target", self.refused, false);
        for named in &self.named {
            let _ = writeln!(text, "    {named}");
        }
        let _ = writeln!(text, "  {}", rate(self.read, self.millis));
        text
    }
}

impl Findings {
    pub fn missing(&mut self, key: &[u8]) {
        self.missing += 1;
        self.name(format!("{} is missing", shown(key)));
    }

    pub fn different(&mut self, key: &[u8]) {
        self.different += 1;
        self.name(format!("{} is different", shown(key)));
    }

    /// Adds why keys could not be written.
    pub fn reasons(&mut self, refusals: Tally) {
        refusals.named.into_iter().for_each(|text| self.name(text));
    }

    fn name(&mut self, text: String) {
        if self.named.len() < NAMED_MAX {
            self.named.push(text);
        }
    }

    fn checked(&self) -> u64 {
        self.same
            + self.again
            + self.kept
            + self.gone
            + self.changing
            + self.missing
            + self.different
    }

    /// Lines for people.
    pub fn lines(&self) -> String {
        let mut text = String::from("checked\n");
        let mut line = |name: &str, count: u64, always: bool| {
            if always || count > 0 {
                let _ = writeln!(text, "  {name:<32} {count}");
            }
        };
        line("the same", self.same, true);
        line("changed meanwhile, copied again", self.again, false);
        line("different, left alone", self.kept, false);
        line("expired or deleted meanwhile", self.gone, false);
        line("changing all the time", self.changing, false);
        line("different", self.different, false);
        line("missing", self.missing, true);
        for named in &self.named {
            let _ = writeln!(text, "    {named}");
        }
        let _ = writeln!(text, "  {}", rate(self.checked(), self.millis));
        text
    }
}

/// `12.3 s, 45678 keys/s`.
fn rate(keys: u64, millis: u64) -> String {
    let seconds = Duration::from_millis(millis).as_secs_f64();
    let rate = keys as f64 / seconds.max(0.001);
    format!("{seconds:.1} s, {rate:.0} keys/s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_are_named_and_all_are_counted() {
        let mut tally = Tally::default();
        for number in 0..100 {
            tally.other(format!("h{number}").as_bytes(), "hash");
        }
        tally.refused(b"big", "too large");
        assert_eq!((tally.others["hash"], tally.refused), (100, 1));
        assert_eq!(tally.named.len(), NAMED_MAX);
        let text = tally.lines();
        assert!(
            text.contains("of type hash") && text.contains("100"),
            "{text}"
        );
        assert!(text.contains("\"h0\" is of type hash"), "{text}");
    }
}
