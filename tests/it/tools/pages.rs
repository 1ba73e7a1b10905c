//! `respgres completions` and `respgres man`.

use std::process::Command;

use respgres::config::VARIABLES;

use super::transfer::run;
use crate::harness::{Scratch, run_to_end};

const COMMANDS: [&str; 7] = [
    "serve",
    "check",
    "shard",
    "import",
    "export",
    "completions",
    "man",
];

#[test]
fn completions_name_every_command_and_flag_and_are_what_a_shell_reads() {
    let dir = Scratch::new("pages");
    for shell in ["bash", "zsh", "fish"] {
        let text = run(&dir, &["completions", shell], 0);
        for variable in VARIABLES {
            assert!(text.contains(variable.flag), "{shell}: {}", variable.flag);
        }
        for command in COMMANDS {
            assert!(text.contains(command), "{shell}: {command}");
        }
        std::fs::write(dir.join(shell), text).unwrap();
    }
    run_to_end(Command::new("bash").arg("-n").arg(dir.join("bash")));
    let output = run(&dir, &["completions", "cmd"], 2);
    assert!(output.contains("bash"), "{output}");
}

#[test]
fn the_manual_has_every_flag_and_variable_and_a_page_for_each_command() {
    let dir = Scratch::new("pages");
    let pages = dir.join("man");
    std::fs::create_dir(&pages).unwrap();
    run(&dir, &["man", "--dir", "man"], 0);
    let page = |name: &str| std::fs::read_to_string(pages.join(format!("{name}.1"))).unwrap();
    for page in [page("respgres"), page("respgres-serve")] {
        let page = page.replace("\\-", "-");
        assert!(page.contains(".TH "), "{page}");
        for variable in VARIABLES {
            assert!(
                page.contains(&format!("--{}", variable.flag)),
                "{}",
                variable.flag
            );
            assert!(page.contains(variable.name), "{}", variable.name);
        }
    }
    for command in COMMANDS {
        let printed = run(&dir, &["man", command], 0);
        assert_eq!(printed, page(&format!("respgres-{command}")));
    }
    assert_eq!(run(&dir, &["man"], 0), page("respgres"));
    assert!(run(&dir, &["man", "nonsense"], 2).contains("nonsense"));
    // Where there is a formatter, it has no complaint.
    if Command::new("groff").arg("--version").output().is_ok() {
        for entry in std::fs::read_dir(&pages).unwrap() {
            let mut groff = Command::new("groff");
            groff
                .args(["-man", "-Tutf8", "-ww", "-K", "utf8"])
                .arg(entry.unwrap().path());
            let output = groff.output().unwrap();
            let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                output.status.success() && complaints.is_empty(),
                "{groff:?}: {complaints}"
            );
        }
    }
}
