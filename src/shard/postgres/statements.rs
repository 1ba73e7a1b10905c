//! The SQL, all of it constant, so that each connection prepares each statement once.

pub(super) const READ: &str = "
SELECT key, value, created_at, updated_at, expires_at, stamp, clock_timestamp()
FROM respgres_rows WHERE key = ANY($1::bytea[])";

/// Group commit: many SETs in one statement. Each key is in it once, and keys are sorted, so that
/// two of these can't deadlock. `unnest` keeps the order.
///
/// A row that has expired is overwritten as if it were not there: `created_at` starts anew.
pub(super) const UPSERT: &str = "
INSERT INTO respgres_rows AS old (key, long_key, value, created_at, updated_at, expires_at, stamp)
SELECT new.key, new.long_key, new.value, clock.now, clock.now,
       CASE WHEN new.ttl_micros IS NULL THEN new.expires_at
            ELSE clock.now + new.ttl_micros * interval '1 microsecond' END,
       new.stamp
FROM (SELECT clock_timestamp() AS now) AS clock,
     unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bigint[], $5::timestamptz[], $6::bigint[])
         AS new (key, long_key, value, ttl_micros, expires_at, stamp)
ON CONFLICT (key) DO UPDATE SET
    long_key = excluded.long_key,
    value = excluded.value,
    updated_at = excluded.updated_at,
    expires_at = excluded.expires_at,
    stamp = excluded.stamp,
    created_at = CASE WHEN old.expires_at <= excluded.updated_at
                      THEN excluded.created_at ELSE old.created_at END";

/// Locks keys that may be absent: an absent one gets a row that has always been expired, one that
/// is there is locked and left as it is (a false WHERE still locks). In the order of the keys.
pub(super) const LOCK_OR_RESERVE: &str = "
INSERT INTO respgres_rows AS old (key, value, created_at, updated_at, expires_at, stamp)
SELECT new.key, '', '-infinity', '-infinity', '-infinity', 0
FROM unnest($1::bytea[]) AS new (key)
ON CONFLICT (key) DO UPDATE SET stamp = old.stamp WHERE false";

/// The rows as they are under their locks, in the order of the keys; with their values only for the
/// keys of the second list. A value may have many megabytes, and few commands look at it.
pub(super) const READ_FOR_UPDATE: &str = "
SELECT key, CASE WHEN key = ANY($2::bytea[]) THEN value ELSE '' END,
       created_at, updated_at, expires_at, stamp
FROM respgres_rows WHERE key = ANY($1::bytea[]) ORDER BY key FOR UPDATE";

/// The instant at which a transaction decides. Asked after the locks were granted: waiting for
/// them may have taken time.
pub(super) const NOW: &str = "SELECT clock_timestamp()";

/// Writes rows under their locks. One that was reserved is there, without its long key.
pub(super) const STORE: &str = "
INSERT INTO respgres_rows (key, long_key, value, created_at, updated_at, expires_at, stamp)
SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::timestamptz[], $5::timestamptz[],
                     $6::timestamptz[], $7::bigint[])
ON CONFLICT (key) DO UPDATE SET
    long_key = excluded.long_key, value = excluded.value, created_at = excluded.created_at, updated_at = excluded.updated_at,
    expires_at = excluded.expires_at, stamp = excluded.stamp";

/// Writes rows under their locks whose values stay.
pub(super) const TOUCH: &str = "
UPDATE respgres_rows AS old
SET updated_at = new.updated_at, expires_at = new.expires_at, stamp = new.stamp
FROM unnest($1::bytea[], $2::timestamptz[], $3::timestamptz[], $4::bigint[])
    AS new (key, updated_at, expires_at, stamp)
WHERE old.key = new.key";

/// Deletes rows under their locks. Never for a key whose row was not locked: another proxy may
/// have made it since.
pub(super) const REMOVE: &str = "DELETE FROM respgres_rows WHERE key = ANY($1::bytea[])";

/// Deletes those of the rows that have expired and are not locked.
pub(super) const REMOVE_EXPIRED: &str = "
DELETE FROM respgres_rows WHERE key IN (
    SELECT key FROM respgres_rows WHERE key = ANY($1::bytea[]) AND expires_at <= clock_timestamp()
    ORDER BY key FOR UPDATE SKIP LOCKED)
RETURNING key";

/// `now()` rather than `clock_timestamp()`: only a stable function can use the index. SKIP LOCKED:
/// never in anybody's way, and no deadlock with a batch.
pub(super) const SWEEP: &str = "
DELETE FROM respgres_rows WHERE key IN (
    SELECT key FROM respgres_rows WHERE expires_at <= now()
    ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED)";

/// Bytes of the table, and what the statistics say of its rows; the latter lags a little, and after
/// a crash of the server until the next ANALYZE.
pub(super) const SIZE: &str = "
SELECT pg_relation_size(c.oid),
       coalesce(
           nullif(pg_stat_get_live_tuples(c.oid), 0),
           CASE WHEN c.relpages > 0
                THEN (c.reltuples * (pg_relation_size(c.oid) / 8192.0) / c.relpages)::bigint
                ELSE 0 END)
FROM pg_class AS c WHERE c.oid = 'respgres_rows'::regclass";

pub(super) const COUNT: &str = "
SELECT count(*) FROM respgres_rows WHERE expires_at IS NULL OR expires_at > clock_timestamp()";

/// How many rows will expire, and in how many milliseconds on average: counted one by one in an index of
/// up to `$1` bytes; else what the statistics say, and no average.
pub(super) const EXPIRING: &str = "
SELECT CASE WHEN index.size <= $1
            THEN (SELECT count(*) FROM respgres_rows WHERE expires_at > now())
            ELSE index.rows END,
       CASE WHEN index.size <= $1
            THEN (SELECT (extract(epoch FROM avg(expires_at - now())) * 1000)::bigint
                  FROM respgres_rows WHERE expires_at > now() AND expires_at < 'infinity') END
FROM (SELECT pg_relation_size(oid) AS size, greatest(reltuples, 0)::bigint AS rows
      FROM pg_class WHERE oid = 'respgres_rows_expires_at_idx'::regclass) AS index";

/// Waits for what is under way, however many there are, as long as a statement may take.
pub(super) const CLEAR: &str = "SET LOCAL lock_timeout = 0; TRUNCATE respgres_rows";

/// Who locks the table keeps everybody from writing, whatever the key.
pub(super) const BEGIN_TO_WRITE: &str = "
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
LOCK TABLE respgres_rows IN ROW EXCLUSIVE MODE";

/// Those of the rows that nobody has locked.
pub(super) const FREE: &str = "
SELECT key FROM respgres_rows WHERE key = ANY($1::bytea[]) ORDER BY key FOR UPDATE SKIP LOCKED";

/// Those of the rows that can be seen.
pub(super) const PRESENT: &str = "SELECT key FROM respgres_rows WHERE key = ANY($1::bytea[])";

pub(super) const HAS_IDENTITY: &str = "SELECT to_regclass('respgres_identity') IS NOT NULL";

pub(super) const IDENTITY: &str = "
SELECT deployment_id, shard_id, num_shards, routing, schema_version FROM respgres_identity";

/// Of an identity that is there, only the version may change.
pub(super) const WRITE_IDENTITY: &str = "
INSERT INTO respgres_identity (deployment_id, shard_id, num_shards, routing, schema_version)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (singleton) DO UPDATE SET schema_version = excluded.schema_version";

/// Whether this is a primary, what time it is, and the settings on which durability rests.
pub(super) const SERVER: &str = "
SELECT pg_is_in_recovery(), clock_timestamp(), current_setting('fsync'),
       current_setting('full_page_writes'), current_setting('synchronous_commit')";

/// The start-up lock: one proxy at a time looks at the identities and founds a deployment.
pub(super) const LOCK_START: &str = "
SET LOCAL lock_timeout = 0; SELECT pg_advisory_lock(1919251312, 1)";

/// A lock that only this process knows. A second session that can't have it is in a database that
/// this process already holds it in: two URLs name one database.
pub(super) const MARK: &str = "SELECT pg_try_advisory_lock($1)";

pub(super) const UNLOCK_ALL: &str = "SELECT pg_advisory_unlock_all()";
