//! The HTTP side port: each call, each status, each shape, each type.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::harness::{Conn, Setup, args, both_backends, keys_on_each, shard_of};

both_backends!(
    write_answers_with_the_shard,
    read_answers_with_times_and_origin,
    created_at_survives_overwrites_but_not_a_deletion,
    created_at_starts_anew_after_an_expiry,
    a_key_that_is_not_there_is_404,
    an_expired_key_is_404,
    a_body_that_lacks_a_field_or_has_a_wrong_type_is_422_and_names_the_field,
    a_refused_write_writes_nothing,
    unknown_fields_of_a_body_do_no_harm,
    unknown_paths_are_404,
    wrong_methods_are_405,
    every_key_that_resp_can_write_can_be_read,
    keys_in_a_path_may_hold_slashes_encoded_or_not,
    a_value_that_is_not_utf8_is_base64_both_ways,
    a_text_value_is_text_whatever_it_looks_like,
    a_write_takes_an_expiry_away,
    stats_have_their_names_and_types,
    stats_count_rows_on_each_shard,
    health_is_healthy_when_all_is_up,
    openapi_json_lists_the_calls,
    the_docs_page_needs_no_other_server,
    metrics_are_in_the_text_format_of_prometheus,
    one_connection_serves_many_requests,
    a_broken_request_disturbs_nobody,
);

fn write_answers_with_the_shard(setup: Setup) {
    let it = setup.start();
    let answer = it.http().write("user:123", "John Doe");
    assert!(
        answer.content_type.starts_with("application/json"),
        "{}",
        answer.content_type
    );
    let expected = json!({
        "success": true, "key": "user:123", "shard_id": 2, "message": "Data written successfully to shard 2"
    });
    assert_eq!(answer.expect(200), expected);
    for (shard, key) in keys_on_each(3, "key").iter().enumerate() {
        let body = it.http().write(key, "value").expect(200);
        assert_eq!(body["shard_id"], shard);
        assert_eq!(
            body["message"],
            format!("Data written successfully to shard {shard}")
        );
    }
}

/// Whether a text is a moment as ISO 8601 writes it, with an offset.
fn is_iso_8601(text: &str) -> bool {
    let shape: String = text
        .chars()
        .map(|letter| if letter.is_ascii_digit() { '9' } else { letter })
        .collect();
    let Some(rest) = shape.strip_prefix("9999-99-99T99:99:99") else {
        return false;
    };
    let offset = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches('9'),
        None => rest,
    };
    offset == "Z" || offset == "+99:99"
}

#[track_caller]
fn times(body: &Value) -> (String, String) {
    let time = |name: &str| {
        let text = body[name]
            .as_str()
            .unwrap_or_else(|| panic!("{name} in {body}"));
        assert!(is_iso_8601(text), "{name} is {text}");
        text.to_owned()
    };
    (time("created_at"), time("updated_at"))
}

fn read_answers_with_times_and_origin(setup: Setup) {
    let it = setup.start();
    let http = it.http();
    http.write("user:123", "John Doe").expect(200);
    for from_cache in [false, true] {
        let answer = http.read("user:123");
        assert!(
            answer.content_type.starts_with("application/json"),
            "{}",
            answer.content_type
        );
        let body = answer.expect(200);
        let mut names: Vec<&String> = body.as_object().unwrap().keys().collect();
        names.sort();
        assert_eq!(
            names,
            [
                "created_at",
                "from_cache",
                "key",
                "shard_id",
                "success",
                "updated_at",
                "value"
            ]
        );
        assert_eq!(body["success"], true);
        assert_eq!(body["key"], "user:123");
        assert_eq!(body["value"], "John Doe");
        assert_eq!(body["from_cache"], from_cache);
        assert_eq!(body["shard_id"], 2);
        let (created, updated) = times(&body);
        assert_eq!(created, updated, "written once");
    }
}

fn created_at_survives_overwrites_but_not_a_deletion(setup: Setup) {
    let it = setup.start();
    let (mut conn, http) = (it.conn(), it.http());
    http.write("key", "one").expect(200);
    let (created, mut before) = times(&http.read("key").expect(200));
    for command in [
        "SET key two",
        "SET key three XX",
        "SET key four EX 1000",
        "SET key five GET",
        "MSET key six",
    ] {
        conn.run(command);
        let (created_now, updated) = times(&http.read("key").expect(200));
        assert_eq!(created_now, created, "after {command}");
        assert!(
            updated > before,
            "{updated} is later than {before} after {command}"
        );
        before = updated;
    }
    http.write("key", "seven").expect(200);
    let cached = [http.read("key").expect(200), http.read("key").expect(200)];
    assert_eq!(
        times(&cached[0]),
        times(&cached[1]),
        "the cache keeps the times"
    );
    assert_eq!(times(&cached[0]).0, created);
    conn.run("DEL key");
    http.write("key", "anew").expect(200);
    let (created_anew, updated) = times(&http.read("key").expect(200));
    assert!(created_anew > before, "{created_anew} is a new beginning");
    assert_eq!(created_anew, updated);
}

fn created_at_starts_anew_after_an_expiry(setup: Setup) {
    let it = setup.start();
    let (mut conn, http) = (it.conn(), it.http());
    let commands = [
        "SET k0 anew",
        "SET k1 anew NX",
        "SET k2 anew KEEPTTL",
        "SET k3 anew GET",
        "MSET k4 anew",
    ];
    let created: Vec<String> = (0..commands.len())
        .map(|n| {
            conn.set(format!("k{n}"), "value");
            let (created, _) = times(&http.read(format!("k{n}")).expect(200));
            assert_eq!(conn.run(&format!("EXPIRE k{n} 1")), ":1");
            created
        })
        .collect();
    for (n, command) in commands.into_iter().enumerate() {
        let key = format!("k{n}");
        crate::harness::eventually("the key expires", || conn.get(&key).is_none().then_some(()));
        conn.run(command);
        let (created_anew, updated) = times(&http.read(&key).expect(200));
        assert!(created_anew > created[n], "after {command}");
        assert_eq!(created_anew, updated, "after {command}");
    }
}

fn a_key_that_is_not_there_is_404(setup: Setup) {
    let it = setup.start();
    for key in ["nosuch", "", "a/b", "ключ"] {
        let answer = it.http().read(key);
        assert_eq!(
            answer.expect(404),
            json!({"detail": "Key not found"}),
            "{key:?}"
        );
        assert!(answer.content_type.starts_with("application/json"));
    }
}

fn an_expired_key_is_404(setup: Setup) {
    let it = setup.start();
    let (mut conn, http) = (it.conn(), it.http());
    conn.run("SET key value PX 700");
    conn.get("key");
    crate::harness::eventually("the key expires", || {
        let answer = http.read("key");
        (answer.status == 404)
            .then(|| assert_eq!(answer.json(), json!({"detail": "Key not found"})))
    });
    // A row that expired before anyone read it.
    conn.run("SET unread value EX 1000");
    assert!(it.shards().expire_all(shard_of(b"unread", 3)) >= 1);
    http.read("unread").expect_detail(404);
    http.write("unread", "again").expect(200);
    assert_eq!(conn.run("TTL unread"), ":-1");
}

fn a_body_that_lacks_a_field_or_has_a_wrong_type_is_422_and_names_the_field(setup: Setup) {
    let it = setup.start();
    for (body, field) in [
        (r#"{"value": "x"}"#, "key"),
        (r#"{"key": "a"}"#, "value"),
        (r#"{"key": 5, "value": "x"}"#, "key"),
        (r#"{"key": null, "value": "x"}"#, "key"),
        (r#"{"key": ["a"], "value": "x"}"#, "key"),
        (r#"{"key": "a", "value": 5}"#, "value"),
        (r#"{"key": "a", "value": null}"#, "value"),
        (r#"{"key": "a", "value": {"b": 1}}"#, "value"),
        (r#"{"key": "a", "value": true}"#, "value"),
        (r#"{"key": "a", "value": "x", "encoding": 5}"#, "encoding"),
        (
            r#"{"key": "a", "value": "x", "encoding": "rot13"}"#,
            "encoding",
        ),
        (
            r#"{"key": "a", "value": "*not base64*", "encoding": "base64"}"#,
            "value",
        ),
        (
            r#"{"key": "a", "value": "YQ", "encoding": "base64"}"#,
            "value",
        ),
    ] {
        let detail = it.http().post("/write", body.as_bytes()).expect_detail(422);
        assert!(detail.contains(field), "{body}: {detail}");
    }
    for body in [
        "",
        "{",
        "not json",
        "[]",
        "\"text\"",
        "null",
        "{\"key\": \"a\", \"value\": \"\u{0}",
        "{}",
    ] {
        it.http().post("/write", body.as_bytes()).expect_detail(422);
    }
    it.http()
        .post("/write", b"{\"key\": \"a\", \"value\": \"\xff\"}")
        .expect_detail(422);
    assert_eq!(it.conn().run("DBSIZE"), ":0");
}

fn a_refused_write_writes_nothing(setup: Setup) {
    let it = setup.start();
    it.http().write("key", "before").expect(200);
    it.http()
        .post("/write", br#"{"key": "key", "value": 5}"#)
        .expect_detail(422);
    it.http()
        .post(
            "/write",
            br#"{"key": "key", "value": "x", "encoding": "?"}"#,
        )
        .expect_detail(422);
    assert_eq!(it.http().value_and_origin("key").0, "before");
}

fn unknown_fields_of_a_body_do_no_harm(setup: Setup) {
    let it = setup.start();
    it.http()
        .post(
            "/write",
            br#"{"key": "key", "value": "v", "comment": [1, {"a": null}]}"#,
        )
        .expect(200);
    assert_eq!(it.http().value_and_origin("key").0, "v");
}

fn unknown_paths_are_404(setup: Setup) {
    let it = setup.start();
    for path in [
        "/nosuch",
        "/write/more",
        "/healthz",
        "/stats/shard_0",
        "/readme",
    ] {
        let answer = it.http().get(path);
        answer.expect_detail(404);
        assert!(
            answer.content_type.starts_with("application/json"),
            "{path}: {}",
            answer.content_type
        );
    }
}

fn wrong_methods_are_405(setup: Setup) {
    let it = setup.start();
    let http = it.http();
    it.conn().set("key", "value");
    for (method, path) in [
        ("GET", "/write"),
        ("DELETE", "/write"),
        ("DELETE", "/read/key"),
        ("DELETE", "/health"),
        ("DELETE", "/stats"),
        ("DELETE", "/metrics"),
    ] {
        let answer = http.call(method, path);
        answer.expect_detail(405);
        assert!(
            answer.content_type.starts_with("application/json"),
            "{method} {path}: {}",
            answer.content_type
        );
    }
    for path in ["/read/key", "/health", "/stats"] {
        http.post(path, b"{}").expect_detail(405);
    }
    assert_eq!(http.value_and_origin("key").0, "value");
}

fn every_key_that_resp_can_write_can_be_read(setup: Setup) {
    let it = setup.start();
    let (mut conn, http) = (it.conn(), it.http());
    let every_byte: Vec<u8> = (0..=255).collect();
    let keys: [&[u8]; 16] = [
        b"",
        b"/",
        b"//",
        b"a/b/c",
        b".",
        b"..",
        b"../health",
        b"%",
        b"%2F",
        b"a b+c",
        b"?x=1#y",
        b"\0",
        b"\xff\xfe",
        b"\r\n",
        "ключ/🗝️".as_bytes(),
        &every_byte,
    ];
    for (n, key) in keys.iter().enumerate() {
        conn.set(key, n.to_string());
    }
    for (n, key) in keys.iter().enumerate() {
        for _ in 0..2 {
            let body = http.read(key).expect(200);
            assert_eq!(body["value"], n.to_string(), "{}", key.escape_ascii());
            assert_eq!(body["shard_id"], shard_of(key, 3), "{}", key.escape_ascii());
            if let Ok(text) = str::from_utf8(key) {
                assert_eq!(body["key"], text);
            }
        }
    }
}

/// A GET whose path goes out exactly as written, as no client library would send it.
#[track_caller]
fn raw_get(addr: &str, path: &str) -> (String, String) {
    let mut conn = Conn::open(addr);
    conn.send(
        format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n").as_bytes(),
    );
    let answer = String::from_utf8(conn.read_to_end()).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

fn keys_in_a_path_may_hold_slashes_encoded_or_not(setup: Setup) {
    let it = setup.start();
    let (mut conn, http) = (it.conn(), it.http());
    for (key, path) in [
        ("a/b/c", "/read/a/b/c"),
        ("a/b/c", "/read/a%2Fb%2fc"),
        ("/", "/read//"),
        ("", "/read/"),
        ("..", "/read/.."),
        ("user:123", "/read/user:123"),
        ("user:123", "/read/user%3A123"),
        ("a+b", "/read/a+b"),
        ("key", "/read/key?ignored=1"),
    ] {
        conn.set(key, format!("the value of {key}"));
        let (status, body) = raw_get(http.addr(), path);
        assert!(status.contains(" 200 "), "{path}: {status} {body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["key"], key, "{path}");
        assert_eq!(body["value"], format!("the value of {key}"), "{path}");
    }
}

fn a_value_that_is_not_utf8_is_base64_both_ways(setup: Setup) {
    let it = setup.start();
    let (mut conn, http) = (it.conn(), it.http());
    let every_byte: Vec<u8> = (0..=255).collect();
    for value in [&b"\xff"[..], b"\xc3\x28", b"text \x80", &every_byte] {
        conn.set("key", value);
        for _ in 0..2 {
            let body = http.read("key").expect(200);
            assert_eq!(body["encoding"], "base64");
            assert_eq!(
                BASE64.decode(body["value"].as_str().unwrap()).unwrap(),
                value
            );
        }
    }
    for value in [&every_byte[..], b"", b"plain text", "Zoë".as_bytes()] {
        let body = json!({"key": "key", "value": BASE64.encode(value), "encoding": "base64"});
        http.post("/write", body.to_string().as_bytes()).expect(200);
        assert_eq!(conn.get("key").unwrap(), value);
        let body = http.read("key").expect(200);
        assert_eq!(
            body.get("encoding").is_some(),
            str::from_utf8(value).is_err(),
            "{body}"
        );
    }
}

fn a_text_value_is_text_whatever_it_looks_like(setup: Setup) {
    let it = setup.start();
    let (mut conn, http) = (it.conn(), it.http());
    for value in [
        "",
        "YWJj",
        "ключ 🗝️",
        "a\0b",
        "line\r\nline",
        "\"quoted\" \\ \u{2028}",
        "{\"json\": true}",
        "null",
    ] {
        http.write("key", value).expect(200);
        assert_eq!(conn.get("key").unwrap(), value.as_bytes());
        let body = http.read("key").expect(200);
        assert_eq!(body["value"], value);
        assert_eq!(body.get("encoding"), None, "absent for text: {body}");
        conn.set("key", value);
        assert_eq!(http.read("key").expect(200)["value"], value);
    }
}

fn a_write_takes_an_expiry_away(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.run("SET key value EX 1000");
    it.http().write("key", "other").expect(200);
    assert_eq!(conn.run("TTL key"), ":-1");
}

fn stats_have_their_names_and_types(setup: Setup) {
    let it = setup.start();
    let stats = it.http().stats();
    for name in ["cache_hits", "cache_misses", "cache_keys", "num_shards"] {
        assert!(stats[name].is_u64(), "{name} in {stats}");
    }
    assert_eq!(stats["cache_available"], true);
    assert!(stats["cache_hit_rate"].is_number(), "{stats}");
    assert_eq!(
        stats["cache_hit_rate"].as_f64().unwrap(),
        0.0,
        "no read yet"
    );
    assert_eq!(stats["num_shards"], 3);
    for name in ["shard_pool_sizes", "shard_distribution"] {
        let mut shards: Vec<&String> = stats[name].as_object().unwrap().keys().collect();
        shards.sort();
        assert_eq!(shards, ["shard_0", "shard_1", "shard_2"], "{name}");
        assert!(
            stats[name].as_object().unwrap().values().all(Value::is_u64),
            "{name} in {stats}"
        );
    }
    assert!(
        stats["shard_pool_sizes"]["shard_0"].as_u64().unwrap() >= 1,
        "{stats}"
    );
}

fn stats_count_rows_on_each_shard(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    for n in 0..100 {
        conn.set(format!("key:{n}"), "value");
    }
    let expected: Vec<i64> = (0..3).map(|shard| it.shards().rows(shard)).collect();
    assert_eq!(expected.iter().sum::<i64>(), 100);
    // It may be an estimate, but of a small table, and soon, it is right.
    crate::harness::eventually("the distribution is counted", || {
        let counts = it.http().stats()["shard_distribution"].clone();
        (0..3)
            .all(|shard| counts[format!("shard_{shard}")] == expected[shard])
            .then_some(())
    });
    assert_eq!(it.http().stats()["cache_keys"], 0, "nothing was read");
    conn.get("key:1");
    conn.get("key:2");
    assert_eq!(it.http().stats()["cache_keys"], 2);
}

fn health_is_healthy_when_all_is_up(setup: Setup) {
    let it = setup.start();
    let expected = json!({
        "status": "healthy",
        "layer": "4-db-sharding",
        "shards": {"shard_0": "healthy", "shard_1": "healthy", "shard_2": "healthy"},
        "cache": "healthy"
    });
    assert_eq!(it.http().health(), (200, expected));
}

fn openapi_json_lists_the_calls(setup: Setup) {
    let it = setup.start();
    let document = it.http().get("/openapi.json").expect(200);
    assert!(
        document["openapi"].as_str().unwrap().starts_with("3."),
        "{}",
        document["openapi"]
    );
    assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());
    for (path, method) in [
        ("/write", "post"),
        ("/read/{key}", "get"),
        ("/health", "get"),
        ("/stats", "get"),
    ] {
        let call = &document["paths"][path][method];
        assert!(
            call["responses"]["200"].is_object(),
            "{method} {path}: {call}"
        );
    }
    for status in ["404", "503"] {
        assert!(
            document["paths"]["/read/{key}"]["get"]["responses"][status].is_object(),
            "{status}"
        );
    }
    // References lead somewhere.
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(
            document.pointer(pointer).is_some(),
            "{pointer} is not in the document"
        );
    }
}

fn the_docs_page_needs_no_other_server(setup: Setup) {
    let it = setup.start();
    let answer = it.http().get("/docs");
    assert_eq!(answer.status, 200);
    assert!(
        answer.content_type.starts_with("text/html"),
        "{}",
        answer.content_type
    );
    let page = answer.text().to_lowercase();
    for load in [
        "src=\"http",
        "src=\"//",
        "src='http",
        "@import",
        "url(http",
        "url(//",
    ] {
        assert!(!page.contains(load), "the page loads something: {load}");
    }
    for tag in page
        .split("<link")
        .skip(1)
        .map(|rest| rest.split('>').next().unwrap())
    {
        assert!(!tag.contains("//"), "the page loads something: <link{tag}>");
    }
    for path in ["/write", "/read/", "/health", "/stats"] {
        assert!(
            page.contains(path) || page.contains("openapi.json"),
            "{path} is described"
        );
    }
}

fn metrics_are_in_the_text_format_of_prometheus(setup: Setup) {
    let it = setup.start();
    let mut conn = it.conn();
    conn.set("key", "value");
    conn.get("key");
    conn.get("key");
    let answer = it.http().get("/metrics");
    assert_eq!(answer.status, 200);
    assert!(
        answer.content_type.starts_with("text/plain"),
        "{}",
        answer.content_type
    );
    let text = answer.text();
    assert!(text.ends_with('\n'), "the last line is whole");
    let mut samples = 0;
    let mut described = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(
                ["counter", "gauge", "histogram", "summary", "untyped"].contains(&kind),
                "{line}"
            );
            described.push(name.to_owned());
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let name = series.split('{').next().unwrap();
            assert!(
                name.starts_with("respgres_") || name.starts_with("process_"),
                "{line}"
            );
            assert!(
                described
                    .iter()
                    .any(|known| name.starts_with(known.as_str())),
                "{name} has a TYPE before it"
            );
            samples += 1;
        }
    }
    assert!(samples > 0, "{text}");
    assert!(text.contains("# HELP "), "{text}");
    assert!(text.contains("hits"), "{text}");
}

fn one_connection_serves_many_requests(setup: Setup) {
    let it = setup.start();
    let addr = it.http().addr().to_owned();
    let mut conn = Conn::open(&addr);
    for _ in 0..3 {
        conn.send(format!("GET /health HTTP/1.1\r\nHost: {addr}\r\n\r\n").as_bytes());
    }
    conn.send(
        format!("GET /health HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n").as_bytes(),
    );
    let answers = String::from_utf8(conn.read_to_end()).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 4, "{answers}");
}

fn a_broken_request_disturbs_nobody(setup: Setup) {
    let it = setup.start();
    let addr = it.http().addr().to_owned();
    for bytes in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"*1\r\n$4\r\nPING\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /read/%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /read/%4 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"POST /write HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
    ] {
        let mut conn = Conn::open(&addr);
        conn.send(bytes);
        let answer = conn.read_to_end();
        assert!(
            !answer.starts_with(b"HTTP/1.1 5"),
            "{}: {}",
            bytes.escape_ascii(),
            answer.escape_ascii()
        );
        it.http().write("key", "value").expect(200);
    }
    // One that promises a body and leaves.
    let mut conn = Conn::open(&addr);
    conn.send(b"POST /write HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{\"key\"");
    conn.finish_sending();
    conn.read_to_end();
    assert_eq!(it.conn().cmd(&args!["GET", "key"]), "\"value\"");
}
