//! `sslmode` and its options against a real PostgreSQL.

use std::path::Path;

use serde_json::Value;

use crate::harness::{
    Authority, Issued, PostgresServer, Proxy, ProxyBuilder, Scratch, Wish, eventually, pg,
};

/// A server, who signed its certificate, and a directory for files.
struct Setting {
    dir: Scratch,
    authority: Authority,
    server: PostgresServer,
}

/// Roles besides the superuser of the tests: `only_tls` has to use TLS, `only_plain` must not, `by_certificate` needs one
/// that says so, and `by_password` a password.
const RULES: &str = "
hostssl all only_tls 127.0.0.1/32 trust
hostnossl all only_plain 127.0.0.1/32 trust
hostssl all by_certificate 127.0.0.1/32 cert
hostssl all by_password 127.0.0.1/32 scram-sha-256";

impl Setting {
    fn new(wish: Wish) -> Setting {
        let authority = Authority::new("the authority");
        let issued = authority.issue(wish);
        Setting::with(authority, &issued)
    }

    fn with(authority: Authority, issued: &Issued) -> Setting {
        let server = PostgresServer::secured(issued, &authority, RULES);
        let mut client = pg(&server.url("postgres")).unwrap();
        client
            .batch_execute(
                "create role only_tls superuser login; create role only_plain superuser login;
                 create role by_certificate superuser login;
                 create role by_password superuser login password 'hunter2'",
            )
            .unwrap();
        Setting {
            dir: Scratch::new("tls"),
            authority,
            server,
        }
    }

    /// A URL of a new database: `who` at `host`, with a query.
    fn url(&self, who: &str, host: &str, query: &str) -> String {
        let database = self.server.create_database();
        let database = database.rsplit('/').next().unwrap().to_owned();
        let port = self.server.port();
        format!("postgresql://{who}@{host}:{port}/{database}?{query}")
    }

    fn authority_file(&self) -> String {
        self.authority.file(self.dir.path(), "ca.pem")
    }

    fn proxy(&self, url: &str) -> Proxy {
        proxy(self.dir.path(), url)
    }

    /// How many of the sessions of proxies are with TLS, and how many without.
    fn sessions(&self) -> (i64, i64) {
        let mut client = pg(&self.server.url("postgres")).unwrap();
        let row = client
            .query_one(
                "select count(*) filter (where ssl), count(*) filter (where not ssl)
                 from pg_stat_ssl join pg_stat_activity using (pid)
                 where application_name like 'respgres%'",
                &[],
            )
            .unwrap();
        (row.get(0), row.get(1))
    }

    /// The proxy works, and all of its sessions are with TLS.
    #[track_caller]
    fn assert_secured(&self, url: &str) {
        let proxy = self.proxy(url);
        assert_works(&proxy);
        let (with, without) = self.sessions();
        // The pool's, and the one that shows the proxy alive.
        assert!(
            with >= 2 && without == 0,
            "{with} with TLS, {without} without"
        );
    }

    /// The proxy works, and none of its sessions is with TLS.
    #[track_caller]
    fn assert_plain(&self, url: &str) {
        let proxy = self.proxy(url);
        assert_works(&proxy);
        let (with, without) = self.sessions();
        assert!(
            with == 0 && without >= 2,
            "{with} with TLS, {without} without"
        );
    }

    /// The shard is down, and that is why; there was no session of any kind.
    #[track_caller]
    fn assert_refused(&self, url: &str, words: &str) {
        let proxy = self.proxy(url);
        assert_down(&proxy, words);
        assert_eq!(self.sessions(), (0, 0));
    }
}

fn proxy(dir: &Path, url: &str) -> Proxy {
    ProxyBuilder::new(dir).shard_urls(&[url]).start()
}

#[track_caller]
fn assert_works(proxy: &Proxy) {
    let mut conn = proxy.conn();
    conn.set("key", "value");
    assert_eq!(conn.get("key").unwrap(), b"value");
    assert_eq!(conn.run("MULTI"), "+OK");
    conn.run("SET key other");
    conn.run("EXEC");
    assert_eq!(conn.get("key").unwrap(), b"other");
}

#[track_caller]
fn assert_down(proxy: &Proxy, words: &str) {
    let http = proxy.http();
    let reason = eventually("the shard is down", || {
        let (_, body) = http.health();
        let reason = body["reasons"]["shard_0"].clone();
        reason.as_str().map(str::to_owned)
    });
    assert!(reason.contains(words), "{reason}");
    assert_ne!(http.health().1["shards"]["shard_0"], Value::from("healthy"));
}

#[test]
fn every_session_is_secured_as_far_as_was_asked() {
    let setting = Setting::new(Wish::names(&["localhost", "127.0.0.1"]));
    let ca = setting.authority_file();
    for query in [
        // The default: TLS if the server has it.
        String::new(),
        "sslmode=prefer".to_owned(),
        "sslmode=require".to_owned(),
        format!("sslmode=require&sslrootcert={ca}"),
        format!("sslmode=verify-ca&sslrootcert={ca}"),
        format!("sslmode=verify-full&sslrootcert={ca}"),
        format!("sslmode=verify-full&sslrootcert={ca}&sslsni=0"),
    ] {
        setting.assert_secured(&setting.url("only_tls", "127.0.0.1", &query));
    }
    let query = format!("sslmode=verify-full&sslrootcert={ca}");
    setting.assert_secured(&setting.url("only_tls", "localhost", &query));
    setting.assert_plain(&setting.url("only_plain", "127.0.0.1", "sslmode=disable"));
    // As libpq: without, if the server wants this role so.
    setting.assert_plain(&setting.url("only_plain", "127.0.0.1", "sslmode=prefer"));
    let url = setting.url("only_plain", "127.0.0.1", "sslmode=require");
    setting.assert_refused(&url, "pg_hba.conf");
}

#[test]
fn a_name_that_does_not_match_is_only_for_verify_full() {
    let setting = Setting::new(Wish::names(&["db.example.com"]));
    let ca = setting.authority_file();
    let url = |mode: &str, host: &str, more: &str| {
        setting.url(
            "only_tls",
            host,
            &format!("sslmode={mode}&sslrootcert={ca}{more}"),
        )
    };
    setting.assert_secured(&url("verify-ca", "127.0.0.1", ""));
    setting.assert_refused(&url("verify-full", "127.0.0.1", ""), "not valid for name");
    setting.assert_refused(&url("verify-full", "localhost", ""), "not valid for name");
    let at = "&hostaddr=127.0.0.1";
    setting.assert_secured(&url("verify-full", "db.example.com", at));
    setting.assert_refused(
        &url("verify-full", "db.example.org", at),
        "not valid for name",
    );
}

#[test]
fn the_common_name_counts_where_there_is_no_other() {
    let setting = Setting::new(Wish::names(&[]).common_name("*.example.com"));
    let ca = setting.authority_file();
    let query = format!("sslmode=verify-full&sslrootcert={ca}&hostaddr=127.0.0.1");
    setting.assert_secured(&setting.url("only_tls", "db.example.com", &query));
    setting.assert_refused(
        &setting.url("only_tls", "example.com", &query),
        "not valid for name",
    );
}

#[test]
fn who_is_not_trusted_is_refused() {
    let setting = Setting::new(Wish::names(&["localhost", "127.0.0.1"]));
    let other = Authority::new("another authority").file(setting.dir.path(), "other.pem");
    for mode in ["require", "verify-ca", "verify-full"] {
        let query = format!("sslmode={mode}&sslrootcert={other}");
        setting.assert_refused(
            &setting.url("only_tls", "127.0.0.1", &query),
            "UnknownIssuer",
        );
    }
    let url = setting.url("only_tls", "127.0.0.1", "sslrootcert=system");
    setting.assert_refused(&url, "UnknownIssuer");
    let url = setting.url(
        "only_tls",
        "127.0.0.1",
        "sslmode=verify-ca&sslrootcert=/nowhere/ca.pem",
    );
    setting.assert_refused(&url, "/nowhere/ca.pem: can't be read");
}

#[test]
fn an_expired_certificate_is_refused_where_it_is_looked_at() {
    let setting = Setting::new(Wish::names(&["127.0.0.1"]).expired());
    let ca = setting.authority_file();
    for mode in ["verify-ca", "verify-full"] {
        let query = format!("sslmode={mode}&sslrootcert={ca}");
        setting.assert_refused(&setting.url("only_tls", "127.0.0.1", &query), "expired");
    }
    setting.assert_secured(&setting.url("only_tls", "127.0.0.1", "sslmode=require"));
}

#[test]
fn a_certificate_that_a_server_made_for_itself_is_trusted_by_being_named() {
    let issued = Wish::names(&["127.0.0.1"]).of_authority().self_signed();
    let setting = Setting::with(Authority::new("for clients"), &issued);
    let (itself, _) = issued.files(setting.dir.path(), "itself");
    let other = Wish::names(&["127.0.0.1"]).of_authority().self_signed();
    let (other, _) = other.files(setting.dir.path(), "other");
    let url = |ca: &str| {
        let query = format!("sslmode=verify-full&sslrootcert={ca}");
        setting.url("only_tls", "127.0.0.1", &query)
    };
    setting.assert_secured(&url(&itself));
    setting.assert_refused(&url(&other), "UnknownIssuer");
}

#[test]
fn the_server_may_ask_for_a_certificate_or_a_password() {
    let setting = Setting::new(Wish::names(&["127.0.0.1"]));
    let dir = setting.dir.path();
    let right = Wish::names(&[]).common_name("by_certificate");
    let (right, right_key) = setting.authority.issue(right).files(dir, "right");
    let wrong = Wish::names(&[]).common_name("somebody_else");
    let (wrong, wrong_key) = setting.authority.issue(wrong).files(dir, "wrong");
    let foreign = Wish::names(&[]).common_name("by_certificate");
    let (foreign, foreign_key) = Authority::new("another")
        .issue(foreign)
        .files(dir, "foreign");
    let url = |query: &str| setting.url("by_certificate", "127.0.0.1", query);
    let with = |certificate: &str, key: &str| {
        url(&format!(
            "sslmode=require&sslcert={certificate}&sslkey={key}"
        ))
    };
    setting.assert_secured(&with(&right, &right_key));
    setting.assert_refused(
        &url("sslmode=require"),
        "requires a valid client certificate",
    );
    setting.assert_refused(
        &with(&wrong, &wrong_key),
        "certificate authentication failed",
    );
    setting.assert_refused(&with(&foreign, &foreign_key), "UnknownCA");
    setting.assert_refused(
        &with(&right, &wrong_key),
        "is not the key of the certificate",
    );
    // SCRAM, bound to the TLS connection that it is on.
    let query = "sslmode=require&channel_binding=require";
    setting.assert_secured(&setting.url("by_password:hunter2", "127.0.0.1", query));
    let url = setting.url("by_password:hunter3", "127.0.0.1", query);
    setting.assert_refused(&url, "password authentication failed");
}

#[test]
fn a_server_without_tls_is_refused_if_tls_is_required() {
    let dir = Scratch::new("tls");
    let ca = Authority::new("the authority").file(dir.path(), "ca.pem");
    let database = PostgresServer::shared().create_database();
    for query in [
        "sslmode=require".to_owned(),
        format!("sslmode=verify-full&sslrootcert={ca}"),
    ] {
        assert_down(
            &proxy(dir.path(), &format!("{database}?{query}")),
            "does not support TLS",
        );
    }
    assert_works(&proxy(dir.path(), &database));
    PostgresServer::shared().drop_database(&database);
}

#[test]
fn renewed_files_count_from_the_next_connection_on() {
    let setting = Setting::new(Wish::names(&["127.0.0.1"]));
    let dir = setting.dir.path();
    let ca = Authority::new("another authority").file(dir, "ca.pem");
    let query = format!("sslmode=verify-full&sslrootcert={ca}");
    let proxy = setting.proxy(&setting.url("only_tls", "127.0.0.1", &query));
    assert_down(&proxy, "UnknownIssuer");
    setting.authority.file(dir, "ca.pem");
    let http = proxy.http();
    eventually("the shard is up", || {
        (http.health().1["shards"]["shard_0"] == "healthy").then_some(())
    });
    assert_works(&proxy);
}
