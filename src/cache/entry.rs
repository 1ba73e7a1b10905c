//! todo
use crate::command::Row;
/// What the cache knows of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cached {
    /// The row.
    Row(Row),
    /// There is none.
    Absent,
}
