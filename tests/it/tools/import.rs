//! `respgres import` from a Redis.

use std::sync::atomic::{AtomicBool, Ordering};

use super::transfer::{
    both_servers, contents, count, fill, kill_in_the_middle, restart_the_source, run, to, tool,
};
use crate::harness::{Conn, RaiseAtEnd, RedisServer, Scratch, Setup, args, both_backends};

both_backends!(
    everything_comes_as_it_was_and_other_types_are_told,
    what_is_written_meanwhile_comes_too,
);

fn everything_comes_as_it_was_and_other_types_are_told(setup: Setup) {
    let (it, redis, dir) = (setup.start(), RedisServer::start(), Scratch::new("import"));
    let mut source = redis.conn();
    fill(&mut source, 2500);
    let every_byte: Vec<u8> = (0..=255).collect();
    source.set(&every_byte, &every_byte);
    source.set("", "empty key");
    source.set("empty value", "");
    source.set("large", vec![b'x'; 5 * 1024 * 1024]);
    source.set("larger", vec![b'y'; 6 * 1024 * 1024]);
    source.run("SET soon 1 PX 1");
    let strings = contents(&mut source);
    assert!(strings.len() >= 2505);
    for command in [
        "RPUSH list a",
        "SADD set a",
        "HSET hash a b",
        "HSET hash2 a b",
    ] {
        source.run(command);
    }
    it.conn().set("key:7", "was here before");
    it.conn().set("own", "stays");
    let output = run(&dir, &["import", &redis.url(), &to(&it)], 3);
    let mut target = contents(&mut it.conn());
    assert!(target.remove(&b"own"[..]).is_some());
    // One may have expired since.
    let strings: super::transfer::Contents = strings
        .into_iter()
        .filter(|(key, _)| key != b"soon")
        .collect();
    assert!(target == strings, "{output}");
    assert_eq!(count(&output, "left out: of type hash"), 2);
    assert_eq!(count(&output, "left out: of type list"), 1);
    assert!(output.contains("\"list\" is of type list"), "{output}");
    assert_eq!(count(&output, "missing"), 0);
    assert_eq!(count(&output, "the same"), strings.len() as u64);
    let left: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".log"))
        .collect();
    assert!(left.is_empty(), "the state is removed: {left:?}");
}

fn what_is_written_meanwhile_comes_too(setup: Setup) {
    let (it, redis, dir) = (setup.start(), RedisServer::start(), Scratch::new("import"));
    fill(&mut redis.conn(), 5000);
    let stop = AtomicBool::new(false);
    let (exit, written) = std::thread::scope(|scope| {
        let _end = RaiseAtEnd(&stop);
        let writer = scope.spawn(|| {
            let mut conn = redis.conn();
            let mut written = 0;
            // So many that some are written in each part of it, and no more than can be copied.
            while !stop.load(Ordering::Relaxed) && written < 5000 {
                conn.set(format!("new:{written}"), "new");
                conn.set(
                    format!("key:{}", written % 100),
                    format!("changed {written}"),
                );
                conn.run(&format!("DEL key:{}", 200 + written % 100));
                written += 1;
            }
            written
        });
        let exit = tool(&dir, &["import", &redis.url(), &to(&it)]).run();
        stop.store(true, Ordering::Relaxed);
        (exit, writer.join().unwrap())
    });
    assert_eq!(exit.code, 0, "{}", exit.output);
    let output = exit.output;
    assert!(written > 0);
    assert_eq!(count(&output, "missing"), 0);
    let (source, target) = (contents(&mut redis.conn()), contents(&mut it.conn()));
    for number in 300..5000 {
        let key = format!("key:{number}").into_bytes();
        assert_eq!(target.get(&key), source.get(&key), "{output}");
    }
    // Once nobody writes, all of it is there.
    run(&dir, &["import", &redis.url(), &to(&it)], 0);
    let (source, target) = (contents(&mut redis.conn()), contents(&mut it.conn()));
    for (key, entry) in &source {
        assert_eq!(target.get(key), Some(entry), "{}", key.escape_ascii());
    }
}

#[test]
fn killed_in_the_middle_it_goes_on_where_it_was() {
    let (it, redis, dir) = both_servers();
    fill(&mut redis.conn(), 40_000);
    let (url, to) = (redis.url(), to(&it));
    let import = ["import", &url, &to, "--state", "state"];
    let state = dir.join("state");
    kill_in_the_middle(&dir, &state, &import);
    let before = count_of(&mut it.conn());
    assert!((1..40_000).contains(&before), "{before} keys");
    // What came by the first run is not copied again: it is taken away, and found missing by the check.
    it.conn().run("FLUSHALL");
    let output = run(&dir, &import, 0);
    assert!(output.contains("going on after"), "{output}");
    assert!(!output.contains("going on after 0 keys"), "{output}");
    let again = count(&output, "changed meanwhile, copied again");
    assert!(
        again >= 1000,
        "the first page was not copied again: {output}"
    );
    assert!(contents(&mut it.conn()) == contents(&mut redis.conn()));
    assert!(!state.exists());
}

fn count_of(conn: &mut Conn) -> i64 {
    conn.run("DBSIZE").int()
}

#[test]
fn cursors_of_another_process_are_not_gone_on_with() {
    let (it, mut redis, dir) = both_servers();
    fill(&mut redis.conn(), 40_000);
    let (url, to) = (redis.url(), to(&it));
    let import = ["import", &url, &to, "--state", "state", "--no-verify"];
    kill_in_the_middle(&dir, &dir.join("state"), &import);
    redis.save();
    redis.crash();
    redis.start_again();
    it.conn().run("FLUSHALL");
    let output = run(&dir, &import, 0);
    assert!(output.contains("beginning anew"), "{output}");
    assert!(contents(&mut it.conn()) == contents(&mut redis.conn()));
}

#[test]
fn a_source_that_is_started_again_in_the_middle_is_begun_anew() {
    let (it, mut redis, dir) = both_servers();
    let (url, to) = (redis.url(), to(&it));
    restart_the_source(&it, &mut redis, tool(&dir, &["import", &url, &to]));
}

#[test]
fn the_state_of_another_transfer_is_refused() {
    let (it, redis, dir) = both_servers();
    fill(&mut redis.conn(), 40_000);
    let (url, to) = (redis.url(), to(&it));
    let import = ["import", &url, &to, "--state", "state"];
    kill_in_the_middle(&dir, &dir.join("state"), &import);
    for other in [&["--if-absent"][..], &["--match", "a*"]] {
        let output = run(&dir, &[&import, other].concat(), 2);
        assert!(output.contains("another transfer"), "{output}");
        assert!(output.contains("remove it"), "{output}");
    }
    let redis = RedisServer::start();
    let output = run(&dir, &["import", &redis.url(), &to, "--state", "state"], 2);
    assert!(output.contains("another transfer"), "{output}");
}

#[test]
fn keys_that_are_there_are_left_alone_if_asked() {
    let (it, redis, dir) = both_servers();
    redis.conn().set("both", "old");
    redis.conn().set("source", "old");
    it.conn().set("both", "newer");
    let output = run(&dir, &["import", &redis.url(), &to(&it), "--if-absent"], 0);
    assert_eq!(it.conn().get("both").unwrap(), b"newer");
    assert_eq!(it.conn().get("source").unwrap(), b"old");
    assert_eq!(count(&output, "there already, left alone"), 1);
    assert_eq!(count(&output, "different, left alone"), 1);
    run(&dir, &["import", &redis.url(), &to(&it)], 0);
    assert_eq!(it.conn().get("both").unwrap(), b"old");
}

#[test]
fn only_keys_that_match() {
    let (it, redis, dir) = both_servers();
    redis.conn().set("a:1", "1");
    redis.conn().set("b:1", "1");
    run(
        &dir,
        &["import", &redis.url(), &to(&it), "--match", "a:*"],
        0,
    );
    assert_eq!(it.conn().run("KEYS *"), "[\"a:1\"]");
}

#[test]
fn a_value_that_is_refused_is_named_and_missing() {
    let it = Setup::embedded().env("MAX_VALUE_SIZE", "1000").start();
    let (redis, dir) = (RedisServer::start(), Scratch::new("import"));
    redis.conn().set("small", "1");
    redis.conn().set("large", vec![b'x'; 1001]);
    for verify in [&[][..], &["--no-verify"]] {
        let import = ["import", &redis.url(), &to(&it)];
        let output = run(&dir, &[&import, verify].concat(), 1);
        assert_eq!(count(&output, "refused by the target"), 1);
        assert!(output.contains("\"large\" was refused"), "{output}");
        assert_eq!(output.contains("\"large\" is missing"), verify.is_empty());
        assert_eq!(it.conn().get("small").unwrap(), b"1");
    }
}

#[test]
fn passwords_work_and_are_not_shown() {
    let (it, redis, dir) = both_servers();
    redis.conn().set("key", "value");
    let user = args!["ACL", "SETUSER", "mover", "on", ">hun@ter2", "~*", "+@all"];
    assert_eq!(redis.conn().cmd(&user), "+OK");
    let url = redis.url().replace("redis://", "redis://mover:hun%40ter2@");
    let env = tool(&dir, &["import", "env:SOURCE_URL", &to(&it)]).env("SOURCE_URL", url.as_str());
    let exit = env.run();
    assert_eq!(exit.code, 0, "{}", exit.output);
    assert_eq!(it.conn().get("key").unwrap(), b"value");
    let wrong = url.replace("ter2", "ter3");
    let refused = run(&dir, &["import", &wrong, &to(&it)], 1);
    for output in [exit.output, refused] {
        assert!(
            !output.contains("ter2") && !output.contains("ter3"),
            "{output}"
        );
    }
}

#[test]
fn what_can_not_be_used_is_told_with_what_to_do() {
    let (it, redis, dir) = both_servers();
    let (url, to) = (redis.url(), to(&it));
    for (args, code, reason) in [
        (
            &["import", "redis://127.0.0.1:1", &to][..],
            1,
            "is it running",
        ),
        (
            &["import", &url, "--to=redis://127.0.0.1:1"],
            1,
            "is it running",
        ),
        (&["import", "mysql://a", &to], 2, "give redis://"),
        (&["import", "nothing.jsonl", &to], 2, "nothing.jsonl"),
        (&["import", "env:NOT_SET", &to], 2, "NOT_SET is not set"),
        (
            &["import", &url, &to, "--table", "t"],
            2,
            "--table is for a table",
        ),
        (
            &["import", &url, "--to", &url],
            2,
            "the source and the target",
        ),
        (&["import", &url], 2, "RESP_ADDR has no fixed port"),
        (&["import"], 2, "SOURCE"),
        (
            &["import", &url, &to, "--state", "no/such/directory"],
            1,
            "--state",
        ),
    ] {
        let output = run(&dir, args, code);
        assert!(output.contains(reason), "{args:?}: {output}");
    }
}

#[test]
fn it_goes_to_the_respgres_of_the_configuration() {
    let (it, redis, dir) = both_servers();
    redis.conn().set("key", "value");
    let exit = tool(&dir, &["import", &redis.url()])
        .env("RESP_ADDR", it.resp_addr())
        .run();
    assert_eq!(exit.code, 0, "{}", exit.output);
    assert_eq!(it.conn().get("key").unwrap(), b"value");
}
