//! Redis' glob patterns: `*`, `?`, `[a-z]`, `[^a]`, and a backslash before any of them. Its
//! `stringmatchlen`, with what is peculiar about it.

/// Whether `text` matches `pattern`, ASCII case ignored if asked for.
///
/// An empty text matches an empty pattern alone, not even a star. Where a star is to be every text,
/// as in KEYS and SCAN, Redis looks for that first, and so does who calls this.
pub fn matches(pattern: &[u8], text: &[u8], ignore_case: bool) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    // Only the last star can ever need another try: backtracking is linear in the text.
    let (mut pattern, mut text) = (pattern, text);
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let Some((b'*', after)) = pattern.split_first() {
            retry = Some((after, text));
            pattern = after;
            continue;
        }
        let step = match (pattern.is_empty(), text.split_first()) {
            (true, None) => return true,
            (_, None) => return false,
            (true, Some(_)) => None,
            (false, Some((byte, rest))) => {
                one(pattern, *byte, ignore_case).map(|after| (after, rest))
            }
        };
        match step {
            Some((after, rest)) => (pattern, text) = (after, rest),
            None => {
                let Some((after, from)) = retry else {
                    return false;
                };
                let Some((_, rest)) = from.split_first() else {
                    return false;
                };
                retry = Some((after, rest));
                (pattern, text) = (after, rest);
            }
        }
    }
}

/// Matches one byte; returns the pattern after what matched it.
fn one(pattern: &[u8], byte: u8, ignore_case: bool) -> Option<&[u8]> {
    let fold = |byte: u8| {
        if ignore_case {
            byte.to_ascii_lowercase()
        } else {
            byte
        }
    };
    match pattern {
        [b'?', rest @ ..] => Some(rest),
        [b'[', rest @ ..] => class(rest, byte, &fold),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => {
            (fold(*literal) == fold(byte)).then_some(rest)
        }
        [] => None,
    }
}

/// A class after its opening bracket. One that is not closed ends with the pattern.
///
/// Redis has bytes for signed numbers, on most machines, so that those above 127 are below all
/// others; it puts the ends of a range in order before it folds their case; and an escaped byte has
/// to be that very byte.
fn class<'a>(pattern: &'a [u8], byte: u8, fold: &dyn Fn(u8) -> u8) -> Option<&'a [u8]> {
    let (negated, mut rest) = match pattern {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let signed = |byte: u8| fold(byte).cast_signed();
    let mut found = false;
    let after = loop {
        match rest {
            [] => break rest,
            [b']', after @ ..] => break after,
            [b'\\', literal, after @ ..] => {
                found |= *literal == byte;
                rest = after;
            }
            [low, b'-', high, after @ ..] => {
                let (low, high) = if low.cast_signed() > high.cast_signed() {
                    (high, low)
                } else {
                    (low, high)
                };
                found |= (signed(*low)..=signed(*high)).contains(&signed(byte));
                rest = after;
            }
            [literal, after @ ..] => {
                found |= fold(*literal) == fold(byte);
                rest = after;
            }
        }
    };
    (found != negated).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_in_redis() {
        for (pattern, text, expected) in [
            ("*", "", false),
            ("**", "", false),
            ("", "", true),
            ("*", "a", true),
            ("a*", "a", true),
            ("a***", "a", true),
            ("a*?", "a", false),
            ("", "a", false),
            ("a*c", "abc", true),
            ("a*c", "abcd", false),
            ("*a*b", "xaxxab", true),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("[\\]]", "]", true),
            ("[a", "a", true),
            ("[", "[", false),
            ("[^", "a", true),
            ("[]", "]", false),
            ("[]a]", "]", false),
            ("[a-]", "]", true),
            ("[a-]", "b", false),
            ("[a-", "-", true),
            ("[\\", "\\", true),
            ("\\", "\\", true),
            ("a\\", "a\\", true),
            ("[a-\u{7f}]", "z", true),
            ("A", "a", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes(), false),
                expected,
                "{pattern} on {text}"
            );
        }
        assert!(matches(b"MAX*", b"maxclients", true));
        // Above 127 is below 0.
        assert!(matches(b"[a-\xff]", b"A", false));
        assert!(!matches(b"[a-\xff]", b"z", false));
        assert!(matches(b"[\x80-\xff]", b"\x90", false));
        // The ends are put in order before their case is folded.
        assert!(!matches(b"[a-Z]", b"b", true));
        assert!(!matches(b"[\\A]", b"a", true));
    }

    #[test]
    fn many_stars_do_not_explode() {
        let pattern = b"a*".repeat(100);
        let text = b"a".repeat(10_000);
        assert!(!matches(&[&pattern[..], b"b"].concat(), &text, false));
    }
}
