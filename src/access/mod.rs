//! Who gets in, and who may do what: users, their passwords and their rights, in the words of Redis' ACL
//! as far as they go here. <https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/>
//!
//! ```text
//!   PASSWORD, USERS_FILE ─► Source ─► Users ─► Access ─► each connection: its User, and with it its Rights
//! ```
//!
//! Rights are compiled to a bit for each command when they are read. A connection whose user may do
//! everything never asks. The users are replaced as a whole, at run time; a number that grows with it tells
//! connections to look again.

mod cell;
mod digest;
mod file;
mod rights;
mod rules;
mod source;
mod throttle;
mod user;
mod users;

#[cfg(test)]
mod tests;

pub use cell::Access;
pub use digest::Digest;
pub use file::FileMistake;
pub use rights::{Denial, Rights};
pub use source::{LoadError, Source};
pub use throttle::{Throttle, Turn};
pub use user::User;
pub use users::{DEFAULT_USER, Refused, Users};
