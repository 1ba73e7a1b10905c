//! The integration tests: real servers, started by the tests, and the program as its users run it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cache;
mod clients;
mod concurrency;
mod configuration;
mod connection;
mod expiry;
mod harness;
mod identity;
mod layers;
mod leftovers;
mod malformed;
mod membership;
mod outbox;
mod pipelining;
mod redis_outage;
mod routing;
mod shard_outage;
mod side_port;
mod sizes;
mod stopping;
mod strings;
mod sweeping;
mod unknown_outcomes;
mod upgrading;
