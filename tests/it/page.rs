//! The page at `/`, in a browser, with real traffic behind; and the stream of events that it reads.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{
    Browser, Conn, Deployment, PostgresServer, ProxyBuilder, RedisServer, Scratch, Setup, args,
    both_backends, eventually, free_port, key_on, keys_on_each,
};

both_backends!(
    one_event_is_sent_to_who_asks_for_one,
    a_stream_begins_with_what_was_and_ends_when_the_proxy_stops,
    only_so_many_may_watch,
    the_page_is_for_get_alone,
);

/// Clients that read and write the same keys without pause, until they are dropped.
struct Traffic {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Traffic {
    fn start(addr: &str, keys: &[String]) -> Traffic {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = |number: usize| {
            let (stop, keys, addr) = (Arc::clone(&stop), keys.to_owned(), addr.to_owned());
            std::thread::spawn(move || {
                let mut random = fastrand::Rng::with_seed(number as u64);
                let mut conn = Conn::open(&addr);
                while !stop.load(Ordering::Relaxed) {
                    // The first keys most.
                    let most = random.usize(0..keys.len());
                    let key = &keys[random.usize(0..=most)];
                    let command = match random.u32(0..10) {
                        0 => args!["SET", key, "value"].to_vec(),
                        _ => args!["GET", key].to_vec(),
                    };
                    // A shard may be down.
                    conn.cmd(&command);
                    std::thread::sleep(Duration::from_millis(random.u64(1..6)));
                }
            })
        };
        let threads = (0..4).map(thread).collect();
        Traffic { stop, threads }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "a client failed");
        }
    }
}

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("key:{n}")).collect()
}

/// Has the page of a proxy open, and shown some figures.
#[track_caller]
fn watch(url: &str) -> Browser {
    let browser = Browser::start();
    browser.look(1280, 900, "light");
    browser.open(url);
    browser.until(LIVE);
    browser
}

const LIVE: &str = "document.getElementById('link').textContent.trim() === 'Live'";

/// Nothing was loaded from elsewhere, and nothing went wrong.
#[track_caller]
fn assert_quiet(browser: &Browser, origin: &str) {
    let noticed = browser.noticed();
    assert!(!noticed.requests.is_empty(), "the page was requested");
    for url in &noticed.requests {
        assert!(
            url.starts_with(origin) || url.starts_with("data:image/svg+xml"),
            "a request to elsewhere: {url}"
        );
    }
    assert_eq!(noticed.complaints, [] as [String; 0]);
    assert_eq!(noticed.dialogs, [] as [String; 0]);
}

fn url_of(it: &Deployment) -> String {
    format!("http://{}/", it.http().addr())
}

/// A number at the beginning of a text, whatever its unit.
fn number(text: &str) -> f64 {
    let end = text
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .unwrap_or(text.len());
    let number = text[..end].parse();
    number.unwrap_or_else(|_| panic!("not a number: {text:?}"))
}

#[test]
fn the_numbers_are_those_of_the_traffic() {
    let it = Setup::postgres().env("REDIS_TIMEOUT_MS", "5000").start();
    let mut conn = it.conn();
    for key in keys(30) {
        conn.set(key, "value");
    }
    conn.set("counter", "no number");
    for _ in 0..7 {
        assert!(conn.run("INCR counter").is_error());
    }
    let url = url_of(&it);
    let browser = watch(&url);
    let tile = |n: u32| browser.text(&format!("#tiles .tile:nth-child({n}) strong"));
    browser.until("document.querySelector('#tiles .tile strong').textContent === '0/s'");
    assert_eq!(browser.text("#state"), "Ready");
    // Counting them may take a moment.
    browser.until("document.getElementById('shards-sum').textContent === '3 of 3 up · 31 rows'");
    let incr = "[...document.querySelectorAll('#commands tbody tr')].find((row) => row.cells[0].textContent === 'INCR')";
    assert_eq!(browser.eval(&format!("{incr}.cells[4].textContent")), "7");
    let errors = "[0, 1, 3].map((n) => document.getElementById('errors').tBodies[0].rows[0].cells[n].textContent).join()";
    assert_eq!(browser.eval(errors), "INCR,ERR,7");

    let traffic = Traffic::start(&it.resp_addr(), &keys(30));
    browser.until("parseFloat(document.querySelector('#tiles strong').textContent) > 20");
    browser.until("parseFloat(document.querySelectorAll('#tiles strong')[2].textContent) > 30");
    assert!(number(&tile(2)) > 0.0, "writes: {}", tile(2));
    for n in [4, 5] {
        assert!(tile(n).contains("s"), "latency: {}", tile(n));
        assert!(number(&tile(n)) > 0.0);
    }
    // The key that is asked for most is the first.
    browser.until("document.querySelector('#hot tbody th')?.textContent === 'key:0'");
    browser.until(
        "[...document.querySelectorAll('#shards .card')].every((card) => parseFloat(card.querySelector('.meter b').textContent) > 0)",
    );
    let shares = browser.eval("[...document.querySelectorAll('#shards .meter b')].reduce((sum, share) => sum + parseFloat(share.textContent), 0)");
    let shares = shares.as_f64().unwrap();
    assert!((shares - 100.0).abs() < 0.5, "the shares are {shares} %");
    // The curves have got points on them.
    browser.until("document.querySelectorAll('#charts .line.reads')[1]?.getAttribute('d').length > 40 || document.querySelector('#charts path.line.reads').getAttribute('d').length > 40");
    drop(traffic);
    browser.until("document.querySelector('#tiles .tile strong').textContent === '0/s'");
    // A shard that gets all of it stands out by a word.
    let key = key_on(1, 3, "one");
    eventually("shard_1 is hot", || {
        for _ in 0..20 {
            conn.set(&key, "value");
        }
        let words =
            "[...document.querySelectorAll('#shards .tag')].map((it) => it.textContent).join()";
        (browser.eval(words) == "Up,Up, hot,Up").then_some(())
    });
    assert_quiet(&browser, &url);
}

#[test]
fn a_shard_that_is_down_says_why_and_comes_back() {
    let mut servers = [PostgresServer::separate(), PostgresServer::separate()];
    let urls: Vec<String> = servers
        .iter()
        .map(PostgresServer::create_database)
        .collect();
    let mut redis = RedisServer::start();
    let dir = Scratch::new("page");
    let proxy = ProxyBuilder::new(dir.path())
        .shard_urls(&urls)
        .env("REDIS_URL", redis.url())
        // A machine that is out of breath is not what is looked at.
        .env("REDIS_TIMEOUT_MS", "5000")
        .start();
    // Several keys on each, in turns: none of the two shards stands out.
    let keys: Vec<String> = (0..8)
        .flat_map(|n| keys_on_each(2, &format!("key:{n}")))
        .collect();
    let _traffic = Traffic::start(proxy.resp_addr(), &keys);
    let browser = watch(&format!("http://{}/", proxy.http().addr()));
    let card = |n: usize| format!("document.querySelectorAll('#shards .card')[{n}]");
    let is = |n: usize, level: &str, word: &str| {
        let card = card(n);
        browser.until(&format!(
            "{card}.dataset.level === '{level}' && {card}.querySelector('.tag').textContent === '{word}'"
        ));
    };
    is(0, "good", "Up");
    is(1, "good", "Up");
    servers[1].crash();
    is(1, "bad", "Down");
    is(0, "good", "Up");
    assert_eq!(browser.text("#state"), "Degraded");
    eventually("the reason is that of /health", || {
        let health = proxy.http().health().1;
        let reason = health["reasons"]["shard_1"].as_str()?;
        let shown = browser.eval(&format!("{}.querySelector('.reason').innerText", card(1)));
        shown.as_str()?.starts_with(reason).then_some(())
    });
    let notice = browser.text("#notices");
    assert!(notice.contains("shard_1 is down"), "{notice}");
    browser.until("document.querySelector('#errors tbody')?.textContent.includes('SHARDDOWN')");

    servers[1].start_again();
    is(1, "good", "Up");
    browser.until("document.getElementById('notices').textContent === ''");
    assert_eq!(browser.text("#state"), "Ready");

    redis.crash();
    browser.until("document.getElementById('cache-state').textContent === 'Not in use'");
    let notice = browser.text("#notices");
    assert!(notice.contains("cache is not in use"), "{notice}");
    is(0, "warn", "Up, not cached");
}

#[test]
fn what_clients_send_is_shown_as_text() {
    let it = Setup::postgres().start();
    let hostile = [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(2)>",
        "</script><script>alert(3)</script>",
        "'\"><svg/onload=alert(4)>",
        "\n\ndata: {}\n\nevent: hello\n",
    ];
    let mut conn = it.conn();
    conn.run("CLIENT SETNAME <img/src=x/onerror=alert(5)>");
    conn.run("CONFIG SET slowlog-log-slower-than 0");
    let url = url_of(&it);
    let browser = watch(&url);
    let is_listed = |list: &str, text: &str| {
        let text = Value::from(text);
        let found = format!("document.getElementById('{list}').textContent.includes({text})");
        browser.eval(&found) == true
    };
    for text in hostile {
        eventually("it is among the hot keys and the slow commands", || {
            conn.set(text, text);
            conn.cmd(&args!["GET", text]);
            (is_listed("hot", text) && is_listed("slow", text)).then_some(())
        });
    }
    assert!(is_listed("slow", "<img/src=x/onerror=alert(5)>"));
    // A key that is no text.
    eventually("it is told as base64", || {
        conn.set(b"\xff\xfe", "value");
        is_listed("hot", "base64://4=").then_some(())
    });
    let elements = "document.querySelectorAll('img, main script, main svg[onload], iframe').length";
    assert_eq!(browser.eval(elements), 0);
    assert_quiet(&browser, &url);
}

#[test]
fn the_policy_of_the_page_keeps_other_scripts_out() {
    let it = Setup::embedded().start();
    let browser = watch(&url_of(&it));
    browser.noticed();
    browser.eval(
        "(() => { const it = document.createElement('script'); it.textContent = 'window.broken = 1'; document.body.append(it); })()",
    );
    assert_eq!(browser.eval("window.broken === undefined"), true);
    let image = "new Promise((done) => { const it = new Image(); it.onload = it.onerror = (event) => done(event.type); it.src = 'http://127.0.0.1:1/x.png'; })";
    assert_eq!(browser.eval(image), "error");
    let complaints = browser.noticed().complaints;
    assert_eq!(complaints.len(), 2, "both are refused: {complaints:?}");
    let answer = it.http().get("/");
    let policy = answer.header("content-security-policy").unwrap();
    assert!(
        !policy.contains("unsafe") && !policy.contains("http"),
        "{policy}"
    );
}

/// Texts whose contrast with what is behind them is below what WCAG 2.1 wants (AA).
const LOW_CONTRAST: &str = r"(() => {
    const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
    const luminance = (colour) => channels(colour).slice(0, 3).map((part) => part / 255)
        .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
        .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
    const ground = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor;
            if (channels(colour)[3] !== 0) return colour;
        }
        return 'rgb(255, 255, 255)';
    };
    const found = [];
    for (const element of document.querySelectorAll('body *')) {
        const text = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join('');
        if (!text || element.closest('script, style, noscript') || !element.getClientRects().length) continue;
        const style = getComputedStyle(element);
        const colour = element instanceof SVGElement ? style.fill : style.color;
        const [one, other] = [luminance(colour), luminance(ground(element))].sort((a, b) => b - a);
        const contrast = (one + 0.05) / (other + 0.05);
        if (contrast < 4.5) found.push(`${text}: ${contrast.toFixed(2)}`);
    }
    return found;
})()";

/// Tiles in which the two texts overlap or the figure is cut, when they are as long as they get.
const OVERLAPS: &str = "(() => {
    const found = [];
    for (const tile of document.querySelectorAll('.tile')) {
        const [figure, note] = [tile.querySelector('strong'), tile.querySelector('.quiet')];
        figure.textContent = '999,999/s';
        note.textContent = '123,456/s misses';
        const [one, other] = [figure, note].map((it) => it.getBoundingClientRect());
        const range = document.createRange();
        range.selectNodeContents(figure);
        const end = range.getBoundingClientRect().right;
        const inside = tile.getBoundingClientRect().right;
        if (end > other.left + 0.5 && one.bottom > other.top && other.bottom > one.top) found.push(`overlap in ${tile.textContent}`);
        if (end > inside || other.right > inside) found.push(`${tile.textContent} is cut`);
    }
    return found;
})()";

#[test]
fn many_shards_have_small_cards_and_texts_of_tiles_do_not_overlap() {
    let it = Setup::embedded().shards(13).start();
    let browser = watch(&url_of(&it));
    browser.until("document.querySelectorAll('.card').length === 13");
    for width in [1280, 1366, 1920, 360] {
        browser.look(width, 900, "light");
        browser.until(&format!("innerWidth === {width}"));
        let overlaps = browser.eval(OVERLAPS);
        assert_eq!(overlaps, Value::Array(Vec::new()), "{width}");
        let wide = browser.eval("document.documentElement.scrollWidth");
        assert!(wide.as_u64() <= Some(u64::from(width)), "{wide} of {width}");
    }
    browser.look(1280, 900, "light");
    let tall = browser.eval("document.getElementById('shards').offsetHeight");
    assert!(tall.as_u64() < Some(450), "{tall}");
    let terms = browser.eval(
        "[...document.querySelectorAll('.card:first-child dt')].filter((it) => it.offsetParent).map((it) => it.textContent).join()",
    );
    assert_eq!(terms, "Reads,Writes,Failed");
    let few = Setup::embedded().shards(12).start();
    browser.open(&url_of(&few));
    browser.until("document.querySelectorAll('.card').length === 12");
    let terms = browser.eval(
        "[...document.querySelectorAll('.card:first-child dt')].filter((it) => it.offsetParent).length",
    );
    assert_eq!(terms, 8);
}

#[test]
fn it_can_be_read_on_a_phone_and_a_wide_screen_in_light_and_dark() {
    let it = Setup::postgres().start();
    let mut conn = it.conn();
    conn.set(format!("a-long-key:{}", "x".repeat(300)), "y".repeat(300));
    conn.run("CONFIG SET slowlog-log-slower-than 0");
    conn.run("INCR counter:no");
    conn.set("counter", "no");
    conn.run("INCR counter");
    let _traffic = Traffic::start(&it.resp_addr(), &keys(10));
    let browser = watch(&url_of(&it));
    browser.until("document.querySelectorAll('#hot tbody tr').length > 5");
    browser.eval("document.querySelectorAll('details').forEach((it) => { it.open = true; })");
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        for (width, height) in [(360, 740), (768, 1024), (1920, 1080)] {
            browser.look(width, height, scheme);
            browser.until(&format!("innerWidth === {width}"));
            let wide = browser.eval("document.documentElement.scrollWidth");
            assert!(wide.as_u64() <= Some(u64::from(width)), "{wide} of {width}");
            let low = browser.eval(LOW_CONTRAST);
            assert_eq!(low, Value::Array(Vec::new()), "{scheme}, {width}");
        }
        grounds.push(browser.eval("getComputedStyle(document.body).backgroundColor"));
    }
    assert_ne!(grounds[0], grounds[1], "dark is not light");
    browser.look(1280, 900, "light");
    browser.eval("document.body.style.color = '#a0a0a0'");
    assert_ne!(
        browser.eval(LOW_CONTRAST),
        Value::Array(Vec::new()),
        "it is noticed"
    );
    browser.eval("document.body.style.color = ''");
    // Who has no figures yet, or lost them, can read that, too.
    browser.eval("document.querySelectorAll('.pill, .tag, .notice').forEach((it) => { it.dataset.level = 'bad'; })");
    assert_eq!(browser.eval(LOW_CONTRAST), Value::Array(Vec::new()));
}

#[test]
fn the_colours_can_be_chosen_by_keyboard_and_are_remembered() {
    let it = Setup::embedded().start();
    let url = url_of(&it);
    let browser = watch(&url);
    let ground = "getComputedStyle(document.body).backgroundColor";
    let light = browser.eval(ground);
    eventually("the button has the focus", || {
        browser.press("Tab", 9, "");
        (browser.eval("document.activeElement.id") == "theme").then_some(())
    });
    assert_eq!(
        browser.eval("document.activeElement.matches(':focus-visible')"),
        true
    );
    browser.press("Enter", 13, "\r");
    assert_eq!(browser.text("#theme"), "Theme: light");
    browser.press("Enter", 13, "\r");
    assert_eq!(browser.text("#theme"), "Theme: dark");
    assert_ne!(browser.eval(ground), light);
    browser.open(&url);
    browser.until("document.getElementById('theme').textContent === 'Theme: dark'");
    assert_ne!(browser.eval(ground), light);
    let moving = "matchMedia('(prefers-reduced-motion: reduce)').matches || document.getAnimations().length > 0";
    browser.until(moving);
    let reduce =
        serde_json::json!({"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]});
    browser.call("Emulation.setEmulatedMedia", reduce);
    browser.until("document.getAnimations().length === 0");
}

#[test]
fn a_lost_proxy_is_told_and_found_again() {
    let dir = Scratch::new("restart");
    let http = format!("127.0.0.1:{}", free_port());
    let mut proxy = ProxyBuilder::new(dir.path())
        .env("HTTP_ADDR", http.as_str())
        .start();
    let url = format!("http://{http}/");
    let browser = watch(&url);

    // Told to drain, with a client that is in the middle of something.
    let mut conn = proxy.conn();
    conn.run("MULTI");
    proxy.signal(Signal::SIGQUIT);
    browser.until("document.getElementById('state').textContent === 'Draining'");
    browser.until("document.getElementById('notices').textContent.includes('Draining')");
    conn.run("EXEC");
    drop(conn);
    assert_eq!(proxy.wait_exit().code, 0);
    browser.until("document.getElementById('link').textContent.trim() === 'Disconnected'");
    let notice = browser.text("#notices");
    assert!(
        notice.contains("connection to the proxy is lost"),
        "{notice}"
    );
    assert_eq!(browser.eval("document.title"), "Disconnected · respgres");

    proxy.start_again();
    browser.until(LIVE);
    browser.until("document.getElementById('notices').textContent === ''");
    let traffic = Traffic::start(proxy.resp_addr(), &keys(5));
    browser.until("parseFloat(document.querySelector('#tiles strong').textContent) > 5");
    drop(traffic);
    // What could not be reached is complained of by the browser itself, and nothing else is.
    for complaint in browser.noticed().complaints {
        assert!(complaint.contains("net::ERR_"), "{complaint}");
    }
}

#[test]
fn the_page_works_below_a_path_of_a_reverse_proxy() {
    let it = Setup::embedded().start();
    let front = reverse_proxy("/ops/respgres", it.http().addr());
    let browser = watch(&format!("http://{front}/ops/respgres/"));
    let requests = browser.noticed().requests;
    let below = format!("http://{front}/ops/respgres/");
    assert!(requests.contains(&format!("{below}events")), "{requests:?}");
    for link in ["docs", "metrics"] {
        let href = format!("document.querySelector('nav a[href={link}]').href");
        assert_eq!(browser.eval(&href), format!("{below}{link}"));
    }
}

/// Takes a prefix off the paths, and lets all else through; where it listens.
fn reverse_proxy(prefix: &'static str, to: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let to = to.to_owned();
    let serve = move |client: TcpStream| -> Option<()> {
        let mut reader = BufReader::new(client.try_clone().ok()?);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            (reader.read_line(&mut head).ok()? > 0).then_some(())?;
        }
        let head = head.replacen(&format!(" {prefix}/"), " /", 1);
        let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
        let mut server = TcpStream::connect(&to).ok()?;
        server.write_all(head.as_bytes()).ok()?;
        std::io::copy(&mut server, &mut &client).ok()?;
        client.shutdown(std::net::Shutdown::Both).ok()
    };
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(client));
        }
    });
    addr
}

/// A stream of events.
struct Events(BufReader<TcpStream>);

impl Events {
    #[track_caller]
    fn open(addr: &str) -> Events {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream
            .set_read_timeout(Some(crate::harness::DEADLINE))
            .unwrap();
        let request = format!("GET /events HTTP/1.1\r\nHost: {addr}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        Events(BufReader::new(stream))
    }

    /// The data of the next event, and its name.
    #[track_caller]
    fn next(&mut self) -> (String, Value) {
        let mut name = String::new();
        loop {
            let mut line = String::new();
            assert!(
                self.0.read_line(&mut line).unwrap() > 0,
                "the stream goes on"
            );
            if let Some(rest) = line.strip_prefix("event: ") {
                name = rest.trim().to_owned();
            }
            if let Some(rest) = line.strip_prefix("data: ") {
                return (name, serde_json::from_str(rest).unwrap());
            }
        }
    }
}

fn one_event_is_sent_to_who_asks_for_one(setup: Setup) {
    let it = setup.start();
    it.conn().set("key", "value");
    let answer = it.http().get("/events?once=true");
    assert_eq!(
        (answer.status, &*answer.content_type),
        (200, "text/event-stream")
    );
    let text = answer.text();
    let data = text.strip_prefix("data: ").unwrap().strip_suffix("\n\n");
    let snapshot: Value = serde_json::from_str(data.unwrap()).unwrap();
    assert_eq!(snapshot["shards"].as_array().unwrap().len(), 3);
    assert_eq!(snapshot["state"]["state"], "ready");
    let detail = it.http().get("/events?once=maybe").expect_detail(422);
    assert!(detail.contains("once"), "{detail}");
}

fn a_stream_begins_with_what_was_and_ends_when_the_proxy_stops(setup: Setup) {
    let mut it = setup.start();
    let mut events = Events::open(it.http().addr());
    let (name, hello) = events.next();
    assert_eq!(name, "hello");
    assert!(hello["history"].is_array());
    let settings = hello["configuration"].as_array().unwrap();
    let threads = settings.iter().find(|it| it["name"] == "WORKER_THREADS");
    assert_eq!(threads.unwrap()["source"], "default");
    let at = |event: (String, Value)| {
        assert_eq!(event.0, "");
        event.1["now"]["at"].as_u64().unwrap()
    };
    let first = at(events.next());
    let second = at(events.next());
    assert!(second > first, "{second} is after {first}");
    // Who comes later is shown what was meanwhile.
    let mut late = Events::open(it.http().addr());
    let history = late.next().1["history"].clone();
    let history = history.as_array().unwrap().last().unwrap()["at"].as_u64();
    assert!(history >= Some(first));
    it.proxy_mut().terminate();
    assert_eq!(it.proxy_mut().wait_exit().code, 0);
    let log = it.proxy().log();
    assert!(
        !log.contains("SHUTDOWN_TIMEOUT_MS"),
        "viewers hold nothing up: {log}"
    );
    let mut rest = Vec::new();
    events.0.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(b"0\r\n\r\n"), "the stream is whole");
}

fn only_so_many_may_watch(setup: Setup) {
    let it = setup.start();
    let mut watching: Vec<Events> = (0..64).map(|_| Events::open(it.http().addr())).collect();
    for events in &mut watching {
        assert_eq!(events.next().0, "hello");
    }
    let answer = it.http().get("/events");
    let detail = answer.expect_detail(503);
    assert!(detail.contains("64 others watch"), "{detail}");
    assert_eq!(answer.header("retry-after"), Some("1"));
    watching.pop();
    eventually("there is room", || {
        (it.http().get("/events?once=true").status == 200).then_some(())
    });
}

fn the_page_is_for_get_alone(setup: Setup) {
    let it = setup.start();
    let answer = it.http().get("/");
    assert_eq!(answer.status, 200);
    assert!(answer.content_type.starts_with("text/html"));
    for path in ["/", "/events"] {
        it.http().post(path, b"{}").expect_detail(405);
    }
}

#[test]
fn who_has_the_token_sees_the_page_and_nobody_else() {
    let token = "a-token-0123456789";
    let dir = Scratch::new("page-token");
    let proxy = ProxyBuilder::new(dir.path())
        .env("HTTP_TOKEN", token)
        .start();
    let http = proxy.http();
    for path in ["/", "/events", "/events?once=true"] {
        assert_eq!(http.get(path).status, 401, "{path}");
    }
    let browser = watch(&format!("http://anybody:{token}@{}/", http.addr()));
    let shown = browser.eval("document.documentElement.outerHTML");
    assert!(!shown.as_str().unwrap().contains(token), "it is no figure");
    assert!(shown.as_str().unwrap().contains("HTTP_TOKEN"));
}

#[test]
fn a_reload_shows_what_is_in_force_then() {
    let mut it = Setup::embedded().start();
    let mut events = Events::open(it.http().addr());
    let ttl = |settings: &Value| {
        let settings = settings.as_array().unwrap();
        let ttl = settings
            .iter()
            .find(|it| it["name"] == "CACHE_TTL")
            .unwrap();
        (ttl["value"].clone(), ttl["source"].clone())
    };
    let hello = events.next().1;
    assert_eq!(
        ttl(&hello["configuration"]),
        ("300".into(), "default".into())
    );
    std::fs::write(it.dir().join(".env"), "CACHE_TTL=17\n").unwrap();
    it.proxy_mut().signal(Signal::SIGHUP);
    let told = eventually("the configuration is told again", || {
        let (name, data) = events.next();
        (name == "configuration").then_some(data)
    });
    assert_eq!(ttl(&told), ("17".into(), ".env".into()));
}

#[test]
fn secrets_are_not_told() {
    let dir = Scratch::new("secrets");
    let proxy = ProxyBuilder::new(dir.path())
        .shard_urls(&["postgresql://nobody:hunter2@127.0.0.1:1/nothing"])
        .env("REDIS_URL", "redis://:hunter2@127.0.0.1:1")
        .start();
    let mut events = Events::open(proxy.http().addr());
    let told: Vec<String> = (0..2).map(|_| events.next().1.to_string()).collect();
    assert!(told[0].contains("postgresql://nobody:***@127.0.0.1:1/nothing"));
    assert!(
        told[1].contains("redis://***@127.0.0.1:1") || told[1].contains("redis://:***@127.0.0.1:1")
    );
    assert!(!told.concat().contains("hunter2"));
}

/// Not a test: the pictures of README, with some minutes of traffic. `make screenshots` runs it.
#[test]
#[ignore = "takes minutes, and writes into docs/"]
fn screenshots() {
    let it = Setup::postgres().env("REDIS_TIMEOUT_MS", "5000").start();
    it.conn().run("CONFIG SET slowlog-log-slower-than 20000");
    let all: Vec<String> = ["session", "user", "cart", "product", "feature"]
        .iter()
        .flat_map(|kind| (1..200).map(move |n| format!("{kind}:{n}")))
        .collect();
    let stop = Arc::new(AtomicBool::new(false));
    let client = |number: usize| {
        let (stop, all, addr) = (Arc::clone(&stop), all.clone(), it.resp_addr());
        std::thread::spawn(move || {
            let mut random = fastrand::Rng::with_seed(number as u64);
            let mut conn = Conn::open(&addr);
            let name = ["checkout", "cart-api", "search", "worker"][number % 4];
            conn.run(&format!("CLIENT SETNAME {name}"));
            let start = std::time::Instant::now();
            while !stop.load(Ordering::Relaxed) {
                let skewed = random.f64().powi(3) * all.len() as f64;
                let key = &all[skewed as usize * 7919 % all.len()];
                let command = match random.u32(0..100) {
                    0..8 => args!["GET", "feature:1"].to_vec(),
                    8..84 => args!["GET", key].to_vec(),
                    84..90 => args!["MGET", key, "user:1", "user:2"].to_vec(),
                    90..98 => {
                        args!["SET", key, "{\"items\":3,\"total\":42.5}", "EX", "600"].to_vec()
                    }
                    _ => args!["INCR", "counter:orders"].to_vec(),
                };
                conn.cmd(&command);
                let wave = 1.0 + 0.5 * (start.elapsed().as_secs_f64() / 25.0).sin();
                std::thread::sleep(Duration::from_micros((9000.0 / wave) as u64));
            }
        })
    };
    let clients: Vec<_> = (0..8).map(client).collect();
    let url = url_of(&it);
    let browser = watch(&url);
    let minutes = "points.length > 0 && points.at(-1).at - points[0].at > 285000";
    while browser.eval(minutes) != true {
        std::thread::sleep(Duration::from_secs(1));
    }
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    std::fs::create_dir_all(&docs).unwrap();
    for (scheme, file) in [("light", "page.png"), ("dark", "page-dark.png")] {
        browser.look(1440, 1134, scheme);
        let hidden = serde_json::json!({"hidden": true});
        browser.call("Emulation.setScrollbarsHidden", hidden);
        // Past the transitions.
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(browser.text("#state"), "Ready", "take them again");
        std::fs::write(docs.join(file), browser.screenshot()).unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
}
