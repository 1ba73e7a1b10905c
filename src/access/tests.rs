//! Rules as words, and what they allow.

use bytes::Bytes;

use super::*;

fn users(text: &str) -> Users {
    Users::new(file::parse(text).unwrap().users, None)
}

/// The one user `a` of these rules.
fn user(rules: &str) -> std::sync::Arc<User> {
    let users = users(&format!("user a {rules}"));
    std::sync::Arc::clone(users.find(b"a").unwrap())
}

fn check(rules: &str, request: &str) -> Result<(), Denial> {
    let words: Vec<Bytes> = request
        .split(' ')
        .map(|word| Bytes::copy_from_slice(word.as_bytes()))
        .collect();
    user(rules).rights().check(&words)
}

#[track_caller]
fn mistake(text: &str) -> String {
    let mistakes = file::parse(text).unwrap_err();
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    mistakes[0].to_string()
}

#[test]
fn a_user_without_rules_can_do_nothing() {
    let user = user("");
    assert!(!user.is_on() && !user.needs_no_password());
    assert!(user.rights().are_none() && !user.rights().are_unlimited());
    assert_eq!(user.line(), "user a off resetchannels -@all");
    for request in ["get k", "ping", "config get x", "proxy shards"] {
        assert!(check("", request).is_err(), "{request}");
    }
    // What everybody may.
    for request in ["auth x", "hello 3", "quit", "reset"] {
        assert_eq!(check("", request), Ok(()), "{request}");
    }
}

#[test]
fn all_of_everything_is_unlimited_and_less_is_not() {
    for (rules, expected) in [
        ("~* &* +@all", true),
        ("allkeys allchannels allcommands", true),
        ("~* &* +@all -get", false),
        ("~* &* +@all -get +get", false),
        ("~* &* +@all -config|get", false),
        ("~x &* +@all", false),
        ("~* &x +@all", false),
        ("%R~* %W~* &* +@all", false),
    ] {
        assert_eq!(user(rules).rights().are_unlimited(), expected, "{rules}");
    }
}

#[test]
fn rules_are_applied_in_their_order() {
    let denied = |name: &str| Err(Denial::Command(name.to_owned()));
    for (rules, request, expected) in [
        ("~* +get", "get k", Ok(())),
        ("~* +GET", "get k", Ok(())),
        ("~* +@all -@read", "get k", denied("get")),
        ("~* -@read +@all", "get k", Ok(())),
        ("+@admin -config|set", "config get x", Ok(())),
        (
            "+@admin -config|set",
            "config set x y",
            denied("config|set"),
        ),
        ("+config|get", "CONFIG GET x", Ok(())),
        (
            "+config|get",
            "config resetstat",
            denied("config|resetstat"),
        ),
        ("+config", "config resetstat", Ok(())),
        ("+@all -@dangerous", "proxy shards", denied("proxy|shards")),
        ("+@all", "proxy nosuch", Ok(())),
        ("+@all -get", "proxy nosuch", denied("proxy")),
        ("+hget +@hash +script|load", "get k", denied("get")),
    ] {
        assert_eq!(check(rules, request), expected, "{rules}: {request}");
    }
}

#[test]
fn keys_are_read_and_written_by_patterns() {
    let denied = |key: &'static str| Err(Denial::Key(Bytes::from(key)));
    for (rules, request, expected) in [
        ("~app:*", "set app:1 x", Ok(())),
        ("~app:*", "set app x", denied("app")),
        ("~app:* ~b?", "mset app:1 x b1 y", Ok(())),
        ("~app:*", "mset app:1 x b1 y", denied("b1")),
        ("%R~a", "get a", Ok(())),
        ("%R~a", "set a x", denied("a")),
        ("%R~a", "set a x get", denied("a")),
        ("%W~a", "set a x", Ok(())),
        ("%W~a", "set a x get", denied("a")),
        ("%R~a %W~a", "set a x get", Ok(())),
        ("%R~a %W~*", "set a x get", denied("a")),
        ("%w~a", "exists a", Ok(())),
        ("%rw~a", "getdel a", Ok(())),
        ("~a", "proxy shard b", denied("b")),
        ("~a", "spublish a x", Err(Denial::Channel(Bytes::from("a")))),
    ] {
        let rules = format!("{rules} +@all");
        assert_eq!(check(&rules, request), expected, "{rules}: {request}");
    }
}

#[test]
fn mistakes_have_their_line_and_word_and_never_a_password() {
    for (text, expected) in [
        (
            "user a +nosuch",
            "line 1: word 3, `+nosuch`: Unknown command",
        ),
        (
            "\r\nuser a  +@nosuch\r\n",
            "line 2: word 4, `+@nosuch`: Unknown command",
        ),
        (
            "user a hunter2",
            "line 1: word 3 (not shown, as it may be a password): Syntax",
        ),
        (
            "user a #hunter2",
            "line 1: word 3 (not shown, as it may be a password): The password hash",
        ),
        ("user a <hunter2", "line 1: word 3 (not shown"),
        ("user a %Q~x", "line 1: word 3, `%Q~x`: Syntax error"),
        ("user a %~x", "line 1: word 3, `%~x`: Syntax error"),
        ("user a ~* ~x", "line 1: word 4, `~x`: Adding a pattern"),
        ("user a &* &x", "line 1: word 4, `&x`: Adding a pattern"),
        (
            "user a +get|x",
            "line 1: word 3, `+get|x`: get has no subcommands",
        ),
        (
            "user a +config|nosuch",
            "line 1: word 3, `+config|nosuch`: Unknown",
        ),
        ("user a (+get)", "line 1: word 3, `(+get)`: selectors"),
        ("useer a", "line 1: it should begin"),
        (
            "user a on\nuser a on",
            "line 2: the user `a` is there twice",
        ),
    ] {
        let told = mistake(text);
        assert!(told.starts_with(expected), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[test]
fn a_password_may_be_plain_or_hashed_and_lines_with_plain_ones_are_told() {
    let hash = Digest::of(b"two").hex();
    let text = format!("user a on >one #{hash}\nuser b on #{hash}\nuser c on nopass");
    let listed = file::parse(&text).unwrap();
    assert_eq!(listed.plain, [1]);
    let users = Users::new(listed.users, Some(b"three"));
    for (name, password, is_right) in [
        ("a", "one", true),
        ("a", "two", true),
        ("a", "three", false),
        ("b", "two", true),
        ("c", "any", true),
        ("default", "three", true),
        ("default", "", false),
        ("nobody", "one", false),
    ] {
        let found = users.authenticate(name.as_bytes(), password.as_bytes());
        assert_eq!(found.is_ok(), is_right, "{name} {password}");
    }
    assert!(!format!("{users:?}").contains(&hash[..8]));
}

#[test]
fn users_that_ask_for_no_password_are_known() {
    for (text, lets_in, is_open) in [
        ("user a on >x +@all", true, true),
        ("user default on >x +@all", false, false),
        ("user default on nopass +@all", true, true),
        ("user default on nopass", true, false),
        ("user default off nopass +@all", false, false),
        ("user default off\nuser b on nopass +get", false, true),
    ] {
        let users = users(text);
        assert_eq!(users.let_anybody_in(), lets_in, "{text}");
        assert_eq!(users.ask_for_no_password(), is_open, "{text}");
    }
    assert!(!Users::with_password(Some(b"x")).ask_for_no_password());
    assert!(Users::with_password(None).ask_for_no_password());
}

#[test]
fn who_looks_after_a_change_sees_the_new_users() {
    let access = Access::load(Source::default()).unwrap();
    let (before, first) = access.current();
    access.replace(Users::with_password(Some(b"x")));
    let (after, second) = access.current();
    assert!(before.let_anybody_in() && !after.let_anybody_in());
    assert_eq!((second, access.generation()), (first + 1, second));
}
