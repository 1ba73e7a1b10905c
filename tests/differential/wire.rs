//! A connection that shows replies as the bytes they are.

use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;

use crate::harness::DEADLINE;

/// One reply, byte for byte.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame(Vec<u8>);

impl Frame {
    /// A reply that a test makes up.
    #[cfg(test)]
    pub fn of(bytes: &str) -> Frame {
        assert_eq!(
            frame_end(bytes.as_bytes(), 0),
            Some(bytes.len()),
            "one reply"
        );
        Frame(bytes.into())
    }

    /// An error's whole line, without the `-`.
    pub fn error(&self) -> Option<&[u8]> {
        self.line(b'-')
    }

    /// Whether it is this simple string.
    pub fn is_status(&self, text: &str) -> bool {
        self.line(b'+') == Some(text.as_bytes())
    }

    /// Whether it is a null, in whichever form.
    pub fn is_null(&self) -> bool {
        matches!(&self.0[..], b"_\r\n" | b"$-1\r\n" | b"*-1\r\n")
    }

    /// The number, if it is one.
    pub fn integer(&self) -> Option<i64> {
        std::str::from_utf8(self.line(b':')?).ok()?.parse().ok()
    }

    /// The bytes of a bulk string.
    pub fn bulk(&self) -> Option<&[u8]> {
        let header = line_end(&self.0, 0)?;
        let is_bulk = self.0.starts_with(b"$") && !self.is_null();
        is_bulk.then(|| &self.0[header..self.0.len() - 2])
    }

    /// The elements of an array.
    pub fn items(&self) -> Option<Vec<Frame>> {
        if !self.0.starts_with(b"*") || self.is_null() {
            return None;
        }
        let mut at = line_end(&self.0, 0)?;
        let mut items = Vec::new();
        while at < self.0.len() {
            let end = frame_end(&self.0, at)?;
            items.push(Frame(self.0[at..end].to_vec()));
            at = end;
        }
        Some(items)
    }

    fn line(&self, kind: u8) -> Option<&[u8]> {
        let (first, rest) = self.0.split_first()?;
        (*first == kind).then(|| &rest[..rest.len() - 2])
    }
}

/// Shown are so many bytes of a reply.
const SHOWN_MAX: usize = 600;

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get(..SHOWN_MAX) {
            Some(start) => write!(f, "{}… {} bytes", start.escape_ascii(), self.0.len()),
            None => write!(f, "{}", self.0.escape_ascii()),
        }
    }
}

/// The place behind the line that begins at `at`, if it is complete.
fn line_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    Some(at + rest.windows(2).position(|pair| pair == b"\r\n")? + 2)
}

/// The place behind the frame that begins at `at`, if it is complete.
fn frame_end(bytes: &[u8], at: usize) -> Option<usize> {
    let end = line_end(bytes, at)?;
    let count = || {
        let text = std::str::from_utf8(&bytes[at + 1..end - 2]).unwrap_or_default();
        text.parse::<i64>()
            .unwrap_or_else(|_| panic!("a length: {}", bytes[at..end].escape_ascii()))
    };
    let items = match bytes[at] {
        b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => 0,
        b'$' | b'=' | b'!' => match usize::try_from(count()) {
            Ok(length) => return Some(end + length + 2).filter(|end| *end <= bytes.len()),
            Err(_) => 0,
        },
        b'*' | b'~' | b'>' => count(),
        b'%' => count() * 2,
        _ => panic!("the start of a reply: {}", bytes[at..end].escape_ascii()),
    };
    (0..items).try_fold(end, |at, _| frame_end(bytes, at))
}

/// A connection to one of the servers.
pub struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    start: usize,
}

impl Client {
    /// Connects, or panics.
    pub fn open(addr: &str) -> Client {
        let stream = TcpStream::connect(addr).expect("the server accepts connections");
        stream.set_nodelay(true).expect("a TCP socket");
        stream
            .set_read_timeout(Some(DEADLINE))
            .expect("a TCP socket");
        Client {
            stream,
            received: Vec::new(),
            start: 0,
        }
    }

    /// Sends requests. A connection that is gone shows when replies are read.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).ok();
    }

    /// The next reply, or why there is none.
    pub fn read(&mut self) -> Result<Frame, String> {
        loop {
            if self.start < self.received.len()
                && let Some(end) = frame_end(&self.received, self.start)
            {
                let frame = Frame(self.received[self.start..end].to_vec());
                self.start = end;
                return Ok(frame);
            }
            self.received.drain(..self.start);
            self.start = 0;
            let mut chunk = [0; 65536];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err("the connection was closed".to_owned()),
                Ok(count) => self.received.extend_from_slice(&chunk[..count]),
                Err(error) => return Err(format!("no reply: {error}")),
            }
        }
    }

    /// Sends one command and reads its reply.
    pub fn call(&mut self, words: &[&[u8]]) -> Result<Frame, String> {
        self.send(&crate::harness::encode(words));
        self.read()
    }
}
