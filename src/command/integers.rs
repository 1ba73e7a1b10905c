//! Integers as Redis reads them.

/// A 64-bit integer: no plus, no leading zero, no white space (`string2ll`).
pub fn integer(bytes: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let magnitude = text.strip_prefix('-').unwrap_or(text);
    let canonical = magnitude == "0" && text == "0"
        || magnitude.starts_with(|first: char| matches!(first, '1'..='9'));
    if canonical { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Redis 7.0.15: SET k <text>, INCRBY k 0.
    #[test]
    fn only_the_shortest_form_is_a_number() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("", None),
            (" 1", None),
            ("1 ", None),
            ("+1", None),
            ("01", None),
            ("-0", None),
            ("1.0", None),
        ] {
            assert_eq!(integer(text.as_bytes()), expected, "{text:?}");
        }
    }
}
