//! The options of LCS.

use bytes::Bytes;
use smallvec::smallvec;

use super::{Parsed, integer_or_reject, is, reject, syntax_error};
use crate::command::query::LcsAnswer;
use crate::command::{Command, Query, wrong_arity};

pub(in crate::command) fn lcs(operands: &[Bytes]) -> Parsed {
    let [a, b, options @ ..] = operands else {
        return Err(wrong_arity("lcs"));
    };
    let (mut length, mut indexes, mut with_length, mut min) = (false, false, false, 0);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        if is(option, "idx") {
            indexes = true;
        } else if is(option, "len") {
            length = true;
        } else if is(option, "withmatchlen") {
            with_length = true;
        } else if is(option, "minmatchlen")
            && let Some(number) = options.next()
        {
            // A negative one is as good as none.
            min = usize::try_from(integer_or_reject(number)?).unwrap_or(0);
        } else {
            return syntax_error();
        }
    }
    if length && indexes {
        return reject("ERR If you want both the length and indexes, please just use IDX.");
    }
    let answer = match (indexes, length) {
        (true, _) => LcsAnswer::Matches { min, with_length },
        (_, true) => LcsAnswer::Length,
        _ => LcsAnswer::String,
    };
    Ok(Command::Read(
        smallvec![a.clone(), b.clone()],
        Query::Lcs(answer),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(line: &str) -> Result<LcsAnswer, String> {
        let words: Vec<Bytes> = line
            .split(' ')
            .map(|word| Bytes::copy_from_slice(word.as_bytes()))
            .collect();
        match lcs(&words) {
            Ok(Command::Read(_, Query::Lcs(answer))) => Ok(answer),
            Ok(other) => panic!("{line}: {other:?}"),
            Err(rejection) => Err(rejection.text),
        }
    }

    #[test]
    fn options_say_what_is_answered() {
        let matches = |min, with_length| LcsAnswer::Matches { min, with_length };
        for (line, expected) in [
            ("a b", LcsAnswer::String),
            ("a b minmatchlen 3 withmatchlen", LcsAnswer::String),
            ("a b LEN len", LcsAnswer::Length),
            ("a b idx", matches(0, false)),
            ("a b IDX MINMATCHLEN 4 WITHMATCHLEN", matches(4, true)),
            ("a b MinMatchLen 4 idx minmatchlen -4", matches(0, false)),
        ] {
            assert_eq!(answer(line), Ok(expected), "{line}");
        }
    }

    /// Redis 7.0.15: LCS <line>.
    #[test]
    fn mistakes_have_the_words_of_redis() {
        const BOTH: &str = "ERR If you want both the length and indexes, please just use IDX.";
        const SYNTAX: &str = "ERR syntax error";
        const NOT_INTEGER: &str = "ERR value is not an integer or out of range";
        for (line, expected) in [
            ("a b len idx", BOTH),
            ("a b len idx x", SYNTAX),
            ("a b minmatchlen", SYNTAX),
            ("a b minmatchlen x", NOT_INTEGER),
            ("a b minmatchlen idx len", NOT_INTEGER),
        ] {
            assert_eq!(answer(line).unwrap_err(), expected, "{line}");
        }
    }
}
