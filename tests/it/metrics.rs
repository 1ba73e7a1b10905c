//! `/metrics`: every line is as it should be, and the numbers are those of what was sent.

use std::process::Command;

use crate::harness::{Conn, Deployment, Exposition, Scratch, Setup, both_backends, run_to_end};

both_backends!(
    every_line_is_as_it_should_be,
    commands_are_counted_by_their_outcome,
    shards_and_the_cache_are_counted,
    what_is_there_now_is_told,
);

#[track_caller]
fn metrics(it: &Deployment) -> Exposition {
    let answer = it.http().get("/metrics");
    assert_eq!(answer.status, 200);
    assert!(answer.content_type.starts_with("text/plain; version=0.0.4"));
    Exposition::parse(&answer.text())
}

/// Some of everything.
fn traffic(conn: &mut Conn) {
    for n in 0..5 {
        conn.set(format!("key:{n}"), "value");
    }
    // A miss each, then a hit each.
    for n in [0, 1, 2, 0, 1, 2] {
        assert!(conn.get(format!("key:{n}")).is_some());
    }
    assert_eq!(
        conn.run("INCR key:0").error(),
        "ERR value is not an integer or out of range"
    );
    assert!(conn.run("NOSUCH x").is_error());
    assert!(conn.run("GET").is_error());
}

fn every_line_is_as_it_should_be(setup: Setup) {
    let it = setup.start();
    traffic(&mut it.conn());
    metrics(&it);
    let dir = Scratch::new("promtool");
    let file = dir.join("metrics");
    std::fs::write(&file, it.http().get("/metrics").body).unwrap();
    let mut check = Command::new("sh");
    check
        .args(["-c", "promtool check metrics < \"$1\"", "sh"])
        .arg(&file);
    assert_eq!(
        run_to_end(&check),
        "",
        "promtool finds nothing to complain of"
    );
}

fn commands_are_counted_by_their_outcome(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    traffic(&mut conn);
    // Together, and among them one that fails.
    conn.send(b"GET key:3\r\nINCR key:4\r\nGET key:4\r\nPING\r\n");
    for _ in 0..4 {
        conn.read();
    }
    let metrics = metrics(&it);
    let count = |command, outcome| {
        let labels = [("command", command), ("outcome", outcome)];
        metrics.sum("respgres_commands_total", &labels)
    };
    assert_eq!(count("set", "ok"), 5.0);
    assert_eq!((count("get", "ok"), count("get", "error")), (8.0, 1.0));
    assert_eq!((count("incr", "ok"), count("incr", "error")), (0.0, 2.0));
    assert_eq!(
        (count("unknown", "ok"), count("unknown", "error")),
        (0.0, 1.0)
    );
    assert_eq!(metrics.sum("respgres_commands_total", &[]), 18.0);
    let labels = [("command", "incr"), ("kind", "ERR")];
    assert_eq!(metrics.sum("respgres_command_errors_total", &labels), 2.0);
    assert_eq!(metrics.sum("respgres_command_errors_total", &[]), 4.0);
    let timed = metrics.sum(
        "respgres_command_duration_seconds_count",
        &[("command", "get")],
    );
    assert_eq!(timed, 9.0);
    assert!(
        metrics.sum(
            "respgres_command_duration_seconds_sum",
            &[("command", "set")]
        ) > 0.0
    );
    let commands = metrics.values_of("respgres_commands_total", "command");
    let expected = ["get", "incr", "ping", "set", "unknown"].map(str::to_owned);
    assert!(
        commands.iter().eq(&expected),
        "only what was called: {commands:?}"
    );
    // A reset of Redis' statistics is none of these.
    conn.run("CONFIG RESETSTAT");
    assert!(!conn.info("commandstats").contains("cmdstat_set"));
    let after = self::metrics(&it).sum("respgres_commands_total", &[("command", "set")]);
    assert_eq!(after, 5.0);
}

fn shards_and_the_cache_are_counted(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    traffic(&mut conn);
    let metrics = metrics(&it);
    let operations = |kind, outcome| {
        let labels = [("kind", kind), ("outcome", outcome)];
        metrics.sum("respgres_shard_operations_total", &labels)
    };
    // INCR is done, and changes nothing.
    assert_eq!(
        (operations("write", "ok"), operations("read", "ok")),
        (6.0, 3.0)
    );
    assert_eq!(metrics.sum("respgres_shard_operations_total", &[]), 9.0);
    for kind in ["read", "write"] {
        let of = |name: &str| metrics.sum(name, &[("kind", kind)]);
        let all = operations(kind, "ok");
        assert_eq!(of("respgres_shard_queue_duration_seconds_count"), all);
        assert_eq!(of("respgres_shard_batch_operations_sum"), all);
        // One client: each batch has one.
        assert_eq!(of("respgres_shard_batch_operations_count"), all);
        assert_eq!(of("respgres_shard_statement_duration_seconds_count"), all);
        assert!(of("respgres_shard_statement_duration_seconds_sum") > 0.0);
    }
    assert_eq!(metrics.sum("respgres_cache_hits_total", &[]), 3.0);
    assert_eq!(metrics.sum("respgres_cache_misses_total", &[]), 3.0);
    let fills = |outcome| metrics.sum("respgres_cache_fills_total", &[("outcome", outcome)]);
    assert_eq!(
        (fills("filled"), fills("refused"), fills("left")),
        (3.0, 0.0, 0.0)
    );
    let steps = |step| metrics.sum("respgres_cache_duration_seconds_count", &[("step", step)]);
    let expected = match it.is_embedded() {
        true => 0.0,
        false => 3.0,
    };
    assert_eq!((steps("lease"), steps("settle")), (expected, expected));
    assert_eq!(
        (steps("get"), steps("fin")),
        (2.0 * expected, 2.0 * expected)
    );
}

fn what_is_there_now_is_told(setup: Setup) {
    let it = setup.start();
    let mut conns = [it.conn(), it.conn()];
    for conn in &mut conns {
        traffic(conn);
    }
    let metrics = metrics(&it);
    let all = |name: &str| metrics.sum(name, &[]);
    assert_eq!(all("respgres_shard_up"), 3.0);
    assert_eq!(all("respgres_shard_breaker_open"), 0.0);
    assert_eq!(all("respgres_shard_cached"), 3.0);
    assert_eq!(all("respgres_cache_up"), 1.0);
    assert_eq!(all("respgres_ready"), 1.0);
    assert_eq!(all("respgres_shard_rows"), 5.0);
    assert_eq!(all("respgres_clients"), 2.0);
    assert_eq!(all("respgres_connections_total"), 2.0);
    assert_eq!(all("respgres_clients_max"), 10_000.0);
    assert!(all("process_resident_memory_bytes") > 1e6);
    assert!(all("process_open_fds") > 5.0 && all("process_max_fds") >= all("process_open_fds"));
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    assert_eq!(metrics.sum("respgres_build_info", &version), 1.0);
    for shard in ["shard_0", "shard_1", "shard_2"] {
        let pool = metrics.sum("respgres_shard_pool_connections", &[("shard", shard)]);
        assert!(pool >= 1.0, "{shard}: {pool}");
    }
    if it.is_embedded() {
        // The last INCR removed that of its key.
        assert_eq!(all("respgres_cache_entries"), 2.0);
        assert!(all("respgres_cache_bytes") > 100.0);
    } else {
        assert!(!metrics.names().contains("respgres_cache_bytes"));
    }
    drop(conns);
    crate::harness::eventually("the clients are gone", || {
        (self::metrics(&it).sum("respgres_clients", &[]) == 0.0).then_some(())
    });
}
