//! Inputs out of seeds: pieces of several, flipped, cut, repeated, with the numbers at which code breaks.

use std::ops::Bound;
use std::ops::Range;

use bolero::Driver;

use crate::corpus::{Corpus, Words, encode};

/// Numbers at the edges of types, of times and of limits.
const EDGES: &[&str] = &[
    "0",
    "-0",
    "1",
    "-1",
    "2",
    "7",
    "8",
    "9",
    "10",
    "15",
    "16",
    "63",
    "64",
    "65",
    "100",
    "127",
    "128",
    "255",
    "256",
    "1000",
    "1023",
    "1024",
    "65535",
    "65536",
    "1048576",
    "1048577",
    "16777216",
    "536870912",
    "536870913",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "34359738367",
    "134217728",
    "4611686018427387904",
    "9223372036854775",
    "9223372036854776",
    "9223372036854774807",
    "9223372036854775806",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775807",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999",
    "-2",
    "-100",
    "+1",
    "01",
    " 1",
    "1 ",
    "",
    "1.5",
    "-0.0",
    "1e5",
    "1e-5",
    "1e300",
    "1e4932",
    "-1e4932",
    "3.36e-4932",
    "inf",
    "-inf",
    "nan",
    "0x10",
    "1e",
    "#0",
    "#1",
    "#9223372036854775807",
    "#144115188075855871",
    "u63",
    "u64",
    "i64",
    "i65",
    "u0",
    "i1",
];

/// Bytes that mean something to somebody.
const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\r",
    b"\n",
    b"*",
    b"$",
    b"-",
    b":",
    b"+",
    b" ",
    b"\t",
    b"\0",
    b"\"",
    b"'",
    b"\\",
    b"\\x",
    b"\xff",
    b"*1\r\n",
    b"*0\r\n",
    b"*-1\r\n",
    b"$0\r\n\r\n",
    b"$-1\r\n",
    b"_\r\n",
    b"%1\r\n",
    b"*3\r\n$3\r\nSET\r\n",
];

/// What decides on an input: a fuzzer, or chance.
pub struct Dice<'a, D>(pub &'a mut D);

impl<D: Driver> Dice<'_, D> {
    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> Option<usize> {
        self.0.gen_usize(Bound::Included(&0), Bound::Excluded(&end))
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: usize) -> Option<bool> {
        Some(self.below(times)? + 1 == times)
    }

    pub fn one_of<'b, T: ?Sized>(&mut self, several: &'b [&'b T]) -> Option<&'b T> {
        Some(several[self.below(several.len())?])
    }

    /// A part of `length` bytes.
    fn range(&mut self, length: usize) -> Option<Range<usize>> {
        let from = self.below(length + 1)?;
        let most = (length - from).min(64);
        Some(from..from + self.below(most + 1)?)
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.below(256)? as u8)
    }

    pub fn edge(&mut self) -> Option<Vec<u8>> {
        Some(self.one_of(EDGES)?.as_bytes().to_vec())
    }

    /// What arrives on a connection.
    pub fn wire(&mut self, corpus: &Corpus) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        for _ in 0..=self.below(5)? {
            bytes.extend(self.sent(corpus)?);
        }
        for _ in 0..self.below(6)? {
            self.mutate(&mut bytes, corpus)?;
        }
        Some(bytes)
    }

    fn sent(&mut self, corpus: &Corpus) -> Option<Vec<u8>> {
        if self.once_in(3)? {
            return Some(corpus.frames[self.below(corpus.frames.len())?].clone());
        }
        let words = self.words(corpus)?;
        Some(match self.once_in(4)? {
            true => [words.join(&b" "[..]), b"\r\n".to_vec()].concat(),
            false => encode(&words),
        })
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>, corpus: &Corpus) -> Option<()> {
        let part = self.range(bytes.len())?;
        match self.below(10)? {
            0 if !part.is_empty() => bytes[part.start] ^= 1 << self.below(8)?,
            1 if !part.is_empty() => bytes[part.start] = self.byte()?,
            2 => drop(bytes.drain(part)),
            3 => {
                let times = [1, 2, 10, 100][self.below(4)?];
                let repeated = bytes[part.clone()].repeat(times);
                drop(bytes.splice(part.start..part.start, repeated));
            }
            4 => drop(bytes.splice(part, self.one_of(TOKENS)?.iter().copied())),
            5 => drop(bytes.splice(number_in(bytes, part.start), self.edge()?)),
            6 => {
                // A length or a count that is wrong by one.
                let found = number_in(bytes, part.start);
                let digits = String::from_utf8_lossy(&bytes[found.clone()]).into_owned();
                let by = [1, -1][self.below(2)?];
                if let Some(wrong) = digits
                    .parse::<i64>()
                    .ok()
                    .and_then(|number| number.checked_add(by))
                {
                    bytes.splice(found, wrong.to_string().bytes());
                }
            }
            7 => {
                let other = self.sent(corpus)?;
                let from = self.below(other.len() + 1)?;
                bytes.splice(part, other[from..].iter().copied());
            }
            8 => bytes.truncate(part.start),
            9 if self.once_in(50)? => {
                // Longer than any line may be.
                let length = [1000, 65_535, 65_536, 70_000][self.below(4)?];
                bytes.splice(part, std::iter::repeat_n(self.byte()?, length));
            }
            _ => {}
        }
        Some(())
    }

    /// A command, perhaps with its words changed.
    pub fn words(&mut self, corpus: &Corpus) -> Option<Words> {
        let mut words = corpus.commands[self.below(corpus.commands.len())?].clone();
        if self.once_in(3)? {
            return Some(words);
        }
        for _ in 0..=self.below(3)? {
            // The name stays, mostly: else it is only a command that nobody knows.
            let first = usize::from(!self.once_in(16)?);
            let at = first + self.below(words.len().max(2) - first)?;
            let other = &corpus.commands[self.below(corpus.commands.len())?];
            let word = match self.below(4)? {
                0 | 1 => self.edge()?,
                2 => other[self.below(other.len())?].clone(),
                _ => self.text(100)?,
            };
            match self.below(8)? {
                0 if words.len() > 1 => drop(words.remove(at.min(words.len() - 1))),
                1 => words.insert(at.min(words.len()), word),
                2 => words.extend(other[1..].iter().cloned()),
                3 => {
                    if let Some(word) = words.get_mut(at) {
                        self.mutate(word, corpus)?;
                    }
                }
                _ => {
                    if let Some(known) = words.get_mut(at) {
                        *known = word;
                    }
                }
            }
        }
        Some(words)
    }

    /// A value: a number, text, or bytes up to a length.
    pub fn text(&mut self, most: usize) -> Option<Vec<u8>> {
        let length = self.below(most + 1)?;
        Some(match self.below(4)? {
            0 => self.edge()?,
            1 => (0..length.min(12))
                .map(|_| self.byte())
                .collect::<Option<_>>()?,
            2 => b"0123456789abcdef"
                .iter()
                .copied()
                .cycle()
                .take(length)
                .collect(),
            _ => vec![self.byte()?; length],
        })
    }
}

/// The first number at or after a position.
fn number_in(bytes: &[u8], from: usize) -> Range<usize> {
    let is_part = |byte: &u8| byte.is_ascii_digit() || *byte == b'-';
    let start = bytes[from..]
        .iter()
        .position(is_part)
        .map_or(from, |at| from + at);
    let length = bytes[start..]
        .iter()
        .take_while(|byte| is_part(byte))
        .count();
    start..start + length
}
