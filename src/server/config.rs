//! CONFIG: what there is to be told, and what can be changed while the server runs.
//! <https://redis.io/docs/latest/commands/config-get/>

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::bounds::InForce;
use super::mailbox::{LONG, LONG_PART};
use super::{Server, Settings, acl_log};
use crate::command::control::Config;
use crate::command::glob;
use crate::resp::Reply;

/// The settings that can be changed.
#[derive(Debug)]
pub(super) struct Adjustable {
    slowlog_micros: AtomicI64,
    slowlog_entries_max: AtomicI64,
    latency_millis: AtomicI64,
    timeout_seconds: AtomicI64,
}

impl Default for Adjustable {
    fn default() -> Self {
        Self {
            slowlog_micros: AtomicI64::new(10_000),
            slowlog_entries_max: AtomicI64::new(128),
            latency_millis: AtomicI64::new(0),
            timeout_seconds: AtomicI64::new(0),
        }
    }
}

impl Adjustable {
    /// The defaults, but for this time of silence after which a connection is closed; 0 is never.
    pub(super) fn with_timeout(timeout: Duration) -> Self {
        let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
        Self {
            timeout_seconds: AtomicI64::new(seconds),
            ..Self::default()
        }
    }

    /// Changes that time, as CONFIG SET does.
    pub(super) fn set_timeout(&self, timeout: Duration) {
        let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
        self.timeout_seconds.store(seconds, Ordering::Relaxed);
    }
}

/// One of them.
struct Parameter<'a> {
    name: &'static str,
    value: &'a AtomicI64,
    least: i64,
    most: i64,
}

impl Adjustable {
    fn parameters(&self) -> [Parameter<'_>; 4] {
        let parameter = |name, value, least, most| Parameter {
            name,
            value,
            least,
            most,
        };
        [
            parameter(
                "latency-monitor-threshold",
                &self.latency_millis,
                0,
                i64::MAX,
            ),
            parameter(
                "slowlog-log-slower-than",
                &self.slowlog_micros,
                -1,
                i64::MAX,
            ),
            parameter("slowlog-max-len", &self.slowlog_entries_max, 0, i64::MAX),
            parameter("timeout", &self.timeout_seconds, 0, i32::MAX.into()),
        ]
    }

    /// From how long on a command is slow; `None` if none ever is.
    pub(super) fn slow(&self) -> Option<Duration> {
        let micros = self.slowlog_micros.load(Ordering::Relaxed);
        u64::try_from(micros).ok().map(Duration::from_micros)
    }

    pub(super) fn slowlog_entries_max(&self) -> usize {
        let count = self.slowlog_entries_max.load(Ordering::Relaxed);
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    /// 0 if nothing is noted.
    pub(super) fn latency_threshold_millis(&self) -> i64 {
        self.latency_millis.load(Ordering::Relaxed)
    }

    /// After how long of silence a connection is closed; `None` is never.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let seconds = self.timeout_seconds.load(Ordering::Relaxed);
        let seconds = u64::try_from(seconds).ok()?;
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }
}

/// Whether a name is that of a setting that can be changed.
pub(super) fn is_adjustable(name: &[u8]) -> bool {
    let adjustable = Adjustable::default();
    let mut parameters = adjustable.parameters().into_iter();
    parameters.any(|one| name.eq_ignore_ascii_case(one.name.as_bytes()))
}

/// What can't be changed: what clients and tools ask for, answered by what is true here. Every write is
/// on disk when it is acknowledged, which is an append-only file's strongest setting.
fn fixed(settings: &Settings, bounds: &InForce) -> Vec<(&'static str, String)> {
    let text = str::to_owned;
    vec![
        ("acllog-max-len", acl_log::ENTRIES_MAX.to_string()),
        ("appendfsync", text("always")),
        ("appendonly", text("yes")),
        (
            "client-output-buffer-limit",
            format!(
                "normal 0 0 0 slave 0 0 0 pubsub {} {} {}",
                bounds.output_max.get(),
                bounds.output_max.get() / LONG_PART,
                LONG.as_secs()
            ),
        ),
        ("cluster-enabled", text("no")),
        ("databases", text("1")),
        ("enable-debug-command", text("no")),
        ("enable-module-command", text("no")),
        ("latency-tracking", text("yes")),
        ("latency-tracking-info-percentiles", text("50 99 99.9")),
        ("lazyfree-lazy-user-flush", text("no")),
        ("maxclients", bounds.places.max.get().to_string()),
        ("maxmemory", text("0")),
        ("maxmemory-policy", text("noeviction")),
        ("notify-keyspace-events", text("")),
        ("port", settings.port.to_string()),
        ("proto-max-bulk-len", settings.value_max.to_string()),
        ("replicaof", text("")),
        // Secrets are not shown, also not whether there are any.
        ("requirepass", text("")),
        ("save", text("")),
        ("slaveof", text("")),
        ("tls-port", text("0")),
    ]
}

impl Server {
    pub(super) fn config(&self, asked: Config) -> Reply {
        match asked {
            Config::Get(patterns) => self.config_get(&patterns),
            Config::Set(pairs) => match self.config_set(&pairs) {
                Ok(()) => Reply::OK,
                Err(text) => Reply::Error(text),
            },
            Config::ResetStatistics => {
                self.statistics.reset(self.engine.metrics());
                Reply::OK
            }
        }
    }

    fn config_get(&self, patterns: &[Bytes]) -> Reply {
        let adjustable = self.config.parameters();
        let mut all = fixed(&self.settings, &self.bounds);
        let users_file = self.access.source().users_file;
        all.push((
            "aclfile",
            users_file.map_or_else(String::new, |path| path.display().to_string()),
        ));
        all.extend(adjustable.iter().map(|parameter| {
            (
                parameter.name,
                parameter.value.load(Ordering::Relaxed).to_string(),
            )
        }));
        let is_meant = |name: &str| {
            patterns
                .iter()
                .any(|pattern| glob::matches(pattern, name.as_bytes(), true))
        };
        all.retain(|(name, _)| is_meant(name));
        let pairs = all.into_iter();
        let pairs = pairs.map(|(name, value)| (Reply::text(name), Reply::text(value)));
        Reply::Map(pairs.collect())
    }

    /// All of them or none.
    fn config_set(&self, pairs: &[(Bytes, Bytes)]) -> Result<(), String> {
        let parameters = self.config.parameters();
        let is = |given: &Bytes, name: &str| given.eq_ignore_ascii_case(name.as_bytes());
        let failed = |name: &str, why: &str| {
            format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}")
        };
        let mut meant = Vec::new();
        for (position, (name, _)) in pairs.iter().enumerate() {
            let Some(parameter) = parameters.iter().find(|known| is(name, known.name)) else {
                let shown = String::from_utf8_lossy(name);
                let is_fixed = is(name, "aclfile")
                    || fixed(&self.settings, &self.bounds)
                        .iter()
                        .any(|(known, _)| is(name, known));
                return Err(if is_fixed {
                    failed(&shown, "can't set immutable config")
                } else {
                    format!("ERR Unknown option or number of arguments for CONFIG SET - '{shown}'")
                });
            };
            let before = &pairs[..position];
            if before
                .iter()
                .any(|(other, _)| other.eq_ignore_ascii_case(name))
            {
                return Err(failed(parameter.name, "duplicate parameter"));
            }
            meant.push(parameter);
        }
        let mut values = Vec::new();
        for (parameter, (_, value)) in meant.iter().zip(pairs) {
            let Parameter {
                name, least, most, ..
            } = parameter;
            let value = std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse().ok());
            let value: i64 =
                value.ok_or_else(|| failed(name, "argument couldn't be parsed into an integer"))?;
            if !(*least..=*most).contains(&value) {
                let why = format!("argument must be between {least} and {most} inclusive");
                return Err(failed(name, &why));
            }
            values.push(value);
        }
        for (parameter, value) in meant.iter().zip(values) {
            parameter.value.store(value, Ordering::Relaxed);
        }
        Ok(())
    }
}
