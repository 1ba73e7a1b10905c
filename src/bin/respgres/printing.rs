//! What goes to standard output.

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
