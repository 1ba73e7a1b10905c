//! The commands that are to be answered as Redis answers them, and the words of each.

use super::words::Slot::{self, *};

/// What a test is about. Every test has some of the basic commands, since there have to be values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Basic,
    Strings,
    Bits,
    Keys,
    Connection,
    Transactions,
}

/// The words behind the fixed ones.
#[derive(Clone, Copy, Debug)]
pub enum Options {
    None,
    /// At most one of these.
    OneOf(&'static [&'static [Slot]]),
    /// Some of these, in any order, and too often.
    Some(&'static [&'static [Slot]]),
}

/// A command.
#[derive(Debug)]
pub struct Row {
    pub name: &'static str,
    pub group: Group,
    /// How often it comes, beside the others of its group.
    pub weight: u32,
    pub words: &'static [Slot],
    pub options: Options,
}

const fn row(
    group: Group,
    weight: u32,
    name: &'static str,
    words: &'static [Slot],
    options: Options,
) -> Row {
    Row {
        name,
        group,
        weight,
        words,
        options,
    }
}

const NONE: Options = Options::None;

const EXPIRE_CONDITIONS: Options =
    Options::Some(&[&[Name("nx")], &[Name("xx")], &[Name("gt")], &[Name("lt")]]);

const RANGE: Options = Options::OneOf(&[
    &[Index, Index],
    &[Index, Index],
    &[Index, Index, Name("byte")],
    &[Index, Index, Name("bit")],
    &[Index],
    &[Index, Index, Value],
]);

const FIELDS: Options = Options::Some(&[
    &[Name("get"), FieldType, FieldOffset],
    &[Name("set"), FieldType, FieldOffset, Integer],
    &[Name("incrby"), FieldType, FieldOffset, Integer],
    &[Name("incrby"), FieldType, FieldOffset, Integer],
    &[
        Name("overflow"),
        OneOf(&["wrap", "sat", "fail", "sat", "fail", "nosuch"]),
    ],
]);

/// Every command of strings and keys that is to be served, and those around them.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row(Group::Basic, 8, "set", &[Key, Value], Options::Some(&[
        &[Name("nx")], &[Name("xx")], &[Name("get")], &[Name("keepttl")],
        &[Name("ex"), Seconds], &[Name("px"), Millis], &[Name("exat"), UnixSeconds], &[Name("pxat"), UnixMillis],
    ])),
    row(Group::Basic, 6, "get", &[Key], NONE),
    row(Group::Basic, 2, "del", &[Repeated(&[Key], 1, 3)], NONE),
    row(Group::Basic, 2, "expire", &[Key, Seconds], EXPIRE_CONDITIONS),
    row(Group::Basic, 2, "ttl", &[Key], NONE),
    row(Group::Basic, 1, "mset", &[Repeated(&[Key, Value], 1, 4)], NONE),

    row(Group::Strings, 2, "setnx", &[Key, Value], NONE),
    row(Group::Strings, 2, "setex", &[Key, Seconds, Value], NONE),
    row(Group::Strings, 2, "psetex", &[Key, Millis, Value], NONE),
    row(Group::Strings, 2, "getset", &[Key, Value], NONE),
    row(Group::Strings, 2, "getdel", &[Key], NONE),
    row(Group::Strings, 3, "getex", &[Key], Options::Some(&[
        &[Name("persist")],
        &[Name("ex"), Seconds], &[Name("px"), Millis], &[Name("exat"), UnixSeconds], &[Name("pxat"), UnixMillis],
    ])),
    row(Group::Strings, 2, "mget", &[Repeated(&[Key], 1, 5)], NONE),
    row(Group::Strings, 2, "msetnx", &[Repeated(&[Key, Value], 1, 3)], NONE),
    row(Group::Strings, 3, "append", &[Key, Value], NONE),
    row(Group::Strings, 2, "strlen", &[Key], NONE),
    row(Group::Strings, 3, "getrange", &[Key, Index, Index], NONE),
    row(Group::Strings, 1, "substr", &[Key, Index, Index], NONE),
    row(Group::Strings, 3, "setrange", &[Key, Offset, Value], NONE),
    row(Group::Strings, 3, "incr", &[Key], NONE),
    row(Group::Strings, 2, "decr", &[Key], NONE),
    row(Group::Strings, 3, "incrby", &[Key, Integer], NONE),
    row(Group::Strings, 3, "decrby", &[Key, Integer], NONE),
    row(Group::Strings, 4, "incrbyfloat", &[Key, Float], NONE),
    row(Group::Strings, 4, "lcs", &[Key, Key], Options::Some(&[
        &[Name("len")], &[Name("idx")], &[Name("idx")], &[Name("minmatchlen"), Integer], &[Name("withmatchlen")],
    ])),

    row(Group::Bits, 4, "setbit", &[Key, BitOffset, Bit], NONE),
    row(Group::Bits, 2, "getbit", &[Key, BitOffset], NONE),
    row(Group::Bits, 3, "bitcount", &[Key], RANGE),
    row(Group::Bits, 3, "bitpos", &[Key, Bit], RANGE),
    row(Group::Bits, 6, "bitfield", &[Key], FIELDS),
    row(Group::Bits, 2, "bitfield_ro", &[Key], FIELDS),
    row(Group::Bits, 4, "bitop", &[OneOf(&["and", "or", "xor", "not", "nosuch"]), Key, Repeated(&[Key], 1, 3)], NONE),

    row(Group::Keys, 2, "unlink", &[Repeated(&[Key], 1, 3)], NONE),
    row(Group::Keys, 2, "exists", &[Repeated(&[Key], 1, 4)], NONE),
    row(Group::Keys, 2, "touch", &[Repeated(&[Key], 1, 4)], NONE),
    row(Group::Keys, 2, "type", &[Key], NONE),
    row(Group::Keys, 2, "pexpire", &[Key, Millis], EXPIRE_CONDITIONS),
    row(Group::Keys, 2, "expireat", &[Key, UnixSeconds], EXPIRE_CONDITIONS),
    row(Group::Keys, 2, "pexpireat", &[Key, UnixMillis], EXPIRE_CONDITIONS),
    row(Group::Keys, 2, "expiretime", &[Key], NONE),
    row(Group::Keys, 2, "pexpiretime", &[Key], NONE),
    row(Group::Keys, 2, "pttl", &[Key], NONE),
    row(Group::Keys, 2, "persist", &[Key], NONE),
    row(Group::Keys, 3, "rename", &[Key, Key], NONE),
    row(Group::Keys, 2, "renamenx", &[Key, Key], NONE),
    row(Group::Keys, 3, "copy", &[Key, Key], Options::Some(&[
        &[Name("replace")], &[Name("db"), OneOf(&["0", "0", "1", "-1", "x"])],
    ])),
    row(Group::Keys, 2, "keys", &[Pattern], NONE),
    row(Group::Keys, 2, "scan", &[OneOf(&["0", "0", "0", "0", "0", "-1", "x", "", "00"])], Options::Some(&[
        &[Name("match"), Pattern], &[Name("count"), Count], &[Name("type"), OneOf(&["string", "list", "nosuch"])],
    ])),
    row(Group::Keys, 1, "randomkey", &[], NONE),
    row(Group::Keys, 1, "dbsize", &[], NONE),
    row(Group::Keys, 1, "flushdb", &[], FLUSH_MODE),
    row(Group::Keys, 1, "flushall", &[], FLUSH_MODE),
    row(Group::Keys, 3, "object", &[OneOf(&["encoding", "freq", "idletime", "refcount", "nosuch"]), Key], NONE),

    row(Group::Connection, 4, "ping", &[], Options::OneOf(&[&[Value]])),
    row(Group::Connection, 4, "echo", &[Value], NONE),
    row(Group::Connection, 2, "select", &[OneOf(&["0", "0", "1", "-1", "x", "00", "9223372036854775808"])], NONE),
    row(Group::Connection, 1, "reset", &[], NONE),

    row(Group::Transactions, 2, "multi", &[], NONE),
    row(Group::Transactions, 3, "exec", &[], NONE),
    row(Group::Transactions, 1, "discard", &[], NONE),
    row(Group::Transactions, 2, "watch", &[Repeated(&[Key], 1, 2)], NONE),
    row(Group::Transactions, 1, "unwatch", &[], NONE),
];

const FLUSH_MODE: Options = Options::OneOf(&[&[Name("async")], &[Name("sync")], &[Name("nosuch")]]);

/// Commands that are not served, some that Redis has and some that nobody has. The reference is told not to have them
/// either, so that it says itself how that is answered.
pub const UNSERVED: &[&str] = &[
    "lpush", "hset", "sadd", "zadd", "xadd", "eval", "sort", "geoadd", "pfadd",
];

pub const UNKNOWN: &[&str] = &["nosuch", "gett", "set ", "", "s\r\net"];
