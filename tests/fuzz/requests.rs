//! Bytes to commands: the scanner and the parser.

use std::fmt;
use std::time::Duration;

use allocation_counter::measure;
use bolero::{Driver, ValueGenerator};
use bytes::{Bytes, BytesMut};
use redis_protocol::resp2::types::OwnedFrame;
use redis_protocol::resp3::types::Resp3Frame;
use redis_protocol::{resp2, resp3};
use respgres::budget::Budget;
use respgres::command::{Command, Keyspace};
use respgres::resp::{Limits, ProtocolError, Reply, Scanned, Scanner, Version};

use crate::corpus::Corpus;
use crate::mutate::Dice;

/// Memory that scanning takes, for each byte that arrived. Most is taken by inline words: one of a single byte, and the
/// space after it, has a slice of 32 bytes in a list that grows by doubling, and an allocation.
const FACTOR: usize = 64;

/// Memory that needs no reason.
const SLACK: usize = 16 * 1024;

const LIMITS: &[Limits] = &[
    Limits {
        argument_max: 50,
        request_max: 120,
    },
    Limits {
        argument_max: 0,
        request_max: 0,
    },
    Limits {
        argument_max: 16 << 20,
        request_max: 64 << 20,
    },
];

/// What arrives on a connection, and in which pieces.
struct Arrival {
    bytes: Vec<u8>,
    /// Lengths of pieces, again and again.
    pieces: Vec<usize>,
    limits: Limits,
}

impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes.escape_ascii();
        write!(
            f,
            "{:?} in pieces of {:?}: {bytes}",
            self.limits, self.pieces
        )
    }
}

impl Arrival {
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.bytes[..];
        let mut lengths = self.pieces.iter().cycle();
        std::iter::from_fn(move || {
            let length = rest.len().min(*lengths.next()?);
            let (piece, after) = rest.split_at(length);
            rest = after;
            (!piece.is_empty()).then_some(piece)
        })
    }
}

struct Arrivals(Corpus);

impl ValueGenerator for Arrivals {
    type Output = Arrival;

    fn generate<D: Driver>(&self, driver: &mut D) -> Option<Arrival> {
        let mut dice = Dice(driver);
        let bytes = dice.wire(&self.0)?;
        let lengths: &[usize] = match bytes.len() {
            0..8192 => &[1, 2, 3, 5, 13, 100, 1000],
            _ => &[1000, 4096, 16_383, 65_536],
        };
        let pieces = (0..=dice.below(3)?)
            .map(|_| Some(lengths[dice.below(lengths.len())?]))
            .collect::<Option<_>>()?;
        Some(Arrival {
            bytes,
            pieces,
            limits: LIMITS[dice.below(LIMITS.len())?],
        })
    }
}

/// What came out.
#[derive(Debug, Default, PartialEq)]
struct Findings {
    requests: Vec<Scanned>,
    error: Option<ProtocolError>,
}

fn scan<'a>(limits: Limits, pieces: impl Iterator<Item = &'a [u8]>) -> Findings {
    let mut requests = Vec::new();
    let error = scan_each(limits, pieces, &mut |found| requests.push(found)).err();
    Findings { requests, error }
}

fn scan_each<'a>(
    limits: Limits,
    pieces: impl Iterator<Item = &'a [u8]>,
    take: &mut dyn FnMut(Scanned),
) -> Result<(), ProtocolError> {
    let mut scanner = Scanner::new(limits, &Budget::new(usize::MAX));
    let mut buffer = BytesMut::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let before = buffer.len();
            let Some(found) = scanner.next(&mut buffer)? else {
                break;
            };
            assert!(buffer.len() < before, "{found:?} came from no bytes");
            take(found);
        }
    }
    Ok(())
}

fn check(arrival: &Arrival) {
    let limits = arrival.limits;
    let whole = scan(limits, std::iter::once(&arrival.bytes[..]));
    let in_pieces = scan(limits, arrival.pieces());
    assert_eq!(in_pieces, whole, "in pieces, and as a whole");
    // As a connection does it: what is found is done with before more arrives.
    let forgetting = || drop(scan_each(limits, arrival.pieces(), &mut drop));
    let taken = measure(forgetting).bytes_max as usize;
    let allowed = FACTOR * arrival.bytes.len() + SLACK;
    assert!(taken <= allowed, "scanning took {taken} bytes");
    for request in &whole.requests {
        match request {
            Scanned::TooLarge(text) => check_error(text),
            Scanned::Request(words) => {
                assert!(!words.is_empty());
                let total: usize = words.iter().map(Bytes::len).sum();
                assert!(
                    words.iter().all(|word| word.len() <= limits.argument_max)
                        || is_inline(arrival)
                );
                assert!(total <= limits.request_max || is_inline(arrival));
                check_parse(words, total, limits.argument_max);
            }
        }
    }
    if let Some(error) = &whole.error {
        check_error(&error.to_string());
    }
}

/// Whether there may be an inline command, which has a limit of its own.
fn is_inline(arrival: &Arrival) -> bool {
    arrival.limits.argument_max < 64 * 1024
}

fn check_parse(words: &[Bytes], total: usize, value_max: usize) {
    let mut parsed = None;
    let taken = measure(|| parsed = Some(Command::parse(words, value_max))).bytes_max as usize;
    // An error may name a word, each byte of it shown as three.
    let allowed = 16 * total + 256 * words.len() + 4096;
    assert!(taken <= allowed, "parsing took {taken} bytes");
    match parsed.unwrap() {
        Err(rejection) => check_error(&rejection.text),
        Ok(command) => {
            let mut keys = 0;
            command.keys(&mut |key| keys += key.len());
            assert!(keys <= total);
            assert!(command.longest_value() <= total);
            if let Command::Keyspace(Keyspace::Keys(filter)) = &command {
                words.iter().for_each(|word| {
                    filter.accepts(word);
                });
            }
        }
    }
}

/// An error is one line in both versions of the protocol, and reads as it was written.
fn check_error(text: &str) {
    let error = Reply::Error(text.to_owned());
    let expected = text.trim_end_matches(['\r', '\n']);
    let expected = expected.replace(['\r', '\n'], " ");
    let mut out = BytesMut::new();
    error.encode(Version::Resp2, &mut out);
    let (frame, read) = resp2::decode::decode(&out).unwrap().expect("a whole reply");
    assert_eq!(
        (frame, read),
        (OwnedFrame::Error(expected.clone()), out.len())
    );
    out.clear();
    error.encode(Version::Resp3, &mut out);
    let (frame, read) = resp3::decode::complete::decode(&out)
        .unwrap()
        .expect("a whole reply");
    assert_eq!((frame.as_str(), read), (Some(&expected[..]), out.len()));
    let is_code = |letter: u8| letter.is_ascii_uppercase();
    assert!(
        text.bytes().next().is_some_and(is_code),
        "an error has a code: {text}"
    );
}

#[test]
fn any_bytes_are_requests_or_an_error_however_they_are_cut() {
    bolero::check!()
        .with_generator(Arrivals(Corpus::load()))
        .with_test_time(Duration::from_secs(3))
        .for_each(check);
}

#[test]
fn every_seed_is_scanned_in_pieces_of_any_length() {
    let corpus = Corpus::load();
    let commands = corpus
        .commands
        .iter()
        .map(|words| crate::corpus::encode(words));
    for bytes in commands.chain(corpus.frames) {
        for limits in LIMITS {
            for length in 1..=bytes.len().max(1) {
                check(&Arrival {
                    bytes: bytes.clone(),
                    pieces: vec![length],
                    limits: *limits,
                });
            }
        }
    }
}
