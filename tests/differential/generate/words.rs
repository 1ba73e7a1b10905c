//! Words of commands: the good, the odd and the wrong.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;

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

/// Numbers around the edges of 64 bits, and what is no number to Redis.
const ODD_INTEGERS: &[&str] = &[
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "9223372036854775806",
    "-9223372036854775807",
    "4294967295",
    "4294967296",
    "2147483648",
    "-2147483649",
    "00",
    "01",
    "-0",
    "+1",
    " 1",
    "1 ",
    "",
    "-",
    "1.0",
    "1e3",
    "0x10",
    "1\0",
    "abc",
    "99999999999999999999999999999999",
];

const ODD_FLOATS: &[&str] = &[
    "0.1",
    "-0.1",
    "1.5",
    "3.0e3",
    "5.0e-3",
    "1e5",
    "1E5",
    "-0",
    "0.0",
    "-0.0",
    "1.",
    ".5",
    "-.5e-3",
    "+1.5",
    "0x10",
    "0x1p3",
    "inf",
    "-inf",
    "+Infinity",
    "nan",
    "1e17",
    "1e19",
    "-1e19",
    "1e20",
    "123456789012345678",
    "9007199254740993",
    "18446744073709551615.5",
    "0.30000000000000004",
    "0.000000000000000001",
    "1e-17",
    "1e-18",
    "4.9e-324",
    "1e308",
    "1e400",
    "1e4932",
    "1e5000",
    "1e-5000",
    "3.14159265358979323846264338327950288",
    "1 ",
    " 1",
    "1.2.3",
    "1e",
    "abc",
    "",
    "1\0",
    "99999999999999999999999999999999",
];

const PATTERNS: &[&[u8]] = &[
    b"*",
    b"?",
    b"??*",
    b"a*",
    b"*0",
    b"key:*",
    b"[a-l]*",
    b"[l-a]*",
    b"[^a]*",
    b"[^]*",
    b"[",
    b"[]",
    b"[a",
    b"[a-",
    b"[\\a]*",
    b"\\*",
    b"\\a*",
    b"a\\",
    b"",
    b"**",
    b"*:*",
    b"{tag}*",
    b"*\xff*",
    b"\xff\0\r\n*",
    b"nosuch",
    b"*l*l*l*l*l*b",
];

impl Slot {
    /// Words for this place.
    pub fn strategy(self) -> BoxedStrategy<Words> {
        match self {
            Slot::Key => key(),
            Slot::Value => one(value()),
            Slot::Name(name) => one(in_any_case(name)),
            Slot::OneOf(names) => one(select(names).prop_flat_map(in_any_case)),
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

/// Instants that are far away have a look of their own, see `compare`.
const UNIX_SECONDS: &[&str] = &["4110000000", "4150000001", "1", "1000000000"];
const UNIX_MILLIS: &[&str] = &[
    "4110000000499",
    "4110000000500",
    "4150000000000",
    "1",
    "1000000000000",
];

/// Of any unit, relative and absolute. They come in cases of their own: which of two is the later one is another
/// question that servers answer differently.
const FAR_TIMES: &[&str] = &[
    "8000000000000",
    "9000000000000",
    "9300000000000",
    "1000000000000000",
    "9200000000000000",
    "9221577000000000",
    "9223372036854775",
    "9223372036854776",
    "4611686018427387904",
    "9222246136947933183",
    "9222246136947933184",
    "9223372036854775807",
];

/// The edges of an instant.
const ODD_TIMES: &[&str] = &[
    "0",
    "-1",
    "-1000",
    "-9223372036854775808",
    "-9223372036854775",
    "9223372036854775808",
    "-9223372036854776",
    "01",
    "1e3",
    "",
    "abc",
];

/// Times from now on that are over, or refused.
const NO_TIMES: &[&str] = &[
    "0",
    "-1",
    "-1000",
    "-9223372036854775808",
    "-9223372036854775",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854776",
    "01",
    "+1000",
    "1e3",
    "1000.0",
    "",
    "abc",
];

/// Most are refused. Where Redis would make values of hundreds of megabytes, it is told not to.
const OFFSETS: &[&str] = &[
    "1048570",
    "1048575",
    "1048576",
    "1048577",
    "536870911",
    "536870912",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "-1",
    "-9223372036854775808",
    "01",
    "abc",
    "",
];

const BIT_OFFSETS: &[&str] = &[
    "8388600",
    "8388607",
    "8388608",
    "4294967295",
    "4294967296",
    "34359738368",
    "9223372036854775807",
    "9223372036854775808",
    "-1",
    "01",
    "abc",
    "",
];

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
    let mixed = |name: &str| -> Vec<u8> {
        let bytes = name.bytes().enumerate();
        bytes
            .map(|(at, byte)| {
                if at % 2 == 0 {
                    byte.to_ascii_uppercase()
                } else {
                    byte.to_ascii_lowercase()
                }
            })
            .collect()
    };
    prop_oneof![
        6 => Just(text(name.to_ascii_uppercase())),
        2 => Just(text(name.to_ascii_lowercase())),
        1 => Just(mixed(name)),
    ]
    .boxed()
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
