//! The Grafana board and the alert rules in `deploy/monitoring`, held against what the proxy exports, and checked by
//! promtool.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Exposition, Scratch, Setup, run_to_end};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("deploy/monitoring")
        .join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(file(name)).unwrap()
}

/// What a text names that looks like a metric of ours.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_of_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
    text.split(|char| !is_of_name(char))
        .filter(|word| word.starts_with("respgres_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

/// The queries of the board.
fn queries() -> Vec<String> {
    let board: Value = serde_json::from_str(&text("grafana.json")).unwrap();
    let panels = board["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    let mut queries = Vec::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_i64().unwrap()), "{panel}");
        assert!(!panel["title"].as_str().unwrap().is_empty());
        for target in panel["targets"].as_array().unwrap_or(&Vec::new()) {
            queries.push(target["expr"].as_str().unwrap().to_owned());
        }
    }
    assert!(queries.len() > 50, "{}", queries.len());
    queries
}

/// The metrics of a proxy with its cache in the process, which has one or two more.
fn exported() -> Exposition {
    let it = Setup::embedded().start();
    Exposition::parse(&it.http().get("/metrics").text())
}

#[test]
fn what_board_and_alerts_look_at_is_exported() {
    let exported = exported().series_names();
    let named = metrics_in(&(queries().join("\n") + &text("alerts.yml")));
    let unknown: Vec<&String> = named.difference(&exported).collect();
    assert!(unknown.is_empty(), "no proxy exports {unknown:?}");
}

#[test]
fn all_that_is_exported_is_on_the_board() {
    let exported = exported();
    let shown = metrics_in(&queries().join("\n"));
    let missing: Vec<&str> = exported
        .names()
        .into_iter()
        .filter(|name| !shown.iter().any(|shown| shown.starts_with(name)))
        .collect();
    assert!(missing.is_empty(), "not on the board: {missing:?}");
}

#[test]
fn promtool_understands_the_queries_of_the_board() {
    let rules: Vec<Value> = queries()
        .into_iter()
        .map(|query| {
            let query = query.replace("$__rate_interval", "5m");
            assert_eq!(
                query.matches('$').count(),
                2 * query.matches("$job").count()
            );
            serde_json::json!({"record": "query", "expr": query})
        })
        .collect();
    // Each a group of its own: promtool complains of rules that are alike. JSON is YAML.
    let groups: Vec<Value> = rules
        .into_iter()
        .enumerate()
        .map(|(number, rule)| serde_json::json!({"name": number.to_string(), "rules": [rule]}))
        .collect();
    let dir = Scratch::new("board");
    let file = dir.join("queries.yml");
    std::fs::write(&file, serde_json::json!({"groups": groups}).to_string()).unwrap();
    run_to_end(
        Command::new("promtool")
            .args(["check", "rules", "--lint=none"])
            .arg(&file),
    );
}

#[test]
fn promtool_accepts_the_alerts_and_they_fire_when_they_should() {
    run_to_end(
        Command::new("promtool")
            .args(["check", "rules"])
            .arg(file("alerts.yml")),
    );
    run_to_end(
        Command::new("promtool")
            .args(["test", "rules"])
            .arg(file("alerts_test.yml")),
    );
}

#[test]
fn every_alert_is_tested() {
    let tests = text("alerts_test.yml");
    let alerts = text("alerts.yml");
    let names: Vec<&str> = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(tests.contains(name), "{name}");
    }
}
