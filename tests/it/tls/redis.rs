//! A cache in a Redis that speaks TLS.

use super::start;
use crate::harness::{Authority, Proxy, ProxyBuilder, RedisServer, Scratch, Wish, eventually};

fn builder(dir: &Scratch, redis: &RedisServer, host: &str, ca: &str) -> ProxyBuilder {
    ProxyBuilder::new(dir.path())
        .env("REDIS_URL", redis.secured_url(host))
        .env("REDIS_CA_FILE", ca)
}

/// Waits until reads are served from the cache.
#[track_caller]
fn assert_cached(proxy: &Proxy) {
    let http = proxy.http();
    http.write("key", "value").expect(200);
    eventually("a read is a hit", || {
        let (value, is_hit) = http.value_and_origin("key");
        assert_eq!(value, "value");
        is_hit.then_some(())
    });
}

/// The cache is down, the log says why, and the data are served.
#[track_caller]
fn assert_down(proxy: &Proxy, words: &str) {
    eventually("the log says why", || {
        let log = proxy.log();
        let mut lines = log
            .lines()
            .filter(|line| line.contains("the cache can't be used"));
        lines.any(|line| line.contains(words)).then_some(())
    });
    let http = proxy.http();
    http.write("key", "value").expect(200);
    assert_eq!(http.value_and_origin("key"), ("value".to_owned(), false));
    assert_eq!(http.health().1["cache"], "unhealthy");
}

/// Where on the server the connections of proxies are: those of its clients but the one that asks.
fn local_ports(redis: &RedisServer) -> Vec<String> {
    let list = redis.conn().run("CLIENT LIST").string();
    let clients = list.lines().filter(|line| !line.contains("cmd=client"));
    let address = |line: &str| {
        let address = line
            .split(' ')
            .find_map(|field| field.strip_prefix("laddr="))?;
        address.rsplit(':').next().map(str::to_owned)
    };
    clients.filter_map(address).collect()
}

#[test]
fn every_connection_is_secured() {
    let (authority, dir) = (Authority::new("the authority"), Scratch::new("tls"));
    let redis = RedisServer::secured(&authority.issue(Wish::names(&["localhost"])), None);
    let ca = authority.file(dir.path(), "ca.pem");
    let proxy = start(builder(&dir, &redis, "localhost", &ca), &dir);
    assert_cached(&proxy);
    // One for the channels, too.
    let mut subscriber = proxy.conn();
    subscriber.send(b"SUBSCRIBE news\r\n");
    subscriber.read();
    let mut publisher = proxy.conn();
    eventually("a message goes by the Redis", || {
        (publisher.run("PUBLISH news text") == ":1").then_some(())
    });
    let ports = local_ports(&redis);
    let secured = redis.secured_port().to_string();
    assert!(ports.len() >= 5, "{ports:?}");
    assert!(
        ports.iter().all(|port| *port == secured),
        "{ports:?}, not {secured}"
    );
    // Values of any size, as the buffers of TLS are small.
    let mut conn = proxy.conn();
    let large = vec![b'x'; 5 << 20];
    conn.set("large", &large);
    for _ in 0..3 {
        assert_eq!(conn.get("large").unwrap(), large);
    }
}

#[test]
fn a_redis_that_is_not_to_be_trusted_is_not_used() {
    let (authority, dir) = (Authority::new("the authority"), Scratch::new("tls"));
    let redis = RedisServer::secured(&authority.issue(Wish::names(&["localhost"])), None);
    let ca = authority.file(dir.path(), "ca.pem");
    let other = Authority::new("another authority").file(dir.path(), "other.pem");
    let with = |host: &str, ca: &str| start(builder(&dir, &redis, host, ca), &dir);
    assert_down(&with("localhost", &other), "UnknownIssuer");
    assert_down(&with("127.0.0.1", &ca), "not valid for name");
    // Whom the system trusts.
    assert_down(&with("localhost", ""), "UnknownIssuer");
    let expired = authority.issue(Wish::names(&["localhost"]).expired());
    let expired = RedisServer::secured(&expired, None);
    assert_down(
        &builder(&dir, &expired, "localhost", &ca).start(),
        "expired",
    );
    // A port that speaks no TLS.
    let url = redis.url().replace("redis://", "rediss://");
    let plain = builder(&dir, &redis, "localhost", &ca).env("REDIS_URL", url);
    assert_down(
        &start(plain, &dir),
        "a port that does not speak TLS gives none",
    );
}

#[test]
fn a_certificate_may_be_trusted_by_itself_and_replaced() {
    let dir = Scratch::new("tls");
    let issued = Wish::names(&["localhost"]).of_authority().self_signed();
    let redis = RedisServer::secured(&issued, None);
    let other = Authority::new("another authority").file(dir.path(), "server.crt");
    let proxy = start(builder(&dir, &redis, "localhost", &other), &dir);
    assert_down(&proxy, "UnknownIssuer");
    issued.files(dir.path(), "server");
    assert_cached(&proxy);
}

#[test]
fn the_redis_may_ask_for_a_certificate() {
    let (authority, dir) = (Authority::new("the authority"), Scratch::new("tls"));
    let issued = authority.issue(Wish::names(&["localhost"]));
    let redis = RedisServer::secured(&issued, Some(&authority));
    let ca = authority.file(dir.path(), "ca.pem");
    let builder = builder(&dir, &redis, "localhost", &ca);
    let (certificate, key) = authority
        .issue(Wish::names(&[]))
        .files(dir.path(), "client");
    let with = |certificate: &str, key: &str| {
        let builder = builder.clone().env("REDIS_CERT_FILE", certificate);
        start(builder.env("REDIS_KEY_FILE", key), &dir)
    };
    assert_cached(&with(&certificate, &key));
    assert_down(&start(builder.clone(), &dir), "CertificateRequired");
    let foreign = Authority::new("another authority").issue(Wish::names(&[]));
    let (foreign, foreign_key) = foreign.files(dir.path(), "foreign");
    assert_down(&with(&foreign, &foreign_key), "UnknownCA");
    assert_down(
        &with(&certificate, &foreign_key),
        "is not the key of the certificate",
    );
}
