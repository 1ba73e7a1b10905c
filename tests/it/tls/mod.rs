//! TLS on every connection, with real servers and certificates made for each test.

mod libraries;
mod ports;
mod postgres;
mod redis;

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::{Authority, Issued, Proxy, ProxyBuilder, Scratch, TlsConn, Wish, run_tool};

/// Starts a proxy with rows of its own in `dir`.
#[track_caller]
fn start(builder: ProxyBuilder, dir: &Scratch) -> Proxy {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let data = dir.join(&format!("data-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    builder
        .env("DATA_DIR", data.to_str().expect("a UTF-8 path"))
        .start()
}

/// A directory with the certificate of a proxy, and who signed it.
pub struct Setting {
    pub dir: Scratch,
    pub authority: Authority,
    issued: Issued,
    pub ca: String,
}

impl Setting {
    pub fn new() -> Setting {
        let (dir, authority) = (Scratch::new("tls"), Authority::new("the authority"));
        let issued = authority.issue(Wish::names(&["localhost", "127.0.0.1"]));
        issued.files(dir.path(), "server");
        let ca = authority.file(dir.path(), "ca.pem");
        Setting {
            dir,
            authority,
            issued,
            ca,
        }
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().to_owned()
    }

    /// A proxy that speaks TLS on ports beside those in the clear.
    pub fn builder(&self) -> ProxyBuilder {
        ProxyBuilder::new(self.dir.path())
            .env("RESP_TLS_ADDR", "127.0.0.1:0")
            .env("HTTP_TLS_ADDR", "127.0.0.1:0")
            .env("TLS_CERT_FILE", self.path("server.crt"))
            .env("TLS_KEY_FILE", self.path("server.key"))
    }

    /// One, started.
    pub fn proxy(&self) -> Proxy {
        start(self.builder(), &self.dir)
    }

    fn open(&self, proxy: &Proxy) -> std::io::Result<TlsConn> {
        TlsConn::open(&proxy.resp_tls_addr(), &self.authority, None)
    }

    /// redis-cli on the port with TLS.
    fn redis_cli(&self, proxy: &Proxy, args: &[&str]) -> (bool, String) {
        let addr = proxy.resp_tls_addr();
        let (_, port) = addr.rsplit_once(':').unwrap();
        let to = ["-h", "localhost", "-p", port, "--tls"];
        let ran = run_tool("redis-cli", &[&to, args].concat());
        (ran.success, ran.text)
    }
}
