//! The description of the HTTP port, held against the standard, and against what the port does.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Scratch, Setup, checker, run_to_end};

/// Generated requests for each operation.
const EXAMPLES: &str = "25";

/// Its answer never ends, so nobody can judge it when it is over; the page's own tests read it.
const STREAM: &str = "/events";

const METHODS: [&str; 8] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace",
];

#[test]
fn the_description_is_valid_openapi() {
    let it = Setup::embedded().start();
    let dir = Scratch::new("openapi");
    let document = dir.join("openapi.json");
    fs::write(&document, it.http().get("/openapi.json").body).unwrap();
    let mut command = checker("openapi-spec-validator");
    command.args(["--schema", "3.1"]).arg(&document);
    let printed = run_to_end(&command);
    assert!(printed.contains("openapi.json: OK"), "{printed}");
}

/// Every operation gets requests that fit the description and requests that do not, and every answer has to be one that the
/// description has for it.
#[test]
fn schemathesis_finds_nothing() {
    let it = Setup::postgres().start();
    // The key that the description has as its example is there, so that reading is not always 404.
    it.http().write("user:123", "John Doe").expect(200);
    let document = it.http().get("/openapi.json").expect(200);
    let dir = Scratch::new("schemathesis");
    let report = dir.join("report.json");
    let mut command = checker("schemathesis");
    command
        .arg("run")
        .arg(format!("http://{}/openapi.json", it.http().addr()))
        .args(["--checks", "all", "--continue-on-failure", "--no-color"])
        .args(["--exclude-path", STREAM])
        .args(["--seed", "1", "--max-examples", EXAMPLES])
        .arg("--report-json-path")
        .arg(&report);
    let printed = run_to_end(in_dir(&mut command, &dir));
    let report: Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
    // All but one.
    let operations = operations(&document) - 1;
    let expected = json!([true, operations, operations, 0, 0]);
    let done = json!([
        report["complete"],
        report["operations"]["selected"],
        report["operations"]["tested"],
        report["operations"]["errored"],
        report["test_cases"]["with_failures"],
    ]);
    assert_eq!(done, expected, "{printed}");
    for phase in ["examples", "coverage", "fuzzing", "stateful"] {
        assert_eq!(
            report["phases"][phase]["status"], "success",
            "{phase}: {printed}"
        );
    }
    // What is written is read as well, and both are refused where they should be.
    for (operation, phase, outcome) in [
        ("POST /write", "fuzzing", "accepted"),
        ("GET /read/{key}", "examples", "accepted"),
        ("GET /read/{key}", "fuzzing", "unreachable"),
    ] {
        let count = &report["valid_rates"][operation][phase][outcome];
        assert!(count.as_u64() > Some(0), "{operation}, {outcome}: {report}");
    }
}

/// It leaves files of its own where it runs.
fn in_dir<'a>(command: &'a mut Command, dir: &Scratch) -> &'a Command {
    command.current_dir(dir.path()).env("HOME", dir.path())
}

fn operations(document: &Value) -> usize {
    let paths = document["paths"].as_object().unwrap();
    paths
        .values()
        .flat_map(|path| path.as_object().unwrap().keys())
        .filter(|method| METHODS.contains(&method.as_str()))
        .count()
}
