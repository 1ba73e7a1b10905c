//! A backup of all shards as of one instant, taken while they are used; and what is restored from it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::harness::{
    Conn, Deployment, Proxy, RaiseAtEnd, RedisServer, Reply, Scratch, Setup, args, blank_databases,
    encode, eventually, keys_on_each, pg, run_to_end,
};

const ACCOUNTS: usize = 3;
const START: i64 = 1000;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/backup/backup.sh");

/// Moves amounts between accounts on different shards until `stop`, and says how often.
fn transfer(addr: &str, accounts: &[String], seed: usize, stop: &AtomicBool, done: &AtomicU64) {
    let mut conn = Conn::open(addr);
    let mut turn = seed;
    while !stop.load(Ordering::Relaxed) {
        let from = &accounts[turn % ACCOUNTS];
        let to = &accounts[(turn + 1 + seed % 2) % ACCOUNTS];
        let mut pipeline = encode(&args!["MULTI"]);
        pipeline.extend(encode(&args!["DECRBY", from, "7"]));
        pipeline.extend(encode(&args!["INCRBY", to, "7"]));
        pipeline.extend(encode(&args!["EXEC"]));
        conn.send(&pipeline);
        let replies: Vec<Reply> = (0..4).map(|_| conn.read()).collect();
        // One that was refused, since locks were not had in time, was not done.
        if matches!(replies[3], Reply::Array(_)) {
            done.fetch_add(1, Ordering::Relaxed);
        }
        turn += 1;
    }
}

fn backup(it: &Deployment, directory: &Scratch) -> Command {
    let mut command = backup_of(it);
    command.arg(directory.path());
    command
}

fn backup_of(it: &Deployment) -> Command {
    let mut command = Command::new(SCRIPT);
    for (number, url) in it.urls().iter().enumerate() {
        command.env(format!("SHARD_{number}_URL"), url);
    }
    command
}

/// A proxy on new databases with what was dumped, and a cache that knows nothing.
fn restored(it: &Deployment, directory: &Scratch, redis: &RedisServer) -> Proxy {
    let urls = blank_databases(it.urls().len());
    for (number, url) in urls.iter().enumerate() {
        let mut restore = Command::new("pg_restore");
        restore
            .args(["--exit-on-error", "--no-owner", "--dbname", url])
            .arg(directory.join(&format!("shard_{number}.dump")));
        run_to_end(&restore);
    }
    it.builder()
        .shard_urls(&urls)
        .env("REDIS_URL", redis.url())
        .start()
}

#[test]
fn it_is_of_one_instant_on_all_shards() {
    let it = Setup::postgres().start();
    let accounts = keys_on_each(ACCOUNTS, "account");
    let mut conn = it.conn();
    for account in &accounts {
        conn.set(account, START.to_string());
    }
    conn.cmd(&args!["SET", "lasting", "value", "EX", "10000"]);
    let dumps: Vec<Scratch> = (0..3).map(|n| Scratch::new(&format!("dump-{n}"))).collect();
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let addr = it.resp_addr();
    thread::scope(|scope| {
        let _end = RaiseAtEnd(&stop);
        for seed in 0..4 {
            let (addr, accounts, stop, done) = (&addr, &accounts, &stop, &done);
            scope.spawn(move || transfer(addr, accounts, seed, stop, done));
        }
        for directory in &dumps {
            let before = done.load(Ordering::Relaxed);
            run_to_end(&backup(&it, directory));
            eventually("transfers go on", || {
                (done.load(Ordering::Relaxed) > before + 20).then_some(())
            });
        }
        stop.store(true, Ordering::Relaxed);
    });
    let redis = RedisServer::start();
    let mut seen = BTreeMap::new();
    for directory in &dumps {
        redis.conn().run("FLUSHALL");
        let proxy = restored(&it, directory, &redis);
        let mut conn = proxy.conn();
        let balances: Vec<i64> = accounts
            .iter()
            .map(|account| conn.cmd(&args!["INCRBY", account, "0"]).int())
            .collect();
        assert_eq!(
            balances.iter().sum::<i64>(),
            START * ACCOUNTS as i64,
            "{balances:?}"
        );
        conn.assert_ttl("lasting", 10_000);
        conn.set("after", "value");
        *seen.entry(balances).or_insert(0) += 1;
    }
    assert!(
        seen.len() > 1,
        "nothing happened between the backups: {seen:?}"
    );
}

#[test]
fn what_is_there_already_is_not_overwritten() {
    let it = Setup::postgres().start();
    let directory = Scratch::new("dump");
    run_to_end(&backup(&it, &directory));
    let again = backup(&it, &directory).output().unwrap();
    assert!(!again.status.success());
    let errors = String::from_utf8_lossy(&again.stderr);
    assert!(errors.contains("shard_0.dump is there already"), "{errors}");
}

#[test]
fn a_restore_point_alone_dumps_nothing_and_a_table_that_is_locked_is_told() {
    let it = Setup::postgres().start();
    let directory = Scratch::new("dump");
    let run = |timeout: &str| {
        let mut script = backup_of(&it);
        script
            .current_dir(directory.path())
            .env("RESTORE_POINT", "hourly")
            .env("LOCK_TIMEOUT_MS", timeout);
        script.output().unwrap()
    };
    let done = run("30000");
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(
        said.contains("restore point hourly on"),
        "{said}{}",
        String::from_utf8_lossy(&done.stderr)
    );
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    let mut holder = pg(&it.urls()[1]).unwrap();
    let mut transaction = holder.transaction().unwrap();
    transaction
        .batch_execute("LOCK TABLE respgres_kv IN ROW EXCLUSIVE MODE")
        .unwrap();
    let refused = run("50");
    assert!(!refused.status.success());
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(
        errors.contains("shard 1: no lock on respgres_kv"),
        "{errors}"
    );
}

#[test]
fn dumps_are_for_their_owner_alone_and_a_password_is_taken_as_it_is() {
    use std::os::unix::fs::PermissionsExt;

    let it = Setup::postgres().start();
    let directory = Scratch::new("dump");
    let bin = directory.join("bin");
    std::fs::create_dir(&bin).unwrap();
    let seen = directory.join("seen");
    // In place of the real one, which is not asked for a password here.
    let fake = format!(
        "#!/bin/sh\nprintf '%s' \"$PGPASSWORD\" >>{}\nexit 1\n",
        seen.display()
    );
    std::fs::write(bin.join("psql"), fake).unwrap();
    std::fs::set_permissions(bin.join("psql"), PermissionsExt::from_mode(0o755)).unwrap();
    let mut script = backup_of(&it);
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    script.arg(directory.join("out")).env("PATH", path).env(
        "SHARD_0_URL",
        r"postgresql://user:a\tb\\n%40%25c%zz@127.0.0.1:1/db",
    );
    assert!(!script.output().unwrap().status.success());
    let password = eventually("psql was begun", || {
        std::fs::read_to_string(&seen)
            .ok()
            .filter(|seen| !seen.is_empty())
    });
    assert!(password.contains(r"a\tb\\n@%c%zz"), "{password}");
    let whole = directory.join("whole");
    run_to_end(backup_of(&it).arg(&whole));
    for path in [whole.clone(), whole.join("shard_0.dump")] {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
}

#[test]
fn no_password_is_in_arguments_and_urls_may_be_in_files() {
    use std::os::unix::fs::PermissionsExt;

    let directory = Scratch::new("dump");
    let bin = directory.join("bin");
    std::fs::create_dir(&bin).unwrap();
    let file = directory.join("url");
    let fake = "#!/bin/sh\nprintf '%s|%s\\n' \"$PGPASSWORD\" \"$*\" >>\"$SEEN\"\nexit 1\n";
    std::fs::write(bin.join("psql"), fake).unwrap();
    std::fs::set_permissions(bin.join("psql"), PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    // A file for each run: what was begun by the one before may still write.
    let run = |name: &str, value: &str, seen: &Path| {
        let mut script = Command::new(SCRIPT);
        script
            .arg(directory.join("out"))
            .env("PATH", &path)
            .env("SEEN", seen)
            .env(name, value);
        script.output().unwrap()
    };
    let urls = [
        (
            "postgresql://u@h/db?password=hunter%262&sslmode=disable",
            "hunter&2",
            "--dbname=postgresql://u@h/db?sslmode=disable",
        ),
        (
            "postgresql://u:other@h/db?sslmode=disable&p%61ssword=hunter2",
            "hunter2",
            "--dbname=postgresql://u@h/db?sslmode=disable",
        ),
        (
            "postgresql://h/db?password=hunter2",
            "hunter2",
            "--dbname=postgresql://h/db",
        ),
        (
            "postgresql://h:5432/db?password=hunter@2",
            "hunter@2",
            "--dbname=postgresql://h:5432/db",
        ),
        (
            "postgresql://u:12hunter/2@h:5432/db",
            "12hunter/2",
            "--dbname=postgresql://u@h:5432/db",
        ),
    ];
    for (number, (url, password, shown)) in urls.into_iter().enumerate() {
        std::fs::write(&file, format!("{url}\n")).unwrap();
        for (name, value) in [
            ("SHARD_0_URL", url),
            ("SHARD_0_URL_FILE", file.to_str().unwrap()),
        ] {
            let seen = directory.join(&format!("seen_{number}_{name}"));
            assert!(!run(name, value, &seen).status.success());
            let line = eventually("psql was begun", || {
                let text = std::fs::read_to_string(&seen).ok()?;
                text.split_once('\n').map(|(line, _)| line.to_owned())
            });
            let (given, args) = line.split_once('|').unwrap();
            assert_eq!(given, password, "{url}");
            assert!(args.ends_with(shown), "{url}: {args}");
        }
    }
    let missing = run(
        "SHARD_0_URL_FILE",
        "/nonexistent/url",
        &directory.join("seen"),
    );
    let errors = String::from_utf8_lossy(&missing.stderr);
    assert!(
        errors.contains("SHARD_0_URL_FILE: /nonexistent/url can't be read"),
        "{errors}"
    );
}
