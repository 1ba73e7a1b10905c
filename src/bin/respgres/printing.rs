//! What goes to standard output, and what is told on standard error.

use std::io::{self, ErrorKind, Write};

use crate::failure::{Failure, failure};

/// Writes all of it. That nobody reads to the end, as with `| head`, is no failure.
pub fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(failure(format!("can't write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Tells people something on standard error, on lines of its own. Where nobody reads that any more, work goes on.
pub fn tell(text: &str) {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let mut out = io::stderr().lock();
    let _ = out.write_all(format!("{text}\n").as_bytes());
}
