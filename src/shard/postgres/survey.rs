//! A visit to a database: what it says of itself, asked without writing anything.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio_postgres::{Client, Config, SimpleQueryMessage};
use tokio_util::task::AbortOnDropHandle;

use super::Settings;
use super::claim::read_identity;
use super::failure::described;
use super::session::{Dialer, NotConnected};
use crate::shard::survey::PostgresFacts;
use crate::tls::PostgresTls;

/// Not the name of a member's sessions, which others may end.
const APPLICATION_NAME: &str = "respgres check";

const FACTS: &str = "
SELECT current_setting('server_version'), current_setting('server_version_num')::int,
       pg_is_in_recovery(), current_setting('server_encoding'), d.datcollate::text,
       current_user::text, current_schema()::text,
       coalesce(has_schema_privilege(current_schema(), 'CREATE'), false),
       array(SELECT c.relname::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
             WHERE n.nspname = current_schema() AND c.relname LIKE 'respgres\\_%'
               AND c.relkind IN ('r', 'p') AND NOT pg_has_role(c.relowner, 'USAGE') ORDER BY 1),
       current_setting('max_prepared_transactions')::int,
       least(current_setting('max_connections')::int
                 - current_setting('superuser_reserved_connections')::int,
             nullif(d.datconnlimit, -1), nullif(r.rolconnlimit, -1)),
       (SELECT count(*)::int FROM pg_stat_activity WHERE backend_type = 'client backend'),
       array(SELECT name::text FROM pg_settings
             WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting = 'off'
             ORDER BY 1),
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
FROM pg_database AS d, pg_roles AS r
WHERE d.datname = current_database() AND r.rolname = current_user";

/// A copy of a server has its identifier, and another time of its start.
const SERVER: &str =
    "SELECT system_identifier || ' ' || pg_postmaster_start_time() FROM pg_control_system()";

/// Held until the transaction ends, so that nothing is left in a session that a pooler hands on.
const MARK: &str = "SELECT pg_try_advisory_xact_lock($1)";

/// A session that only looks.
pub(in crate::shard) struct Visit {
    client: Client,
    dialer: Dialer,
    database: String,
    connected_in: Duration,
    limit: Duration,
    /// Its connection ends with it.
    _driving: AbortOnDropHandle<()>,
}

impl Visit {
    /// Connects.
    pub(in crate::shard) async fn begin(
        config: &Config,
        tls: &PostgresTls,
        settings: &Settings,
    ) -> Result<Self, String> {
        let dialer = Dialer::new(config, tls, APPLICATION_NAME, settings, Arc::default());
        let begun = Instant::now();
        let (client, driving) = tokio::time::timeout(settings.connect_timeout, dial(&dialer))
            .await
            .map_err(|_elapsed| "no connection within DB_CONNECT_TIMEOUT_MS".to_owned())??;
        // Nothing is set: a pooler would hand that on to others.
        Ok(Self {
            client,
            dialer,
            database: config.get_dbname().unwrap_or_default().to_owned(),
            connected_in: begun.elapsed(),
            limit: settings.query_timeout,
            _driving: driving,
        })
    }

    /// The name of the database, as the URL has it.
    pub(in crate::shard) fn database(&self) -> &str {
        &self.database
    }

    /// Marks the database as this process's `mark`, until the session ends. False if another session has done so.
    pub(in crate::shard) async fn mark(&self, mark: i64) -> Result<bool, String> {
        self.bounded(self.client.batch_execute("BEGIN READ ONLY"))
            .await?;
        let row = self.bounded(self.client.query_one(MARK, &[&mark])).await?;
        row.try_get(0).map_err(|error| described(&error))
    }

    /// Asks everything.
    pub(in crate::shard) async fn facts(&self) -> Result<PostgresFacts, String> {
        let row = self.bounded(self.client.query_one(FACTS, &[])).await?;
        let identity = self.bounded(read_identity(&self.client)).await?;
        let (clock_ahead_millis, round_trip) = self.clock().await?;
        let is_pooled_by_transaction = self.is_pooled_by_transaction().await?;
        // Not every hosted server lets everybody ask.
        let server = self.simple(SERVER).await.ok();
        let facts = || -> Result<PostgresFacts, tokio_postgres::Error> {
            Ok(PostgresFacts {
                connected_in: self.connected_in,
                round_trip,
                version: row.try_get(0)?,
                version_number: row.try_get(1)?,
                is_standby: row.try_get(2)?,
                encoding: row.try_get(3)?,
                collation: row.try_get(4)?,
                role: row.try_get(5)?,
                schema: row.try_get(6)?,
                may_create: row.try_get(7)?,
                owned_by_others: row.try_get(8)?,
                prepared_max: row.try_get(9)?,
                connections_max: row.try_get(10)?,
                connections: row.try_get(11)?,
                off: row.try_get(12)?,
                server_connections_max: row.try_get(13)?,
                server,
                clock_ahead_millis,
                is_pooled_by_transaction,
                identity,
            })
        };
        facts().map_err(|error| described(&error))
    }

    /// How much the server's clock is ahead, and how long it took to ask.
    async fn clock(&self) -> Result<(i64, Duration), String> {
        let (asked, begun) = (SystemTime::now(), Instant::now());
        let now = self
            .simple("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
            .await?;
        let round_trip = begun.elapsed();
        let middle = asked + round_trip / 2;
        let here = middle
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as i64);
        let there: i64 = now
            .parse()
            .map_err(|_| format!("an unexpected clock: {now}"))?;
        Ok((there.saturating_sub(here), round_trip))
    }

    /// Whether this connection gets another session of the server while others are busy. One in a transaction takes the
    /// session that this one had, if a pooler may give it away; and this one then has another.
    async fn is_pooled_by_transaction(&self) -> Result<bool, String> {
        const PID: &str = "SELECT pg_backend_pid()";
        let before = self.simple(PID).await?;
        // Without one more connection nothing can be told, and nothing has to be.
        let Ok(Ok((other, _driving))) = tokio::time::timeout(self.limit, dial(&self.dialer)).await
        else {
            return Ok(false);
        };
        if self
            .bounded(other.batch_execute("BEGIN READ ONLY"))
            .await
            .is_err()
        {
            return Ok(false);
        }
        let meanwhile = self.simple(PID).await?;
        let after = self.simple(PID).await?;
        self.bounded(other.batch_execute("ROLLBACK")).await.ok();
        Ok(before != meanwhile || meanwhile != after)
    }

    async fn simple(&self, sql: &str) -> Result<String, String> {
        let answers = self.bounded(self.client.simple_query(sql)).await?;
        let value = answers.iter().find_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        value
            .map(str::to_owned)
            .ok_or_else(|| "an unexpected answer".to_owned())
    }

    async fn bounded<T>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, String> {
        match tokio::time::timeout(self.limit, work).await {
            Ok(result) => result.map_err(|error| described(&error)),
            Err(_elapsed) => Err(format!(
                "no answer within DB_QUERY_TIMEOUT_MS ({} ms)",
                self.limit.as_millis()
            )),
        }
    }
}

async fn dial(dialer: &Dialer) -> Result<(Client, AbortOnDropHandle<()>), String> {
    let dialled = dialer.dial().await;
    let (client, connection) = dialled.map_err(|error: NotConnected| error.to_string())?;
    let driving = tokio::spawn(async move {
        // Its error is that of the question under way.
        let _ = connection.await;
    });
    Ok((client, AbortOnDropHandle::new(driving)))
}
