//! Whether DATA_DIR can be made and written.

use std::path::Path;

use nix::unistd::{AccessFlags, access};

use super::report::Report;
use crate::failure::Failure;

const SUBJECT: &str = "DATA_DIR";

pub fn check(directory: &Path, report: &mut Report) -> Result<(), Failure> {
    // The nearest one that is there: the others are made in it.
    let there = directory
        .ancestors()
        .find(|path| path.symlink_metadata().is_ok());
    let there = match there {
        Some(path) => path,
        None => Path::new("."),
    };
    let advice = "name a directory that this user may write, or have it made for this user";
    let shown = directory.display();
    if !there.is_dir() {
        return report.wrong(
            SUBJECT,
            &format!("{shown}: {} is no directory; {advice}", there.display()),
        );
    }
    match access(there, AccessFlags::W_OK | AccessFlags::X_OK) {
        Ok(()) => report.right(SUBJECT, &format!("{shown} can be written")),
        Err(errno) => report.wrong(
            SUBJECT,
            &format!(
                "{shown} can't be written: {}: {}; {advice}",
                there.display(),
                errno.desc()
            ),
        ),
    }
}
