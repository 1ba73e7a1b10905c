//! `respgres shard`: where keys are, by the rule alone. It connects to nothing.

use std::io::{self, BufRead};

use clap::{Arg, ArgAction, ArgMatches, Command};
use respgres::config::{Config, with_flags};
use respgres::routing::{Routing, Scheme};

use crate::failure::{Failure, failure, refused};
use crate::printing::print;

pub const NAME: &str = "shard";
const KEYS: &str = "KEY";
const HEX: &str = "hex";

/// `respgres shard`.
pub fn command() -> Command {
    let command = Command::new(NAME)
        .about("Tell which shard a key is on, without connecting to it")
        .arg(
            Arg::new(KEYS)
                .action(ArgAction::Append)
                .help("The keys; without any, those of standard input, one a line"),
        )
        .arg(
            Arg::new(HEX)
                .long(HEX)
                .action(ArgAction::SetTrue)
                .help("The keys are in hexadecimal, as in 00ff, for keys that are no text"),
        );
    with_flags(command)
}

/// Prints a line for each key: the key as given, the shard, and what the configuration has for it, between tabs.
pub fn run(config: &Config, matches: &ArgMatches) -> Result<(), Failure> {
    let given = matches.get_many::<String>(KEYS);
    let is_hex = matches.get_flag(HEX);
    let tell = |key: &[u8]| -> Result<(), Failure> { print(&line(config, key, is_hex)?) };
    match given {
        Some(keys) => keys.into_iter().try_for_each(|key| tell(key.as_bytes())),
        None => {
            let mut input = io::stdin().lock();
            let mut line = Vec::new();
            loop {
                line.clear();
                let length = input.read_until(b'\n', &mut line);
                let length = length
                    .map_err(|error| failure(format!("can't read standard input: {error}")))?;
                if length == 0 {
                    return Ok(());
                }
                tell(line.strip_suffix(b"\n").unwrap_or(&line))?;
            }
        }
    }
}

fn line(config: &Config, given: &[u8], is_hex: bool) -> Result<Vec<u8>, Failure> {
    let decoded;
    let key = match is_hex {
        true => {
            decoded = from_hex(given).ok_or_else(|| {
                let shown = String::from_utf8_lossy(given);
                refused(format!(
                    "`{}` is not hexadecimal; give two digits a byte, as in 00ff, or leave --{HEX} out",
                    shown.escape_debug()
                ))
            })?;
            &decoded
        }
        false => given,
    };
    let routing = Routing {
        num_shards: u16::try_from(config.shards.len()).unwrap_or(u16::MAX),
        scheme: Scheme::of(config.hash_tags),
    };
    let shard = routing.shard_of(key);
    let target = config.shards.get(shard.index());
    let target = target.map(ToString::to_string).unwrap_or_default();
    let mut line = given.to_vec();
    line.extend_from_slice(format!("\t{shard}\t{target}\n").as_bytes());
    Ok(line)
}

fn from_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = digits.as_chunks::<2>();
    let bytes = pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    rest.is_empty().then(|| bytes.collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_two_digits_a_byte() {
        assert_eq!(from_hex(b"00fF10"), Some(vec![0, 255, 16]));
        assert_eq!(from_hex(b""), Some(vec![]));
        for wrong in ["0", "0g", "0x00", "é0"] {
            assert_eq!(from_hex(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
