//! An HTTP client for the side port.

use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::{HeaderMap, Request};

use super::wait::DEADLINE;

/// A client of one proxy's HTTP port.
pub struct Http {
    agent: Agent,
    addr: String,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The content-type header.
    pub content_type: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header, if it is there.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Fails on another status; returns the JSON.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// Fails unless it is an error of this status; returns its detail as text.
    #[track_caller]
    pub fn expect_detail(&self, status: u16) -> String {
        let body = self.expect(status);
        let fields: Vec<&String> = body.as_object().expect("an object").keys().collect();
        assert_eq!(fields, ["detail"], "an error has a detail and nothing else");
        match &body["detail"] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

impl Http {
    /// A client for `host:port`.
    pub fn new(addr: &str) -> Http {
        Http::with_limit(addr, DEADLINE)
    }

    /// A client for `host:port` that gives up after `limit`.
    pub fn with_limit(addr: &str, limit: Duration) -> Http {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(limit));
        Http {
            agent: config.build().into(),
            addr: addr.to_owned(),
        }
    }

    /// `host:port`.
    pub fn addr(&self) -> &str {
        &self.addr
    }

    /// A request without a body.
    #[track_caller]
    pub fn call(&self, method: &str, path: &str) -> Answer {
        self.send(method, path, None, &[])
    }

    /// The status and the body of a GET, if there is an answer.
    pub fn try_get(&self, path: &str) -> Option<(u16, Vec<u8>)> {
        let mut response = self
            .agent
            .get(format!("http://{}{path}", self.addr))
            .call()
            .ok()?;
        let body = response.body_mut().read_to_vec().ok()?;
        Some((response.status().as_u16(), body))
    }

    /// The status and the body of a POST, if there is an answer.
    pub fn try_post(&self, path: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
        let mut response = self
            .agent
            .post(format!("http://{}{path}", self.addr))
            .send(body)
            .ok()?;
        let body = response.body_mut().read_to_vec().ok()?;
        Some((response.status().as_u16(), body))
    }

    /// GET.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path)
    }

    /// A POST of bytes that say they are JSON.
    #[track_caller]
    pub fn post(&self, path: &str, body: &[u8]) -> Answer {
        self.send("POST", path, Some("application/json"), body)
    }

    #[track_caller]
    fn send(&self, method: &str, path: &str, content_type: Option<&str>, body: &[u8]) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.addr));
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let result = match content_type {
            Some(_) => self.agent.run(request.body(body).expect("a request")),
            None => self.agent.run(request.body(()).expect("a request")),
        };
        let mut response = result.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let content_type = response.headers().get("content-type");
        let content_type = content_type
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let body = response
            .body_mut()
            .with_config()
            .limit(64 << 20)
            .read_to_vec();
        let body = body.unwrap_or_else(|error| panic!("{method} {path}: body: {error}"));
        Answer {
            status: response.status().as_u16(),
            content_type,
            headers: response.headers().clone(),
            body,
        }
    }

    /// `POST /write` of a text value.
    #[track_caller]
    pub fn write(&self, key: &str, value: &str) -> Answer {
        self.post(
            "/write",
            json!({"key": key, "value": value}).to_string().as_bytes(),
        )
    }

    /// `GET /read/{key}`, each byte of the key that is not a letter or digit percent-encoded.
    #[track_caller]
    pub fn read(&self, key: impl AsRef<[u8]>) -> Answer {
        let encode = |byte: &u8| match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => char::from(*byte).to_string(),
            _ => format!("%{byte:02X}"),
        };
        let key: String = key.as_ref().iter().map(encode).collect();
        self.get(&format!("/read/{key}"))
    }

    /// The text value and `from_cache` of a key that must be there.
    #[track_caller]
    pub fn value_and_origin(&self, key: &str) -> (String, bool) {
        let body = self.read(key).expect(200);
        let value = body["value"].as_str().expect("a text value").to_owned();
        (
            value,
            body["from_cache"].as_bool().expect("from_cache is a bool"),
        )
    }

    /// `GET /stats`.
    #[track_caller]
    pub fn stats(&self) -> Value {
        self.get("/stats").expect(200)
    }

    /// `GET /health`, whatever its status.
    #[track_caller]
    pub fn health(&self) -> (u16, Value) {
        let answer = self.get("/health");
        (answer.status, answer.json())
    }
}
