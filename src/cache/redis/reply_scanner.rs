//! What an MGET and the GETEX behind it answer: a scanner that goes on where it stopped, so that a
//! large reply that arrives in many pieces is not looked at again with each.

use std::io;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::memchr;

/// No header is longer than this, CRLF included, and no error either.
const LINE_MAX: usize = 64 * 1024;

/// The longest string of a Redis, with its default `proto-max-bulk-len`.
const BULK_MAX: usize = 512 * 1024 * 1024;

/// A value of up to so many bytes is copied out of a reply of more than the second number: whoever
/// holds it for long would keep the whole reply.
const COPIED_MAX: usize = 4 * 1024;
const KEPT_WHOLE_MAX: usize = 64 * 1024;

/// A part of a reply that is whole; ranges are in the buffer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Element {
    Bulk(Range<usize>),
    Null,
    /// What is in the array follows.
    Array(usize),
    Status,
    Error(Range<usize>),
}

/// The element that begins at `at`, and where the next one does; `None` if it is not whole.
///
/// # Errors
///
/// This is not what a Redis answers to the few commands that are sent.
pub(super) fn element(buffer: &[u8], at: usize) -> io::Result<Option<(Element, usize)>> {
    let Some((&kind, rest)) = buffer.get(at..).and_then(<[u8]>::split_first) else {
        return Ok(None);
    };
    if !matches!(kind, b'$' | b'*' | b'+' | b'-') {
        return Err(unexpected("a reply of another type"));
    }
    let Some(length) = memchr(b'\r', &rest[..rest.len().min(LINE_MAX)]) else {
        return if rest.len() < LINE_MAX {
            Ok(None)
        } else {
            Err(unexpected("a line without end"))
        };
    };
    let line = at + 1..at + 1 + length;
    let next = line.end + 2;
    let element = match kind {
        b'$' if rest[..length] == *b"-1" => Element::Null,
        b'$' => {
            let length = number(&rest[..length])?;
            if length > BULK_MAX {
                return Err(unexpected("a value of more than 512 MiB"));
            }
            let end = next.saturating_add(length);
            if buffer.len() < end.saturating_add(2) {
                return Ok(None);
            }
            return Ok(Some((Element::Bulk(next..end), end + 2)));
        }
        b'*' => Element::Array(number(&rest[..length])?),
        b'+' => Element::Status,
        _ => Element::Error(line),
    };
    Ok((next <= buffer.len()).then_some((element, next)))
}

/// A length: decimal digits, few enough to be one.
fn number(digits: &[u8]) -> io::Result<usize> {
    if digits.is_empty() || digits.len() > 15 {
        return Err(unexpected("a length that is none"));
    }
    digits.iter().try_fold(0, |number, digit| {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return Err(unexpected("a length that is none"));
        }
        Ok(number * 10 + usize::from(digit))
    })
}

fn unexpected(what: &str) -> io::Error {
    io::Error::other(format!("an unexpected reply: {what}"))
}

/// The state between two reads.
#[derive(Debug, Default)]
pub(super) struct ReplyScanner {
    /// Where the next element begins.
    at: usize,
    is_in_array: bool,
    /// What was found so far.
    values: Vec<Option<Range<usize>>>,
}

impl ReplyScanner {
    /// Reads on; true once the values of all `names` are there, or the PONG if there is no name.
    /// `names` is the same until [`take`](ReplyScanner::take).
    ///
    /// # Errors
    ///
    /// The server refused, or this is not what was asked for.
    pub(super) fn scan(&mut self, buffer: &[u8], names: usize) -> io::Result<bool> {
        let is_done = |scanner: &Self| match names {
            0 => scanner.at > 0,
            _ => scanner.values.len() == names,
        };
        while !is_done(self) {
            let Some((element, next)) = element(buffer, self.at)? else {
                return Ok(false);
            };
            let is_last = self.values.len() + 1 == names;
            match element {
                Element::Array(length) if !is_last && !self.is_in_array => {
                    if length != names - 1 {
                        return Err(unexpected("not as many values as names"));
                    }
                    self.is_in_array = true;
                }
                Element::Bulk(value) if is_last || self.is_in_array => {
                    self.values.push(Some(value));
                }
                Element::Null if is_last || self.is_in_array => self.values.push(None),
                Element::Status if names == 0 => {}
                // The GETEX has been done also where it says that this is no string: only then the
                // type is looked at. What is no entry is deleted when the reader says what it saw.
                Element::Error(text)
                    if is_last && buffer[text.clone()].starts_with(b"WRONGTYPE") =>
                {
                    self.values.push(None);
                }
                Element::Error(text) => {
                    let text = String::from_utf8_lossy(&buffer[text]).into_owned();
                    return Err(io::Error::other(text));
                }
                _ => return Err(unexpected("not a value")),
            }
            self.at = next;
        }
        Ok(true)
    }

    /// Takes the reply that is whole out of `buffer`: for each name what was found.
    pub(super) fn take(
        &mut self,
        buffer: &mut BytesMut,
    ) -> impl Iterator<Item = Option<Bytes>> + use<'_> {
        let reply = buffer.split_to(std::mem::take(&mut self.at)).freeze();
        self.is_in_array = false;
        self.values
            .drain(..)
            .map(move |value| value.map(|value| part(&reply, value)))
    }

    /// How many bytes are missing of the value that is being received; a hint for the buffer.
    pub(super) fn missing(&self, buffer: &[u8]) -> usize {
        let rest = buffer.get(self.at..).unwrap_or_default();
        let header = rest.strip_prefix(b"$");
        let length = header.and_then(|rest| number(&rest[..memchr(b'\r', rest)?]).ok());
        length.map_or(0, |length| length.min(BULK_MAX).saturating_sub(rest.len()))
    }
}

fn part(reply: &Bytes, value: Range<usize>) -> Bytes {
    if value.len() <= COPIED_MAX && reply.len() > KEPT_WHOLE_MAX {
        Bytes::copy_from_slice(&reply[value])
    } else {
        reply.slice(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found when the reply arrives in two pieces, for every cut.
    fn scan(reply: &[u8], names: usize) -> Result<Vec<Option<Bytes>>, String> {
        let mut results = Vec::new();
        for cut in 0..=reply.len() {
            let mut scanner = ReplyScanner::default();
            let mut buffer = BytesMut::from(&reply[..cut]);
            let early = scanner.scan(&buffer, names);
            buffer.extend_from_slice(&reply[cut..]);
            let result = early.and_then(|_| scanner.scan(&buffer, names));
            results.push(match result {
                Ok(true) => Ok(scanner.take(&mut buffer).collect()),
                Ok(false) => Err("not whole".to_owned()),
                Err(error) => Err(error.to_string()),
            });
        }
        let first = results.remove(0);
        assert!(results.iter().all(|result| *result == first), "{results:?}");
        first
    }

    fn value(text: &'static str) -> Option<Bytes> {
        Some(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn one_name_is_answered_by_getex_alone() {
        assert_eq!(scan(b"$2\r\nab\r\n", 1), Ok(vec![value("ab")]));
        assert_eq!(scan(b"$0\r\n\r\n", 1), Ok(vec![value("")]));
        assert_eq!(scan(b"$-1\r\n", 1), Ok(vec![None]));
        assert_eq!(scan(b"$4\r\n\r\n$1\r\n", 1), Ok(vec![value("\r\n$1")]));
    }

    #[test]
    fn no_name_is_answered_by_a_status() {
        assert_eq!(scan(b"+PONG\r\n", 0), Ok(vec![]));
        assert_eq!(scan(b"-LOADING x\r\n", 0), Err("LOADING x".to_owned()));
    }

    #[test]
    fn more_are_answered_by_an_array_and_the_last_behind_it() {
        let reply = b"*2\r\n$1\r\na\r\n$-1\r\n$1\r\nb\r\n";
        assert_eq!(scan(reply, 3), Ok(vec![value("a"), None, value("b")]));
    }

    #[test]
    fn what_is_no_string_is_no_entry() {
        let error = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
        assert_eq!(scan(error, 1), Ok(vec![None]));
        let behind = [&b"*1\r\n$1\r\na\r\n"[..], error].concat();
        assert_eq!(scan(&behind, 2), Ok(vec![value("a"), None]));
    }

    #[test]
    fn a_replica_that_refuses_the_last_takes_back_the_others() {
        let refusal = "READONLY You can't write against a read only replica.";
        let reply = format!("*1\r\n$1\r\na\r\n-{refusal}\r\n");
        assert_eq!(scan(reply.as_bytes(), 2), Err(refusal.to_owned()));
        assert_eq!(scan(b"-LOADING x\r\n", 2), Err("LOADING x".to_owned()));
    }

    #[test]
    fn other_replies_are_errors() {
        for (reply, names) in [
            (&b"+OK\r\n"[..], 1),
            (b":1\r\n", 1),
            (b"*1\r\n$1\r\na\r\n", 1),
            (b"*3\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n", 3),
            (b"*1\r\n*1\r\n", 2),
            (b"*1\r\n-ERR x\r\n", 2),
            (b"$1\r\na\r\n", 2),
            (b"$x\r\n", 1),
            (b"$\r\n", 1),
            (b"$9999999999999999\r\n", 1),
            (b"$999999999999999\r\n", 1),
            (b"\r\n", 1),
        ] {
            let error = scan(reply, names).unwrap_err();
            assert!(error != "not whole", "{}", reply.escape_ascii());
        }
        let endless = [b'$'; LINE_MAX + 2];
        assert!(element(&endless, 0).is_err());
    }

    #[test]
    fn several_replies_in_one_buffer_are_taken_in_turn() {
        let mut buffer = BytesMut::from(&b"$1\r\na\r\n*1\r\n$1\r\nb\r\n$1\r\nc\r\n$1"[..]);
        let mut scanner = ReplyScanner::default();
        assert!(scanner.scan(&buffer, 1).unwrap());
        assert_eq!(scanner.take(&mut buffer).collect::<Vec<_>>(), [value("a")]);
        assert!(scanner.scan(&buffer, 2).unwrap());
        let found: Vec<_> = scanner.take(&mut buffer).collect();
        assert_eq!(found, [value("b"), value("c")]);
        assert!(!scanner.scan(&buffer, 1).unwrap());
        assert_eq!(buffer, &b"$1"[..]);
    }

    #[test]
    fn a_large_value_asks_for_room() {
        let scanner = ReplyScanner::default();
        assert_eq!(scanner.missing(b"$1000\r\nabc"), 990);
        assert_eq!(scanner.missing(b"$5\r\nabc"), 0);
        assert_eq!(scanner.missing(b"$10"), 0);
        assert_eq!(scanner.missing(b""), 0);
    }
}
