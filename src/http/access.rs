//! Who may use the side port: whoever has the token, if there is one.
//!
//! Programs send it as `Authorization: Bearer TOKEN`. A browser can't be told to send that; it asks for a name and a
//! password, and sends the token as the password of whatever name (Basic), also for the events and files of a page.
//!
//! Without a token everybody may come in, but not every web page that a browser of ours has open: what is in its way is
//! that a page may not write to another origin, and may not be under a name that somebody made to lead here.
//!
//! The probes of orchestrators need no token, as they give nothing away; `/health` without one tells only the state as a
//! whole.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{ACCEPT_LANGUAGE, AUTHORIZATION, HOST, ORIGIN, REFERER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::watch;

use super::Api;
use super::error::ApiError;
use crate::config::SecretText;

/// How long a wrong token waits for its answer. Nobody else does.
const WRONG_DELAY: Duration = Duration::from_millis(500);

/// What is answered to everybody.
pub(super) const PUBLIC: [&str; 2] = ["/live", "/ready"];

/// What tells less to who has no token.
const PARTLY_PUBLIC: &str = "/health";

/// The token, which can be replaced while the port serves.
pub struct Token(watch::Sender<Option<[u8; 32]>>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").finish_non_exhaustive()
    }
}

impl Token {
    /// The token; without one, everybody may do everything.
    pub fn new(token: Option<&SecretText>) -> Self {
        Self(watch::Sender::new(
            token.map(|token| digest(token.expose())),
        ))
    }

    /// Has requests from now on need another one, and ends what goes on for those that came in with the one of before.
    pub fn replace(&self, token: Option<&SecretText>) {
        let new = token.map(|token| digest(token.expose()));
        self.0.send_if_modified(|token| {
            let has_changed = *token != new;
            *token = new;
            has_changed
        });
    }

    fn judge(&self, headers: &HeaderMap) -> Standing {
        let Some(wanted) = *self.0.borrow() else {
            return Standing::NoneNeeded;
        };
        let Some(given) = headers.get(AUTHORIZATION) else {
            return Standing::Nobody;
        };
        let Some((scheme, token)) = credentials(given) else {
            return Standing::Wrong;
        };
        // Digests have one length, and what begins alike does not have alike ones.
        match bool::from(digest(&token).ct_eq(&wanted)) {
            true => Standing::Known(scheme),
            false => Standing::Wrong,
        }
    }
}

fn digest(token: impl AsRef<[u8]>) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Bearer,
    Basic,
}

/// What a request shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    NoneNeeded,
    Known(Scheme),
    Nobody,
    Wrong,
}

/// The token in an `Authorization` header.
fn credentials(header: &HeaderValue) -> Option<(Scheme, Vec<u8>)> {
    let (scheme, rest) = header.to_str().ok()?.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("Bearer") {
        return Some((Scheme::Bearer, rest.into()));
    }
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let pair = STANDARD.decode(rest).ok()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    Some((Scheme::Basic, pair[colon + 1..].to_vec()))
}

/// What lets a request in: as long as the token is the one of then.
#[derive(Clone)]
pub(super) struct Admission(watch::Receiver<Option<[u8; 32]>>);

impl Admission {
    /// Waits until the token is another one.
    pub(super) async fn is_over(&mut self) {
        // There will be no other if nobody can set one.
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Marks a request that showed no token, where one is needed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Anonymous;

/// Lets requests through that may come in.
pub(super) async fn check(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    if PUBLIC.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    // Before the look at the token, so that no change of it is missed.
    let admission = Admission(api.token.0.subscribe());
    request.extensions_mut().insert(admission);
    match api.token.judge(request.headers()) {
        Standing::NoneNeeded if may_be_rebound(request.headers()) => ApiError::forbidden(
            "a browser may ask by an IP address or localhost only, as any page could be under another name; \
             set HTTP_TOKEN to use a name",
        )
        .into_response(),
        Standing::NoneNeeded if is_from_elsewhere(&request) => ApiError::forbidden(
            "a page of another origin may not write; set HTTP_TOKEN, and send it as Authorization: Bearer TOKEN",
        )
        .into_response(),
        Standing::Known(Scheme::Basic) if is_from_elsewhere(&request) => ApiError::forbidden(
            "a page of another origin may not write; send the token as Authorization: Bearer TOKEN",
        )
        .into_response(),
        Standing::NoneNeeded | Standing::Known(_) => next.run(request).await,
        Standing::Nobody if request.uri().path() == PARTLY_PUBLIC => {
            request.extensions_mut().insert(Anonymous);
            next.run(request).await
        }
        Standing::Nobody => refused("this needs a token; send it as Authorization: Bearer TOKEN"),
        Standing::Wrong => {
            api.engine.metrics().http_unauthorized.add(1);
            tokio::time::sleep(WRONG_DELAY).await;
            refused("the token is wrong")
        }
    }
}

/// Whether a page of somebody else had the browser send this: it sends what it knows of us with it.
fn is_from_elsewhere(request: &Request) -> bool {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return false;
    }
    let Some(origin) = request.headers().get(ORIGIN) else {
        return false;
    };
    let origin = origin
        .to_str()
        .ok()
        .and_then(|origin| Some(origin.split_once("://")?.1));
    let host = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok());
    origin.is_none() || origin != host
}

/// Whether a page may be asking whose name was made to lead here after it was loaded. To its browser that is one origin,
/// so only the name tells. Programs may use any name: of services, for one.
fn may_be_rebound(headers: &HeaderMap) -> bool {
    is_of_a_browser(headers)
        && headers
            .get_all(HOST)
            .iter()
            .any(|host| !host.to_str().is_ok_and(leads_where_it_says))
}

/// Browsers send `Sec-Fetch-…` only where they trust the connection, which plain HTTP to a name is not, and `Origin` only
/// with what may write; a page can have `Referer` left out. It can not do so with `Accept-Language`.
fn is_of_a_browser(headers: &HeaderMap) -> bool {
    [ORIGIN, REFERER, ACCEPT_LANGUAGE]
        .iter()
        .any(|name| headers.contains_key(name))
        || headers
            .keys()
            .any(|name| name.as_str().starts_with("sec-fetch-"))
}

/// Whether nobody decides where `host`, with or without a port, leads.
fn leads_where_it_says(host: &str) -> bool {
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let name = host.split_once(':').map_or(host, |(name, _port)| name);
    name.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok()
        || host.parse::<SocketAddr>().is_ok()
        || bracketed.is_some_and(|host| host.parse::<Ipv6Addr>().is_ok())
}

fn refused(detail: &str) -> Response {
    let mut response = ApiError::unauthorized(detail).into_response();
    let headers = response.headers_mut();
    headers.append(
        WWW_AUTHENTICATE,
        HeaderValue::from_static("Bearer realm=\"respgres\""),
    );
    // Which makes a browser ask.
    headers.append(
        WWW_AUTHENTICATE,
        HeaderValue::from_static("Basic realm=\"respgres\""),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(token: &Token, header: &str) -> Standing {
        let mut headers = HeaderMap::new();
        if !header.is_empty() {
            headers.insert(AUTHORIZATION, header.parse().unwrap());
        }
        token.judge(&headers)
    }

    #[test]
    fn only_the_token_itself_is_right() {
        let token = Token::new(Some(&SecretText::new("hunter2")));
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for header in ["Bearer hunter2", "bearer hunter2", "Bearer  hunter2 "] {
            assert_eq!(
                judge(&token, header),
                Standing::Known(Scheme::Bearer),
                "{header}"
            );
        }
        for pair in ["any:hunter2", ":hunter2"] {
            assert_eq!(
                judge(&token, &basic(pair)),
                Standing::Known(Scheme::Basic),
                "{pair}"
            );
        }
        for header in [
            "Bearer",
            "Bearer ",
            "Bearer hunter",
            "Bearer hunter22",
            "Bearer Hunter2",
            "hunter2",
            "Digest hunter2",
            "Basic hunter2",
            &basic("hunter2"),
            &basic("hunter2:"),
            &basic("a:b:hunter2"),
        ] {
            assert_eq!(judge(&token, header), Standing::Wrong, "{header}");
        }
        assert_eq!(judge(&token, ""), Standing::Nobody);
        assert!(!format!("{token:?}").contains("hunter2"));
    }

    #[test]
    fn only_addresses_and_localhost_lead_where_they_say() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:8080",
            "10.1.2.3:80",
            "[::1]",
            "[::1]:8080",
            "localhost",
            "LocalHost:8080",
        ] {
            assert!(leads_where_it_says(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8080",
            "localhost.",
            "localhost.:8080",
            "localhost.evil.example",
            "evil.localhost",
            "127.0.0.1.",
            "127.0.0.1.evil.example",
            "127.1",
            "evil.example:127.0.0.1",
            "[evil.example]",
            "[::1].evil.example",
        ] {
            assert!(!leads_where_it_says(host), "{host}");
        }
    }

    #[test]
    fn a_token_can_be_replaced_and_taken_away() {
        let token = Token::new(None);
        assert_eq!(judge(&token, "Bearer x"), Standing::NoneNeeded);
        token.replace(Some(&SecretText::new("first")));
        assert_eq!(
            judge(&token, "Bearer first"),
            Standing::Known(Scheme::Bearer)
        );
        token.replace(Some(&SecretText::new("second")));
        assert_eq!(judge(&token, "Bearer first"), Standing::Wrong);
        token.replace(None);
        assert_eq!(judge(&token, ""), Standing::NoneNeeded);
    }
}
