//! What `/openapi.json` says of the body of a `/write`, which is read by hand (`body`).

use serde_json::json;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use utoipa::openapi::{AllOfBuilder, OneOfBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// Base64 in the standard alphabet, with padding, and without bits that would be thrown away.
const BASE64: &str =
    "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";

/// A key and a value, each as text or as base64.
pub(super) struct WriteRequest;

impl ToSchema for WriteRequest {}

impl PartialSchema for WriteRequest {
    fn schema() -> RefOr<Schema> {
        AllOfBuilder::new()
            .description(Some(
                "What a write asks for: a key and a value, each as text or as base64.",
            ))
            .item(either("key", "key_encoding"))
            .item(either("value", "encoding"))
            .examples([json!({"key": "user:123", "value": "John Doe"})])
            .into()
    }
}

/// The field `name` as it is, or in base64, if the field `encoding` says so.
fn either(name: &str, encoding: &str) -> OneOfBuilder {
    OneOfBuilder::new()
        .item(
            ObjectBuilder::new()
                .title(Some(format!("{name} as text")))
                .property(name, Object::with_type(Type::String))
                .property(encoding, Object::with_type(Type::Null))
                .required(name),
        )
        .item(
            ObjectBuilder::new()
                .title(Some(format!("{name} in base64")))
                .property(
                    name,
                    ObjectBuilder::new()
                        .schema_type(Type::String)
                        .description(Some("RFC 4648, the standard alphabet with padding."))
                        .pattern(Some(BASE64)),
                )
                .property(
                    encoding,
                    ObjectBuilder::new()
                        .schema_type(Type::String)
                        .enum_values(Some(["base64"])),
                )
                .required(name)
                .required(encoding),
        )
}
