//! LATENCY: the buffers of requests that took longer than `latency-monitor-threshold`, and the
//! histograms of all. <https://redis.io/docs/latest/operate/oss_and_stack/management/optimization/latency-monitor/>

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::Server;
use crate::command::control::Latency;
use crate::command::table::{COMMANDS, position};
use crate::metrics::process::unix_time;
use crate::resp::Reply;

/// Samples kept of each event, as in Redis.
const SAMPLES_MAX: usize = 160;

/// The one event there is.
const EVENT: &str = "command";

#[derive(Debug, Default)]
pub(super) struct LatencyMonitor {
    events: Mutex<BTreeMap<&'static str, Event>>,
}

#[derive(Debug, Default)]
struct Event {
    /// Seconds since the epoch, and milliseconds that it took; the earliest first, one a second.
    samples: VecDeque<(i64, i64)>,
    longest: i64,
}

impl LatencyMonitor {
    fn events(&self) -> MutexGuard<'_, BTreeMap<&'static str, Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that something took so long.
    pub(super) fn note(&self, took: Duration) {
        let now = unix_time().as_secs() as i64;
        let millis = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
        let mut events = self.events();
        let event = events.entry(EVENT).or_default();
        event.longest = event.longest.max(millis);
        match event.samples.back_mut() {
            Some((second, longest)) if *second == now => *longest = millis.max(*longest),
            _ => event.samples.push_back((now, millis)),
        }
        if event.samples.len() > SAMPLES_MAX {
            event.samples.pop_front();
        }
    }

    fn samples(&self, event: &[u8]) -> Vec<(i64, i64)> {
        let events = self.events();
        let named = events
            .iter()
            .find(|(name, _)| event.eq_ignore_ascii_case(name.as_bytes()));
        named.map_or_else(Vec::new, |(_, event)| {
            event.samples.iter().copied().collect()
        })
    }

    fn latest(&self) -> Reply {
        let events = self.events();
        let described = events.iter().filter_map(|(name, event)| {
            let (second, millis) = event.samples.back()?;
            Some(Reply::Array(vec![
                Reply::text(*name),
                Reply::Integer(*second),
                Reply::Integer(*millis),
                Reply::Integer(event.longest),
            ]))
        });
        Reply::Array(described.collect())
    }

    fn reset(&self, names: &[Bytes]) -> Reply {
        let mut events = self.events();
        let before = events.len();
        events.retain(|event, _| {
            let is_meant = |name: &Bytes| name.eq_ignore_ascii_case(event.as_bytes());
            !names.is_empty() && !names.iter().any(is_meant)
        });
        Reply::Integer((before - events.len()) as i64)
    }
}

impl Server {
    pub(super) fn latency(&self, asked: Latency) -> Reply {
        match asked {
            Latency::Latest => self.latencies.latest(),
            Latency::History(event) => {
                let pair = |(second, millis)| {
                    Reply::Array(vec![Reply::Integer(second), Reply::Integer(millis)])
                };
                let samples = self.latencies.samples(&event);
                Reply::Array(samples.into_iter().map(pair).collect())
            }
            Latency::Reset(events) => self.latencies.reset(&events),
            Latency::Graph(event) => graph(&event, &self.latencies.samples(&event)),
            Latency::Doctor => Reply::Verbatim(self.diagnosis()),
            Latency::Histogram(names) if names.is_empty() => self.histograms(0..COMMANDS.len()),
            Latency::Histogram(names) => {
                self.histograms(names.iter().filter_map(|name| position(name)))
            }
        }
    }

    fn histograms(&self, commands: impl Iterator<Item = usize>) -> Reply {
        let mut histograms = Vec::new();
        for command in commands {
            let times = self.statistics.of(self.engine.metrics(), command);
            if times.count() == 0 {
                continue;
            }
            let number = |number: u64| Reply::Integer(i64::try_from(number).unwrap_or(i64::MAX));
            let bounds = times.bounds().into_iter();
            let bounds = bounds.map(|(bound, count)| (number(bound), number(count)));
            let described = Reply::Map(vec![
                (Reply::text("calls"), number(times.count())),
                (Reply::text("histogram_usec"), Reply::Map(bounds.collect())),
            ]);
            histograms.push((Reply::text(COMMANDS[command].name), described));
        }
        Reply::Map(histograms)
    }

    fn diagnosis(&self) -> String {
        let threshold = self.config.latency_threshold_millis();
        if threshold == 0 {
            return "I'm sorry, Dave, I can't do that. Latency monitoring is disabled in this Redis instance. You may use \"CONFIG SET latency-monitor-threshold <milliseconds>.\" in order to enable it. If we weren't in a deep space mission I'd suggest to take a look at https://redis.io/topics/latency-monitor.\n".to_owned();
        }
        let samples = self.latencies.samples(EVENT.as_bytes());
        let longest = samples.iter().map(|(_, millis)| *millis).max();
        let Some(longest) = longest else {
            return format!(
                "Dave, no latency spike was observed during the lifetime of this Redis instance, not in the slightest bit: nothing took longer than {threshold} milliseconds.\n"
            );
        };
        let mut text = format!(
            "There were commands that took longer than {threshold} milliseconds, the longest {longest}. They wait for a shard or for Redis:\n\n"
        );
        for (shard, state) in self.engine.health().shards.iter().enumerate() {
            let state = state
                .as_ref()
                .map_or_else(|reason| reason.as_str(), |()| "up");
            // Writing to a String does not fail.
            let _ = writeln!(text, "- shard_{shard}: {state}");
        }
        let cache = if self.engine.health().cache_available {
            "up"
        } else {
            "down"
        };
        let _ = writeln!(
            text,
            "- the cache: {cache}\n\nSLOWLOG GET tells which commands they were."
        );
        text
    }
}

/// The samples as bars, the latest last.
fn graph(name: &[u8], samples: &[(i64, i64)]) -> Reply {
    let longest = samples.iter().map(|(_, millis)| *millis).max();
    let Some(longest) = longest else {
        let name = String::from_utf8_lossy(name);
        return Reply::Error(format!("ERR No samples available for event '{name}'"));
    };
    let shortest = samples.iter().map(|(_, millis)| *millis).min().unwrap_or(0);
    let mut text = format!("{EVENT} - high {longest} ms, low {shortest} ms\n");
    for (second, millis) in samples {
        let bar = "#".repeat(
            usize::try_from(60 * millis / longest.max(1))
                .unwrap_or(0)
                .max(1),
        );
        // Writing to a String does not fail.
        let _ = writeln!(text, "{second} {millis:>8} ms {bar}");
    }
    Reply::Verbatim(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_one_second_are_one() {
        let monitor = LatencyMonitor::default();
        for millis in [5, 9, 7] {
            monitor.note(Duration::from_millis(millis));
        }
        let samples = monitor.samples(b"COMMAND");
        assert!((1..=2).contains(&samples.len()), "{samples:?}");
        assert_eq!(samples.iter().map(|(_, millis)| *millis).max(), Some(9));
        assert_eq!(
            monitor.reset(&[Bytes::from_static(b"x")]),
            Reply::Integer(0)
        );
        assert_eq!(monitor.reset(&[]), Reply::Integer(1));
        assert!(monitor.samples(b"command").is_empty());
    }
}
