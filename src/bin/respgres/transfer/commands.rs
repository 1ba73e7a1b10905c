//! What `import` and `export` take.

use std::path::PathBuf;

use clap::{Arg, ArgAction, Command, value_parser};

use super::certificates::{OF_FROM, OF_THE_REDIS, OF_TO, Options};

pub const IMPORT: &str = "import";
pub const EXPORT: &str = "export";

pub(super) const SOURCE: &str = "SOURCE";
pub(super) const DESTINATION: &str = "DESTINATION";
pub(super) const TO: &str = "to";
pub(super) const FROM: &str = "from";
pub(super) const TABLE: &str = "table";
pub(super) const KEY_COLUMN: &str = "key-column";
pub(super) const VALUE_COLUMN: &str = "value-column";
pub(super) const EXPIRES_COLUMN: &str = "expires-column";
pub(super) const WHERE: &str = "where";
pub(super) const MATCH: &str = "match";
pub(super) const IF_ABSENT: &str = "if-absent";
pub(super) const STATE: &str = "state";
pub(super) const STATE_EVERY: &str = "state-every-ms";
pub(super) const NO_VERIFY: &str = "no-verify";

const IMPORT_ABOUT: &str = "\
Copy keys into a running respgres, from a Redis, another respgres, a PostgreSQL table, or an export

The source may be written meanwhile. Only strings are copied, with the time at which they expire; keys of other types are counted \
and named. A key that respgres has already is overwritten, unless --if-absent is given. Killed or cut off, the same command goes on \
where it was. At the end both sides are compared: what was written at the source meanwhile is copied again, once; what was \
deleted there after it had been copied stays.";

const EXPORT_ABOUT: &str = "\
Copy all keys of a running respgres into a file of JSON lines, or into a Redis

A line is {\"key\": …, \"value\": …, \"expires_at\": milliseconds since 1970}; a key or value that is not UTF-8 is in base64, with \
\"key_encoding\" or \"encoding\": \"base64\" beside it. If a key comes twice, the later line counts. The file has its name only when \
it is whole. It is not of one moment: each key is as it was when it was read, or when it was compared at the end.";

const AFTER: &str = "\
With rediss:// a connection is secured by TLS, and the server has to have a certificate for the host of the URL; what a \
PostgreSQL is asked for is in its URL, as libpq has it: sslmode, sslrootcert, sslcert and sslkey.
Exit code: 0 if nothing is missing; 1 if something is, or it could not be finished; 2 if it was asked for wrongly; 3 if nothing \
is missing but keys of other types than string; 141 if who reads standard output ended before it was whole, as with `| head`.
Every user of the machine can read arguments: env:NAME in place of a URL takes it from the variable NAME.";

/// `respgres import`.
pub fn import_command() -> Command {
    let options = [
        Arg::new(SOURCE)
            .required(true)
            .help("redis://USER:PASSWORD@HOST:PORT/DATABASE, rediss:// with TLS, postgresql://USER:PASSWORD@HOST:PORT/DATABASE with the --table and its columns, or the path of an export"),
        url(TO, "The respgres to write to [default: redis://RESP_ADDR, as `respgres serve` has it]"),
        name(TABLE, "NAME", "The table, as in sessions or app.sessions"),
        name(KEY_COLUMN, "NAME", "Its column with the keys: each once, text, bytea, or what has a text form"),
        name(VALUE_COLUMN, "NAME", "Its column with the values: text, bytea, or what has a text form"),
        name(EXPIRES_COLUMN, "NAME", "Its column that says when a row expires, a timestamptz; null is never"),
        name(WHERE, "SQL", "Only the rows for which this holds"),
        Arg::new(IF_ABSENT)
            .long(IF_ABSENT)
            .action(ArgAction::SetTrue)
            .help("Leave keys alone that respgres has already: for an application that writes there already"),
        name(MATCH, "PATTERN", "Only the keys that match, as for SCAN; from a Redis"),
    ];
    with_common(Command::new(IMPORT).args(options), IMPORT_ABOUT, &OF_TO)
}

/// `respgres export`.
pub fn export_command() -> Command {
    let options = [
        Arg::new(DESTINATION)
            .default_value("-")
            .help("The path of a file, redis://USER:PASSWORD@HOST:PORT/DATABASE (Redis 7 or later; rediss:// with TLS), or - for standard output, which is not compared"),
        url(FROM, "The respgres to read from [default: redis://RESP_ADDR, as `respgres serve` has it]"),
        Arg::new(IF_ABSENT)
            .long(IF_ABSENT)
            .action(ArgAction::SetTrue)
            .help("Leave keys alone that the Redis has already"),
        name(MATCH, "PATTERN", "Only the keys that match, as for SCAN"),
    ];
    with_common(Command::new(EXPORT).args(options), EXPORT_ABOUT, &OF_FROM)
}

fn name(flag: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(flag).long(flag).value_name(value).help(help)
}

fn url(flag: &'static str, help: &'static str) -> Arg {
    name(flag, "URL", help)
}

fn with_common(command: Command, about: &'static str, of_respgres: &Options) -> Command {
    let (first, _) = about.split_once('\n').unwrap_or((about, ""));
    of_respgres
        .add_to(OF_THE_REDIS.add_to(command))
        .about(first)
        .long_about(about)
        .after_help(AFTER)
        .arg(
            Arg::new(STATE)
                .long(STATE)
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Where it notes how far it is; removed at the end [default: named after the source, in the current directory; of an export to a file, beside that]"),
        )
        .arg(
            Arg::new(STATE_EVERY)
                .long(STATE_EVERY)
                .value_name("MS")
                .value_parser(value_parser!(u64))
                .default_value("2000")
                .help("Milliseconds after which it notes that again"),
        )
        .arg(
            Arg::new(NO_VERIFY)
                .long(NO_VERIFY)
                .action(ArgAction::SetTrue)
                .help("Don't compare both sides at the end"),
        )
}
