//! INFO. <https://redis.io/docs/latest/commands/info/>
//!
//! Redis' fields as far as they mean something here. What a proxy does not know is left out, or is
//! what a server that has none of it says.

use std::fmt::Display;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;

use super::Server;
use super::session::REDIS_VERSION;
use crate::command::control::{ChannelKind, ClientKind};
use crate::command::table::COMMANDS;
use crate::metrics::Metrics;
use crate::metrics::process::{Memory, cpu_seconds, kilobytes, unix_time};
use crate::shard::Expiring;

/// The sections, in Redis' order, and one of our own; whether they are shown without being named.
const SECTIONS: [(&str, bool); 14] = [
    ("Server", true),
    ("Clients", true),
    ("Memory", true),
    ("Persistence", true),
    ("Stats", true),
    ("Replication", true),
    ("CPU", true),
    ("Modules", true),
    ("Commandstats", false),
    ("Errorstats", true),
    ("Latencystats", false),
    ("Cluster", true),
    ("Keyspace", true),
    ("Respgres", true),
];

/// How often a second the server looks after itself.
const HZ: u64 = 1;

/// What the program allocates with.
const ALLOCATOR: &str = if cfg!(feature = "jemalloc") {
    "jemalloc"
} else {
    "libc"
};

/// What tells this process from others, and its rate.
#[derive(Debug)]
pub(super) struct Identity {
    started: Instant,
    run_id: String,
    replication_id: String,
    resident_at_start: u64,
    commands: Rate,
    input: Rate,
    output: Rate,
}

/// How much a counter grew in the last second.
#[derive(Debug, Default)]
struct Rate {
    before: AtomicU64,
    a_second: AtomicU64,
}

impl Rate {
    fn sample(&self, count: u64) {
        let before = self.before.swap(count, Ordering::Relaxed);
        let grown = count.saturating_sub(before);
        self.a_second.store(grown, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.a_second.load(Ordering::Relaxed)
    }

    fn kilobytes(&self) -> String {
        format!("{:.2}", self.get() as f64 / 1024.0)
    }
}

impl Identity {
    pub(super) fn new() -> Self {
        let id = || {
            let [high, low] = [fastrand::u128(..), fastrand::u128(..)];
            format!("{high:032x}{:08x}", low & 0xffff_ffff)
        };
        Self {
            started: Instant::now(),
            run_id: id(),
            replication_id: id(),
            resident_at_start: Memory::now().resident,
            commands: Rate::default(),
            input: Rate::default(),
            output: Rate::default(),
        }
    }

    /// To be called each second.
    pub(super) fn sample(&self, metrics: &Metrics) {
        self.commands.sample(metrics.total("commands"));
        self.input.sample(metrics.total("network_input_bytes"));
        self.output.sample(metrics.total("network_output_bytes"));
    }
}

/// The text for the sections asked for; without any, the usual ones.
pub(super) async fn info(server: &Server, asked: &[Bytes]) -> String {
    let is_asked = |name: &str| {
        let is_it = |asked: &Bytes| asked.eq_ignore_ascii_case(name.as_bytes());
        asked.iter().any(is_it)
    };
    let everything = is_asked("all") || is_asked("everything");
    let usual = everything || asked.is_empty() || is_asked("default");
    let mut text = Text::default();
    for (section, is_usual) in SECTIONS {
        if is_asked(section) || everything || (usual && is_usual) {
            text.begin(section);
            write_section(server, section, &mut text).await;
        }
    }
    text.0
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn begin(&mut self, section: &str) {
        if !self.0.is_empty() {
            self.0.push_str("\r\n");
        }
        self.write(format_args!("# {section}"));
    }

    fn field(&mut self, name: &str, value: impl Display) {
        self.write(format_args!("{name}:{value}"));
    }

    fn fields(&mut self, fields: &[(&str, &dyn Display)]) {
        for (name, value) in fields {
            self.field(name, value);
        }
    }

    fn write(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = write!(self.0, "{line}\r\n");
    }
}

async fn write_section(server: &Server, section: &str, text: &mut Text) {
    match section {
        "Server" => write_server(server, text),
        "Clients" => write_clients(server, text),
        "Memory" => write_memory(server, text),
        "Persistence" => write_persistence(text),
        "Stats" => write_stats(server, text),
        "Replication" => write_replication(server, text),
        "CPU" => write_cpu(text),
        "Commandstats" => write_command_stats(server, text),
        "Errorstats" => {
            for (kind, count) in server.statistics.errors(server.engine.metrics()) {
                text.field(&format!("errorstat_{kind}"), format_args!("count={count}"));
            }
        }
        "Latencystats" => write_latency_stats(server, text),
        "Cluster" => text.field("cluster_enabled", 0),
        "Keyspace" => {
            // Redis, too, leaves out what has no keys; with a shard down the number is unknown.
            if let Some(keys) = server.engine.count().await.ok().filter(|keys| *keys > 0) {
                let Expiring { rows, millis_left } =
                    server.engine.expiring().await.unwrap_or_default();
                text.field(
                    "db0",
                    format_args!("keys={keys},expires={rows},avg_ttl={millis_left}"),
                );
            }
        }
        "Respgres" => write_respgres(server, text),
        // There are no modules.
        _ => {}
    }
}

fn write_server(server: &Server, text: &mut Text) {
    let uptime = server.identity.started.elapsed().as_secs();
    let executable = std::env::current_exe().unwrap_or_default();
    text.fields(&[
        ("redis_version", &REDIS_VERSION),
        ("redis_git_sha1", &"00000000"),
        ("redis_git_dirty", &0),
        ("redis_build_id", &"0000000000000000"),
        ("redis_mode", &"standalone"),
        (
            "os",
            &format_args!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        ),
        ("arch_bits", &usize::BITS),
        ("multiplexing_api", &"epoll"),
        ("process_id", &std::process::id()),
        ("process_supervised", &"no"),
        ("run_id", &server.identity.run_id),
        ("tcp_port", &server.settings.port),
        ("server_time_usec", &unix_time().as_micros()),
        ("uptime_in_seconds", &uptime),
        ("uptime_in_days", &(uptime / 86_400)),
        ("hz", &HZ),
        ("configured_hz", &HZ),
        // Seconds in 24 bits.
        ("lru_clock", &(unix_time().as_secs() & 0xff_ffff)),
        ("executable", &executable.display()),
        ("config_file", &""),
        ("io_threads_active", &0),
    ]);
}

fn write_clients(server: &Server, text: &mut Text) {
    let subscribers = server
        .clients
        .count_of(|client| client.kind() == ClientKind::PubSub);
    text.fields(&[
        ("connected_clients", &server.clients.count()),
        ("cluster_connections", &0),
        ("maxclients", &server.bounds.places.max.get()),
        ("blocked_clients", &0),
        ("tracking_clients", &0),
        ("pubsub_clients", &subscribers),
        ("clients_in_timeout_table", &0),
    ]);
}

/// The data are elsewhere: what this process has of them are copies, and all it takes is overhead.
fn write_memory(server: &Server, text: &mut Text) {
    let Memory { resident, peak } = Memory::now();
    let system = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let system = kilobytes(&system, "MemTotal:");
    let percent = 100.0 * resident as f64 / peak.max(1) as f64;
    text.fields(&[
        ("used_memory", &resident),
        ("used_memory_human", &human(resident)),
        ("used_memory_rss", &resident),
        ("used_memory_rss_human", &human(resident)),
        ("used_memory_peak", &peak),
        ("used_memory_peak_human", &human(peak)),
        ("used_memory_peak_perc", &format_args!("{percent:.2}%")),
        ("used_memory_overhead", &resident),
        ("used_memory_startup", &server.identity.resident_at_start),
        ("used_memory_dataset", &0),
        ("used_memory_dataset_perc", &"0.00%"),
        ("used_memory_lua", &0),
        ("used_memory_lua_human", &human(0)),
        ("used_memory_scripts", &0),
        ("used_memory_scripts_human", &human(0)),
        ("number_of_cached_scripts", &0),
        ("number_of_functions", &0),
        ("number_of_libraries", &0),
        ("total_system_memory", &system),
        ("total_system_memory_human", &human(system)),
        ("maxmemory", &0),
        ("maxmemory_human", &human(0)),
        ("maxmemory_policy", &"noeviction"),
        ("mem_fragmentation_ratio", &"1.00"),
        ("mem_fragmentation_bytes", &0),
        ("mem_allocator", &ALLOCATOR),
        ("active_defrag_running", &0),
        ("lazyfree_pending_objects", &0),
        ("lazyfreed_objects", &0),
    ]);
}

/// As Redis writes it: `1.08M`.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["K", "M", "G", "T"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut amount = bytes as f64 / 1024.0;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    format!("{amount:.2}{}", UNITS[unit])
}

/// Every write is in its shard before it is acknowledged: nothing waits to be saved.
fn write_persistence(text: &mut Text) {
    text.fields(&[
        ("loading", &0),
        ("async_loading", &0),
        ("rdb_changes_since_last_save", &0),
        ("rdb_bgsave_in_progress", &0),
        ("rdb_last_save_time", &unix_time().as_secs()),
        ("rdb_last_bgsave_status", &"ok"),
        ("rdb_last_bgsave_time_sec", &-1),
        ("rdb_current_bgsave_time_sec", &-1),
        ("aof_enabled", &1),
        ("aof_rewrite_in_progress", &0),
        ("aof_rewrite_scheduled", &0),
        ("aof_last_rewrite_time_sec", &-1),
        ("aof_current_rewrite_time_sec", &-1),
        ("aof_last_bgrewrite_status", &"ok"),
        ("aof_last_write_status", &"ok"),
    ]);
}

fn write_stats(server: &Server, text: &mut Text) {
    let metrics = server.engine.metrics();
    let since = |name| server.statistics.counter(metrics, name);
    let Identity {
        commands,
        input,
        output,
        ..
    } = &server.identity;
    let errors: u64 = server
        .statistics
        .errors(server.engine.metrics())
        .values()
        .sum();
    text.fields(&[
        ("total_connections_received", &since("connections")),
        ("total_commands_processed", &since("commands")),
        ("instantaneous_ops_per_sec", &commands.get()),
        ("total_net_input_bytes", &since("network_input_bytes")),
        ("total_net_output_bytes", &since("network_output_bytes")),
        ("instantaneous_input_kbps", &input.kilobytes()),
        ("instantaneous_output_kbps", &output.kilobytes()),
        ("rejected_connections", &since("connections_rejected")),
        ("sync_full", &0),
        ("sync_partial_ok", &0),
        ("sync_partial_err", &0),
        ("expired_keys", &since("expired_rows_removed")),
        ("evicted_keys", &0),
        ("evicted_clients", &0),
        ("keyspace_hits", &since("cache_hits")),
        ("keyspace_misses", &since("cache_misses")),
        (
            "pubsub_channels",
            &server.channels.number_of(ChannelKind::Channel),
        ),
        (
            "pubsub_patterns",
            &server.channels.number_of(ChannelKind::Pattern),
        ),
        (
            "pubsubshard_channels",
            &server.channels.number_of(ChannelKind::Shard),
        ),
        ("latest_fork_usec", &0),
        ("total_forks", &0),
        ("migrate_cached_sockets", &0),
        ("tracking_total_keys", &0),
        ("tracking_total_items", &0),
        ("tracking_total_prefixes", &0),
        ("unexpected_error_replies", &0),
        ("total_error_replies", &errors),
    ]);
}

fn write_replication(server: &Server, text: &mut Text) {
    text.fields(&[
        ("role", &"master"),
        ("connected_slaves", &0),
        ("master_failover_state", &"no-failover"),
        ("master_replid", &server.identity.replication_id),
        (
            "master_replid2",
            &"0000000000000000000000000000000000000000",
        ),
        ("master_repl_offset", &0),
        ("second_repl_offset", &-1),
        ("repl_backlog_active", &0),
        ("repl_backlog_size", &0),
        ("repl_backlog_first_byte_offset", &0),
        ("repl_backlog_histlen", &0),
    ]);
}

/// Of the whole process, and of its main thread.
fn write_cpu(text: &mut Text) {
    let (user, system) = cpu_seconds("/proc/self/stat");
    let main = format!("/proc/self/task/{}/stat", std::process::id());
    let (main_user, main_system) = cpu_seconds(&main);
    text.fields(&[
        ("used_cpu_sys", &format_args!("{system:.6}")),
        ("used_cpu_user", &format_args!("{user:.6}")),
        ("used_cpu_sys_children", &"0.000000"),
        ("used_cpu_user_children", &"0.000000"),
        (
            "used_cpu_sys_main_thread",
            &format_args!("{main_system:.6}"),
        ),
        ("used_cpu_user_main_thread", &format_args!("{main_user:.6}")),
    ]);
}

fn write_command_stats(server: &Server, text: &mut Text) {
    for (command, spec) in COMMANDS.iter().enumerate() {
        let times = server.statistics.of(server.engine.metrics(), command);
        let (calls, micros) = (times.count(), times.sum / 1000);
        if calls > 0 {
            let each = micros as f64 / calls as f64;
            text.field(
                &format!("cmdstat_{}", spec.name),
                format_args!("calls={calls},usec={micros},usec_per_call={each:.2}"),
            );
        }
    }
}

fn write_latency_stats(server: &Server, text: &mut Text) {
    for (command, spec) in COMMANDS.iter().enumerate() {
        let times = server.statistics.of(server.engine.metrics(), command);
        if times.count() > 0 {
            let [half, most, nearly_all] =
                [50.0, 99.0, 99.9].map(|percent| times.percentile(percent));
            text.field(
                &format!("latency_percentiles_usec_{}", spec.name),
                format_args!("p50={half}.000,p99={most}.000,p99.9={nearly_all}.000"),
            );
        }
    }
}

fn write_respgres(server: &Server, text: &mut Text) {
    let health = server.engine.health();
    let up_or_down = |is_up: bool| if is_up { "up" } else { "down" };
    text.fields(&[
        ("respgres_version", &env!("CARGO_PKG_VERSION")),
        ("respgres_backend", &server.settings.backend),
        ("respgres_shards", &server.engine.num_shards()),
        ("respgres_cache", &up_or_down(health.cache_available)),
    ]);
    for (index, state) in health.shards.iter().enumerate() {
        text.field(&format!("shard_{index}"), up_or_down(state.is_ok()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_redis_does() {
        for (bytes, expected) in [
            (0, "0B"),
            (200, "200B"),
            (1_132_296, "1.08M"),
            (65 * 1024, "65.00K"),
            (25_325_268_992, "23.59G"),
        ] {
            assert_eq!(human(bytes), expected);
        }
    }

    #[test]
    fn the_rate_is_that_of_the_last_second() {
        let identity = Identity::new();
        let metrics = Metrics::default();
        metrics.worker(0).commands.add(10);
        identity.sample(&metrics);
        metrics.worker(0).commands.add(7);
        identity.sample(&metrics);
        assert_eq!(identity.commands.get(), 7);
        assert_eq!(identity.run_id.len(), 40);
    }
}
