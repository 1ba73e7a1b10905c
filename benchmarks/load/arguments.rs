//! The command line.

use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Command, value_parser};

/// What to do.
pub(crate) enum Mode {
    /// Requests, and what they took.
    Run(Run),
    /// Connections that do nothing.
    Idle(Idle),
}

/// Requests of one kind.
pub(crate) struct Run {
    pub(crate) address: String,
    pub(crate) operation: Operation,
    pub(crate) connections: usize,
    /// Requests that a connection sends together.
    pub(crate) depth: usize,
    pub(crate) value_bytes: usize,
    pub(crate) order: Order,
    /// The number in the first key's name.
    pub(crate) first_key: u64,
    /// From one key's number to the next one's.
    pub(crate) key_step: u64,
    pub(crate) num_keys: u64,
    /// None: until every key had its turn.
    pub(crate) duration: Option<Duration>,
    /// Replies to what was due before are not counted.
    pub(crate) warm_up: Duration,
    /// Whether replies may be `-BUSY`.
    pub(crate) may_be_refused: bool,
    /// Requests a second, over all connections; none: as fast as replies come.
    pub(crate) rate: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Get,
    Set,
}

/// Which key is next.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Random,
    /// Each once, in an order that jumps about.
    Once,
    /// Always the first.
    Hot,
}

/// Connections to hold.
pub(crate) struct Idle {
    pub(crate) address: String,
    pub(crate) connections: usize,
    /// What each does once, first.
    pub(crate) first_command: FirstCommand,
    pub(crate) value_bytes: usize,
}

#[derive(Clone, Copy)]
pub(crate) enum FirstCommand {
    /// PING, then GET.
    PingGet,
    Set,
}

/// Exits with a message on a mistake.
pub(crate) fn parse() -> Mode {
    let mut command = command();
    let matches = command.get_matches_mut();
    match matches.subcommand() {
        Some(("idle", matches)) => Mode::Idle(idle(matches)),
        Some(("run", matches)) => {
            let run = run(matches);
            if run.duration.is_none() && run.order != Order::Once {
                command
                    .error(
                        clap::error::ErrorKind::MissingRequiredArgument,
                        "--seconds is needed, except with --order once",
                    )
                    .exit();
            }
            if run.duration.is_none() && run.rate.is_some() {
                command
                    .error(
                        clap::error::ErrorKind::MissingRequiredArgument,
                        "--rate needs --seconds",
                    )
                    .exit();
            }
            Mode::Run(run)
        }
        _ => unreachable!("clap requires a subcommand"),
    }
}

fn command() -> Command {
    let address = Arg::new("address")
        .required(true)
        .help("HOST:PORT of the server");
    let connections = Arg::new("connections")
        .long("connections")
        .default_value("50")
        .value_parser(value_parser!(u64).range(1..=60_000));
    let value_bytes = Arg::new("value-bytes")
        .long("value-bytes")
        .default_value("100")
        .value_parser(value_parser!(u64).range(0..=512 << 20));
    let number = |name: &'static str, default: &'static str| {
        Arg::new(name)
            .long(name)
            .default_value(default)
            .value_parser(value_parser!(u64))
    };
    Command::new("load")
        .about("Load for the benchmarks of respgres")
        .subcommand_required(true)
        .subcommand(
            Command::new("run")
                .about("GET or SET; prints one line of JSON")
                .arg(address.clone())
                .arg(connections.clone())
                .arg(value_bytes.clone())
                .arg(
                    Arg::new("operation")
                        .long("operation")
                        .required(true)
                        .value_parser(PossibleValuesParser::new(["get", "set"])),
                )
                .arg(
                    Arg::new("order")
                        .long("order")
                        .default_value("random")
                        .value_parser(PossibleValuesParser::new(["random", "once", "hot"])),
                )
                .arg(number("depth", "1").value_parser(value_parser!(u64).range(1..=10_000)))
                .arg(number("first-key", "0"))
                .arg(number("key-step", "1").value_parser(value_parser!(u64).range(1..)))
                .arg(number("num-keys", "10000").value_parser(value_parser!(u64).range(1..)))
                .arg(
                    Arg::new("seconds")
                        .long("seconds")
                        .value_parser(seconds)
                        .help("How long; without it, until --order once is through"),
                )
                .arg(
                    Arg::new("warm-up-seconds")
                        .long("warm-up-seconds")
                        .default_value("0")
                        .value_parser(seconds)
                        .help("How long before that, without counting"),
                )
                .arg(
                    Arg::new("may-be-refused")
                        .long("may-be-refused")
                        .action(clap::ArgAction::SetTrue)
                        .help("Counts -BUSY by itself, instead of ending with an error"),
                )
                .arg(
                    Arg::new("rate")
                        .long("rate")
                        .value_parser(rate)
                        .help("Requests a second; without it, as fast as replies come"),
                ),
        )
        .subcommand(
            Command::new("idle")
                .about(
                    "Holds connections until standard input ends; prints a line when all are there",
                )
                .arg(address)
                .arg(connections)
                .arg(value_bytes)
                .arg(
                    Arg::new("first-command")
                        .long("first-command")
                        .default_value("ping-get")
                        .value_parser(PossibleValuesParser::new(["ping-get", "set"])),
                ),
        )
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "not a number of seconds".to_string())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (1.0..=1e8).contains(&rate) => Ok(rate),
        _ => Err("not a number from 1 to 100000000".to_string()),
    }
}

fn run(matches: &ArgMatches) -> Run {
    Run {
        address: text(matches, "address").to_string(),
        operation: match text(matches, "operation") {
            "get" => Operation::Get,
            _ => Operation::Set,
        },
        connections: size(matches, "connections"),
        depth: size(matches, "depth"),
        value_bytes: size(matches, "value-bytes"),
        order: match text(matches, "order") {
            "once" => Order::Once,
            "hot" => Order::Hot,
            _ => Order::Random,
        },
        first_key: number(matches, "first-key"),
        key_step: number(matches, "key-step"),
        num_keys: number(matches, "num-keys"),
        duration: matches.get_one("seconds").copied(),
        warm_up: matches
            .get_one("warm-up-seconds")
            .copied()
            .unwrap_or_default(),
        may_be_refused: matches.get_flag("may-be-refused"),
        rate: matches.get_one("rate").copied(),
    }
}

fn idle(matches: &ArgMatches) -> Idle {
    Idle {
        address: text(matches, "address").to_string(),
        connections: size(matches, "connections"),
        first_command: match text(matches, "first-command") {
            "set" => FirstCommand::Set,
            _ => FirstCommand::PingGet,
        },
        value_bytes: size(matches, "value-bytes"),
    }
}

/// Of an argument that is required or has a default.
fn text<'a>(matches: &'a ArgMatches, name: &str) -> &'a str {
    matches.get_one::<String>(name).map_or("", String::as_str)
}

/// Likewise.
fn number(matches: &ArgMatches, name: &str) -> u64 {
    matches.get_one(name).copied().unwrap_or_default()
}

/// Likewise; the ranges above are within usize.
fn size(matches: &ArgMatches, name: &str) -> usize {
    number(matches, name) as usize
}
