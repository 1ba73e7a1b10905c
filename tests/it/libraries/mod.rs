//! The clients of README's table, unmodified, against the proxy and against Redis itself.
//!
//! The programs that use the libraries of other languages are in `tests/clients`; `make client-libraries` installs what
//! they need below `target/clients`.

mod command_line;
mod fred_crate;
mod programs;
mod readme;
mod redis_crate;
mod start_ups;

pub use programs::{installed, source};
