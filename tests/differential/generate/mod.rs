//! Cases, drawn by proptest.

mod edges;
pub mod table;
pub mod words;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;

use self::table::{Group, Options, ROWS, Row, UNKNOWN, UNSERVED};
use self::words::{Slot, any_of, in_any_case, odd_word, several};
use crate::case::{Case, Pipeline, Spread, Word, Words};

/// Cases of these groups, in the commands that `serves` says are there.
pub fn cases(groups: &[Group], serves: impl Fn(&str) -> bool) -> BoxedStrategy<Case> {
    let chosen = |group: Group| -> Vec<&'static Row> {
        let rows = ROWS.iter().filter(|row| row.group == group);
        rows.filter(|row| serves(row.name)).collect()
    };
    // The groups come as often as each other, however many commands each has; but for what is about no key.
    let of_groups = |groups: &[Group]| -> Vec<(u32, BoxedStrategy<Words>)> {
        let mut commands = Vec::new();
        for group in groups {
            let share = match group {
                Group::Connection | Group::Transactions => 250,
                _ => 1000,
            };
            let rows = chosen(*group);
            let total: u32 = rows.iter().map(|row| row.weight).sum();
            commands.extend(
                rows.iter()
                    .map(|row| (row.weight * share / total, command(row))),
            );
        }
        commands
    };
    let mut all = of_groups(&[&[Group::Basic], groups].concat());
    if groups.contains(&Group::Connection) {
        all.push((100, unserved()));
    }
    let commands = Union::new_weighted(all).boxed();
    let about_keys = |group: &Group| ![Group::Connection, Group::Transactions].contains(group);
    let data: Vec<Group> = groups.iter().copied().filter(about_keys).collect();
    let data = Union::new_weighted(of_groups(&[&[Group::Basic], &data[..]].concat())).boxed();

    let mut parts = vec![(6, vec(pipeline(&commands), 1..2).boxed())];
    if groups.contains(&Group::Transactions) && serves("multi") {
        parts.push((4, transaction(&data)));
    }
    let pipelines = vec(Union::new_weighted(parts), 1..8).prop_map(|parts| parts.concat());
    let pipelines = match far(&serves) {
        Some(far) => prop_oneof![60 => pipelines, 1 => far].boxed(),
        None => pipelines.boxed(),
    };
    let spread = prop_oneof![Just(Spread::Together), Just(Spread::Apart)];
    (prop::bool::ANY, spread, pipelines)
        .prop_map(|(resp3, spread, pipelines)| Case {
            resp3,
            spread,
            pipelines,
        })
        .boxed()
}

fn pipeline(commands: &BoxedStrategy<Words>) -> BoxedStrategy<Pipeline> {
    // Each from one command on, and none by prop_flat_map: otherwise they would not shrink far.
    let depth = |most: usize| vec(commands.clone(), 1..=most);
    let connection = prop_oneof![4 => Just(0), 1 => Just(1)];
    (
        connection,
        prop_oneof![3 => depth(3), 3 => depth(12), 1 => depth(40)],
    )
        .prop_map(|(connection, commands)| Pipeline {
            connection,
            commands,
        })
        .boxed()
}

/// A key with a deadline in the far future, and what can be seen of it.
fn far(serves: &impl Fn(&str) -> bool) -> Option<BoxedStrategy<Vec<Pipeline>>> {
    const KEY: Word = Word::Key(0);
    let served = |names: &[&'static str]| -> Vec<&'static str> {
        names.iter().copied().filter(|name| serves(name)).collect()
    };
    let setters = served(&[
        "set",
        "setex",
        "psetex",
        "getex",
        "expire",
        "pexpire",
        "expireat",
        "pexpireat",
    ]);
    let getters = served(&["ttl", "pttl", "expiretime", "pexpiretime"]);
    if setters.is_empty() || getters.is_empty() {
        return None;
    }
    let word = |word: &str| Word::Bytes(word.as_bytes().to_vec());
    let unit = select(vec!["ex", "px", "exat", "pxat"]);
    let set = (select(setters), unit, Slot::Far.strategy()).prop_map(move |(name, unit, far)| {
        let (before, after): (&[&str], &[&str]) = match name {
            "set" => (&["v", unit], &[]),
            "getex" => (&[unit], &[]),
            "setex" | "psetex" => (&[], &["v"]),
            _ => (&[], &[]),
        };
        let words = |words: &[&str]| words.iter().copied().map(word).collect();
        [vec![word(name), KEY], words(before), far, words(after)].concat()
    });
    let get = select(getters).prop_map(move |name| vec![word(name), KEY]);
    let first = move || vec![word("set"), KEY, word("v")];
    let commands = (set, vec(get, 1..4)).prop_map(move |(set, gets)| {
        vec![Pipeline {
            connection: 0,
            commands: [vec![first(), set], gets].concat(),
        }]
    });
    Some(commands.boxed())
}

/// A transaction as clients make one, with somebody else's commands between its parts.
fn transaction(commands: &BoxedStrategy<Words>) -> BoxedStrategy<Vec<Pipeline>> {
    let name = |name: &'static str| in_any_case(name).prop_map(|name| vec![Word::Bytes(name)]);
    let watch = (
        in_any_case("watch"),
        several(&[Slot::Repeated(&[Slot::Key], 1, 2)]),
    )
        .prop_map(|(name, keys)| [vec![Word::Bytes(name)], keys].concat());
    let end = prop_oneof![8 => name("exec"), 1 => name("discard")];
    let body = vec(commands.clone(), 0..8);
    let others = || vec(commands.clone(), 0..4);
    (
        vec(watch, 0..2),
        others(),
        name("multi"),
        body,
        end,
        others(),
        prop::bool::ANY,
    )
        .prop_map(|(watches, before, multi, body, end, during, at_once)| {
            let on = |connection, commands| Pipeline {
                connection,
                commands,
            };
            let mut pipelines = vec![on(0, watches), on(1, before)];
            if at_once {
                pipelines.push(on(0, [vec![multi], body, vec![end]].concat()));
            } else {
                pipelines.push(on(0, [vec![multi], body].concat()));
                pipelines.push(on(1, during));
                pipelines.push(on(0, vec![end]));
            }
            pipelines
        })
        .boxed()
}

/// A command: most of the time a right one.
fn command(row: &'static Row) -> BoxedStrategy<Words> {
    let options = match row.options {
        Options::None => Just(Vec::new()).boxed(),
        Options::OneOf(options) => prop_oneof![
            1 => Just(Vec::new()),
            2 => option(options),
        ]
        .boxed(),
        Options::Some(options) => prop_oneof![
            2 => Just(Vec::new()),
            3 => option(options),
            4 => vec(option(options), 2..5).prop_map(|options| options.concat()),
        ]
        .boxed(),
    };
    let right = (in_any_case(row.name), several(row.words), options)
        .prop_map(|(name, words, options)| [vec![Word::Bytes(name)], words, options].concat());
    (right, mistake())
        .prop_map(|(words, mistake)| mistake.made_in(words))
        .boxed()
}

fn option(options: &'static [&'static [Slot]]) -> BoxedStrategy<Words> {
    any_of(options.iter().map(|option| several(option)).collect())
}

/// A command that neither server has.
fn unserved() -> BoxedStrategy<Words> {
    let names = UNSERVED.iter().chain(UNKNOWN);
    let name = any_of(names.map(|name| in_any_case(name)).collect());
    (name, vec(odd_word(), 0..4))
        .prop_map(|(name, words)| [vec![Word::Bytes(name)], words].concat())
        .boxed()
}

/// What may be wrong with a command.
#[derive(Clone, Debug)]
enum Mistake {
    None,
    Shorter(prop::sample::Index),
    Longer(Word),
    Another(prop::sample::Index, Word),
}

fn mistake() -> BoxedStrategy<Mistake> {
    prop_oneof![
        20 => Just(Mistake::None),
        1 => any::<prop::sample::Index>().prop_map(Mistake::Shorter),
        1 => odd_word().prop_map(Mistake::Longer),
        1 => (any::<prop::sample::Index>(), odd_word()).prop_map(|(at, word)| Mistake::Another(at, word)),
    ]
    .boxed()
}

impl Mistake {
    /// The name stays: it says how replies are compared.
    fn made_in(self, mut words: Words) -> Words {
        match self {
            Mistake::None => {}
            Mistake::Shorter(length) => words.truncate(1 + length.index(words.len())),
            Mistake::Longer(word) => words.push(word),
            Mistake::Another(at, word) => {
                if words.len() > 1 {
                    let at = 1 + at.index(words.len() - 1);
                    words[at] = word;
                }
            }
        }
        words
    }
}
