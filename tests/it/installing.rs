//! The container image and the manifests for Kubernetes, judged by programs that know the formats, and held against the program.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use respgres::config::{FILE_SUFFIX, SECRETS, VARIABLES};
use serde_json::Value;

use crate::harness::{Setup, checker, run_to_end};

/// Of those that are supported somewhere, the oldest and the newest that the validator knows.
const KUBERNETES: [&str; 2] = ["1.30.0", "1.37.0"];

/// Not among the resources: its values are placeholders.
const EXAMPLE: &str = "secret.example.yaml";

/// The proxy's own secrets, which a program without passwords ignores.
const OWN: [&str; 2] = ["PASSWORD", "HTTP_TOKEN"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The manifests, but for the list of them.
fn manifests() -> Vec<PathBuf> {
    let dir = root().join("deploy/kubernetes");
    let files = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files
        .filter(|path| !path.ends_with("kustomization.yaml"))
        .collect();
    files.sort();
    files
}

fn yaml(path: &Path) -> Value {
    let mut python = checker("python");
    python.args([
        "-c",
        "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))",
    ]);
    python.arg(path);
    serde_json::from_str(&run_to_end(&python)).unwrap()
}

fn manifest(file: &str) -> Value {
    yaml(&root().join("deploy/kubernetes").join(file))
}

#[track_caller]
fn keys(value: &Value) -> BTreeSet<&str> {
    let object = value.as_object().expect("an object");
    object.keys().map(String::as_str).collect()
}

#[track_caller]
fn number(value: &Value) -> u64 {
    let text = value.as_str().map(str::to_owned);
    text.unwrap_or_else(|| value.to_string())
        .parse()
        .unwrap_or_else(|_| panic!("not a number: {value}"))
}

fn container(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["spec"]["containers"][0]
}

#[test]
fn hadolint_accepts_the_dockerfile() {
    let mut command = checker("hadolint");
    command.args(["--no-color", "--failure-threshold", "style"]);
    command.arg(root().join("Dockerfile"));
    assert_eq!(run_to_end(&command), "");
}

#[test]
fn the_manifests_are_valid_for_kubernetes() {
    let files = manifests();
    for version in KUBERNETES {
        let mut command = checker("kubernetes-validate");
        command.args(["--strict", "--kubernetes-version", version]);
        let printed = run_to_end(command.args(&files));
        assert_eq!(
            printed.matches(" passed for resource ").count(),
            files.len(),
            "{printed}"
        );
    }
}

#[test]
fn the_list_of_resources_is_complete() {
    let list = manifest("kustomization.yaml");
    let mut listed: Vec<&str> = list["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file.as_str().unwrap())
        .collect();
    listed.push(EXAMPLE);
    listed.sort_unstable();
    let files = manifests();
    let files: Vec<&str> = files
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(listed, files);
    assert_eq!(list["images"][0]["newTag"], env!("CARGO_PKG_VERSION"));
}

/// Every variable is one that the program has, and every secret that is read is in the example.
#[test]
fn the_manifests_set_what_the_program_reads() {
    let shard = |name: &str| {
        let number = name.strip_prefix("SHARD_")?.strip_suffix("_URL")?;
        number.parse::<u16>().ok()
    };
    let is_secret =
        |name: &str| shard(name).is_some() || SECRETS.iter().any(|secret| secret.name == name);
    let config = manifest("configmap.yaml");
    for name in keys(&config["data"]) {
        assert!(
            VARIABLES.iter().any(|variable| variable.name == name),
            "{name}"
        );
        assert!(!is_secret(name), "{name} has passwords in it");
    }
    let deployment = manifest("deployment.yaml");
    let mut read = BTreeSet::new();
    let mut shards = 0;
    for variable in container(&deployment)["env"].as_array().unwrap() {
        let name = variable["name"].as_str().unwrap();
        let secret = name.strip_suffix(FILE_SUFFIX).unwrap_or_default();
        assert!(is_secret(secret) || OWN.contains(&secret), "{name}");
        shards += u64::from(shard(secret).is_some());
        let path = variable["value"].as_str().unwrap();
        read.insert(path.strip_prefix("/run/secrets/respgres/").unwrap());
    }
    assert_eq!(number(&config["data"]["NUM_SHARDS"]), shards);
    assert_eq!(keys(&manifest(EXAMPLE)["stringData"]), read);
}

/// What is asked for is there, and the answer is the one that Kubernetes wants.
#[test]
fn the_probes_are_answered() {
    let it = Setup::embedded().start();
    let deployment = manifest("deployment.yaml");
    let container = container(&deployment);
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let path = container[probe]["httpGet"]["path"].as_str().unwrap();
        assert_eq!(it.http().get(path).status, 200, "{probe}");
    }
}

/// Kubernetes kills what has not ended in time, so there must be time for both ways to stop, one after the other.
#[test]
fn a_pod_has_time_to_stop() {
    let config = manifest("configmap.yaml");
    let deployment = manifest("deployment.yaml");
    let stop = &container(&deployment)["lifecycle"]["preStop"]["exec"]["command"][2];
    let wait = stop.as_str().unwrap().strip_prefix("sleep ").unwrap();
    let (wait, _) = wait.split_once(';').unwrap();
    let wait = wait.parse::<u64>().unwrap() * 1000;
    let drain = number(&config["data"]["DRAIN_TIMEOUT_MS"]);
    let shutdown = number(&config["data"]["SHUTDOWN_TIMEOUT_MS"]);
    let grace = &deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"];
    assert!(wait + drain + shutdown + 5000 <= number(grace) * 1000);
}
