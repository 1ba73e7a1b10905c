//! What another reading of the configuration changes, and whether that can take effect in a process that runs.

use std::collections::BTreeMap;
use std::fmt;

use super::layers::Layers;
use super::targets::ShardTarget;
use super::variables::{SHARD_URL, VARIABLES};
use super::{Config, InForce};

/// The variables that take effect without a restart. Everything else decides where data are, how connections are made,
/// or how memory is laid out, and is read at start only.
pub const RELOADABLE: &[&str] = &[
    "DB_POOL_MIN_SIZE",
    "DB_POOL_MAX_SIZE",
    "CACHE_TTL",
    "PASSWORD",
    "USERS_FILE",
    "MAX_CLIENTS",
    "MAX_REQUEST_SIZE",
    "MAX_REQUEST_MEMORY",
    "MAX_QUEUED_COMMANDS",
    "MAX_OUTPUT_BUFFER",
    "CLIENT_IDLE_TIMEOUT",
    "AUTHENTICATION_TIMEOUT",
    "MAX_QUEUE_WAIT_MS",
    "SHUTDOWN_TIMEOUT_MS",
    "DRAIN_TIMEOUT_MS",
    "HTTP_TOKEN",
    "RUST_LOG",
];

/// What every variable was given as, secrets included: nothing of it is printed.
#[derive(Clone, Default)]
pub(super) struct Given(BTreeMap<String, String>);

impl Given {
    pub(super) fn new<Env: Fn(&str) -> Option<String>>(
        layers: &Layers<Env>,
        shards: &[ShardTarget],
    ) -> Self {
        let variables = VARIABLES
            .iter()
            .filter(|variable| variable.name != SHARD_URL.name)
            .filter_map(|variable| {
                let setting = layers.get(variable)?;
                Some((variable.name.to_owned(), setting.value))
            });
        let shards = shards.iter().map(|target| {
            let place = match target {
                ShardTarget::Postgres { url, .. } => url.expose().to_owned(),
                ShardTarget::Sqlite { path, .. } => path.display().to_string(),
            };
            (target.variable().to_owned(), place)
        });
        Self(variables.chain(shards).collect())
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given").finish_non_exhaustive()
    }
}

/// A variable that was given as something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its name; that of the one shard for `SHARD_n_URL`.
    pub variable: String,
    /// Whether it is one of [`RELOADABLE`].
    pub takes_effect: bool,
}

impl Config {
    /// What is different in `new`, by name.
    pub fn changes(&self, new: &Config) -> Vec<Change> {
        let (Given(old), Given(new)) = (&self.given, &new.given);
        let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
        names.sort();
        names.dedup();
        names
            .into_iter()
            .filter(|name| old.get(*name) != new.get(*name))
            .map(|name| Change {
                variable: name.clone(),
                takes_effect: RELOADABLE.contains(&name.as_str()),
            })
            .collect()
    }

    /// Notes that what may change was taken from `new`.
    pub fn took_reloadable(&mut self, new: &Config) {
        self.given.take_reloadable(&new.given);
        for setting in &mut self.in_force {
            let is_it = |other: &&InForce| other.name == setting.name;
            if let Some(new) = new.in_force.iter().find(is_it)
                && RELOADABLE.contains(&setting.name.as_str())
            {
                setting.clone_from(new);
            }
        }
    }
}

impl Given {
    /// Takes over what takes effect, so that it is no change any more.
    fn take_reloadable(&mut self, new: &Given) {
        for name in RELOADABLE {
            match new.0.get(*name) {
                Some(value) => self.0.insert((*name).to_owned(), value.clone()),
                None => self.0.remove(*name),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn config(env: &[(&str, &str)]) -> Config {
        let env: BTreeMap<String, String> = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let found = Config::load(
            ["respgres".into()],
            |name: &str| env.get(name).cloned(),
            Path::new("/nonexistent/.env"),
        );
        found.unwrap()
    }

    fn change(variable: &str, takes_effect: bool) -> Change {
        Change {
            variable: variable.to_owned(),
            takes_effect,
        }
    }

    #[test]
    fn what_may_change_is_told_from_what_may_not() {
        let old = config(&[("CACHE_TTL", "300"), ("SHARD_0_URL", "sqlite:/tmp/a")]);
        let new = config(&[
            ("CACHE_TTL", "60"),
            ("SHARD_0_URL", "sqlite:/tmp/b"),
            ("HASH_TAGS", "on"),
        ]);
        assert_eq!(
            old.changes(&new),
            [
                change("CACHE_TTL", true),
                change("HASH_TAGS", false),
                change("SHARD_0_URL", false),
            ]
        );
    }

    #[test]
    fn what_is_given_as_its_default_is_no_change() {
        assert_eq!(config(&[]).changes(&config(&[("CACHE_TTL", "300")])), []);
    }

    #[test]
    fn only_variables_can_be_reloaded() {
        for name in RELOADABLE {
            assert!(
                VARIABLES.iter().any(|variable| variable.name == *name),
                "{name}"
            );
        }
    }

    #[test]
    fn nothing_of_what_was_given_is_printed() {
        let shown = format!("{:?}", config(&[("REDIS_URL", "redis://:hunter2@host/")]));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
