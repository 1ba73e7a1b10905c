//! From the read buffer to requests: a resumable scanner of `*N $…` frames and inline lines.
//!
//! Each byte is looked at once, also when a frame arrives in many pieces. Memory is bounded by
//! what has arrived, never by what a header announces. Arguments are slices of the read buffer.
//!
//! The scanner is stricter than a general RESP parser on purpose: a request is a flat array of
//! bulk strings, so nesting can't exhaust the stack; counts and lengths are plain decimal numbers;
//! a bulk string ends in CRLF.
//!
//! Two classes of failure: what can't be parsed is a [`ProtocolError`], after which nothing in the
//! buffer can be trusted and the connection is closed; a request that is only too large is skipped
//! as it arrives and reported as [`Scanned::TooLarge`], and the connection goes on.

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};
use smallvec::SmallVec;

use super::inline;

/// The words of a request, the command's name first.
pub type Args = SmallVec<[Bytes; 4]>;

/// Longest inline command, and longest header line, in bytes (`PROTO_INLINE_MAX_SIZE` of Redis).
const LINE_MAX: usize = 64 * 1024;

/// Most arguments of one request.
const ARGS_MAX: i64 = 1024 * 1024;

/// Longest bulk string that is skipped politely; a longer one is a protocol error
/// (`proto-max-bulk-len` of Redis).
const BULK_MAX: i64 = 512 * 1024 * 1024;

/// Most arguments, and the longest of them in bytes, of who has not said who it is, as in Redis.
const UNKNOWN_ARGS_MAX: i64 = 10;
const UNKNOWN_BULK_MAX: i64 = 16 * 1024;

/// Bounds on a single request.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest argument that is received, in bytes.
    pub argument_max: usize,
    /// All arguments of a request together, in bytes.
    pub request_max: usize,
}

/// A broken frame; the text is what Redis says, without the `ERR Protocol error: ` before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ERR Protocol error: {0}")]
pub struct ProtocolError(pub String);

/// What the scanner found.
#[derive(Debug, PartialEq, Eq)]
pub enum Scanned {
    /// A whole request, with at least one argument.
    Request(Args),
    /// A whole request was skipped because of its size; the text is the error to answer.
    TooLarge(String),
}

/// The state between two reads.
#[derive(Debug)]
pub struct Scanner {
    limits: Limits,
    /// How much of the buffer the current frame has used so far.
    at: usize,
    /// Arguments of the current frame that are still to come; 0 between frames.
    missing: usize,
    /// The announced length of the argument whose header was read last.
    bulk: Option<usize>,
    /// Where the arguments read so far are in the buffer.
    args: SmallVec<[Range<usize>; 4]>,
    /// Bytes of arguments in the current frame so far.
    size: usize,
    /// Set once the current frame is too large: its bytes are dropped as they come.
    too_large: Option<String>,
    /// Whether the client has not said who it is.
    is_unknown: bool,
}

impl Scanner {
    /// A scanner at the start of a connection.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            at: 0,
            missing: 0,
            bulk: None,
            args: SmallVec::new(),
            size: 0,
            too_large: None,
            is_unknown: false,
        }
    }

    /// Takes only small requests from now on, as from a client that has not said who it is; or all again.
    pub fn restrict(&mut self, is_unknown: bool) {
        self.is_unknown = is_unknown;
    }

    /// How many more bytes the argument being received needs at least; a hint for the buffer.
    pub fn wants(&self) -> usize {
        self.bulk.unwrap_or(0)
    }

    /// Takes the next request out of `buffer`; `None` if more bytes are needed.
    ///
    /// # Errors
    ///
    /// What is in the buffer is not a request. The connection can't go on.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Scanned>, ProtocolError> {
        loop {
            if self.missing == 0 {
                match buffer.first() {
                    None => return Ok(None),
                    Some(b'*') => match self.array_header(buffer)? {
                        None => return Ok(None),
                        // An empty array is no request and has no answer.
                        Some(0) => buffer.advance(std::mem::take(&mut self.at)),
                        Some(count) => self.missing = count,
                    },
                    Some(_) => match inline_request(buffer)? {
                        None => return Ok(None),
                        Some(args) if args.is_empty() => {}
                        Some(args) => return Ok(Some(Scanned::Request(args))),
                    },
                }
                continue;
            }
            if !self.arguments(buffer)? {
                return Ok(None);
            }
            return Ok(Some(self.finish(buffer)));
        }
    }

    fn array_header(&mut self, buffer: &BytesMut) -> Result<Option<usize>, ProtocolError> {
        let Some(line) = self.line(buffer, "too big mbulk count string")? else {
            return Ok(None);
        };
        match decimal(&buffer[1..line.end]) {
            Some(count) if count > UNKNOWN_ARGS_MAX && self.is_unknown => {
                Err(ProtocolError("unauthenticated multibulk length".into()))
            }
            Some(count) if count <= ARGS_MAX => {
                self.at = line.end + 2;
                Ok(Some(count.max(0) as usize))
            }
            _ => Err(ProtocolError("invalid multibulk length".into())),
        }
    }

    /// Reads arguments until the frame is whole. False if more bytes are needed.
    fn arguments(&mut self, buffer: &mut BytesMut) -> Result<bool, ProtocolError> {
        while self.missing > 0 {
            if self.bulk.is_none() && !self.bulk_header(buffer)? {
                return Ok(false);
            }
            let Some(length) = self.bulk else {
                return Ok(false);
            };
            if self.too_large.is_some() {
                if !self.skip(buffer, length)? {
                    return Ok(false);
                }
            } else {
                let end = self.at + length;
                if buffer.len() < end + 2 {
                    return Ok(false);
                }
                check_terminator(&buffer[end..end + 2])?;
                self.args.push(self.at..end);
                self.at = end + 2;
            }
            self.bulk = None;
            self.missing -= 1;
        }
        Ok(true)
    }

    /// Reads `$<length>\r\n`. False if more bytes are needed.
    fn bulk_header(&mut self, buffer: &mut BytesMut) -> Result<bool, ProtocolError> {
        let Some(line) = self.line(buffer, "too big bulk count string")? else {
            return Ok(false);
        };
        let first = buffer[self.at];
        if first != b'$' {
            return Err(ProtocolError(format!(
                "expected '$', got '{}'",
                char::from(first)
            )));
        }
        let length = decimal(&buffer[self.at + 1..line.end])
            .filter(|length| (0..=BULK_MAX).contains(length))
            .ok_or_else(|| ProtocolError("invalid bulk length".into()))?;
        if length > UNKNOWN_BULK_MAX && self.is_unknown {
            return Err(ProtocolError("unauthenticated bulk length".into()));
        }
        let length = length as usize;
        self.at = line.end + 2;
        self.bulk = Some(length);
        self.size = self.size.saturating_add(length);
        if self.too_large.is_none() {
            self.too_large = self.complaint(length);
        }
        if self.too_large.is_some() {
            // What is scanned is not needed any more: the answer is an error whatever follows.
            buffer.advance(std::mem::take(&mut self.at));
            self.args = SmallVec::new();
        }
        Ok(true)
    }

    fn complaint(&self, length: usize) -> Option<String> {
        let Limits {
            argument_max,
            request_max,
        } = self.limits;
        if length > argument_max {
            Some(format!(
                "ERR an argument of {length} bytes is over the limit of {argument_max} bytes (MAX_VALUE_SIZE); it was skipped"
            ))
        } else if self.size > request_max {
            Some(format!(
                "ERR the request as a whole is over the limit of {request_max} bytes (MAX_REQUEST_SIZE); it was skipped, send it in parts"
            ))
        } else {
            None
        }
    }

    /// Drops what is there of an argument of a frame that is too large. False if more is to come.
    fn skip(&mut self, buffer: &mut BytesMut, length: usize) -> Result<bool, ProtocolError> {
        let dropped = length.min(buffer.len());
        buffer.advance(dropped);
        self.bulk = Some(length - dropped);
        if dropped < length || buffer.len() < 2 {
            return Ok(false);
        }
        check_terminator(&buffer[..2])?;
        buffer.advance(2);
        Ok(true)
    }

    fn finish(&mut self, buffer: &mut BytesMut) -> Scanned {
        self.size = 0;
        if let Some(complaint) = self.too_large.take() {
            self.at = 0;
            return Scanned::TooLarge(complaint);
        }
        let frame = buffer.split_to(std::mem::take(&mut self.at)).freeze();
        let args = std::mem::take(&mut self.args);
        Scanned::Request(args.into_iter().map(|arg| frame.slice(arg)).collect())
    }

    /// The range from `self.at` to before the CRLF. `None` if the line is not whole yet.
    fn line(
        &self,
        buffer: &BytesMut,
        too_big: &'static str,
    ) -> Result<Option<Range<usize>>, ProtocolError> {
        let rest = &buffer[self.at..];
        // A header has at most 22 bytes; a longer search would look at bytes again and again.
        let window = &rest[..rest.len().min(LINE_MAX)];
        match memchr::memchr(b'\r', window) {
            Some(found) => match rest.get(found + 1) {
                None => Ok(None),
                Some(b'\n') => Ok(Some(self.at..self.at + found)),
                Some(_) => Err(ProtocolError("a header line must end in CRLF".into())),
            },
            None if window.len() == LINE_MAX => Err(ProtocolError(too_big.into())),
            None => Ok(None),
        }
    }
}

fn check_terminator(bytes: &[u8]) -> Result<(), ProtocolError> {
    if bytes == b"\r\n" {
        Ok(())
    } else {
        Err(ProtocolError("a bulk string must end in CRLF".into()))
    }
}

fn inline_request(buffer: &mut BytesMut) -> Result<Option<Args>, ProtocolError> {
    let window = &buffer[..buffer.len().min(LINE_MAX)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        return if window.len() == LINE_MAX {
            Err(ProtocolError("too big inline request".into()))
        } else {
            Ok(None)
        };
    };
    let line = buffer.split_to(end + 1);
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    inline::split(line)
        .map(Some)
        .ok_or_else(|| ProtocolError("unbalanced quotes in request".into()))
}

/// Redis' `string2ll`: an optional minus, no plus, no leading zero, no white space.
fn decimal(digits: &[u8]) -> Option<i64> {
    let magnitude = digits.strip_prefix(b"-").unwrap_or(digits);
    let is_canonical = digits == b"0" || matches!(magnitude, [b'1'..=b'9', ..]);
    if !is_canonical {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        argument_max: 10,
        request_max: 25,
    };

    /// Feeds `input` in pieces of `step` bytes and collects what comes out.
    fn scan(input: &[u8], step: usize) -> Result<Vec<Scanned>, ProtocolError> {
        let mut scanner = Scanner::new(LIMITS);
        let mut buffer = BytesMut::new();
        let mut found = Vec::new();
        for piece in input.chunks(step) {
            buffer.extend_from_slice(piece);
            while let Some(scanned) = scanner.next(&mut buffer)? {
                found.push(scanned);
            }
        }
        Ok(found)
    }

    fn request(words: &[&str]) -> Scanned {
        Scanned::Request(
            words
                .iter()
                .map(|word| Bytes::copy_from_slice(word.as_bytes()))
                .collect(),
        )
    }

    #[test]
    fn requests_are_the_same_in_one_piece_and_byte_by_byte() {
        let input = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\nping\r\n*0\r\n*-1\r\n\r\n*1\r\n$0\r\n\r\n";
        let expected = vec![request(&["GET", "k"]), request(&["ping"]), request(&[""])];
        for step in [1, 2, 3, 7, input.len()] {
            assert_eq!(scan(input, step).unwrap(), expected, "in pieces of {step}");
        }
    }

    #[test]
    fn an_argument_over_the_limit_is_skipped_and_the_next_request_is_served() {
        let input = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$11\r\n01234567890\r\nPING\r\n";
        for step in [1, 5, input.len()] {
            let found = scan(input, step).unwrap();
            assert!(matches!(&found[0], Scanned::TooLarge(text) if text.contains("11 bytes")));
            assert_eq!(found[1], request(&["PING"]));
        }
    }

    #[test]
    fn nothing_is_kept_of_a_request_that_was_too_large() {
        let mut scanner = Scanner::new(LIMITS);
        let mut buffer = BytesMut::from(&b"*1001\r\n"[..]);
        buffer.extend_from_slice(&b"$0\r\n\r\n".repeat(1000));
        assert_eq!(scanner.next(&mut buffer), Ok(None));
        buffer.extend_from_slice(b"$11\r\n01234567890\r\n");
        let found = scanner.next(&mut buffer).unwrap();
        assert!(matches!(found, Some(Scanned::TooLarge(_))), "{found:?}");
        assert!(!scanner.args.spilled());
    }

    #[test]
    fn a_request_over_the_limit_as_a_whole_is_skipped_too() {
        let input = b"*3\r\n$9\r\n123456789\r\n$9\r\n123456789\r\n$9\r\n123456789\r\nPING\r\n";
        for step in [1, 5, input.len()] {
            let found = scan(input, step).unwrap();
            assert!(matches!(&found[0], Scanned::TooLarge(text) if text.contains("25 bytes")));
            assert_eq!(found[1], request(&["PING"]));
        }
    }

    #[test]
    fn broken_frames_are_told_apart() {
        for (input, expected) in [
            (&b"*x\r\n"[..], "invalid multibulk length"),
            (b"*+1\r\n", "invalid multibulk length"),
            (b"*99999999\r\n", "invalid multibulk length"),
            (b"*1\r\n+OK\r\n", "expected '$', got '+'"),
            (b"*1\r\n*1\r\n", "expected '$', got '*'"),
            (b"*1\r\n$-1\r\n", "invalid bulk length"),
            (b"*1\r\n$03\r\n", "invalid bulk length"),
            (b"*1\r\n$999999999\r\n", "invalid bulk length"),
            (b"*1\r\n$4\r\nPINGxx", "a bulk string must end in CRLF"),
            (b"get \"a\r\n", "unbalanced quotes in request"),
        ] {
            for step in [1, input.len()] {
                let error = scan(input, step).unwrap_err();
                assert_eq!(error.0, expected, "{}", input.escape_ascii());
            }
        }
    }

    #[test]
    fn who_is_not_known_may_send_little() {
        let argument = vec![b'x'; UNKNOWN_BULK_MAX as usize + 1];
        let large = [b"*1\r\n$16385\r\n".as_slice(), &argument, b"\r\n"].concat();
        let limits = Limits {
            argument_max: 100_000,
            request_max: 100_000,
        };
        let next = |input: &[u8], is_unknown| {
            let mut scanner = Scanner::new(limits);
            scanner.restrict(is_unknown);
            scanner.next(&mut BytesMut::from(input)).map(drop)
        };
        let error = |text: &str| Err(ProtocolError(text.to_owned()));
        assert_eq!(next(&large, false), Ok(()));
        assert_eq!(next(&large, true), error("unauthenticated bulk length"));
        assert_eq!(next(b"*1\r\n$16384\r\n", true), Ok(()));
        assert_eq!(next(b"*10\r\n", true), Ok(()));
        assert_eq!(
            next(b"*11\r\n", true),
            error("unauthenticated multibulk length")
        );
        assert_eq!(next(b"*11\r\n", false), Ok(()));
    }

    #[test]
    fn an_endless_line_is_refused_at_64_kilobytes() {
        let line = vec![b'a'; LINE_MAX];
        assert_eq!(scan(&line, 4096).unwrap_err().0, "too big inline request");
        let mut header = vec![b'1'; LINE_MAX];
        header[0] = b'*';
        assert_eq!(
            scan(&header, 4096).unwrap_err().0,
            "too big mbulk count string"
        );
    }
}
