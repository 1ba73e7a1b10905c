//! `/live` and `/ready`: what orchestrators ask.

use serde_json::Value;

use crate::harness::{
    Conn, Http, PostgresServer, ProxyBuilder, Scratch, Setup, both_backends, encode, eventually, pg,
};

both_backends!(what_serves_is_alive_and_ready);

/// A shard that nobody listens for.
const NOBODY: &str = "postgresql://nobody@127.0.0.1:1/nothing";

#[track_caller]
fn ready(http: &Http) -> (u16, String) {
    let answer = http.get("/ready");
    let body = answer.json();
    assert_eq!(body["ready"], Value::Bool(answer.status == 200), "{body}");
    assert!(body["reason"].as_str().unwrap().len() > 10, "{body}");
    (answer.status, body["state"].as_str().unwrap().to_owned())
}

#[track_caller]
fn assert_alive(http: &Http) {
    assert_eq!(http.get("/live").expect(200)["live"], true);
}

fn what_serves_is_alive_and_ready(setup: Setup) {
    let it = setup.start();
    assert_alive(&it.http());
    assert_eq!(ready(&it.http()), (200, "ready".to_owned()));
}

#[test]
fn a_proxy_that_has_reached_no_shard_is_alive_and_not_ready() {
    let dir = Scratch::new("unreached");
    let proxy = ProxyBuilder::new(dir.path()).shard_urls(&[NOBODY]).start();
    assert_alive(&proxy.http());
    assert_eq!(ready(&proxy.http()), (503, "starting".to_owned()));
    let metrics = proxy.http().get("/metrics").text();
    assert!(metrics.contains("\nrespgres_ready 0\n"), "{metrics}");
    assert!(metrics.contains("respgres_shard_breaker_open{shard=\"shard_0\"} 1\n"));
    assert!(!metrics.contains("respgres_shard_rows{"), "nobody knows");
}

#[test]
fn a_proxy_that_has_lost_a_shard_is_ready_and_one_that_has_lost_all_is_not() {
    let mut server = PostgresServer::separate();
    let urls = [server.create_database(), NOBODY.to_owned()];
    let dir = Scratch::new("losses");
    let proxy = ProxyBuilder::new(dir.path()).shard_urls(&urls).start();
    let is = |state: &str| {
        let http = proxy.http();
        eventually(&format!("it is {state}"), || {
            (ready(&http).1 == state).then_some(())
        });
        assert_alive(&http);
        ready(&http).0
    };
    assert_eq!(is("degraded"), 200);
    server.kill();
    assert_eq!(is("unreachable"), 503);
    server.start_again();
    assert_eq!(is("degraded"), 200);
    let metrics = proxy.http().get("/metrics").text();
    let opened = "respgres_shard_breaker_openings_total{shard=\"shard_0\"} 1\n";
    assert!(metrics.contains(opened), "{metrics}");
}

#[test]
fn a_proxy_that_stops_is_not_ready_while_it_answers_what_was_read() {
    let mut it = Setup::postgres().shards(1).start();
    let mut sql = pg(&it.urls()[0]).unwrap();
    let mut holding = sql.transaction().unwrap();
    holding.batch_execute("LOCK respgres_rows").unwrap();
    let mut conn = Conn::open(&it.resp_addr());
    conn.send(&encode(&[b"GET", b"key"]));
    eventually("the read waits for the lock", || {
        let waiting = holding.query_one("SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())", &[]);
        (waiting.unwrap().get::<_, i64>(0) > 0).then_some(())
    });
    let http = it.http();
    it.proxy_mut().terminate();
    eventually("it is draining", || {
        (ready(&http) == (503, "draining".to_owned())).then_some(())
    });
    assert_alive(&http);
    assert_eq!(http.get("/metrics").status, 200);
    holding.rollback().unwrap();
    assert_eq!(conn.read().value(), None, "it is answered");
    assert_eq!(it.proxy_mut().wait_exit().code, 0);
}
