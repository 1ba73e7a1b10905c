//! Where the users come from: PASSWORD, and the file that USERS_FILE names.

use std::fmt;
use std::path::{Path, PathBuf};

use super::file::{self, FileMistake};
use super::users::{DEFAULT_USER, Users};
use crate::config::SecretText;

/// Where the users come from.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// PASSWORD: that of the default user.
    pub password: Option<SecretText>,
    /// USERS_FILE.
    pub users_file: Option<PathBuf>,
    /// Whether nobody may get in without a password, since everybody can reach the port.
    pub must_ask: bool,
}

/// Why there are no users: nothing of what was read is used.
#[derive(Debug)]
pub enum LoadError {
    /// The file can't be read.
    Unreadable(PathBuf, std::io::Error),
    /// The file has mistakes; at least one.
    Mistakes(PathBuf, Vec<FileMistake>),
    /// Somebody would get in without a password who may not.
    LetsAnybodyIn,
    /// Both PASSWORD and the file are about the default user.
    TwoDefaults(PathBuf),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Unreadable(path, error) => write!(
                f,
                "{} cannot be read: {error}; name a file that this user may read",
                path.display()
            ),
            LoadError::Mistakes(path, mistakes) => {
                for (index, mistake) in mistakes.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "\n" };
                    let FileMistake { line, problem } = mistake;
                    write!(f, "{separator}{}:{line}: {problem}", path.display())?;
                }
                Ok(())
            }
            LoadError::LetsAnybodyIn => f.write_str(
                "with these users whoever reaches the port gets in without a password, and it can be reached from other \
                 machines; give PASSWORD, or take `nopass` away, or start the proxy anew with LISTEN_WITHOUT_AUTHENTICATION",
            ),
            LoadError::TwoDefaults(path) => write!(
                f,
                "{} has the user `{DEFAULT_USER}`, and PASSWORD is given as well; take one of them away",
                path.display()
            ),
        }
    }
}

impl std::error::Error for LoadError {}

impl Source {
    /// Whether there is a password or a file.
    pub fn is_given(&self) -> bool {
        self.password.is_some() || self.users_file.is_some()
    }

    /// Reads the users now. It reads a file: not for a worker's thread.
    ///
    /// # Errors
    ///
    /// The file can't be read, or has mistakes.
    pub fn load(&self) -> Result<Users, LoadError> {
        let users = self.read()?;
        match self.must_ask && users.ask_for_no_password() {
            true => Err(LoadError::LetsAnybodyIn),
            false => Ok(users),
        }
    }

    fn read(&self) -> Result<Users, LoadError> {
        let password = self.password.as_ref().map(|text| text.expose().as_bytes());
        let Some(path) = &self.users_file else {
            return Ok(Users::with_password(password));
        };
        let listed = read(path)?;
        for line in &listed.plain {
            tracing::warn!(
                "{}:{line}: a password in plain text; write # and its SHA-256 in its place (`printf %s PASSWORD | sha256sum`)",
                path.display()
            );
        }
        let has_default = listed.users.iter().any(|user| user.name() == DEFAULT_USER);
        if has_default && password.is_some() {
            return Err(LoadError::TwoDefaults(path.clone()));
        }
        if !has_default && password.is_none() {
            tracing::warn!(
                "{} has no user `{DEFAULT_USER}`: as in Redis, who gives no name may do everything, without a password; add `user {DEFAULT_USER} off`, or set PASSWORD",
                path.display()
            );
        }
        Ok(Users::new(listed.users, password))
    }
}

fn read(path: &Path) -> Result<file::Listed, LoadError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| LoadError::Unreadable(path.to_owned(), error))?;
    file::parse(&text).map_err(|mistakes| LoadError::Mistakes(path.to_owned(), mistakes))
}
