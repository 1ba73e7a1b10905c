//! `respgres import` and `respgres export` over TLS.

use super::transfer::{contents, fill, from, restart_the_source, run, to, tool};
use crate::harness::{Authority, PostgresServer, Proxy, RedisServer, Setup, Wish, pg};
use crate::tls::Setting;

/// A Redis with a certificate for `localhost`.
fn redis(setting: &Setting) -> RedisServer {
    let issued = setting.authority.issue(Wish::names(&["localhost"]));
    RedisServer::secured(&issued, None)
}

/// Runs a command that has to fail; returns what it says.
#[track_caller]
fn failed(setting: &Setting, args: &[&str]) -> String {
    run(&setting.dir, args, 1)
}

/// The URL of a proxy's port with TLS.
fn url(proxy: &Proxy) -> String {
    let addr = proxy.resp_tls_addr();
    format!("rediss://localhost:{}", addr.rsplit(':').next().unwrap())
}

/// The certificate of somebody who signed nothing.
fn other_authority(setting: &Setting) -> String {
    Authority::new("another authority").file(setting.dir.path(), "other.pem")
}

#[test]
fn a_redis_is_reached_by_tls_in_both_directions() {
    let (setting, it) = (Setting::new(), Setup::embedded().start());
    let (source, target) = (redis(&setting), redis(&setting));
    fill(&mut source.conn(), 2500);
    let ca = ["--cacert", &setting.ca];
    let import = ["import", &source.secured_url("localhost"), &to(&it)];
    run(&setting.dir, &[&import[..], &ca].concat(), 0);
    assert!(contents(&mut it.conn()) == contents(&mut source.conn()));
    let export = ["export", &target.secured_url("localhost"), &from(&it)];
    run(&setting.dir, &[&export[..], &ca].concat(), 0);
    assert!(contents(&mut target.conn()) == contents(&mut source.conn()));
}

#[test]
fn a_redis_that_is_not_to_be_trusted_is_left_alone() {
    let (setting, it) = (Setting::new(), Setup::embedded().start());
    let redis = redis(&setting);
    redis.conn().set("theirs", "1");
    it.conn().set("ours", "1");
    let (right, by_address) = (
        redis.secured_url("localhost"),
        redis.secured_url("127.0.0.1"),
    );
    let not_tls = redis
        .url()
        .replace("redis://127.0.0.1", "rediss://localhost");
    let in_clear = right.replace("rediss://", "redis://");
    let [ca, other] =
        [&setting.ca, &other_authority(&setting)].map(|path| format!("--cacert={path}"));
    for (url, options, words) in [
        (&right, &[other.as_str()][..], ["UnknownIssuer", "--cacert"]),
        // Whom the system trusts.
        (&right, &[], ["UnknownIssuer", "--cacert"]),
        (&by_address, &[&ca], ["not valid for name", "a host that"]),
        (
            &right,
            &["--cacert=nowhere.pem"],
            ["nowhere.pem: can't be read", "correct --cacert"],
        ),
        (&not_tls, &[&ca], ["does not speak TLS", "port with TLS"]),
        (&in_clear, &[], ["can't connect", "needs rediss://"]),
    ] {
        let import = ["import", url, &to(&it)];
        let export = ["export", url, &from(&it)];
        for args in [import, export] {
            let output = failed(&setting, &[&args[..], options].concat());
            assert!(
                words.iter().all(|word| output.contains(word)),
                "{args:?} {options:?}: {output}"
            );
        }
    }
    assert_eq!(it.conn().run("KEYS *"), "[\"ours\"]");
    assert_eq!(redis.conn().run("KEYS *"), "[\"theirs\"]");
}

#[test]
fn a_redis_that_is_started_again_is_reached_by_tls_again() {
    let (setting, it) = (Setting::new(), Setup::embedded().start());
    let mut redis = redis(&setting);
    let url = redis.secured_url("localhost");
    let import = ["import", &url, &to(&it), "--cacert", &setting.ca];
    restart_the_source(&it, &mut redis, tool(&setting.dir, &import));
}

#[test]
fn a_redis_may_ask_for_a_certificate() {
    let (setting, it) = (Setting::new(), Setup::embedded().start());
    let issued = setting.authority.issue(Wish::names(&["localhost"]));
    let redis = RedisServer::secured(&issued, Some(&setting.authority));
    redis.conn().set("key", "value");
    let client = setting.authority.issue(Wish::names(&[]));
    let (certificate, key) = client.files(setting.dir.path(), "client");
    let foreign = Authority::new("another").issue(Wish::names(&[]));
    let (foreign, foreign_key) = foreign.files(setting.dir.path(), "foreign");
    let (url, to) = (redis.secured_url("localhost"), to(&it));
    let import = ["import", &url, &to, "--cacert", &setting.ca];
    let output = failed(&setting, &import);
    assert!(output.contains("give --cert and --key"), "{output}");
    let shown = ["--cert", &foreign, "--key", &foreign_key];
    let output = failed(&setting, &[&import[..], &shown].concat());
    assert!(output.contains("give --cert and --key"), "{output}");
    let shown = ["--cert", &certificate, "--key", &key];
    run(&setting.dir, &[&import[..], &shown].concat(), 0);
    assert_eq!(it.conn().get("key").unwrap(), b"value");
}

#[test]
fn from_one_respgres_to_another_by_their_ports_with_tls() {
    let setting = Setting::new();
    let (source, target) = (setting.proxy(), setting.proxy());
    let (source_url, target_url) = (url(&source), url(&target));
    fill(&mut source.conn(), 2500);
    let [ca, to_ca, from_ca] =
        ["cacert", "to-cacert", "from-cacert"].map(|name| format!("--{name}={}", setting.ca));
    let import = ["import", &source_url, "--to", &target_url];
    let output = failed(&setting, &[&import[..], &[&ca]].concat());
    assert!(output.contains("give --to-cacert"), "{output}");
    run(&setting.dir, &[&import[..], &[&ca, &to_ca]].concat(), 0);
    let before = contents(&mut source.conn());
    assert!(contents(&mut target.conn()) == before);
    // Out into a file, and back.
    let export = ["export", "all.jsonl", "--from", &target_url];
    let output = failed(&setting, &export);
    assert!(output.contains("give --from-cacert"), "{output}");
    run(&setting.dir, &[&export[..], &[&from_ca]].concat(), 0);
    target.conn().run("FLUSHALL");
    let import = ["import", "all.jsonl", "--to", &target_url, &to_ca];
    run(&setting.dir, &import, 0);
    assert!(contents(&mut target.conn()) == before);
    // Both of its ports are the same server.
    let plain = format!("--to=redis://{}", source.resp_addr());
    let output = run(&setting.dir, &["import", &source_url, &plain, &ca], 2);
    assert!(output.contains("the source and the target"), "{output}");
}

#[test]
fn certificates_for_what_is_not_secured_are_refused() {
    let (setting, it) = (Setting::new(), Setup::embedded().start());
    let redis = RedisServer::start();
    std::fs::write(setting.dir.join("all.jsonl"), "").unwrap();
    let (url, to, from) = (redis.url(), to(&it), from(&it));
    let ca = format!("--cacert={}", setting.ca);
    for (args, words) in [
        (&["import", &url, &to, &ca][..], "--cacert is for rediss://"),
        (
            &["import", "rediss://a", &to, "--to-key=a", "--to-cert=b"],
            "--to-cert is for rediss://",
        ),
        (&["import", "all.jsonl", &to, &ca], "is for a Redis"),
        (
            &["import", "postgresql://a/b", &to, &ca, "--table=t"],
            "sslrootcert",
        ),
        (&["export", "new.jsonl", &from, &ca], "is for a Redis"),
        (
            &["export", &from, "--from-cacert=a"],
            "--from-cacert is for",
        ),
        (&["import", "rediss://a", &to, "--cert=a"], "--key"),
        (&["import", "rediss://a/#insecure", &to], "give --cacert"),
    ] {
        let output = run(&setting.dir, args, 2);
        assert!(output.contains(words), "{args:?}: {output}");
    }
}

/// Roles besides the superuser of the tests: `only_tls` has to use TLS, `only_plain` must not, and `by_certificate` needs
/// one that says so.
const RULES: &str = "
hostssl all only_tls 127.0.0.1/32 trust
hostnossl all only_plain 127.0.0.1/32 trust
hostssl all by_certificate 127.0.0.1/32 cert";

#[test]
fn a_table_is_read_as_the_sslmode_has_it() {
    let (setting, it) = (Setting::new(), Setup::embedded().start());
    let issued = setting.authority.issue(Wish::names(&["localhost"]));
    let server = PostgresServer::secured(&issued, &setting.authority, RULES);
    let mut client = pg(&server.url("postgres")).unwrap();
    client
        .batch_execute(
            "create role only_tls superuser login; create role only_plain superuser login;
             create role by_certificate superuser login;
             create table t (k text, v text); insert into t values ('key', 'value')",
        )
        .unwrap();
    let import = |who: &str, host: &str, query: &str, code: i32| {
        let url = format!(
            "postgresql://{who}@{host}:{}/postgres?{query}",
            server.port()
        );
        let columns = ["--table=t", "--key-column=k", "--value-column=v"];
        let (to, dir) = (to(&it), &setting.dir);
        it.conn().run("FLUSHALL");
        let output = run(dir, &[&["import", &url, &to], &columns[..]].concat(), code);
        if code == 0 {
            assert_eq!(it.conn().get("key").unwrap(), b"value", "{query}");
        }
        output
    };
    let (ca, other) = (&setting.ca, &other_authority(&setting));
    for query in [
        String::new(),
        "sslmode=prefer".to_owned(),
        "sslmode=require".to_owned(),
        format!("sslmode=verify-ca&sslrootcert={ca}"),
        format!("sslmode=verify-full&sslrootcert={ca}"),
    ] {
        import("only_tls", "localhost", &query, 0);
    }
    import("only_plain", "localhost", "sslmode=disable", 0);
    let output = import("only_plain", "localhost", "sslmode=require", 1);
    assert!(output.contains("pg_hba.conf"), "{output}");
    // The certificate is not for that address, which only verify-full looks at.
    let query = format!("sslmode=verify-ca&sslrootcert={ca}");
    import("only_tls", "127.0.0.1", &query, 0);
    for (host, mode, file, words) in [
        (
            "127.0.0.1",
            "verify-full",
            ca.as_str(),
            ["not valid for name", "sslmode=verify-ca"],
        ),
        (
            "localhost",
            "verify-full",
            other,
            ["UnknownIssuer", "sslrootcert=PATH"],
        ),
        (
            "localhost",
            "verify-ca",
            other,
            ["UnknownIssuer", "sslrootcert=PATH"],
        ),
        (
            "localhost",
            "verify-full",
            "/nowhere/ca.pem",
            ["/nowhere/ca.pem: can't be read", "correct sslrootcert"],
        ),
    ] {
        let output = import(
            "only_tls",
            host,
            &format!("sslmode={mode}&sslrootcert={file}"),
            1,
        );
        assert!(
            words.iter().all(|word| output.contains(word)),
            "{mode} {file}: {output}"
        );
    }
    let output = import("only_tls", "localhost", "sslmode=verify-full", 2);
    assert!(output.contains("add sslrootcert=PATH"), "{output}");
    let wish = Wish::names(&[]).common_name("by_certificate");
    let (certificate, key) = setting
        .authority
        .issue(wish)
        .files(setting.dir.path(), "client");
    let query = format!("sslmode=require&sslcert={certificate}&sslkey={key}");
    import("by_certificate", "localhost", &query, 0);
}
