//! SIGHUP: the configuration is read again, and what may change does.

use std::sync::Arc;

use respgres::access::{Source, Users};
use respgres::config::{Change, Config};
use respgres::engine::Engine;
use respgres::http::Token;
use respgres::server::Server;
use respgres::tls::{Prepared, ServerTls};

use crate::failure::Failure;
use crate::listening::Asks;
use crate::logging::LogLevel;
use crate::parts::{bounds, users_source};

/// What can be changed while it runs.
pub struct Running {
    pub engine: Arc<Engine>,
    pub server: Arc<Server>,
    pub http_token: Arc<Token>,
    /// The certificate of the ports.
    pub tls: Option<Arc<ServerTls>>,
    /// Which ports must not let in everybody.
    pub must_ask: Asks,
    pub log_level: LogLevel,
}

/// What was read, and is not in force yet.
type PreparedParts = (Option<(Users, Source)>, Option<Prepared>);

impl Running {
    /// Reads the files that the configuration names: small ones, once a signal.
    fn prepare(&self, old: &Config, new: &Config) -> Result<PreparedParts, String> {
        if self.must_ask.http && new.http_token.is_none() {
            return Err(
                "HTTP_TOKEN: there is none any more, and the port can be reached from other machines; give one, or start the \
                 proxy anew with LISTEN_WITHOUT_AUTHENTICATION"
                    .to_owned(),
            );
        }
        // Also when no variable has changed: what the file says may have.
        let source = users_source(new);
        let is_given = source.is_given() || users_source(old).is_given();
        let users = is_given
            .then(|| self.server.prepare_users(source))
            .transpose()
            .map_err(|error| format!("PASSWORD, USERS_FILE: {error}"))?;
        let certificate = self.tls.as_ref().map(|tls| tls.prepare()).transpose();
        let certificate = certificate.map_err(|error| format!("TLS: {error}"))?;
        Ok((users, certificate.flatten()))
    }

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
        // All that can fail comes first: half of a change is none that anybody wanted.
        let (users, certificate) = match self.prepare(config, &new) {
            Ok(prepared) => prepared,
            Err(problem) => {
                tracing::error!("SIGHUP: nothing was changed: {problem}");
                return;
            }
        };
        if let Some(users) = users {
            self.server.take_users(users);
        }
        if let Some((tls, certificate)) = self.tls.as_ref().zip(certificate) {
            tls.take(certificate);
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
