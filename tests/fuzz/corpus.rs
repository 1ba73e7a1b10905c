//! What clients send, and what they should not: the seeds.

use bytes::BytesMut;
use respgres::budget::Budget;
use respgres::command::{Command, table};
use respgres::resp::{Limits, Scanned, Scanner};

/// The words of a command, the name first.
pub type Words = Vec<Vec<u8>>;

/// The checked-in seeds.
pub struct Corpus {
    /// Whole commands.
    pub commands: Vec<Words>,
    /// Bytes that may be anything.
    pub frames: Vec<Vec<u8>>,
}

impl Corpus {
    pub fn load() -> Corpus {
        let mut commands = lines(include_bytes!("corpus/commands.txt"));
        commands.extend(lines(include_bytes!("corpus/handshakes.txt")));
        let frames = include_str!("corpus/frames.txt").lines();
        let frames = frames.map(unescaped).collect();
        Corpus { commands, frames }
    }
}

/// Commands as one would type them.
fn lines(text: &[u8]) -> Vec<Words> {
    let limits = Limits {
        argument_max: text.len(),
        request_max: text.len(),
    };
    let mut scanner = Scanner::new(limits, &Budget::new(usize::MAX));
    let mut buffer = BytesMut::from(text);
    let mut found = Vec::new();
    while let Some(Scanned::Request(words)) = scanner.next(&mut buffer).expect("a line of words") {
        found.push(words.iter().map(|word| word.to_vec()).collect());
    }
    assert!(buffer.is_empty(), "a line without its end");
    found
}

/// The bytes of a line with the escapes of Rust's byte strings.
fn unescaped(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = line.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next().expect("a whole escape") {
                b'r' => b'\r',
                b'n' => b'\n',
                b't' => b'\t',
                b'x' => {
                    let mut digit = || char::from(rest.next().unwrap()).to_digit(16).unwrap() as u8;
                    digit() * 16 + digit()
                }
                literal @ (b'\\' | b'"') => literal,
                other => panic!("\\{} in {line}", char::from(other)),
            },
            byte => byte,
        });
    }
    bytes
}

/// An array of bulk strings.
pub fn encode(words: &[Vec<u8>]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend(format!("${}\r\n", word.len()).bytes());
        out.extend_from_slice(word);
        out.extend(b"\r\n");
    }
    out
}

#[test]
fn every_command_of_the_table_is_a_seed() {
    let corpus = Corpus::load();
    for spec in table::COMMANDS {
        let is_it = |words: &Words| {
            let args: Vec<_> = words.iter().map(|word| word.clone().into()).collect();
            // Some are known and never served: CLUSTER, READONLY, DEBUG.
            let is_understood = Command::parse(&args, 1 << 24)
                .map_or_else(|no| !no.is_early || spec.name == "debug", |_| true);
            words[0].eq_ignore_ascii_case(spec.name.as_bytes()) && is_understood
        };
        let is_there = corpus.commands.iter().any(is_it);
        assert!(
            is_there,
            "corpus/commands.txt has no {} of the right form",
            spec.name
        );
    }
}
