//! The pool of connections to one shard.

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType,
};
use std::time::Duration;
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use super::failure::described;
use super::{Failure, Settings, statements};

/// A peer that vanished without a word is noticed after this at the latest.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(15);

/// Makes the pool; connects to nothing yet.
pub(super) fn build(
    config: &tokio_postgres::Config,
    name: &str,
    settings: &Settings,
) -> Result<Pool, String> {
    let mut config = config.clone();
    config
        .application_name(format!("respgres {name}"))
        .connect_timeout(settings.connect_timeout)
        .keepalives(true)
        .keepalives_idle(Duration::from_secs(10))
        .tcp_user_timeout(TCP_USER_TIMEOUT);
    let manager = Manager::from_config(
        config,
        NoTls,
        ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        },
    );
    let session = format!(
        "{} SET statement_timeout = {};",
        statements::SESSION,
        settings.query_timeout.as_millis()
    );
    Pool::builder(manager)
        .max_size(settings.pool_max_size)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(settings.pool_wait_timeout))
        .create_timeout(Some(settings.connect_timeout))
        .recycle_timeout(Some(settings.connect_timeout))
        .post_create(Hook::async_fn(move |client, _| {
            let session = session.clone();
            Box::pin(async move {
                client
                    .batch_execute(&session)
                    .await
                    .map_err(HookError::Backend)
            })
        }))
        .build()
        .map_err(|error| error.to_string())
}

/// Whether a new connection was refused because the server has as many as it takes.
pub(super) fn is_server_full(error: &PoolError) -> bool {
    match error {
        PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
            error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS)
        }
        _ => false,
    }
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
        // Full is not down: its other connections work.
        PoolError::Backend(error) if error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS) => {
            Failure::Refused(described(&error))
        }
        PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
            Failure::Unreachable(described(&error))
        }
        other => Failure::Unreachable(other.to_string()),
    }
}
