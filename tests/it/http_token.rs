//! Who may use the side port, and who holds a place on it for how long.

use std::io::{Read, Write};
use std::net::TcpStream;

use nix::sys::signal::Signal;

use crate::harness::{Conn, DEADLINE, Proxy, ProxyBuilder, Scratch, Setup, curl, eventually};

const TOKEN: &str = "0123456789abcdef";

/// A proxy, and the directory in which it runs. The proxy goes first.
struct It {
    proxy: Proxy,
    dir: Scratch,
}

impl It {
    fn with(variable: &str, value: &str, dir: Scratch) -> It {
        let proxy = ProxyBuilder::new(dir.path()).env(variable, value).start();
        It { proxy, dir }
    }

    fn conn(&self) -> Conn {
        self.proxy.conn()
    }
}

fn start() -> It {
    It::with("HTTP_TOKEN", TOKEN, Scratch::new("token"))
}

/// The status of a request, and what came with it.
#[track_caller]
fn ask(proxy: &Proxy, path: &str, more: &[&str]) -> (u16, String) {
    let url = format!("http://{}{path}", proxy.http().addr());
    let ran = curl(&[&["-i", &url], more].concat());
    assert!(ran.success, "{ran:?}");
    let status = ran
        .text
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (status.expect("a status"), ran.text)
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

#[test]
fn only_who_has_the_token_comes_in() {
    let it = start();
    let proxy = &it.proxy;
    let right = bearer(TOKEN);
    let user = format!("anybody:{TOKEN}");
    for path in [
        "/stats",
        "/metrics",
        "/read/key",
        "/docs",
        "/openapi.json",
        "/docs/swagger-ui.css",
        "/nothing",
    ] {
        let (status, answer) = ask(proxy, path, &[]);
        assert_eq!(status, 401, "{path}");
        assert!(
            answer.contains("www-authenticate: Bearer realm="),
            "{answer}"
        );
        assert!(
            answer.contains("www-authenticate: Basic realm="),
            "{answer}"
        );
        assert!(answer.contains("{\"detail\":"), "{answer}");
        for shown in [["-H", right.as_str()], ["-u", user.as_str()]] {
            let (status, _) = ask(proxy, path, &shown);
            assert!(status == 200 || status == 404, "{path}: {status}");
        }
    }
    let body = ["-d", r#"{"key":"key","value":"value"}"#];
    assert_eq!(ask(proxy, "/write", &body).0, 401);
    assert_eq!(
        ask(proxy, "/write", &[&body[..], &["-H", &right]].concat()).0,
        200
    );
    assert_eq!(it.conn().get("key").unwrap(), b"value");
    // Whoever begins like it, goes on after it, or sends nothing that is one.
    let longer = TOKEN.to_owned() + "0";
    for wrong in [&TOKEN[..15], &longer, &TOKEN.to_uppercase(), "x"] {
        let (status, answer) = ask(proxy, "/stats", &["-H", &bearer(wrong)]);
        assert_eq!(status, 401, "{wrong}");
        assert!(answer.contains("the token is wrong"), "{answer}");
        assert_eq!(
            ask(proxy, "/stats", &["-u", &format!("{TOKEN}:{wrong}")]).0,
            401
        );
    }
    assert_eq!(
        ask(proxy, "/stats", &["-H", "Authorization: Digest x"]).0,
        401
    );
    let (_, metrics) = ask(proxy, "/metrics", &["-H", &right]);
    assert!(
        metrics.contains("respgres_http_unauthorized_total 9\n"),
        "{metrics}"
    );
    // It is nowhere to be read.
    assert!(!proxy.log().contains(TOKEN));
    let info = it.conn().info("everything");
    assert!(!info.contains(TOKEN));
    assert!(!it.conn().run("CONFIG GET *").to_string().contains(TOKEN));
}

#[test]
fn probes_need_none_and_health_tells_less_without() {
    let it = start();
    let proxy = &it.proxy;
    for path in ["/live", "/ready"] {
        assert_eq!(ask(proxy, path, &[]).0, 200, "{path}");
        assert_eq!(ask(proxy, path, &["-H", &bearer("wrong")]).0, 200, "{path}");
    }
    let (status, answer) = ask(proxy, "/health", &[]);
    assert_eq!(status, 200);
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    assert_eq!(body, r#"{"status":"healthy","layer":"4-db-sharding"}"#);
    let (_, answer) = ask(proxy, "/health", &["-H", &bearer(TOKEN)]);
    assert!(answer.contains("\"shard_0\":\"healthy\""), "{answer}");
    assert_eq!(ask(proxy, "/health", &["-H", &bearer("wrong")]).0, 401);
}

#[test]
fn a_page_of_another_origin_can_not_write_with_what_the_browser_knows() {
    let it = start();
    let proxy = &it.proxy;
    let user = format!("anybody:{TOKEN}");
    let write = |more: &[&str]| {
        let body = ["-d", r#"{"key":"key","value":"value"}"#];
        ask(proxy, "/write", &[&body, more].concat()).0
    };
    let own = format!("Origin: http://{}", proxy.http().addr());
    for (origin, status) in [
        (own.as_str(), 200),
        ("Origin: http://evil.example", 403),
        ("Origin: null", 403),
    ] {
        assert_eq!(write(&["-u", &user, "-H", origin]), status, "{origin}");
    }
    assert_eq!(
        write(&["-H", &bearer(TOKEN), "-H", "Origin: http://evil.example"]),
        200
    );
}

#[test]
fn the_token_is_replaced_by_sighup_and_may_be_in_a_file() {
    let write = |dir: &Scratch, token: &str| std::fs::write(dir.join("token"), token).unwrap();
    let dir = Scratch::new("token");
    write(&dir, TOKEN);
    let mut it = It::with("HTTP_TOKEN_FILE", "token", dir);
    assert_eq!(ask(&it.proxy, "/stats", &["-H", &bearer(TOKEN)]).0, 200);
    write(&it.dir, "another\n");
    it.proxy.signal(Signal::SIGHUP);
    eventually("the other one counts", || {
        (ask(&it.proxy, "/stats", &["-H", &bearer("another")]).0 == 200).then_some(())
    });
    assert_eq!(ask(&it.proxy, "/stats", &["-H", &bearer(TOKEN)]).0, 401);
    assert!(!it.proxy.log().contains("another\n"));
    // With a mistake, the one of before counts on.
    write(&it.dir, "two words");
    it.proxy.signal(Signal::SIGHUP);
    eventually("the mistake is told", || {
        it.proxy
            .log()
            .contains("HTTP_TOKEN: has spaces")
            .then_some(())
    });
    assert!(!it.proxy.log().contains("two words"));
    assert_eq!(ask(&it.proxy, "/stats", &["-H", &bearer("another")]).0, 200);
}

#[test]
fn the_description_says_how_to_get_in() {
    let it = Setup::embedded().start();
    let description = it.http().get("/openapi.json").expect(200);
    let schemes = &description["components"]["securitySchemes"];
    assert_eq!(schemes["bearer"]["scheme"], "bearer");
    assert_eq!(schemes["basic"]["scheme"], "basic");
    let paths = description["paths"].as_object().unwrap();
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().values() {
            let is_open = ["/live", "/ready"].contains(&path.as_str());
            assert_eq!(method["responses"].get("401").is_none(), is_open, "{path}");
        }
    }
}

#[test]
fn who_sends_too_slowly_does_not_hold_a_place_for_ever() {
    let it = Setup::embedded().start();
    let open = |sent: &str| {
        let mut stream = TcpStream::connect(it.http().addr()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(sent.as_bytes()).unwrap();
        stream
    };
    let mut head = open("GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: ");
    let mut idle = open("");
    let mut body = open("POST /write HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{");
    let mut answer = String::new();
    body.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("did not arrive in time"), "{answer}");
    for stream in [&mut head, &mut idle] {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "");
    }
    it.http().get("/health").expect(200);
}
