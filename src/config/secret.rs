//! Passwords, and URLs with passwords, that must not be printed.

use std::fmt;

/// What stands in a secret's place.
pub(super) const MASK: &str = "***";

/// A URL that may hold a password. Printing it, also with `{:?}`, shows `***` in the password's place.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// Wraps a URL.
    pub fn new(url: impl Into<String>) -> Self {
        SecretUrl(url.into())
    }

    /// The URL as it was given, password included: for connecting, never for printing.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(&self.0))
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretUrl({})", masked(&self.0))
    }
}

/// A password or a token. Printing it with `{:?}` shows nothing of it, also not its length.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        SecretText(text.into())
    }

    /// The secret as it was given: for comparing, never for printing.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretText({MASK})")
    }
}

/// `text` with what may be a password replaced.
///
/// It must hold for broken URLs too, which are what error messages show, so it does not parse: whatever stands between
/// the first colon after the scheme and the last `@` is masked, and what follows `password=`. It may mask too much.
pub(super) fn masked(text: &str) -> String {
    mask_userinfo(&mask_encoded(&mask_parameters(text)))
}

/// Masks the value after each name that is percent-encoded, as it may be that of a password.
fn mask_encoded(text: &str) -> String {
    let parts = text.split_inclusive('&').map(|part| {
        let Some((name, value)) = part.split_once('=') else {
            return part.to_owned();
        };
        let name_alone = name.rsplit('?').next().unwrap_or(name);
        match name_alone.contains('%') {
            true if value.ends_with('&') => format!("{name}={MASK}&"),
            true => format!("{name}={MASK}"),
            false => part.to_owned(),
        }
    });
    parts.collect()
}

/// Masks the value after each `password=` (also `sslpassword=` and the like).
fn mask_parameters(text: &str) -> String {
    const KEY: &str = "password=";
    let lower = text.to_ascii_lowercase();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(found) = lower[at..].find(KEY) {
        let value = at + found + KEY.len();
        out.push_str(&text[at..value]);
        out.push_str(MASK);
        at = text[value..]
            .find('&')
            .map_or(text.len(), |end| value + end);
    }
    out.push_str(&text[at..]);
    out
}

fn mask_userinfo(text: &str) -> String {
    let Some(end) = text.rfind('@') else {
        return text.to_owned();
    };
    let Some(start) = text
        .find("://")
        .map(|at| at + 3)
        .filter(|start| *start <= end)
    else {
        return format!("{MASK}{}", &text[end..]);
    };
    let user = match text[start..end].find(':') {
        Some(colon) => &text[..start + colon + 1],
        // `redis://secret@host` is a password put in the place of the name.
        None if text.starts_with("redis") => &text[..start],
        None => return text.to_owned(),
    };
    format!("{user}{MASK}{}", &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_masked_in_whole_and_broken_urls() {
        for (url, shown) in [
            (
                "postgresql://dbuser:hunter2@db:5432/app",
                "postgresql://dbuser:***@db:5432/app",
            ),
            (
                "postgres://u:hun%40ter2@db/app?sslmode=disable",
                "postgres://u:***@db/app?sslmode=disable",
            ),
            ("postgres://u:hun@ter2@db/app", "postgres://u:***@db/app"),
            ("postgres://u:hun/ter?2@db/app", "postgres://u:***@db/app"),
            ("postgres://u:hunter:2@db/app", "postgres://u:***@db/app"),
            (
                "postgres:///app?user=u&password=hun@ter2&connect_timeout=1",
                "postgres:///app?user=u&password=***&connect_timeout=1",
            ),
            (
                "postgres://db:5432/app?PASSWORD=hun@ter2",
                "postgres://db:5432/app?PASSWORD=***",
            ),
            (
                "postgres://db/app?a=b&p%61ssword=hunter2&c=d",
                "postgres://db/app?a=b&p%61ssword=***&c=d",
            ),
            (
                "postgres://db/app?pass%77ord=hunter2",
                "postgres://db/app?pass%77ord=***",
            ),
            (
                "host=db user=u password='hun ter2'",
                "host=db user=u password=***",
            ),
            ("postgres:u:hunter2@db", "***@db"),
            ("u:hunter2@db://", "***@db://"),
            ("redis://:hunter2@cache:6379/0", "redis://:***@cache:6379/0"),
            ("redis://hunter2@cache:6379/0", "redis://***@cache:6379/0"),
            ("postgres://u@db:5432/app", "postgres://u@db:5432/app"),
            ("postgres://db:5432/app", "postgres://db:5432/app"),
            ("sqlite:data/shard.db", "sqlite:data/shard.db"),
            ("ключ:hunter2@db", "***@db"),
        ] {
            assert_eq!(masked(url), shown);
            assert!(!masked(url).contains("ter2"), "{url}");
        }
    }

    #[test]
    fn neither_display_nor_debug_shows_a_password() {
        let url = SecretUrl::new("postgres://u:hunter2@db/app");
        assert_eq!(
            format!("{url} {url:?}"),
            "postgres://u:***@db/app SecretUrl(postgres://u:***@db/app)"
        );
        assert_eq!(url.expose(), "postgres://u:hunter2@db/app");
        assert_eq!(
            format!("{:?}", SecretText::new("hunter2")),
            "SecretText(***)"
        );
    }
}
