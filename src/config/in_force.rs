//! The settings as they are in force, for showing them to people.

use super::layers::{Origin, Setting};
use super::secret::{MASK, masked};
use super::variables::{
    DB_POOL_MIN_SIZE, DefaultValue, NUM_SHARDS, SHARD_URL, VARIABLES, WORKER_THREADS,
};
use super::{Config, Reader};

/// One setting, without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// The variable.
    pub name: String,
    /// Its value: of a URL without the password, of a secret that is no URL only that there is one.
    pub value: String,
    /// Where it was found.
    pub source: Source,
}

/// Where a setting was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// On the command line.
    Flag,
    /// In the file of `--env-file`.
    EnvFile,
    /// In the environment.
    Environment,
    /// In `.env`.
    DotEnv,
    /// In a file that one of these names.
    File,
    /// Nowhere: it is the default.
    Default,
}

impl From<&Setting> for Source {
    fn from(setting: &Setting) -> Self {
        match setting.origin {
            _ if setting.file.is_some() => Source::File,
            Origin::Flag => Source::Flag,
            Origin::EnvFile => Source::EnvFile,
            Origin::Environment => Source::Environment,
            Origin::DotEnv => Source::DotEnv,
            Origin::Default => Source::Default,
        }
    }
}

impl<Env: Fn(&str) -> Option<String>> Reader<Env> {
    /// Every setting, in the order of [`VARIABLES`]. `config` is what was made of them.
    pub(super) fn in_force(&mut self, config: &Config) -> Vec<InForce> {
        let mut all = Vec::new();
        for variable in VARIABLES {
            if variable.name == SHARD_URL.name {
                let (urls, _) = self.shard_urls();
                all.extend(urls.iter().map(|(name, setting)| InForce {
                    name: name.clone(),
                    value: masked(&setting.value),
                    source: Source::from(setting),
                }));
                continue;
            }
            // What follows from others.
            let computed = match variable.name {
                name if name == NUM_SHARDS.name => Some(config.shards.len()),
                name if name == WORKER_THREADS.name => Some(config.worker_threads),
                name if name == DB_POOL_MIN_SIZE.name => Some(config.db_pool_min_size),
                _ => None,
            };
            let setting = self.layers.get(variable);
            let source = setting.as_ref().map_or(Source::Default, Source::from);
            let value = match (computed, setting, variable.default) {
                (Some(number), ..) => number.to_string(),
                (None, Some(setting), _) => shown(variable.name, &setting.value),
                (None, None, DefaultValue::Words(text) | DefaultValue::Value(text)) => {
                    text.to_owned()
                }
            };
            all.push(InForce {
                name: variable.name.to_owned(),
                value,
                source,
            });
        }
        all
    }
}

/// A secret that is no URL is not shown at all.
fn shown(name: &str, value: &str) -> String {
    let is_secret = VARIABLES
        .iter()
        .any(|variable| variable.name == name && variable.secret().is_some());
    match is_secret && !name.ends_with("_URL") {
        true => MASK.to_owned(),
        false => masked(value),
    }
}
