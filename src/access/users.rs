//! All users.

use std::sync::Arc;

use super::digest::Digest;
use super::user::User;

/// The user that a connection has before it names another.
pub const DEFAULT_USER: &str = "default";

/// All users; the default user is always there.
#[derive(Debug, Clone)]
pub struct Users {
    /// Sorted by name.
    list: Vec<Arc<User>>,
    default: Arc<User>,
}

/// A user name and a password that do not belong together, or a user that is off: nothing tells which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

impl Users {
    /// One user, `default`, who may do everything: without a password, if there is none.
    pub fn with_password(password: Option<&[u8]>) -> Self {
        Self::new(Vec::new(), password)
    }

    /// These users, of different names. A default user that is not among them may do everything, with `password`;
    /// without one, if there is none.
    pub fn new(users: Vec<User>, password: Option<&[u8]>) -> Self {
        let mut list: Vec<Arc<User>> = users.into_iter().map(Arc::new).collect();
        let named = list.iter().find(|user| user.name == DEFAULT_USER).cloned();
        let default = named.unwrap_or_else(|| {
            let default = Arc::new(User::unlimited(DEFAULT_USER, password));
            list.push(Arc::clone(&default));
            default
        });
        list.sort_by(|a, b| a.name.cmp(&b.name));
        Users { list, default }
    }

    /// The default user.
    pub fn default_user(&self) -> &Arc<User> {
        &self.default
    }

    /// By name.
    pub fn find(&self, name: &[u8]) -> Option<&Arc<User>> {
        let by_name = |user: &Arc<User>| user.name.as_bytes().cmp(name);
        let at = self.list.binary_search_by(by_name).ok()?;
        self.list.get(at)
    }

    /// All, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<User>> {
        self.list.iter()
    }

    /// Whether a connection is let in before it has said who it is.
    pub fn let_anybody_in(&self) -> bool {
        self.default.is_on && self.default.needs_no_password
    }

    /// Whether somebody without a password can do something.
    pub fn ask_for_no_password(&self) -> bool {
        let is_open = |user: &User| user.is_on && user.needs_no_password && !user.rights.are_none();
        self.list.iter().any(|user| is_open(user))
    }

    /// The user of this name, if the password is one of its.
    ///
    /// # Errors
    ///
    /// It is not, there is no such user, or it is off. All take as long.
    pub fn authenticate(&self, name: &[u8], password: &[u8]) -> Result<Arc<User>, Refused> {
        let given = Digest::of(password);
        let found = self.find(name).filter(|user| user.is_on);
        let Some(user) = found else {
            // Compared with something all the same.
            std::hint::black_box(given.is_same(&given));
            return Err(Refused);
        };
        match user.has_password(&given) {
            true => Ok(Arc::clone(user)),
            false => Err(Refused),
        }
    }
}
