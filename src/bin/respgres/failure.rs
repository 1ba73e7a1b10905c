//! How the program fails: a text for standard error, and an exit code.

/// The exit code for a configuration that can't be used; 1 is for a failure at run time.
pub const EXIT_CONFIGURATION: u8 = 2;

/// Why the program ends, for the operator.
#[derive(Debug)]
pub struct Failure {
    /// What was wrong, and what to do.
    pub text: String,
    /// The exit code.
    pub code: u8,
}

/// A failure at run time.
pub fn failure(text: String) -> Failure {
    Failure { text, code: 1 }
}

/// A configuration that can't be used.
pub fn refused(text: String) -> Failure {
    Failure {
        text,
        code: EXIT_CONFIGURATION,
    }
}
