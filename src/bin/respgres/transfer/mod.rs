//! `respgres import` and `respgres export`: moving keys, with their expiries, between what is there and a running respgres.
//!
//! Our side is always a proxy that runs, spoken to as any client does: what is imported is coherent at once, and others
//! are served meanwhile.
//!
//! ```text
//!  scan.rs   Redis, respgres ──┐                                   ┌── store.rs   respgres, Redis
//!  table.rs  PostgreSQL table ─┼─▶ pages ─▶ copy.rs, then verify.rs ┤
//!  file.rs   JSON lines ───────┘        │                          └── file.rs    JSON lines
//!                                       └─▶ state.rs   where to go on
//! ```

mod certificates;
mod commands;
mod connect;
mod copy;
mod file;
mod line;
mod page;
mod progress;
mod record;
mod resp;
mod run;
mod scan;
mod source;
mod state;
mod store;
mod table;
mod tally;
mod verify;

pub use commands::{EXPORT, IMPORT, export_command, import_command};
pub use run::{export, import};
