//! The users file: one user a line, as in the ACL file of Redis.

use std::collections::BTreeSet;
use std::fmt;

use super::rules;
use super::user::User;

/// What is wrong with a line of the users file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileMistake {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, with the word, and what to do. Never a password.
    pub problem: String,
}

impl fmt::Display for FileMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

/// What the file says.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) users: Vec<User>,
    /// Lines with a password in plain text.
    pub(super) plain: Vec<usize>,
}

/// Understands a users file.
///
/// # Errors
///
/// Every word that can't be understood.
pub(super) fn parse(text: &str) -> Result<Listed, Vec<FileMistake>> {
    let (mut users, mut plain, mut mistakes) = (Vec::new(), Vec::new(), Vec::new());
    let mut names = BTreeSet::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_matches([' ', '\t', '\r']);
        if line.is_empty() {
            continue;
        }
        let mut mistake = |problem: String| {
            mistakes.push(FileMistake {
                line: index + 1,
                problem,
            });
        };
        let mut words = line.split(' ');
        let (first, name) = (words.next(), words.next().filter(|name| !name.is_empty()));
        let (Some("user"), Some(name)) = (first, name) else {
            mistake("it should begin with `user` and a name; there are no comments".to_owned());
            continue;
        };
        if !names.insert(name.to_owned()) {
            mistake(format!(
                "the user `{}` is there twice; make one line of both",
                name.escape_debug()
            ));
        }
        let mut user = User::new(name);
        for (number, word) in words.enumerate() {
            match rules::apply(&mut user, word) {
                Ok(is_plain) => {
                    if is_plain {
                        plain.push(index + 1);
                    }
                }
                Err(problem) => mistake(format!("{}: {problem}", shown(word, number + 3))),
            }
        }
        users.push(user);
    }
    plain.dedup();
    match mistakes.is_empty() {
        true => Ok(Listed { users, plain }),
        false => Err(mistakes),
    }
}

/// A word as a message shows it: by its place alone if it is, or may be, a password.
fn shown(word: &str, place: usize) -> String {
    match word.chars().next() {
        Some('+' | '-' | '~' | '%' | '&' | '(') => {
            format!("word {place}, `{}`", word.escape_debug())
        }
        _ => format!("word {place} (not shown, as it may be a password)"),
    }
}
