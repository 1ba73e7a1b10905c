//! A deployment of three proxies, three shards on PostgreSQL servers of their own and one Redis, with clients on all
//! proxies and faults everywhere; what the clients saw is judged round by round.
//!
//! The faults follow from a seed, which is printed; `NEMESIS_SEED` runs them again. `NEMESIS_FAULTS` names those that
//! shall happen (all by default, see `fault::KINDS`; `none` for a calm run), `NEMESIS_SECONDS` how long the short run
//! is, `SOAK_MINUTES` how long the soak. With `NEMESIS_TELL` set, each fault is told of.

mod availability;
mod client;
mod cluster;
mod fault;
mod judge;
mod plan;
mod run;
mod sql;
mod storm;
mod summary;

pub const PROXIES: usize = 3;
pub const SHARDS: usize = 3;
