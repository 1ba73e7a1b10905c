//! Shards that an older release made are taken over, with what is in them.

use rusqlite::Connection;

use crate::harness::{ProxyBuilder, Scratch, args, blank_databases, pg};

/// The tables of version 1, as that release made them.
const POSTGRES_1: &str = "
CREATE TABLE respgres_kv (
    key bytea PRIMARY KEY,
    long_key bytea,
    value bytea NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    expires_at timestamptz,
    stamp bigint NOT NULL
) WITH (fillfactor = 90);
CREATE INDEX respgres_kv_expiry ON respgres_kv (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE respgres_identity (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    deployment_id text NOT NULL,
    shard_id integer NOT NULL,
    num_shards integer NOT NULL,
    routing text NOT NULL,
    schema_version integer NOT NULL,
    founded_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO respgres_identity VALUES (true, 'abc', 0, 1, 'md5-mod', 1);
INSERT INTO respgres_kv VALUES ('old', null, 'kept', now(), now(), null, 7);
INSERT INTO respgres_kv VALUES ('short', null, 'kept', now(), now(), now() + interval '1 hour', 8);";

const SQLITE_1: &str = "
CREATE TABLE respgres_kv (
    key BLOB PRIMARY KEY,
    value BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    expires_at INTEGER,
    stamp INTEGER NOT NULL
);
CREATE INDEX respgres_kv_expiry ON respgres_kv (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE respgres_identity (
    singleton INTEGER PRIMARY KEY CHECK (singleton = 1),
    deployment_id TEXT NOT NULL,
    shard_id INTEGER NOT NULL,
    num_shards INTEGER NOT NULL,
    routing TEXT NOT NULL,
    schema_version INTEGER NOT NULL
);
INSERT INTO respgres_identity VALUES (1, 'abc', 0, 1, 'md5-mod', 1);
INSERT INTO respgres_kv VALUES (CAST('old' AS BLOB), CAST('kept' AS BLOB), 5, 6, NULL, 7);
INSERT INTO respgres_kv VALUES (CAST('short' AS BLOB), CAST('kept' AS BLOB), 5, 6, 32503680000000000, 8);";

/// What was there is there, and what a newer release can is possible.
fn check(builder: &ProxyBuilder, url: &str, insert_by_sql: impl Fn()) {
    let builder = builder.clone().env("SHARD_0_URL", url);
    for _ in 0..2 {
        let proxy = builder.clone().start();
        let mut conn = proxy.conn();
        assert_eq!(conn.get("old").unwrap(), b"kept");
        assert_eq!(conn.get("short").unwrap(), b"kept");
        conn.set("new", "value");
        assert_eq!(conn.get("new").unwrap(), b"value");
        assert_eq!(conn.cmd(&args!["KEYS", "*"]).array().len(), 3);
    }
    insert_by_sql();
    let proxy = builder.start();
    assert_eq!(proxy.conn().get("by sql").unwrap(), b"value");
    assert_eq!(proxy.conn().run("DBSIZE"), ":4");
}

#[test]
fn a_postgres_shard_of_version_1_is_taken_over() {
    let urls = blank_databases(1);
    let mut sql = pg(&urls[0]).unwrap();
    sql.batch_execute(POSTGRES_1).unwrap();
    let dir = Scratch::new("upgrading");
    check(&ProxyBuilder::new(dir.path()), &urls[0], || {
        let mut sql = pg(&urls[0]).unwrap();
        sql.execute(
            "insert into respgres_kv (key, value) values ('by sql', 'value')",
            &[],
        )
        .unwrap();
        let query = "select stamp <> 0 and created_at > now() - interval '1 hour' \
                     and updated_at = created_at and expires_at is null \
                     from respgres_kv where key = 'by sql'";
        assert!(sql.query_one(query, &[]).unwrap().get::<_, bool>(0));
        // No proxy runs that could have taken it out.
        let query = "select key from respgres_outbox";
        let noted: Vec<u8> = sql.query_one(query, &[]).unwrap().get(0);
        assert_eq!(noted, b"by sql");
    });
    let query = "select indexdef from pg_indexes where indexname = 'respgres_kv_scan'";
    let index: String = sql.query_one(query, &[]).unwrap().get(0);
    assert!(index.contains("substr(sha256(key), 1, 6)"), "{index}");
    let query = "select deployment_id, schema_version from respgres_identity";
    let row = sql.query_one(query, &[]).unwrap();
    assert_eq!(row.get::<_, &str>(0), "abc");
    assert_eq!(row.get::<_, i32>(1), 3);
    let query = "select stamp, updated_at < created_at + interval '1 second' from respgres_kv where key = 'old'";
    assert_eq!(sql.query_one(query, &[]).unwrap().get::<_, i64>(0), 7);
}

#[test]
fn an_sqlite_shard_of_version_1_is_taken_over() {
    let dir = Scratch::new("upgrading");
    let file = dir.join("shard.db");
    Connection::open(&file)
        .unwrap()
        .execute_batch(SQLITE_1)
        .unwrap();
    let url = format!("sqlite:{}", file.display());
    check(&ProxyBuilder::new(dir.path()), &url, || {
        let sql = Connection::open(&file).unwrap();
        let insert = "insert into respgres_kv (key, value) values (cast('by sql' as blob), cast('value' as blob))";
        sql.execute(insert, []).unwrap();
        let query = "select stamp <> 0 and abs(created_at / 1000000 - unixepoch()) < 100 \
                     from respgres_kv where key = cast('by sql' as blob)";
        assert!(
            sql.query_row(query, [], |row| row.get::<_, bool>(0))
                .unwrap()
        );
    });
    let sql = Connection::open(&file).unwrap();
    let query = "select deployment_id || schema_version from respgres_identity";
    let identity: String = sql.query_row(query, [], |row| row.get(0)).unwrap();
    assert_eq!(identity, "abc3");
    let query =
        "select created_at, updated_at, stamp from respgres_kv where key = cast('old' as blob)";
    let times: (i64, i64, i64) = sql
        .query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap();
    assert_eq!(times, (5, 6, 7));
    let query = "select group_concat(name, ' ') from (select name from sqlite_master where name like 'respgres_kv%' order by 1)";
    let names: String = sql.query_row(query, [], |row| row.get(0)).unwrap();
    assert_eq!(names, "respgres_kv respgres_kv_expiry");
}
