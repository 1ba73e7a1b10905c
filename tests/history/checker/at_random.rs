//! The search against the definition: random histories, most of them linearizable or nearly so.

use super::brute::is_linearizable;
use super::{Does, Nanos, Op, Saw, Value, check_with_slack};

/// How many histories each test looks at.
const HISTORIES: usize = 6_000;

struct Maker {
    random: fastrand::Rng,
    next_value: Value,
}

/// One call before it is known what it sees: its times, and the instant at which it takes effect.
struct Plan {
    call: Nanos,
    answer: Nanos,
    instant: Nanos,
}

impl Maker {
    fn new(seed: u64) -> Maker {
        Maker {
            random: fastrand::Rng::with_seed(seed),
            next_value: 1,
        }
    }

    /// A history of a register that does one thing at a time. Instants are all different.
    fn linearizable(&mut self, count: usize) -> Vec<Op> {
        let mut instants: Vec<Nanos> = (1..=60).collect();
        self.random.shuffle(&mut instants);
        let mut plans: Vec<Plan> = Vec::new();
        for instant in instants.into_iter().take(count) {
            let before = self.random.u64(0..12).min(instant);
            plans.push(Plan {
                call: instant - before,
                answer: instant + self.random.u64(0..12),
                instant,
            });
        }
        plans.sort_by_key(|plan| plan.instant);
        let mut held: Option<(Value, Option<Nanos>)> = None;
        let mut history = Vec::new();
        for plan in plans {
            if held.is_some_and(|(_, deadline)| {
                deadline.is_some_and(|deadline| deadline < plan.instant)
            }) {
                held = None;
            }
            history.push(self.op(&plan, &mut held));
        }
        self.next_value = 1;
        history
    }

    fn op(&mut self, plan: &Plan, held: &mut Option<(Value, Option<Nanos>)>) -> Op {
        let saw = held.map_or(Saw::Nothing, |(value, _)| Saw::This(value));
        let existence = held.map_or(Saw::Nothing, |_| Saw::Something);
        let is_lost = self.random.u32(0..5) == 0;
        let time_to_live = (self.random.u32(0..3) == 0).then(|| self.random.u64(1..20));
        let value = self.next_value;
        let (saw, does) = match self.random.u32(0..10) {
            0..=3 => (saw, Does::Keep),
            4..=6 => (Saw::Whatever, Does::Put(value, time_to_live)),
            7 if !is_lost => (saw, Does::Put(value, time_to_live)),
            7 | 8 => match existence {
                Saw::Something if !is_lost => (Saw::Something, Does::Keep),
                _ => (Saw::Nothing, Does::Put(value, time_to_live)),
            },
            _ => match existence {
                Saw::Something => (Saw::Something, Does::Clear),
                _ => (Saw::Nothing, Does::Keep),
            },
        };
        // A lost read is no call worth having.
        let is_lost = is_lost && does != Does::Keep;
        let happens = !is_lost || self.random.bool();
        if let Does::Put(value, ttl) = does {
            self.next_value += 1;
            let is_possible = saw != Saw::Nothing || held.is_none();
            if happens && is_possible {
                // The clock is read somewhere between the call and the instant.
                let read = self.random.u64(plan.call..=plan.instant);
                *held = Some((value, ttl.map(|ttl| read + ttl)));
            }
        } else if does == Does::Clear && happens {
            *held = None;
        }
        Op {
            client: 0,
            call: plan.call,
            answer: (!is_lost).then_some(plan.answer),
            saw,
            does,
        }
    }

    /// Changes one answer or one time.
    fn mutate(&mut self, history: &mut [Op]) {
        let values: Vec<Value> = history.iter().filter_map(Op::puts).collect();
        let index = self.random.usize(0..history.len());
        let op = &mut history[index];
        let Some(answer) = op.answer else { return };
        match self.random.u32(0..3) {
            0 => op.call = self.random.u64(0..=answer),
            1 => op.answer = Some(self.random.u64(op.call..op.call + 20)),
            _ => {
                op.saw = match self.random.u32(0..4) {
                    0 => Saw::Nothing,
                    1 => Saw::Something,
                    _ => match self.random.choice(&values) {
                        Some(value) if Some(*value) != op.puts() => Saw::This(*value),
                        _ => Saw::Nothing,
                    },
                }
            }
        }
    }
}

#[test]
fn what_a_register_did_is_accepted() {
    let mut maker = Maker::new(1);
    for _ in 0..HISTORIES {
        let count = maker.random.usize(1..40);
        let history = maker.linearizable(count);
        if let Err(violation) = check_with_slack(&history, 0) {
            panic!("refused: {violation}");
        }
    }
}

#[test]
fn the_search_and_the_definition_agree() {
    let mut maker = Maker::new(2);
    let mut refused = 0;
    for _ in 0..HISTORIES {
        let count = maker.random.usize(3..8);
        let mut history = maker.linearizable(count);
        for _ in 0..maker.random.u32(1..5) {
            maker.mutate(&mut history);
        }
        let slack = maker.random.u64(0..3);
        let expected = is_linearizable(&history, slack);
        let found = check_with_slack(&history, slack);
        refused += usize::from(!expected);
        let all: Vec<String> = history.iter().map(Op::to_string).collect();
        assert_eq!(
            found.is_ok(),
            expected,
            "slack {slack}: {found:?}\n{}",
            all.join("\n")
        );
    }
    let share = refused * 100 / HISTORIES;
    assert!(
        (15..85).contains(&share),
        "{share}% were violations: one side is hardly tested"
    );
}
