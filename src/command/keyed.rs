//! Which words of a request are keys, and what the command does with each; which are channels. Both by the
//! words alone, before options are looked at: rights are checked then.

use bytes::Bytes;

use super::parse::is;
use super::table::Spec;

/// Where the keys of a request are: the places of the first and of the last, and the step between them. `None`: it
/// has none.
pub fn key_range(spec: &Spec, words: &[Bytes]) -> Option<(usize, usize, usize)> {
    if with_key(words).is_some() {
        return Some((2, 2, 1));
    }
    // Shard channels are where keys are, but are no keys.
    if spec.keys.0 <= 0 || spec.group == "pubsub" {
        return None;
    }
    let (first, last, step) = spec.keys;
    let last = match last < 0 {
        true => words.len() as i64 + i64::from(last),
        false => i64::from(last),
    };
    let first = usize::try_from(first).ok()?;
    let step = step.max(1).unsigned_abs() as usize;
    Some((first, usize::try_from(last).unwrap_or(0), step))
}

/// The keys of a request, each with its place among the words.
pub fn keys<'a>(
    spec: &Spec,
    words: &'a [Bytes],
) -> impl Iterator<Item = (usize, &'a Bytes)> + use<'a> {
    let (first, last, step) = key_range(spec, words).unwrap_or((1, 0, 1));
    (first..=last)
        .step_by(step)
        .filter_map(|at| Some((at, words.get(at)?)))
}

/// Subcommands that have a key behind them; and whether there may be more.
pub fn with_key(words: &[Bytes]) -> Option<bool> {
    const NAMES: &[(&str, &str, bool)] = &[
        ("memory", "usage", true),
        ("object", "encoding", false),
        ("object", "freq", false),
        ("object", "idletime", false),
        ("object", "refcount", false),
        ("proxy", "shard", false),
    ];
    let [container, subcommand, ..] = words else {
        return None;
    };
    // Its own look at the first letter: most commands are none of these.
    if !matches!(
        container.first(),
        Some(b'm' | b'M' | b'o' | b'O' | b'p' | b'P')
    ) {
        return None;
    }
    NAMES.iter().find_map(|(first, second, takes_more)| {
        let is_it = container.eq_ignore_ascii_case(first.as_bytes())
            && subcommand.eq_ignore_ascii_case(second.as_bytes());
        is_it.then_some(*takes_more)
    })
}

/// Whether BITFIELD only reads. As Redis, which looks no further than the first mistake.
fn only_gets(words: &[Bytes]) -> bool {
    let mut rest = words.get(2..).unwrap_or_default();
    loop {
        rest = match rest {
            [] => return true,
            [name, _, _, rest @ ..] if is(name, "get") => rest,
            [name, _, rest @ ..] if is(name, "overflow") => rest,
            _ => return false,
        };
    }
}

/// What a command does with the key at a place, in Redis' words.
pub fn key_flags(spec: &Spec, position: usize, words: &[Bytes]) -> &'static [&'static str] {
    const READ: &[&str] = &["RO", "access"];
    const LOOK: &[&str] = &["RO"];
    const STORE: &[&str] = &["OW", "update"];
    const CHANGE: &[&str] = &["RW", "access", "update"];
    const TOUCH: &[&str] = &["RW", "update"];
    const REMOVE: &[&str] = &["RM", "delete"];
    let is_first = position == usize::try_from(spec.keys.0).unwrap_or(1);
    let has_get = || words.iter().skip(3).any(|word| is(word, "get"));
    match spec.name {
        "set" if has_get() => CHANGE,
        "bitfield" if only_gets(words) => READ,
        "set" | "mset" | "setex" | "psetex" => STORE,
        "setnx" | "msetnx" => &["OW", "insert"],
        "del" | "unlink" => REMOVE,
        "getdel" => &["RW", "access", "delete"],
        "rename" | "renamenx" if is_first => &["RW", "access", "delete"],
        "rename" => STORE,
        "renamenx" => &["OW", "insert"],
        "copy" if is_first => READ,
        "bitop" if !is_first => READ,
        "copy" | "bitop" => STORE,
        "append" => &["RW", "insert"],
        "exists" | "type" | "touch" | "strlen" | "object" | "memory" | "proxy" | "watch" => LOOK,
        "expire" | "pexpire" | "expireat" | "pexpireat" | "persist" | "setrange" => TOUCH,
        _ if spec.flags.contains(&"write") => CHANGE,
        _ if spec.flags.contains(&"readonly") => READ,
        _ => &["not_key"],
    }
}

/// Whether the command reads what the key holds, and whether it changes it: the rights that it needs for the key.
pub fn needs(spec: &Spec, position: usize, words: &[Bytes]) -> (bool, bool) {
    let flags = key_flags(spec, position, words);
    let has = |flag| flags.contains(&flag);
    (
        has("access"),
        has("update") || has("insert") || has("delete"),
    )
}

/// The channels that a request sends to or subscribes to, and whether they are patterns.
pub fn channels<'a>(spec: &Spec, words: &'a [Bytes]) -> (&'a [Bytes], bool) {
    match spec.name {
        "publish" | "spublish" => (words.get(1..2).unwrap_or_default(), false),
        "subscribe" | "ssubscribe" => (words.get(1..).unwrap_or_default(), false),
        "psubscribe" => (words.get(1..).unwrap_or_default(), true),
        _ => (&[], false),
    }
}

#[cfg(test)]
mod tests;
