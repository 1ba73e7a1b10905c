//! Where settings come from: a flag, else the file of `--env-file`, else the environment, else `.env`, else the default.

use super::mistake::Mistake;
use super::secret::masked;
use super::secret_files::SecretFiles;
use super::variables::{DefaultValue, FILE_SUFFIX, SHARD_URL, VARIABLES, Variable};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The name that [`Mistake`]s about the file itself carry.
const DOTENV: &str = ".env";

/// The flag that names a file of variables.
const ENV_FILE: &str = "env-file";

/// The layer that a setting was found in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    Flag,
    EnvFile,
    Environment,
    DotEnv,
    Default,
}

/// A value as text, and where it was found. It may be a secret: there is no `Debug`.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) value: String,
    pub(super) origin: Origin,
    /// The file that the value was read from, where a layer named one.
    pub(super) file: Option<PathBuf>,
}

impl Setting {
    /// The value between quotes for a [`Mistake`], on one line, without a password, and where it stands if that is not
    /// plain from the variable's name.
    pub(super) fn quoted(&self) -> String {
        if let Some(file) = &self.file {
            let value = masked(&self.value);
            return format!(
                "`{}` (in the file {})",
                value.escape_debug(),
                file.display()
            );
        }
        let origin = match self.origin {
            Origin::Flag => " (a flag)",
            Origin::EnvFile => " (in the file of --env-file)",
            Origin::DotEnv => " (in .env)",
            Origin::Environment | Origin::Default => "",
        };
        format!("`{}`{origin}", masked(&self.value).escape_debug())
    }
}

/// What was given on the command line.
#[derive(Default)]
pub(super) struct Flags {
    single: BTreeMap<&'static str, String>,
    shard_urls: Vec<String>,
    /// The files that are named in the place of secrets, by the secrets' names.
    files: BTreeMap<&'static str, String>,
    /// The file that [`ENV_FILE`] names.
    pub(super) env_file: Option<PathBuf>,
}

impl Flags {
    /// What is in `matches`, of a command that may have all, some or none of the [flags](with_flags).
    pub(super) fn of(matches: &clap::ArgMatches) -> Self {
        let env_file = matches.try_get_one::<String>(ENV_FILE).ok().flatten();
        let mut flags = Flags {
            env_file: env_file.map(PathBuf::from),
            ..Flags::default()
        };
        for variable in VARIABLES {
            let values = matches
                .try_get_many::<String>(variable.flag)
                .ok()
                .flatten()
                .into_iter()
                .flatten()
                .cloned();
            if variable.flag == SHARD_URL.flag {
                flags.shard_urls.extend(values);
            } else {
                flags
                    .single
                    .extend(values.map(|value| (variable.name, value)));
            }
            if let Some(flag) = file_flag(variable) {
                let file = matches.try_get_one::<String>(&flag).ok().flatten();
                flags
                    .files
                    .extend(file.map(|file| (variable.name, file.clone())));
            }
        }
        flags
    }
}

/// The flag that names a file for a secret. The shards, whose flags are in order, have none.
fn file_flag(variable: &Variable) -> Option<String> {
    let secret = variable.secret()?;
    (secret.name != SHARD_URL.name).then(|| format!("{}-file", variable.flag))
}

/// The command line of a program that has nothing but the flags.
pub(super) fn command() -> clap::Command {
    with_flags(
        clap::Command::new("respgres")
            .version(env!("CARGO_PKG_VERSION"))
            .about(env!("CARGO_PKG_DESCRIPTION")),
    )
}

/// Gives `command` a flag for each variable, and says how they go together with the environment. The flags are in its
/// `--help`, and not in the shorter `-h`.
pub fn with_flags(command: clap::Command) -> clap::Command {
    let command = command.after_long_help(
        "A flag wins over the file of --env-file, that over the environment, and the environment over a .env file in the \
         current directory. An empty value counts as none.\nEvery user of the machine can read flags: put passwords and URLs with passwords \
         into the environment, .env, or files.",
    );
    let command = command.arg(
        clap::Arg::new(ENV_FILE)
            .long(ENV_FILE)
            .value_name("PATH")
            .hide_short_help(true)
            .help(
                "File of lines NAME=value that win over the environment; SIGHUP has it read again",
            ),
    );
    let command = VARIABLES.iter().fold(command, |command, variable| {
        let Some(flag) = file_flag(variable) else {
            return command;
        };
        command.arg(
            clap::Arg::new(flag.clone())
                .long(flag)
                .value_name("PATH")
                .hide_short_help(true)
                .help(format!(
                    "File with the value of --{}\n[env: {}{FILE_SUFFIX}]",
                    variable.flag, variable.name
                )),
        )
    });
    VARIABLES.iter().fold(command, |command, variable| {
        let default = variable.default.text();
        let bounds = variable
            .bounds
            .as_ref()
            .map(|bounds| format!(" [{} to {}]", bounds.start(), bounds.end()));
        let action = match variable.flag == SHARD_URL.flag {
            true => clap::ArgAction::Append,
            false => clap::ArgAction::Set,
        };
        command.arg(
            clap::Arg::new(variable.flag)
                .long(variable.flag)
                .value_name(variable.value_name)
                .action(action)
                .allow_negative_numbers(true)
                .hide_short_help(true)
                .help(variable.meaning)
                .long_help(format!(
                    "{}\n[env: {}] [default: {default}]{}",
                    variable.meaning,
                    variable.name,
                    bounds.unwrap_or_default()
                )),
        )
    })
}

/// The variables in the `.env` file at `path`; none when there is no such file. The process's environment is left alone.
///
/// # Errors
/// Every line that cannot be read, by its variable where it has one. What a line says is not repeated: it may be a
/// password.
pub(super) fn read_dotenv(path: &Path) -> (BTreeMap<String, String>, Vec<Mistake>) {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Default::default(),
        Err(error) => {
            let problem = format!(
                "{} cannot be read: {error}; correct that, or remove it",
                path.display()
            );
            return (BTreeMap::new(), vec![Mistake::new(DOTENV, problem)]);
        }
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let (mut variables, mut mistakes) = (BTreeMap::new(), Vec::new());
    for item in dotenvy::from_read_iter(text.as_bytes()) {
        match item {
            // The last of two wins, as in a shell.
            Ok((name, value)) => drop(variables.insert(name, value)),
            Err(dotenvy::Error::LineParse(line, _)) => mistakes.push(unreadable_line(text, &line)),
            Err(_) => mistakes.push(Mistake::new(
                DOTENV,
                "cannot be read; write NAME=value, one a line",
            )),
        }
    }
    (variables, mistakes)
}

fn unreadable_line(text: &str, line: &str) -> Mistake {
    let first = line.trim_end().lines().next().unwrap_or_default();
    let number = text
        .lines()
        .position(|candidate| candidate == first)
        .map_or(0, |index| index + 1);
    let name = first.split_once('=').map_or("", |(name, _)| name.trim());
    let is_name = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let problem = format!(
        "line {number} of .env cannot be read; write NAME=value, and the value between ' and ' if it has spaces, \
         quotes, # or $ in it"
    );
    Mistake::new(if is_name { name } else { DOTENV }, problem)
}

/// All layers together.
pub(super) struct Layers<Env> {
    flags: Flags,
    env_file: BTreeMap<String, String>,
    environment: Env,
    dotenv: BTreeMap<String, String>,
    files: SecretFiles,
}

/// The layers in which something can be given, highest first.
const GIVEN: [Origin; 4] = [
    Origin::Flag,
    Origin::EnvFile,
    Origin::Environment,
    Origin::DotEnv,
];

impl<Env: Fn(&str) -> Option<String>> Layers<Env> {
    /// The layers, and what is wrong with the files that they name.
    pub(super) fn new(
        flags: Flags,
        env_file: BTreeMap<String, String>,
        environment: Env,
        dotenv: BTreeMap<String, String>,
    ) -> (Self, Vec<Mistake>) {
        let mut layers = Layers {
            flags,
            env_file,
            environment,
            dotenv,
            files: SecretFiles::default(),
        };
        let (files, mistakes) = SecretFiles::read(
            &GIVEN,
            |origin, name| layers.named_file(origin, name),
            |origin, name| layers.given(origin, name).is_some(),
        );
        layers.files = files;
        (layers, mistakes)
    }

    /// The setting of a variable from the highest layer that has one; `None` if none has and there is no default.
    pub(super) fn get(&self, variable: &Variable) -> Option<Setting> {
        self.from(&GIVEN, variable.name).or(match variable.default {
            DefaultValue::Value(text) => Some(Setting {
                value: text.to_owned(),
                origin: Origin::Default,
                file: None,
            }),
            DefaultValue::Words(_) => None,
        })
    }

    /// Whether only the default is there.
    pub(super) fn is_default(&self, variable: &Variable) -> bool {
        self.get(variable)
            .is_none_or(|setting| setting.origin == Origin::Default)
    }

    /// The setting of the variable `name` from a file or the environment.
    pub(super) fn below_flags(&self, name: &str) -> Option<Setting> {
        self.from(&GIVEN[1..], name)
    }

    /// The setting of the variable `name` from the first of `origins` that has it, itself or in a file.
    fn from(&self, origins: &[Origin], name: &str) -> Option<Setting> {
        origins.iter().find_map(|&origin| {
            let given = self.given(origin, name).map(|value| Setting {
                value,
                origin,
                file: None,
            });
            given.or_else(|| self.files.get(origin, name))
        })
    }

    /// What stands in one layer for `name`.
    fn given(&self, origin: Origin, name: &str) -> Option<String> {
        let value = match origin {
            Origin::Flag => self.flags.single.get(name).cloned(),
            Origin::EnvFile => self.env_file.get(name).cloned(),
            Origin::Environment => (self.environment)(name),
            Origin::DotEnv => self.dotenv.get(name).cloned(),
            Origin::Default => None,
        };
        value.filter(|value| !value.is_empty())
    }

    /// The file that one layer names for the secret `name`.
    fn named_file(&self, origin: Origin, name: &str) -> Option<String> {
        match origin {
            Origin::Flag => self.flags.files.get(name).cloned(),
            _ => self.given(origin, &format!("{name}{FILE_SUFFIX}")),
        }
        .filter(|file| !file.is_empty())
    }

    /// The values of `--shard-url`, in order.
    pub(super) fn shard_url_flags(&self) -> Vec<Setting> {
        let values = self.flags.shard_urls.iter();
        values
            .map(|value| Setting {
                value: value.clone(),
                origin: Origin::Flag,
                file: None,
            })
            .collect()
    }
}
