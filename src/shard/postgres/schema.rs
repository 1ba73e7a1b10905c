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
