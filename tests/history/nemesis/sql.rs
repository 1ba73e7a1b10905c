//! The shards, past the proxies.

use std::time::Duration;

use crate::harness::{eventually, pg};

/// A row that has not expired.
const LIVE: &str = "select value from respgres_kv where key = $1 and coalesce(expires_at > clock_timestamp(), true)";

/// The shards that have a live row of a key, with its value. Waits for those that are down.
pub fn live_rows(urls: &[String], key: &str) -> Vec<(usize, Vec<u8>)> {
    let ask = |url: &String| pg(url).ok()?.query_opt(LIVE, &[&key.as_bytes()]).ok();
    let rows = urls.iter().enumerate().filter_map(|(shard, url)| {
        let row = eventually("a shard can be asked", || ask(url));
        row.map(|row| (shard, row.get(0)))
    });
    rows.collect()
}

/// The keys of these that have no live row with the value that goes with them.
pub fn missing(url: &str, expected: &[(String, String)]) -> Vec<String> {
    let keys: Vec<&[u8]> = expected.iter().map(|(key, _)| key.as_bytes()).collect();
    let query = "select key, value from respgres_kv where key = any($1)";
    let rows = eventually("a shard can be asked", || {
        pg(url).ok()?.query(query, &[&keys]).ok()
    });
    let found: std::collections::HashMap<Vec<u8>, Vec<u8>> =
        rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let is_missing = |(key, value): &&(String, String)| {
        found
            .get(key.as_bytes())
            .is_none_or(|stored| stored != value.as_bytes())
    };
    expected
        .iter()
        .filter(is_missing)
        .map(|(key, _)| key.clone())
        .collect()
}

/// Deletes rows that are no longer needed.
pub fn forget(url: &str, keys: &[(String, String)]) {
    let keys: Vec<&[u8]> = keys.iter().map(|(key, _)| key.as_bytes()).collect();
    let delete = "delete from respgres_kv where key = any($1)";
    eventually("a shard can be told", || {
        pg(url).ok()?.execute(delete, &[&keys]).ok()
    });
}

/// Locks the rows of these keys for a while, as somebody's session at a prompt may.
pub fn hold_rows(url: &str, keys: &[String], lasts: Duration) {
    let keys: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
    let lock = "select key from respgres_kv where key = any($1) order by key for update";
    eventually("rows can be locked", || {
        let mut client = pg(url).ok()?;
        let mut transaction = client.transaction().ok()?;
        let rows = transaction.query(lock, &[&keys]).ok()?;
        // Deleted ones can't be held; most are there most of the time.
        (!rows.is_empty()).then(|| std::thread::sleep(lasts))
    });
}

/// A process of the server that serves one of the connections from these ports; if there is one within a moment, one
/// that is in the middle of a write.
pub fn session_from(url: &str, ports: &[u16]) -> Option<i32> {
    let query = "select pid, coalesce(state <> 'idle' and query ~* 'insert|update|delete', false) as writes
        from pg_stat_activity where datname = current_database() and client_port = any($1) order by writes desc, pid";
    let ports: Vec<i32> = ports.iter().map(|port| i32::from(*port)).collect();
    let mut client = eventually("a shard can be asked", || pg(url).ok());
    let mut found = None;
    for _attempt in 0..200 {
        let rows = client.query(query, &[&ports]).ok()?;
        let row = rows.first()?;
        found = Some(row.get("pid"));
        if row.get("writes") {
            break;
        }
    }
    found
}

/// Waits until the shard takes statements.
pub fn wait_until_up(url: &str) {
    eventually("a shard recovers by itself", || {
        pg(url).ok()?.simple_query("select 1").ok().map(drop)
    });
}

#[test]
fn a_write_that_is_gone_or_changed_is_missed() {
    let it = crate::harness::Setup::postgres().shards(1).start();
    let url = &it.urls()[0];
    let pairs: Vec<(String, String)> = (0..4)
        .map(|n| (format!("key:{n}"), format!("{n}")))
        .collect();
    for (key, value) in &pairs {
        it.conn().set(key, value);
    }
    assert_eq!(missing(url, &pairs), Vec::<String>::new());
    let mut client = pg(url).unwrap();
    client
        .batch_execute("delete from respgres_kv where key = 'key:1'")
        .unwrap();
    client
        .batch_execute("update respgres_kv set value = 'x' where key = 'key:2'")
        .unwrap();
    assert_eq!(missing(url, &pairs), ["key:1", "key:2"]);
    client
        .batch_execute("update respgres_kv set expires_at = now() where key = 'key:0'")
        .unwrap();
    assert_eq!(live_rows(it.urls(), "key:0"), []);
    assert_eq!(live_rows(it.urls(), "key:3"), [(0, b"3".to_vec())]);
    forget(url, &pairs);
    assert_eq!(missing(url, &pairs).len(), pairs.len());
}
