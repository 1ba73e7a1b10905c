//! One shard down: its keys say so, the others' do not notice, and it comes back by itself.

use crate::harness::{
    Conn, PostgresServer, Proxy, ProxyBuilder, RedisServer, Scratch, args, eventually,
    keys_on_each, pg,
};

/// Three servers of their own, so that one can be killed.
struct Cluster {
    proxy: Proxy,
    servers: Vec<PostgresServer>,
    urls: Vec<String>,
    redis: RedisServer,
    builder: ProxyBuilder,
    _dir: Scratch,
}

impl Cluster {
    fn start() -> Cluster {
        let servers: Vec<PostgresServer> = (0..3).map(|_| PostgresServer::separate()).collect();
        let urls: Vec<String> = servers
            .iter()
            .map(PostgresServer::create_database)
            .collect();
        let redis = RedisServer::start();
        let dir = Scratch::new("cluster");
        let builder = ProxyBuilder::new(dir.path())
            .shard_urls(&urls)
            .env("REDIS_URL", redis.url());
        Cluster {
            proxy: builder.clone().start(),
            servers,
            urls,
            redis,
            builder,
            _dir: dir,
        }
    }

    fn conn(&self) -> Conn {
        self.proxy.conn()
    }
}

/// Waits until the key is written, which it is once its shard is back.
#[track_caller]
fn wait_until_written(conn: &mut Conn, key: &str, value: &str) {
    eventually("the shard is back", || {
        let reply = conn.cmd(&args!["SET", key, value]);
        if reply.is_error() {
            assert!(
                reply.error().starts_with("SHARDDOWN shard_1 ")
                    || reply.error().contains("outcome"),
                "{reply}"
            );
        }
        (reply == "+OK").then_some(())
    });
}

#[track_caller]
fn assert_down(conn: &mut Conn, command: &[&[u8]]) {
    let reply = conn.cmd(command);
    assert!(reply.error().starts_with("SHARDDOWN shard_1 "), "{reply}");
}

#[test]
fn a_killed_shards_keys_are_refused_the_others_go_on_and_it_comes_back_by_itself() {
    let mut it = Cluster::start();
    let mut conn = it.conn();
    let http = it.proxy.http();
    let keys = keys_on_each(3, "key");
    for key in &keys {
        conn.set(key, "before");
    }
    it.servers[1].crash();

    // The first one may learn it from a broken connection; from then on each answer is the shard's name.
    eventually("the shard is known to be down", || {
        let reply = conn.cmd(&args!["SET", keys[1], "lost"]);
        assert!(
            reply.is_error(),
            "a write to a dead shard is not acknowledged: {reply}"
        );
        reply
            .error()
            .starts_with("SHARDDOWN shard_1 ")
            .then_some(())
    });
    let fresh = crate::harness::key_on(1, 3, "fresh");
    for _ in 0..3 {
        assert_down(&mut conn, &args!["SET", keys[1], "lost"]);
        assert_down(&mut conn, &args!["SET", keys[1], "lost", "NX"]);
        assert_down(&mut conn, &args!["GET", fresh]);
        assert_down(&mut conn, &args!["DEL", keys[1]]);
        assert_down(&mut conn, &args!["EXISTS", fresh]);
        assert_down(&mut conn, &args!["TTL", fresh]);
        assert_down(&mut conn, &args!["EXPIRE", keys[1], "100"]);
        // Those of several keys fail as a whole.
        assert_down(&mut conn, &args!["MGET", keys[0], fresh, keys[2]]);
        assert_down(&mut conn, &args!["DEL", "nosuch", keys[1]]);
        assert_down(&mut conn, &args!["MSET", keys[1], "lost"]);
        for (n, key) in keys.iter().enumerate().filter(|(n, _)| *n != 1) {
            conn.set(key, format!("during {n}"));
            assert_eq!(conn.get(key).unwrap(), format!("during {n}").as_bytes());
            assert_eq!(http.value_and_origin(key).0, format!("during {n}"));
        }
        assert_eq!(
            conn.cmd(&args!["MGET", keys[0], keys[2]]),
            "[\"during 0\", \"during 2\"]"
        );
        assert_eq!(conn.run("PING"), "+PONG");
    }
    let detail = http.write(&keys[1], "lost").expect_detail(503);
    assert!(detail.contains("shard_1"), "{detail}");
    let detail = http.read(&fresh).expect_detail(503);
    assert!(detail.contains("shard_1"), "{detail}");

    let health = eventually("health tells it", || {
        let (status, body) = http.health();
        assert_eq!(status, 200, "it still serves: {body}");
        (body["status"] == "degraded").then_some(body)
    });
    assert_eq!(health["shards"]["shard_0"], "healthy");
    assert_ne!(health["shards"]["shard_1"], "healthy");
    assert_eq!(health["shards"]["shard_2"], "healthy");
    assert_eq!(health["cache"], "healthy");
    http.stats();

    it.servers[1].start_again();
    wait_until_written(&mut conn, &keys[1], "after");
    assert_eq!(conn.get(&keys[1]).unwrap(), b"after");
    assert_eq!(
        conn.cmd(&args!["MGET", keys[1], keys[0]]),
        "[\"after\", \"during 0\"]"
    );
    eventually("health tells it", || {
        (http.health().1["status"] == "healthy").then_some(())
    });
}

#[test]
fn no_acknowledged_write_is_lost_by_a_crash_of_its_shard() {
    let mut it = Cluster::start();
    let writers = crate::harness::Writers::start(it.proxy.resp_addr(), 6, "load");
    eventually("there is load", || {
        (writers.acknowledged_so_far() > 500).then_some(())
    });
    it.servers[1].crash();
    let so_far = writers.acknowledged_so_far();
    // A write to the dead shard is answered with an error; the writers go on.
    eventually("the load goes on without it", || {
        (writers.acknowledged_so_far() > so_far + 200).then_some(())
    });
    it.servers[1].start_again();
    wait_until_written(&mut it.conn(), &keys_on_each(3, "key")[1], "back");
    let acknowledged = writers.finish();
    let mut conn = it.conn();
    for (key, value) in &acknowledged {
        assert_eq!(
            conn.get(key).as_deref(),
            Some(value.as_bytes()),
            "{key} of {}",
            acknowledged.len()
        );
    }
}

#[test]
fn a_shard_that_is_down_at_start_does_not_keep_the_others_from_serving() {
    let mut it = Cluster::start();
    let keys = keys_on_each(3, "key");
    it.conn().set(&keys[1], "kept");
    it.proxy.kill();
    it.servers[1].crash();
    it.proxy = it.builder.clone().start();
    let mut conn = it.conn();
    for key in [&keys[0], &keys[2]] {
        conn.set(key, "value");
        assert_eq!(conn.get(key).unwrap(), b"value");
    }
    assert_down(&mut conn, &args!["SET", keys[1], "lost"]);
    let (status, body) = it.proxy.http().health();
    assert_eq!((status, body["status"].as_str()), (200, Some("degraded")));
    it.servers[1].start_again();
    eventually("the shard is back", || {
        let reply = conn.cmd(&args!["GET", keys[1]]);
        (!reply.is_error()).then(|| assert_eq!(reply, "\"kept\""))
    });
    conn.set(&keys[1], "after");
    assert_eq!(conn.get(&keys[1]).unwrap(), b"after");
}

#[test]
fn a_shard_that_was_never_reached_is_set_up_when_it_comes() {
    let mut servers: Vec<PostgresServer> = (0..3).map(|_| PostgresServer::separate()).collect();
    let urls: Vec<String> = servers
        .iter()
        .map(PostgresServer::create_database)
        .collect();
    servers[1].crash();
    let dir = Scratch::new("cluster");
    let proxy = ProxyBuilder::new(dir.path()).shard_urls(&urls).start();
    let mut conn = proxy.conn();
    let keys = keys_on_each(3, "key");
    conn.set(&keys[0], "value");
    assert_down(&mut conn, &args!["SET", keys[1], "lost"]);
    servers[1].start_again();
    wait_until_written(&mut conn, &keys[1], "value");
    let row = pg(&urls[1])
        .unwrap()
        .query_one("select count(*) from respgres_kv", &[])
        .unwrap();
    assert_eq!(row.get::<_, i64>(0), 1);
}

#[test]
fn with_every_shard_down_health_is_unhealthy_and_the_proxy_lives() {
    let mut it = Cluster::start();
    it.conn().set("key", "kept");
    for server in &mut it.servers {
        server.crash();
    }
    let http = it.proxy.http();
    let body = eventually("health tells it", || {
        let (status, body) = http.health();
        (body["status"] == "unhealthy").then(|| {
            assert_eq!(status, 503);
            body
        })
    });
    assert_eq!(body["layer"], "4-db-sharding");
    let mut conn = it.conn();
    assert_eq!(conn.run("PING"), "+PONG");
    assert!(conn.run("GET nosuch").error().starts_with("SHARDDOWN "));
    assert!(
        conn.run("MSET a 1 b 2 c 3")
            .error()
            .starts_with("SHARDDOWN ")
    );
    http.stats();
    for server in &mut it.servers {
        server.start_again();
    }
    eventually("it is healthy again", || {
        (http.health().1["status"] == "healthy").then_some(())
    });
    assert_eq!(conn.get("key").unwrap(), b"kept");
}

#[test]
fn lost_connections_are_replaced() {
    let it = Cluster::start();
    let mut conn = it.conn();
    let keys = keys_on_each(3, "key");
    for round in 0..3 {
        for (key, url) in keys.iter().zip(&it.urls) {
            conn.set(key, format!("{round}"));
            let mut shard = pg(url).unwrap();
            let end_them = "select pg_terminate_backend(pid) from pg_stat_activity \
                            where datname = current_database() and pid <> pg_backend_pid()";
            assert!(
                !shard.query(end_them, &[]).unwrap().is_empty(),
                "the proxy was connected"
            );
        }
        for key in &keys {
            let reply = eventually("a new connection is made", || {
                let reply = conn.cmd(&args!["SET", key, "again"]);
                (!reply.is_error()).then_some(reply)
            });
            assert_eq!(reply, "+OK");
            assert_eq!(conn.get(key).unwrap(), b"again");
        }
    }
    assert!(it.redis.conn().run("PING") == "+PONG");
}

#[test]
fn connections_to_a_shard_stay_within_the_pools_limits() {
    let server = PostgresServer::separate();
    let url = server.create_database();
    let dir = Scratch::new("pool");
    let proxy = ProxyBuilder::new(dir.path())
        .shard_urls(&[&url])
        .env("DB_POOL_MIN_SIZE", "1")
        .env("DB_POOL_MAX_SIZE", "3")
        .start();
    let writers = crate::harness::Writers::start(proxy.resp_addr(), 20, "load");
    let mut shard = pg(&url).unwrap();
    let mut most = 0;
    eventually("there was load for a while", || {
        let count = "select count(*) from pg_stat_activity where datname = current_database() \
                     and pid <> pg_backend_pid() and backend_type = 'client backend'";
        most = most.max(shard.query_one(count, &[]).unwrap().get::<_, i64>(0));
        (writers.acknowledged_so_far() >= 3000).then_some(())
    });
    writers.finish();
    // Beyond the pool a proxy may keep a session of its own for watching.
    assert!((1..=5).contains(&most), "{most} connections");
    let pool = proxy.http().stats()["shard_pool_sizes"]["shard_0"]
        .as_u64()
        .unwrap();
    assert!((1..=3).contains(&pool), "{pool}");
}
