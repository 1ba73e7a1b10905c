//! A RESP client over a plain socket: it sends any bytes, and shows exactly what comes back.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::wait::DEADLINE;

/// Arguments of a command, from anything that is bytes.
macro_rules! args {
    ($($arg:expr),+ $(,)?) => { [$(AsRef::<[u8]>::as_ref(&$arg)),+] };
}
pub(crate) use args;

/// A reply. Its text form, which tests compare with, is the RESP line for the simple ones (`+OK`, `-ERR …`, `:1`, `_`,
/// `$-1`, `*-1`), quoted and escaped bytes for a bulk string, `[…]` for an array, `{k: v}` for a map, `~[…]` for a
/// set, `>[…]` for a push, `txt:"…"` for a verbatim string.
#[derive(Clone, PartialEq, Eq)]
pub enum Reply {
    /// `+`
    Simple(String),
    /// `-`
    Error(String),
    /// `:`
    Int(i64),
    /// `$`
    Bulk(Vec<u8>),
    /// `$-1`, `*-1` or `_`, as it came
    Null(&'static str),
    /// `*`
    Array(Vec<Reply>),
    /// `~`
    Set(Vec<Reply>),
    /// `>`
    Push(Vec<Reply>),
    /// `%`
    Map(Vec<(Reply, Reply)>),
    /// `=`
    Verbatim(String, Vec<u8>),
    /// `#`, `,` or `(`, as the line came
    Other(String),
}

impl Reply {
    /// The bytes of a bulk string, or None for a null.
    #[track_caller]
    pub fn value(self) -> Option<Vec<u8>> {
        match self {
            Reply::Bulk(bytes) => Some(bytes),
            Reply::Null(_) => None,
            other => panic!("a bulk string or a null was expected, not {other}"),
        }
    }

    /// The number of an integer reply.
    #[track_caller]
    pub fn int(&self) -> i64 {
        match self {
            Reply::Int(number) => *number,
            other => panic!("an integer was expected, not {other}"),
        }
    }

    /// The elements of an array.
    #[track_caller]
    pub fn array(self) -> Vec<Reply> {
        match self {
            Reply::Array(items) => items,
            other => panic!("an array was expected, not {other}"),
        }
    }

    /// The text of a bulk or verbatim string.
    #[track_caller]
    pub fn string(&self) -> String {
        match self {
            Reply::Bulk(bytes) | Reply::Verbatim(_, bytes) => {
                String::from_utf8_lossy(bytes).into_owned()
            }
            other => panic!("a string was expected, not {other}"),
        }
    }

    /// The text of an error.
    #[track_caller]
    pub fn error(&self) -> &str {
        match self {
            Reply::Error(text) => text,
            other => panic!("an error was expected, not {other}"),
        }
    }

    /// Whether it is an error.
    pub fn is_error(&self) -> bool {
        matches!(self, Reply::Error(_))
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, items: &[Reply]| {
            let items: Vec<String> = items.iter().map(Reply::to_string).collect();
            write!(f, "[{}]", items.join(", "))
        };
        match self {
            Reply::Simple(text) => write!(f, "+{text}"),
            Reply::Error(text) => write!(f, "-{text}"),
            Reply::Int(number) => write!(f, ":{number}"),
            Reply::Bulk(bytes) if bytes.len() > 4096 => {
                write!(
                    f,
                    "\"{}\"… {} bytes",
                    bytes[..64].escape_ascii(),
                    bytes.len()
                )
            }
            Reply::Bulk(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Reply::Null(form) => f.write_str(form),
            Reply::Array(items) => list(f, items),
            Reply::Set(items) => {
                f.write_str("~")?;
                list(f, items)
            }
            Reply::Push(items) => {
                f.write_str(">")?;
                list(f, items)
            }
            Reply::Map(pairs) => {
                let pairs: Vec<String> = pairs
                    .iter()
                    .map(|(key, value)| format!("{key}: {value}"))
                    .collect();
                write!(f, "{{{}}}", pairs.join(", "))
            }
            Reply::Verbatim(format, bytes) => write!(f, "{format}:\"{}\"", bytes.escape_ascii()),
            Reply::Other(line) => f.write_str(line),
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Compares with the text form.
impl PartialEq<&str> for Reply {
    fn eq(&self, other: &&str) -> bool {
        let text = self.to_string();
        text == *other
    }
}

/// A command as an array of bulk strings.
pub fn encode(args: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// One connection.
pub struct Conn {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
}

/// Why no reply came.
#[derive(Debug)]
pub enum NoReply {
    /// The peer closed, or reset, the connection.
    Closed,
    /// Nothing within the time limit.
    TimedOut,
}

impl Conn {
    /// Connects, or panics.
    #[track_caller]
    pub fn open(addr: &str) -> Conn {
        Conn::try_open(addr).unwrap_or_else(|| panic!("{addr} accepts no connection"))
    }

    /// Connects if something listens.
    pub fn try_open(addr: &str) -> Option<Conn> {
        let stream = TcpStream::connect(addr).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        stream.set_write_timeout(Some(DEADLINE)).ok()?;
        Some(Conn {
            stream,
            buffer: Vec::new(),
            start: 0,
        })
    }

    /// Limits how long a reply may take, instead of the general deadline.
    pub fn set_limit(&self, limit: Duration) {
        self.stream
            .set_read_timeout(Some(limit))
            .expect("a socket takes a timeout");
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the connection takes bytes");
    }

    /// Sends bytes, unless the connection is gone.
    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Says that nothing more will be sent, while replies are still read.
    pub fn finish_sending(&self) {
        self.stream
            .shutdown(Shutdown::Write)
            .expect("the socket is connected");
    }

    /// A second handle on the same socket, to send from another thread.
    pub fn sender(&self) -> TcpStream {
        self.stream.try_clone().expect("a socket can be cloned")
    }

    /// Sends a command and reads its reply.
    #[track_caller]
    pub fn cmd(&mut self, args: &[&[u8]]) -> Reply {
        self.send(&encode(args));
        self.read()
    }

    /// Sends a command written as words, and reads its reply.
    #[track_caller]
    pub fn run(&mut self, line: &str) -> Reply {
        let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
        self.cmd(&words)
    }

    /// AUTH, which must succeed.
    #[track_caller]
    pub fn auth(&mut self, user: &str, password: &str) {
        let reply = self.cmd(&args!["AUTH", user, password]);
        assert_eq!(reply, "+OK");
    }

    /// SET, which must succeed.
    #[track_caller]
    pub fn set(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let reply = self.cmd(&args!["SET", key, value]);
        assert_eq!(reply, "+OK");
    }

    /// GET, which must succeed.
    #[track_caller]
    pub fn get(&mut self, key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        self.cmd(&args!["GET", key]).value()
    }

    /// Fails unless the key's time left is at most `seconds`, and at least that less what a slow machine takes.
    #[track_caller]
    pub fn assert_ttl(&mut self, key: &str, seconds: i64) {
        let ttl = self.cmd(&args!["TTL", key]).int();
        assert!(
            (seconds - 100..=seconds).contains(&ttl),
            "TTL {key} is {ttl}, not about {seconds}"
        );
        let pttl = self.cmd(&args!["PTTL", key]).int();
        let range = (seconds - 100) * 1000..=seconds * 1000;
        assert!(
            range.contains(&pttl),
            "PTTL {key} is {pttl}, not about {seconds} s"
        );
    }

    /// A section of INFO.
    #[track_caller]
    pub fn info(&mut self, section: &str) -> String {
        self.cmd(&args!["INFO", section]).string()
    }

    /// Reads one reply, or panics.
    #[track_caller]
    pub fn read(&mut self) -> Reply {
        match self.try_read() {
            Ok(reply) => reply,
            Err(NoReply::Closed) => panic!("the connection was closed instead of a reply"),
            Err(NoReply::TimedOut) => panic!("no reply within the time limit"),
        }
    }

    /// Reads one reply, if there is one.
    pub fn try_read(&mut self) -> Result<Reply, NoReply> {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        }
        self.parse()
    }

    fn parse(&mut self) -> Result<Reply, NoReply> {
        let line = self.line()?;
        let text = String::from_utf8_lossy(&line[1..]).into_owned();
        let count = || {
            text.parse::<i64>()
                .unwrap_or_else(|_| panic!("not a count: {}", line.escape_ascii()))
        };
        Ok(match line[0] {
            b'+' => Reply::Simple(text),
            b'-' => Reply::Error(text),
            b':' => Reply::Int(count()),
            b'_' => Reply::Null("_"),
            b'$' => match count() {
                -1 => Reply::Null("$-1"),
                length => Reply::Bulk(self.bytes(length)?),
            },
            b'=' => {
                let bytes = self.bytes(count())?;
                Reply::Verbatim(
                    String::from_utf8_lossy(&bytes[..3]).into_owned(),
                    bytes[4..].to_vec(),
                )
            }
            b'*' => match count() {
                -1 => Reply::Null("*-1"),
                length => Reply::Array(self.items(length)?),
            },
            b'~' => Reply::Set(self.items(count())?),
            b'>' => Reply::Push(self.items(count())?),
            b'%' => {
                let items = self.items(count() * 2)?;
                Reply::Map(
                    items
                        .chunks(2)
                        .map(|pair| (pair[0].clone(), pair[1].clone()))
                        .collect(),
                )
            }
            b'#' | b',' | b'(' => Reply::Other(String::from_utf8_lossy(&line).into_owned()),
            _ => panic!("not the start of a reply: {}", line.escape_ascii()),
        })
    }

    fn items(&mut self, count: i64) -> Result<Vec<Reply>, NoReply> {
        (0..count).map(|_| self.parse()).collect()
    }

    /// A line without its end.
    fn line(&mut self) -> Result<Vec<u8>, NoReply> {
        let mut searched = self.start;
        loop {
            if let Some(at) = self.buffer[searched..]
                .windows(2)
                .position(|pair| pair == b"\r\n")
            {
                let end = searched + at;
                let line = self.buffer[self.start..end].to_vec();
                self.start = end + 2;
                assert!(!line.is_empty(), "an empty line where a reply should be");
                return Ok(line);
            }
            searched = self.buffer.len().saturating_sub(1).max(self.start);
            self.fill()?;
        }
    }

    /// Bytes of a known length, and the line end after them.
    fn bytes(&mut self, length: i64) -> Result<Vec<u8>, NoReply> {
        let length = usize::try_from(length).expect("a length is not negative");
        while self.buffer.len() - self.start < length + 2 {
            self.fill()?;
        }
        let bytes = self.buffer[self.start..self.start + length].to_vec();
        assert_eq!(
            &self.buffer[self.start + length..self.start + length + 2],
            b"\r\n",
            "the end of a bulk string"
        );
        self.start += length + 2;
        Ok(bytes)
    }

    fn fill(&mut self) -> Result<(), NoReply> {
        let mut chunk = [0; 65536];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(NoReply::Closed),
            Ok(count) => {
                self.buffer.extend_from_slice(&chunk[..count]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(NoReply::TimedOut),
            Err(_) => Err(NoReply::Closed),
        }
    }

    /// Waits for the peer to close, and returns what it still sent.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<u8> {
        loop {
            match self.fill() {
                Ok(()) => {}
                Err(NoReply::Closed) => return self.buffer.split_off(self.start),
                Err(NoReply::TimedOut) => {
                    panic!("the connection was not closed within the time limit")
                }
            }
        }
    }

    /// Fails unless the peer closes without sending anything more.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        let rest = self.read_to_end();
        assert!(
            rest.is_empty(),
            "nothing more was expected, but: {}",
            rest.escape_ascii()
        );
    }
}
