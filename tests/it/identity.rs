//! Shards know who they are: what does not belong together is refused at start, and nothing is written.

use crate::harness::{
    Proxy, ProxyBuilder, Scratch, Setup, Shards, args, blank_databases, keys_on_each, pg,
};

/// Starts a deployment on these databases, writes a key to each shard, and stops it.
fn used(urls: &[String]) -> Vec<String> {
    let dir = Scratch::new("identity");
    let proxy = builder(&dir, urls).start();
    let mut conn = proxy.conn();
    for key in keys_on_each(urls.len(), "key") {
        conn.set(&key, "value");
    }
    urls.to_vec()
}

fn builder(dir: &Scratch, urls: &[impl AsRef<str>]) -> ProxyBuilder {
    ProxyBuilder::new(dir.path())
        .shard_urls(urls)
        .env("REDIS_URL", "memory:")
}

/// Fails unless these URLs are refused with words that name one of `variables`, and the databases stay as they are.
#[track_caller]
fn assert_refused(builder: ProxyBuilder, databases: &[String], variables: &[&str]) -> String {
    let before: Vec<String> = databases
        .iter()
        .map(|url| Shards::fingerprint(url))
        .collect();
    let words = builder.run_refused();
    assert!(
        variables.iter().any(|name| words.contains(name)),
        "{variables:?} in: {words}"
    );
    assert!(!words.contains("listening on"), "it opens no port: {words}");
    let after: Vec<String> = databases
        .iter()
        .map(|url| Shards::fingerprint(url))
        .collect();
    assert_eq!(before, after, "nothing is written");
    words
}

#[test]
fn the_same_databases_in_the_same_order_are_accepted_again() {
    let urls = used(&blank_databases(3));
    let dir = Scratch::new("identity");
    for _ in 0..2 {
        let proxy = builder(&dir, &urls).env("NUM_SHARDS", "3").start();
        for key in keys_on_each(3, "key") {
            assert_eq!(proxy.conn().get(&key).unwrap(), b"value");
        }
    }
}

#[test]
fn the_identity_is_written_when_a_shard_is_first_used() {
    let urls = used(&blank_databases(3));
    let identity = |url: &String| {
        let query = "select deployment_id::text, shard_id::int, num_shards::int, routing::text, schema_version::int \
                     from respgres_identity";
        let rows = pg(url).unwrap().query(query, &[]).unwrap();
        assert_eq!(rows.len(), 1);
        let row = &rows[0];
        assert!(!row.get::<_, String>(3).is_empty() && row.get::<_, i32>(4) >= 1);
        (
            row.get::<_, String>(0),
            row.get::<_, i32>(1),
            row.get::<_, i32>(2),
        )
    };
    let identities: Vec<_> = urls.iter().map(identity).collect();
    let deployment = &identities[0].0;
    for (shard, identity) in identities.iter().enumerate() {
        assert_eq!(identity, &(deployment.clone(), shard as i32, 3));
    }
    let other = identity(&used(&blank_databases(1))[0]);
    assert_ne!(&other.0, deployment, "each deployment has an id of its own");
}

#[test]
fn swapped_urls_are_refused() {
    let urls = used(&blank_databases(3));
    let dir = Scratch::new("identity");
    for order in [[1, 0, 2], [0, 2, 1], [1, 2, 0]] {
        let swapped: Vec<&String> = order.iter().map(|n| &urls[*n]).collect();
        let wrong: Vec<String> = (0..3)
            .filter(|n| order[*n] != *n)
            .map(|n| format!("SHARD_{n}_URL"))
            .collect();
        let names: Vec<&str> = wrong.iter().map(String::as_str).collect();
        assert_refused(builder(&dir, &swapped), &urls, &names);
    }
}

#[test]
fn another_number_of_shards_is_refused() {
    let urls = used(&blank_databases(3));
    let dir = Scratch::new("identity");
    assert_refused(builder(&dir, &urls[..2]), &urls, &["NUM_SHARDS"]);
    assert_refused(
        builder(&dir, &urls[..2]).env("NUM_SHARDS", "2"),
        &urls,
        &["NUM_SHARDS"],
    );
    let mut more = urls.clone();
    more.extend(blank_databases(1));
    assert_refused(builder(&dir, &more), &more, &["NUM_SHARDS"]);
}

#[test]
fn one_database_named_twice_is_refused() {
    let urls = blank_databases(2);
    let dir = Scratch::new("identity");
    let twice = [&urls[0], &urls[1], &urls[0]];
    assert_refused(
        builder(&dir, &twice),
        &urls,
        &["SHARD_0_URL", "SHARD_2_URL"],
    );
    // Written in another way, it is the same database still.
    let other_way = urls[0].replace("127.0.0.1", "localhost");
    let twice = [&urls[0], &urls[1], &other_way];
    assert_refused(
        builder(&dir, &twice),
        &urls,
        &["SHARD_0_URL", "SHARD_2_URL"],
    );
    let urls = used(&blank_databases(3));
    let twice = [&urls[0], &urls[1], &urls[1]];
    assert_refused(
        builder(&dir, &twice),
        &urls,
        &["SHARD_1_URL", "SHARD_2_URL"],
    );
}

#[test]
fn a_database_of_another_deployment_is_refused() {
    let urls = used(&blank_databases(3));
    let others = used(&blank_databases(3));
    let dir = Scratch::new("identity");
    let mixed = [&urls[0], &urls[1], &others[2]];
    let all = [urls.clone(), others.clone()].concat();
    assert_refused(builder(&dir, &mixed), &all, &["SHARD_2_URL"]);
    let mixed = [&others[0], &urls[1], &urls[2]];
    assert_refused(
        builder(&dir, &mixed),
        &all,
        &["SHARD_0_URL", "SHARD_1_URL", "SHARD_2_URL"],
    );
}

#[test]
fn the_words_of_a_refusal_hide_the_password() {
    let urls = used(&blank_databases(2));
    let dir = Scratch::new("identity");
    let with_password = |url: &String| url.replace("respgres@", "respgres:hunter2@");
    let swapped = [with_password(&urls[1]), with_password(&urls[0])];
    let words = assert_refused(
        builder(&dir, &swapped),
        &urls,
        &["SHARD_0_URL", "SHARD_1_URL"],
    );
    assert!(!words.contains("hunter2"), "{words}");
}

#[test]
fn sqlite_shards_know_who_they_are_too() {
    let dir = Scratch::new("identity");
    let urls: Vec<String> = (0..3)
        .map(|n| format!("sqlite:{}", dir.join(&format!("s{n}.db")).display()))
        .collect();
    let keys = keys_on_each(3, "key");
    let proxy = builder(&dir, &urls).start();
    for key in &keys {
        proxy.conn().set(key, "value");
    }
    drop(proxy);
    let words = builder(&dir, &[&urls[1], &urls[0], &urls[2]]).run_refused();
    assert!(
        words.contains("SHARD_0_URL") || words.contains("SHARD_1_URL"),
        "{words}"
    );
    let words = builder(&dir, &urls[..2]).run_refused();
    assert!(words.contains("NUM_SHARDS"), "{words}");
    let words = builder(&dir, &[&urls[0], &urls[1], &urls[1]]).run_refused();
    assert!(
        words.contains("SHARD_1_URL") || words.contains("SHARD_2_URL"),
        "{words}"
    );
    let proxy = builder(&dir, &urls).start();
    for key in &keys {
        assert_eq!(proxy.conn().get(key).unwrap(), b"value");
    }
}

#[test]
fn a_data_directory_keeps_its_number_of_shards() {
    let mut it = Setup::embedded().start();
    it.conn().set("key", "value");
    it.proxy_mut().kill();
    let words = it.builder().env("NUM_SHARDS", "4").run_refused();
    assert!(words.contains("NUM_SHARDS"), "{words}");
    it.proxy_mut().start_again();
    assert_eq!(it.conn().get("key").unwrap(), b"value");
}

#[test]
fn hash_tags_can_be_neither_turned_on_nor_off_once_there_are_rows() {
    let urls = used(&blank_databases(2));
    let dir = Scratch::new("identity");
    let words = assert_refused(
        builder(&dir, &urls).env("HASH_TAGS", "on"),
        &urls,
        &["HASH_TAGS"],
    );
    assert!(words.contains("has to be `off`"), "{words}");
    let urls = blank_databases(2);
    let tagged = builder(&dir, &urls).env("HASH_TAGS", "on");
    tagged.clone().start().conn().set("{a}b", "value");
    let words = assert_refused(builder(&dir, &urls), &urls, &["HASH_TAGS"]);
    assert!(words.contains("has to be `on`"), "{words}");
    assert_eq!(tagged.start().conn().get("{a}b").unwrap(), b"value");
}

/// Starts some proxies at the same moment on the same blank databases, and checks that they are one deployment.
fn start_at_once(count: usize) {
    let urls = blank_databases(3);
    let redis = crate::harness::RedisServer::start();
    let dirs: Vec<Scratch> = (0..count).map(|_| Scratch::new("together")).collect();
    let launch = |dir| builder(dir, &urls).env("REDIS_URL", redis.url()).launch();
    let mut proxies: Vec<Proxy> = dirs.iter().map(launch).collect();
    for proxy in &mut proxies {
        proxy.wait_ready();
    }
    for (n, writer) in proxies.iter().enumerate() {
        for key in keys_on_each(3, "key") {
            writer.conn().set(&key, format!("by {n}"));
            for reader in &proxies {
                assert_eq!(
                    reader.conn().get(&key).unwrap(),
                    format!("by {n}").as_bytes()
                );
            }
        }
    }
    for url in &urls {
        let row = pg(url)
            .unwrap()
            .query_one("select count(*) from respgres_identity", &[])
            .unwrap();
        assert_eq!(row.get::<_, i64>(0), 1);
    }
    drop(proxies);
    let again = builder(&dirs[0], &urls).start();
    assert_eq!(again.conn().cmd(&args!["DBSIZE"]), ":3");
}

#[test]
fn two_proxies_may_start_at_once_on_blank_databases() {
    start_at_once(2);
}

#[test]
fn five_proxies_may_start_at_once_on_blank_databases() {
    start_at_once(5);
}
