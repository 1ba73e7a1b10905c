//! The commands of the program beside `serve`.

mod check;
mod export;
mod import;
mod import_table;
mod pages;
mod secured;
mod shard;
mod transfer;
