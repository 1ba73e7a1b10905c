//! What is seen while it goes on: a bar on a terminal, else a line every few seconds; on standard error.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::printing::tell;

const LINE_EVERY: Duration = Duration::from_secs(5);

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Keys,
    Bytes,
}

pub struct Progress {
    what: &'static str,
    unit: Unit,
    expected: Option<u64>,
    /// What was done before it began; the rate is that of the rest.
    before: u64,
    done: u64,
    begun: Instant,
    last: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Begins; `expected` is how much there will be, about, and `before` what of that was done by an earlier run.
    pub fn begin(what: &'static str, unit: Unit, expected: Option<u64>, before: u64) -> Self {
        // What was expected is an estimate, and the source may have grown.
        let expected = expected.map(|expected| expected.max(before));
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = bar(unit, expected, before);
            bar.set_message(what);
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        let now = Instant::now();
        Self {
            what,
            unit,
            expected,
            before,
            done: before,
            begun: now,
            last: now,
            bar,
        }
    }

    pub fn add(&mut self, amount: u64) {
        self.done += amount;
        match &self.bar {
            Some(bar) => {
                bar.inc(amount);
                // What was expected is an estimate, and the source may grow.
                if self.expected.is_some_and(|expected| self.done > expected) {
                    bar.set_length(self.done);
                }
            }
            None if self.last.elapsed() >= LINE_EVERY => {
                self.last = Instant::now();
                tell(&self.line(self.begun.elapsed()));
            }
            None => {}
        }
    }

    fn line(&self, elapsed: Duration) -> String {
        let rate = (self.done - self.before) as f64 / elapsed.as_secs_f64().max(0.001);
        let unit = match self.unit {
            Unit::Keys => "keys",
            Unit::Bytes => "bytes",
        };
        let mut line = format!("{}: {}", self.what, self.done);
        if let Some(expected) = self.expected.filter(|expected| *expected >= self.done) {
            let left = (expected - self.done) as f64 / rate.max(0.001);
            line.push_str(&format!(
                " of about {expected} {unit}, {rate:.0}/s, {left:.0} s left"
            ));
        } else {
            line.push_str(&format!(" {unit}, {rate:.0}/s"));
        }
        line
    }

    /// Takes the bar away.
    pub fn end(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A bar at `before`, with a rate that begins there.
fn bar(unit: Unit, expected: Option<u64>, before: u64) -> ProgressBar {
    let bar = match expected {
        Some(expected) => ProgressBar::new(expected),
        None => ProgressBar::no_length(),
    };
    bar.set_style(style(unit, expected.is_some()));
    if before > 0 {
        // It takes what it has not seen yet for progress, so it is shown that, and the rate begins after it.
        bar.set_position(before);
        bar.tick();
        bar.reset_eta();
    }
    bar
}

fn style(unit: Unit, has_length: bool) -> ProgressStyle {
    let template = match (unit, has_length) {
        (Unit::Keys, true) => {
            "{msg} [{bar:30}] {human_pos}/{human_len} keys, {per_sec:0}, {eta} left"
        }
        (Unit::Keys, false) => "{msg} {spinner} {human_pos} keys, {per_sec:0}",
        (Unit::Bytes, _) => "{msg} [{bar:30}] {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left",
    };
    // A template that can't be read would show the default bar.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_rate_and_the_time_left() {
        let mut progress = Progress::begin("import", Unit::Keys, Some(1000), 0);
        progress.bar = None;
        progress.done = 200;
        assert_eq!(
            progress.line(Duration::from_secs(2)),
            "import: 200 of about 1000 keys, 100/s, 8 s left"
        );
        progress.done = 2000;
        assert_eq!(
            progress.line(Duration::from_secs(2)),
            "import: 2000 keys, 1000/s"
        );
    }

    #[test]
    fn what_an_earlier_run_did_counts_and_is_no_part_of_the_rate() {
        let mut progress = Progress::begin("import", Unit::Keys, Some(1000), 600);
        progress.bar = None;
        progress.add(200);
        assert_eq!(
            progress.line(Duration::from_secs(2)),
            "import: 800 of about 1000 keys, 100/s, 2 s left"
        );
        let bar = bar(Unit::Keys, Some(1000), 600);
        assert_eq!((bar.position(), bar.length()), (600, Some(1000)));
        bar.tick();
        assert!(bar.per_sec() < f64::MIN_POSITIVE, "{}", bar.per_sec());
        bar.inc(1);
        bar.tick();
        assert!(bar.per_sec() > 0.0);
        // The table was said to have fewer rows than were read already.
        let grown = Progress::begin("import", Unit::Keys, Some(500), 600);
        assert_eq!(grown.expected, Some(600));
    }

    #[test]
    fn every_template_can_be_read() {
        for template in [(Unit::Keys, true), (Unit::Keys, false), (Unit::Bytes, true)] {
            style(template.0, template.1);
        }
    }
}
