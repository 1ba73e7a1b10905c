//! respgres.
pub mod cache;
pub mod command;
pub mod config;
pub mod engine;
pub mod error;
pub mod http;
pub mod metrics;
pub mod resp;
pub mod routing;
pub mod server;
pub mod shard;
pub mod shutdown;
