//! As much of RESP as GET and SET need.

use std::io::Write;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::Result;
use crate::arguments::Operation;

pub(crate) enum Reply {
    /// `+OK` and the like.
    Simple,
    /// A value, whatever it is.
    Found,
    /// No value.
    Absent,
    /// An error that says that more came than can be done.
    Busy,
}

pub(crate) async fn connect(address: &str) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| format!("can't connect to {address}: {error}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The names are those of redis-benchmark.
pub(crate) fn put_command(out: &mut Vec<u8>, operation: Operation, key: u64, value: &[u8]) {
    // Writing into a Vec does not fail.
    let _ = match operation {
        Operation::Get => write!(out, "*2\r\n$3\r\nGET\r\n$16\r\nkey:{key:012}\r\n"),
        Operation::Set => write!(
            out,
            "*3\r\n$3\r\nSET\r\n$16\r\nkey:{key:012}\r\n${}\r\n",
            value.len()
        ),
    };
    if operation == Operation::Set {
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
}

/// Bytes of a value, not compressible: a database that packs values must not gain by them.
pub(crate) fn value(bytes: usize) -> Vec<u8> {
    std::iter::repeat_with(|| fastrand::alphanumeric() as u8)
        .take(bytes)
        .collect()
}

/// What a server sends, cut into replies.
pub(crate) struct Replies {
    buffer: Vec<u8>,
    /// What before this was taken out.
    start: usize,
}

impl Replies {
    pub(crate) fn new() -> Self {
        Self {
            buffer: Vec::with_capacity(16 << 10),
            start: 0,
        }
    }

    /// Waits for more bytes.
    pub(crate) async fn receive(&mut self, stream: &mut TcpStream) -> Result<()> {
        self.buffer.drain(..self.start);
        self.start = 0;
        if stream.read_buf(&mut self.buffer).await? == 0 {
            return Err("the server closed a connection".into());
        }
        Ok(())
    }

    /// None: the next one is not complete.
    pub(crate) fn next(&mut self) -> Result<Option<Reply>> {
        let bytes = &self.buffer[self.start..];
        let Some(line) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&bytes[1..line]);
        let (reply, length) = match bytes[0] {
            b'+' => (Reply::Simple, line + 2),
            b'$' if text == "-1" => (Reply::Absent, line + 2),
            b'$' => {
                let value: usize = text
                    .parse()
                    .map_err(|_| format!("a reply of length '{text}'"))?;
                (Reply::Found, line + 2 + value + 2)
            }
            b'-' if text.starts_with("BUSY ") => (Reply::Busy, line + 2),
            b'-' => return Err(format!("an error reply: {text}").into()),
            kind => {
                return Err(format!("a reply of an unknown kind: {}{text}", kind as char).into());
            }
        };
        if bytes.len() < length {
            return Ok(None);
        }
        self.start += length;
        Ok(Some(reply))
    }
}
