//! Bytes as JSON text and back: keys in paths, values in answers, instants.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use utoipa::ToSchema;

use crate::command::Timestamp;

/// How a string field stands for bytes when it is not simply their UTF-8 text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Encoding {
    /// RFC 4648, the standard alphabet with padding.
    Base64,
}

/// Bytes as a JSON string: themselves if they are UTF-8, base64 otherwise, and which of the two.
pub(super) fn encode(bytes: &[u8]) -> (Cow<'_, str>, Option<Encoding>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Cow::Borrowed(text), None),
        Err(_) => (Cow::Owned(STANDARD.encode(bytes)), Some(Encoding::Base64)),
    }
}

/// The bytes that a JSON string stands for.
pub(super) fn decode(
    text: String,
    encoding: Option<Encoding>,
) -> Result<Bytes, base64::DecodeError> {
    match encoding {
        None => Ok(Bytes::from(text)),
        Some(Encoding::Base64) => STANDARD.decode(text).map(Bytes::from),
    }
}

/// The key in `path`, which is everything behind `/read/`, percent-decoded as bytes.
///
/// From the raw path, since a router's own decoding insists on UTF-8. A `+` is a plus, and a `%`
/// without two hexadecimal digits behind it stands for itself, so that every path is some key.
pub(super) fn key_in_path(path: &str) -> Bytes {
    let raw = path.strip_prefix("/read/").unwrap_or_default();
    Bytes::from(Cow::from(percent_decode_str(raw)).into_owned())
}

/// ISO 8601 in UTC with microseconds and offset: `2026-11-24T20:16:52.123456+00:00`.
///
/// An instant beyond the years that ISO 8601 writes with four digits becomes the last such one.
pub(super) fn iso_8601(at: Timestamp) -> String {
    let limit = if at.micros() < 0 {
        jiff::Timestamp::MIN
    } else {
        jiff::Timestamp::MAX
    };
    jiff::Timestamp::from_microsecond(at.micros())
        .unwrap_or(limit)
        .strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_percent_decoded_as_bytes() {
        let table: &[(&str, &[u8])] = &[
            ("/read/user:123", b"user:123"),
            ("/read/", b""),
            ("/read//", b"/"),
            ("/read//a//b/", b"/a//b/"),
            ("/read/.", b"."),
            ("/read/../x", b"../x"),
            ("/read/a%2Fb%2fc", b"a/b/c"),
            ("/read/a+b%2B%20", b"a+b+ "),
            ("/read/%00%ff%FE", b"\x00\xff\xfe"),
            ("/read/%C3%BC", "ü".as_bytes()),
            ("/read/ü", "ü".as_bytes()),
            ("/read/%3F%23%25", b"?#%"),
            ("/read/100%", b"100%"),
            ("/read/%zz%4", b"%zz%4"),
            ("/read/%2525", b"%25"),
            ("/read/%2", b"%2"),
            ("/read/read/x", b"read/x"),
        ];
        for (path, key) in table {
            assert_eq!(key_in_path(path), *key, "{path}");
        }
    }

    #[test]
    fn bytes_that_are_not_text_travel_as_base64() {
        assert_eq!(encode("Jürgen".as_bytes()), ("Jürgen".into(), None));
        assert_eq!(encode(b""), ("".into(), None));
        assert_eq!(encode(b"\x00"), ("\0".into(), None));
        assert_eq!(encode(b"\xff\x00"), ("/wA=".into(), Some(Encoding::Base64)));
        assert_eq!(
            decode("/wA=".into(), Some(Encoding::Base64)).unwrap(),
            b"\xff\x00"[..]
        );
        assert_eq!(decode("/wA=".into(), None).unwrap(), b"/wA="[..]);
        assert!(decode("/wA".into(), Some(Encoding::Base64)).is_err());
    }

    #[test]
    fn instants_have_microseconds_and_an_offset() {
        let table = [
            (1_795_551_412_123_456, "2026-11-24T20:16:52.123456+00:00"),
            (1_795_551_412_000_000, "2026-11-24T20:16:52.000000+00:00"),
            (0, "1970-01-01T00:00:00.000000+00:00"),
            (-1, "1969-12-31T23:59:59.999999+00:00"),
        ];
        for (micros, text) in table {
            assert_eq!(iso_8601(Timestamp::from_micros(micros)), text);
        }
        assert!(iso_8601(Timestamp::from_micros(i64::MAX)).starts_with("9999-12-30"));
        assert!(iso_8601(Timestamp::from_micros(i64::MIN)).starts_with("-9999-01-02"));
    }
}
