//! Prometheus' text format: <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::fmt::{Display, Write};

use crate::metrics::Distribution;

/// Microseconds in a second.
const MICROS: u64 = 1_000_000;

/// What a number of a family means.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// It only grows.
    Counter,
    /// It is what it is now.
    Gauge,
}

/// Which of a distribution's bounds are told, each twice the one before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// The first one: a power of two.
    pub(super) first: u64,
    /// The last one.
    pub(super) last: u64,
    /// What the bounds are divided by, to have the unit of the name.
    unit: u64,
    /// What the sum is divided by.
    sum_unit: u64,
}

impl Bounds {
    /// Of times, in microseconds.
    pub(super) const fn of_times(first: u64, last: u64) -> Self {
        Self {
            first,
            last,
            unit: MICROS,
            sum_unit: 1000 * MICROS,
        }
    }

    /// Of sizes.
    pub(super) const fn of_sizes(first: u64, last: u64) -> Self {
        Self {
            first,
            last,
            unit: 1,
            sum_unit: 1,
        }
    }
}

/// Names and values.
pub(super) type Labels<'a> = &'a [(&'a str, &'a dyn Display)];

/// The text. Writing to a String does not fail.
#[derive(Debug, Default)]
pub(super) struct Exposition(String);

impl Exposition {
    /// Begins a family; its samples follow.
    pub(super) fn family(&mut self, name: &str, help: &str, kind: Kind) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        self.begin(name, help, kind)
    }

    /// Begins a family of histograms.
    pub(super) fn histograms(&mut self, name: &str, help: &str) -> Family<'_> {
        self.begin(name, help, "histogram")
    }

    fn begin(&mut self, name: &str, help: &str, kind: &str) -> Family<'_> {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family {
            text: &mut self.0,
            name: name.to_owned(),
        }
    }

    /// All that was written.
    pub(super) fn into_text(self) -> String {
        self.0
    }
}

/// The samples of one family.
pub(super) struct Family<'a> {
    text: &'a mut String,
    name: String,
}

impl Family<'_> {
    /// One number.
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: impl Display) -> &mut Self {
        self.line("", labels, None, value);
        self
    }

    /// One histogram.
    pub(super) fn histogram(
        &mut self,
        labels: Labels<'_>,
        bounds: Bounds,
        distribution: &Distribution,
    ) -> &mut Self {
        for (bound, below) in distribution.cumulative() {
            if (bounds.first..=bounds.last).contains(&bound) {
                let bound = fraction(bound, bounds.unit);
                self.line("_bucket", labels, Some(&bound), below);
            }
        }
        let count = distribution.count();
        self.line("_bucket", labels, Some("+Inf"), count);
        let sum = fraction(distribution.sum, bounds.sum_unit);
        self.line("_sum", labels, None, sum);
        self.line("_count", labels, None, count);
        self
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, le: Option<&str>, value: impl Display) {
        let Self { text, name } = self;
        let _ = write!(text, "{name}{suffix}");
        let mut separator = '{';
        let le = le.as_ref().map(|le| ("le", le as &dyn Display));
        for (label, value) in labels.iter().chain(&le) {
            let value = value.to_string();
            let value = value
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let _ = write!(text, "{separator}{label}=\"{value}\"");
            separator = ',';
        }
        if separator == ',' {
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
    }
}

/// A quotient as an exact decimal fraction; `unit` is a power of ten.
fn fraction(number: u64, unit: u64) -> String {
    let digits = unit.ilog10() as usize;
    let (whole, rest) = (number / unit, number % unit);
    if rest == 0 {
        return whole.to_string();
    }
    let rest = format!("{rest:0digits$}");
    format!("{whole}.{}", rest.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::Histogram;

    #[test]
    fn numbers_have_their_labels_escaped() {
        let mut text = Exposition::default();
        text.family("a_total", "Its \\ help", Kind::Counter)
            .sample(&[], 1)
            .sample(&[("x", &"a\"b\\c\nd"), ("y", &2)], 0.5);
        let expected = "# HELP a_total Its \\\\ help\n# TYPE a_total counter\n\
                        a_total 1\na_total{x=\"a\\\"b\\\\c\\nd\",y=\"2\"} 0.5\n";
        assert_eq!(text.into_text(), expected);
    }

    #[test]
    fn a_histogram_of_times_is_in_seconds_and_cumulative() {
        let histogram = Histogram::default();
        for micros in [1, 3, 4, 5, 9_000_000] {
            histogram.note_time(Duration::from_micros(micros));
        }
        let mut text = Exposition::default();
        text.histograms("t_seconds", "h").histogram(
            &[("k", &"v")],
            Bounds::of_times(2, 8),
            &histogram.read(),
        );
        let expected = "# HELP t_seconds h\n# TYPE t_seconds histogram\n\
                        t_seconds_bucket{k=\"v\",le=\"0.000002\"} 1\n\
                        t_seconds_bucket{k=\"v\",le=\"0.000004\"} 3\n\
                        t_seconds_bucket{k=\"v\",le=\"0.000008\"} 4\n\
                        t_seconds_bucket{k=\"v\",le=\"+Inf\"} 5\n\
                        t_seconds_sum{k=\"v\"} 9.000013\n\
                        t_seconds_count{k=\"v\"} 5\n";
        assert_eq!(text.into_text(), expected);
    }

    #[test]
    fn fractions_are_exact() {
        for (number, unit, expected) in [
            (0, 1000, "0"),
            (16_777_216, MICROS, "16.777216"),
            (1, 1000 * MICROS, "0.000000001"),
            (2_000_000, MICROS, "2"),
            (7, 1, "7"),
        ] {
            assert_eq!(fraction(number, unit), expected);
        }
    }
}
