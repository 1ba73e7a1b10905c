//! The harness: real servers on free ports, the proxy under test, and the clients that talk to them.
//!
//! Everything that is started is watched by a guardian (see `guardian`), so that nothing outlives the test process,
//! however it ends.
//!
//! Two test binaries use it, each a part of it.
#![allow(dead_code, unused_imports, unused_macros)]

mod backend;
mod browser;
mod certificates;
mod deployment;
mod exposition;
mod fault_proxy;
mod files;
mod guardian;
mod http;
mod keys;
mod library;
mod load;
mod ports;
mod postgres_server;
mod process_tree;
mod programs;
mod proxy;
mod redis_server;
mod resp;
mod scratch;
mod shards;
mod suite;
mod tls_conn;
mod tools;
mod wait;

pub use backend::Stopped;
pub use browser::{Browser, Noticed};
pub use certificates::{Authority, Issued, Wish};
pub use deployment::{Deployment, Setup, blank_databases};
pub use exposition::Exposition;
pub use fault_proxy::{Cut, Direction, FaultProxy, Silence};
pub use files::allow_files;
pub use guardian::Guardian;
pub use http::Http;
pub use keys::{key_on, keys_on_each, shard_of};
pub use library::Library;
pub use load::{Acknowledged, Writers};
pub use ports::free_port;
pub use postgres_server::PostgresServer;
pub use programs::{checker, run_to_end};
pub use proxy::{Proxy, ProxyBuilder};
pub use redis_server::RedisServer;
pub(crate) use resp::args;
pub use resp::{Conn, NoReply, Reply, encode};
pub use scratch::Scratch;
pub use shards::{Shards, pg};
pub(crate) use suite::{both_backends, with_reference};
pub use tls_conn::TlsConn;
pub use tools::{Ran, curl, redis_benchmark, redis_cli, run_tool};
pub use wait::{DEADLINE, RaiseAtEnd, eventually};
