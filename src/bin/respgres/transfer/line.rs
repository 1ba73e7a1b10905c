//! One line of an export: a JSON object for a key.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::record::Record;

const BASE64: &str = "base64";

/// `{"key": …, "value": …}`; what is no UTF-8 is in base64, and says so. `expires_at` is in milliseconds since 1970.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    key_encoding: Option<Cow<'a, str>>,
    #[serde(borrow)]
    value: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    encoding: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    expires_at: Option<u64>,
}

/// Appends the line of `record`, with its end.
pub fn write(record: &Record, out: &mut Vec<u8>) -> Result<(), String> {
    let (key, key_encoding) = encoded(&record.key);
    let (value, encoding) = encoded(&record.value);
    let line = Line {
        key,
        key_encoding,
        value,
        encoding,
        expires_at: record.expires_at,
    };
    serde_json::to_writer(&mut *out, &line).map_err(|error| error.to_string())?;
    out.push(b'\n');
    Ok(())
}

/// Reads a line.
///
/// # Errors
///
/// What is wrong with it.
pub fn read(line: &[u8]) -> Result<Record, String> {
    let line: Line = serde_json::from_slice(line).map_err(|error| {
        format!("{error}; a line is {{\"key\": \"…\", \"value\": \"…\"}}, as `respgres export` writes it")
    })?;
    Ok(Record {
        key: decoded("key", &line.key, line.key_encoding.as_deref())?,
        value: decoded("value", &line.value, line.encoding.as_deref())?,
        expires_at: line.expires_at,
    })
}

fn encoded(bytes: &[u8]) -> (Cow<'_, str>, Option<Cow<'static, str>>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Cow::Borrowed(text), None),
        Err(_) => (
            Cow::Owned(STANDARD.encode(bytes)),
            Some(Cow::Borrowed(BASE64)),
        ),
    }
}

fn decoded(name: &str, text: &str, encoding: Option<&str>) -> Result<Vec<u8>, String> {
    match encoding {
        None => Ok(text.as_bytes().to_vec()),
        Some(BASE64) => STANDARD
            .decode(text)
            .map_err(|error| format!("the {name} is no base64: {error}")),
        Some(other) => Err(format!(
            "the {name} has the encoding `{}`; it is base64, or none for UTF-8",
            other.escape_debug()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_comes_back_as_it_was() {
        for (key, value, expires_at) in [
            (&b"a"[..], &b"1"[..], None),
            (b"", b"", Some(0)),
            ("ключ \"\\\n\u{2028}".as_bytes(), b"\0\x01", Some(u64::MAX)),
            (b"\xff\0", &[0xc3, 0x28], Some(1_700_000_000_000)),
        ] {
            let record = Record {
                key: key.to_vec(),
                value: value.to_vec(),
                expires_at,
            };
            let mut line = Vec::new();
            write(&record, &mut line).unwrap();
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            assert_eq!(read(&line), Ok(record));
        }
    }

    #[test]
    fn text_is_readable_and_the_rest_is_base64() {
        let mut line = Vec::new();
        let record = Record {
            key: b"user:1".to_vec(),
            value: vec![255],
            expires_at: None,
        };
        write(&record, &mut line).unwrap();
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "{\"key\":\"user:1\",\"value\":\"/w==\",\"encoding\":\"base64\"}\n"
        );
    }

    #[test]
    fn what_is_no_line_is_told() {
        for (line, reason) in [
            ("", "EOF"),
            ("{\"key\":\"a\"}", "missing field `value`"),
            ("{\"key\":\"a\",\"value\":1}", "invalid type"),
            ("{\"key\":\"a\",\"value\":\"b\",\"ttl\":1}", "unknown field"),
            (
                "{\"key\":\"a\",\"value\":\"*\",\"encoding\":\"base64\"}",
                "no base64",
            ),
            (
                "{\"key\":\"a\",\"value\":\"b\",\"encoding\":\"hex\"}",
                "encoding `hex`",
            ),
            (
                "{\"key\":\"a\",\"value\":\"b\",\"expires_at\":-1}",
                "invalid value",
            ),
        ] {
            let error = read(line.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }
}
