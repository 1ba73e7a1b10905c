//! BITOP: one value from several, bit by bit.

/// What BITOP does with the bits at the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// AND
    And,
    /// OR
    Or,
    /// XOR
    Xor,
    /// NOT, of one source; of more, the first.
    Not,
}

/// The combined value, as long as the longest source; an absent key is an empty source. (BITOP)
///
/// An empty result means that the destination ceases to exist.
pub fn combine(operator: Operator, sources: &[Option<&[u8]>]) -> Vec<u8> {
    let Some((first, others)) = sources.split_first() else {
        return Vec::new();
    };
    let longest = sources.iter().flatten().map(|source| source.len()).max();
    let mut result = Vec::with_capacity(longest.unwrap_or(0));
    result.extend_from_slice(first.unwrap_or_default());
    result.resize(longest.unwrap_or(0), 0);
    match operator {
        Operator::Not => {
            for byte in &mut result {
                *byte = !*byte;
            }
        }
        Operator::And => each(&mut result, others, |byte, other| *byte &= other, true),
        Operator::Or => each(&mut result, others, |byte, other| *byte |= other, false),
        Operator::Xor => each(&mut result, others, |byte, other| *byte ^= other, false),
    }
    result
}

/// Applies `step` with each source; where a source has ended, its zeroes matter only if they
/// `absorb`.
fn each(result: &mut [u8], others: &[Option<&[u8]>], step: impl Fn(&mut u8, u8), absorb: bool) {
    for other in others {
        let other = other.unwrap_or_default();
        let (shared, rest) = result.split_at_mut(other.len().min(result.len()));
        for (byte, other) in shared.iter_mut().zip(other) {
            step(byte, *other);
        }
        if absorb {
            rest.fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Redis 7.0.15: SET a/b/c, BITOP <operator> d <sources>, GET d.
    #[test]
    fn combinations_are_those_of_redis() {
        use Operator::{And, Not, Or, Xor};
        let a: Option<&[u8]> = Some(b"\x0f\xf0\xff");
        let b: Option<&[u8]> = Some(b"\x3c");
        type Case<'a> = (Operator, &'a [Option<&'a [u8]>], &'a [u8]);
        let cases: &[Case] = &[
            (And, &[a, b], b"\x0c\x00\x00"),
            (And, &[b, a], b"\x0c\x00\x00"),
            (And, &[a, None], b"\x00\x00\x00"),
            (And, &[None, a], b"\x00\x00\x00"),
            (And, &[a], b"\x0f\xf0\xff"),
            (Or, &[a, b], b"\x3f\xf0\xff"),
            (Or, &[b, a, None], b"\x3f\xf0\xff"),
            (Xor, &[a, b], b"\x33\xf0\xff"),
            (Xor, &[b, a, a], b"\x3c\x00\x00"),
            (Not, &[a], b"\xf0\x0f\x00"),
            (Not, &[None], b""),
            (Or, &[None, None], b""),
            (And, &[Some(b""), None], b""),
        ];
        for (operator, sources, expected) in cases {
            assert_eq!(
                combine(*operator, sources),
                *expected,
                "{operator:?} {sources:x?}"
            );
        }
    }
}
