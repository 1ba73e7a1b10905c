//! Replies, and their bytes in both versions of the protocol.

use bytes::{BufMut, Bytes, BytesMut};
use redis_protocol::{resp2, resp3};

/// The version of the protocol that a client has chosen with HELLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// What every client speaks before HELLO.
    #[default]
    Resp2,
    /// Typed nulls, maps and verbatim strings.
    Resp3,
}

impl Version {
    /// 2 or 3, as HELLO answers it.
    pub const fn number(self) -> i64 {
        match self {
            Version::Resp2 => 2,
            Version::Resp3 => 3,
        }
    }
}

/// One reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A simple string: `OK`, `PONG`.
    Status(&'static str),
    /// An error: its code, a space, and the text. Line breaks are sent as spaces.
    Error(String),
    /// A number.
    Integer(i64),
    /// A string of any bytes.
    Bulk(Bytes),
    /// A key or a value that is not there.
    Null,
    /// A list that is not there: EXEC that was not done.
    NullArray,
    /// A list.
    Array(Vec<Reply>),
    /// Pairs; a flat list in RESP2.
    Map(Vec<(Reply, Reply)>),
    /// A set without order; a list in RESP2.
    Set(Vec<Reply>),
    /// What nobody asked for: a message of a channel. A list in RESP2.
    Push(Vec<Reply>),
    /// Text made to be read by people; a plain string in RESP2.
    Verbatim(String),
}

impl Reply {
    /// `+OK`.
    pub const OK: Reply = Reply::Status("OK");

    /// A string from text.
    pub fn text(text: impl Into<String>) -> Reply {
        Reply::Bulk(Bytes::from(text.into()))
    }

    /// A string, or null.
    pub fn bulk_or_null(value: Option<Bytes>) -> Reply {
        value.map_or(Reply::Null, Reply::Bulk)
    }

    /// Appends what comes before the items of a list, and returns those; appends any other reply as a
    /// whole. So a large reply can leave in parts.
    pub fn encode_head(&self, version: Version, out: &mut BytesMut) -> &[Reply] {
        let (kind, items) = match (self, version) {
            (Reply::Array(items), _) => (b'*', items),
            (Reply::Set(items) | Reply::Push(items), Version::Resp2) => (b'*', items),
            (Reply::Set(items), Version::Resp3) => (b'~', items),
            (Reply::Push(items), Version::Resp3) => (b'>', items),
            _ => {
                self.encode(version, out);
                return &[];
            }
        };
        header(kind, items.len() as i64, out);
        items
    }

    /// Appends the bytes of this reply to `out`.
    pub fn encode(&self, version: Version, out: &mut BytesMut) {
        match (self, version) {
            (Reply::Array(_) | Reply::Set(_) | Reply::Push(_), _) => {
                for item in self.encode_head(version, out) {
                    item.encode(version, out);
                }
            }
            (Reply::NullArray, Version::Resp2) => out.put_slice(b"*-1\r\n"),
            (Reply::Map(pairs), _) => map(pairs, version, out),
            // redis-protocol writes integers of 15 to 18 nines with a NUL at the end.
            (Reply::Integer(value), _) => header(b':', *value, out),
            (scalar, Version::Resp2) => scalar_resp2(scalar, out),
            (scalar, Version::Resp3) => scalar_resp3(scalar, out),
        }
    }
}

fn header(kind: u8, value: i64, out: &mut BytesMut) {
    out.put_u8(kind);
    out.put_slice(itoa::Buffer::new().format(value).as_bytes());
    out.put_slice(b"\r\n");
}

fn map(pairs: &[(Reply, Reply)], version: Version, out: &mut BytesMut) {
    match version {
        Version::Resp2 => header(b'*', 2 * pairs.len() as i64, out),
        Version::Resp3 => header(b'%', pairs.len() as i64, out),
    }
    for (key, value) in pairs {
        key.encode(version, out);
        value.encode(version, out);
    }
}

/// An error is one line: a break in it would end the reply early and desynchronise the client. As in
/// Redis, breaks at its end go, and others become spaces.
fn one_line(text: &str) -> std::borrow::Cow<'_, str> {
    let text = text.trim_end_matches(['\r', '\n']);
    if text.contains(['\r', '\n']) {
        text.replace(['\r', '\n'], " ").into()
    } else {
        text.into()
    }
}

fn scalar_resp2(reply: &Reply, out: &mut BytesMut) {
    use resp2::types::BorrowedFrame;
    let error;
    let frame = match reply {
        Reply::Status(text) => BorrowedFrame::SimpleString(text.as_bytes()),
        Reply::Error(text) => {
            error = one_line(text);
            BorrowedFrame::Error(&error)
        }
        Reply::Bulk(bytes) => BorrowedFrame::BulkString(bytes),
        Reply::Verbatim(text) => BorrowedFrame::BulkString(text.as_bytes()),
        _ => BorrowedFrame::Null,
    };
    let written = resp2::encode::extend_encode_borrowed(out, &frame, false);
    debug_assert!(written.is_ok(), "the buffer grows with the frame");
}

fn scalar_resp3(reply: &Reply, out: &mut BytesMut) {
    use resp3::types::{BorrowedFrame, VerbatimStringFormat};
    let attributes = None;
    let error;
    let frame = match reply {
        Reply::Status(text) => BorrowedFrame::SimpleString {
            data: text.as_bytes(),
            attributes,
        },
        Reply::Error(text) => {
            error = one_line(text);
            BorrowedFrame::SimpleError {
                data: &error,
                attributes,
            }
        }
        Reply::Bulk(bytes) => BorrowedFrame::BlobString {
            data: bytes,
            attributes,
        },
        Reply::Verbatim(text) => BorrowedFrame::VerbatimString {
            data: text.as_bytes(),
            format: VerbatimStringFormat::Text,
            attributes,
        },
        _ => BorrowedFrame::Null,
    };
    let written = resp3::encode::complete::extend_encode_borrowed(out, &frame, false);
    debug_assert!(written.is_ok(), "the buffer grows with the frame");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(reply: &Reply, version: Version) -> String {
        let mut out = BytesMut::new();
        reply.encode(version, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn each_kind_has_its_bytes_in_both_versions() {
        for (reply, resp2, resp3) in [
            (Reply::OK, "+OK\r\n", "+OK\r\n"),
            (
                Reply::Error("ERR a\r\nb".into()),
                "-ERR a  b\r\n",
                "-ERR a  b\r\n",
            ),
            (Reply::NullArray, "*-1\r\n", "_\r\n"),
            (Reply::Null, "$-1\r\n", "_\r\n"),
            (Reply::text("ab"), "$2\r\nab\r\n", "$2\r\nab\r\n"),
            (Reply::text(""), "$0\r\n\r\n", "$0\r\n\r\n"),
            (
                Reply::Verbatim("ab".into()),
                "$2\r\nab\r\n",
                "=6\r\ntxt:ab\r\n",
            ),
            (
                Reply::Array(vec![Reply::Integer(1), Reply::Null]),
                "*2\r\n:1\r\n$-1\r\n",
                "*2\r\n:1\r\n_\r\n",
            ),
            (
                Reply::Map(vec![(Reply::text("a"), Reply::Integer(-1))]),
                "*2\r\n$1\r\na\r\n:-1\r\n",
                "%1\r\n$1\r\na\r\n:-1\r\n",
            ),
            (Reply::Set(vec![]), "*0\r\n", "~0\r\n"),
            (
                Reply::Push(vec![Reply::Null]),
                "*1\r\n$-1\r\n",
                ">1\r\n_\r\n",
            ),
        ] {
            assert_eq!(bytes(&reply, Version::Resp2), resp2);
            assert_eq!(bytes(&reply, Version::Resp3), resp3);
        }
    }

    #[test]
    fn every_integer_is_written_in_full() {
        for value in [
            0,
            i64::MIN,
            i64::MAX,
            999_999_999_999_999,
            999_999_999_999_999_999,
        ] {
            assert_eq!(
                bytes(&Reply::Integer(value), Version::Resp2),
                format!(":{value}\r\n")
            );
        }
    }
}
