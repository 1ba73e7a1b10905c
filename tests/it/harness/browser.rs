//! Headless Chromium, driven by its DevTools protocol: <https://chromedevtools.github.io/devtools-protocol/>

use std::net::TcpStream;
use std::process::Command;
use std::sync::Mutex;

use base64::Engine as _;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use super::guardian::Guardian;
use super::http::Http;
use super::scratch::Scratch;
use super::wait::{DEADLINE, eventually};

/// What a page has done that it should not do unnoticed.
#[derive(Debug, Default)]
pub struct Noticed {
    /// The addresses that it asked for.
    pub requests: Vec<String>,
    /// Errors and warnings of the console, and uncaught exceptions.
    pub complaints: Vec<String>,
    /// What was shown by `alert` and its like.
    pub dialogs: Vec<String>,
}

struct Session {
    socket: WebSocket<TcpStream>,
    last_id: u64,
    noticed: Noticed,
}

/// A browser with one page. Dropping it ends it.
pub struct Browser {
    session: Mutex<Session>,
    _guardian: Guardian,
    _dir: Scratch,
}

impl Browser {
    /// Starts one, with an empty page.
    #[track_caller]
    pub fn start() -> Browser {
        let dir = Scratch::new("browser");
        let profile = dir.join("profile");
        let mut command = Command::new("chromium");
        command
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-extensions",
                "--no-first-run",
                "--remote-debugging-port=0",
            ])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank")
            .env("HOME", dir.path())
            .current_dir(dir.path());
        let log = dir.join("log");
        let mut guardian = Guardian::spawn(&command, &log, Signal::SIGTERM);
        let port = eventually("the browser listens", || {
            let ended = guardian.exit_within(std::time::Duration::ZERO);
            let log = || std::fs::read_to_string(&log).unwrap_or_default();
            assert!(ended.is_none(), "the browser ended: {}", log());
            let active = std::fs::read_to_string(profile.join("DevToolsActivePort")).ok()?;
            active.split_once('\n').map(|(port, _)| port.to_owned())
        });
        let addr = format!("127.0.0.1:{port}");
        let url = eventually("the browser has a page", || {
            let targets = Http::new(&addr).get("/json/list").json();
            let mut targets = targets.as_array()?.iter();
            let page = targets.find(|target| target["type"] == "page")?;
            Some(page["webSocketDebuggerUrl"].as_str()?.to_owned())
        });
        let stream = TcpStream::connect(&addr).expect("the browser accepts");
        stream
            .set_read_timeout(Some(DEADLINE))
            .expect("a socket takes a limit");
        let (socket, _) = tungstenite::client(url, stream).expect("the browser speaks WebSocket");
        let browser = Browser {
            session: Mutex::new(Session {
                socket,
                last_id: 0,
                noticed: Noticed::default(),
            }),
            _guardian: guardian,
            _dir: dir,
        };
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Calls a method of the protocol.
    #[track_caller]
    pub fn call(&self, method: &str, parameters: Value) -> Value {
        let mut session = self.session.lock().expect("one test uses it");
        session.last_id += 1;
        let id = session.last_id;
        let call = json!({"id": id, "method": method, "params": parameters});
        let sent = session.socket.send(Message::text(call.to_string()));
        sent.expect("the browser takes calls");
        loop {
            let message = session.socket.read().expect("the browser answers in time");
            let Message::Text(text) = message else {
                continue;
            };
            let answer: Value = serde_json::from_str(&text).expect("the browser sends JSON");
            if answer["id"] == id {
                assert_eq!(answer["error"], Value::Null, "{method}");
                return answer["result"].clone();
            }
            session.noticed.note(&answer);
        }
    }

    /// Opens an address.
    #[track_caller]
    pub fn open(&self, url: &str) {
        let opened = self.call("Page.navigate", json!({"url": url}));
        assert_eq!(opened["errorText"], Value::Null, "{url}");
        eventually("the page is loaded", || {
            let is_it = "location.href !== 'about:blank' && document.readyState === 'complete'";
            (self.eval(is_it) == true).then_some(())
        });
    }

    /// What an expression, or a promise, is in the page.
    #[track_caller]
    pub fn eval(&self, expression: &str) -> Value {
        let parameters =
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", parameters);
        let exception = &answer["exceptionDetails"];
        assert_eq!(*exception, Value::Null, "{expression}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub fn until(&self, expression: &str) {
        let end = std::time::Instant::now() + DEADLINE;
        while self.eval(expression) != true {
            let text = || self.eval("document.body.innerText");
            assert!(
                std::time::Instant::now() < end,
                "not within {DEADLINE:?}: {expression}, on\n{}",
                text().as_str().unwrap_or_default()
            );
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    /// The text of the element that a selector finds.
    #[track_caller]
    pub fn text(&self, selector: &str) -> String {
        let expression = format!("document.querySelector({}).textContent", json!(selector));
        self.eval(&expression).as_str().expect("a text").to_owned()
    }

    /// Gives the window a size in pixels, and says which colours the system has: `light` or `dark`.
    pub fn look(&self, width: u32, height: u32, scheme: &str) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500});
        self.call("Emulation.setDeviceMetricsOverride", size);
        let scheme = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", scheme);
    }

    /// Presses a key and lets it go.
    pub fn press(&self, key: &str, code: u32, text: &str) {
        for kind in ["keyDown", "keyUp"] {
            let event = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text});
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// The window as a PNG.
    pub fn screenshot(&self) -> Vec<u8> {
        let shot = self.call("Page.captureScreenshot", json!({"format": "png"}));
        let data = shot["data"].as_str().expect("a picture");
        let decoded = base64::engine::general_purpose::STANDARD.decode(data);
        decoded.expect("base64")
    }

    /// What was noticed until now.
    pub fn noticed(&self) -> Noticed {
        // What has happened is told before this is answered.
        self.eval("0");
        std::mem::take(&mut self.session.lock().expect("one test uses it").noticed)
    }
}

impl Noticed {
    fn note(&mut self, event: &Value) {
        let parameters = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => {
                let url = parameters["request"]["url"].as_str();
                self.requests.push(url.unwrap_or_default().to_owned());
            }
            "Runtime.exceptionThrown" => self.complaints.push(parameters.to_string()),
            "Runtime.consoleAPICalled" if parameters["type"] != "log" => {
                self.complaints.push(parameters.to_string());
            }
            "Log.entryAdded" => self.complaints.push(parameters["entry"].to_string()),
            "Page.javascriptDialogOpening" => self.dialogs.push(parameters.to_string()),
            _ => {}
        }
    }
}
