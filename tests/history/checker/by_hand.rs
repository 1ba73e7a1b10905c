//! Small histories whose verdict a person can see: for each kind of violation one that has it, and its neighbour that
//! has not.

use super::make::*;
use super::{Op, check_with_slack};

#[track_caller]
fn good(history: &[Op]) {
    if let Err(violation) = check_with_slack(history, 0) {
        panic!("a good history was refused: {violation}");
    }
}

#[track_caller]
fn bad(history: &[Op]) {
    assert!(
        check_with_slack(history, 0).is_err(),
        "a violation was not found"
    );
}

#[test]
fn a_read_after_the_acknowledgement_sees_the_write() {
    good(&[set(1, 0, 10), get(1, 20, 30)]);
    good(&[set(1, 0, 10), set(2, 20, 30), get(2, 40, 50)]);
    bad(&[set(1, 0, 10), set(2, 20, 30), get(1, 40, 50)]);
}

#[test]
fn a_read_during_a_write_sees_either() {
    good(&[set(1, 0, 10), set(2, 20, 50), get(1, 30, 40)]);
    good(&[set(1, 0, 10), set(2, 20, 50), get(2, 30, 40)]);
    // The two reads overlap the write, and one another: any order will do.
    good(&[
        set(1, 0, 10),
        set(2, 20, 50),
        get(2, 30, 40),
        get(1, 35, 45),
    ]);
}

#[test]
fn two_reads_do_not_go_back_in_time() {
    good(&[
        set(1, 0, 10),
        set(2, 20, 90),
        get(1, 30, 40),
        get(2, 50, 60),
    ]);
    bad(&[
        set(1, 0, 10),
        set(2, 20, 90),
        get(2, 30, 40),
        get(1, 50, 60),
    ]);
}

#[test]
fn two_readers_agree_on_the_order_of_two_writes() {
    let writes = [set(1, 0, 100), set(2, 0, 100)];
    good(&[writes[0], writes[1], get(1, 110, 120), get(1, 130, 140)]);
    good(&[writes[0], writes[1], get(1, 10, 20), get(2, 30, 40)]);
    bad(&[
        writes[0],
        writes[1],
        get(1, 10, 20),
        get(2, 30, 40),
        get(1, 50, 60),
    ]);
    bad(&[writes[0], writes[1], get(1, 110, 120), get(2, 130, 140)]);
}

#[test]
fn an_acknowledged_write_is_not_lost() {
    good(&[
        set(1, 0, 10),
        set(2, 20, 30),
        set(3, 25, 40),
        get(2, 50, 60),
    ]);
    bad(&[
        set(1, 0, 10),
        set(2, 20, 30),
        set(3, 35, 40),
        get(2, 50, 60),
    ]);
}

#[test]
fn a_value_comes_from_a_write() {
    bad(&[set(1, 0, 10), get(7, 20, 30)]);
    bad(&[set(1, 20, 30), get(1, 0, 10)]);
    bad(&[lost_set(1, 20), get(1, 0, 10)]);
}

#[test]
fn absent_is_an_answer_that_can_be_wrong() {
    good(&[nothing(0, 10), set(1, 20, 30)]);
    good(&[set(1, 0, 30), nothing(10, 20)]);
    bad(&[set(1, 0, 10), nothing(20, 30)]);
    bad(&[set(1, 0, 40), get(1, 10, 20), nothing(25, 30)]);
}

#[test]
fn after_a_deletion_nothing_is_there() {
    good(&[set(1, 0, 10), del(20, 30), nothing(40, 50)]);
    good(&[set(1, 0, 10), del(20, 50), get(1, 30, 40)]);
    bad(&[set(1, 0, 10), del(20, 30), get(1, 40, 50)]);
    // Absent is no unique value: it may come back, by another deletion.
    good(&[
        set(1, 0, 10),
        del(20, 30),
        set(2, 40, 50),
        del(60, 70),
        nothing(80, 90),
    ]);
    bad(&[set(1, 0, 10), del(20, 30), set(2, 40, 50), nothing(80, 90)]);
}

#[test]
fn a_deletion_counts_once() {
    good(&[set(1, 0, 10), del(20, 40), nothing(20, 40)]);
    bad(&[set(1, 0, 10), del(20, 40), del(20, 40)]);
    bad(&[set(1, 0, 10), nothing(20, 40), get(1, 50, 60)]);
}

#[test]
fn a_conditional_write_tells_what_was_there() {
    good(&[set_if_absent(1, 0, 10), refused(20, 30), get(1, 40, 50)]);
    bad(&[set_if_absent(1, 0, 10), set_if_absent(2, 20, 30)]);
    bad(&[set_if_absent(1, 0, 10), set_if_absent(2, 0, 10)]);
    bad(&[refused(0, 10)]);
    good(&[set(1, 0, 10), swap(1, 2, 20, 30), get(2, 40, 50)]);
    bad(&[set(1, 0, 10), swap(1, 2, 20, 40), swap(1, 3, 20, 40)]);
    good(&[
        set(1, 0, 10),
        swap(1, 2, 20, 40),
        swap(2, 3, 20, 40),
        get(3, 50, 60),
    ]);
    bad(&[
        set(1, 0, 10),
        swap(1, 2, 20, 40),
        swap(2, 3, 20, 40),
        get(2, 50, 60),
    ]);
}

#[test]
fn a_write_of_unknown_outcome_may_take_effect_late_or_never() {
    good(&[set(1, 0, 10), lost_set(2, 20), get(1, 40, 50)]);
    good(&[set(1, 0, 10), lost_set(2, 20), get(2, 40, 50)]);
    good(&[
        set(1, 0, 10),
        lost_set(2, 20),
        get(1, 40, 50),
        get(2, 60, 70),
    ]);
    good(&[
        set(1, 0, 10),
        lost_set(2, 20),
        set(3, 30, 40),
        get(2, 60, 70),
    ]);
    good(&[set(1, 0, 10), lost_del(20), get(1, 40, 50), nothing(60, 70)]);
    good(&[lost_set_if_absent(1, 0), nothing(10, 20), get(1, 30, 40)]);
}

#[test]
fn a_write_of_unknown_outcome_takes_effect_once() {
    bad(&[
        set(1, 0, 10),
        lost_set(2, 20),
        get(2, 40, 50),
        get(1, 60, 70),
    ]);
    bad(&[
        set(1, 0, 10),
        lost_set(2, 20),
        get(2, 40, 50),
        set(3, 60, 70),
        get(2, 80, 90),
    ]);
    bad(&[set(1, 0, 10), lost_del(20), nothing(40, 50), get(1, 60, 70)]);
    bad(&[
        set(1, 0, 10),
        lost_del(20),
        nothing(40, 50),
        set(2, 60, 70),
        nothing(80, 90),
    ]);
    let twice = [
        set(1, 0, 10),
        lost_del(20),
        nothing(40, 50),
        set(2, 60, 70),
        lost_del(35),
        nothing(80, 90),
    ];
    good(&twice);
    bad(&[
        set(1, 0, 10),
        lost_set_if_absent(2, 20),
        get(1, 30, 40),
        get(2, 50, 60),
    ]);
}

#[test]
fn what_nobody_saw_may_still_have_been_there() {
    // The deletion found something: the lost write, then.
    good(&[lost_set(1, 0), del(20, 30), nothing(40, 50)]);
    bad(&[lost_set(1, 0), del(20, 30), del(40, 50)]);
    good(&[lost_set(1, 0), lost_set(2, 0), del(20, 30), del(40, 50)]);
    good(&[lost_set_if_absent(1, 0), refused(20, 30)]);
}

#[test]
fn a_value_is_there_until_it_expires_and_not_after() {
    let write = set_for(100, 1, 0, 10);
    good(&[write, get(1, 50, 60), nothing(120, 130)]);
    // It was written at some instant between 0 and 10.
    good(&[write, get(1, 100, 109)]);
    good(&[write, nothing(90, 101)]);
    bad(&[write, nothing(50, 60)]);
    bad(&[write, nothing(90, 99)]);
    bad(&[write, get(1, 111, 120)]);
    bad(&[write, nothing(101, 102), get(1, 103, 104)]);
}

#[test]
fn expiry_ends_only_the_value_that_it_belongs_to() {
    good(&[set_for(100, 1, 0, 10), set(2, 50, 60), get(2, 200, 210)]);
    bad(&[set_for(100, 1, 0, 10), set(2, 50, 60), nothing(200, 210)]);
    good(&[
        set_for(100, 1, 0, 10),
        set_for(500, 2, 50, 60),
        get(2, 200, 210),
        nothing(570, 580),
    ]);
    good(&[
        set_for(100, 1, 0, 10),
        set_if_absent(2, 120, 130),
        get(2, 140, 150),
    ]);
    bad(&[set_for(100, 1, 0, 10), set_if_absent(2, 50, 60)]);
    bad(&[set_for(100, 1, 0, 10), del(120, 130)]);
    // The overwriting may have come before the write that it overlaps.
    good(&[
        set_for(100, 1, 0, 60),
        set(2, 50, 70),
        get(2, 80, 90),
        get(2, 200, 210),
    ]);
}

#[test]
fn a_lost_write_that_expires_may_come_and_go() {
    good(&[set(1, 0, 10), lost_set_for(100, 2, 20), nothing(200, 210)]);
    bad(&[set(1, 0, 10), lost_set_for(100, 2, 20), nothing(40, 50)]);
    bad(&[
        set(1, 0, 10),
        lost_set_for(100, 2, 20),
        nothing(200, 210),
        get(1, 220, 230),
    ]);
    good(&[
        set(1, 0, 10),
        lost_set_for(100, 2, 20),
        get(1, 150, 160),
        nothing(200, 210),
    ]);
    // It was seen at 50, so it was written by then.
    bad(&[lost_set_for(100, 2, 20), get(2, 40, 50), get(2, 160, 170)]);
}
