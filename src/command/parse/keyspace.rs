//! Commands on all keys.

use bytes::Bytes;

use super::{Parsed, integer_or_reject, is, one_key, reject, syntax_error};
use crate::command::keyspace::{Filter, Scan};
use crate::command::{Command, Keyspace, Rejection};

/// How many keys SCAN looks at if it is not told.
const COUNT_DEFAULT: usize = 10;

pub(in crate::command) fn dbsize(_operands: &[Bytes]) -> Parsed {
    Ok(Command::Keyspace(Keyspace::Count))
}

pub(in crate::command) fn flush(operands: &[Bytes]) -> Parsed {
    match operands {
        [] => Ok(Command::Keyspace(Keyspace::Flush)),
        [mode] if is(mode, "async") || is(mode, "sync") => Ok(Command::Keyspace(Keyspace::Flush)),
        _ => syntax_error(),
    }
}

pub(in crate::command) fn keys(operands: &[Bytes]) -> Parsed {
    one_key(operands, "keys", |pattern| {
        Command::Keyspace(Keyspace::Keys(Filter::matching(&pattern)))
    })
}

pub(in crate::command) fn randomkey(_operands: &[Bytes]) -> Parsed {
    Ok(Command::Keyspace(Keyspace::Random))
}

pub(in crate::command) fn scan(operands: &[Bytes]) -> Parsed {
    let Some((at, options)) = operands.split_first() else {
        return syntax_error();
    };
    let cursor = cursor(at)?;
    let (mut filter, mut count, mut is_of_strings) = (Filter::All, COUNT_DEFAULT, true);
    let mut rest = options;
    while let Some((option, after)) = rest.split_first() {
        let Some((value, after)) = after.split_first() else {
            return syntax_error();
        };
        match option {
            option if is(option, "count") => match integer_or_reject(value)? {
                1.. => count = integer_or_reject(value)?.try_into().unwrap_or(usize::MAX),
                _ => return syntax_error(),
            },
            option if is(option, "match") => filter = Filter::matching(value),
            // The last one counts; there are only strings here.
            option if is(option, "type") => is_of_strings = is(value, "string"),
            _ => return syntax_error(),
        }
        rest = after;
    }
    if !is_of_strings {
        filter = Filter::Nothing;
    }
    Ok(Command::Keyspace(Keyspace::Scan(Scan {
        cursor,
        filter,
        count,
    })))
}

/// A cursor as Redis reads it, with `strtoul`: no white space before it, but a sign is no
/// mistake, nothing at all is 0, and a NUL is the end.
fn cursor(word: &[u8]) -> Result<u64, Rejection> {
    let word = word.split(|byte| *byte == 0).next().unwrap_or_default();
    let (is_negative, digits) = match word {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let number = match digits {
        [] if word.is_empty() => Some(0),
        digits if digits.iter().all(u8::is_ascii_digit) => std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| digits.parse::<u64>().ok()),
        _ => None,
    };
    match number {
        Some(number) if is_negative => Ok(number.wrapping_neg()),
        Some(number) => Ok(number),
        None => reject("ERR invalid cursor"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<Bytes> {
        let words = line.split(' ');
        words
            .map(|word| Bytes::copy_from_slice(word.as_bytes()))
            .collect()
    }

    #[test]
    fn cursors_are_read_as_strtoul_does() {
        for (word, expected) in [
            ("0", Some(0)),
            ("", Some(0)),
            ("007", Some(7)),
            ("+7", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("-1", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("x", None),
            ("1x", None),
            ("-", None),
            (" 1", None),
            ("1 ", None),
        ] {
            assert_eq!(cursor(word.as_bytes()).ok(), expected, "{word:?}");
        }
    }

    #[test]
    fn the_last_of_repeated_options_counts() {
        let parsed = scan(&words("3 match a* COUNT 5 Match b* count 7 TYPE string"));
        let expected = Scan {
            cursor: 3,
            filter: Filter::Matching("b*".into()),
            count: 7,
        };
        assert_eq!(parsed, Ok(Command::Keyspace(Keyspace::Scan(expected))));
    }
}
