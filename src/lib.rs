//! respgres: a transparent sharding proxy that speaks RESP, in front of PostgreSQL shards and a
//! coherent Redis cache. This is the map; `ARCHITECTURE.md` says what was decided and why.
//!
//! # Layers
//!
//! ```text
//! 4  server   http                      ports: sockets, sessions, JSON
//! 3  engine                             the read path and the write path
//! 2  cache    shard   access             where values are remembered, where they are kept; who may do what
//! 1  resp     command   error   view    pure: no sockets, no tasks
//! 0  config   metrics   routing   shutdown   crash_points   workers   buffers   adjustable   budget   trace   tls
//! ```
//!
//! Imports point down only, and siblings do not import each other; a test holds that. `engine` knows
//! neither RESP nor HTTP, `cache` and `shard` do not know each other. Only the
//! program (`src/bin/respgres`) reads the environment. There are no statics but the program's allocator: what is
//! shared is built in its `parts.rs` and `serve.rs`, and passed down.
//!
//! # How a GET travels
//!
//! [`server`] `connection.rs` reads the socket and lets [`resp::Scanner`] cut the buffer into
//! requests; [`command::Command::parse`] understands each; `dispatch.rs` gathers the reads of the
//! buffer; [`engine::Engine::read`] (`engine/look_up.rs`) asks the [`cache`] for all of them in one
//! round trip, in the [`view`] of each key's shard. In Redis (`cache/redis/lookups.rs`) one command asks
//! for what many clients of one of the [`workers`] want. What the cache does not know goes through the
//! shard's read lane (`engine/read.rs`): lease, one SELECT on the [`shard`] for all keys that gathered,
//! fill, answer.
//!
//! # How a SET travels
//!
//! The first three steps are the same. [`engine::Engine::submit`] puts the write into the lane of
//! its shard ([`routing`]); what gathers there commits as one statement (`engine/write.rs`,
//! `shard/postgres/write.rs`); then the cache entries of the batch are removed, and only then is the
//! write acknowledged.
//!
//! What is on several shards at one instant (MSETNX, a MULTI) does not go through a lane, but through
//! `engine/across.rs`: a branch on each shard, prepared, decided on one, finished on the others;
//! `engine/recover.rs` finishes what somebody left behind.
//!
//! # Invariants
//!
//! - An acknowledged write is committed, and no cache holds anything older for its key.
//! - Who reads a shard tells the cache what it saw before it answers.
//! - The cache is used only in the view that the shard names, while the lease on it is valid
//!   (`engine/shard_cache.rs`); one task a shard keeps it (`engine/keeper.rs`).
//! - A read joins only a flight that has not been sent.
//! - What a command does to a row is decided in [`command::mutation`] alone, under the row's lock.
//! - Every queue, batch, wait and buffer has a bound.

pub mod access;
pub mod adjustable;
pub mod budget;
pub mod buffers;
pub mod cache;
pub mod command;
pub mod config;
pub mod crash_points;
pub mod engine;
pub mod error;
pub mod http;
pub mod metrics;
pub mod resp;
pub mod routing;
pub mod server;
pub mod shard;
pub mod shutdown;
pub mod tls;
pub mod trace;
pub mod view;
pub mod workers;
