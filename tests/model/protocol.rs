//! The protocol as a machine: every arrow of every read and write is an action, and so is
//! everything that can go wrong.
//!
//! What follows keeps the number of states small without losing a violation:
//!
//! - A read begins when its first step is sent. Had it begun earlier, it might return older values.
//! - An operation is answered at the moment when its last step is done. Were it answered later, or
//!   never, it would oblige others less.
//! - A read that has to be done again is abandoned, and another begins: that one may return less.
//! - Any operation may be abandoned anywhere: its proxy crashed or was cut off, its client went
//!   away, Redis did not confirm a step. What a crashed or cut-off proxy has sent may arrive late:
//!   that is a slow operation, which is abandoned after its step.
//! - Operations of one proxy share nothing but its lease on the view, so each is taken to be on a
//!   proxy of its own, and what matters of the proxies is which views some of them may use.
//! - Operations that are alike are put in order. Traces of flawed protocols are not, to be read.
//! - An entry may be forgotten at any time: eviction, FLUSHALL, a Redis that starts empty, the end
//!   of an entry's lifetime.
//! - No clock. [`Renew`](Action::Renew) ends all leases on older views: that is what waiting is for, and
//!   [`lease`](crate::lease) shows, with a clock, that it does so. A lease that has ended
//!   earlier allows less, so no other action ends any.
//! - Evictions, abandonments, crashes and reads are not counted, so there is no bound on them. What
//!   is bounded is the commits, the views and the processes.

use stateright::{Model, Property};

use crate::action::Action;
use crate::entry::Entry;
use crate::shard::{Epoch, Run};
use crate::state::{Place, RUNS, Reader, State, Writer};

/// A mistake in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    FinAfterAcknowledgement,
    FillWithoutTokenCheck,
    NoSeen,
    JoinSentFlight,
    /// A read joins a flight of a view on which its proxy has no lease any more.
    JoinAcrossViews,
    NoWaitAtViewChange,
    NoRunIdFence,
    /// The lease on the view is not checked when a FILL or SEEN is sent.
    NoCheckBeforeSettle,
    /// The lease on the view is not checked when a FIN is sent: it goes to the first view.
    NoCheckBeforeFin,
    /// With the view off, the lease on it is not checked when the shard has answered.
    NoCheckWhenOff,
}

/// Whether there is a second Redis process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Second {
    Never,
    /// Two masters, all the time.
    Beside,
    /// It takes the place of the first when that was killed, and starts from a snapshot of it,
    /// however old.
    Restart,
}

/// The protocol, within bounds.
#[derive(Debug, Clone)]
pub struct Protocol {
    /// Flights of reads at once, each on a proxy of its own.
    pub readers: usize,
    /// Writes at once, likewise.
    pub writers: usize,
    /// Commits in all.
    pub commits: u8,
    /// Changes of the view in all.
    pub view_changes: Epoch,
    pub second: Second,
    pub flaw: Option<Flaw>,
}

impl Protocol {
    /// Where an operation may begin now: what some proxy's lease and connections allow.
    fn places(&self, state: &State) -> impl Iterator<Item = Place> {
        let is_fenced = self.flaw != Some(Flaw::NoRunIdFence);
        let state = *state;
        let runs = move |epoch| {
            let view = state.shard.views[usize::from(epoch)];
            (0..RUNS as Run)
                .filter(move |&run| state.is_up[usize::from(run)])
                .filter(move |&run| view.is_some_and(|view| view == run || !is_fenced))
                .map(move |run| Place { run, epoch })
        };
        state.leased().flat_map(runs)
    }

    /// The epochs in which an operation may go on without Redis.
    fn epochs_off(&self, state: &State) -> impl Iterator<Item = Epoch> {
        let views = state.shard.views;
        state
            .leased()
            .filter(move |&epoch| views[usize::from(epoch)].is_none())
    }

    fn read_actions(&self, state: &State, reader: usize, actions: &mut Vec<Action>) {
        let is_up = |at: Place| state.is_up[usize::from(at.run)];
        let can_send =
            |epoch| state.is_leased(epoch) || self.flaw == Some(Flaw::NoCheckBeforeSettle);
        if state.readers[reader] != Reader::Idle {
            actions.push(Action::AbandonRead(reader));
        }
        match state.readers[reader] {
            Reader::Idle => {
                actions.extend(self.places(state).map(|at| Action::SendGet(reader, at)));
                let off = self.epochs_off(state);
                actions.extend(off.map(|epoch| Action::Bypass(reader, epoch)));
            }
            Reader::Get { at, .. } if is_up(at) => actions.push(Action::Get(reader)),
            Reader::Missed { floor, at } => {
                if is_up(at) {
                    actions.push(Action::Lease(reader));
                }
                self.join(state, reader, floor, at, actions);
            }
            Reader::Leased { floor, at, .. } => {
                actions.push(Action::AskShard(reader));
                self.join(state, reader, floor, at, actions);
            }
            Reader::Looked { floor, at, .. } => {
                if can_send(at.epoch) && is_up(at) {
                    actions.push(Action::SendSettle(reader));
                }
                if self.flaw == Some(Flaw::JoinSentFlight) {
                    self.join(state, reader, floor, at, actions);
                }
            }
            Reader::Settling { at, .. } if is_up(at) => actions.push(Action::Settle(reader)),
            Reader::Past { .. } => actions.push(Action::AskShard(reader)),
            Reader::LookedPast { epoch, .. } => {
                if state.is_leased(epoch) || self.flaw == Some(Flaw::NoCheckWhenOff) {
                    actions.push(Action::Trust(reader));
                }
            }
            Reader::Get { .. } | Reader::Settling { .. } => {}
        }
    }

    /// A read joins a flight of the view that it has a lease on. It changes what the flight must
    /// not be older than, if anything.
    fn join(&self, state: &State, reader: usize, floor: u8, at: Place, to: &mut Vec<Action>) {
        let is_of_now = state.is_leased(at.epoch) || self.flaw == Some(Flaw::JoinAcrossViews);
        if floor < state.floor && is_of_now {
            to.push(Action::Join(reader));
        }
    }

    fn write_actions(&self, state: &State, writer: usize, actions: &mut Vec<Action>) {
        if state.writers[writer] != Writer::Idle {
            actions.push(Action::AbandonWrite(writer));
        }
        match state.writers[writer] {
            Writer::Idle => {
                if state.shard.version < self.commits {
                    actions.extend([Action::Put(writer), Action::Delete(writer)]);
                }
                actions.push(Action::Decline(writer));
            }
            Writer::Committed { .. } if self.flaw == Some(Flaw::FinAfterAcknowledgement) => {
                actions.push(Action::Acknowledge(writer));
            }
            Writer::Committed { .. } | Writer::Acknowledged => {
                actions.extend(self.places(state).map(|at| Action::SendFin(writer, at)));
                if self.flaw == Some(Flaw::NoCheckBeforeFin) {
                    actions.push(Action::SendFin(writer, Place { run: 0, epoch: 0 }));
                }
                if self.epochs_off(state).next().is_some() {
                    actions.push(Action::SkipFin(writer));
                }
            }
            Writer::Finishing { at, .. } => {
                if state.is_up[usize::from(at.run)] {
                    actions.push(Action::Fin(writer));
                }
                actions.push(Action::RepeatFin(writer));
            }
        }
    }

    fn environment_actions(&self, state: &State, actions: &mut Vec<Action>) {
        for run in 0..RUNS as Run {
            if !state.was_started[usize::from(run)] {
                continue;
            }
            for epoch in 0..=state.shard.epoch {
                if state.entries[usize::from(run)][usize::from(epoch)] != Entry::Absent {
                    actions.push(Action::Forget(run, epoch));
                }
            }
        }
        if self.second == Second::Restart {
            if !state.was_started[1] {
                if state.is_up[0] && state.entries[1] != state.entries[0] {
                    actions.push(Action::Snapshot);
                }
                if !state.is_up[0] {
                    actions.push(Action::StartSecond);
                }
            }
            if state.is_up[0] {
                actions.push(Action::Kill(0));
            }
        }
        if !state.is_leased(state.shard.epoch) {
            actions.push(Action::Renew);
        }
        if state.shard.epoch < self.view_changes {
            let now = state.shard.views[usize::from(state.shard.epoch)];
            for run in [None, Some(0), Some(1)] {
                let exists = run.is_none_or(|run: Run| state.is_up[usize::from(run)]);
                if exists && (run.is_some() || now.is_some()) {
                    actions.push(Action::ChangeView(run));
                }
            }
        }
    }

    fn read_step(&self, state: &mut State, action: Action) {
        match action {
            Action::SendGet(reader, at) => {
                state.readers[reader] = Reader::Get {
                    floor: state.floor,
                    at,
                };
            }
            Action::Bypass(reader, epoch) => {
                state.readers[reader] = Reader::Past {
                    floor: state.floor,
                    epoch,
                };
            }
            Action::AbandonRead(reader) => state.readers[reader] = Reader::Idle,
            Action::Get(reader)
            | Action::Lease(reader)
            | Action::Join(reader)
            | Action::AskShard(reader)
            | Action::SendSettle(reader)
            | Action::Settle(reader)
            | Action::Trust(reader) => {
                state.readers[reader] = self.advance(state, action, reader);
            }
            _ => unreachable!("not a step of a read: {action:?}"),
        }
    }

    /// The next state of a reader whose action needs no choice.
    fn advance(&self, state: &mut State, action: Action, reader: usize) -> Reader {
        match (action, state.readers[reader]) {
            (Action::Join(_), before) => match before {
                Reader::Missed { at, .. } => Reader::Missed {
                    floor: state.floor,
                    at,
                },
                Reader::Leased { at, granted, .. } => Reader::Leased {
                    floor: state.floor,
                    at,
                    granted,
                },
                Reader::Looked {
                    at, granted, stamp, ..
                } => Reader::Looked {
                    floor: state.floor,
                    at,
                    granted,
                    stamp,
                },
                other => other,
            },
            (Action::Get(_), Reader::Get { floor, at }) => match *state.entry(at) {
                Entry::Value(stamp) => answer(state, floor, stamp),
                _ => Reader::Missed { floor, at },
            },
            (Action::Lease(_), Reader::Missed { floor, at }) => match *state.entry(at) {
                Entry::Value(stamp) => answer(state, floor, stamp),
                Entry::Lease { .. } => Reader::Leased {
                    floor,
                    at,
                    granted: false,
                },
                Entry::Absent => {
                    let token = reader as u8;
                    for entry in state.entries.iter_mut().flatten() {
                        entry.forget(token);
                    }
                    *state.entry(at) = Entry::Lease { token, noted: None };
                    Reader::Leased {
                        floor,
                        at,
                        granted: true,
                    }
                }
            },
            (Action::AskShard(_), Reader::Leased { floor, at, granted }) => {
                let stamp = state.shard.stamp();
                if !granted && self.flaw == Some(Flaw::NoSeen) {
                    answer(state, floor, stamp)
                } else {
                    Reader::Looked {
                        floor,
                        at,
                        granted,
                        stamp,
                    }
                }
            }
            (Action::AskShard(_), Reader::Past { floor, epoch }) => Reader::LookedPast {
                floor,
                epoch,
                stamp: state.shard.stamp(),
            },
            (
                Action::SendSettle(_),
                Reader::Looked {
                    floor,
                    at,
                    granted,
                    stamp,
                },
            ) => Reader::Settling {
                floor,
                at,
                granted,
                stamp,
            },
            (
                Action::Settle(_),
                Reader::Settling {
                    floor,
                    at,
                    granted,
                    stamp,
                },
            ) => {
                let token = granted.then_some(reader as u8);
                let entry = state.entry(at);
                *entry = entry.settle(token, stamp, self.flaw);
                answer(state, floor, stamp)
            }
            (Action::Trust(_), Reader::LookedPast { floor, stamp, .. }) => {
                answer(state, floor, stamp)
            }
            (action, reader) => unreachable!("{action:?} of {reader:?}"),
        }
    }

    fn write_step(&self, state: &mut State, action: Action) {
        match action {
            Action::Put(writer) | Action::Delete(writer) | Action::Decline(writer) => {
                match action {
                    Action::Put(_) => state.shard.put(),
                    Action::Delete(_) => state.shard.delete(),
                    _ => {}
                }
                let version = state.shard.version;
                state.writers[writer] = Writer::Committed { version };
            }
            Action::SendFin(writer, at) => {
                if let Writer::Committed { version } = state.writers[writer] {
                    state.writers[writer] = Writer::Finishing { version, at };
                } else {
                    *state.entry(at) = Entry::Absent;
                    state.writers[writer] = Writer::Idle;
                }
            }
            Action::Fin(writer) => {
                if let Writer::Finishing { version, at } = state.writers[writer] {
                    *state.entry(at) = Entry::Absent;
                    state.floor = state.floor.max(version);
                    state.writers[writer] = Writer::Idle;
                }
            }
            Action::SkipFin(writer) => {
                if let Writer::Committed { version } = state.writers[writer] {
                    state.floor = state.floor.max(version);
                }
                state.writers[writer] = Writer::Idle;
            }
            Action::RepeatFin(writer) => {
                if let Writer::Finishing { version, .. } = state.writers[writer] {
                    state.writers[writer] = Writer::Committed { version };
                }
            }
            Action::Acknowledge(writer) => {
                if let Writer::Committed { version } = state.writers[writer] {
                    state.floor = state.floor.max(version);
                    state.writers[writer] = Writer::Acknowledged;
                }
            }
            Action::AbandonWrite(writer) => state.writers[writer] = Writer::Idle,
            _ => unreachable!("not a step of a write: {action:?}"),
        }
    }

    /// A step of the environment; false if the action is not one.
    fn environment_step(&self, state: &mut State, action: Action) -> bool {
        match action {
            Action::Forget(run, epoch) => *state.entry(Place { run, epoch }) = Entry::Absent,
            Action::Snapshot => state.entries[1] = state.entries[0],
            Action::StartSecond => {
                state.was_started[1] = true;
                state.is_up[1] = true;
            }
            Action::Kill(run) => {
                state.is_up[usize::from(run)] = false;
                state.entries[usize::from(run)].fill(Entry::Absent);
            }
            Action::ChangeView(run) => state.shard.change_view(run),
            Action::Renew => state.renew(self.flaw != Some(Flaw::NoWaitAtViewChange)),
            _ => return false,
        }
        true
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self.second == Second::Beside)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.is_stale {
            return;
        }
        for reader in 0..self.readers {
            self.read_actions(state, reader, actions);
        }
        for writer in 0..self.writers {
            self.write_actions(state, writer, actions);
        }
        self.environment_actions(state, actions);
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = *before;
        if !self.environment_step(&mut state, action) {
            if action.is_of_writer() {
                self.write_step(&mut state, action);
            } else {
                self.read_step(&mut state, action);
            }
        }
        if self.flaw.is_none() {
            state.tidy_if_flawless();
        }
        state.tidy();
        if self.flaw.is_none() {
            state.sort_operations(self.readers, self.writers);
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("linearizable", |_, state: &State| !state.is_stale),
            Property::sometimes(
                "the last view in use, with a value",
                |model: &Self, state: &State| {
                    let entries = state
                        .entries
                        .map(|entries| entries[usize::from(model.view_changes)]);
                    state.is_leased(model.view_changes)
                        && entries
                            .iter()
                            .any(|entry| matches!(entry, Entry::Value(stamp) if *stamp > 0))
                },
            ),
            Property::sometimes("a hit on what was written", |_, state: &State| {
                state.readers.iter().any(|reader| match *reader {
                    Reader::Get { floor, at } => {
                        let mut state = *state;
                        floor > 0 && matches!(*state.entry(at), Entry::Value(stamp) if stamp > 0)
                    }
                    _ => false,
                })
            }),
        ]
    }
}

/// Answers a read, and judges the answer.
///
/// The versions of the row are the order of its writes. A history is linearizable in that order if
/// every read returns a version that is not older than any that was acknowledged, or returned by
/// a read, before it began, and no version that was not committed before its end: sorted by
/// version, the write before its reads, the reads as they began, the operations then keep
/// their order in time. A write has a version newer than all that were known when it began, since
/// it commits after that. A stamp can stand for several versions (absence); the oldest one that is
/// allowed obliges later reads least, so if any choice is good for all, this one is.
///
/// Linearizability to clients would allow any order of overlapping writes. But the order is not
/// hidden: it is what the shard holds, and what a SET with GET returns.
fn answer(state: &mut State, floor: u8, stamp: u8) -> Reader {
    match state.shard.oldest_from(floor, stamp) {
        Some(version) => state.floor = state.floor.max(version),
        None => state.is_stale = true,
    }
    Reader::Idle
}
