//! What web pages can do on the side port while it needs no token, how long a viewer is let in, and who holds up whom.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::harness::{
    DEADLINE, Deployment, ProxyBuilder, Scratch, Setup, allow_files, curl, eventually,
};

/// The status of a request with these headers, and what came with it.
#[track_caller]
fn ask(it: &Deployment, path: &str, headers: &[&str], more: &[&str]) -> (u16, String) {
    let url = format!("http://{}{path}", it.http().addr());
    let headers = headers.iter().flat_map(|header| ["-H", header]);
    let args: Vec<&str> = ["-i", &url].into_iter().chain(headers).collect();
    let ran = curl(&[&args[..], more].concat());
    assert!(ran.success, "{ran:?}");
    let status = ran.text.split(' ').nth(1).and_then(|it| it.parse().ok());
    (status.expect("a status"), ran.text)
}

#[test]
fn a_page_of_another_origin_can_not_write_where_no_token_is_needed() {
    let it = Setup::embedded().start();
    let addr = it.http().addr().to_owned();
    let write = |headers: &[&str]| {
        let body = ["-d", r#"{"key":"key","value":"value"}"#];
        ask(
            &it,
            "/write",
            &[&["Content-Type: text/plain"], headers].concat(),
            &body,
        )
    };
    for origin in [
        "http://evil.example",
        "null",
        "http://127.0.0.1:1",
        &format!("http://{addr}.evil.example"),
    ] {
        let (status, answer) = write(&[&format!("Origin: {origin}")]);
        assert_eq!(status, 403, "{origin}: {answer}");
        assert!(answer.contains("HTTP_TOKEN"), "{answer}");
    }
    assert_eq!(it.conn().get("key"), None);
    assert_eq!(write(&[&format!("Origin: http://{addr}")]).0, 200);
    assert_eq!(it.conn().get("key").unwrap(), b"value");
    assert_eq!(write(&[]).0, 200);
}

#[test]
fn a_page_under_a_name_that_was_made_to_lead_here_can_not_read_either() {
    let it = Setup::embedded().start();
    it.conn().set("key", "value");
    let browsers = [
        "Sec-Fetch-Site: same-origin",
        "Sec-Fetch-Mode: cors",
        "Origin: http://evil.example",
        "Referer: http://evil.example/page",
        "Accept-Language: en",
    ];
    for path in ["/read/key", "/", "/events", "/stats", "/nothing"] {
        for header in browsers {
            for host in [
                "evil.example",
                "evil.example:8080",
                "localhost.",
                "127.0.0.1.",
            ] {
                let (status, answer) = ask(&it, path, &[&format!("Host: {host}"), header], &[]);
                assert_eq!(status, 403, "{path} {host} {header}: {answer}");
                assert!(answer.contains("set HTTP_TOKEN"), "{answer}");
            }
        }
    }
    for header in browsers {
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:8080",
            "[::1]:8080",
        ] {
            let (status, _) = ask(&it, "/read/key", &[&format!("Host: {host}"), header], &[]);
            assert_eq!(status, 200, "{host} {header}");
        }
        let (status, _) = ask(&it, "/live", &["Host: evil.example", header], &[]);
        assert_eq!(status, 200, "{header}");
    }
    // Monitors, orchestrators and curl.
    for path in ["/read/key", "/metrics", "/health", "/ready"] {
        let (status, _) = ask(&it, path, &["Host: respgres.default.svc:8080"], &[]);
        assert_eq!(status, 200, "{path}");
    }
}

/// A stream of events, of which one has come.
#[track_caller]
fn viewer(addr: &str, token: Option<&str>) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let shown = token.map_or(String::new(), |token| {
        format!("Authorization: Bearer {token}\r\n")
    });
    let request = format!("GET /events HTTP/1.1\r\nHost: {addr}\r\n{shown}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut stream = BufReader::new(stream);
    until(&mut stream, "event: hello");
    stream
}

/// Reads on until a line begins like this.
#[track_caller]
fn until(stream: &mut BufReader<TcpStream>, wanted: &str) {
    let begun = Instant::now();
    let mut line = String::new();
    loop {
        line.clear();
        assert!(
            stream.read_line(&mut line).unwrap() > 0,
            "there is {wanted:?}"
        );
        if line.starts_with(wanted) {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "there is {wanted:?}");
    }
}

#[test]
fn a_stream_of_events_ends_with_the_token_that_let_it_in() {
    let dir = Scratch::new("revoked");
    let set = |settings: &str| std::fs::write(dir.join(".env"), settings).unwrap();
    set("CACHE_TTL=17\n");
    let mut proxy = ProxyBuilder::new(dir.path()).start();
    let addr = proxy.http().addr().to_owned();
    let mut stream = viewer(&addr, None);
    for token in ["first-0123456789", "second-0123456789"] {
        set(&format!("HTTP_TOKEN={token}\n"));
        proxy.signal(Signal::SIGHUP);
        // The last chunk.
        until(&mut stream, "0\r\n");
        stream = viewer(&addr, Some(token));
    }
    // With the same token it goes on.
    set("HTTP_TOKEN=second-0123456789\nCACHE_TTL=18\n");
    proxy.signal(Signal::SIGHUP);
    until(&mut stream, "event: configuration");
    eventually("the reload is over", || {
        let log = proxy.log();
        log.contains("SIGHUP: changed CACHE_TTL").then_some(())
    });
    for _ in 0..4 {
        until(&mut stream, "data: ");
    }
}

/// A connection on which so much was sent.
fn opened(addr: &str, sent: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(sent.as_bytes()).unwrap();
    BufReader::new(stream)
}

#[test]
fn who_has_not_asked_yet_holds_a_place_for_less_long() {
    let it = Setup::embedded().start();
    let addr = &it.http().addr().to_owned();
    let open = |sent: &str| opened(addr, sent);
    let request = format!("GET /live HTTP/1.1\r\nHost: {addr}\r\n\r\n");
    // It comes first, so that with the same limit it would be the first to end.
    let mut known = open(&request);
    until(&mut known, "HTTP/1.1 200");
    for sent in ["", "GET /live HTTP/1.1\r\nX-Slow: "] {
        let mut rest = Vec::new();
        open(sent).read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty(), "{rest:?}");
    }
    let last = request.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    known.get_mut().write_all(last.as_bytes()).unwrap();
    let mut rest = String::new();
    known.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("HTTP/1.1 200"), "{rest}");
}

#[test]
fn probes_are_answered_when_all_connections_are_taken() {
    allow_files(4000);
    let it = Setup::embedded().start();
    let addr = &it.http().addr().to_owned();
    let open = |sent: &str| opened(addr, sent);
    // Who has asked once has half a minute for the next request.
    let taken: Vec<_> = (0..2048)
        .map(|_| {
            let mut stream = open("GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
            until(&mut stream, "HTTP/1.1 200");
            stream
        })
        .collect();
    let http = it.http();
    let detail = http.get("/stats").expect_detail(503);
    assert!(detail.contains("too many connections"), "{detail}");
    http.get("/live").expect(200);
    // Nor do those help that take the places of what is too many, and say nothing.
    let silent: Vec<_> = (0..200).map(|_| open("")).collect();
    http.get("/live").expect(200);
    http.get("/ready").expect(200);
    for mut one in silent {
        let mut rest = Vec::new();
        // It may have been reset.
        let _ = one.read_to_end(&mut rest);
        assert!(rest.is_empty(), "{rest:?}");
    }
    drop(taken);
    eventually("there is room again", || {
        (http.get("/stats").status == 200).then_some(())
    });
}
