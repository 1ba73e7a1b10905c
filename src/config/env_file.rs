//! The file of `--env-file`: variables much as `docker run --env-file` and systemd's `EnvironmentFile=` take them, with nothing
//! put in their values. Docker keeps quotes, and systemd drops a `\` outside of them and joins lines by it.
//!
//! ```text
//! # a comment
//! NAME=the rest of the line, as it is
//! NAME='the same'
//! NAME="the same, where \" and \\ stand for " and \"
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::mistake::Mistake;

/// The flag, which [`Mistake`]s about the file as a whole carry.
const FLAG: &str = "--env-file";

/// The variables in the file at `path`.
///
/// # Errors
/// That it can't be read, and every line that can't, by its variable where it has one. What a line says is not
/// repeated: it may be a password.
pub(super) fn read(path: &Path) -> (BTreeMap<String, String>, Vec<Mistake>) {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let problem = format!(
                "{} cannot be read: {error}; name a file that this user may read",
                path.display()
            );
            return (BTreeMap::new(), vec![Mistake::new(FLAG, problem)]);
        }
    };
    let (mut variables, mut mistakes) = (BTreeMap::new(), Vec::new());
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let mut wrong = |name: &str, problem: &str| {
            let place = format!("line {} of {} {problem}", index + 1, path.display());
            mistakes.push(Mistake::new(name, place));
        };
        let name = line
            .split_once('=')
            .map(|(name, value)| (name.trim_end(), value.trim_start()));
        match name {
            Some((name, value)) if is_name(name) => match unquoted(value) {
                // The last of two wins, as in a shell.
                Some(value) => drop(variables.insert(name.to_owned(), value)),
                None => wrong(
                    name,
                    "has quotes that do not go together; write NAME='value', and a ' in it between \" and \", or no quotes at all",
                ),
            },
            _ => wrong(FLAG, "cannot be read; write NAME=value"),
        }
    }
    (variables, mistakes)
}

fn is_name(name: &str) -> bool {
    let is_of_names = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(is_of_names)
}

/// The value without quotes around it; `None` if one is missing.
fn unquoted(value: &str) -> Option<String> {
    let Some(quote) = value
        .chars()
        .next()
        .filter(|first| matches!(first, '\'' | '"'))
    else {
        return Some(value.to_owned());
    };
    let inner = value[1..].strip_suffix(quote)?;
    if quote == '\'' {
        // Others read more of it there, each in their way.
        return (!inner.contains(quote)).then(|| inner.to_owned());
    }
    let mut text = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        match (char, chars.clone().next()) {
            ('\\', Some(escaped @ ('"' | '\\' | '$' | '`'))) => {
                chars.next();
                text.push(escaped);
            }
            // The last quote was one of the value's, or this one.
            ('\\', None) | ('"', _) => return None,
            (char, _) => text.push(char),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_as_they_are_but_for_their_quotes() {
        for (value, meant) in [
            ("plain", "plain"),
            ("", ""),
            ("a b#c$D ${E} \\n", "a b#c$D ${E} \\n"),
            ("'a b#c$D'", "a b#c$D"),
            ("'it\\'", "it\\"),
            (r#""a \"b\" \\ \$c \d""#, r#"a "b" \ $c \d"#),
            ("it's", "it's"),
            ("a=b", "a=b"),
        ] {
            assert_eq!(unquoted(value).as_deref(), Some(meant), "{value}");
        }
        for value in [
            "'", "\"", "'a", "\"a", "\"a\\\"", "'a\"", "'a'b'", "\"a\"b\"", "'a' 'b'",
        ] {
            assert_eq!(unquoted(value), None, "{value}");
        }
    }

    #[test]
    fn lines_that_cannot_be_read_are_named_without_what_they_say() {
        let path = std::env::temp_dir().join(format!("respgres-env-file-{}", std::process::id()));
        std::fs::write(
            &path,
            "\u{feff}# one\r\n; two\r\n\r\nA = x \r\nB=\r\nA=y\r\nhunter2\nC='hunter2\nexport D=hunter2\n",
        )
        .unwrap();
        let (variables, mistakes) = read(&path);
        std::fs::remove_file(&path).unwrap();
        let expected = [("A", "y"), ("B", "")].map(|(name, value)| (name.into(), value.into()));
        assert_eq!(variables, BTreeMap::from(expected));
        let told = format!("{mistakes:?}");
        for words in ["line 7 of", "line 8 of", "line 9 of", "\"C\""] {
            assert!(told.contains(words), "{words}: {told}");
        }
        assert!(!told.contains("hunter2"), "{told}");
        let (_, mistakes) = read(Path::new("/nonexistent/env"));
        assert!(format!("{mistakes:?}").contains("/nonexistent/env cannot be read"));
    }
}
