//! respgres.

pub mod config;
