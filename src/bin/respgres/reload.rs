//! SIGHUP: the configuration is read again, and what may change does.

use std::sync::Arc;

use respgres::config::{Change, Config};
use respgres::engine::Engine;
use respgres::http::Token;
use respgres::server::Server;
use respgres::tls::ServerTls;

use crate::failure::Failure;
use crate::logging::LogLevel;
use crate::serve::{bounds, users_source};

/// What can be changed while it runs.
pub struct Running {
    pub engine: Arc<Engine>,
    pub server: Arc<Server>,
    pub http_token: Arc<Token>,
    /// The certificate of the ports.
    pub tls: Option<Arc<ServerTls>>,
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
        // Also when no variable has changed: what the file says may have.
        let users = users_source(&new);
        if (users.is_given() || users_source(config).is_given())
            && let Err(error) = self.server.reload_users(users)
        {
            tracing::error!("SIGHUP: nothing was changed: USERS_FILE: {error}");
            return;
        }
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
        self.server.set_bounds(bounds(&new));
        // Not if it has not changed: CONFIG SET may have.
        if changed.contains(&"CLIENT_IDLE_TIMEOUT") {
            self.server.set_idle_timeout(new.client_idle_timeout);
        }
        self.http_token.replace(new.http_token.as_ref());
        self.log_level.set(&new.log_level);
        // Small files, read once a signal; what is new is logged there.
        if let Some(Err(error)) = self.tls.as_ref().map(|tls| tls.reload()) {
            tracing::error!("SIGHUP: the certificate of before is kept: {error}");
        }
        config.shutdown_timeout = new.shutdown_timeout;
        config.drain_timeout = new.drain_timeout;
        config.password = new.password.clone();
        config.users_file = new.users_file.clone();
        config.took_reloadable(&new);
        match changed.is_empty() {
            true => tracing::info!("SIGHUP: read again; no variable that may change was changed"),
            false => tracing::info!("SIGHUP: changed {}", changed.join(", ")),
        }
    }
}
