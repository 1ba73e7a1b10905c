//! redis-cli in its modes, and redis-benchmark with every test that is about strings.

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{
    Deployment, Guardian, Scratch, Setup, args, encode, eventually, redis_benchmark, redis_cli,
    with_reference,
};

with_reference!(
    redis_cli_lists_keys,
    redis_cli_finds_big_keys,
    redis_cli_finds_keys_that_take_memory,
    redis_cli_measures_latency,
    redis_cli_shows_rolling_figures,
    redis_cli_pipes_any_command,
    redis_cli_runs_a_transaction_from_a_file,
    redis_cli_increments_repeatedly,
    redis_benchmark_runs_every_test_of_strings,
);

/// A deployment with 1000 short values and a long one.
fn filled(setup: Setup) -> Deployment {
    let it = setup.start();
    let mut packet = Vec::new();
    for n in 0..1000 {
        packet.extend(encode(&args!["SET", format!("user:{n}"), "x"]));
    }
    packet.extend(encode(&args!["SET", "long", "y".repeat(10_000)]));
    let mut conn = it.conn();
    conn.send(&packet);
    for _ in 0..1001 {
        assert_eq!(conn.read(), "+OK");
    }
    it
}

fn redis_cli_lists_keys(setup: Setup) {
    let it = filled(setup);
    let lines = |args: &[&str]| {
        let printed = redis_cli(&it.resp_addr(), args, b"");
        let mut keys: Vec<String> = printed.lines().map(str::to_owned).collect();
        keys.sort();
        keys.dedup();
        keys
    };
    assert_eq!(lines(&["--scan"]).len(), 1001);
    assert_eq!(lines(&["-3", "--scan"]).len(), 1001);
    let expected: Vec<String> = (0..10).map(|n| format!("user:{n}")).collect();
    assert_eq!(lines(&["--scan", "--pattern", "user:?"]), expected);
    assert_eq!(lines(&["--scan", "--pattern", "nosuch*"]), [""; 0]);
}

fn redis_cli_finds_big_keys(setup: Setup) {
    let it = filled(setup);
    let printed = redis_cli(&it.resp_addr(), &["--bigkeys"], b"");
    for expected in [
        "Sampled 1001 keys in the keyspace!",
        "Biggest string found '\"long\"' has 10000 bytes",
        "1001 strings with 11000 bytes",
    ] {
        assert!(printed.contains(expected), "{expected:?} in {printed}");
    }
}

fn redis_cli_finds_keys_that_take_memory(setup: Setup) {
    let it = filled(setup);
    let printed = redis_cli(&it.resp_addr(), &["--memkeys"], b"");
    for expected in [
        "Sampled 1001 keys in the keyspace!",
        "Biggest string found '\"long\"' has 1",
    ] {
        assert!(printed.contains(expected), "{expected:?} in {printed}");
    }
}

fn redis_cli_measures_latency(setup: Setup) {
    let it = setup.start();
    // To what is no terminal: the least, the largest and the average milliseconds, and how many samples.
    let printed = redis_cli(&it.resp_addr(), &["--latency", "-i", "0.2"], b"");
    let figures: Vec<f64> = printed
        .split_whitespace()
        .map(|figure| figure.parse().unwrap())
        .collect();
    assert_eq!(figures.len(), 4, "{printed}");
    assert!(figures[3] >= 1.0, "{printed}");
}

/// It goes on until it is ended.
fn redis_cli_shows_rolling_figures(setup: Setup) {
    let it = filled(setup);
    let addr = it.resp_addr();
    let (host, port) = addr.rsplit_once(':').unwrap();
    // To a file it would write some kilobytes at a time.
    let mut command = Command::new("stdbuf");
    command.args(["-oL", "redis-cli", "-h", host, "-p", port]);
    command.args(["--stat", "-i", "0.1"]);
    let dir = Scratch::new("stat");
    let log = dir.join("log");
    let mut cli = Guardian::spawn(&command, &log, Signal::SIGKILL);
    let line = eventually("three lines of figures, or its end", || {
        let printed = std::fs::read_to_string(&log).unwrap_or_default();
        let ended = cli.exit_within(Duration::ZERO);
        assert_eq!(ended, None, "redis-cli --stat ended: {printed}");
        let figures: Vec<&str> = printed
            .lines()
            .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()))
            .collect();
        (figures.len() >= 3).then(|| figures[2].to_owned())
    });
    // keys, memory, clients, blocked, requests (and how many since the line before), connections.
    let columns: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(columns[0], "1001", "{line}");
    assert_ne!(columns[1], "0B", "{line}");
    assert!(columns[2].parse::<u64>().unwrap() >= 1, "{line}");
    assert!(columns[4].parse::<u64>().unwrap() >= 1001, "{line}");
}

fn redis_cli_pipes_any_command(setup: Setup) {
    let it = setup.start();
    let mut file = Vec::new();
    for n in 0..500 {
        file.extend(encode(&args!["INCR", format!("n:{}", n % 10)]));
        file.extend(encode(&args!["APPEND", "all", "x"]));
    }
    file.extend(encode(&args!["INCR", "all"]));
    // Its exit code is 1 when there was an error.
    let printed = redis_cli_that_fails(&it, &["--pipe"], &file);
    assert!(printed.contains("errors: 1, replies: 1001"), "{printed}");
    assert_eq!(it.conn().run("STRLEN all"), ":500");
    assert_eq!(it.conn().get("n:7").unwrap(), b"50");
}

fn redis_cli_that_fails(it: &Deployment, args: &[&str], stdin: &[u8]) -> String {
    let dir = Scratch::new("stdin");
    let file = dir.join("stdin");
    std::fs::write(&file, stdin).unwrap();
    let addr = it.resp_addr();
    let (host, port) = addr.rsplit_once(':').unwrap();
    let output = Command::new("redis-cli")
        .args(["-h", host, "-p", port])
        .args(args)
        .stdin(std::fs::File::open(&file).unwrap())
        .output()
        .unwrap();
    assert!(!output.status.success(), "{:?}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn redis_cli_runs_a_transaction_from_a_file(setup: Setup) {
    let it = setup.start();
    let file = b"multi\nset key 1\nincr key\nexec\nwatch key\nmulti\nget key\ndiscard\nget key\n";
    let printed = redis_cli(&it.resp_addr(), &["--no-raw"], file);
    for expected in ["QUEUED\n", "1) OK\n2) (integer) 2\n", "OK\n\"2\"\n"] {
        assert!(printed.contains(expected), "{expected:?} in {printed}");
    }
}

fn redis_cli_increments_repeatedly(setup: Setup) {
    let it = setup.start();
    let printed = redis_cli(&it.resp_addr(), &["-r", "3", "incr", "n"], b"");
    assert_eq!(printed, "1\n2\n3\n");
}

fn redis_benchmark_runs_every_test_of_strings(setup: Setup) {
    let it = setup.start();
    let tests = "ping_inline,ping_mbulk,set,get,incr,mset";
    for more in [&["-P", "16"][..], &["-3"], &["-3", "-P", "16", "-r", "100"]] {
        let mut args = vec!["-t", tests, "-n", "1000", "-c", "10", "--csv"];
        args.extend(more);
        let printed = redis_benchmark(&it.resp_addr(), &args);
        for test in [
            "PING_INLINE",
            "PING_MBULK",
            "SET",
            "GET",
            "INCR",
            "MSET (10 keys)",
        ] {
            assert!(
                printed.contains(&format!("\"{test}\",")),
                "{test} in {printed}"
            );
        }
        assert!(!printed.to_lowercase().contains("error"), "{printed}");
    }
    // Whole pipelines are sent: what -P makes of 1000 may be some more.
    let counted: u64 = it
        .conn()
        .run("GET counter:__rand_int__")
        .string()
        .parse()
        .unwrap();
    assert!((2000..2500).contains(&counted), "{counted}");
}
