//! `respgres shard`.

use std::process::{Command, Stdio};

use super::transfer::{run, tool};
use crate::harness::{Scratch, shard_of};

#[test]
fn it_tells_where_keys_are_and_connects_to_nothing() {
    let dir = Scratch::new("shard");
    let url = |number| format!("postgresql://user:hunter2@127.0.0.1:1/shard_{number}");
    let urls: Vec<String> = (0..3).map(url).collect();
    let exit = tool(&dir, &["shard", "user:123", "a", "b", "c"])
        .shard_urls(&urls)
        .run();
    assert_eq!(exit.code, 0);
    let lines: Vec<String> = ["user:123", "a", "b", "c"]
        .into_iter()
        .map(|key| {
            let shard = shard_of(key.as_bytes(), 3);
            format!("{key}\tshard_{shard}\tpostgresql://user:***@127.0.0.1:1/shard_{shard}")
        })
        .collect();
    assert_eq!(exit.output.lines().collect::<Vec<_>>(), lines);
    let embedded = run(&dir, &["shard", "user:123"], 0);
    assert_eq!(
        embedded,
        "user:123\tshard_2\tsqlite:./respgres-data/shard_2.db\n"
    );
    assert!(!dir.join("respgres-data").exists());
}

#[test]
fn keys_may_be_hexadecimal_have_tags_or_come_by_standard_input() {
    let dir = Scratch::new("shard");
    let shard = |args: &[&str]| {
        let output = run(
            &dir,
            &[&["shard", "--num-shards", "1000"], args].concat(),
            0,
        );
        output.split('\t').nth(1).unwrap().to_owned()
    };
    assert_eq!(
        shard(&["--hex", "00ff"]),
        format!("shard_{}", shard_of(&[0, 255], 1000))
    );
    assert_eq!(shard(&["--hash-tags", "on", "{a}b"]), shard(&["a"]));
    assert_ne!(shard(&["{a}b"]), shard(&["a"]));
    run(&dir, &["shard", "--hex", "0g"], 2);
    run(&dir, &["shard", "--num-shards", "none", "a"], 2);
    let mut command = Command::new(env!("CARGO_BIN_EXE_respgres"));
    command
        .args(["shard", "--num-shards", "1000"])
        .current_dir(dir.path());
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"a\n\xff\n").unwrap();
    let output = child.wait_with_output().unwrap().stdout;
    let lines: Vec<&[u8]> = output.split(|byte| *byte == b'\n').collect();
    let start =
        |key: &[u8]| [key, format!("\tshard_{}\t", shard_of(key, 1000)).as_bytes()].concat();
    assert!(lines[0].starts_with(&start(b"a")));
    assert!(lines[1].starts_with(&start(b"\xff")));
}
