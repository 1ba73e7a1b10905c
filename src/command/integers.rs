//! The arithmetic of INCR, DECR, INCRBY and DECRBY.

use super::Rejection;
use super::parse::integer_or_reject;

/// The number of a stored value, or of an absent key, after `by` was added.
///
/// # Errors
///
/// The value is not an integer, or the sum is none of 64 bits.
pub fn increment(stored: Option<&[u8]>, by: i64) -> Result<i64, Rejection> {
    let number = stored.map_or(Ok(0), integer_or_reject)?;
    number
        .checked_add(by)
        .ok_or_else(|| Rejection("ERR increment or decrement would overflow".into()))
}

/// What DECRBY adds.
///
/// # Errors
///
/// The smallest number has no counterpart. Redis notices before it looks at the key.
pub fn negated(decrement: i64) -> Result<i64, Rejection> {
    decrement
        .checked_neg()
        .ok_or_else(|| Rejection("ERR decrement would overflow".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incremented(stored: Option<&str>, by: i64) -> Result<i64, String> {
        increment(stored.map(str::as_bytes), by).map_err(|rejection| rejection.0)
    }

    /// Redis 7.0.15: SET k <stored>, INCRBY k <by>.
    #[test]
    fn sums_are_those_of_redis() {
        const NOT_INTEGER: &str = "ERR value is not an integer or out of range";
        const OVERFLOW: &str = "ERR increment or decrement would overflow";
        for (stored, by, expected) in [
            (None, 5, Ok(5)),
            (Some("0"), -1, Ok(-1)),
            (Some("-1"), 1, Ok(0)),
            (Some("9223372036854775806"), 1, Ok(i64::MAX)),
            (Some("9223372036854775807"), 1, Err(OVERFLOW)),
            (Some("9223372036854775807"), i64::MIN, Ok(-1)),
            (Some("-9223372036854775808"), -1, Err(OVERFLOW)),
            (Some("9223372036854775808"), 0, Err(NOT_INTEGER)),
            (Some(""), 1, Err(NOT_INTEGER)),
            (Some(" 1"), 1, Err(NOT_INTEGER)),
            (Some("1 "), 1, Err(NOT_INTEGER)),
            (Some("+1"), 1, Err(NOT_INTEGER)),
            (Some("01"), 1, Err(NOT_INTEGER)),
            (Some("-0"), 1, Err(NOT_INTEGER)),
            (Some("1.0"), 1, Err(NOT_INTEGER)),
        ] {
            let expected = expected.map_err(str::to_owned);
            assert_eq!(incremented(stored, by), expected, "{stored:?} {by}");
        }
    }

    #[test]
    fn the_smallest_number_cannot_be_subtracted() {
        assert_eq!(negated(3), Ok(-3));
        assert_eq!(negated(i64::MAX), Ok(-i64::MAX));
        let mistake = negated(i64::MIN).unwrap_err().0;
        assert_eq!(mistake, "ERR decrement would overflow");
    }
}
