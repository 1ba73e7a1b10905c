//! `GET /openapi.json`, made from the code, and `GET /docs`, Swagger UI on top of it.
//!
//! The page works without internet: Swagger UI is part of the binary, and a Content-Security-
//! Policy holds the browser to that.

use std::sync::Arc;

use axum::Json;
use axum::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderValue, Uri};
use axum::response::{Html, IntoResponse, Response};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, Ref, ResponseBuilder};
use utoipa::{Modify, OpenApi};
use utoipa_swagger_ui::Config;

use super::error::ApiError;
use super::{access, data, health, metrics, page, probes, stats};

#[derive(OpenApi)]
#[openapi(
    info(title = "respgres", description = "\
The side port of respgres: the data as JSON, health, statistics and metrics.

Whatever fails is answered with a status and `{\"detail\": …}`. A path that is not here is 404; another method than those \
described is 405, with what is allowed in `Allow`. HEAD is answered wherever GET is. Only a request that HTTP itself can't \
take, like an address of more than 65,534 bytes (414), has an answer without a body."),
    paths(data::write, data::read, health::health, probes::live, probes::ready, stats::stats, metrics::metrics, page::page, page::live::events),
    modifiers(&Access),
    security((), ("bearer" = []), ("basic" = [])),
    tags(
        (name = "data", description = "Writing and reading"),
        (name = "operations", description = "For those who run it"),
    )
)]
struct Description;

/// How one gets in, and what who does not is answered.
struct Access;

impl Modify for Access {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let components = description.components.get_or_insert_default();
        let scheme = |scheme, meaning: &str| {
            let builder = HttpBuilder::new().scheme(scheme).description(Some(meaning));
            SecurityScheme::Http(builder.build())
        };
        components.add_security_scheme(
            "bearer",
            scheme(
                HttpAuthScheme::Bearer,
                "The token of HTTP_TOKEN, if that is set",
            ),
        );
        components.add_security_scheme(
            "basic",
            scheme(
                HttpAuthScheme::Basic,
                "Any name, and the token as the password: for browsers",
            ),
        );
        let answers = [
            (
                "401",
                "The token is missing or wrong, where HTTP_TOKEN is set",
            ),
            (
                "403",
                "A browser asks for a page of another origin, or under a name without HTTP_TOKEN",
            ),
        ];
        let answer = |description| {
            let body = Content::new(Some(Ref::from_schema_name("ErrorAnswer")));
            ResponseBuilder::new()
                .description(description)
                .content("application/json", body)
        };
        for (path, item) in &mut description.paths.paths {
            if access::PUBLIC.contains(&path.as_str()) {
                continue;
            }
            for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
                let responses = &mut operation.responses.responses;
                for (status, description) in answers {
                    responses.insert(status.to_owned(), answer(description).build().into());
                }
            }
        }
    }
}

/// The description of this port.
pub(super) async fn openapi() -> Json<utoipa::openapi::OpenApi> {
    Json(Description::openapi())
}

/// Addresses are relative, so that the page also works below a path of a reverse proxy. The
/// validator would be a website; the topbar could only load other descriptions.
const PAGE: &str = r##"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>respgres</title>
<link rel="icon" type="image/png" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script>
SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null});
</script>
<noscript>This page needs JavaScript; <a href="openapi.json">openapi.json</a> has the same content.</noscript>
</body>
</html>
"##;

const SAME_ORIGIN_ONLY: &str =
    "default-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'";

/// The page for people.
pub(super) async fn page() -> Response {
    ([(CONTENT_SECURITY_POLICY, SAME_ORIGIN_ONLY)], Html(PAGE)).into_response()
}

/// The files that [`page`] loads.
const ASSETS: [&str; 3] = [
    "swagger-ui.css",
    "swagger-ui-bundle.js",
    "favicon-32x32.png",
];

/// A file of Swagger UI. The large ones lie compressed in the binary and are sent like that;
/// every browser takes gzip.
pub(super) async fn asset(uri: Uri) -> Result<Response, ApiError> {
    let file = uri.path().strip_prefix("/docs/").unwrap_or_default();
    if !ASSETS.contains(&file) {
        return Err(ApiError::no_such_path());
    }
    let asset = utoipa_swagger_ui::serve(file, Arc::new(Config::default()))
        .ok()
        .flatten()
        .ok_or_else(|| ApiError::internal("a file of Swagger UI is not in the binary"))?;
    let headers = [
        (CONTENT_TYPE, asset.content_type),
        (CACHE_CONTROL, "max-age=3600".to_owned()),
    ];
    let mut response = (headers, asset.bytes.into_owned()).into_response();
    if asset.gzpipped {
        response
            .headers_mut()
            .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_is_described() {
        let description = Description::openapi();
        let paths: Vec<_> = description.paths.paths.keys().map(String::as_str).collect();
        assert_eq!(
            paths,
            [
                "/",
                "/events",
                "/health",
                "/live",
                "/metrics",
                "/read/{key}",
                "/ready",
                "/stats",
                "/write"
            ]
        );
    }

    #[tokio::test]
    async fn every_file_of_the_page_is_in_the_binary() {
        for file in ASSETS {
            assert!(PAGE.contains(&format!("\"docs/{file}\"")), "{file}");
            assert!(
                asset(format!("/docs/{file}").parse().unwrap())
                    .await
                    .is_ok(),
                "{file}"
            );
        }
        assert_eq!(PAGE.matches("docs/").count(), ASSETS.len());
        assert!(!PAGE.contains("//"), "an address of another host");
    }
}
