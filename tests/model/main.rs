//! The coherence protocol, model-checked: one key, and every interleaving within bounds.
//!
//! The exhaustive tests say how many states they have; that a mistake in the protocol is found
//! says that the model could find one. Not in the model: the shard's own failures (a commit whose
//! outcome is unknown is here a write that is abandoned after its commit), several keys in one
//! batch, and time, except in
//! [`lease`].
//!
//! All of it takes less than a minute on two cores.
//! To read a counterexample, run its test with `--nocapture`.
#![allow(missing_docs)]

mod action;
mod entry;
mod lease;
mod protocol;
mod shard;
mod state;

use stateright::{Checker, Model};

use lease::{Leases, TimeFlaw};
use protocol::{Flaw, Protocol, Second};

/// One Redis that forgets, one view.
const ONE_VIEW: Protocol = Protocol {
    readers: 2,
    writers: 2,
    commits: 2,
    view_changes: 0,
    second: Second::Never,
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

/// Two Redis processes side by side, and one change of the view.
const TWO_VIEWS: Protocol = Protocol {
    commits: 1,
    view_changes: 1,
    second: Second::Beside,
    ..ONE_VIEW
};

/// Bounds in which flaws of the view are found soon.
const FEW: Protocol = Protocol {
    writers: 1,
    commits: 1,
    view_changes: 1,
    second: Second::Never,
    ..ONE_VIEW
};

/// 514,064 states.
#[test]
fn holds_when_the_view_changes() {
    holds(TWO_VIEWS);
}

/// 96,549 states.
#[test]
fn holds_when_redis_restarts_from_a_snapshot() {
    holds(Protocol {
        writers: 1,
        second: Second::Restart,
        ..TWO_VIEWS
    });
}

/// 700,114 states.
#[test]
fn holds_when_the_view_changes_and_the_row_twice() {
    holds(Protocol {
        writers: 1,
        commits: 2,
        ..TWO_VIEWS
    });
}

/// 714,240 states.
#[test]
fn holds_when_the_view_changes_twice() {
    holds(Protocol {
        writers: 1,
        view_changes: 2,
        ..TWO_VIEWS
    });
}

#[test]
fn catches_no_wait_at_a_change_of_the_view() {
    is_caught(FEW, Flaw::NoWaitAtViewChange);
}

#[test]
fn catches_a_restart_from_a_snapshot_without_the_fence() {
    is_caught(
        Protocol {
            view_changes: 0,
            second: Second::Restart,
            ..FEW
        },
        Flaw::NoRunIdFence,
    );
}

#[test]
fn catches_two_masters_without_the_fence() {
    is_caught(
        Protocol {
            view_changes: 0,
            second: Second::Beside,
            ..FEW
        },
        Flaw::NoRunIdFence,
    );
}

#[test]
fn catches_no_check_before_fill_and_seen() {
    is_caught(FEW, Flaw::NoCheckBeforeSettle);
}

#[test]
fn catches_no_check_before_fin() {
    is_caught(FEW, Flaw::NoCheckBeforeFin);
}

#[test]
fn catches_no_check_with_the_view_off() {
    is_caught(
        Protocol {
            view_changes: 2,
            ..FEW
        },
        Flaw::NoCheckWhenOff,
    );
}

#[test]
fn catches_a_read_that_joins_a_flight_of_a_past_view() {
    is_caught(FEW, Flaw::JoinAcrossViews);
}

/// 112,361 states.
#[test]
fn at_most_one_view_is_in_use() {
    let checker = Leases { flaw: None }
        .checker()
        .threads(2)
        .spawn_bfs()
        .join();
    println!("{} states", checker.unique_state_count());
    checker.assert_properties();
}

#[test]
fn catches_flaws_of_the_lease() {
    for flaw in [
        TimeFlaw::LeaseFromReply,
        TimeFlaw::NoWait,
        TimeFlaw::ShortWait,
        TimeFlaw::ClockStopsInPause,
    ] {
        let checker = Leases { flaw: Some(flaw) }
            .checker()
            .threads(2)
            .spawn_bfs()
            .join();
        let actions = checker
            .assert_any_discovery("one view in use")
            .into_actions();
        println!("{flaw:?}: {actions:?}");
    }
}
