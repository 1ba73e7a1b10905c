//! What web pages can do on the side port while it needs no token, how long a viewer is let in, and who holds up whom.

use crate::harness::{Deployment, Setup, curl};

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
