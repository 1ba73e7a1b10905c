//! The lease on the view, with a clock: nobody uses a view before every lease on another has
//! ended. [`protocol`](crate::protocol) takes this for granted.
//!
//! Time passes in ticks, for all proxies alike. Between two ticks anything can happen, or nothing:
//! a slow shard and a proxy that is paused need nothing more. Questions are counted neither.

use stateright::{Model, Property};

/// How long a lease lasts, in ticks.
const LEASE: u8 = 3;
/// How long one waits who has learned of a change.
const WAIT: u8 = 4;
/// How many views come after the first.
const CHANGES: u8 = 2;
const PROXIES: usize = 2;

/// A mistake in the handling of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeFlaw {
    /// The lease is counted from the shard's reply, not from the question.
    LeaseFromReply,
    NoWait,
    /// The wait is shorter than the lease.
    ShortWait,
    /// The clock of a paused proxy stands still.
    ClockStopsInPause,
}

/// A question for the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Question {
    /// Ticks since it was sent; beyond the lease they make no difference.
    age: u8,
    /// What the shard said; the reply is under way.
    answer: Option<u8>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Proxy {
    /// The newest view that it knows of.
    known: Option<u8>,
    lease_left: u8,
    wait_left: u8,
    question: Option<Question>,
}

impl Proxy {
    /// The view that it uses now.
    fn used(&self) -> Option<u8> {
        self.known
            .filter(|_| self.lease_left > 0 && self.wait_left == 0)
    }

    fn learn(&mut self, epoch: u8, flaw: Option<TimeFlaw>) {
        if self.known != Some(epoch) {
            self.known = Some(epoch);
            self.lease_left = 0;
            self.wait_left = match flaw {
                Some(TimeFlaw::NoWait) => 0,
                Some(TimeFlaw::ShortWait) => LEASE - 1,
                _ => WAIT,
            };
        }
    }

    fn hear(&mut self, question: Question, flaw: Option<TimeFlaw>) {
        // The view only grows: what is older than what is known was asked before a change.
        let Some(epoch) = question.answer.filter(|epoch| self.known <= Some(*epoch)) else {
            return;
        };
        self.learn(epoch, flaw);
        let from_reply = flaw == Some(TimeFlaw::LeaseFromReply);
        let left = if from_reply {
            LEASE
        } else {
            LEASE - question.age
        };
        self.lease_left = self.lease_left.max(left);
    }

    fn tick(&mut self) {
        self.lease_left = self.lease_left.saturating_sub(1);
        self.wait_left = self.wait_left.saturating_sub(1);
        if let Some(question) = &mut self.question {
            question.age = LEASE.min(question.age + 1);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Times {
    /// The view in the shard.
    epoch: u8,
    proxies: [Proxy; PROXIES],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeAction {
    Tick,
    /// Only with a flaw: a tick that this proxy does not notice.
    TickPast(usize),
    Ask(usize),
    /// The shard reads its view for this proxy.
    Say(usize),
    Hear(usize),
    /// This proxy changes the view that it knows, by compare-and-set.
    Change(usize),
    Restart(usize),
}

/// Some proxies and the view of one shard.
#[derive(Debug, Clone)]
pub struct Leases {
    pub flaw: Option<TimeFlaw>,
}

impl Model for Leases {
    type State = Times;
    type Action = TimeAction;

    fn init_states(&self) -> Vec<Times> {
        vec![Times {
            epoch: 0,
            proxies: [Proxy::default(); PROXIES],
        }]
    }

    fn actions(&self, times: &Times, actions: &mut Vec<TimeAction>) {
        actions.push(TimeAction::Tick);
        for (index, proxy) in times.proxies.iter().enumerate() {
            if self.flaw == Some(TimeFlaw::ClockStopsInPause) {
                actions.push(TimeAction::TickPast(index));
            }
            actions.push(TimeAction::Restart(index));
            actions.push(match proxy.question {
                None => TimeAction::Ask(index),
                Some(Question { answer: None, .. }) => TimeAction::Say(index),
                Some(_) => TimeAction::Hear(index),
            });
            if proxy.known == Some(times.epoch) && times.epoch < CHANGES {
                actions.push(TimeAction::Change(index));
            }
        }
    }

    fn next_state(&self, before: &Times, action: TimeAction) -> Option<Times> {
        let mut times = *before;
        match action {
            TimeAction::Tick => times.proxies.iter_mut().for_each(Proxy::tick),
            TimeAction::TickPast(paused) => {
                let others = times.proxies.iter_mut().enumerate();
                others
                    .filter(|(index, _)| *index != paused)
                    .for_each(|(_, proxy)| proxy.tick());
            }
            TimeAction::Ask(index) => {
                times.proxies[index].question = Some(Question {
                    age: 0,
                    answer: None,
                });
            }
            TimeAction::Say(index) => {
                let question = times.proxies[index].question.as_mut()?;
                question.answer = Some(times.epoch);
            }
            TimeAction::Hear(index) => {
                let question = times.proxies[index].question.take()?;
                times.proxies[index].hear(question, self.flaw);
            }
            TimeAction::Change(index) => {
                times.epoch += 1;
                times.proxies[index].learn(times.epoch, self.flaw);
            }
            TimeAction::Restart(index) => times.proxies[index] = Proxy::default(),
        }
        (times != *before).then_some(times)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one view in use", |_, times: &Times| {
                let mut used = times.proxies.iter().filter_map(Proxy::used);
                let first = used.next();
                used.all(|epoch| Some(epoch) == first)
            }),
            Property::sometimes("the last view in use by all", |_, times: &Times| {
                times
                    .proxies
                    .iter()
                    .all(|proxy| proxy.used() == Some(CHANGES))
            }),
        ]
    }
}
