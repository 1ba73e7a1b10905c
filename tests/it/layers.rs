//! The documentation of the structure, held against the source: imports point down only, and the
//! documented commands are those of the table.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use respgres::command::table::COMMANDS;

/// The layers of `src/lib.rs`, lowest first.
const LAYERS: [&[&str]; 5] = [
    &[
        "config",
        "metrics",
        "routing",
        "shutdown",
        "crash_points",
        "workers",
        "buffers",
        "tls",
        "adjustable",
        "trace",
    ],
    &["resp", "command", "error", "view"],
    &["cache", "shard", "access"],
    &["engine"],
    &["server", "http"],
];

/// Imports within a layer that are there on purpose, and why.
const ALLOWED: [(&str, &str); 1] = [
    // What a URL says of TLS is read into what connects by it.
    ("config", "tls"),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The top-level module that a file of `src` belongs to.
fn module_of(path: &Path) -> String {
    let inner = path.strip_prefix(root().join("src")).unwrap();
    let first = inner.components().next().unwrap().as_os_str();
    first.to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// The top-level modules that a source text names after `crate::`, comments left out.
fn imports(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let code: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    for after in code.join("\n").split("crate::").skip(1) {
        let names: Vec<&str> = match after.strip_prefix('{') {
            Some(group) => group
                .split('}')
                .next()
                .unwrap()
                .split(',')
                .map(str::trim)
                .collect(),
            None => vec![after],
        };
        for name in names {
            let end = name
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(name.len());
            found.insert(name[..end].to_owned());
        }
    }
    found
}

#[test]
fn imports_point_down_only() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    assert!(files.len() > 30, "the sources were not found");
    let mut wrong = Vec::new();
    for file in files {
        let module = module_of(&file);
        let Some(own) = layer(&module) else {
            assert!(
                ["lib", "bin"].contains(&module.as_str()),
                "{module} is in no layer; add it to src/lib.rs and here"
            );
            continue;
        };
        for imported in imports(&fs::read_to_string(&file).unwrap()) {
            let allowed = imported == module
                || ALLOWED.contains(&(module.as_str(), imported.as_str()))
                || layer(&imported).is_none_or(|other| other < own);
            if !allowed {
                wrong.push(format!("{} imports {imported}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn imports_are_recognised() {
    let text = "use crate::cache::Cache;\n// crate::http is a comment\nlet x = crate::engine::Y;\nuse crate::{error::Error, routing};";
    let expected = ["cache", "engine", "error", "routing"].map(str::to_owned);
    assert_eq!(imports(text), BTreeSet::from(expected));
}

#[test]
fn the_layers_of_the_map_are_those_of_this_test() {
    let map = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    for (number, modules) in LAYERS.iter().enumerate() {
        let line = map
            .lines()
            .find(|line| line.starts_with(&format!("//! {number}  ")))
            .unwrap_or_else(|| panic!("layer {number} is not in the map"));
        for module in *modules {
            assert!(
                line.contains(module),
                "{module} is not in layer {number} of the map"
            );
        }
    }
}

#[test]
fn the_readme_documents_exactly_the_commands_that_are_served() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let table = readme
        .split("## Commands")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    let documented: BTreeSet<String> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|row| row.split([' ', '`']).next().unwrap().to_lowercase())
        .collect();
    let served: BTreeSet<String> = COMMANDS.iter().map(|spec| spec.name.to_owned()).collect();
    assert_eq!(documented, served);
}
