//! No command may have a key that is not found by the words alone.

use std::collections::BTreeSet;

use super::*;
use crate::command::control::{Control, Proxy};
use crate::command::table::{COMMANDS, find};
use crate::command::{Command, subcommands};

fn words(line: &str) -> Vec<Bytes> {
    line.split(' ')
        .map(|word| Bytes::copy_from_slice(word.as_bytes()))
        .collect()
}

/// The keys that are found, and those that the command uses.
fn found_and_used(words: &[Bytes]) -> Option<(BTreeSet<Bytes>, BTreeSet<Bytes>)> {
    let spec = find(&words[0])?;
    let command = Command::parse(words, 1024 * 1024).ok()?;
    let found = keys(spec, words).map(|(_, key)| key.clone()).collect();
    let mut used = BTreeSet::new();
    command.keys(&mut |key| used.extend([key.clone()]));
    if let Command::Control(Control::Proxy(Proxy::Shard(key))) = &command {
        used.insert(key.clone());
    }
    Some((found, used))
}

#[test]
fn every_key_that_a_command_uses_is_found() {
    // What options and numbers may be, so that many requests are right.
    const POOL: &[&str] = &[
        "k1", "k2", "k3", "0", "1", "7", "and", "or", "not", "xor", "get", "set", "nx", "xx", "ex",
        "px", "keepttl", "replace", "db", "len", "idx", "u8", "i16", "incrby", "overflow", "sat",
        "persist", "bit", "byte", "match", "count", "samples", "get\0x",
    ];
    let mut random = fastrand::Rng::with_seed(6);
    let mut never = Vec::new();
    for (at, spec) in COMMANDS.iter().enumerate() {
        let mut subcommands: Vec<&str> = subcommands::of(at)
            .map(|at| subcommands::SUBCOMMANDS[at].name)
            .collect();
        if subcommands.is_empty() {
            subcommands.push("");
        }
        let mut was_right = false;
        for subcommand in subcommands {
            for _ in 0..4000 {
                let mut request = vec![Bytes::from(spec.name)];
                if !subcommand.is_empty() {
                    request.push(Bytes::from(subcommand));
                }
                for _ in 0..random.usize(0..7) {
                    let word = POOL[random.usize(0..POOL.len())];
                    request.push(Bytes::from(word));
                }
                if let Some((found, used)) = found_and_used(&request) {
                    was_right = true;
                    assert!(used.is_subset(&found), "{request:?}: {found:?}, {used:?}");
                }
            }
        }
        if !was_right {
            never.push(spec.name);
        }
    }
    // All that are never served, whatever their arguments.
    assert_eq!(never, ["cluster", "debug", "readonly", "readwrite"]);
}

#[test]
fn what_is_done_with_a_key_is_known_for_every_command_that_has_one() {
    for spec in COMMANDS {
        if spec.keys.0 > 0 && spec.group != "pubsub" {
            let request = words(&format!("{} a b c d", spec.name));
            for (position, _) in keys(spec, &request) {
                let flags = key_flags(spec, position, &request);
                assert_ne!(flags, ["not_key"], "{}", spec.name);
                let (reads, writes) = needs(spec, position, &request);
                let is_write = spec.flags.contains(&"write");
                assert!(is_write || !writes, "{}", spec.name);
                assert!(reads || writes || flags == ["RO"], "{}", spec.name);
            }
        }
    }
}

#[test]
fn an_option_that_reads_is_seen_as_the_parser_sees_it() {
    let set = find(b"set").unwrap();
    for (line, expected) in [
        ("set k v", (false, true)),
        ("set k v GET", (true, true)),
        ("set k get", (false, true)),
        ("set k v ex 1 get\0x", (true, true)),
    ] {
        let request = words(line);
        assert_eq!(needs(set, 1, &request), expected, "{line}");
    }
    let bitfield = find(b"bitfield").unwrap();
    for (line, expected) in [
        ("bitfield k get u8 0", (true, false)),
        ("bitfield k get u8 0 incrby u8 0 1", (true, true)),
    ] {
        assert_eq!(needs(bitfield, 1, &words(line)), expected, "{line}");
    }
}

#[test]
fn channels_are_no_keys() {
    for (line, expected, is_pattern) in [
        ("publish a b", &["a"][..], false),
        ("spublish a b", &["a"], false),
        ("ssubscribe a b", &["a", "b"], false),
        ("psubscribe a* b", &["a*", "b"], true),
        ("unsubscribe a", &[], false),
    ] {
        let request = words(line);
        let spec = find(&request[0]).unwrap();
        assert_eq!(keys(spec, &request).count(), 0);
        let (found, is_one) = channels(spec, &request);
        assert_eq!(
            (found, is_one),
            (
                expected
                    .iter()
                    .map(|name| Bytes::from(*name))
                    .collect::<Vec<_>>()
                    .as_slice(),
                is_pattern
            )
        );
    }
}
