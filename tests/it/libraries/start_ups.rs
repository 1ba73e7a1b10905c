//! What a metrics exporter and two GUIs ask a server for, as bytes, in the order of their sources; and what they make of
//! the answers. All of them speak RESP2.

use std::collections::HashMap;

use crate::harness::{Conn, Deployment, Reply, Setup, args, encode, with_reference};

with_reference!(
    a_prometheus_exporter_scrapes,
    redis_insight_opens_a_database,
    another_redis_desktop_manager_opens_a_database,
);

/// What a tool needs an answer to be.
enum Needs {
    /// A status.
    Status,
    /// A number.
    Number,
    /// A string.
    Text,
    /// INFO's text with these fields, each section:field.
    Fields(&'static [&'static str]),
    /// Names and values in turns, these names among them.
    Pairs(&'static [&'static str]),
    /// An array.
    List,
    /// A cursor and keys.
    Page,
    /// The tool goes on after an error.
    Anything,
}

use Needs::*;

/// redis_exporter 1.88, `scrapeRedisHost`; the metrics of its default dashboard.
const EXPORTER: &[(&str, Needs)] = &[
    ("PING", Status),
    ("CLIENT SETNAME redis_exporter", Status),
    (
        "INFO ALL",
        Fields(&[
            "Server:redis_version",
            "Server:redis_mode",
            "Server:os",
            "Server:tcp_port",
            "Server:run_id",
            "Server:process_id",
            "Server:uptime_in_seconds",
            "Clients:connected_clients",
            "Clients:blocked_clients",
            "Memory:used_memory",
            "Memory:maxmemory",
            "Memory:maxmemory_policy",
            "Stats:total_connections_received",
            "Stats:total_commands_processed",
            "Stats:keyspace_hits",
            "Stats:keyspace_misses",
            "Stats:expired_keys",
            "Stats:evicted_keys",
            "Stats:total_net_input_bytes",
            "Stats:total_net_output_bytes",
            "Replication:role",
            "Replication:connected_slaves",
            "Keyspace:db0",
        ]),
    ),
    // It gives up on a `databases` that is no number.
    (
        "CONFIG GET *",
        Pairs(&["databases", "maxmemory", "maxclients"]),
    ),
    ("LATENCY LATEST", List),
    ("LATENCY HISTOGRAM", List),
    // With --check-keys.
    ("SELECT 0", Status),
    ("SCAN 0 MATCH user:* COUNT 1000", Page),
    ("TYPE user:1", Status),
    ("MEMORY USAGE user:1", Number),
    ("PFCOUNT user:1", Anything),
    ("STRLEN user:1", Number),
    ("GET user:1", Text),
    ("SLOWLOG LEN", Number),
    ("SLOWLOG GET 1", List),
    ("COMMAND INFO COMMANDLOG", List),
    // With --export-client-list.
    ("CLIENT LIST", Text),
    // With --include-modules-metrics.
    ("INFO MODULES", Text),
];

/// RedisInsight 2.70: `database.factory`, `database-info.provider`, the browser, the slow log. It connects with ioredis.
const REDIS_INSIGHT: &[(&str, Needs)] = &[
    ("client SETINFO LIB-VER 5.2.2", Anything),
    ("client SETINFO LIB-NAME ioredis", Anything),
    ("client setname redisinsight-common-1", Status),
    (
        "info",
        Fields(&[
            "Server:redis_version",
            "Server:redis_mode",
            "Server:uptime_in_seconds",
            "Server:uptime_in_days",
            "Memory:used_memory",
            "Memory:maxmemory_policy",
            "Clients:connected_clients",
            "Stats:keyspace_hits",
            "Stats:keyspace_misses",
            "Stats:instantaneous_ops_per_sec",
            "Stats:instantaneous_input_kbps",
            "Stats:instantaneous_output_kbps",
            "Replication:role",
            "Keyspace:db0",
        ]),
    ),
    ("sentinel masters", Anything),
    ("cluster info", Anything),
    ("module list", Anything),
    ("command info ft.info ft.search", List),
    ("config get databases", Pairs(&["databases"])),
    ("client list", Text),
    ("info keyspace", Fields(&["Keyspace:db0"])),
    ("hello", List),
    ("dbsize", Number),
    ("scan 0 MATCH * COUNT 500", Page),
    ("scan 0 MATCH * COUNT 500 TYPE string", Page),
    ("type user:1", Status),
    ("ttl user:1", Number),
    ("memory usage user:1 samples 0", Number),
    ("strlen user:1", Number),
    ("get user:1", Text),
    ("getrange user:1 0 4999", Text),
    ("slowlog get 50", List),
    (
        "config get slowlog*",
        Pairs(&["slowlog-log-slower-than", "slowlog-max-len"]),
    ),
    ("FT._LIST", Anything),
    ("TFUNCTION LIST", Anything),
];

/// Another Redis Desktop Manager 1.1: `OperateItem`, `KeyList`, `KeyDetail`, `Status`, `SlowLog`, `MemoryAnalysis`. It
/// connects with ioredis.
const DESKTOP_MANAGER: &[(&str, Needs)] = &[
    ("client SETINFO LIB-VER 5.3.2", Anything),
    ("client SETINFO LIB-NAME ioredis", Anything),
    ("select 0", Status),
    (
        "info",
        Fields(&[
            "Server:redis_version",
            "Server:os",
            "Server:process_id",
            "Memory:used_memory",
            "Memory:used_memory_peak",
            "Memory:used_memory_lua",
            "Clients:connected_clients",
            "Stats:total_connections_received",
            "Stats:total_commands_processed",
            "Keyspace:db0",
        ]),
    ),
    ("config get databases", Pairs(&["databases"])),
    ("ping", Status),
    ("scan 0 MATCH * COUNT 500", Page),
    ("exists user:1", Number),
    ("type user:1", Status),
    ("ttl user:1", Number),
    ("get user:1", Text),
    ("SLOWLOG GET 20000", List),
    (
        "CONFIG GET slowlog-log-slower-than",
        Pairs(&["slowlog-log-slower-than"]),
    ),
    ("CONFIG GET slowlog-max-len", Pairs(&["slowlog-max-len"])),
    ("MEMORY USAGE user:1", Number),
    ("pttl user:1", Number),
    ("DUMP user:1", Anything),
];

fn a_prometheus_exporter_scrapes(setup: Setup) {
    let it = setup.start();
    let (mut conn, answers) = replay(&it, "redis_exporter", EXPORTER);
    let config = pairs(&answers["CONFIG GET *"]);
    for name in ["databases", "maxmemory", "maxclients"] {
        assert!(
            config[name].parse::<u64>().is_ok(),
            "{name}: {}",
            config[name]
        );
    }
    let info = info(&answers["INFO ALL"]);
    for field in [
        "Clients:connected_clients",
        "Memory:used_memory",
        "Stats:total_commands_processed",
        "Stats:keyspace_hits",
        "Replication:connected_slaves",
    ] {
        assert!(
            info[field].parse::<f64>().is_ok(),
            "{field}: {}",
            info[field]
        );
    }
    assert_eq!(info["Replication:role"], "master");
    // What it makes redis_db_keys and redis_db_keys_expiring of.
    assert!(
        info["Keyspace:db0"].starts_with("keys=3,expires=1,avg_ttl="),
        "{}",
        info["Keyspace:db0"]
    );
    // Each client is a line of name=value that begins with id and addr.
    for line in answers["CLIENT LIST"].string().lines() {
        assert!(line.starts_with("id="), "{line}");
        let fields: Vec<(&str, &str)> = line
            .split(' ')
            .map(|field| {
                field
                    .split_once('=')
                    .unwrap_or_else(|| panic!("{field} in {line}"))
            })
            .collect();
        assert_eq!(fields[1].0, "addr", "{line}");
        for name in ["age", "idle"] {
            let value = fields.iter().find(|(field, _)| *field == name).unwrap().1;
            assert!(value.parse::<u64>().is_ok(), "{name} in {line}");
        }
    }
    // Unknown commands are nil, by which it sees that the server is no Valkey.
    assert!(matches!(
        answers["COMMAND INFO COMMANDLOG"].clone().array()[..],
        [Reply::Null(_)]
    ));
    assert_eq!(conn.run("CLIENT GETNAME").string(), "redis_exporter");
}

fn redis_insight_opens_a_database(setup: Setup) {
    let it = setup.start();
    let (_, answers) = replay(&it, "RedisInsight", REDIS_INSIGHT);
    assert_eq!(pairs(&answers["config get databases"])["databases"], "1");
    assert_eq!(answers["dbsize"], ":3");
    assert_eq!(
        answers["scan 0 MATCH * COUNT 500"].clone().array()[1]
            .clone()
            .array()
            .len(),
        3
    );
    assert_eq!(answers["ttl user:1"], ":-1");
    assert!(pairs(&answers["hello"]).contains_key("role"));
}

fn another_redis_desktop_manager_opens_a_database(setup: Setup) {
    let it = setup.start();
    let (_, answers) = replay(&it, "Another Redis Desktop Manager", DESKTOP_MANAGER);
    assert_eq!(pairs(&answers["config get databases"])["databases"], "1");
    // It looks for this heading in the text.
    assert!(answers["info"].string().contains("# Keyspace"));
}

/// Sends what a tool sends at once, and looks at each answer; three keys are there, one of which expires.
fn replay(
    it: &Deployment,
    tool: &str,
    sequence: &'static [(&'static str, Needs)],
) -> (Conn, HashMap<&'static str, Reply>) {
    let mut conn = it.conn();
    conn.set("user:1", "one");
    conn.set("user:2", "two");
    assert_eq!(conn.run("SET user:3 three EX 1000"), "+OK");
    let mut packet = Vec::new();
    for (command, _) in sequence {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        packet.extend(encode(&words));
    }
    packet.extend(encode(&args!["GET", "user:2"]));
    conn.send(&packet);
    let mut answers = HashMap::new();
    let mut unusable = Vec::new();
    for (command, needs) in sequence {
        let answer = conn.read();
        if let Err(why) = is_usable(&answer, needs) {
            unusable.push(format!("{command}: {why}"));
        }
        answers.insert(*command, answer);
    }
    assert!(unusable.is_empty(), "{tool}:\n{}", unusable.join("\n"));
    assert_eq!(conn.read().string(), "two", "{tool}");
    (conn, answers)
}

fn is_usable(answer: &Reply, needs: &Needs) -> Result<(), String> {
    let usable = match (needs, answer) {
        (Anything, _) => true,
        (Status, Reply::Simple(_)) | (Number, Reply::Int(_)) | (List, Reply::Array(_)) => true,
        (Text, Reply::Bulk(_)) => true,
        (Fields(names), Reply::Bulk(_)) => {
            let fields = info(answer);
            let missing: Vec<&&str> = names
                .iter()
                .filter(|name| !fields.contains_key(**name))
                .collect();
            if !missing.is_empty() {
                return Err(format!("{missing:?} are missing"));
            }
            true
        }
        (Pairs(names), Reply::Array(_)) => {
            let pairs = pairs(answer);
            let missing: Vec<&&str> = names
                .iter()
                .filter(|name| !pairs.contains_key(**name))
                .collect();
            if !missing.is_empty() {
                return Err(format!("{missing:?} are missing"));
            }
            true
        }
        (Page, Reply::Array(parts)) => {
            matches!(&parts[..], [Reply::Bulk(_), Reply::Array(_)])
        }
        _ => false,
    };
    usable.then_some(()).ok_or_else(|| answer.to_string())
}

/// The fields of INFO by section:field.
fn info(answer: &Reply) -> HashMap<String, String> {
    let mut section = String::new();
    let mut fields = HashMap::new();
    for line in answer.string().lines() {
        if let Some(title) = line.strip_prefix("# ") {
            title.clone_into(&mut section);
        } else if let Some((field, value)) = line.split_once(':') {
            fields.insert(format!("{section}:{field}"), value.to_owned());
        }
    }
    fields
}

/// Names and values that come in turns. Values that are no strings are left out.
fn pairs(answer: &Reply) -> HashMap<String, String> {
    let items = answer.clone().array();
    assert!(items.len().is_multiple_of(2), "{answer}");
    items
        .chunks(2)
        .filter(|pair| matches!(pair[1], Reply::Bulk(_)))
        .map(|pair| (pair[0].string(), pair[1].string()))
        .collect()
}
