//! LCS: the longest common subsequence of two values, the same of several that Redis finds.
//!
//! Redis fills a table of (m + 1) × (n + 1) numbers, L(i, j) the length for the first i bytes of one
//! value and the first j of the other, and walks back through it. Only differences of neighbours
//! decide that walk, and they are 0 or 1: a row of the table is a row of bits here, which a handful
//! of operations on words makes from the row before (Hyyrö, "Bit-parallel LCS-length computation
//! revisited", 2004). Two values of 11 KB, the longest that are allowed for both, take 14 ms instead of
//! 1.2 s, and 17 MB instead of 512.

use std::ops::RangeInclusive;

use super::Rejection;

/// The most entries that the table of two values may have, (m + 1) × (n + 1).
///
/// It is Redis' own bound by default: four bytes an entry, and 512 MB (proto-max-bulk-len). It is hardly
/// reached by one step for every 64 entries; a long value beside a very short one costs some 7 ns and
/// a byte of memory for each of its bytes, which is what the limit on values is for.
pub const WORK_MAX: u64 = 512 * 1024 * 1024 / 4;

/// The same bytes in both values, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Where in the first value.
    pub a: RangeInclusive<usize>,
    /// Where in the second.
    pub b: RangeInclusive<usize>,
    /// How many bytes.
    pub length: usize,
}

/// Refuses two values whose table would be larger than [`WORK_MAX`], in Redis' words.
///
/// # Errors
///
/// They are too long.
pub fn check(a_length: usize, b_length: usize) -> Result<(), Rejection> {
    let entries = |length: usize| u64::try_from(length).unwrap_or(u64::MAX).saturating_add(1);
    if entries(a_length).saturating_mul(entries(b_length)) > WORK_MAX {
        return Err(Rejection::late(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ));
    }
    Ok(())
}

/// The length of the longest common subsequence. (LCS … LEN)
pub fn length(a: &[u8], b: &[u8]) -> usize {
    // The length does not depend on the order, and the work is the least with few long rows.
    let (few, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    let masks = Masks::new(few, long);
    let mut row = first_row(long.len());
    for byte in few {
        advance(&mut row, masks.of(*byte));
    }
    steps(&row, long.len())
}

/// The longest common subsequence. (LCS)
pub fn string(a: &[u8], b: &[u8]) -> Vec<u8> {
    let table = Table::new(a, b);
    let mut backwards = Vec::with_capacity(table.length);
    table.walk(|i, _| backwards.extend(a.get(i)));
    backwards.reverse();
    backwards
}

/// The runs of it that are of at least `min` bytes, from the last to the first, and the length of it
/// all. (LCS … IDX)
pub fn matches(a: &[u8], b: &[u8], min: usize) -> (Vec<Match>, usize) {
    let table = Table::new(a, b);
    let mut found = Vec::new();
    let mut run: Option<Match> = None;
    let mut keep = |run: Option<Match>| found.extend(run.filter(|run| run.length >= min));
    table.walk(|i, j| match &mut run {
        Some(run) if *run.a.start() == i + 1 && *run.b.start() == j + 1 => {
            run.a = i..=*run.a.end();
            run.b = j..=*run.b.end();
            run.length += 1;
        }
        _ => keep(run.replace(Match {
            a: i..=i,
            b: j..=j,
            length: 1,
        })),
    });
    keep(run);
    (found, table.length)
}

/// The rows of differences: bit j of row i is clear if L(i + 1, j + 1) is L(i + 1, j) + 1.
struct Table<'a> {
    a: &'a [u8],
    b: &'a [u8],
    rows: Vec<u8>,
    row_bytes: usize,
    length: usize,
}

impl<'a> Table<'a> {
    fn new(a: &'a [u8], b: &'a [u8]) -> Self {
        let masks = Masks::new(a, b);
        // Whole bytes, not words: a long value beside a short one takes no more than itself.
        let row_bytes = b.len().div_ceil(8);
        let mut rows = Vec::with_capacity(row_bytes.saturating_mul(a.len()).saturating_add(8));
        let mut row = first_row(b.len());
        for byte in a {
            advance(&mut row, masks.of(*byte));
            let full = rows.len() + row_bytes;
            for word in &row {
                rows.extend_from_slice(&word.to_le_bytes());
            }
            rows.truncate(full);
        }
        Table {
            a,
            b,
            rows,
            row_bytes,
            length: steps(&row, b.len()),
        }
    }

    /// Visits the pairs of indexes at which the subsequence is, from the last to the first.
    ///
    /// Where the bytes differ, Redis goes on in the first value if L(i - 1, j) > L(i, j - 1), else in
    /// the second. As L(i, j) is the larger of both, the first is larger just if L(i, j) is more
    /// than L(i, j - 1).
    fn walk(&self, mut visit: impl FnMut(usize, usize)) {
        let (mut i, mut j) = (self.a.len(), self.b.len());
        while i > 0 && j > 0 {
            if self.a.get(i - 1) == self.b.get(j - 1) {
                i -= 1;
                j -= 1;
                visit(i, j);
            } else if self.is_step(i - 1, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
    }

    fn is_step(&self, row: usize, column: usize) -> bool {
        self.rows
            .get(row * self.row_bytes + column / 8)
            .is_some_and(|byte| byte & (1 << (column % 8)) == 0)
    }
}

fn first_row(length: usize) -> Vec<u64> {
    vec![u64::MAX; length.div_ceil(64)]
}

/// Makes the next row, for a byte that is where `mask` has its bits.
fn advance(row: &mut [u64], mask: &[u64]) {
    let mut carry = false;
    for (word, mask) in row.iter_mut().zip(mask) {
        let matching = *word & mask;
        let (sum, first) = word.overflowing_add(matching);
        let (sum, second) = sum.overflowing_add(u64::from(carry));
        carry = first || second;
        *word = sum | (*word & !mask);
    }
}

/// The steps in a row, which are its clear bits.
fn steps(row: &[u64], length: usize) -> usize {
    let set: usize = row.iter().map(|word| word.count_ones() as usize).sum();
    // Bits past the end match nothing, so they stay set.
    let padding = row.len() * 64 - length;
    length - (set - padding)
}

/// Where in a value each byte is, for those bytes that another value has.
struct Masks {
    words: usize,
    /// One more than the index of the mask.
    index: [u16; 256],
    masks: Vec<u64>,
    none: Vec<u64>,
}

impl Masks {
    fn new(asked: &[u8], value: &[u8]) -> Self {
        let words = value.len().div_ceil(64);
        let mut index = [0u16; 256];
        let mut count = 0;
        for byte in asked {
            let slot = &mut index[usize::from(*byte)];
            if *slot == 0 {
                count += 1;
                *slot = count;
            }
        }
        let mut masks = vec![0u64; words.saturating_mul(usize::from(count))];
        for (at, byte) in value.iter().enumerate() {
            let slot = usize::from(index[usize::from(*byte)]);
            if let Some(word) = slot
                .checked_sub(1)
                .and_then(|slot| masks.get_mut(slot * words + at / 64))
            {
                *word |= 1 << (at % 64);
            }
        }
        Masks {
            words,
            index,
            masks,
            none: Vec::new(),
        }
    }

    fn of(&self, byte: u8) -> &[u64] {
        usize::from(self.index[usize::from(byte)])
            .checked_sub(1)
            .and_then(|slot| self.masks.get(slot * self.words..(slot + 1) * self.words))
            .unwrap_or(&self.none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(a: (usize, usize), b: (usize, usize)) -> Match {
        Match {
            a: a.0..=a.1,
            b: b.0..=b.1,
            length: a.1 - a.0 + 1,
        }
    }

    /// Redis 7.0.15: MSET a <a> b <b>, LCS a b, LCS a b LEN, LCS a b IDX WITHMATCHLEN.
    #[test]
    fn subsequences_are_those_of_redis() {
        let cases: &[(&str, &str, &str, &[Match])] = &[
            ("", "", "", &[]),
            ("abc", "", "", &[]),
            ("abc", "xyz", "", &[]),
            (
                "ohmytext",
                "mynewtext",
                "mytext",
                &[run((4, 7), (5, 8)), run((2, 3), (0, 1))],
            ),
            // Of several of the same length, the one that Redis names.
            ("ab", "ba", "b", &[run((1, 1), (0, 0))]),
            (
                "abc",
                "acb",
                "ac",
                &[run((2, 2), (1, 1)), run((0, 0), (0, 0))],
            ),
            (
                "abcbdab",
                "bdcaba",
                "bdab",
                &[run((5, 6), (3, 4)), run((3, 4), (0, 1))],
            ),
            ("banana", "ananas", "anana", &[run((1, 5), (0, 4))]),
            ("aaaa", "aa", "aa", &[run((2, 3), (0, 1))]),
        ];
        for (a, b, expected, runs) in cases {
            let (a, b) = (a.as_bytes(), b.as_bytes());
            assert_eq!(String::from_utf8(string(a, b)).unwrap(), *expected);
            assert_eq!(length(a, b), expected.len());
            let (found, total) = matches(a, b, 0);
            assert_eq!(total, expected.len());
            assert_eq!(found, *runs, "{expected}");
        }
    }

    #[test]
    fn short_runs_are_left_out() {
        let (found, total) = matches(b"ohmytext", b"mynewtext", 4);
        assert_eq!(found, [run((4, 7), (5, 8))]);
        assert_eq!(total, 6);
    }

    #[test]
    fn the_bound_is_that_of_redis() {
        assert!(check(0, 0).is_ok());
        assert!(check(8191, 16383).is_ok());
        let mistake = check(8192, 16383).unwrap_err().text;
        assert_eq!(
            mistake,
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"
        );
        assert!(check(usize::MAX, usize::MAX).is_err());
    }
}
