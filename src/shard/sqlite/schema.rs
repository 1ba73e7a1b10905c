//! The tables.

/// Makes what is missing. The defaults are for people, who may write to the file while no proxy
/// has it. `random() | 1`, since a stamp of 0 is that of an absent row.
pub(super) const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS respgres_kv (
        key BLOB PRIMARY KEY,
        value BLOB NOT NULL,
        created_at INTEGER NOT NULL
            DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)),
        updated_at INTEGER NOT NULL
            DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)),
        expires_at INTEGER,
        stamp INTEGER NOT NULL DEFAULT (random() | 1)
    );
    CREATE INDEX IF NOT EXISTS respgres_kv_expiry ON respgres_kv (expires_at)
        WHERE expires_at IS NOT NULL;
    CREATE TABLE IF NOT EXISTS respgres_identity (
        singleton INTEGER PRIMARY KEY CHECK (singleton = 1),
        deployment_id TEXT NOT NULL,
        shard_id INTEGER NOT NULL,
        num_shards INTEGER NOT NULL,
        routing TEXT NOT NULL,
        schema_version INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS respgres_view (
        singleton INTEGER PRIMARY KEY CHECK (singleton = 1),
        epoch INTEGER NOT NULL,
        cache TEXT,
        changed_at INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS respgres_decisions (
        gid TEXT PRIMARY KEY,
        verdict TEXT NOT NULL CHECK (verdict IN ('commit', 'abort')),
        branches TEXT NOT NULL,
        decided_at INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS respgres_prepared (
        gid TEXT NOT NULL,
        key BLOB,
        value BLOB,
        created_at INTEGER,
        updated_at INTEGER,
        expires_at INTEGER,
        stamp INTEGER
    );
    CREATE TABLE IF NOT EXISTS respgres_members (
        member TEXT PRIMARY KEY,
        cache TEXT,
        joined_at INTEGER NOT NULL,
        reported_at INTEGER NOT NULL
    );";

/// Run before [`TABLES`] on a file that an older release made: moves aside what has to be made anew.
pub(super) fn before(from_version: i32) -> &'static str {
    if from_version < 2 {
        // SQLite can't give a column a default later. The index goes with the old table.
        return "
    ALTER TABLE respgres_kv RENAME TO respgres_kv_1;
    DROP INDEX IF EXISTS respgres_kv_expiry;";
    }
    ""
}

/// Run after [`TABLES`]: takes over what was moved aside.
pub(super) fn after(from_version: i32) -> &'static str {
    if from_version < 2 {
        return "
    INSERT INTO respgres_kv (key, value, created_at, updated_at, expires_at, stamp)
        SELECT key, value, created_at, updated_at, expires_at, stamp FROM respgres_kv_1;
    DROP TABLE respgres_kv_1;";
    }
    ""
}
