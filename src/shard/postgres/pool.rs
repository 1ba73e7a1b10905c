//! The pool of connections to one shard.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{Manager, RecycleError, RecycleResult};
use deadpool_postgres::{ClientWrapper, Metrics, Runtime, TimeoutType};
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use super::session::{Dialer, Greeting, NotConnected, ServerProcess};
use super::{Failure, Settings};

pub(super) type Pool = deadpool::managed::Pool<Sessions>;
pub(super) type Object = deadpool::managed::Object<Sessions>;
pub(super) type PoolError = deadpool::managed::PoolError<NotConnected>;

/// A connection that knows its server process: when it is lost with a commit under way, that
/// process has to be waited for.
pub(super) struct Connection {
    client: ClientWrapper,
    pub(super) process: ServerProcess,
    pub(super) prepared_max: u32,
}

impl Deref for Connection {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        &self.client
    }
}

/// Makes the connections of a pool.
pub(super) struct Sessions {
    dialer: Arc<Dialer>,
    query_timeout: Duration,
    runtime: Handle,
}

impl Sessions {
    async fn connect(
        dialer: Arc<Dialer>,
        query_timeout: Duration,
    ) -> Result<Connection, NotConnected> {
        let (client, connection) = dialer.dial().await?;
        let driving = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection of the pool has ended");
            }
        });
        // From here on whoever drops it also ends the connection.
        let client = ClientWrapper::new(client, driving);
        let Greeting {
            process,
            prepared_max,
        } = dialer
            .prepare(
                &client,
                query_timeout,
                Some(Dialer::lock_timeout(query_timeout)),
            )
            .await?;
        Ok(Connection {
            client,
            process,
            prepared_max,
        })
    }
}

impl Manager for Sessions {
    type Type = Connection;
    type Error = NotConnected;

    async fn create(&self) -> Result<Connection, NotConnected> {
        if self.dialer.is_held_off() {
            return Err(NotConnected::HeldOff);
        }
        // Whoever asks: the socket belongs to the runtime on which it was made, and the lanes, which
        // use it most, are there.
        let connecting = Self::connect(Arc::clone(&self.dialer), self.query_timeout);
        AbortOnDropHandle::new(self.runtime.spawn(connecting))
            .await
            .unwrap_or_else(|error| {
                let reason = format!("connecting ended without a result: {error}");
                Err(NotConnected::Unfit(Failure::Unreachable(reason)))
            })
    }

    async fn recycle(
        &self,
        connection: &mut Connection,
        _: &Metrics,
    ) -> RecycleResult<NotConnected> {
        if connection.is_closed() {
            return Err(RecycleError::message("it is closed"));
        }
        Ok(())
    }
}

/// Makes the pool, whose connections will be on `runtime`; connects to nothing yet.
pub(super) fn build(
    dialer: Arc<Dialer>,
    settings: &Settings,
    runtime: Handle,
) -> Result<Pool, String> {
    let sessions = Sessions {
        dialer,
        query_timeout: settings.query_timeout,
        runtime,
    };
    Pool::builder(sessions)
        .max_size(settings.pool_max_size)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(settings.pool_wait_timeout))
        .create_timeout(Some(settings.connect_timeout))
        .recycle_timeout(Some(settings.connect_timeout))
        .build()
        .map_err(|error| error.to_string())
}

/// Whether a new connection was refused because the server has as many as it takes.
pub(super) fn is_server_full(error: &PoolError) -> bool {
    matches!(error, PoolError::Backend(error) if error.is_server_full())
}

/// Why no connection could be had.
pub(super) fn describe(error: PoolError) -> Failure {
    match error {
        PoolError::Timeout(TimeoutType::Wait) => Failure::Refused(
            "no connection of the pool became free in time; raise DB_POOL_MAX_SIZE, or DB_POOL_WAIT_TIMEOUT_MS".into(),
        ),
        PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) => {
            Failure::Unreachable("no connection within DB_CONNECT_TIMEOUT_MS".into())
        }
        PoolError::Backend(error) => error.into(),
        other => Failure::Unreachable(other.to_string()),
    }
}
