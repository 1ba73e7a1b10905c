//! What came back, and how long it took.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Three digits: a percentile is right to one part in a thousand.
const SIGNIFICANT_DIGITS: u8 = 3;

pub(crate) struct Tally {
    counted_from: Instant,
    /// Replies that come later are not counted; none: all are.
    counted_until: Option<Instant>,
    last_reply: Instant,
    operations: u64,
    /// GETs with a value, and without.
    found: u64,
    absent: u64,
    refused: u64,
    latencies_ns: Histogram<u64>,
    /// From sending a request to its reply; of those that were served.
    served_ns: Histogram<u64>,
}

/// What a reply says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Found,
    Absent,
    Done,
    Refused,
}

/// When a request was due and sent, and when its reply came.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) due: Instant,
    pub(crate) sent: Instant,
    pub(crate) now: Instant,
}

impl Tally {
    /// What was due before `counted_from` is not counted. With `counted_until`, instead, what is counted is the replies
    /// that come between the two: in the steady state of a server that is overloaded, however long it takes to
    /// answer what is under way at the end.
    pub(crate) fn new(counted_from: Instant, counted_until: Option<Instant>) -> Self {
        Self {
            counted_from,
            counted_until,
            last_reply: counted_from,
            operations: 0,
            found: 0,
            absent: 0,
            refused: 0,
            latencies_ns: histogram(),
            served_ns: histogram(),
        }
    }

    /// A reply. One that says no is counted by itself.
    pub(crate) fn count(&mut self, Times { due, sent, now }: Times, answer: Answer) {
        let is_counted = match self.counted_until {
            Some(until) => self.counted_from <= now && now < until,
            None => self.counted_from <= due,
        };
        if !is_counted {
            return;
        }
        self.last_reply = now;
        match answer {
            Answer::Refused => {
                self.refused += 1;
                return;
            }
            Answer::Found => self.found += 1,
            Answer::Absent => self.absent += 1,
            Answer::Done => {}
        }
        self.operations += 1;
        let latency_ns = now.duration_since(due).as_nanos() as u64;
        // It grows by itself, so this can't fail.
        let _ = self.latencies_ns.record(latency_ns);
        let _ = self
            .served_ns
            .record(now.duration_since(sent).as_nanos() as u64);
    }

    /// `end` is when the last request could be due; replies that came later still count, and so does their time.
    pub(crate) fn report(&self, end: Option<Instant>) -> Value {
        let last = end.map_or(self.last_reply, |end| end.max(self.last_reply));
        let took = last.duration_since(self.counted_from);
        json!({
            "operations": self.operations,
            "found": self.found,
            "absent": self.absent,
            "refused": self.refused,
            "seconds": took.as_secs_f64(),
            "rate": self.operations as f64 / took.max(Duration::from_nanos(1)).as_secs_f64(),
            "latency_us": summary(&self.latencies_ns),
            "served_us": summary(&self.served_ns),
        })
    }
}

fn histogram() -> Histogram<u64> {
    let mut histogram = match Histogram::new(SIGNIFICANT_DIGITS) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("{SIGNIFICANT_DIGITS} digits: {error}"),
    };
    histogram.auto(true);
    histogram
}

fn summary(latencies: &Histogram<u64>) -> Value {
    let at = |quantile| micros(latencies.value_at_quantile(quantile));
    json!({
        "mean": latencies.mean() / 1e3,
        "p50": at(0.5),
        "p90": at(0.9),
        "p99": at(0.99),
        "p999": at(0.999),
        "max": micros(latencies.max()),
    })
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}
