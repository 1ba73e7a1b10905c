//! What is seen while it goes on: a bar on a terminal, else a line every few seconds; on standard error.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

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
    done: u64,
    begun: Instant,
    last: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Begins; `expected` is how much there will be, about.
    pub fn begin(what: &'static str, unit: Unit, expected: Option<u64>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = match expected {
                Some(expected) => ProgressBar::new(expected),
                None => ProgressBar::no_length(),
            };
            bar.set_style(style(unit, expected.is_some()));
            bar.set_message(what);
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        let now = Instant::now();
        Self {
            what,
            unit,
            expected,
            done: 0,
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
                eprintln!("{}", self.line(self.begun.elapsed()));
            }
            None => {}
        }
    }

    fn line(&self, elapsed: Duration) -> String {
        let rate = self.done as f64 / elapsed.as_secs_f64().max(0.001);
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

fn style(unit: Unit, has_length: bool) -> ProgressStyle {
    let template = match (unit, has_length) {
        (Unit::Keys, true) => {
            "{msg} [{bar:30}] {human_pos}/{human_len} keys, {per_sec}, {eta} left"
        }
        (Unit::Keys, false) => "{msg} {spinner} {human_pos} keys, {per_sec}",
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
        let mut progress = Progress::begin("import", Unit::Keys, Some(1000));
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
    fn every_template_can_be_read() {
        for template in [(Unit::Keys, true), (Unit::Keys, false), (Unit::Bytes, true)] {
            style(template.0, template.1);
        }
    }
}
