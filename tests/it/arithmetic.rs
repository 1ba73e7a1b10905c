//! What the commands on bits, subsequences and floats compute, beside what Redis computes, for random values.

use bytes::BytesMut;
use respgres::command::bits::{
    self, Extent, FieldOperation, FieldType, Operator, Overflow, Range, Unit,
};
use respgres::command::lcs;
use respgres::command::long_double::{self, LongDouble};

use crate::harness::{RedisServer, Reply, args};

const CASES: usize = 1500;

/// Random numbers whose seed a failure shows.
struct Random {
    seed: u64,
    rng: fastrand::Rng,
}

impl Random {
    fn new() -> Random {
        let seed = fastrand::u64(..);
        Random {
            seed,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.rng.usize(..from.len())]
    }

    fn digits(&mut self, below: usize) -> String {
        let count = self.rng.usize(..below);
        (0..count).map(|_| self.rng.digit(10)).collect()
    }

    /// A number in one of the notations of C, or nearly one.
    fn float(&mut self) -> String {
        let sign = *self.pick(&["", "", "-", "+"]);
        let number = match self.rng.u8(..8) {
            0 => self.digits(24),
            1 | 2 => format!("{}.{}", self.digits(7), self.digits(24)),
            3 => {
                let exponent = self.rng.i32(-30..30);
                format!("{}.{}e{exponent}", self.digits(4), self.digits(22))
            }
            4 => {
                let exponent = self.rng.i32(-4960..4940);
                format!("{}.{}E{exponent}", self.digits(4), self.digits(22))
            }
            5 => {
                let mantissa = self.rng.u128(..) >> self.rng.u32(..128);
                format!("0x{mantissa:x}p{}", self.rng.i32(-16600..16400))
            }
            // Half-way between two numbers of 17 digits after the point.
            6 => format!("0x{:x}p-{}", self.rng.u32(..99999), self.rng.u8(15..24)),
            _ => {
                let odd = [
                    "inf", "Infinity", "nan", "0x", "1e", "0x.8", "1 ", "0x1p", ".",
                ];
                (*self.pick(&odd)).to_owned()
            }
        };
        format!("{sign}{number}")
    }

    /// Bytes with runs of the same bit, or of few different letters.
    fn value(&mut self) -> Vec<u8> {
        let length = self.rng.usize(..150);
        let filling = *self.pick(&[0x00, 0xff]);
        let letters = *self.pick(&[2, 3, 20]);
        match self.rng.u8(..3) {
            0 => {
                let mut value = vec![filling; length];
                if length > 0 {
                    value[self.rng.usize(..length)] ^= 1 << self.rng.u8(..8);
                }
                value
            }
            1 => (0..length).map(|_| b'a' + self.rng.u8(..letters)).collect(),
            _ => (0..length).map(|_| self.rng.u8(..)).collect(),
        }
    }

    fn range(&mut self) -> Range {
        let spread = *self.pick(&[3, 20, 200, 1500]);
        Range {
            start: self.rng.i64(-spread..spread),
            end: self.rng.i64(-spread..spread),
            unit: *self.pick(&[Unit::Byte, Unit::Bit]),
        }
    }

    fn field_type(&mut self) -> FieldType {
        loop {
            if let Some(kind) = FieldType::new(self.rng.bool(), self.rng.u8(..65)) {
                return kind;
            }
        }
    }

    fn number(&mut self) -> i64 {
        match self.rng.u8(..3) {
            0 => *self.pick(&[i64::MIN, i64::MAX, -1, 0, 1]),
            1 => self.rng.i64(..) >> self.rng.u32(..64),
            _ => self.rng.i64(-300..300),
        }
    }
}

fn word(unit: Unit) -> &'static str {
    match unit {
        Unit::Byte => "BYTE",
        Unit::Bit => "BIT",
    }
}

#[test]
fn sums_of_floats_are_those_of_redis() {
    let redis = RedisServer::start();
    let mut conn = redis.conn();
    let mut random = Random::new();
    let mut finite = 0;
    for _ in 0..2 * CASES {
        let (stored, by) = (random.float(), random.float());
        conn.set("k", &stored);
        let theirs = conn.cmd(&args!["INCRBYFLOAT", "k", by]);
        let ours = match LongDouble::parse(by.as_bytes()) {
            Some(by) => long_double::increment(Some(stored.as_bytes()), by)
                .map_err(|rejection| rejection.text),
            None => Err("ERR value is not a valid float".to_owned()),
        };
        finite += usize::from(ours.is_ok());
        let ours = match ours {
            Ok(text) => Reply::Bulk(text.into_bytes()),
            Err(text) => Reply::Error(text),
        };
        assert_eq!(ours, theirs, "{stored} + {by}, seed {}", random.seed);
    }
    assert!(finite > CASES / 2, "only {finite} sums were numbers");
}

#[test]
fn subsequences_are_those_of_redis() {
    let redis = RedisServer::start();
    let mut conn = redis.conn();
    let mut random = Random::new();
    for _ in 0..CASES {
        let (a, b) = (random.value(), random.value());
        conn.set("a", &a);
        conn.set("b", &b);
        let context = format!(
            "{} and {}, seed {}",
            a.escape_ascii(),
            b.escape_ascii(),
            random.seed
        );
        let theirs = conn.cmd(&args!["LCS", "a", "b"]);
        assert_eq!(theirs, Reply::Bulk(lcs::string(&a, &b)), "{context}");
        let theirs = conn.cmd(&args!["LCS", "a", "b", "LEN"]);
        assert_eq!(theirs, integer(lcs::length(&a, &b)), "{context}");
        let min = random.rng.usize(..5);
        let line = format!("LCS a b IDX WITHMATCHLEN MINMATCHLEN {min}");
        let theirs = conn.run(&line);
        let (found, length) = lcs::matches(&a, &b, min);
        let found = found.into_iter().map(|run| {
            let range = |start, end| Reply::Array(vec![integer(start), integer(end)]);
            Reply::Array(vec![
                range(*run.a.start(), *run.a.end()),
                range(*run.b.start(), *run.b.end()),
                integer(run.length),
            ])
        });
        let ours = Reply::Array(vec![
            Reply::Bulk(b"matches".to_vec()),
            Reply::Array(found.collect()),
            Reply::Bulk(b"len".to_vec()),
            integer(length),
        ]);
        assert_eq!(ours, theirs, "{context}, at least {min}");
    }
}

fn integer(number: usize) -> Reply {
    Reply::Int(i64::try_from(number).unwrap())
}

#[test]
fn counts_and_positions_of_bits_are_those_of_redis() {
    let redis = RedisServer::start();
    let mut conn = redis.conn();
    let mut random = Random::new();
    for _ in 0..CASES {
        let value = random.value();
        conn.set("k", &value);
        let range = random.range();
        let Range { start, end, unit } = range;
        let context = format!("{} {range:?}, seed {}", value.escape_ascii(), random.seed);
        let line = format!("BITCOUNT k {start} {end} {}", word(unit));
        let counted = bits::count(&value, Some(range));
        assert_eq!(conn.run(&line).int(), counted, "{context}");
        let counted = bits::count(&value, None);
        assert_eq!(conn.run("BITCOUNT k").int(), counted, "{context}");
        for bit in [false, true] {
            let digit = u8::from(bit);
            for (line, extent) in [
                (format!("BITPOS k {digit}"), Extent::WHOLE),
                (format!("BITPOS k {digit} {start}"), Extent::From(start)),
                (
                    format!("BITPOS k {digit} {start} {end} {}", word(unit)),
                    Extent::Range(range),
                ),
            ] {
                let found = bits::position::position(Some(&value), bit, extent);
                assert_eq!(conn.run(&line).int(), found, "{line}, {context}");
            }
        }
        let offset = random.rng.u64(..1500);
        let bit = random.rng.bool();
        let mut new = BytesMut::from(&value[..]);
        let old = bits::set(&mut new, offset, bit);
        let new = new.to_vec();
        let line = format!("SETBIT k {offset} {}", u8::from(bit));
        assert_eq!(conn.run(&line).int(), i64::from(old), "{line}, {context}");
        assert_eq!(conn.get("k"), Some(new.clone()), "{line}, {context}");
        let offset = random.rng.u64(..1500);
        let line = format!("GETBIT k {offset}");
        let bit = i64::from(bits::get(&new, offset));
        assert_eq!(conn.run(&line).int(), bit, "{line}, {context}");
    }
}

#[test]
fn combinations_of_bits_are_those_of_redis() {
    let redis = RedisServer::start();
    let mut conn = redis.conn();
    let mut random = Random::new();
    for _ in 0..CASES {
        let (name, operator) = *random.pick(&[
            ("AND", Operator::And),
            ("OR", Operator::Or),
            ("XOR", Operator::Xor),
            ("NOT", Operator::Not),
        ]);
        let count = match operator {
            Operator::Not => 1,
            _ => *random.pick(&[1, 2, 2, 3, 17]),
        };
        let mut line = format!("BITOP {name} d");
        let mut sources = Vec::new();
        for source in 0..count {
            line.push_str(&format!(" s{source}"));
            let value = (random.rng.u8(..5) > 0).then(|| random.value());
            match &value {
                Some(value) => conn.set(format!("s{source}"), value),
                None => drop(conn.run(&format!("DEL s{source}"))),
            }
            sources.push(value);
        }
        let sources: Vec<Option<&[u8]>> = sources.iter().map(Option::as_deref).collect();
        let combined = bits::operator::combine(operator, &sources);
        let context = format!("{line} of {sources:x?}, seed {}", random.seed);
        assert_eq!(conn.run(&line), integer(combined.len()), "{context}");
        let stored = (!combined.is_empty()).then_some(combined);
        assert_eq!(conn.get("d"), stored, "{context}");
    }
}

#[test]
fn fields_are_those_of_redis() {
    let redis = RedisServer::start();
    let mut conn = redis.conn();
    let mut random = Random::new();
    for _ in 0..2 * CASES {
        let value = random.value();
        conn.set("k", &value);
        let mut line = "BITFIELD k".to_owned();
        let mut operations = Vec::new();
        for _ in 0..random.rng.u8(1..5) {
            let (words, operation) = field_operation(&mut random);
            line.push_str(&words);
            operations.push(operation);
        }
        let context = format!("{} {line}, seed {}", value.escape_ascii(), random.seed);
        let writes = operations.iter().any(FieldOperation::writes);
        let mut new = BytesMut::from(&value[..]);
        let replies = match writes {
            true => bits::field::change_fields(&mut new, &operations),
            false => bits::field::read_fields(&value, &operations),
        };
        let new = writes.then(|| new.to_vec());
        let replies = replies.into_iter();
        let replies = replies.map(|reply| reply.map_or(Reply::Null("$-1"), Reply::Int));
        let theirs = conn.run(&line);
        assert_eq!(Reply::Array(replies.collect()), theirs, "{context}");
        assert_eq!(conn.get("k"), Some(new.unwrap_or(value)), "{context}");
    }
}

fn field_operation(random: &mut Random) -> (String, FieldOperation) {
    let kind = random.field_type();
    let offset = random.rng.u64(..1300);
    let number = random.number();
    let (word, overflow) = *random.pick(&[
        ("WRAP", Overflow::Wrap),
        ("SAT", Overflow::Sat),
        ("FAIL", Overflow::Fail),
    ]);
    let sign = if kind.signed() { 'i' } else { 'u' };
    let place = format!("{sign}{} {offset}", kind.bits());
    match random.rng.u8(..3) {
        0 => (
            format!(" GET {place}"),
            FieldOperation::Get { kind, offset },
        ),
        1 => (
            format!(" OVERFLOW {word} SET {place} {number}"),
            FieldOperation::Set {
                kind,
                offset,
                value: number,
                overflow,
            },
        ),
        _ => (
            format!(" OVERFLOW {word} INCRBY {place} {number}"),
            FieldOperation::Increment {
                kind,
                offset,
                by: number,
                overflow,
            },
        ),
    }
}
