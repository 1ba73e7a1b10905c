//! Commands on the server.

use bytes::Bytes;
use smallvec::smallvec;

use super::{
    Parsed, integer, integer_or_reject, is, misused_subcommand, reject, subcommand, syntax_error,
    timeout_millis, unknown_subcommand,
};
use crate::command::control::{
    Acl, CommandFilter, Config, Control, Introspect, Latency, Memory, Proxy, Slowlog,
};
use crate::command::{Command, Query, Rejection, help, wrong_arity};

/// What a server that is not part of a Redis Cluster says.
const NO_CLUSTER: &str = "ERR This instance has cluster support disabled";

const NO_MODULES: &str =
    "ERR MODULE command not allowed: the proxy loads no modules, its commands are built in";

fn control(control: Control) -> Parsed {
    Ok(Command::Control(control))
}

fn unknown(container: &str, operands: &[Bytes]) -> Parsed {
    unknown_subcommand(container, operands.first().map_or(&b""[..], |name| name))
}

fn wrong_arity_of(container: &str, name: &str) -> Parsed {
    Err(wrong_arity(&format!("{container}|{name}")))
}

pub(in crate::command) fn command(operands: &[Bytes]) -> Parsed {
    let (name, rest) = subcommand(operands);
    let introspect = match (name.as_str(), rest) {
        ("", []) if operands.is_empty() => Introspect::All,
        ("count", []) => Introspect::Count,
        ("list", options) => Introspect::List(command_filter(options)?),
        ("help", []) => return Ok(Command::Help(help::COMMAND)),
        ("info", names) => Introspect::Info(names.to_vec()),
        ("docs", names) => Introspect::Docs(names.to_vec()),
        ("getkeys", [_, _, ..]) => Introspect::GetKeys(rest.to_vec()),
        ("getkeysandflags", [_, _, ..]) => Introspect::GetKeysAndFlags(rest.to_vec()),
        ("count" | "help" | "getkeys" | "getkeysandflags", _) => {
            return wrong_arity_of("command", &name);
        }
        _ => return unknown("COMMAND", operands),
    };
    control(Control::Introspect(introspect))
}

fn command_filter(options: &[Bytes]) -> Result<CommandFilter, Rejection> {
    match options {
        [] => Ok(CommandFilter::All),
        [by, kind, value] if is(by, "filterby") => match kind {
            kind if is(kind, "module") => Ok(CommandFilter::Module),
            kind if is(kind, "aclcat") => Ok(CommandFilter::Category(value.clone())),
            kind if is(kind, "pattern") => Ok(CommandFilter::Pattern(value.clone())),
            _ => syntax_error(),
        },
        _ => syntax_error(),
    }
}

pub(in crate::command) fn info(operands: &[Bytes]) -> Parsed {
    control(Control::Info(operands.to_vec()))
}

pub(in crate::command) fn config(operands: &[Bytes]) -> Parsed {
    let (name, rest) = subcommand(operands);
    match (name.as_str(), rest) {
        ("get", [_, ..]) => control(Control::Config(Config::Get(rest.to_vec()))),
        ("set", [_, _, ..]) => {
            let (pairs, odd) = rest.as_chunks::<2>();
            if !odd.is_empty() {
                return syntax_error();
            }
            let pairs = pairs
                .iter()
                .map(|[name, value]| (name.clone(), value.clone()));
            control(Control::Config(Config::Set(pairs.collect())))
        }
        ("resetstat", []) => control(Control::Config(Config::ResetStatistics)),
        ("rewrite", []) => reject("ERR The server is running without a config file"),
        ("help", []) => Ok(Command::Help(help::CONFIG)),
        ("get" | "set" | "resetstat" | "rewrite" | "help", _) => wrong_arity_of("config", &name),
        _ => unknown("CONFIG", operands),
    }
}

pub(in crate::command) fn time(_operands: &[Bytes]) -> Parsed {
    control(Control::Time)
}

pub(in crate::command) fn lastsave(_operands: &[Bytes]) -> Parsed {
    control(Control::LastSave)
}

pub(in crate::command) fn role(_operands: &[Bytes]) -> Parsed {
    control(Control::Role)
}

pub(in crate::command) fn monitor(_operands: &[Bytes]) -> Parsed {
    control(Control::Monitor)
}

pub(in crate::command) fn wait(operands: &[Bytes]) -> Parsed {
    match operands {
        [replicas, timeout] => {
            integer_or_reject(replicas)?;
            timeout_millis(timeout)?;
            control(Control::Wait)
        }
        _ => Err(wrong_arity("wait")),
    }
}

pub(in crate::command) fn readonly(_operands: &[Bytes]) -> Parsed {
    reject(NO_CLUSTER)
}

pub(in crate::command) fn readwrite(_operands: &[Bytes]) -> Parsed {
    reject(NO_CLUSTER)
}

pub(in crate::command) fn cluster(operands: &[Bytes]) -> Parsed {
    let (name, _) = subcommand(operands);
    if CLUSTER_SUBCOMMANDS.contains(&name.as_str()) {
        return reject(NO_CLUSTER);
    }
    unknown("CLUSTER", operands)
}

const CLUSTER_SUBCOMMANDS: &[&str] = &[
    "addslots",
    "addslotsrange",
    "bumpepoch",
    "count-failure-reports",
    "countkeysinslot",
    "delslots",
    "delslotsrange",
    "failover",
    "flushslots",
    "forget",
    "getkeysinslot",
    "help",
    "info",
    "keyslot",
    "links",
    "meet",
    "myid",
    "nodes",
    "replicas",
    "replicate",
    "reset",
    "saveconfig",
    "set-config-epoch",
    "setslot",
    "shards",
    "slaves",
    "slots",
];

pub(in crate::command) fn debug(operands: &[Bytes]) -> Parsed {
    let (name, _) = subcommand(operands);
    Err(Rejection::early(format!(
        "ERR DEBUG command not allowed: the proxy has no DEBUG {}, as it would act on the shards and the cache of others",
        name.to_ascii_uppercase()
    )))
}

pub(in crate::command) fn slowlog(operands: &[Bytes]) -> Parsed {
    let (name, rest) = subcommand(operands);
    let slowlog = match (name.as_str(), rest) {
        ("get", []) => Slowlog::Get(Some(10)),
        ("get", [count]) => match integer(count) {
            Some(-1) => Slowlog::Get(None),
            Some(count @ 0..) => Slowlog::Get(Some(usize::try_from(count).unwrap_or(usize::MAX))),
            _ => return reject("ERR count should be greater than or equal to -1"),
        },
        ("len", []) => Slowlog::Len,
        ("reset", []) => Slowlog::Reset,
        ("help", []) => return Ok(Command::Help(help::SLOWLOG)),
        ("get", _) => return misused_subcommand("SLOWLOG", operands),
        ("len" | "reset" | "help", _) => return wrong_arity_of("slowlog", &name),
        _ => return unknown("SLOWLOG", operands),
    };
    control(Control::Slowlog(slowlog))
}

pub(in crate::command) fn latency(operands: &[Bytes]) -> Parsed {
    let (name, rest) = subcommand(operands);
    let latency = match (name.as_str(), rest) {
        ("latest", []) => Latency::Latest,
        ("history", [event]) => Latency::History(event.clone()),
        ("reset", events) => Latency::Reset(events.to_vec()),
        ("histogram", commands) => Latency::Histogram(commands.to_vec()),
        ("graph", [event]) => Latency::Graph(event.clone()),
        ("doctor", []) => Latency::Doctor,
        ("help", []) => return Ok(Command::Help(help::LATENCY)),
        ("latest" | "history" | "graph" | "doctor" | "help", _) => {
            return wrong_arity_of("latency", &name);
        }
        _ => return unknown("LATENCY", operands),
    };
    control(Control::Latency(latency))
}

pub(in crate::command) fn memory(operands: &[Bytes]) -> Parsed {
    let (name, rest) = subcommand(operands);
    let memory = match (name.as_str(), rest) {
        ("stats", []) => Memory::Stats,
        ("doctor", []) => Memory::Doctor,
        ("purge", []) => Memory::Purge,
        ("malloc-stats", []) => Memory::AllocatorStats,
        ("help", []) => return Ok(Command::Help(help::MEMORY)),
        ("usage", [key, options @ ..]) => return memory_usage(key, options),
        ("usage", []) => return wrong_arity_of("memory", &name),
        ("stats" | "doctor" | "purge" | "malloc-stats" | "help", _) => {
            return wrong_arity_of("memory", &name);
        }
        _ => return unknown("MEMORY", operands),
    };
    control(Control::Memory(memory))
}

/// SAMPLES is for values of many elements.
fn memory_usage(key: &Bytes, options: &[Bytes]) -> Parsed {
    for option in options.chunks(2) {
        match option {
            [name, count] if is(name, "samples") => {
                if integer_or_reject(count)? < 0 {
                    return syntax_error();
                }
            }
            _ => return syntax_error(),
        }
    }
    let query = Query::MemoryUsage(key.len());
    Ok(Command::Read(smallvec![key.clone()], query))
}

pub(in crate::command) fn acl(operands: &[Bytes]) -> Parsed {
    let (name, rest) = subcommand(operands);
    let acl = match (name.as_str(), rest) {
        ("whoami", []) => Acl::WhoAmI,
        ("list", []) => Acl::List,
        ("users", []) => Acl::Users,
        ("cat", []) => Acl::Categories(None),
        ("cat", [category]) => Acl::Categories(Some(category.clone())),
        ("getuser", [user]) => Acl::GetUser(user.clone()),
        ("dryrun", [user, _, ..]) => Acl::DryRun(user.clone(), rest[1..].to_vec()),
        ("log", []) => Acl::Log(10),
        ("log", [word]) if is(word, "reset") => Acl::ResetLog,
        // As in Redis, one that is negative is all.
        ("log", [count]) => {
            Acl::Log(usize::try_from(integer_or_reject(count)?).unwrap_or(usize::MAX))
        }
        ("load", []) => Acl::Load,
        ("help", []) => return Ok(Command::Help(help::ACL)),
        ("cat" | "log", [_, _, ..]) => return misused_subcommand("ACL", operands),
        ("deluser", [_, ..]) | ("save", []) | ("setuser", [_, ..]) => {
            return reject(format!(
                "ERR ACL {} is not served: users are in the file that USERS_FILE names; change it there, then have it read with ACL LOAD",
                name.to_ascii_uppercase()
            ));
        }
        ("genpass", [] | [_]) => {
            return reject(
                "ERR ACL GENPASS is not served: `openssl rand -hex 32` prints a password",
            );
        }
        (
            "whoami" | "list" | "users" | "getuser" | "help" | "dryrun" | "load" | "deluser"
            | "save" | "setuser" | "genpass",
            _,
        ) => return wrong_arity_of("acl", &name),
        _ => return unknown("ACL", operands),
    };
    control(Control::Acl(acl))
}

pub(in crate::command) fn module(operands: &[Bytes]) -> Parsed {
    let (name, rest) = subcommand(operands);
    match (name.as_str(), rest) {
        ("list", []) => control(Control::ModuleList),
        ("help", []) => Ok(Command::Help(help::MODULE)),
        ("list" | "help", _) => wrong_arity_of("module", &name),
        ("load" | "loadex" | "unload", _) => Err(Rejection::early(NO_MODULES)),
        _ => unknown("MODULE", operands),
    }
}

/// How many are to be listed; ten if nothing is said.
fn listed(count: &[Bytes]) -> Result<usize, Rejection> {
    let Some(count) = count.first() else {
        return Ok(10);
    };
    usize::try_from(integer_or_reject(count)?)
        .ok()
        .filter(|count| *count > 0)
        .ok_or_else(|| Rejection::late("ERR value is out of range, must be positive"))
}

pub(in crate::command) fn proxy(operands: &[Bytes]) -> Parsed {
    let (name, rest) = subcommand(operands);
    let proxy = match (name.as_str(), rest) {
        ("shard", [key]) => Proxy::Shard(key.clone()),
        ("shards", []) => Proxy::Shards,
        ("hotkeys", count) if count.len() < 2 => Proxy::HotKeys(listed(count)?),
        ("bigkeys", count) if count.len() < 2 => Proxy::BigKeys(listed(count)?),
        ("slowlog", count) if count.len() < 2 => Proxy::Slowlog(listed(count)?),
        ("unsupported", names) => Proxy::Unsupported(names.to_vec()),
        ("help", []) => return Ok(Command::Help(help::PROXY)),
        ("shard" | "shards" | "hotkeys" | "bigkeys" | "slowlog" | "help", _) => {
            return wrong_arity_of("proxy", &name);
        }
        _ => return unknown("PROXY", operands),
    };
    control(Control::Proxy(proxy))
}
