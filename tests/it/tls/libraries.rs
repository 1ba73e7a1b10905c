//! Client libraries, unmodified, on the port with TLS. Their programs are those of `crate::libraries`.

use std::process::Command;

use super::{Setting, start};
use crate::harness::{Authority, Proxy, ProxyBuilder, Ran, Wish, run_to_end, run_tool};
use crate::libraries::{installed, source};

const SCRIPTS: [&str; 2] = ["check_blocking.py", "check_asyncio.py"];

/// A proxy that has no port in the clear: INFO then tells of the other one.
fn only_tls(setting: &Setting) -> ProxyBuilder {
    setting.builder().env("RESP_ADDR", "off")
}

/// The arguments of Python for a script, which finds the proxy at `host`.
fn arguments(script: &str, proxy: &Proxy, host: &str, options: &[&str]) -> Vec<String> {
    let script = source("python").join(script);
    let addr = proxy.resp_tls_addr();
    let (_, port) = addr.rsplit_once(':').unwrap();
    // The sources' directory stays as it is.
    let mut args = vec!["-B", script.to_str().unwrap(), "redis"];
    args.extend(options);
    args.extend([host, port]);
    args.into_iter().map(str::to_owned).collect()
}

/// Every section of a script.
#[track_caller]
fn check(script: &str, proxy: &Proxy, options: &[&str]) {
    let mut command = Command::new(installed("python/bin/python"));
    command.args(arguments(script, proxy, "localhost", options));
    let printed = run_to_end(&command);
    assert!(printed.contains("sections passed"), "{printed}");
}

/// One section of a script, whatever comes of it.
#[track_caller]
fn attempt(script: &str, proxy: &Proxy, host: &str, options: &[&str]) -> Ran {
    let args = arguments(script, proxy, host, options);
    let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
    args.push("strings");
    run_tool(installed("python/bin/python").to_str().unwrap(), &args)
}

#[test]
fn redis_py_does_everything_over_tls() {
    let setting = Setting::new();
    let proxy = start(only_tls(&setting), &setting.dir);
    for script in SCRIPTS {
        check(script, &proxy, &["--cacert", &setting.ca]);
    }
}

#[test]
fn redis_py_refuses_whom_it_does_not_trust() {
    let setting = Setting::new();
    let issued = setting.authority.issue(Wish::names(&["localhost"]));
    issued.files(setting.dir.path(), "server");
    let proxy = start(only_tls(&setting), &setting.dir);
    let other = Authority::new("another authority").file(setting.dir.path(), "other.pem");
    for script in SCRIPTS {
        let ran = attempt(script, &proxy, "localhost", &["--cacert", &setting.ca]);
        assert!(ran.success, "{ran:?}");
        for (host, ca, words) in [
            ("localhost", &other, "unable to get local issuer"),
            ("127.0.0.1", &setting.ca, "IP address mismatch"),
        ] {
            let ran = attempt(script, &proxy, host, &["--cacert", ca]);
            assert!(!ran.success && ran.text.contains(words), "{ran:?}");
        }
    }
}

#[test]
fn redis_py_shows_a_certificate() {
    let setting = Setting::new();
    let trusted = Authority::new("who signs clients");
    let client_ca = trusted.file(setting.dir.path(), "clients.pem");
    let client = trusted.issue(Wish::names(&[]).common_name("somebody"));
    let (certificate, key) = client.files(setting.dir.path(), "client");
    let builder = only_tls(&setting).env("TLS_CLIENT_CA_FILE", client_ca);
    let proxy = start(builder, &setting.dir);
    let ca = ["--cacert", setting.ca.as_str()];
    let shown = ["--cert", &certificate, "--key", &key];
    for script in SCRIPTS {
        check(script, &proxy, &[&ca[..], &shown].concat());
        let ran = attempt(script, &proxy, "localhost", &ca);
        assert!(!ran.success && ran.text.contains("ertificate"), "{ran:?}");
    }
}
