//! A transfer from its arguments to its exit code.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::ArgMatches;

use super::certificates::{OF_FROM, OF_THE_REDIS, OF_TO};
use super::commands::{
    DESTINATION, EXPIRES_COLUMN, FROM, IF_ABSENT, KEY_COLUMN, MATCH, NO_VERIFY, SOURCE, STATE,
    STATE_EVERY, TABLE, TO, VALUE_COLUMN, WHERE,
};
use super::copy::{Target, copy};
use super::file::{Lines, Output, with_suffix};
use super::progress::Progress;
use super::resp::Resp;
use super::scan::Scan;
use super::source::Source;
use super::state::{State, Subject, default_name};
use super::store::Store;
use super::table::{Columns, Table};
use super::tally::{Findings, Tally};
use super::verify::verify;
use crate::failure::{Failure, refused};
use crate::printing::tell;

/// Nothing is missing but keys that are no strings.
const EXIT_OTHER_TYPES: u8 = 3;

const STDOUT: &str = "-";

const REDIS_SCHEMES: &[&str] = &["redis", "rediss", "redis+unix", "unix"];

/// Reads a variable of the environment.
type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// `respgres import`. `own` is the URL of the respgres of this configuration, asked for only if it is needed.
pub async fn import(
    matches: &ArgMatches,
    environment: Environment<'_>,
    own: impl FnOnce() -> Result<String, Failure>,
) -> Result<ExitCode, Failure> {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let given = text(SOURCE).unwrap_or_default();
    let is_env = given.starts_with("env:");
    let from = address(&given, environment)?;
    let is_table = is_url(&from, &["postgresql", "postgres"]);
    refuse_options(matches, &from, is_table)?;
    let to = match text(TO) {
        Some(to) => address(&to, environment)?,
        None => own()?,
    };
    let to = OF_TO.target(&to, matches)?;
    let (source, label) = if is_table {
        let needed = |name: &str| {
            text(name).ok_or_else(|| {
                refused(format!(
                    "--{name} is missing; a table needs --{TABLE}, --{KEY_COLUMN} and --{VALUE_COLUMN}"
                ))
            })
        };
        let columns = Columns {
            table: needed(TABLE)?,
            key: needed(KEY_COLUMN)?,
            value: needed(VALUE_COLUMN)?,
            expires: text(EXPIRES_COLUMN),
            condition: text(WHERE),
        };
        let table = Table::open(&from, columns).await?;
        let label = table.label().to_owned();
        (Source::Table(table), label)
    } else if is_url(&from, REDIS_SCHEMES) {
        let target = OF_THE_REDIS.target(&from, matches)?;
        let resp = Resp::open(target, &OF_THE_REDIS).await?;
        let scan = Scan::open(resp, text(MATCH)).await?;
        let label = scan.resp.label().to_owned();
        (Source::Scan(scan), label)
    } else if is_env || from.contains("://") {
        return Err(refused(
            "the source is no URL of a Redis or of a PostgreSQL; give redis://…, postgresql://… or the path of an export"
                .to_owned(),
        ));
    } else {
        let mut lines = Lines::open(Path::new(&from))?;
        if matches.get_flag(IF_ABSENT) {
            lines.only_last()?;
        }
        let label = format!("{from} ({} bytes)", lines.length());
        (Source::Lines(lines), label)
    };
    let store = Store {
        resp: Resp::open(to, &OF_TO).await?,
        if_absent: matches.get_flag(IF_ABSENT),
    };
    refuse_one_server(&source, &store).await?;
    let subject = Subject {
        source: label,
        target: store.resp.label().to_owned(),
        options: options(matches),
    };
    let path = match &source {
        Source::Lines(_) => with_suffix(Path::new(&from), ".state"),
        _ => default_name("import", &subject.source),
    };
    let path = matches.get_one(STATE).cloned().unwrap_or(path);
    let state = State::open(Some(path), subject, every(matches))?;
    let transfer = Transfer {
        what: "import",
        source,
        target: Target::Store(Box::new(store)),
        state,
        is_verified: !matches.get_flag(NO_VERIFY),
    };
    transfer.run().await
}

/// `respgres export`. `own` is as for [`import`].
pub async fn export(
    matches: &ArgMatches,
    environment: Environment<'_>,
    own: impl FnOnce() -> Result<String, Failure>,
) -> Result<ExitCode, Failure> {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let to = address(&text(DESTINATION).unwrap_or_default(), environment)?;
    let from = match text(FROM) {
        Some(from) => address(&from, environment)?,
        None => own()?,
    };
    let is_redis = is_url(&to, REDIS_SCHEMES);
    refuse_certificates(matches, is_redis)?;
    let redis = match is_redis {
        true => Some(OF_THE_REDIS.target(&to, matches)?),
        false => None,
    };
    let from = Resp::open(OF_FROM.target(&from, matches)?, &OF_FROM).await?;
    let source = Source::Scan(Scan::open(from, text(MATCH)).await?);
    let subject = |target: String| Subject {
        source: match &source {
            Source::Scan(scan) => scan.resp.label().to_owned(),
            _ => String::new(),
        },
        target,
        options: options(matches),
    };
    let path = matches.get_one::<PathBuf>(STATE).cloned();
    let (target, state) = if let Some(redis) = redis {
        let store = Store {
            resp: Resp::open(redis, &OF_THE_REDIS).await?,
            if_absent: matches.get_flag(IF_ABSENT),
        };
        refuse_one_server(&source, &store).await?;
        let subject = subject(store.resp.label().to_owned());
        let path = path.unwrap_or_else(|| default_name("export", &subject.target));
        (
            Target::Store(Box::new(store)),
            State::open(Some(path), subject, every(matches))?,
        )
    } else if matches.get_flag(IF_ABSENT) {
        return Err(refused(format!(
            "--{IF_ABSENT} is for an export to a Redis; leave it out"
        )));
    } else if to == STDOUT {
        (
            Target::Output(Output::stdout()),
            State::open(None, subject(STDOUT.to_owned()), every(matches))?,
        )
    } else {
        let file = Path::new(&to);
        if file.exists() {
            return Err(refused(format!(
                "{to} is there already; remove it, or give another name"
            )));
        }
        let path = path.unwrap_or_else(|| with_suffix(file, ".state"));
        let mut state = State::open(Some(path), subject(to.clone()), every(matches))?;
        let (output, is_kept) = Output::file(file, state.output_bytes())?;
        if !is_kept {
            tell(&format!("{to}.part is shorter than it was; beginning anew"));
            state.begin_anew();
        }
        (Target::Output(output), state)
    };
    let transfer = Transfer {
        what: "export",
        source,
        target,
        state,
        is_verified: !matches.get_flag(NO_VERIFY),
    };
    transfer.run().await
}

struct Transfer {
    what: &'static str,
    source: Source,
    target: Target,
    state: State,
    is_verified: bool,
}

impl Transfer {
    async fn run(mut self) -> Result<ExitCode, Failure> {
        let (unit, expected) = self.source.expected().await;
        if !self.state.is_copied() {
            self.go_to_where_it_was()?;
            // A name that can't be written is told now, not after two seconds of work.
            self.state.save(self.state.output_bytes())?;
            let begun = Instant::now();
            let before = self.state.tally().millis;
            let mut progress = Progress::begin(self.what, unit, expected, self.state.amount());
            let copied = copy(
                &mut self.source,
                &mut self.target,
                &mut self.state,
                &mut progress,
            );
            let copied = copied.await;
            progress.end();
            self.state.tally().millis = before + begun.elapsed().as_millis() as u64;
            let output_bytes = match &mut self.target {
                // What is in it by now does not fit what was read: the state stays as it was noted last.
                Target::Output(output) if output.is_broken() => {
                    return copied.map(|()| ExitCode::FAILURE);
                }
                Target::Output(output) => output.sync()?,
                Target::Store(_) => 0,
            };
            if copied.is_ok() {
                self.state.copied();
            }
            self.state.save(output_bytes)?;
            copied?;
        }
        tell(&format!("{}\n{}", self.what, self.state.tally().lines()));
        let findings = match self.is_verified {
            true => {
                let mut progress = Progress::begin("check", unit, expected, 0);
                let findings = verify(&mut self.source, &mut self.target, &mut progress).await;
                progress.end();
                findings?
            }
            false => None,
        };
        if let Some(findings) = &findings {
            tell(&findings.lines());
        }
        if let Target::Output(output) = self.target {
            output.finish()?;
        }
        self.state.remove();
        Ok(code(self.state.tally(), findings.as_ref()))
    }

    fn go_to_where_it_was(&mut self) -> Result<(), Failure> {
        let Some(position) = self.state.position().cloned() else {
            // The file may have been written further than was noted.
            return Ok(());
        };
        let shown = self.state.path().map(|path| path.display().to_string());
        if self.source.rewind(Some(&position))? {
            let read = self.state.tally().read;
            tell(&format!(
                "going on after {read} keys, by {}",
                shown.unwrap_or_default()
            ));
            return Ok(());
        }
        tell("the source was started again, so that its cursors are void: beginning anew");
        self.state.begin_anew();
        if let Target::Output(output) = &mut self.target {
            output.clear()?;
        }
        self.source.rewind(None).map(drop)
    }
}

fn code(tally: &Tally, findings: Option<&Findings>) -> ExitCode {
    let is_missing = match findings {
        Some(findings) => findings.missing + findings.different > 0,
        None => tally.refused > 0,
    };
    match (is_missing, tally.has_others()) {
        (true, _) => ExitCode::FAILURE,
        (false, true) => ExitCode::from(EXIT_OTHER_TYPES),
        (false, false) => ExitCode::SUCCESS,
    }
}

/// The address, which may be in a variable of the environment.
fn address(given: &str, environment: Environment<'_>) -> Result<String, Failure> {
    match given.strip_prefix("env:") {
        None => Ok(given.to_owned()),
        Some(name) => environment(name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| refused(format!("the variable {name} is not set; set it to the URL"))),
    }
}

fn every(matches: &ArgMatches) -> Duration {
    let millis = matches.get_one::<u64>(STATE_EVERY).copied();
    Duration::from_millis(millis.unwrap_or_default())
}

fn is_url(text: &str, schemes: &[&str]) -> bool {
    text.split_once("://")
        .is_some_and(|(scheme, _)| schemes.contains(&scheme))
}

/// The options that decide what is moved, as the state has them.
fn options(matches: &ArgMatches) -> String {
    let named = [KEY_COLUMN, VALUE_COLUMN, EXPIRES_COLUMN, WHERE, MATCH];
    let mut options: Vec<String> = named
        .into_iter()
        .filter_map(|name| {
            let value = matches.try_get_one::<String>(name).ok().flatten()?;
            Some(format!("--{name} {value}"))
        })
        .collect();
    if matches.get_flag(IF_ABSENT) {
        options.push(format!("--{IF_ABSENT}"));
    }
    match options.is_empty() {
        true => "no options".to_owned(),
        false => options.join(" "),
    }
}

fn refuse_options(matches: &ArgMatches, from: &str, is_table: bool) -> Result<(), Failure> {
    let of_a_table = [TABLE, KEY_COLUMN, VALUE_COLUMN, EXPIRES_COLUMN, WHERE];
    let is_scan = is_url(from, REDIS_SCHEMES);
    let given = of_a_table
        .into_iter()
        .find(|name| matches.contains_id(name));
    if let Some(name) = given.filter(|_| !is_table) {
        return Err(refused(format!(
            "--{name} is for a table of a PostgreSQL; leave it out, or give postgresql://…"
        )));
    }
    if matches.contains_id(MATCH) && !is_scan {
        return Err(refused(format!(
            "--{MATCH} is for a Redis; for a table there is --{WHERE}"
        )));
    }
    refuse_certificates(matches, is_scan)
}

fn refuse_certificates(matches: &ArgMatches, is_redis: bool) -> Result<(), Failure> {
    match OF_THE_REDIS.given(matches) {
        Some(name) if !is_redis => Err(refused(format!(
            "--{name} is for a Redis by rediss://; leave it out (a respgres has options of its own, and a PostgreSQL \
             sslrootcert, sslcert and sslkey in its URL)"
        ))),
        _ => Ok(()),
    }
}

async fn refuse_one_server(source: &Source, store: &Store) -> Result<(), Failure> {
    let Source::Scan(scan) = source else {
        return Ok(());
    };
    let run_id = store.resp.server().await?.run_id;
    // One server may have several addresses, as with and without TLS.
    let is_one = match run_id.is_empty() {
        true => scan.resp.label() == store.resp.label(),
        false => run_id == scan.run_id() && scan.resp.database() == store.resp.database(),
    };
    match is_one {
        true => Err(refused(format!(
            "{} is the source and the target; give --{TO} or --{FROM} another one",
            store.resp.label()
        ))),
        false => Ok(()),
    }
}
