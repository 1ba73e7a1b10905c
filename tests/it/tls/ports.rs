//! The ports with TLS, and clients of every kind.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::{Setting, start};
use crate::harness::{
    Authority, Conn, Http, Issued, Proxy, TlsConn, Wish, curl, eventually, run_tool,
};

fn https(proxy: &Proxy, path: &str) -> String {
    let addr = proxy.http_tls_addr();
    let (_, port) = addr.rsplit_once(':').unwrap();
    format!("https://localhost:{port}{path}")
}

/// The value of a counter.
fn counter(http: &Http, name: &str) -> u64 {
    let text = http.get("/metrics").text();
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(&format!("respgres_{name}_total ")));
    value.expect("the counter is there").parse().unwrap()
}

#[test]
fn clients_come_by_either_port() {
    let setting = Setting::new();
    let proxy = setting.proxy();
    let ca = ["--cacert", setting.ca.as_str()];
    let (_, text) = setting.redis_cli(&proxy, &[&ca[..], &["SET", "key", "value"]].concat());
    assert_eq!(text, "OK\n");
    assert_eq!(proxy.conn().get("key").unwrap(), b"value");
    let (_, text) = setting.redis_cli(&proxy, &[&ca[..], &["INFO", "server"]].concat());
    let plain_port = proxy.resp_addr().rsplit(':').next().unwrap().to_owned();
    assert!(text.contains(&format!("tcp_port:{plain_port}")), "{text}");

    let port = proxy.resp_tls_addr().rsplit(':').next().unwrap().to_owned();
    let ran = run_tool(
        "redis-benchmark",
        &[
            "-h",
            "localhost",
            "-p",
            &port,
            "--tls",
            "--cacert",
            &setting.ca,
            "-t",
            "set,get",
            "-n",
            "4000",
            "-P",
            "16",
            "-c",
            "20",
            "-q",
        ],
    );
    assert!(
        ran.success && ran.text.contains("requests per second"),
        "{ran:?}"
    );

    let ran = curl(&["--cacert", &setting.ca, &https(&proxy, "/read/key")]);
    assert!(
        ran.success && ran.text.contains("\"value\":\"value\""),
        "{ran:?}"
    );
    let body = r#"{"key":"web","value":"page"}"#;
    let ran = curl(&[
        "--cacert",
        &setting.ca,
        "-d",
        body,
        &https(&proxy, "/write"),
    ]);
    assert!(ran.success, "{ran:?}");
    assert_eq!(proxy.conn().get("web").unwrap(), b"page");
    assert!(counter(&proxy.http(), "tls_connections") >= 24);

    // Who does not trust the authority, or looks for another host.
    let (success, _) = setting.redis_cli(&proxy, &["PING"]);
    assert!(!success);
    assert!(!curl(&[&https(&proxy, "/health")]).success);
    let other = Authority::new("another authority").file(setting.dir.path(), "other.pem");
    assert!(!curl(&["--cacert", &other, &https(&proxy, "/health")]).success);
    let elsewhere = https(&proxy, "/health").replace("localhost", "other.example");
    let at = format!(
        "other.example:{}:127.0.0.1",
        https(&proxy, "").rsplit(':').next().unwrap()
    );
    let ran = curl(&["--cacert", &setting.ca, "--resolve", &at, &elsewhere]);
    assert!(
        !ran.success && ran.text.contains("other.example"),
        "{ran:?}"
    );
}

#[test]
fn long_replies_and_long_pipelines_arrive_whole() {
    let setting = Setting::new();
    let proxy = setting.proxy();
    let mut conn = setting.open(&proxy).unwrap();
    let value = vec![b'v'; 3 << 20];
    proxy.conn().set("large", &value);
    // More than all buffers on the way hold, before anything is read.
    let (count, reply) = (12, [b"$3145728\r\n", &value[..], b"\r\n"].concat());
    conn.send(&b"GET large\r\n".repeat(count)).unwrap();
    for _ in 0..count {
        assert!(conn.read(reply.len()).unwrap() == reply);
    }
    conn.send(&b"PING\r\n".repeat(20_000)).unwrap();
    assert!(conn.read(7 * 20_000).unwrap() == b"+PONG\r\n".repeat(20_000));
    // What comes unasked.
    conn.send(b"SUBSCRIBE news\r\n").unwrap();
    conn.read(b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n".len())
        .unwrap();
    let text = "t".repeat(1 << 20);
    let mut publisher = proxy.conn();
    for _ in 0..5 {
        assert_eq!(publisher.cmd(&[b"PUBLISH", b"news", text.as_bytes()]), ":1");
    }
    let message = format!("*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1048576\r\n{text}\r\n");
    for _ in 0..5 {
        assert!(conn.read(message.len()).unwrap() == message.as_bytes());
    }
}

#[test]
fn the_ports_in_the_clear_can_be_closed() {
    let setting = Setting::new();
    let proxy = setting
        .builder()
        .env("RESP_ADDR", "off")
        .env("HTTP_ADDR", "off")
        .start();
    assert!(setting.open(&proxy).unwrap().is_served());
    assert!(!proxy.log().contains("resp listening"), "{}", proxy.log());
    assert!(!proxy.log().contains("http listening"), "{}", proxy.log());
    let port = proxy.resp_tls_addr().rsplit(':').next().unwrap().to_owned();
    let ca = ["--cacert", setting.ca.as_str(), "INFO", "server"];
    let (_, text) = setting.redis_cli(&proxy, &ca);
    assert!(text.contains(&format!("tcp_port:{port}")), "{text}");
    let ran = curl(&["--cacert", &setting.ca, &https(&proxy, "/health")]);
    assert!(ran.success && ran.text.contains("healthy"), "{ran:?}");
}

#[test]
fn who_speaks_no_tls_is_told_and_counted() {
    let setting = Setting::new();
    let proxy = setting.proxy();
    let mut conn = Conn::open(&proxy.resp_tls_addr());
    assert_eq!(conn.run("PING"), "-ERR this port speaks TLS only");
    conn.expect_closed();
    let mut conn = Conn::open(&proxy.resp_tls_addr());
    assert_eq!(
        conn.cmd(&[b"GET", b"key"]),
        "-ERR this port speaks TLS only"
    );
    let ran = curl(&["-i", &https(&proxy, "/health").replace("https:", "http:")]);
    assert!(ran.text.starts_with("HTTP/1.1 400 "), "{ran:?}");
    assert!(ran.text.contains("this port speaks HTTPS only"), "{ran:?}");
    let http = proxy.http();
    eventually("they are counted", || {
        (counter(&http, "tls_refused_plain") == 3).then_some(())
    });
    assert_eq!(counter(&http, "tls_refused"), 3);
    let log = proxy.log();
    let lines = log
        .lines()
        .filter(|line| line.contains("it does not speak TLS"));
    assert_eq!(lines.count(), 1, "the first one alone is logged: {log}");
    assert!(setting.open(&proxy).unwrap().is_served());
}

#[test]
fn who_does_not_shake_hands_is_in_nobodys_way() {
    let setting = Setting::new();
    let proxy = setting.proxy();
    let silent: Vec<TcpStream> = [proxy.resp_tls_addr(), proxy.http_tls_addr()]
        .iter()
        .flat_map(|addr| (0..20).map(move |_| TcpStream::connect(addr).unwrap()))
        .collect();
    // The beginning of a handshake, and no more.
    for mut stream in &silent {
        stream.write_all(&[22, 3, 1]).unwrap();
    }
    assert!(setting.open(&proxy).unwrap().is_served());
    let ran = curl(&["--cacert", &setting.ca, &https(&proxy, "/health")]);
    assert!(ran.success, "{ran:?}");
    // Each is closed in the end.
    for mut stream in silent {
        stream
            .set_read_timeout(Some(crate::harness::DEADLINE))
            .unwrap();
        let mut rest = Vec::new();
        match stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
    assert_eq!(counter(&proxy.http(), "tls_refused"), 40);
}

#[test]
fn clients_may_have_to_show_a_certificate() {
    let setting = Setting::new();
    let trusted = Authority::new("who signs clients");
    let client_ca = trusted.file(setting.dir.path(), "clients.pem");
    let right = trusted.issue(Wish::names(&[]).common_name("somebody"));
    let expired = trusted.issue(Wish::names(&[]).expired());
    let foreign = setting.authority.issue(Wish::names(&[]));
    let builder = setting.builder().env("TLS_CLIENT_CA_FILE", &client_ca);
    let is_served = |proxy: &Proxy, shows: Option<&Issued>| {
        let conn = TlsConn::open(&proxy.resp_tls_addr(), &setting.authority, shows);
        conn.is_ok_and(|mut conn| conn.is_served())
    };
    // With an authority, it is required unless something else is said.
    let required = start(builder.clone(), &setting.dir);
    assert!(is_served(&required, Some(&right)));
    for other in [None, Some(&expired), Some(&foreign)] {
        assert!(!is_served(&required, other));
    }
    let (certificate, key) = right.files(setting.dir.path(), "right");
    let ca = ["--cacert", setting.ca.as_str()];
    let with = ["--cert", &certificate, "--key", &key];
    let url = https(&required, "/health");
    assert!(curl(&[&ca[..], &with, &[&url]].concat()).success);
    assert!(!curl(&[&ca[..], &[&url]].concat()).success);
    let (success, text) = setting.redis_cli(&required, &[&ca[..], &with, &["PING"]].concat());
    assert!(success && text == "PONG\n", "{text}");
    // The ports in the clear ask for none.
    assert_eq!(required.conn().run("PING"), "+PONG");

    let optional = start(
        builder.clone().env("TLS_CLIENT_AUTH", "optional"),
        &setting.dir,
    );
    assert!(is_served(&optional, None) && is_served(&optional, Some(&right)));
    assert!(!is_served(&optional, Some(&foreign)));
    let off = start(builder.env("TLS_CLIENT_AUTH", "off"), &setting.dir);
    assert!(is_served(&off, None) && is_served(&off, Some(&foreign)));
}

/// With TLS 1.3, a client has shaken hands before the server has looked at its certificate, and sends requests.
#[test]
fn who_goes_on_without_a_certificate_still_reads_why_it_is_refused() {
    let setting = Setting::new();
    let trusted = Authority::new("who signs clients");
    let client_ca = trusted.file(setting.dir.path(), "clients.pem");
    let builder = setting.builder().env("TLS_CLIENT_CA_FILE", &client_ca);
    let proxy = start(builder, &setting.dir);
    let conn = TlsConn::open(&proxy.resp_tls_addr(), &setting.authority, None);
    let mut conn = conn.expect("the client's part of the handshake");
    // The tickets of a session would come first if there was one: this is the alert.
    conn.wait_readable().unwrap();
    for _ in 0..3 {
        conn.send(b"PING\r\n").expect("nobody has hung up");
    }
    let error = conn.read(1).unwrap_err().to_string();
    assert!(error.contains("CertificateRequired"), "{error}");
}

#[test]
fn a_replaced_certificate_is_shown_to_new_connections_while_old_ones_go_on() {
    let setting = Setting::new();
    let proxy = setting.proxy();
    let mut old = setting.open(&proxy).unwrap();
    assert_eq!(old.shown(), setting.issued.der());
    let shown = || setting.open(&proxy).unwrap().shown();

    // A key without its certificate, an expired one, nonsense: the one of before stays.
    let new = setting.authority.issue(Wish::names(&["localhost"]));
    let expired = setting
        .authority
        .issue(Wish::names(&["localhost"]).expired());
    let nonsense = Issued {
        certificate: "nonsense".to_owned(),
        key: setting.issued.key.clone(),
    };
    let mismatched = Issued {
        certificate: setting.issued.certificate.clone(),
        key: new.key.clone(),
    };
    for (wrong, words) in [
        (&mismatched, "is not the key of the certificate"),
        (&expired, "has expired"),
        (&nonsense, "has no certificate"),
    ] {
        wrong.files(setting.dir.path(), "server");
        eventually("the log says what is wrong", || {
            let log = proxy.log();
            let mut lines = log
                .lines()
                .filter(|line| line.contains("the one of before is kept"));
            lines.any(|line| line.contains(words)).then_some(())
        });
        assert_eq!(shown(), setting.issued.der());
    }
    new.files(setting.dir.path(), "server");
    eventually("the new one is shown", || {
        (shown() == new.der()).then_some(())
    });
    assert!(old.is_served());
    let ran = curl(&["--cacert", &setting.ca, "-v", &https(&proxy, "/health")]);
    assert!(ran.success, "{ran:?}");

    // As Kubernetes replaces a secret: a link to a directory is exchanged.
    let third = setting.authority.issue(Wish::names(&["localhost"]));
    let linked = |name: &str, issued: &Issued| {
        std::fs::create_dir(setting.dir.join(name)).unwrap();
        issued.files(&setting.dir.join(name), "tls");
        std::os::unix::fs::symlink(name, setting.dir.join("next")).unwrap();
        std::fs::rename(setting.dir.join("next"), setting.dir.join("current")).unwrap();
    };
    linked("first", &new);
    let builder = setting
        .builder()
        .env("TLS_CERT_FILE", setting.path("current/tls.crt"))
        .env("TLS_KEY_FILE", setting.path("current/tls.key"));
    let proxy = start(builder, &setting.dir);
    assert_eq!(setting.open(&proxy).unwrap().shown(), new.der());
    linked("second", &third);
    eventually("the third one is shown", || {
        (setting.open(&proxy).unwrap().shown() == third.der()).then_some(())
    });
    assert!(!proxy.log().contains("can't be used"), "{}", proxy.log());
}

#[test]
fn mistakes_are_told_at_start() {
    let setting = Setting::new();
    let other = setting.authority.issue(Wish::names(&["localhost"]));
    let (_, other_key) = other.files(setting.dir.path(), "other");
    let refused =
        |variable: &str, value: &str| setting.builder().env(variable, value).run_refused();
    let output = refused("TLS_CERT_FILE", "/nowhere/server.crt");
    assert!(
        output.contains("/nowhere/server.crt: can't be read"),
        "{output}"
    );
    let output = refused("TLS_KEY_FILE", &other_key);
    assert!(
        output.contains("other.key: is not the key of the certificate in"),
        "{output}"
    );
    let output = refused("TLS_KEY_FILE", &setting.path("server.crt"));
    assert!(
        output.contains("server.crt: has no private key"),
        "{output}"
    );
    let output = refused("TLS_KEY_FILE", "");
    assert!(output.contains("TLS_KEY_FILE: is not set"), "{output}");
    let output = refused("TLS_CLIENT_AUTH", "required");
    assert!(
        output.contains("TLS_CLIENT_AUTH: asks for certificates"),
        "{output}"
    );
    let output = refused("TLS_CLIENT_CA_FILE", &setting.path("server.key"));
    assert!(
        output.contains("server.key: has no certificate"),
        "{output}"
    );

    // Who does not look at it is served.
    let expired = setting
        .authority
        .issue(Wish::names(&["localhost"]).expired());
    expired.files(setting.dir.path(), "server");
    let proxy = setting.proxy();
    assert!(
        proxy.log().contains("has expired: clients will refuse it"),
        "{}",
        proxy.log()
    );
    let error = setting.open(&proxy).err().unwrap().to_string();
    assert!(error.contains("expired"), "{error}");
    let (_, text) = setting.redis_cli(&proxy, &["--insecure", "PING"]);
    assert_eq!(text, "PONG\n");
}

#[test]
fn a_chain_of_authorities_is_shown_whole() {
    let setting = Setting::new();
    let between = setting.authority.subordinate("between");
    let issued = between.issue(Wish::names(&["localhost"]));
    let chain = Issued {
        certificate: issued.certificate.clone() + &between.pem(),
        key: issued.key.clone(),
    };
    chain.files(setting.dir.path(), "server");
    let proxy = setting.proxy();
    assert!(setting.open(&proxy).unwrap().is_served());
    issued.files(setting.dir.path(), "server");
    let proxy = setting.proxy();
    assert!(setting.open(&proxy).is_err());
}
