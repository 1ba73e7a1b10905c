//! Lines that say what is right and what is wrong.

use std::io::IsTerminal;

use crate::failure::Failure;
use crate::printing::print;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Right,
    /// It works, and something is to be known.
    Warning,
    Wrong,
}

/// What was found, line by line.
pub struct Report {
    has_colours: bool,
    wrong: usize,
    warnings: usize,
}

impl Report {
    /// Colours only for a terminal whose user has nothing against them.
    pub fn new(no_color: Option<String>) -> Self {
        let is_refused = no_color.is_some_and(|value| !value.is_empty());
        Self {
            has_colours: !is_refused && std::io::stdout().is_terminal(),
            wrong: 0,
            warnings: 0,
        }
    }

    pub fn right(&mut self, subject: &str, text: &str) -> Result<(), Failure> {
        self.line(Verdict::Right, subject, text)
    }

    pub fn warning(&mut self, subject: &str, text: &str) -> Result<(), Failure> {
        self.line(Verdict::Warning, subject, text)
    }

    pub fn wrong(&mut self, subject: &str, text: &str) -> Result<(), Failure> {
        self.line(Verdict::Wrong, subject, text)
    }

    fn line(&mut self, verdict: Verdict, subject: &str, text: &str) -> Result<(), Failure> {
        match verdict {
            Verdict::Right => {}
            Verdict::Warning => self.warnings += 1,
            Verdict::Wrong => self.wrong += 1,
        }
        print(line(verdict, subject, text, self.has_colours).as_bytes())
    }

    /// Says how it is as a whole. Whether nothing is wrong.
    pub fn end(self) -> Result<bool, Failure> {
        let count = |count: usize, one: &str, several: &str| match count {
            1 => format!("1 {one}"),
            count => format!("{count} {several}"),
        };
        let warnings = count(self.warnings, "warning", "warnings");
        let text = match self.wrong {
            0 => format!("nothing is wrong; {warnings}"),
            wrong => {
                let wrong = count(wrong, "thing is", "things are");
                format!("{wrong} wrong; {warnings}")
            }
        };
        print(format!("{text}\n").as_bytes())?;
        Ok(self.wrong == 0)
    }
}

fn line(verdict: Verdict, subject: &str, text: &str, has_colours: bool) -> String {
    let (word, colour) = match verdict {
        Verdict::Right => ("ok", "32"),
        Verdict::Warning => ("warning", "33"),
        Verdict::Wrong => ("FAILED", "31"),
    };
    let word = format!("{word:<7}");
    let word = match has_colours {
        true => format!("\x1b[{colour}m{word}\x1b[0m"),
        false => word,
    };
    format!("{word}  {subject:<11}  {text}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_readable_without_colours() {
        assert_eq!(
            line(Verdict::Wrong, "SHARD_0_URL", "no", false),
            "FAILED   SHARD_0_URL  no\n"
        );
        assert_eq!(
            line(Verdict::Right, "REDIS_URL", "yes", true),
            "\x1b[32mok     \x1b[0m  REDIS_URL    yes\n"
        );
    }
}
