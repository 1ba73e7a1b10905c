//! What the tests of import and export share.

use std::collections::BTreeMap;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::harness::{
    Conn, Deployment, Proxy, ProxyBuilder, RedisServer, Reply, Scratch, Setup, args, encode,
    eventually,
};

/// Key to value and expiry, in milliseconds since 1970 or -1.
pub type Contents = BTreeMap<Vec<u8>, (Vec<u8>, i64)>;

/// A respgres with embedded shards, a Redis, and a directory to work in.
#[track_caller]
pub fn both_servers() -> (Deployment, RedisServer, Scratch) {
    let dir = Scratch::new("transfer");
    (Setup::embedded().start(), RedisServer::start(), dir)
}

/// A respgres with embedded shards, and a directory to work in.
#[track_caller]
pub fn respgres() -> (Deployment, Scratch) {
    (Setup::embedded().start(), Scratch::new("transfer"))
}

/// The option that makes it the target.
pub fn to(it: &Deployment) -> String {
    format!("--to=redis://{}", it.resp_addr())
}

/// The option that makes it the source.
pub fn from(it: &Deployment) -> String {
    format!("--from=redis://{}", it.resp_addr())
}

/// All strings of a server.
#[track_caller]
pub fn contents(conn: &mut Conn) -> Contents {
    let keys: Vec<Vec<u8>> = conn
        .run("KEYS *")
        .array()
        .into_iter()
        .map(|key| key.value().expect("a key"))
        .collect();
    let mut contents = Contents::new();
    for keys in keys.chunks(500) {
        let mut request = Vec::new();
        for key in keys {
            request.extend(encode(&args!["GET", key]));
            request.extend(encode(&args!["PEXPIRETIME", key]));
        }
        conn.send(&request);
        for key in keys {
            let value = conn.read();
            let expires_at = conn.read().int();
            if let Reply::Bulk(value) = value {
                contents.insert(key.clone(), (value, expires_at));
            }
        }
    }
    contents
}

/// Sets many keys, every tenth with an expiry.
#[track_caller]
pub fn fill(conn: &mut Conn, count: usize) {
    let at = 4_000_000_000_000u64;
    for numbers in (0..count).collect::<Vec<_>>().chunks(1000) {
        let mut request = Vec::new();
        for number in numbers {
            let (key, value) = (format!("key:{number}"), format!("value {number}"));
            match number % 10 {
                0 => {
                    let at = (at + *number as u64).to_string();
                    request.extend(encode(&args!["SET", key, value, "PXAT", at]));
                }
                _ => request.extend(encode(&args!["SET", key, value])),
            }
        }
        conn.send(&request);
        for _ in numbers {
            assert_eq!(conn.read(), "+OK");
        }
    }
}

/// The program with a command, in a directory.
pub fn tool(dir: &Scratch, args: &[&str]) -> ProxyBuilder {
    args.iter()
        .fold(ProxyBuilder::new(dir.path()), |builder, arg| {
            builder.flag(arg)
        })
}

/// Runs a command that has to end with `code`; returns what it printed.
#[track_caller]
pub fn run(dir: &Scratch, args: &[&str], code: i32) -> String {
    let exit = tool(dir, args).run();
    assert_eq!(exit.code, code, "{args:?}: {}", exit.output);
    exit.output
}

/// The number that a line of the summary has.
#[track_caller]
pub fn count(output: &str, name: &str) -> u64 {
    let line = output
        .lines()
        .find_map(|line| line.trim().strip_prefix(name))
        .unwrap_or_else(|| panic!("no line `{name}` in {output}"));
    line.trim().parse().expect("a number")
}

/// Starts a transfer that notes how far it is after every page, and kills it when it has noted a place in the middle.
#[track_caller]
pub fn kill_in_the_middle(dir: &Scratch, state: &Path, args: &[&str]) {
    let args = [args, &["--state-every-ms", "0"]].concat();
    let mut transfer: Proxy = tool(dir, &args).launch();
    eventually("it has noted a place in the middle", || {
        let state = std::fs::read(state).ok()?;
        let state: serde_json::Value = serde_json::from_slice(&state).ok()?;
        (!state["position"].is_null()).then_some(())
    });
    transfer.signal(Signal::SIGKILL);
    let exit = transfer.wait_exit();
    assert_eq!(exit.code, 137, "it was over too soon: {}", exit.output);
    assert!(state.exists());
}

/// Starts the source of an import again in the middle of it, which begins it anew.
#[track_caller]
pub fn restart_the_source(it: &Deployment, redis: &mut RedisServer, import: ProxyBuilder) {
    fill(&mut redis.conn(), 40_000);
    redis.save();
    let mut import = import.launch();
    eventually("some keys are there", || {
        (it.conn().run("DBSIZE").int() > 0).then_some(())
    });
    redis.crash();
    redis.start_again();
    let exit = import.wait_exit();
    assert_eq!(exit.code, 0, "{}", exit.output);
    assert!(exit.output.contains("beginning anew"), "{}", exit.output);
    assert!(contents(&mut it.conn()) == contents(&mut redis.conn()));
}
