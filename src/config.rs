//! The configuration: one table of variables, four layers, and every mistake reported at once.
//!
//! [`VARIABLES`] is the table. A setting is taken from a flag, else from the environment, else from a `.env` file, else it
//! is the default; an empty value counts as none. The environment comes in as a closure, so that only `main` touches the
//! real one.

mod changes;
mod env_file;
mod in_force;
mod layers;
mod mistake;
mod postgres_tls;
mod secret;
mod secret_files;
mod targets;
mod tls_files;
mod variables;

pub use changes::{Change, RELOADABLE};
pub use in_force::{InForce, Source};
pub use layers::with_flags;
pub use mistake::{LoadError, Mistake};
pub use secret::{SecretText, SecretUrl};
pub use targets::{CacheTarget, ShardTarget, postgres_url};
pub use variables::{
    DefaultValue, FILE_SUFFIX, SECRETS, SHARDS_MAX, Secret, VARIABLES, Variable, shard_variable,
};

use changes::Given;
use layers::{Flags, Layers, Setting};
use std::ffi::OsString;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use variables::{
    ANYONE_CAN_CONNECT, ATOMIC_MSET, AUTHENTICATION_TIMEOUT, CACHE_MEMORY, CACHE_TTL,
    CLIENT_IDLE_TIMEOUT, DATA_DIR, DB_CONNECT_TIMEOUT_MS, DB_POOL_MAX_SIZE, DB_POOL_MIN_SIZE,
    DB_POOL_WAIT_TIMEOUT_MS, DB_QUERY_TIMEOUT_MS, DRAIN_TIMEOUT_MS, HASH_TAGS, HTTP_ADDR,
    HTTP_TLS_ADDR, HTTP_TOKEN, LISTEN_WITHOUT_AUTHENTICATION, LOG_FORMAT, MAX_CLIENTS,
    MAX_OUTPUT_BUFFER, MAX_QUEUE_WAIT_MS, MAX_QUEUED_COMMANDS, MAX_REQUEST_MEMORY,
    MAX_REQUEST_SIZE, MAX_VALUE_SIZE, NUM_SHARDS, PASSWORD, READS_WHEN_SHARD_DOWN,
    REDIS_TIMEOUT_MS, RESP_ADDR, RESP_TLS_ADDR, REUSE_PORT, RUST_LOG, SHUTDOWN_TIMEOUT_MS,
    USERS_FILE, WORKER_THREADS,
};

use crate::tls::ServerFiles;

/// Shards of the embedded default.
const EMBEDDED_SHARDS: u64 = 3;

/// The arguments of one request together may have so many bytes unless something else is configured.
const REQUEST_MAX: usize = 64 * 1024 * 1024;

/// What all requests may take, if they need no more.
const REQUEST_MEMORY: usize = 1024 * 1024 * 1024;

/// Everything that can be configured, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The shards by number; 1 to [`SHARDS_MAX`].
    pub shards: Vec<ShardTarget>,
    /// Whether the part of a key in braces, if there is one, selects its shard.
    pub hash_tags: bool,
    /// Whether MSET over several shards is done on all or none.
    pub atomic_mset: bool,
    /// The cache.
    pub cache: CacheTarget,
    /// Connections kept open to each PostgreSQL shard; 1 to `db_pool_max_size`.
    pub db_pool_min_size: usize,
    /// Connections to each PostgreSQL shard at most; 1 to 1,000.
    pub db_pool_max_size: usize,
    /// How long a value stays in the cache at most; whole seconds, one second to a year.
    pub cache_ttl: Duration,
    /// Where Redis clients connect: `host:port`. The host may be a name; port 0 takes a free one. At least one of this
    /// and `resp_tls_addr` is there.
    pub resp_addr: Option<String>,
    /// Where Redis clients connect with TLS, as `resp_addr`.
    pub resp_tls_addr: Option<String>,
    /// Where HTTP clients connect, as `resp_addr`.
    pub http_addr: Option<String>,
    /// Where HTTP clients connect with TLS, as `resp_addr`.
    pub http_tls_addr: Option<String>,
    /// What HTTP clients have to show.
    pub http_token: Option<SecretText>,
    /// What the ports with TLS are made from; there if one of them is.
    pub tls: Option<ServerFiles>,
    /// Whether other processes may listen on the same ports.
    pub reuse_port: bool,
    /// The directory of the embedded shards.
    pub data_dir: PathBuf,
    /// Bytes of the largest value; 1 to 512 MiB.
    pub max_value_size: usize,
    /// Redis clients connected at a time at most; 1 to 1,000,000.
    pub max_clients: usize,
    /// The password of the default user of the RESP port.
    pub password: Option<SecretText>,
    /// The file with the users of the RESP port.
    pub users_file: Option<PathBuf>,
    /// Whether a port that asks for no password or token may be reached from other machines.
    pub listen_without_authentication: bool,
    /// How long a client may send nothing; 0 for any time.
    pub client_idle_timeout: Duration,
    /// How long a client may take to give its password; whole seconds, one second to a day.
    pub authentication_timeout: Duration,
    /// Bytes that wait at most for a client that reads slowly; 64 KiB to 1 GiB.
    pub max_output_buffer: usize,
    /// Bytes of all arguments of one command together; at least `max_value_size`.
    pub max_request_size: usize,
    /// Bytes of all arguments over 64 KiB that all clients may have under way; `max_request_size` to 1 TiB.
    pub max_request_memory: usize,
    /// Commands between MULTI and EXEC at most.
    pub max_queued_commands: usize,
    /// Threads that do the work; 1 to 1,024.
    pub worker_threads: usize,
    /// Bytes that the in-process cache takes at most; 1 MiB to 1 TiB.
    pub cache_memory: u64,
    /// How long connecting to a shard may take; 1 ms to ten minutes, as all that follow.
    pub db_connect_timeout: Duration,
    /// How long a request may wait for a free connection of a pool.
    pub db_pool_wait_timeout: Duration,
    /// How long a statement on a shard may take.
    pub db_query_timeout: Duration,
    /// How long a request may wait in the queue of a shard that is asked for more than it can do.
    pub queue_wait_max: Duration,
    /// How long a Redis may take to answer before it is taken for down.
    pub redis_timeout: Duration,
    /// How long draining may take after SIGTERM or Ctrl-C.
    pub shutdown_timeout: Duration,
    /// How long connected clients are served on after SIGQUIT, if they are not quiet; up to a day.
    pub drain_timeout: Duration,
    /// Whether keys of a shard that is down are answered from the cache.
    pub reads_when_shard_down: bool,
    /// The shape of the log.
    pub log_format: LogFormat,
    /// What is logged: a filter of `tracing_subscriber::EnvFilter`, checked.
    pub log_level: String,
    /// No shard was named: the shards are SQLite files in `data_dir`.
    pub embedded: bool,
    /// Every variable as it was given.
    given: Given,
    /// All of it as text, without secrets.
    pub in_force: Vec<InForce>,
}

/// The shape of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// Reads the configuration from the command line (`args`, the program's name first), the file that `--env-file` names
    /// there, the environment, and the file at `dotenv`, if there is one.
    ///
    /// # Errors
    /// [`LoadError::Flags`] when the command line ends the program, else [`LoadError::Mistakes`] with every mistake.
    pub fn load(
        args: impl IntoIterator<Item = OsString>,
        env: impl Fn(&str) -> Option<String>,
        dotenv: &Path,
    ) -> Result<Config, LoadError> {
        let matches = layers::command()
            .try_get_matches_from(args)
            .map_err(LoadError::Flags)?;
        Config::from_matches(&matches, env, dotenv).map_err(LoadError::Mistakes)
    }

    /// The same with a command line that was parsed already, by a command of [`with_flags`] or one that has few or none
    /// of its flags.
    ///
    /// # Errors
    /// Every mistake; at least one.
    pub fn from_matches(
        matches: &clap::ArgMatches,
        env: impl Fn(&str) -> Option<String>,
        dotenv: &Path,
    ) -> Result<Config, Vec<Mistake>> {
        let flags = Flags::of(matches);
        let (variables, mut mistakes) = layers::read_dotenv(dotenv);
        let named = flags.env_file.as_deref().map(env_file::read);
        let (env_file, of_env_file) = named.unwrap_or_default();
        mistakes.extend(of_env_file);
        let (layers, of_files) = Layers::new(flags, env_file, env, variables);
        mistakes.extend(of_files);
        let mut reader = Reader { layers, mistakes };
        let mut config = reader.config();
        if !reader.mistakes.is_empty() {
            return Err(reader.mistakes);
        }
        config.in_force = reader.in_force(&config);
        Ok(config)
    }
}

/// Reads settings and notes mistakes. Where there is one, a stand-in takes the setting's place, so that reading goes on
/// to the next mistake; [`Config::load`] then throws the whole away.
struct Reader<Env> {
    layers: Layers<Env>,
    mistakes: Vec<Mistake>,
}

impl<Env: Fn(&str) -> Option<String>> Reader<Env> {
    fn config(&mut self) -> Config {
        let data_dir = PathBuf::from(self.text(&DATA_DIR));
        let (shards, embedded) = self.shards(&data_dir);
        let cache = self.cache();
        let (db_pool_min_size, db_pool_max_size) = self.pool_sizes();
        let cache_ttl = self.seconds(&CACHE_TTL);
        let cache_memory = self.number(&CACHE_MEMORY).unwrap_or_default();
        let password = self.layers.get(&PASSWORD);
        let users_file = self.layers.get(&USERS_FILE);
        let (max_value_size, max_request_size) = self.request_sizes();
        let max_request_memory = self.request_memory(max_request_size);
        let Addresses {
            resp,
            resp_tls,
            http,
            http_tls,
        } = self.addresses();
        let tls = self.server_files(resp_tls.is_some() || http_tls.is_some());
        let given = Given::new(&self.layers, &shards);
        Config {
            shards,
            hash_tags: self.parsed(&HASH_TAGS, on_or_off).unwrap_or_default(),
            atomic_mset: self.parsed(&ATOMIC_MSET, on_or_off).unwrap_or_default(),
            cache,
            db_pool_min_size,
            db_pool_max_size,
            cache_ttl,
            resp_addr: resp,
            resp_tls_addr: resp_tls,
            http_addr: http,
            http_tls_addr: http_tls,
            http_token: self.parsed(&HTTP_TOKEN, token),
            tls,
            reuse_port: self.parsed(&REUSE_PORT, on_or_off).unwrap_or_default(),
            data_dir,
            max_value_size,
            max_request_size,
            max_request_memory,
            password: password.map(|setting| SecretText::new(setting.value)),
            users_file: users_file.map(|setting| PathBuf::from(setting.value)),
            listen_without_authentication: self
                .parsed(&LISTEN_WITHOUT_AUTHENTICATION, anyone_can_connect)
                .unwrap_or_default(),
            client_idle_timeout: self.seconds(&CLIENT_IDLE_TIMEOUT),
            authentication_timeout: self.seconds(&AUTHENTICATION_TIMEOUT),
            max_output_buffer: self.size(&MAX_OUTPUT_BUFFER).unwrap_or_default(),
            max_queued_commands: self.size(&MAX_QUEUED_COMMANDS).unwrap_or_default(),
            max_clients: self.size(&MAX_CLIENTS).unwrap_or_default(),
            worker_threads: self
                .size(&WORKER_THREADS)
                .unwrap_or_else(default_worker_threads),
            cache_memory,
            db_connect_timeout: self.milliseconds(&DB_CONNECT_TIMEOUT_MS),
            db_pool_wait_timeout: self.milliseconds(&DB_POOL_WAIT_TIMEOUT_MS),
            db_query_timeout: self.milliseconds(&DB_QUERY_TIMEOUT_MS),
            queue_wait_max: self.milliseconds(&MAX_QUEUE_WAIT_MS),
            redis_timeout: self.milliseconds(&REDIS_TIMEOUT_MS),
            shutdown_timeout: self.milliseconds(&SHUTDOWN_TIMEOUT_MS),
            drain_timeout: self.milliseconds(&DRAIN_TIMEOUT_MS),
            reads_when_shard_down: self
                .parsed(&READS_WHEN_SHARD_DOWN, reads_when_shard_down)
                .unwrap_or_default(),
            log_format: self.parsed(&LOG_FORMAT, log_format).unwrap_or_default(),
            log_level: self.parsed(&RUST_LOG, log_level).unwrap_or_default(),
            embedded,
            given,
            in_force: Vec::new(),
        }
    }

    /// The shards, and whether they are the embedded default.
    fn shards(&mut self, data_dir: &Path) -> (Vec<ShardTarget>, bool) {
        let (urls, gap) = self.shard_urls();
        let wanted = self.number(&NUM_SHARDS);
        if urls.is_empty() {
            // A NUM_SHARDS that cannot be read is a mistake already: the 3 is then a stand-in.
            let shards = (0..wanted.unwrap_or(EMBEDDED_SHARDS)).map(|number| ShardTarget::Sqlite {
                variable: DATA_DIR.name.to_owned(),
                path: data_dir.join(format!("shard_{number}.db")),
            });
            return (shards.collect(), true);
        }
        if let Some(wanted) = wanted.filter(|wanted| !gap && *wanted != urls.len() as u64) {
            self.mistake(NUM_SHARDS.name, count_problem(wanted, urls.len()));
        }
        for (index, (variable, setting)) in urls.iter().enumerate() {
            if let Some((first, _)) = urls[..index]
                .iter()
                .find(|(_, other)| other.value == setting.value)
            {
                let problem = format!(
                    "{} is also {first}; each shard needs a database of its own",
                    setting.quoted()
                );
                self.mistake(variable, problem);
            }
        }
        let mut shards = Vec::with_capacity(urls.len());
        for (variable, setting) in &urls {
            match targets::shard_target(variable, setting) {
                Ok(target) => shards.push(target),
                Err(problem) => self.mistake(variable, problem),
            }
        }
        (shards, false)
    }

    /// The URL of each shard with the variable's name, and whether a number is missing between them.
    fn shard_urls(&mut self) -> (Vec<(String, Setting)>, bool) {
        let flags = self.layers.shard_url_flags();
        if !flags.is_empty() {
            let named = flags.into_iter().enumerate();
            return (
                named
                    .map(|(number, setting)| (shard_variable(number), setting))
                    .collect(),
                false,
            );
        }
        let (mut urls, mut gap, mut next) = (Vec::new(), false, 0);
        for number in 0..SHARDS_MAX {
            let variable = shard_variable(number);
            let Some(setting) = self.layers.below_flags(&variable) else {
                continue;
            };
            if number > next {
                gap = true;
                self.mistake(shard_variable(next), gap_problem(next, number));
            }
            next = number + 1;
            urls.push((variable, setting));
        }
        (urls, gap)
    }

    fn pool_sizes(&mut self) -> (usize, usize) {
        let (mut min, max) = (self.size(&DB_POOL_MIN_SIZE), self.size(&DB_POOL_MAX_SIZE));
        if self.layers.is_default(&DB_POOL_MIN_SIZE) {
            // A default gives way to what was asked for.
            min = min.zip(max).map(|(min, max)| min.min(max));
        }
        if let (Some(min), Some(max)) = (min, max)
            && min > max
        {
            let problem = format!(
                "`{min}` is more than {}, which is {max}; lower it, or raise that",
                DB_POOL_MAX_SIZE.name
            );
            self.mistake(DB_POOL_MIN_SIZE.name, problem);
        }
        (min.unwrap_or_default(), max.unwrap_or_default())
    }

    fn addresses(&mut self) -> Addresses {
        let addresses = Addresses {
            resp: self.parsed(&RESP_ADDR, address_or_off).flatten(),
            resp_tls: self.parsed(&RESP_TLS_ADDR, address),
            http: self.parsed(&HTTP_ADDR, address_or_off).flatten(),
            http_tls: self.parsed(&HTTP_TLS_ADDR, address),
        };
        let is_off = |setting: &Setting| setting.value == OFF;
        if self.layers.get(&RESP_ADDR).as_ref().is_some_and(is_off)
            && self.layers.get(&RESP_TLS_ADDR).is_none()
        {
            let problem = format!("`{OFF}`, and {} is not set either", RESP_TLS_ADDR.name);
            self.mistake(RESP_ADDR.name, problem);
        }
        let given = [
            (&RESP_ADDR, &addresses.resp),
            (&RESP_TLS_ADDR, &addresses.resp_tls),
            (&HTTP_ADDR, &addresses.http),
            (&HTTP_TLS_ADDR, &addresses.http_tls),
        ];
        for (at, (variable, address)) in given.iter().enumerate() {
            let Some(address) = address else { continue };
            let same = given[..at]
                .iter()
                .find(|(_, other)| other.as_ref() == Some(address) && !address.ends_with(":0"));
            if let Some((other, _)) = same {
                let problem = format!(
                    "`{address}` is also {}; give each a port of its own",
                    other.name
                );
                self.mistake(variable.name, problem);
            }
        }
        addresses
    }

    /// Those of a value and of a request.
    fn request_sizes(&mut self) -> (usize, usize) {
        let value = self.size(&MAX_VALUE_SIZE).unwrap_or_default();
        let request = self.size(&MAX_REQUEST_SIZE);
        if let Some(request) = request.filter(|request| *request < value) {
            let problem = format!(
                "`{request}` is less than {}, which is {value}; raise it, or lower that",
                MAX_VALUE_SIZE.name
            );
            self.mistake(MAX_REQUEST_SIZE.name, problem);
        }
        // A handful of the largest values, or many of any size.
        let default = value.saturating_mul(4).max(REQUEST_MAX);
        (value, request.unwrap_or(default))
    }

    /// What all requests may take, when one may have so many bytes.
    fn request_memory(&mut self, request_max: usize) -> usize {
        let memory = self.size(&MAX_REQUEST_MEMORY);
        if let Some(memory) = memory.filter(|memory| *memory < request_max) {
            let problem = format!(
                "`{memory}` is less than {}, which is {request_max}; raise it, or lower that",
                MAX_REQUEST_SIZE.name
            );
            self.mistake(MAX_REQUEST_MEMORY.name, problem);
        }
        memory.unwrap_or(request_max.max(REQUEST_MEMORY))
    }

    fn seconds(&mut self, variable: &Variable) -> Duration {
        Duration::from_secs(self.number(variable).unwrap_or_default())
    }

    fn milliseconds(&mut self, variable: &Variable) -> Duration {
        Duration::from_millis(self.number(variable).unwrap_or_default())
    }

    fn size(&mut self, variable: &Variable) -> Option<usize> {
        self.number(variable)
            .and_then(|number| usize::try_from(number).ok())
    }

    /// A number within the variable's bounds; `None` if it is not given or a mistake.
    fn number(&mut self, variable: &Variable) -> Option<u64> {
        self.parsed(variable, |setting| {
            let bounds = variable.bounds.clone().unwrap_or(0..=u64::MAX);
            let number = setting
                .value
                .trim()
                .parse()
                .ok()
                .filter(|number| bounds.contains(number));
            number.ok_or_else(|| {
                let (least, most) = (bounds.start(), bounds.end());
                format!(
                    "{} is not a whole number from {least} to {most}: {}",
                    setting.quoted(),
                    variable.meaning
                )
            })
        })
    }

    fn text(&mut self, variable: &Variable) -> String {
        self.layers
            .get(variable)
            .map(|setting| setting.value)
            .unwrap_or_default()
    }

    /// The setting as `parse` reads it; `None` if it is not given or a mistake, which is noted.
    fn parsed<T>(
        &mut self,
        variable: &Variable,
        parse: impl FnOnce(&Setting) -> Result<T, String>,
    ) -> Option<T> {
        match parse(&self.layers.get(variable)?) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.mistake(variable.name, problem);
                None
            }
        }
    }

    fn mistake(&mut self, variable: impl Into<String>, problem: impl Into<String>) {
        self.mistakes.push(Mistake::new(variable, problem));
    }
}

/// What to say when `wanted` shards were announced and `found` URLs are there.
fn count_problem(wanted: u64, found: usize) -> String {
    let last = shard_variable(found.saturating_sub(1));
    let urls = match found {
        1 => format!("only {last} is given"),
        _ => format!("there are {found} shard URLs, up to {last}"),
    };
    format!(
        "`{wanted}`, but {urls}; set NUM_SHARDS={found} or leave it out, or correct the SHARD_n_URL"
    )
}

/// What to say when the shards from `missing` up to the one before `present` have no URL.
fn gap_problem(missing: usize, present: usize) -> String {
    let present_variable = shard_variable(present);
    let others = match present - missing {
        1 => String::new(),
        _ => format!(", nor are the others up to {}", shard_variable(present - 1)),
    };
    format!(
        "is not set{others}, though {present_variable} is; shards are numbered from 0 without a gap: set it, or \
         renumber the others"
    )
}

/// Where each port listens.
struct Addresses {
    resp: Option<String>,
    resp_tls: Option<String>,
    http: Option<String>,
    http_tls: Option<String>,
}

/// An address that is none: the port is not there.
const OFF: &str = "off";

fn address_or_off(setting: &Setting) -> Result<Option<String>, String> {
    match setting.value.as_str() {
        OFF => Ok(None),
        _ => address(setting).map(Some),
    }
}

fn address(setting: &Setting) -> Result<String, String> {
    let problem = |problem: &str| Err(format!("{} {problem}", setting.quoted()));
    let value = setting.value.trim();
    let Some((host, port)) = value.rsplit_once(':') else {
        return problem("has no port; give HOST:PORT, as in 127.0.0.1:6379");
    };
    if host.is_empty() {
        return problem(
            "has no host; give 127.0.0.1:PORT for this machine alone, or 0.0.0.0:PORT for all",
        );
    }
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        return problem(
            "has colons in its host; give an IPv6 address as [ADDRESS]:PORT, and no scheme",
        );
    }
    if port.parse::<u16>().is_err() {
        return problem("has a port that is not a number from 0 to 65535");
    }
    Ok(value.to_owned())
}

/// The words have to be said: a `yes` is typed too easily.
fn anyone_can_connect(setting: &Setting) -> Result<bool, String> {
    match setting.value.as_str() {
        ANYONE_CAN_CONNECT => Ok(true),
        _ => Err(format!(
            "{} is not understood; give `{ANYONE_CAN_CONNECT}` if that is so, or leave it out",
            setting.quoted()
        )),
    }
}

/// A token that can stand in a header. What is wrong with it is told without it.
fn token(setting: &Setting) -> Result<SecretText, String> {
    match setting.value.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(SecretText::new(&setting.value)),
        false => {
            Err("has spaces, or what is not ASCII; draw one with `openssl rand -hex 32`".to_owned())
        }
    }
}

fn on_or_off(setting: &Setting) -> Result<bool, String> {
    match setting.value.as_str() {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("{} is neither `on` nor `off`", setting.quoted())),
    }
}

/// Whether they are answered from the cache.
fn reads_when_shard_down(setting: &Setting) -> Result<bool, String> {
    match setting.value.as_str() {
        "error" => Ok(false),
        "cached" => Ok(true),
        _ => Err(format!(
            "{} is neither `error` nor `cached`",
            setting.quoted()
        )),
    }
}

fn log_format(setting: &Setting) -> Result<LogFormat, String> {
    match setting.value.as_str() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("{} is neither `text` nor `json`", setting.quoted())),
    }
}

fn log_level(setting: &Setting) -> Result<String, String> {
    match tracing_subscriber::EnvFilter::try_new(&setting.value) {
        Ok(_) => Ok(setting.value.clone()),
        Err(error) => Err(format!(
            "{} is not a filter for the log ({error}); give a level, as in info",
            setting.quoted()
        )),
    }
}

/// One processor is left to the kernel, which has about as much to do for a request as the proxy has,
/// to the main thread, and to what else runs there.
fn default_worker_threads() -> usize {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    processors.saturating_sub(1).max(1)
}

#[cfg(test)]
mod tests;
