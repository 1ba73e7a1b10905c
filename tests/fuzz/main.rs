//! Fuzzing of what reads bytes from strangers: the decoder, the parser of commands, and what commands do to rows.
//!
//! Inputs are made by [`mutate`] from the checked-in corpus. `cargo test` makes them at random for a few seconds
//! (`make fuzz MINUTES=n` for longer). `cargo bolero test <name of the test, with its module>` has libFuzzer choose
//! them by the code that they reach; that takes a nightly toolchain.
//!
//! What is found is reported as the input itself; it belongs into the corpus, or into a test of its own, once it is
//! mended.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod case;
mod corpus;
mod mutate;
mod operations;
mod requests;
