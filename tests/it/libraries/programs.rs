//! The programs of `tests/clients`, each run to its end.
//!
//! `CLIENT_SECTIONS=scan,watch` runs only these sections of each.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::access::USERS;
use crate::harness::{Deployment, Setup, run_to_end, with_reference};

with_reference!(
    redis_py,
    redis_py_without_hiredis,
    redis_py_5,
    redis_py_logs_in,
    valkey_py,
    node_redis_4,
    node_redis_5,
    node_redis_6,
    ioredis_5,
    ioredis_6,
    hiredis,
);

fn redis_py(setup: Setup) {
    let it = setup.start();
    python(&it, "check_blocking.py", &["redis"], None);
    python(&it, "check_asyncio.py", &["redis"], None);
}

fn redis_py_without_hiredis(setup: Setup) {
    let it = setup.start();
    python(&it, "check_blocking.py", &["redis", "--pure-python"], None);
    python(&it, "check_asyncio.py", &["redis", "--pure-python"], None);
}

fn redis_py_5(setup: Setup) {
    let it = setup.start();
    let older = installed("python/redis-5");
    python(&it, "check_blocking.py", &["redis"], Some(&older));
    python(&it, "check_asyncio.py", &["redis"], Some(&older));
}

fn redis_py_logs_in(setup: Setup) {
    let it = setup.users(USERS).start();
    python(&it, "check_access.py", &["redis"], None);
    let older = installed("python/redis-5");
    python(&it, "check_access.py", &["redis"], Some(&older));
    python(&it, "check_access.py", &["valkey"], None);
}

fn valkey_py(setup: Setup) {
    let it = setup.start();
    python(&it, "check_blocking.py", &["valkey"], None);
    python(&it, "check_asyncio.py", &["valkey"], None);
}

fn node_redis_4(setup: Setup) {
    node(&setup.start(), "node_redis.js", "node-redis-4");
}

fn node_redis_5(setup: Setup) {
    node(&setup.start(), "node_redis.js", "node-redis-5");
}

fn node_redis_6(setup: Setup) {
    node(&setup.start(), "node_redis.js", "node-redis-6");
}

fn ioredis_5(setup: Setup) {
    node(&setup.start(), "ioredis.js", "ioredis-5");
}

fn ioredis_6(setup: Setup) {
    node(&setup.start(), "ioredis.js", "ioredis-6");
}

fn hiredis(setup: Setup) {
    run(&setup.start(), Command::new(installed("hiredis")), &[]);
}

#[track_caller]
fn python(it: &Deployment, script: &str, args: &[&str], before: Option<&Path>) {
    let mut command = Command::new(installed("python/bin/python"));
    // The sources' directory stays as it is.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    if let Some(packages) = before {
        command.env("PYTHONPATH", packages);
    }
    command.arg(source("python").join(script));
    run(it, command, args);
}

#[track_caller]
fn node(it: &Deployment, script: &str, package: &str) {
    let mut command = Command::new(installed("python/bin/node"));
    command.env("NODE_PATH", installed("node/node_modules"));
    command.arg(source("node").join(script));
    run(it, command, &[package]);
}

#[track_caller]
fn run(it: &Deployment, mut command: Command, args: &[&str]) {
    let addr = it.resp_addr();
    let (host, port) = addr.rsplit_once(':').unwrap();
    command.args(args).args([host, port]);
    if let Ok(sections) = std::env::var("CLIENT_SECTIONS") {
        command.args(sections.split(','));
    }
    let printed = run_to_end(&command);
    assert!(
        printed.contains("sections passed"),
        "nothing was run: {printed}"
    );
}

/// Where the programs of a language are.
pub fn source(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(language)
}

/// Where `make client-libraries` has put something.
#[track_caller]
pub fn installed(name: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let path = target.join("clients").join(name);
    assert!(
        path.exists(),
        "{} is missing: run `make client-libraries`, or `make test`, which does",
        path.display()
    );
    path
}
