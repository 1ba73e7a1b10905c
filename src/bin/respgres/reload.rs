//! SIGHUP: the configuration is read again, and what may change does.

use std::sync::Arc;

use respgres::config::{Change, Config};
use respgres::engine::Engine;

use crate::failure::Failure;
use crate::logging::LogLevel;

/// What can be changed while it runs.
pub struct Running {
    pub engine: Arc<Engine>,
    pub log_level: LogLevel,
}

impl Running {
    /// Takes what may change from `new`, and says of the rest that it needs a start. With a mistake nothing
    /// changes.
    pub fn reload(&self, config: &mut Config, new: Result<Config, Failure>) {
        let new = match new {
            Ok(new) => new,
            Err(Failure { text, .. }) => {
                tracing::error!("SIGHUP: nothing was changed: {text}");
                return;
            }
        };
        let changes = config.changes(&new);
        for Change { variable, .. } in changes.iter().filter(|change| !change.takes_effect) {
            tracing::warn!("SIGHUP: {variable} was changed, which takes effect at the next start");
        }
        let changed: Vec<&str> = changes
            .iter()
            .filter(|change| change.takes_effect)
            .map(|change| change.variable.as_str())
            .collect();
        self.engine.set_cache_ttl(new.cache_ttl);
        self.engine
            .set_pool_sizes(new.db_pool_min_size, new.db_pool_max_size);
        self.engine.set_queue_wait_max(new.queue_wait_max);
        self.log_level.set(&new.log_level);
        config.shutdown_timeout = new.shutdown_timeout;
        config.drain_timeout = new.drain_timeout;
        config.took_reloadable(&new);
        match changed.is_empty() {
            true => tracing::info!("SIGHUP: read again; no variable that may change was changed"),
            false => tracing::info!("SIGHUP: changed {}", changed.join(", ")),
        }
    }
}
