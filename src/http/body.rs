//! The body of a `/write`: its bytes within a limit, then its fields, with an error that names
//! the field, what came instead, and what to send.
//!
//! The content type is not looked at: `curl -d` declares a form and means JSON.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::Limits;
use super::error::ApiError;
use super::text::{self, Encoding};

/// What memory is reserved for a body on the word of its Content-Length alone, in bytes; more is
/// reserved as it arrives.
const MAX_RESERVED: usize = 64 * 1024;

/// A body has so long to arrive, and a second more for so many bytes of it that have: who sends more slowly
/// holds a place for nothing.
const ARRIVAL_MAX: Duration = Duration::from_secs(30);
const RATE_MIN: usize = 64 * 1024;

/// Reads `body` up to `limit` bytes.
///
/// What is beyond is read and thrown away for another `limit` bytes, since many clients send the
/// whole body before they look for an answer, and would see a reset connection in its place. A
/// body that announces to be larger still is refused at once.
pub(super) async fn collect(mut body: Body, limit: usize) -> Result<Vec<u8>, ApiError> {
    let too_large = || {
        ApiError::too_large(format!(
            "the body is larger than the limit of {limit} bytes"
        ))
    };
    let patience = limit.saturating_mul(2);
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > patience {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(announced.min(MAX_RESERVED));
    let mut received = 0_usize;
    let began = Instant::now();
    loop {
        let due = began + ARRIVAL_MAX + Duration::from_secs((received / RATE_MIN) as u64);
        let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
        let frame = tokio::time::timeout_at(due, frame).await;
        let Some(frame) = frame.map_err(|_late| ApiError::too_slow())? else {
            break;
        };
        let frame = frame.map_err(|error| {
            ApiError::broken_request(format!("the body could not be read: {error}"))
        })?;
        let Ok(data) = frame.into_data() else {
            continue; // trailers
        };
        received = received.saturating_add(data.len());
        if received <= limit {
            bytes.extend_from_slice(&data);
        } else if received <= patience {
            bytes = Vec::new();
        } else {
            break;
        }
    }
    if received > limit {
        Err(too_large())
    } else {
        Ok(bytes)
    }
}

/// A key and the value that it shall have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KeyValue {
    pub(super) key: Bytes,
    pub(super) value: Bytes,
}

impl KeyValue {
    /// Reads the JSON of a `/write`. Fields that it does not know are ignored.
    pub(super) fn parse(body: &[u8], limits: &Limits) -> Result<Self, ApiError> {
        let fields = Fields::parse(body)?;
        let key = bytes_field("key", fields.key, "key_encoding", fields.key_encoding)?;
        let value = bytes_field("value", fields.value, "encoding", fields.encoding)?;
        within("key", &key, limits.max_key_size)?;
        within("value", &value, limits.max_value_size)?;
        Ok(Self { key, value })
    }
}

/// The fields of the body as they stand in its text, whatever their types.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    key: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    value: Option<&'a RawValue>,
    #[serde(borrow, default)]
    encoding: Option<&'a RawValue>,
    #[serde(borrow, default)]
    key_encoding: Option<&'a RawValue>,
}

/// A field that is there is there, also when it is null.
fn present<'de, D: Deserializer<'de>>(field: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(field).map(Some)
}

impl<'a> Fields<'a> {
    fn parse(body: &'a [u8]) -> Result<Self, ApiError> {
        const WANTED: &str = r#"send a JSON object with the string fields "key" and "value""#;
        if body.trim_ascii().is_empty() {
            return Err(ApiError::invalid(format!("the body is empty; {WANTED}")));
        }
        let invalid = |error: serde_json::Error| match error.classify() {
            Category::Data => ApiError::invalid(format!("{error}; {WANTED}")),
            Category::Io | Category::Syntax | Category::Eof => {
                ApiError::invalid(format!("the body is not valid JSON: {error}"))
            }
        };
        // Looked at first, since serde would read an array as the fields in their order.
        let root: &RawValue = serde_json::from_slice(body).map_err(invalid)?;
        match json_type(root) {
            "an object" => serde_json::from_str(root.get()).map_err(invalid),
            other => Err(ApiError::invalid(format!("the body is {other}; {WANTED}"))),
        }
    }
}

/// The bytes of the field `name`, which the field `encoding_name` may declare to be base64.
fn bytes_field(
    name: &str,
    field: Option<&RawValue>,
    encoding_name: &str,
    encoding: Option<&RawValue>,
) -> Result<Bytes, ApiError> {
    let Some(field) = field else {
        return Err(ApiError::invalid(format!(
            r#"the field "{name}" is missing; it must be a string"#
        )));
    };
    let text = string(name, field)?;
    let encoding = match encoding {
        None => None,
        Some(encoding) => match string(encoding_name, encoding)?.as_str() {
            "base64" => Some(Encoding::Base64),
            _ => {
                return Err(ApiError::invalid(format!(
                    r#"the field "{encoding_name}" must be "base64"; leave it out for plain text"#
                )));
            }
        },
    };
    text::decode(text, encoding).map_err(|error| {
        ApiError::invalid(format!(
            r#"the field "{name}" is not valid base64 (standard alphabet, with padding): {error}"#
        ))
    })
}

fn string(name: &str, field: &RawValue) -> Result<String, ApiError> {
    let advice = match json_type(field) {
        "a string" => {
            return serde_json::from_str(field.get()).map_err(|error| {
                ApiError::invalid(format!(
                    r#"the field "{name}" is not valid text: {error}; send other bytes as base64"#
                ))
            });
        }
        "null" => "send a string, which may be empty",
        "an array" | "an object" => "send its JSON text as a string",
        _ => "put it in double quotes",
    };
    Err(ApiError::invalid(format!(
        r#"the field "{name}" must be a string, not {}; {advice}"#,
        json_type(field)
    )))
}

/// What kind of JSON it is; its first character tells.
fn json_type(json: &RawValue) -> &'static str {
    match json.get().as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

fn within(name: &str, bytes: &Bytes, limit: usize) -> Result<(), ApiError> {
    if bytes.len() <= limit {
        return Ok(());
    }
    Err(ApiError::too_large(format!(
        r#"the field "{name}" has {} bytes, the limit is {limit}"#,
        bytes.len()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        max_value_size: 8,
        max_key_size: 4,
    };

    fn parse(body: &str) -> Result<KeyValue, ApiError> {
        KeyValue::parse(body.as_bytes(), &LIMITS)
    }

    #[test]
    fn bodies_that_are_understood() {
        let table: &[(&str, &[u8], &[u8])] = &[
            (r#"{"key":"k","value":"v"}"#, b"k", b"v"),
            (" {\"value\" : \"v\" ,\n\"key\":\"k\"} \n", b"k", b"v"),
            (r#"{"key":"","value":""}"#, b"", b""),
            (
                r#"{"key":"k","value":"v","ttl":[1,{"x":null}]}"#,
                b"k",
                b"v",
            ),
            (
                r#"{"key":"\u00fc\n","value":"\ud83d\ude00"}"#,
                b"\xc3\xbc\n",
                b"\xf0\x9f\x98\x80",
            ),
            (
                r#"{"key":"k","value":"/wA=","encoding":"base64"}"#,
                b"k",
                b"\xff\x00",
            ),
            (
                r#"{"key":"/wA=","value":"/wA=","key_encoding":"base64"}"#,
                b"\xff\x00",
                b"/wA=",
            ),
            (r#"{"key":"k","value":"v","encoding":null}"#, b"k", b"v"),
            (r#"{"key":"kkkk","value":"vvvvvvvv"}"#, b"kkkk", b"vvvvvvvv"),
        ];
        for (body, key, value) in table {
            let expected = KeyValue {
                key: Bytes::from_static(key),
                value: Bytes::from_static(value),
            };
            assert_eq!(parse(body), Ok(expected), "{body}");
        }
    }

    #[test]
    fn bodies_that_are_refused_and_why() {
        let table = [
            ("", "the body is empty"),
            (" \n", "the body is empty"),
            (
                r#"{"key":"k","value":"v""#,
                "EOF while parsing an object at line 1 column 22",
            ),
            ("{\"key\":\"k\",\n\"value\":v}", "line 2 column 9"),
            (
                r#"{"key":"k","value":"v"} x"#,
                "trailing characters at line 1 column 25",
            ),
            ("key=k&value=v", "the body is not valid JSON"),
            (r#"["k","v"]"#, "the body is an array; send a JSON object"),
            (r#""k""#, "the body is a string;"),
            ("12", "the body is a number;"),
            ("{}", r#"the field "key" is missing"#),
            (r#"{"value":"v"}"#, r#"the field "key" is missing"#),
            (r#"{"key":"k"}"#, r#"the field "value" is missing"#),
            (
                r#"{"key":1,"value":"v"}"#,
                r#"the field "key" must be a string, not a number; put it"#,
            ),
            (
                r#"{"key":"k","value":-1.5}"#,
                r#"the field "value" must be a string, not a number"#,
            ),
            (
                r#"{"key":"k","value":true}"#,
                r#"the field "value" must be a string, not a boolean"#,
            ),
            (
                r#"{"key":"k","value":null}"#,
                r#"the field "value" must be a string, not null; send"#,
            ),
            (
                r#"{"key":"k","value":[]}"#,
                r#"the field "value" must be a string, not an array"#,
            ),
            (
                r#"{"key":"k","value":{"a":1}}"#,
                r#"the field "value" must be a string, not an object"#,
            ),
            (
                r#"{"key":"k","key":"j","value":"v"}"#,
                "duplicate field `key`",
            ),
            (
                r#"{"key":"k","value":"\ud800"}"#,
                r#"the field "value" is not valid text"#,
            ),
            (
                r#"{"key":"k","value":"v","encoding":"hex"}"#,
                r#"the field "encoding" must be "base64""#,
            ),
            (
                r#"{"key":"k","value":"v","encoding":1}"#,
                r#"the field "encoding" must be a string"#,
            ),
            (
                r#"{"key":"k","value":"?","encoding":"base64"}"#,
                r#"the field "value" is not valid base64"#,
            ),
            (
                r#"{"key":"?","value":"v","key_encoding":"base64"}"#,
                r#"the field "key" is not valid base64"#,
            ),
        ];
        for (body, detail) in table {
            let error = parse(body).unwrap_err();
            let text = format!("{error:?}").replace(r#"\""#, "\"");
            assert!(
                text.contains("status: 422") && text.contains(detail),
                "{body}: {text}"
            );
        }
    }

    #[test]
    fn limits_are_those_of_the_decoded_bytes() {
        let table = [
            (
                r#"{"key":"kkkkk","value":"v"}"#,
                r#"the field "key" has 5 bytes, the limit is 4"#,
            ),
            (
                r#"{"key":"k","value":"vvvvvvvvv"}"#,
                r#"the field "value" has 9 bytes, the limit is 8"#,
            ),
        ];
        for (body, detail) in table {
            assert_eq!(parse(body), Err(ApiError::too_large(detail)), "{body}");
        }
        assert!(parse(r#"{"key":"k","value":"AAAAAAAAAAA=","encoding":"base64"}"#).is_ok());
    }

    #[test]
    fn deep_nesting_in_an_unknown_field_is_only_skipped() {
        let deep = format!(
            r#"{{"x":{}{},"key":"k","value":"v"}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert!(parse(&deep).is_ok());
    }

    #[tokio::test]
    async fn a_body_is_collected_up_to_its_limit() {
        assert_eq!(
            collect(Body::from("12345678"), 8).await,
            Ok(b"12345678".to_vec())
        );
        for body in ["123456789", "12345678901234567"] {
            let error = collect(Body::from(body), 8).await.unwrap_err();
            assert_eq!(
                error,
                ApiError::too_large("the body is larger than the limit of 8 bytes")
            );
        }
    }
}
