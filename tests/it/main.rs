//! The integration tests: real servers, started by the tests, and the program as its users run it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cache;
mod clients;
mod concurrency;
mod connection;
mod expiry;
mod harness;
mod malformed;
mod pipelining;
//mod routing;
mod side_port;
mod sizes;
mod strings;
