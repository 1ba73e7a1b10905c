//! Words of commands: the good, the odd and the wrong.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;

use super::edges::{
    BIT_OFFSETS, FAR_TIMES, NO_TIMES, ODD_FLOATS, ODD_INTEGERS, ODD_TIMES, OFFSETS, PATTERNS,
    UNIX_MILLIS, UNIX_SECONDS,
};
use crate::case::{KEYS, Word, Words};

/// What can stand at a place of a command.
#[derive(Clone, Copy, Debug)]
pub enum Slot {
    Key,
    Value,
    /// A literal, in any case.
    Name(&'static str),
    /// One of several literals, in any case.
    OneOf(&'static [&'static str]),
    Integer,
    Float,
    /// A time from now on. Never a short one: when it ends would be a matter of luck.
    Seconds,
    Millis,
    /// An instant: past, or in some hundred years.
    UnixSeconds,
    UnixMillis,
    /// Of a byte in a value, from its beginning.
    Offset,
    BitOffset,
    /// Of BITFIELD, which has also `#n`.
    FieldOffset,
    FieldType,
    /// A time so far away that not every server can keep it.
    Far,
    /// Of a byte or bit from either end.
    Index,
    Bit,
    Pattern,
    Count,
    /// Several times this.
    Repeated(&'static [Slot], usize, usize),
}

/// The largest value that both servers are told to allow.
pub const VALUE_MAX: usize = 1 << 20;

impl Slot {
    /// Words for this place.
    pub fn strategy(self) -> BoxedStrategy<Words> {
        match self {
            Slot::Key => key(),
            Slot::Value => one(value()),
            Slot::Name(name) => one(in_any_case(name)),
            Slot::OneOf(names) => {
                one((select(names), casing()).prop_map(|(name, casing)| casing(name)))
            }
            Slot::Integer => numbers(-3..100, ODD_INTEGERS, 2),
            Slot::Float => one(prop_oneof![
                2 => (-20i64..100).prop_map(text),
                4 => select(ODD_FLOATS).prop_map(text),
            ]),
            Slot::Seconds => span(&[1000, 3600, 86_400, 2_000_000_000], 1),
            Slot::Millis => span(
                &[
                    1_000_000,
                    3_600_250,
                    3_600_900,
                    86_400_000,
                    7_000_000_000_250,
                ],
                1000,
            ),
            Slot::UnixSeconds => listed(UNIX_SECONDS, ODD_TIMES),
            Slot::UnixMillis => listed(UNIX_MILLIS, ODD_TIMES),
            Slot::Offset => numbers(0..40, OFFSETS, 7),
            Slot::BitOffset => numbers(0..200, BIT_OFFSETS, 7),
            Slot::FieldOffset => one(prop_oneof![
                6 => (0i64..200).prop_map(text),
                3 => (0i64..20).prop_map(|number| text(format!("#{number}"))),
                1 => select(BIT_OFFSETS).prop_map(text),
                1 => select(&["#-1", "#", "##1", "#9223372036854775807", "-1", "#a"][..]).prop_map(text),
            ]),
            Slot::FieldType => one(prop_oneof![
                8 => (prop::bool::ANY, 1u8..65).prop_map(|(signed, bits)| {
                    let kind = if signed { 'i' } else { 'u' };
                    text(format!("{kind}{bits}"))
                }),
                4 => select(&["u8", "i8", "u16", "i5", "u63", "i64", "u1", "i1"][..]).prop_map(text),
                1 => select(&["u64", "i65", "u0", "i0", "i-1", "x8", "U8", "I8", "", "u", "u08", "8", "u1.0"][..])
                    .prop_map(text),
            ]),
            Slot::Far => one(select(FAR_TIMES).prop_map(text)),
            Slot::Index => numbers(-30..30, ODD_INTEGERS, 5),
            Slot::Bit => one(prop_oneof![
                4 => Just(text("0")),
                8 => Just(text("1")),
                1 => select(&["2", "-1", "01", "", "x", "1.0"][..]).prop_map(text),
            ]),
            Slot::Pattern => one(select(PATTERNS).prop_map(<[u8]>::to_vec)),
            Slot::Count => numbers(
                1..20,
                &["0", "-1", "1000000", "abc", "01", "9223372036854775807"],
                7,
            ),
            Slot::Repeated(slots, least, most) => {
                let group = several(slots);
                proptest::collection::vec(group, least..=most)
                    .prop_map(|groups| groups.concat())
                    .boxed()
            }
        }
    }
}

fn text(text: impl ToString) -> Vec<u8> {
    text.to_string().into_bytes()
}

fn one(word: impl Strategy<Value = Vec<u8>> + 'static) -> BoxedStrategy<Words> {
    word.prop_map(|bytes| vec![Word::Bytes(bytes)]).boxed()
}

/// The first keys come more often: commands should meet.
fn key() -> BoxedStrategy<Words> {
    prop_oneof![6 => 0..3usize, 2 => 3..KEYS]
        .prop_map(|number| vec![Word::Key(number)])
        .boxed()
}

/// Usual numbers, and one of the odd words in so many.
fn numbers(
    usual: std::ops::Range<i64>,
    odd: &'static [&'static str],
    one_in: u32,
) -> BoxedStrategy<Words> {
    one(prop_oneof![
        one_in - 1 => usual.prop_map(text),
        1 => select(odd).prop_map(text),
    ])
}

/// Fractions of a second are such that a TTL, which is rounded, is the same for some tenths of a second.
fn span(least: &'static [i64], second: i64) -> BoxedStrategy<Words> {
    prop_oneof![
        3 => select(least).prop_map(move |least| vec![Word::Span { least, second }]),
        1 => one(select(NO_TIMES).prop_map(text)),
    ]
    .boxed()
}

fn listed(usual: &'static [&'static str], odd: &'static [&'static str]) -> BoxedStrategy<Words> {
    one(prop_oneof![
        3 => select(usual).prop_map(text),
        1 => select(odd).prop_map(text),
    ])
}

fn value() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![
        4 => "[a-e]{0,8}".prop_map(text),
        4 => (-100i64..20_000).prop_map(text),
        2 => select(ODD_INTEGERS).prop_map(text),
        2 => select(ODD_FLOATS).prop_map(text),
        4 => proptest::collection::vec(any::<u8>(), 0..40),
        // Around 44 and 64 bytes, where encodings change; and some long ones.
        1 => (40usize..70).prop_map(|length| vec![b'v'; length]),
        1 => (500usize..3000, any::<u8>()).prop_map(|(length, byte)| {
            (0..length).map(|at| byte.wrapping_mul(at as u8)).collect()
        }),
    ]
    .boxed()
}

/// A literal as people write it.
pub fn in_any_case(name: &'static str) -> BoxedStrategy<Vec<u8>> {
    casing().prop_map(move |casing| casing(name)).boxed()
}

fn casing() -> BoxedStrategy<fn(&str) -> Vec<u8>> {
    fn mixed(name: &str) -> Vec<u8> {
        let mut bytes = name.to_ascii_lowercase().into_bytes();
        bytes
            .iter_mut()
            .step_by(2)
            .for_each(u8::make_ascii_uppercase);
        bytes
    }
    let upper: fn(&str) -> Vec<u8> = |name| name.to_ascii_uppercase().into_bytes();
    let lower: fn(&str) -> Vec<u8> = |name| name.to_ascii_lowercase().into_bytes();
    prop_oneof![6 => Just(upper), 2 => Just(lower), 1 => Just(mixed as fn(&str) -> Vec<u8>)].boxed()
}

/// A word that is right nowhere, or nearly so.
pub fn odd_word() -> BoxedStrategy<Word> {
    let odd: &[&[u8]] = &[
        b"",
        b"abc",
        b"-1",
        b"0",
        b"01",
        b"9223372036854775808",
        b"9223372036854775807",
        b"\r\n",
        b"\0",
        b"\xff\xfe",
        b"GET",
        b"NX",
        b"'%s'",
    ];
    prop_oneof![
        8 => select(odd).prop_map(|word| Word::Bytes(word.to_vec())),
        // What errors quote, they cut.
        1 => Just(Word::Bytes(vec![b'x'; 300])),
        2 => (0..KEYS).prop_map(Word::Key),
    ]
    .boxed()
}

/// The words of places one after another.
pub fn several(slots: &'static [Slot]) -> BoxedStrategy<Words> {
    let places: Vec<BoxedStrategy<Words>> = slots.iter().map(|slot| slot.strategy()).collect();
    places.prop_map(|words| words.concat()).boxed()
}

/// One of several strategies, all as likely.
pub fn any_of<T: std::fmt::Debug + 'static>(all: Vec<BoxedStrategy<T>>) -> BoxedStrategy<T> {
    Union::new(all).boxed()
}
