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
