//! The tables.

/// `respgres_kv`, which people read and write by SQL. The defaults are for them: `INSERT INTO
/// respgres_kv (key, value)` is enough.
///
/// It is partitioned, and all its rows are in its one partition, `respgres_rows`, which the proxies
/// use. So the triggers of `respgres_kv`, which fire for statements that name it, cost the proxies'
/// own writes nothing: PostgreSQL fills the transition tables of a trigger before it looks at its
/// condition, with the values.
macro_rules! kv {
    () => {
        "
CREATE TABLE IF NOT EXISTS respgres_kv (
    key bytea PRIMARY KEY,
    long_key bytea,
    value bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    stamp bigint NOT NULL DEFAULT (random() * 9223372036854775806)::bigint + 1
) PARTITION BY RANGE (key);"
    };
}

/// Makes what is missing. The caller holds the start-up lock, since concurrent `CREATE TABLE IF NOT
/// EXISTS` may fail on a unique index of the catalogue.
///
/// The fill factor leaves room on each page, so that an overwrite can stay on it (a HOT update)
/// and touches no index.
///
/// `respgres_kv_scan` is the order in which SCAN goes (`scan.rs`). It is what version 3 brought.
///
/// `respgres_view` has one row once there is a view; `epoch` is a counter, and in the lower 32 bits
/// a random number; `cache` is null while it is off.
/// `respgres_members` has a row for each proxy that has not said goodbye; the lock that shows it
/// alive is `pg_locks` `classid` 1919251313, `objid` `lock_number`; `reported_at` is when `cache`
/// became what it is. `respgres_outbox` has a row for
/// each write past the proxies until they have told the cache; `key` is null for all keys.
/// `respgres_decisions` has a row for each transaction over several shards that was decided here, until
/// its prepared transactions on the other shards, the `branches`, are done (`two_phase.rs`).
pub(super) const TABLES: &str = concat!(
    kv!(),
    "
CREATE TABLE IF NOT EXISTS respgres_rows PARTITION OF respgres_kv
    FOR VALUES FROM (MINVALUE) TO (MAXVALUE) WITH (fillfactor = 90);
CREATE INDEX IF NOT EXISTS respgres_kv_expiry ON respgres_kv (expires_at)
    WHERE expires_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS respgres_kv_scan ON respgres_rows (substr(sha256(key), 1, 6));
CREATE TABLE IF NOT EXISTS respgres_identity (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    deployment_id text NOT NULL,
    shard_id integer NOT NULL,
    num_shards integer NOT NULL,
    routing text NOT NULL,
    schema_version integer NOT NULL,
    founded_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS respgres_view (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    epoch bigint NOT NULL,
    cache text,
    changed_at timestamptz NOT NULL
);
CREATE TABLE IF NOT EXISTS respgres_members (
    member text PRIMARY KEY,
    lock_number integer NOT NULL,
    cache text,
    joined_at timestamptz NOT NULL DEFAULT now(),
    reported_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE IF NOT EXISTS respgres_outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key bytea,
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE IF NOT EXISTS respgres_decisions (
    gid text PRIMARY KEY,
    verdict text NOT NULL CHECK (verdict IN ('commit', 'abort')),
    branches integer[] NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT clock_timestamp()
);"
);

/// Has every statement that writes past the proxies noted in the outbox; run after [`TABLES`].
///
/// - Who loads much that no proxy has cached yet may `SET respgres.proxy = 'on'`, and insert one row
///   with a null key into the outbox at the end. The proxies' sessions have it on.
/// - The function runs as its owner, so that who writes to `respgres_kv` needs no right on the outbox,
///   and on a fixed path.
/// - ALWAYS: also for sessions with `session_replication_role = replica`.
/// - Not noted is what writes to the partition itself: logical replication, and the restore of a dump.
pub(super) const TRIGGERS: &str = "
DO $do$
DECLARE
    home text := (SELECT quote_ident(nspname) FROM pg_class AS c
                  JOIN pg_namespace AS n ON n.oid = c.relnamespace
                  WHERE c.oid = 'respgres_outbox'::regclass);
BEGIN
    EXECUTE format($create$
        CREATE OR REPLACE FUNCTION %1$s.respgres_note() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
        BEGIN
            IF TG_OP = 'TRUNCATE' THEN
                INSERT INTO %1$s.respgres_outbox (key) VALUES (NULL);
            ELSIF TG_OP = 'INSERT' THEN
                INSERT INTO %1$s.respgres_outbox (key)
                SELECT coalesce(long_key, key) FROM new_rows;
            ELSIF TG_OP = 'DELETE' THEN
                INSERT INTO %1$s.respgres_outbox (key)
                SELECT coalesce(long_key, key) FROM old_rows;
            ELSE
                INSERT INTO %1$s.respgres_outbox (key)
                SELECT coalesce(long_key, key) FROM old_rows
                UNION SELECT coalesce(long_key, key) FROM new_rows;
            END IF;
            IF FOUND THEN
                PERFORM pg_notify('respgres_outbox', '');
            END IF;
            RETURN NULL;
        END $body$;
        REVOKE ALL ON FUNCTION %1$s.respgres_note() FROM PUBLIC;
        $create$, home);
END $do$;
DO $do$
DECLARE
    past_the_proxies text :=
        $when$FOR EACH STATEMENT WHEN (current_setting('respgres.proxy', true) IS DISTINCT FROM 'on')
        EXECUTE FUNCTION respgres_note()$when$;
BEGIN
    EXECUTE 'CREATE OR REPLACE TRIGGER respgres_insert AFTER INSERT ON respgres_kv
        REFERENCING NEW TABLE AS new_rows ' || past_the_proxies;
    EXECUTE 'CREATE OR REPLACE TRIGGER respgres_update AFTER UPDATE ON respgres_kv
        REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows ' || past_the_proxies;
    EXECUTE 'CREATE OR REPLACE TRIGGER respgres_delete AFTER DELETE ON respgres_kv
        REFERENCING OLD TABLE AS old_rows ' || past_the_proxies;
    EXECUTE 'CREATE OR REPLACE TRIGGER respgres_truncate AFTER TRUNCATE ON respgres_kv '
        || past_the_proxies;
END $do$;
ALTER TABLE ONLY respgres_kv ENABLE ALWAYS TRIGGER respgres_insert;
ALTER TABLE ONLY respgres_kv ENABLE ALWAYS TRIGGER respgres_update;
ALTER TABLE ONLY respgres_kv ENABLE ALWAYS TRIGGER respgres_delete;
ALTER TABLE ONLY respgres_kv ENABLE ALWAYS TRIGGER respgres_truncate;";

/// Changes tables that an older release made; what is missing then is made by [`TABLES`].
///
/// In version 1 `respgres_kv` was a plain table. It becomes the partition; nothing is copied, and
/// nothing is scanned, since every key is within its bounds.
pub(super) fn upgrade(from_version: i32) -> &'static str {
    if from_version < 2 {
        return concat!(
            "
ALTER TABLE respgres_kv RENAME TO respgres_rows;
ALTER INDEX respgres_kv_pkey RENAME TO respgres_rows_pkey;
ALTER INDEX respgres_kv_expiry RENAME TO respgres_rows_expires_at_idx;
ALTER TABLE respgres_rows
    ALTER COLUMN created_at SET DEFAULT now(),
    ALTER COLUMN updated_at SET DEFAULT now(),
    ALTER COLUMN stamp SET DEFAULT (random() * 9223372036854775806)::bigint + 1;",
            kv!(),
            "
ALTER TABLE respgres_kv ATTACH PARTITION respgres_rows
    FOR VALUES FROM (MINVALUE) TO (MAXVALUE);"
        );
    }
    ""
}
