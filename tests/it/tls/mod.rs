//! TLS on every connection, with real servers and certificates made for each test.

mod ports;
mod postgres;
mod redis;

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::{Proxy, ProxyBuilder, Scratch};

/// Starts a proxy with rows of its own in `dir`.
#[track_caller]
fn start(builder: ProxyBuilder, dir: &Scratch) -> Proxy {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let data = dir.join(&format!("data-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    builder
        .env("DATA_DIR", data.to_str().expect("a UTF-8 path"))
        .start()
}
