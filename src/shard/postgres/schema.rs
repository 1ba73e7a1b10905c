//! The tables.

/// Makes what is missing. The caller holds the start-up lock, since concurrent `CREATE TABLE IF NOT
/// EXISTS` may fail on a unique index of the catalogue.
///
/// The defaults of `respgres_kv` are for people: `INSERT INTO respgres_kv (key, value)` is enough.
/// The fill factor leaves room on each page, so that an overwrite can stay on it (a HOT update)
/// and touches no index.
///
/// `respgres_view` has one row once there is a view; `cache` is null while it is off.
/// `respgres_members` has a row for each proxy that has not said goodbye; the lock that shows it
/// alive is `pg_locks` `classid` 1919251313, `objid` `lock_number`. `respgres_outbox` has a row for
/// each write past the proxies until they have told the cache; `key` is null for all keys.
pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS respgres_kv (
    key bytea PRIMARY KEY,
    long_key bytea,
    value bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    stamp bigint NOT NULL DEFAULT (random() * 9223372036854775806)::bigint + 1
) WITH (fillfactor = 90);
CREATE INDEX IF NOT EXISTS respgres_kv_expiry ON respgres_kv (expires_at)
    WHERE expires_at IS NOT NULL;
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
    joined_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS respgres_outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key bytea,
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);";

/// Has every write past the proxies noted in the outbox; run after [`TABLES`].
///
/// - The proxies' sessions have `respgres.proxy` on. Who loads much that no proxy has cached yet may
///   set it too, and insert one row with a null key into the outbox at the end.
/// - A trigger for each row, and one for each statement that wakes the proxies. One for each
///   statement with transition tables would cost a bulk load by SQL less, and the proxies more: the
///   tables are filled before the condition is looked at, with the values, and go to disk when they
///   are large. Measured: a batch of 512 rows of 100 bytes takes 3 to 4 % longer (4 to 6 % with
///   transition tables), of 8 kB 0 to 2 % (36 to 40 %); a load of a million rows by SQL takes 6.2 s
///   in place of 1.6 s (3.4 s).
/// - The function runs as its owner, so that who writes to `respgres_kv` needs no right on the outbox,
///   and on a fixed path.
/// - ALWAYS: also for what logical replication brings.
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
            IF TG_LEVEL = 'STATEMENT' THEN
                IF TG_OP = 'TRUNCATE' THEN
                    INSERT INTO %1$s.respgres_outbox (key) VALUES (NULL);
                END IF;
                PERFORM pg_notify('respgres_outbox', '');
                RETURN NULL;
            END IF;
            IF TG_OP <> 'INSERT' THEN
                INSERT INTO %1$s.respgres_outbox (key) VALUES (coalesce(OLD.long_key, OLD.key));
            END IF;
            IF TG_OP = 'INSERT' OR TG_OP = 'UPDATE' AND NEW.key <> OLD.key THEN
                INSERT INTO %1$s.respgres_outbox (key) VALUES (coalesce(NEW.long_key, NEW.key));
            END IF;
            RETURN NULL;
        END $body$;
        REVOKE ALL ON FUNCTION %1$s.respgres_note() FROM PUBLIC;
        $create$, home);
END $do$;
DROP TRIGGER IF EXISTS respgres_note ON respgres_kv;
CREATE TRIGGER respgres_note AFTER INSERT OR UPDATE OR DELETE ON respgres_kv
    FOR EACH ROW WHEN (current_setting('respgres.proxy', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION respgres_note();
DROP TRIGGER IF EXISTS respgres_notify ON respgres_kv;
CREATE TRIGGER respgres_notify AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON respgres_kv
    FOR EACH STATEMENT WHEN (current_setting('respgres.proxy', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION respgres_note();
ALTER TABLE respgres_kv ENABLE ALWAYS TRIGGER respgres_note;
ALTER TABLE respgres_kv ENABLE ALWAYS TRIGGER respgres_notify;";

/// Changes tables that an older release made; what is missing then is made by [`TABLES`].
pub(super) fn upgrade(from_version: i32) -> &'static str {
    if from_version < 2 {
        return "
ALTER TABLE respgres_kv
    ALTER COLUMN created_at SET DEFAULT now(),
    ALTER COLUMN updated_at SET DEFAULT now(),
    ALTER COLUMN stamp SET DEFAULT (random() * 9223372036854775806)::bigint + 1;";
    }
    ""
}
