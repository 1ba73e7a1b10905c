//! `respgres export`, and `respgres import` of what it wrote.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use super::transfer::{contents, count, fill, from, kill_in_the_middle, respgres, run, to, tool};
use crate::harness::{RedisServer, Scratch, Setup, both_backends, eventually};

both_backends!(an_export_that_is_imported_is_the_same_byte_for_byte);

fn an_export_that_is_imported_is_the_same_byte_for_byte(setup: Setup) {
    let (it, dir) = (setup.start(), Scratch::new("export"));
    let mut conn = it.conn();
    fill(&mut conn, 2500);
    let every_byte: Vec<u8> = (0..=255).collect();
    conn.set(&every_byte, &every_byte);
    conn.set("", "empty key");
    conn.set("empty value", "");
    conn.set("large", vec![b'x'; 5 * 1024 * 1024]);
    let before = contents(&mut conn);
    let output = run(&dir, &["export", "all.jsonl", &from(&it)], 0);
    assert_eq!(count(&output, "the same"), before.len() as u64);
    assert_eq!(count(&output, "missing"), 0);
    let file = std::fs::read_to_string(dir.join("all.jsonl")).unwrap();
    assert_eq!(file.lines().count(), before.len());
    assert!(file.contains("{\"key\":\"key:1\",\"value\":\"value 1\"}\n"));
    for left in ["all.jsonl.part", "all.jsonl.state"] {
        assert!(!dir.join(left).exists(), "{left}");
    }
    conn.run("FLUSHALL");
    let output = run(&dir, &["import", "all.jsonl", &to(&it)], 0);
    assert_eq!(count(&output, "missing"), 0);
    assert!(contents(&mut conn) == before, "{output}");
    // Neither is a file that is there overwritten, nor is anything lost to standard output.
    let output = run(&dir, &["export", "all.jsonl", &from(&it)], 2);
    assert!(output.contains("is there already"), "{output}");
    let printed = run(&dir, &["export", &from(&it)], 0);
    let lines = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.retain(|line| line.starts_with('{'));
        lines.sort();
        lines
    };
    assert!(lines(&printed) == lines(&file));
}

#[test]
fn the_password_of_ones_own_proxy_is_taken_and_that_of_another_asked_for() {
    use std::os::unix::fs::PermissionsExt;

    let password = "sesame @:/%?#\u{e4}";
    let it = Setup::postgres().env("PASSWORD", password).start();
    let dir = Scratch::new("export");
    let mut conn = it.conn();
    assert_eq!(conn.cmd(&crate::harness::args!["AUTH", password]), "+OK");
    conn.set("key", "value");
    let own = |args: &[&str]| {
        tool(&dir, args)
            .env("RESP_ADDR", it.resp_addr())
            .env("PASSWORD", password)
            .run()
    };
    let export = own(&["export", "all.jsonl"]);
    assert_eq!(export.code, 0, "{}", export.output);
    assert_eq!(count(&export.output, "the same"), 1);
    let mode = std::fs::metadata(dir.join("all.jsonl"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let import = own(&["import", "all.jsonl"]);
    assert_eq!(import.code, 0, "{}", import.output);
    for output in [
        run(&dir, &["import", "all.jsonl", &to(&it)], 1),
        run(&dir, &["export", "again.jsonl", &from(&it)], 1),
    ] {
        assert!(output.contains("redis://:PASSWORD@HOST:PORT"), "{output}");
    }
}

#[test]
fn of_two_lines_of_a_key_the_later_one_counts_also_where_keys_are_left_alone() {
    let (it, dir) = (Setup::postgres().start(), Scratch::new("export"));
    let mut conn = it.conn();
    conn.set("there", "own");
    let line = |key: &str, value: &str| format!("{{\"key\":\"{key}\",\"value\":\"{value}\"}}\n");
    let lines = [("a", "old"), ("there", "x"), ("b", "only"), ("a", "new")];
    let text: String = lines.iter().map(|(key, value)| line(key, value)).collect();
    std::fs::write(dir.join("all.jsonl"), text).unwrap();
    let output = run(&dir, &["import", "all.jsonl", &to(&it), "--if-absent"], 0);
    assert_eq!(count(&output, "written"), 2);
    for (key, value) in [("a", "\"new\""), ("b", "\"only\""), ("there", "\"own\"")] {
        assert_eq!(conn.run(&format!("GET {key}")), value);
    }
}

#[test]
fn an_export_to_a_redis_has_everything() {
    let (it, redis, dir) = (
        Setup::postgres().start(),
        RedisServer::start(),
        Scratch::new("export"),
    );
    fill(&mut it.conn(), 3000);
    it.conn().set([0, 255], [255, 0]);
    let output = run(&dir, &["export", &redis.url(), &from(&it)], 0);
    assert_eq!(count(&output, "missing"), 0);
    assert!(contents(&mut redis.conn()) == contents(&mut it.conn()));
}

#[test]
fn killed_in_the_middle_an_export_goes_on_where_it_was() {
    let (it, dir) = respgres();
    fill(&mut it.conn(), 30_000);
    let export = ["export", "all.jsonl", &from(&it)];
    kill_in_the_middle(&dir, &dir.join("all.jsonl.state"), &export);
    assert!(
        !dir.join("all.jsonl").exists(),
        "it has its name when it is whole"
    );
    let part = std::fs::read(dir.join("all.jsonl.part")).unwrap();
    assert!(!part.is_empty());
    let output = run(&dir, &export, 0);
    assert!(output.contains("going on after"), "{output}");
    assert_eq!(count(&output, "written"), 30_000);
    let before = contents(&mut it.conn());
    let file = std::fs::read_to_string(dir.join("all.jsonl")).unwrap();
    assert_eq!(file.lines().count(), 30_000);
    it.conn().run("FLUSHALL");
    run(&dir, &["import", "all.jsonl", &to(&it)], 0);
    assert!(contents(&mut it.conn()) == before);
}

#[test]
fn an_import_of_a_file_goes_on_where_it_was() {
    let (it, dir) = respgres();
    let lines = (0..40_000).map(|n| format!("{{\"key\":\"k{n}\",\"value\":\"{n}\"}}\n"));
    std::fs::write(dir.join("in.jsonl"), lines.collect::<String>()).unwrap();
    let import = ["import", "in.jsonl", &to(&it)];
    kill_in_the_middle(&dir, &dir.join("in.jsonl.state"), &import);
    it.conn().run("FLUSHALL");
    let output = run(&dir, &import, 0);
    assert!(
        count(&output, "changed meanwhile, copied again") >= 1000,
        "{output}"
    );
    assert_eq!(it.conn().run("DBSIZE"), ":40000");
}

#[test]
fn what_is_written_during_an_export_is_in_it() {
    let (it, dir) = respgres();
    fill(&mut it.conn(), 20_000);
    let mut export = tool(&dir, &["export", "all.jsonl", &from(&it)]).launch();
    eventually("it has begun", || {
        let part = std::fs::metadata(dir.join("all.jsonl.part")).ok()?;
        (part.len() > 0).then_some(())
    });
    export.signal(Signal::SIGSTOP);
    // Anywhere in the order of the keys: some have been read, and some have not.
    for number in 0..200 {
        it.conn().set(format!("new:{number}"), "new");
        it.conn().set(format!("key:{number}"), "changed");
    }
    export.signal(Signal::SIGCONT);
    let exit = export.wait_exit();
    assert_eq!(exit.code, 0, "{}", exit.output);
    let again = count(&exit.output, "changed meanwhile, copied again");
    assert!(again > 0, "{}", exit.output);
    let before = contents(&mut it.conn());
    it.conn().run("FLUSHALL");
    run(&dir, &["import", "all.jsonl", &to(&it)], 0);
    assert!(contents(&mut it.conn()) == before);
}

#[test]
fn of_two_lines_for_a_key_the_later_counts() {
    let (it, dir) = respgres();
    let line = |value: &str| format!("{{\"key\":\"a\",\"value\":\"{value}\"}}\n");
    let file = [line("1"), line("2"), line("3")].concat();
    std::fs::write(dir.join("in.jsonl"), file).unwrap();
    run(&dir, &["import", "in.jsonl", &to(&it)], 0);
    assert_eq!(it.conn().get("a").unwrap(), b"3");
}

#[test]
fn a_broken_line_is_told_with_its_number() {
    let (it, dir) = respgres();
    std::fs::write(
        dir.join("in.jsonl"),
        "{\"key\":\"a\",\"value\":\"1\"}\n\n{\"key\":\"b\",\"val",
    )
    .unwrap();
    let output = run(&dir, &["import", "in.jsonl", &to(&it)], 1);
    assert!(output.contains("in.jsonl, line 3:"), "{output}");
}

/// The program, with what it prints to go where the test says.
fn program(dir: &Scratch, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_respgres"));
    command.args(args).current_dir(dir.path());
    command
}

#[test]
fn who_stops_reading_is_no_reason_to_call_it_whole() {
    let (it, dir) = respgres();
    // More than a pipe holds.
    fill(&mut it.conn(), 30_000);
    let mut export = program(&dir, &["export", &from(&it)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(export.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.starts_with("{\"key\":"), "{line}");
    let output = export.wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(141), "{text}");
    assert!(
        text.contains("not whole") && text.contains("the path of a file"),
        "{text}"
    );
}

#[test]
fn an_export_goes_on_though_nobody_reads_what_it_says() {
    let (it, dir) = respgres();
    it.conn().set("key", "value");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = program(&dir, &["export", "all.jsonl", &from(&it)])
        .stderr(writer)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
    let file = std::fs::read_to_string(dir.join("all.jsonl")).unwrap();
    assert_eq!(file, "{\"key\":\"key\",\"value\":\"value\"}\n");
}

#[test]
fn a_full_disk_is_told_and_what_was_written_is_gone_on_with() {
    let (it, dir) = respgres();
    fill(&mut it.conn(), 5000);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = program(&dir, &["export", &from(&it)])
        .stdout(full)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("standard output: No space left") && text.contains("the path of a file"),
        "{text}"
    );
    // A file that may not grow beyond 64 KiB: the second page is cut in the middle of a line.
    let export = ["export", "all.jsonl", &from(&it)];
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 128; exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_respgres"))
        .args(export)
        .args(["--state-every-ms", "0"])
        .current_dir(dir.path());
    let output = limited.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("can't write all.jsonl.part: File too large")
            && text.contains("run the same again"),
        "{text}"
    );
    assert_eq!(
        std::fs::metadata(dir.join("all.jsonl.part")).unwrap().len(),
        65_536
    );
    assert!(!dir.join("all.jsonl").exists());
    let output = run(&dir, &export, 0);
    assert!(output.contains("going on after 1000 keys"), "{output}");
    assert_eq!(count(&output, "written"), 5000);
    assert_eq!(count(&output, "the same"), 5000);
    let file = std::fs::read_to_string(dir.join("all.jsonl")).unwrap();
    assert_eq!(file.lines().count(), 5000);
}
