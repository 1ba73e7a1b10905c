//! No secret is ever told: not in the log, by any command, or over HTTP.

use crate::harness::{Conn, PostgresServer, ProxyBuilder, RedisServer, Scratch, blank_databases};

/// In every secret.
const MARK: &str = "hunter2";

/// Whatever a client may ask for that could show a setting.
const ASKED: &[&str] = &[
    "INFO everything",
    "INFO respgres",
    "CONFIG GET *",
    "CONFIG GET requirepass",
    "CONFIG SET requirepass x",
    "CLIENT LIST",
    "CLIENT INFO",
    "ACL LIST",
    "ACL GETUSER default",
    "ACL GETUSER app",
    "ACL LOG",
    "ACL LOAD",
    "ACL SAVE",
    "SLOWLOG GET -1",
    "LATENCY DOCTOR",
    "MEMORY DOCTOR",
    "MEMORY STATS",
    "PROXY SHARDS",
    "PROXY SHARD key",
    "COMMAND DOCS auth",
    "HELLO",
    "GET key",
    "SET key value",
];

/// Logs in wrongly and rightly, and in ways that look like a login.
fn talk(conn: &mut Conn, password: &str, shown: &mut String) {
    let lines = [
        format!("AUTH {MARK}-wrong"),
        format!("AUTH default {MARK}-wrong"),
        format!("AUTH {MARK} {MARK}"),
        format!("HELLO 3 AUTH {MARK} {MARK}"),
        format!("HELLO 2 AUTH default {MARK}-wrong"),
        format!("AUTH default {password}"),
        "CONFIG SET slowlog-log-slower-than 0".to_owned(),
        format!("AUTH default {password}"),
        format!("ACL SETUSER joe >{MARK}"),
        format!("CONFIG SET requirepass {MARK}"),
        format!("CONFIG SET masterauth {MARK}"),
    ];
    for line in &lines {
        shown.push_str(&format!("{}\n", conn.run(line)));
    }
    for line in ASKED {
        shown.push_str(&format!("{}\n", conn.run(line)));
    }
}

#[test]
fn no_secret_is_told_by_a_proxy_that_works() {
    let dir = Scratch::new("secrets");
    let redis = RedisServer::start();
    let password = format!("{MARK}-password");
    let users = dir.join("users.acl");
    let text = format!("user default on >{password} ~* &* +@all\nuser app on >{MARK}-app\n");
    std::fs::write(&users, text).unwrap();
    let file = dir.join("redis-url");
    let url = redis
        .url()
        .replace("redis://", &format!("redis://default:{MARK}-redis@"));
    std::fs::write(&file, format!("{url}\n")).unwrap();
    let urls: Vec<String> = blank_databases(2)
        .iter()
        .map(|url| url.replace("respgres@", &format!("respgres:{MARK}-shard@")))
        .collect();
    let mut proxy = ProxyBuilder::new(dir.path())
        .shard_urls(&urls)
        .env("REDIS_URL_FILE", file.to_str().unwrap())
        .env("USERS_FILE", users.to_str().unwrap())
        .env("RUST_LOG", "trace,tokio_postgres=trace")
        .start();
    let mut shown = String::new();
    let mut monitor = proxy.conn();
    monitor.auth("default", &password);
    monitor.run("MONITOR");
    talk(&mut proxy.conn(), &password, &mut shown);
    let http = proxy.http();
    shown.push_str(&http.get("/metrics").text());
    shown.push_str(&http.stats().to_string());
    shown.push_str(&format!("{:?}", http.health()));
    for path in ["/", "/docs", "/openapi.json", "/nosuch"] {
        shown.push_str(&http.get(path).text());
    }
    monitor.send(b"QUIT\r\n");
    shown.push_str(&String::from_utf8_lossy(&monitor.read_to_end()));
    proxy.terminate();
    shown.push_str(&proxy.wait_exit().output);
    assert!(
        shown.contains("a password in plain text"),
        "it is warned of"
    );
    assert!(shown.contains("TRACE"), "all is logged");
    let told: Vec<&str> = shown.lines().filter(|line| line.contains(MARK)).collect();
    // Redis answers an unknown user with its name, and here a password is in that place.
    assert!(told.is_empty(), "{told:#?}");
    for url in &urls {
        PostgresServer::shared().drop_database(&url.replace(&format!(":{MARK}-shard"), ""));
    }
}

#[test]
fn no_secret_is_told_by_a_proxy_that_reaches_nothing() {
    let dir = Scratch::new("secrets");
    let file = dir.join("password");
    std::fs::write(&file, format!("{MARK}-password")).unwrap();
    let mut proxy = ProxyBuilder::new(dir.path())
        .env(
            "SHARD_0_URL",
            format!("postgresql://user:{MARK}@127.0.0.1:1/db?password={MARK}"),
        )
        .env("REDIS_URL", format!("redis://:{MARK}@127.0.0.1:1/0"))
        .env("PASSWORD_FILE", file.to_str().unwrap())
        .env("RUST_LOG", "trace,tokio_postgres=trace")
        .start();
    let mut shown = String::new();
    talk(&mut proxy.conn(), &format!("{MARK}-password"), &mut shown);
    shown.push_str(&proxy.http().get("/metrics").text());
    shown.push_str(&proxy.http().stats().to_string());
    proxy.terminate();
    shown.push_str(&proxy.wait_exit().output);
    let told: Vec<&str> = shown.lines().filter(|line| line.contains(MARK)).collect();
    assert!(told.is_empty(), "{told:#?}");
}

#[test]
fn no_secret_is_told_by_a_mistake() {
    let dir = Scratch::new("secrets");
    let secret = dir.join("secret");
    std::fs::write(&secret, format!("{MARK}\n")).unwrap();
    let output = ProxyBuilder::new(dir.path())
        .env("PASSWORD", format!("{MARK}-a"))
        .env("PASSWORD_FILE", secret.to_str().unwrap())
        .env("SHARD_0_URL", format!("mysql://user:{MARK}@host/db"))
        .env("REDIS_URL", format!("rediss//:{MARK}@localhost"))
        .env("CACHE_TTL", "never")
        .run_refused();
    assert!(
        output.contains("PASSWORD_FILE") && output.contains("CACHE_TTL"),
        "{output}"
    );
    assert!(!output.contains(MARK), "{output}");
    let output = ProxyBuilder::new(dir.path())
        .env("RESP_ADDR", "0.0.0.0:0")
        .env("HTTP_ADDR", "0.0.0.0:0")
        .env("PASSWORD_FILE", secret.to_str().unwrap())
        .run_refused();
    assert!(
        output.contains("HTTP_ADDR") && !output.contains(MARK),
        "{output}"
    );
}
