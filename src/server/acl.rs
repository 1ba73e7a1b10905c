//! ACL: there is one user, who may do everything. <https://redis.io/docs/latest/commands/acl/>

use super::introspect::categories;
use crate::command::control::Acl;
use crate::command::table::COMMANDS;
use crate::resp::Reply;

/// The categories of Redis 7, in its order.
const CATEGORIES: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

pub(super) fn acl(asked: Acl) -> Reply {
    let texts =
        |texts: &[&str]| Reply::Array(texts.iter().map(|text| Reply::text(*text)).collect());
    match asked {
        Acl::WhoAmI => Reply::text("default"),
        Acl::Users => texts(&["default"]),
        Acl::List => texts(&["user default on nopass ~* &* +@all"]),
        Acl::Categories(None) => texts(&CATEGORIES),
        Acl::Categories(Some(category)) => {
            let known = CATEGORIES
                .iter()
                .find(|known| category.eq_ignore_ascii_case(known.as_bytes()));
            let Some(known) = known else {
                let shown = String::from_utf8_lossy(&category);
                return Reply::Error(format!("ERR Unknown category '{shown}'"));
            };
            let is_in = |category: &&str| category.strip_prefix('@') == Some(known);
            let names = COMMANDS
                .iter()
                .filter(|spec| categories(spec).iter().any(is_in))
                .map(|spec| Reply::text(spec.name));
            Reply::Array(names.collect())
        }
        Acl::GetUser(user) if *user == *b"default" => Reply::Map(vec![
            (
                Reply::text("flags"),
                Reply::Set(vec![Reply::text("on"), Reply::text("nopass")]),
            ),
            (Reply::text("passwords"), Reply::Array(Vec::new())),
            (Reply::text("commands"), Reply::text("+@all")),
            (Reply::text("keys"), Reply::text("~*")),
            (Reply::text("channels"), Reply::text("&*")),
            (Reply::text("selectors"), Reply::Array(Vec::new())),
        ]),
        Acl::GetUser(_) => Reply::Null,
    }
}
