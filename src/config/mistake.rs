//! What is wrong with a configuration, in words for the person who wrote it.

use std::fmt;

/// One mistake in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The variable to correct, as in `SHARD_1_URL`; `.env` when the file itself cannot be read.
    pub variable: String,
    /// What is wrong, with the offending value, and what to do. Never a password.
    pub problem: String,
}

impl Mistake {
    /// A mistake in `variable`.
    pub fn new(variable: impl Into<String>, problem: impl Into<String>) -> Self {
        Mistake {
            variable: variable.into(),
            problem: problem.into(),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variable, self.problem)
    }
}

/// Why there is no configuration.
#[derive(Debug)]
pub enum LoadError {
    /// The flags end the program: `--help` and `--version`, or a flag that does not exist. Prints and exits with
    /// [`clap::Error::exit`], which knows the stream and the exit code.
    Flags(clap::Error),
    /// Every mistake there is, in the order of the table of variables as far as possible; at least one.
    Mistakes(Vec<Mistake>),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Flags(error) => write!(f, "{error}"),
            LoadError::Mistakes(mistakes) => {
                let plural = if mistakes.len() == 1 { "" } else { "s" };
                write!(
                    f,
                    "the configuration has {} mistake{plural}",
                    mistakes.len()
                )?;
                mistakes
                    .iter()
                    .try_for_each(|mistake| write!(f, "\n  {mistake}"))
            }
        }
    }
}

impl std::error::Error for LoadError {}
