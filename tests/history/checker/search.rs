//! The search over configurations.

use std::collections::{BTreeSet, HashMap};

use super::op::{Does, Nanos, Op, Saw, Value};
use super::{Violation, violation};

/// What the register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Held {
    Nothing,
    /// The value of this write.
    Of(usize),
    /// The value of some write that lives for ever and that nobody saw: which one makes no difference to any answer.
    Unseen,
}

/// Calls of unknown outcome that have taken effect. Fewer are better: what is left can still be used.
///
/// Those of one kind differ only in when they were called, and never end. So of a kind the earliest is always used
/// first, which nobody can tell from another choice, and a number says it all.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct Spent {
    clears: u32,
    puts: u32,
    puts_if_nothing: u32,
    /// Those whose value expires have a time of their own from which they may vanish. In order.
    fleeting: Vec<usize>,
}

impl Spent {
    fn is_within(&self, other: &Spent) -> bool {
        self.clears <= other.clears
            && self.puts <= other.puts
            && self.puts_if_nothing <= other.puts_if_nothing
            && self
                .fleeting
                .iter()
                .all(|op| other.fleeting.binary_search(op).is_ok())
    }
}

/// One way in which everything so far may have happened.
#[derive(Clone, Debug)]
struct Configuration {
    held: Held,
    /// The open calls, by their slots, that have had their instant.
    done: u128,
    spent: Spent,
}

/// Configurations without those that another one is at least as good as.
#[derive(Default)]
struct Set {
    known: HashMap<(Held, u128), Vec<Spent>>,
}

impl Set {
    /// False if it brings nothing new.
    fn insert(&mut self, configuration: &Configuration) -> bool {
        let all = self
            .known
            .entry((configuration.held, configuration.done))
            .or_default();
        if all
            .iter()
            .any(|spent| spent.is_within(&configuration.spent))
        {
            return false;
        }
        all.retain(|spent| !configuration.spent.is_within(spent));
        all.push(configuration.spent.clone());
        true
    }

    fn into_configurations(self) -> Vec<Configuration> {
        let each = self.known.into_iter().flat_map(|((held, done), all)| {
            all.into_iter()
                .map(move |spent| Configuration { held, done, spent })
        });
        each.collect()
    }
}

/// What happens at an instant, in the order in which things of the same instant are taken: the order that allows most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Call(usize),
    /// From here on the value of this write may vanish.
    MayExpire(usize),
    Answer(usize),
    /// The value of this write is gone.
    IsExpired(usize),
}

struct Search<'a> {
    history: &'a [Op],
    /// When each call has had its instant at the latest; `None` for those that may never have one.
    ends: Vec<Option<Nanos>>,
    is_seen: Vec<bool>,
    may_expire: Vec<bool>,
    /// How many calls that saw each write's value are still to come. While there are, the value can't have gone.
    readers_to_come: Vec<u32>,
    /// The write whose value each call saw.
    saw_write: Vec<Option<usize>>,
    /// Which open call has which slot.
    slots: [Option<usize>; SLOTS],
    slot_of: Vec<usize>,
    /// How many calls of unknown outcome there have been of each kind.
    called: Spent,
    configurations: Vec<Configuration>,
}

/// How many later calls are told of in a violation.
const LATER: usize = 4;

/// Open calls at a time: as many as a `done` has bits.
const SLOTS: usize = 128;

pub fn search(
    history: &[Op],
    writers: &HashMap<Value, usize>,
    slack: Nanos,
) -> Result<(), Box<Violation>> {
    let mut search = Search::new(history, writers);
    for event in search.events(slack) {
        match event {
            Event::Call(index) => search.call(index),
            Event::MayExpire(index) => search.may_expire[index] = true,
            Event::Answer(index) => search.answer(index)?,
            Event::IsExpired(index) => search.is_expired(index)?,
        }
    }
    Ok(())
}

impl<'a> Search<'a> {
    fn new(history: &'a [Op], writers: &HashMap<Value, usize>) -> Search<'a> {
        let mut ends: Vec<Option<Nanos>> = history.iter().map(|op| op.answer).collect();
        let mut readers_to_come = vec![0; history.len()];
        let mut saw_write = vec![None; history.len()];
        for (index, op) in history.iter().enumerate() {
            if let (Saw::This(value), Some(answer)) = (op.saw, op.answer) {
                let writer = writers[&value];
                saw_write[index] = Some(writer);
                readers_to_come[writer] += 1;
                // Who was seen has happened by then.
                ends[writer] = Some(ends[writer].map_or(answer, |end| end.min(answer)));
            }
        }
        let absent = Configuration {
            held: Held::Nothing,
            done: 0,
            spent: Spent::default(),
        };
        Search {
            history,
            ends,
            is_seen: readers_to_come.iter().map(|count| *count > 0).collect(),
            readers_to_come,
            saw_write,
            may_expire: vec![false; history.len()],
            slots: [None; SLOTS],
            slot_of: vec![usize::MAX; history.len()],
            called: Spent::default(),
            configurations: vec![absent],
        }
    }

    fn events(&self, slack: Nanos) -> Vec<Event> {
        let mut events = Vec::with_capacity(2 * self.history.len());
        for (index, op) in self.history.iter().enumerate() {
            if self.ends[index].is_none() && op.does == Does::Keep {
                // A read without an answer tells nothing.
                continue;
            }
            events.push((op.call, Event::Call(index)));
            if let Some(end) = self.ends[index] {
                events.push((end, Event::Answer(index)));
            }
            if let Some(ttl) = op.time_to_live() {
                events.push((
                    (op.call + ttl).saturating_sub(slack),
                    Event::MayExpire(index),
                ));
                if let Some(end) = self.ends[index] {
                    events.push((end + ttl + slack, Event::IsExpired(index)));
                }
            }
        }
        // Stable, and by kind before index: a call comes before an answer of the same instant.
        events.sort();
        events.into_iter().map(|(_, event)| event).collect()
    }

    fn call(&mut self, index: usize) {
        let op = &self.history[index];
        if self.ends[index].is_none() {
            match (op.does, op.saw) {
                (Does::Put(_, Some(_)), _) => self.called.fleeting.push(index),
                (Does::Put(_, None), Saw::Nothing) => self.called.puts_if_nothing += 1,
                (Does::Put(_, None), _) => self.called.puts += 1,
                (Does::Clear | Does::Keep, _) => self.called.clears += 1,
            }
            return;
        }
        if let Some(writer) = self.saw_write[index] {
            self.readers_to_come[writer] -= 1;
        }
        let free = self.slots.iter().position(Option::is_none);
        let slot = free.unwrap_or_else(|| panic!("more than {SLOTS} calls are open at once"));
        self.slots[slot] = Some(index);
        self.slot_of[index] = slot;
        let mut configurations = std::mem::take(&mut self.configurations);
        for configuration in &mut configurations {
            self.let_readers_see(configuration);
        }
        self.configurations = configurations;
    }

    fn answer(&mut self, index: usize) -> Result<(), Box<Violation>> {
        let bit = 1 << self.slot_of[index];
        self.advance(index, |configuration| configuration.done & bit != 0)?;
        self.slots[self.slot_of[index]] = None;
        for configuration in &mut self.configurations {
            configuration.done &= !bit;
        }
        // Two that differed in this call alone can't be: all have it. So they are still all different.
        Ok(())
    }

    fn is_expired(&mut self, index: usize) -> Result<(), Box<Violation>> {
        self.advance(index, |configuration| configuration.held != Held::Of(index))
    }

    /// Lets as much happen in each configuration as it takes to reach the goal, in every way; drops those that can't.
    fn advance(
        &mut self,
        index: usize,
        goal: impl Fn(&Configuration) -> bool,
    ) -> Result<(), Box<Violation>> {
        if self.configurations.iter().all(&goal) {
            return Ok(());
        }
        let before: BTreeSet<Option<Value>> = self
            .configurations
            .iter()
            .map(|c| self.value(c.held))
            .collect();
        let mut reached = Set::default();
        let mut visited = Set::default();
        let mut open = std::mem::take(&mut self.configurations);
        while let Some(configuration) = open.pop() {
            if goal(&configuration) {
                reached.insert(&configuration);
            } else if visited.insert(&configuration) {
                self.steps(&configuration, &mut open);
            }
        }
        self.configurations = reached.into_configurations();
        if self.configurations.is_empty() {
            return Err(self.dead_end(index, &before));
        }
        Ok(())
    }

    /// Everything that may happen next.
    fn steps(&self, from: &Configuration, next: &mut Vec<Configuration>) {
        if let Held::Of(writer) = from.held
            && self.readers_to_come[writer] > 0
        {
            return;
        }
        let mut step = |held: Held, done: u128, spent: Spent| {
            let mut configuration = Configuration { held, done, spent };
            self.let_readers_see(&mut configuration);
            next.push(configuration);
        };
        for (slot, index) in self.slots.iter().enumerate() {
            let Some(index) = *index else { continue };
            let op = &self.history[index];
            let is_done = from.done & (1 << slot) != 0;
            if is_done || op.does == Does::Keep || !self.shows(from.held, op.saw) {
                continue;
            }
            step(
                self.left_by(index),
                from.done | 1 << slot,
                from.spent.clone(),
            );
        }
        if let Held::Of(writer) = from.held
            && self.may_expire[writer]
        {
            step(Held::Nothing, from.done, from.spent.clone());
        }
        let spent = &from.spent;
        if spent.clears < self.called.clears && from.held != Held::Nothing {
            let spent = Spent {
                clears: spent.clears + 1,
                ..spent.clone()
            };
            step(Held::Nothing, from.done, spent);
        }
        if spent.puts < self.called.puts && from.held != Held::Unseen {
            let spent = Spent {
                puts: spent.puts + 1,
                ..spent.clone()
            };
            step(Held::Unseen, from.done, spent);
        }
        if spent.puts_if_nothing < self.called.puts_if_nothing && from.held == Held::Nothing {
            let spent = Spent {
                puts_if_nothing: spent.puts_if_nothing + 1,
                ..spent.clone()
            };
            step(Held::Unseen, from.done, spent);
        }
        for index in self.fleeting_choices(spent) {
            if self.shows(from.held, self.history[index].saw) {
                let mut spent = spent.clone();
                let at = spent.fleeting.partition_point(|other| *other < index);
                spent.fleeting.insert(at, index);
                step(Held::Of(index), from.done, spent);
            }
        }
    }

    /// The unused ones of unknown outcome whose values expire. Once they may vanish they are alike, but for their
    /// condition: one of each is enough.
    fn fleeting_choices(&self, spent: &Spent) -> Vec<usize> {
        let mut choices: Vec<usize> = Vec::new();
        let unused = self
            .called
            .fleeting
            .iter()
            .filter(|index| spent.fleeting.binary_search(index).is_err());
        for index in unused {
            let is_alike = |other: &usize| {
                self.may_expire[*other] && self.history[*other].saw == self.history[*index].saw
            };
            if !(self.may_expire[*index] && choices.iter().any(is_alike)) {
                choices.push(*index);
            }
        }
        choices
    }

    fn left_by(&self, index: usize) -> Held {
        match self.history[index].does {
            Does::Put(_, None) if !self.is_seen[index] => Held::Unseen,
            Does::Put(..) => Held::Of(index),
            Does::Keep | Does::Clear => Held::Nothing,
        }
    }

    /// Gives every open read that can see what it saw its instant: waiting can't make it better.
    fn let_readers_see(&self, configuration: &mut Configuration) {
        for (slot, index) in self.slots.iter().enumerate() {
            let Some(index) = *index else { continue };
            let op = &self.history[index];
            if op.does == Does::Keep && self.shows(configuration.held, op.saw) {
                configuration.done |= 1 << slot;
            }
        }
    }

    fn shows(&self, held: Held, saw: Saw) -> bool {
        match (saw, held) {
            (Saw::Whatever, _) => true,
            (Saw::Nothing, held) => held == Held::Nothing,
            (Saw::Something, held) => held != Held::Nothing,
            (Saw::This(value), Held::Of(writer)) => self.history[writer].puts() == Some(value),
            (Saw::This(_), Held::Nothing | Held::Unseen) => false,
        }
    }

    /// The value that is held; `None` for nothing and for what nobody saw.
    fn value(&self, held: Held) -> Option<Value> {
        match held {
            Held::Nothing | Held::Unseen => None,
            Held::Of(index) => self.history[index].puts(),
        }
    }

    fn dead_end(&self, index: usize, held: &BTreeSet<Option<Value>>) -> Box<Violation> {
        let held: Vec<Value> = held.iter().copied().flatten().collect();
        let what = format!("no order explains this; among what the key may have held: {held:?}");
        let mut found = violation(self.history, &self.history[index], &what);
        // A value may have had to stay, since it is seen again only after this.
        let until = self.ends[index].unwrap_or(Nanos::MAX);
        let sees_it = |op: &&Op| matches!(op.saw, Saw::This(value) if held.contains(&value));
        let later = self
            .history
            .iter()
            .filter(|op| op.call > until)
            .filter(sees_it);
        found.later = later.copied().take(LATER).collect();
        found
    }
}
