//! `GET /metrics`: all figures, for Prometheus.
//!
//! The figures are where they are counted, without a registry: workers count for themselves, and a library's
//! counters would be shared by all of them. What a library would add is the text format, which is small.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::Api;
use super::exposition::{Bounds, Exposition, Kind, Labels};
use crate::command::table::COMMANDS;
use crate::engine::{Overview, Readiness};
use crate::metrics::process::{self, Memory};
use crate::metrics::{CACHE_STEPS, Distribution, Metrics, OUTCOMES, Operations, Shard};

/// The version of the text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4";

/// From 1 µs to 17 s.
const COMMAND_TIMES: Bounds = Bounds::of_times(1, 1 << 24);
/// From 16 µs.
const WAITS: Bounds = Bounds::of_times(1 << 4, 1 << 24);
/// What a batch may have, and more.
const BATCHES: Bounds = Bounds::of_sizes(1, 1 << 10);

/// Counters, states and histograms in the text format of Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operations",
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain"))
)]
pub(super) async fn metrics(State(api): State<Api>) -> Response {
    let overview = api.engine.overview().await;
    let text = text(api.engine.metrics(), &overview);
    ([(CONTENT_TYPE, TEXT_FORMAT)], text).into_response()
}

fn text(metrics: &Metrics, overview: &Overview) -> String {
    let mut text = Exposition::default();
    write_process(&mut text, metrics);
    for (name, help, value) in metrics.table() {
        // That one is told by command.
        if name != "commands" {
            let name = format!("respgres_{name}_total");
            text.family(&name, help, Kind::Counter).sample(&[], value);
        }
    }
    write_commands(&mut text, metrics);
    write_clients(&mut text, metrics, overview);
    write_cache(&mut text, metrics, overview);
    write_shards(&mut text, metrics);
    write_shards_now(&mut text, overview);
    text.into_text()
}

fn write_process(text: &mut Exposition, metrics: &Metrics) {
    let (user, system) = process::cpu_seconds("/proc/self/stat");
    let (open, most) = process::file_descriptors();
    let mut one = |name: &str, help: &str, kind: Kind, value: f64| {
        text.family(name, help, kind).sample(&[], value);
    };
    one(
        "process_cpu_seconds_total",
        "User and system time of the process",
        Kind::Counter,
        user + system,
    );
    one(
        "process_resident_memory_bytes",
        "Memory that the process takes",
        Kind::Gauge,
        Memory::now().resident as f64,
    );
    one(
        "process_start_time_seconds",
        "When the process started, since the epoch",
        Kind::Gauge,
        metrics.started.as_secs_f64(),
    );
    one(
        "process_open_fds",
        "File descriptors that are open",
        Kind::Gauge,
        open as f64,
    );
    one(
        "process_max_fds",
        "File descriptors that may be open",
        Kind::Gauge,
        most as f64,
    );
    text.family(
        "respgres_build_info",
        "Always 1; the labels tell the build",
        Kind::Gauge,
    )
    .sample(&[("version", &env!("CARGO_PKG_VERSION"))], 1);
}

/// Only those commands that were called.
fn write_commands(text: &mut Exposition, metrics: &Metrics) {
    let called = metrics.calls();
    let mut family = text.family(
        "respgres_commands_total",
        "RESP commands processed, by command and outcome; those that are not known as unknown",
        Kind::Counter,
    );
    for calls in &called {
        for (outcome, count) in [("ok", calls.succeeded), ("error", calls.failed)] {
            let name = name_of(calls.command);
            let labels: Labels<'_> = &[("command", &name), ("outcome", &outcome)];
            family.sample(labels, count);
        }
    }
    let mut family = text.family(
        "respgres_command_errors_total",
        "Errors answered to RESP clients, by command and kind, which is the error's first word",
        Kind::Counter,
    );
    for (failure, count) in &metrics.errors() {
        let command = name_of(failure.command);
        let labels: Labels<'_> = &[("command", &command), ("kind", &failure.kind)];
        family.sample(labels, count);
    }
    let mut family = text.histograms(
        "respgres_command_duration_seconds",
        "Time from a command's being read to its reply, by command; that of a pipeline is shared out evenly",
    );
    for calls in called.iter().filter(|calls| calls.command.is_some()) {
        let name = name_of(calls.command);
        family.histogram(&[("command", &name)], COMMAND_TIMES, &calls.times);
    }
}

fn name_of(command: Option<usize>) -> &'static str {
    command
        .and_then(|command| COMMANDS.get(command))
        .map_or("unknown", |spec| spec.name)
}

fn write_clients(text: &mut Exposition, metrics: &Metrics, overview: &Overview) {
    let mut gauge = |name: &str, help: &str, value: u64| {
        text.family(name, help, Kind::Gauge).sample(&[], value);
    };
    gauge(
        "respgres_clients",
        "RESP clients that are connected",
        metrics.clients.get(),
    );
    gauge(
        "respgres_clients_max",
        "RESP clients that may be connected (MAX_CLIENTS)",
        metrics.clients_max.get(),
    );
    gauge(
        "respgres_ready",
        "Whether the proxy should be sent clients, as /ready says it",
        u64::from(overview.readiness == Readiness::Ready),
    );
}

fn write_cache(text: &mut Exposition, metrics: &Metrics, overview: &Overview) {
    text.family(
        "respgres_cache_up",
        "Whether the cache is used",
        Kind::Gauge,
    )
    .sample(&[], u8::from(overview.cache_available));
    if let Some((entries, bytes)) = overview.in_process_cache {
        text.family(
            "respgres_cache_entries",
            "Entries of the cache in this process",
            Kind::Gauge,
        )
        .sample(&[], entries);
        text.family(
            "respgres_cache_bytes",
            "Memory that the entries of the cache in this process take",
            Kind::Gauge,
        )
        .sample(&[], bytes);
    }
    let mut family = text.histograms(
        "respgres_cache_duration_seconds",
        "Round trips to Redis, by step: get, and those of misses (lease, settle) and writes (fin)",
    );
    family.histogram(&[("step", &"get")], WAITS, &metrics.cache_gets());
    for (step, times) in CACHE_STEPS.iter().zip(&metrics.cache_steps) {
        family.histogram(&[("step", step)], WAITS, &times.read());
    }
}

fn write_shards(text: &mut Exposition, metrics: &Metrics) {
    let mut family = text.family(
        "respgres_cache_fills_total",
        "Entries that misses meant to fill, by shard and outcome: filled, refused (written meanwhile, too large, or the cache is full), left (to another reader)",
        Kind::Counter,
    );
    for (shard, figures) in named(metrics.shards()) {
        for (outcome, count) in [
            ("filled", &figures.fills),
            ("refused", &figures.fills_refused),
            ("left", &figures.fills_left_to_others),
        ] {
            let labels: Labels<'_> = &[("shard", &shard), ("outcome", &outcome)];
            family.sample(labels, count.get());
        }
    }
    let mut family = text.family(
        "respgres_shard_operations_total",
        "Keys asked for and changes to write that went to a shard, by shard, kind and outcome; those who wait for the same read count each",
        Kind::Counter,
    );
    for (shard, kind, operations) in by_kind(metrics) {
        for (outcome, name) in OUTCOMES {
            let labels: Labels<'_> = &[("shard", &shard), ("kind", &kind), ("outcome", &name)];
            family.sample(labels, operations.count(outcome));
        }
    }
    let mut of_operations =
        |name: &str, help: &str, bounds: Bounds, of: fn(&Operations) -> Distribution| {
            let mut family = text.histograms(name, help);
            for (shard, kind, operations) in by_kind(metrics) {
                let labels: Labels<'_> = &[("shard", &shard), ("kind", &kind)];
                family.histogram(labels, bounds, &of(operations));
            }
        };
    of_operations(
        "respgres_shard_queue_duration_seconds",
        "Time that operations waited for their batch to leave",
        WAITS,
        |operations| operations.queued.read(),
    );
    of_operations(
        "respgres_shard_statement_duration_seconds",
        "Time that the shard took for a batch, with its commit and the wait for a connection",
        WAITS,
        |operations| operations.statements.read(),
    );
    of_operations(
        "respgres_shard_batch_operations",
        "Keys read by a batch, or changes written by it",
        BATCHES,
        |operations| operations.batches.read(),
    );
    let mut family = text.histograms(
        "respgres_shard_pool_wait_duration_seconds",
        "Time that was waited for a connection of the pool where none was free, opening one included",
    );
    for (shard, figures) in named(metrics.shards()) {
        family.histogram(&[("shard", &shard)], WAITS, &figures.pool_waits.read());
    }
    let mut family = text.family(
        "respgres_shard_breaker_openings_total",
        "How often operations began to be refused at once, since the shard did not answer",
        Kind::Counter,
    );
    for (shard, figures) in named(metrics.shards()) {
        family.sample(&[("shard", &shard)], figures.breaker_openings.get());
    }
}

fn by_kind(metrics: &Metrics) -> impl Iterator<Item = (String, &'static str, &Operations)> {
    named(metrics.shards()).flat_map(|(shard, Shard { reads, writes, .. })| {
        [(shard.clone(), "read", reads), (shard, "write", writes)]
    })
}

/// With the names of the shards.
fn named<T>(shards: &[T]) -> impl Iterator<Item = (String, &T)> {
    let named = |(index, shard)| (format!("shard_{index}"), shard);
    shards.iter().enumerate().map(named)
}

fn write_shards_now(text: &mut Exposition, overview: &Overview) {
    let mut family =
        |name: &str, help: &str, of: fn(&crate::engine::ShardOverview) -> Option<u64>| {
            let mut family = text.family(name, help, Kind::Gauge);
            for (shard, overview) in named(&overview.shards) {
                if let Some(value) = of(overview) {
                    family.sample(&[("shard", &shard)], value);
                }
            }
        };
    family(
        "respgres_shard_up",
        "Whether the shard can be reached",
        |shard| Some(shard.state.is_ok().into()),
    );
    family(
        "respgres_shard_breaker_open",
        "Whether operations are refused at once, since the shard did not answer",
        |shard| Some(shard.is_breaker_open.into()),
    );
    family(
        "respgres_shard_cached",
        "Whether the cache is used for the shard, by the view that all proxies share",
        |shard| Some(shard.is_cached.into()),
    );
    family(
        "respgres_shard_rows",
        "Rows on the shard, up to half a minute old, estimated where a database is large",
        |shard| shard.rows,
    );
    family(
        "respgres_shard_pool_connections_max",
        "Connections that the pool may have now (DB_POOL_MAX_SIZE, or fewer while the server is full)",
        |shard| Some(shard.pool.max as u64),
    );
    family(
        "respgres_shard_pool_waiting",
        "Who waits for a connection of the pool",
        |shard| Some(shard.pool.waiting as u64),
    );
    let mut family = text.family(
        "respgres_shard_pool_connections",
        "Connections of the pool, by state",
        Kind::Gauge,
    );
    for (shard, overview) in named(&overview.shards) {
        let pool = overview.pool;
        let used = pool.size.saturating_sub(pool.idle);
        for (state, count) in [("idle", pool.idle), ("used", used)] {
            family.sample(&[("shard", &shard), ("state", &state)], count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ShardOverview;
    use crate::shard::Pool;

    fn overview() -> Overview {
        let shard = |state: Result<(), String>| ShardOverview {
            is_breaker_open: state.is_err(),
            is_cached: state.is_ok(),
            state,
            pool: Pool {
                size: 3,
                idle: 1,
                max: 10,
                waiting: 0,
            },
            rows: None,
        };
        Overview {
            shards: vec![shard(Ok(())), shard(Err("gone".to_owned()))],
            cache_available: false,
            in_process_cache: None,
            readiness: Readiness::Ready,
        }
    }

    #[test]
    fn counters_and_states_are_in_the_text_format() {
        let metrics = Metrics::new(1, 2, COMMANDS.len());
        metrics.cache_hits.add(5);
        // Some of these are not answered yet, which says nothing of what they call.
        metrics.worker(0).commands.add(9);
        metrics.worker(0).note_calls(1, 2, 5_000);
        metrics.worker(0).unknown_calls.add_alone(1);
        metrics.note_error(Some(1), "WRONGTYPE no");
        let text = text(&metrics, &overview());
        for block in [
            "# HELP respgres_cache_hits_total Keys answered from the cache\n\
             # TYPE respgres_cache_hits_total counter\n\
             respgres_cache_hits_total 5\n",
            "# TYPE respgres_shard_up gauge\n\
             respgres_shard_up{shard=\"shard_0\"} 1\n\
             respgres_shard_up{shard=\"shard_1\"} 0\n",
            "# TYPE respgres_cache_up gauge\n\
             respgres_cache_up 0\n",
            "respgres_commands_total{command=\"append\",outcome=\"ok\"} 1\n\
             respgres_commands_total{command=\"append\",outcome=\"error\"} 1\n\
             respgres_commands_total{command=\"unknown\",outcome=\"ok\"} 1\n",
            "respgres_command_errors_total{command=\"append\",kind=\"WRONGTYPE\"} 1\n",
            "respgres_shard_pool_connections{shard=\"shard_1\",state=\"used\"} 2\n",
        ] {
            assert!(text.contains(block), "{block}\nis not in\n{text}");
        }
        assert!(!text.contains("respgres_shard_rows{"), "nobody knows them");
    }
}
