//! What the running system did, recorded by its clients and judged: is there, for each key, an order of all calls that
//! explains every answer?
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod checker;
#[path = "../it/harness/mod.rs"]
mod harness;
mod naive;
mod nemesis;
mod workload;
