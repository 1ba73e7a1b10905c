//! Secrets in files, as containers and systemd hand them over: `REDIS_URL_FILE` names a file with what
//! `REDIS_URL` would say.

use super::layers::{Origin, Setting};
use super::mistake::Mistake;
use super::variables::{FILE_SUFFIX, SECRETS, SHARD_URL, SHARDS_MAX, Secret, shard_variable};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The longest file that is read, in bytes: a secret is a line.
const FILE_MAX: u64 = 64 * 1024;

/// What the files say that the layers name.
#[derive(Default)]
pub(super) struct SecretFiles(BTreeMap<(Origin, String), Setting>);

impl SecretFiles {
    /// Reads every file that `named` tells for the name of a secret in one of `origins`; `is_given` says whether that
    /// layer has the secret itself as well.
    ///
    /// # Errors
    /// Every file that can't be read or says nothing, and every secret that one layer gives twice. A stand-in is in
    /// their place.
    pub(super) fn read(
        origins: &[Origin],
        named: impl Fn(Origin, &str) -> Option<String>,
        is_given: impl Fn(Origin, &str) -> bool,
    ) -> (Self, Vec<Mistake>) {
        let (mut files, mut mistakes) = (BTreeMap::new(), Vec::new());
        for (name, stand_in) in SECRETS.iter().flat_map(members) {
            for &origin in origins {
                let Some(path) = named(origin, &name) else {
                    continue;
                };
                let read = match is_given(origin, &name) {
                    true => Err(format!(
                        "`{}` is given, and {name} as well; take one of them away",
                        path.escape_debug()
                    )),
                    false => read_file(Path::new(&path)),
                };
                let value = read.unwrap_or_else(|problem| {
                    mistakes.push(Mistake::new(format!("{name}{FILE_SUFFIX}"), problem));
                    stand_in.clone()
                });
                let setting = Setting {
                    value,
                    origin,
                    file: Some(path.into()),
                };
                files.insert((origin, name.clone()), setting);
            }
        }
        (SecretFiles(files), mistakes)
    }

    /// What the file said that the layer `origin` names for the secret `name`.
    pub(super) fn get(&self, origin: Origin, name: &str) -> Option<Setting> {
        self.0.get(&(origin, name.to_owned())).cloned()
    }
}

/// The names that a secret stands for, each with its stand-in.
fn members(secret: &'static Secret) -> Vec<(String, String)> {
    if secret.name != SHARD_URL.name {
        return vec![(secret.name.to_owned(), secret.stand_in.to_owned())];
    }
    let numbers = 0..SHARDS_MAX;
    numbers
        .map(|number| {
            let name = shard_variable(number);
            let stand_in = secret.stand_in.replace(secret.name, &name);
            (name, stand_in)
        })
        .collect()
}

/// What a file says, without the newline at its end.
fn read_file(path: &Path) -> Result<String, String> {
    let problem =
        |problem: &str| format!("`{}` {problem}", path.display().to_string().escape_debug());
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(FILE_MAX + 1).read_to_string(&mut text));
    if let Err(error) = read {
        return Err(problem(&format!(
            "cannot be read: {error}; name a file that this user may read"
        )));
    }
    if text.len() as u64 > FILE_MAX {
        return Err(problem(&format!(
            "has more than {FILE_MAX} bytes; name a file with the secret alone"
        )));
    }
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(problem("is empty; write the secret into it"));
    }
    // Whoever sees the file does not see these, and what logs in elsewhere with the same secret does not have them.
    if text.starts_with('\u{feff}') {
        return Err(problem(
            "begins with a byte order mark (EF BB BF), as some editors write it; save it as UTF-8 without one",
        ));
    }
    if text.ends_with(['\n', '\r']) {
        return Err(problem(
            "ends with more than one newline; leave one at most, as only one is taken off",
        ));
    }
    if text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace) {
        return Err(problem(
            "has a space or the like before or after the secret, which would be part of it; take it away, or choose another secret",
        ));
    }
    Ok(text.to_owned())
}
