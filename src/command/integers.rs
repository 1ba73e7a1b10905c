//! Integers as Redis reads them.

/// A 64-bit integer: no plus, no leading zero, no white space (`string2ll`).
pub fn integer(bytes: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let magnitude = text.strip_prefix('-').unwrap_or(text);
    let canonical = magnitude == "0" && text == "0"
        || magnitude.starts_with(|first: char| matches!(first, '1'..='9'));
    if canonical { text.parse().ok() } else { None }
}
