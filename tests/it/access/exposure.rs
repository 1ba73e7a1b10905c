//! A port that asks nobody is not opened to other machines.

use crate::harness::{ProxyBuilder, Scratch};

const WORDS: &str = "i-know-that-anyone-can-connect";

#[test]
fn a_port_that_asks_nobody_is_refused_beyond_this_machine() {
    let dir = Scratch::new("exposure");
    for (name, address) in [
        ("RESP_ADDR", "0.0.0.0:0"),
        ("RESP_ADDR", "[::]:0"),
        ("HTTP_ADDR", "0.0.0.0:0"),
    ] {
        let exit = ProxyBuilder::new(dir.path()).env(name, address).run();
        assert_eq!(exit.code, 2, "{}", exit.output);
        for part in [name, "LISTEN_WITHOUT_AUTHENTICATION", WORDS] {
            assert!(exit.output.contains(part), "{part} in {}", exit.output);
        }
    }
    assert!(!dir.join("respgres-data").exists(), "nothing is made");
}

#[test]
fn a_name_is_what_it_leads_to() {
    let dir = Scratch::new("exposure");
    let proxy = ProxyBuilder::new(dir.path())
        .env("RESP_ADDR", "localhost:0")
        .start();
    assert_eq!(proxy.conn().run("PING"), "+PONG");
    let name = std::fs::read_to_string("/etc/hostname").unwrap();
    let name = name.trim();
    let leads_elsewhere = |name: &str| {
        use std::net::ToSocketAddrs;
        let addresses = format!("{name}:0").to_socket_addrs();
        addresses.is_ok_and(|mut addresses| addresses.all(|address| !address.ip().is_loopback()))
    };
    // Where the machine's own name leads to itself alone, there is nothing to see.
    if leads_elsewhere(name) {
        let builder = ProxyBuilder::new(dir.path());
        let output = builder.env("RESP_ADDR", format!("{name}:0")).run_refused();
        assert!(output.contains("LISTEN_WITHOUT_AUTHENTICATION"), "{output}");
    }
}

#[test]
fn it_may_be_said_that_this_is_meant() {
    let dir = Scratch::new("exposure");
    let mut proxy = ProxyBuilder::new(dir.path())
        .env("RESP_ADDR", "0.0.0.0:0")
        .env("HTTP_ADDR", "0.0.0.0:0")
        .env("LISTEN_WITHOUT_AUTHENTICATION", WORDS)
        .start();
    let log = proxy.log();
    assert_eq!(log.matches("asks for no password").count(), 2, "{log}");
    proxy.terminate();
    assert_eq!(proxy.wait_exit().code, 0);
}

#[test]
fn a_password_opens_the_port_and_users_without_one_do_not() {
    let dir = Scratch::new("exposure");
    let on_all = |builder: ProxyBuilder| builder.env("RESP_ADDR", "0.0.0.0:0");
    let builder = ProxyBuilder::new(dir.path());
    let mut proxy = on_all(builder.clone()).env("PASSWORD", "x").start();
    proxy.terminate();
    proxy.wait_exit();
    let file = dir.join("users.acl");
    let with_users = |users: &str| {
        std::fs::write(&file, users).unwrap();
        on_all(builder.clone()).env("USERS_FILE", file.to_str().unwrap())
    };
    for open in [
        "user default on nopass ~* +@all",
        "user app on >x ~* +@all",
        "user default off\nuser app on nopass +get",
    ] {
        let output = with_users(open).run_refused();
        assert!(output.contains("RESP_ADDR"), "{open}: {output}");
    }
    for closed in [
        "user default off\nuser app on >x ~* +@all",
        "user default on nopass -@all\nuser app on >x ~* +@all",
        "user default on >x ~* +@all",
    ] {
        let mut proxy = with_users(closed).start();
        proxy.terminate();
        assert_eq!(proxy.wait_exit().code, 0, "{closed}");
    }
}
