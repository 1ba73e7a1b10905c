//! `POST /write` and `GET /read/{key}`.

use std::slice;

use std::borrow::Cow;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::body::{self, KeyValue};
use super::error::{ApiError, ErrorAnswer};
use super::text::{self, Encoding};
use super::write_request::WriteRequest;
use crate::command::{Mutation, Set};

/// A write that was done.
#[derive(Serialize, ToSchema)]
pub(super) struct WriteAnswer<'a> {
    /// Always true.
    success: bool,
    /// The key that was written.
    #[schema(example = "user:123")]
    key: Cow<'a, str>,
    /// `base64` if the key is not UTF-8 and is given as base64; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_encoding: Option<Encoding>,
    /// The shard that the key lives on.
    #[schema(example = 2)]
    shard_id: usize,
    /// The same in words.
    #[schema(example = "Data written successfully to shard 2")]
    message: String,
}

/// A key's value.
#[derive(Serialize, ToSchema)]
pub(super) struct ReadAnswer<'a> {
    /// Always true.
    success: bool,
    /// The key that was read.
    #[schema(example = "user:123")]
    key: Cow<'a, str>,
    /// `base64` if the key is not UTF-8 and is given as base64; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_encoding: Option<Encoding>,
    /// The value.
    #[schema(example = "John Doe")]
    value: Cow<'a, str>,
    /// `base64` if the value is not UTF-8 and is given as base64; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<Encoding>,
    /// When the key came into being.
    #[schema(example = "2026-11-24T20:16:52.123456+00:00", format = DateTime)]
    created_at: String,
    /// When it was last written.
    #[schema(example = "2026-11-24T20:16:52.123456+00:00", format = DateTime)]
    updated_at: String,
    /// Whether the cache had it.
    from_cache: bool,
    /// The shard that the key lives on.
    #[schema(example = 2)]
    shard_id: usize,
}

/// Writes a value. It is durable, and seen by every later read, once this has answered.
///
/// A client that goes away drops this future. That cancels nothing halfway: up to the call of the
/// engine nothing has happened, and what the engine has taken it finishes by itself.
#[utoipa::path(
    post,
    path = "/write",
    tag = "data",
    request_body(
        content = WriteRequest,
        description = "JSON, whatever the Content-Type says. Unknown fields are ignored.",
        content_type = "application/json"
    ),
    responses(
        (
            status = 200,
            description = "The value is written",
            body = WriteAnswer,
            links(("read" = (operation_id = "read", parameters(("key" = "$response.body#/key")), description = "The value that was written")))
        ),
        (status = 400, description = "The body broke off", body = ErrorAnswer),
        (status = 413, description = "The key, the value or the body is too large", body = ErrorAnswer),
        (status = 422, description = "The body is not JSON, or a field is missing or has a wrong type", body = ErrorAnswer),
        (status = 503, description = "The shard of the key is unavailable; the detail says what is known about the write", body = ErrorAnswer),
    )
)]
pub(super) async fn write(State(api): State<Api>, body: Body) -> Result<Response, ApiError> {
    let body = body::collect(body, api.limits.max_body_size()).await?;
    let KeyValue { key, value } = KeyValue::parse(&body, &api.limits)?;
    // Up to twice the value's size, which would otherwise be held while the shard works.
    drop(body);
    let shard_id = api.engine.shard_of(&key).index();
    let set = Mutation::Set(Set::plain(value));
    api.engine.write(key.clone(), set).await?;
    let (key, key_encoding) = text::encode(&key);
    let answer = WriteAnswer {
        success: true,
        key,
        key_encoding,
        shard_id,
        message: format!("Data written successfully to shard {shard_id}"),
    };
    Ok(Json(answer).into_response())
}

/// Reads a value.
#[utoipa::path(
    get,
    path = "/read/{key}",
    tag = "data",
    params(("key" = String, Path, description = "The key, percent-encoded; it may contain slashes, and may be any bytes", example = "user:123")),
    responses(
        (status = 200, description = "The value", body = ReadAnswer),
        (status = 404, description = "There is no such key", body = ErrorAnswer),
        (status = 500, description = "A fault of the proxy", body = ErrorAnswer),
        (status = 503, description = "The shard of the key is unavailable", body = ErrorAnswer),
    )
)]
pub(super) async fn read(State(api): State<Api>, uri: Uri) -> Result<Response, ApiError> {
    let key = text::key_in_path(uri.path());
    let mut found = Vec::with_capacity(1);
    api.engine.read(slice::from_ref(&key), &mut found).await;
    let found = found
        .pop()
        .ok_or_else(|| ApiError::internal("the read came back without a result"))??;
    let row = found.row.ok_or_else(ApiError::no_such_key)?;
    let shard_id = api.engine.shard_of(&key).index();
    let (key, key_encoding) = text::encode(&key);
    let (value, encoding) = text::encode(&row.value);
    let answer = ReadAnswer {
        success: true,
        key,
        key_encoding,
        value,
        encoding,
        created_at: text::iso_8601(row.created_at),
        updated_at: text::iso_8601(row.updated_at),
        from_cache: found.from_cache,
        shard_id,
    };
    Ok(Json(answer).into_response())
}
