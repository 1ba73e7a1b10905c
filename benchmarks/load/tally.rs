//! What came back, and how long it took.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Three digits: a percentile is right to one part in a thousand.
const SIGNIFICANT_DIGITS: u8 = 3;

pub(crate) struct Tally {
    counted_from: Instant,
    last_reply: Instant,
    operations: u64,
    /// GETs with a value, and without.
    found: u64,
    absent: u64,
    latencies_ns: Histogram<u64>,
}

impl Tally {
    /// What was due before `counted_from` is not counted.
    pub(crate) fn new(counted_from: Instant) -> Self {
        let mut latencies_ns = match Histogram::new(SIGNIFICANT_DIGITS) {
            Ok(histogram) => histogram,
            Err(error) => unreachable!("{SIGNIFICANT_DIGITS} digits: {error}"),
        };
        latencies_ns.auto(true);
        Self {
            counted_from,
            last_reply: counted_from,
            operations: 0,
            found: 0,
            absent: 0,
            latencies_ns,
        }
    }

    /// A reply to what was due, or sent, at `due`; `found` for a GET.
    pub(crate) fn count(&mut self, due: Instant, now: Instant, found: Option<bool>) {
        if due < self.counted_from {
            return;
        }
        self.last_reply = now;
        self.operations += 1;
        match found {
            Some(true) => self.found += 1,
            Some(false) => self.absent += 1,
            None => {}
        }
        let latency_ns = now.duration_since(due).as_nanos() as u64;
        // It grows by itself, so this can't fail.
        let _ = self.latencies_ns.record(latency_ns);
    }

    /// `end` is when the last request could be due; replies that came later still count, and so does their time.
    pub(crate) fn report(&self, end: Option<Instant>) -> Value {
        let last = end.map_or(self.last_reply, |end| end.max(self.last_reply));
        let took = last.duration_since(self.counted_from);
        let latencies = &self.latencies_ns;
        let at = |quantile| micros(latencies.value_at_quantile(quantile));
        json!({
            "operations": self.operations,
            "found": self.found,
            "absent": self.absent,
            "seconds": took.as_secs_f64(),
            "rate": self.operations as f64 / took.max(Duration::from_nanos(1)).as_secs_f64(),
            "latency_us": {
                "mean": latencies.mean() / 1e3,
                "p50": at(0.5),
                "p90": at(0.9),
                "p99": at(0.99),
                "p999": at(0.999),
                "max": micros(latencies.max()),
            },
        })
    }
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}
