//! The coherence protocol, model-checked: one key, and every interleaving within bounds.
//!
//! The exhaustive tests say how many states they have; that a mistake in the protocol is found
//! says that the model could find one. Not in the model: the shard's own failures (a commit whose
//! outcome is unknown is here a write that is abandoned after its commit), several keys in one
//! batch, and time.
//!
//! To read a counterexample, run its test with `--nocapture`.
#![allow(missing_docs)]

mod entry;
mod protocol;
mod shard;
mod state;

use stateright::{Checker, Model};

use protocol::{Flaw, Protocol};

/// One Redis that forgets, one view.
const ONE_VIEW: Protocol = Protocol {
    readers: 2,
    writers: 2,
    commits: 2,
    view_changes: 0,
    has_second_run: false,
    flaw: None,
};

/// Checks everything within the bounds.
fn holds(protocol: Protocol) {
    let checker = protocol.checker().threads(2).spawn_bfs().join();
    println!("{} states", checker.unique_state_count());
    checker.assert_properties();
}

/// Looks for a violation of a flawed protocol; the shortest, or nearly so.
fn is_caught(protocol: Protocol, flaw: Flaw) {
    let flawed = Protocol {
        flaw: Some(flaw),
        ..protocol
    };
    let checker = flawed.checker().threads(2).spawn_bfs().join();
    println!(
        "{:?}",
        checker.assert_any_discovery("linearizable").into_actions()
    );
}

/// 252,708 states.
#[test]
fn holds_for_two_reads_and_two_writes_at_once() {
    holds(ONE_VIEW);
}

/// 614,652 states.
#[test]
fn holds_for_three_reads_at_once() {
    holds(Protocol {
        readers: 3,
        writers: 1,
        ..ONE_VIEW
    });
}

#[test]
fn catches_fin_after_the_acknowledgement() {
    is_caught(ONE_VIEW, Flaw::FinAfterAcknowledgement);
}

#[test]
fn catches_fill_without_the_token_check() {
    is_caught(ONE_VIEW, Flaw::FillWithoutTokenCheck);
}

#[test]
fn catches_readers_that_do_not_say_what_they_saw() {
    is_caught(ONE_VIEW, Flaw::NoSeen);
}

#[test]
fn catches_a_read_that_joins_a_flight_already_sent() {
    is_caught(ONE_VIEW, Flaw::JoinSentFlight);
}
