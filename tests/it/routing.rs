//! Routing: the MD5 of the key modulo the number of shards, as Python computes it, in the library and end to end.

use respgres::routing;

use crate::harness::{Setup, args, both_backends, shard_of};

const VECTORS: &str = include_str!("../data/routing_vectors.txt");
const TAG_VECTORS: &str = include_str!("../data/routing_tag_vectors.txt");
const SHARD_COUNTS: [u16; 5] = [1, 2, 3, 5, 16];

/// Keys with their shards for each of `SHARD_COUNTS`.
fn vectors(table: &str) -> Vec<(Vec<u8>, [usize; 5])> {
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split(' ');
            let key = key(words.next().unwrap());
            let shards: Vec<usize> = words.map(|word| word.parse().unwrap()).collect();
            (key, shards.try_into().unwrap())
        })
        .collect()
}

fn key(word: &str) -> Vec<u8> {
    let byte = |hex: &str| u8::from_str_radix(hex, 16).unwrap();
    match word.split_once('*') {
        _ if word == "-" => Vec::new(),
        Some((hex, count)) => vec![byte(hex); count.parse().unwrap()],
        None => (0..word.len())
            .step_by(2)
            .map(|at| byte(&word[at..at + 2]))
            .collect(),
    }
}

#[test]
fn keys_are_routed_as_hashlib_says() {
    let vectors = vectors(VECTORS);
    assert!(vectors.len() > 20);
    for (key, shards) in &vectors {
        for (num_shards, expected) in SHARD_COUNTS.iter().zip(shards) {
            let shard = routing::shard_of(key, *num_shards).index();
            assert_eq!(shard, *expected, "{} of {num_shards}", key.escape_ascii());
            assert_eq!(
                shard_of(key, usize::from(*num_shards)),
                *expected,
                "the tests' own computation"
            );
        }
    }
    assert!(vectors.contains(&(
        b"user:123".to_vec(),
        [0, 1, 2, shard_of(b"user:123", 5), shard_of(b"user:123", 16)]
    )));
}

#[test]
fn keys_are_routed_by_their_hash_tags_as_hashlib_says() {
    let vectors = vectors(TAG_VECTORS);
    assert!(vectors.len() > 20);
    for (key, shards) in &vectors {
        for (num_shards, expected) in SHARD_COUNTS.into_iter().zip(shards) {
            let scheme = routing::Scheme::HashTags;
            let routing = routing::Routing { num_shards, scheme };
            let shard = routing.shard_of(key).index();
            assert_eq!(shard, *expected, "{} of {num_shards}", key.escape_ascii());
        }
    }
}

#[test]
fn thirty_thousand_keys_spread_evenly() {
    for num_shards in SHARD_COUNTS {
        let mut rows = vec![0_i32; usize::from(num_shards)];
        for n in 0..30_000 {
            rows[routing::shard_of(format!("user:{n}").as_bytes(), num_shards).index()] += 1;
        }
        let fair = 30_000 / i32::from(num_shards);
        for (shard, count) in rows.iter().enumerate() {
            // Five standard deviations of a fair draw.
            let off = f64::from((count - fair).abs());
            assert!(
                off <= 5.0 * f64::from(fair).sqrt(),
                "shard {shard} of {num_shards} has {count} keys, not {fair}"
            );
        }
    }
}

both_backends!(
    each_key_is_a_row_on_the_one_shard_that_its_md5_selects,
    two_and_sixteen_shards_are_routed_by_the_same_rule,
    one_shard_holds_everything,
    thirty_thousand_keys_are_where_they_belong,
    multi_key_commands_reach_the_shard_of_each_key,
    with_hash_tags_each_key_is_on_the_shard_of_its_tag,
    without_hash_tags_braces_mean_nothing,
);

/// Writes the vectors' keys on both ports, and looks for their rows.
fn check_vectors(setup: Setup, num_shards: usize) {
    let column = SHARD_COUNTS
        .iter()
        .position(|count| usize::from(*count) == num_shards)
        .unwrap();
    let it = setup.shards(num_shards).start();
    let (mut conn, http) = (it.conn(), it.http());
    for (key, shards) in vectors(VECTORS) {
        let expected = shards[column];
        conn.set(&key, b"by resp");
        assert_eq!(
            it.shards().holding(&key),
            [expected],
            "{}",
            key.escape_ascii()
        );
        if key.len() <= 512 {
            assert_eq!(http.read(&key).expect(200)["shard_id"], expected);
        }
        if let Ok(key) = str::from_utf8(&key) {
            assert_eq!(http.write(key, "by http").expect(200)["shard_id"], expected);
            assert_eq!(it.shards().holding(key.as_bytes()), [expected], "{key:?}");
        }
    }
    assert_eq!(it.shards().all_rows(), vectors(VECTORS).len() as i64);
}

fn each_key_is_a_row_on_the_one_shard_that_its_md5_selects(setup: Setup) {
    check_vectors(setup, 3);
}

fn with_hash_tags_each_key_is_on_the_shard_of_its_tag(setup: Setup) {
    let it = setup.env("HASH_TAGS", "on").start();
    let mut conn = it.conn();
    for (key, shards) in vectors(TAG_VECTORS) {
        conn.set(&key, &key);
        let holding = it.shards().holding(&key);
        assert_eq!(holding, [shards[2]], "{}", key.escape_ascii());
        assert_eq!(conn.get(&key).unwrap(), key);
    }
    let read = it.http().read(b"{user:1}.name").expect(200);
    assert_eq!(read["shard_id"], shard_of(b"user:1", 3));
}

fn without_hash_tags_braces_mean_nothing(setup: Setup) {
    let it = setup.start();
    let keys: Vec<String> = (0..30).map(|n| format!("{{tag}}{n}")).collect();
    for key in &keys {
        it.conn().set(key, "v");
        let shard = shard_of(key.as_bytes(), 3);
        assert_eq!(it.shards().holding(key.as_bytes()), [shard]);
    }
    assert!((0..3).all(|shard| it.shards().rows(shard) > 0));
}

/// 256 leaves 1 when divided by 3 or 5, so those numbers can't tell in which order the bytes of the MD5 were taken; powers
/// of two can.
fn two_and_sixteen_shards_are_routed_by_the_same_rule(setup: Setup) {
    check_vectors(setup.clone(), 2);
    check_vectors(setup, 16);
}

fn one_shard_holds_everything(setup: Setup) {
    check_vectors(setup, 1);
}

fn thirty_thousand_keys_are_where_they_belong(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    let keys: Vec<String> = (0..30_000).map(|n| format!("user:{n}")).collect();
    for some in keys.chunks(1000) {
        let mut mset: Vec<&[u8]> = vec![b"MSET"];
        for key in some {
            mset.extend([key.as_bytes(), b"v"]);
        }
        assert_eq!(conn.cmd(&mset), "+OK");
    }
    let mut total = 0;
    for shard in 0..3 {
        let stored = it.shards().keys(shard);
        assert!(
            stored.len() > 9_500 && stored.len() < 10_500,
            "shard {shard} has {}",
            stored.len()
        );
        total += stored.len();
        for key in stored {
            assert_eq!(shard_of(&key, 3), shard, "{}", key.escape_ascii());
        }
    }
    assert_eq!(total, keys.len());
}

fn multi_key_commands_reach_the_shard_of_each_key(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    let keys: Vec<String> = (0..30).map(|n| format!("k{n}")).collect();
    let mut mset: Vec<&[u8]> = vec![b"MSET"];
    for key in &keys {
        mset.extend([key.as_bytes(), key.as_bytes()]);
    }
    assert_eq!(conn.cmd(&mset), "+OK");
    for key in &keys {
        let shard = shard_of(key.as_bytes(), 3);
        assert_eq!(it.shards().holding(key.as_bytes()), [shard]);
        assert_eq!(
            it.shards().value(shard, key.as_bytes()).unwrap(),
            key.as_bytes()
        );
    }
    let mut del: Vec<&[u8]> = vec![b"DEL"];
    del.extend(keys[10..].iter().map(String::as_bytes));
    assert_eq!(conn.cmd(&del), ":20");
    assert_eq!(it.shards().all_rows(), 10);
    for key in &keys[10..] {
        assert!(it.shards().holding(key.as_bytes()).is_empty());
    }
    assert_eq!(
        conn.cmd(&args!["EXISTS", keys[0], keys[9], keys[10], keys[29]]),
        ":2"
    );
}
