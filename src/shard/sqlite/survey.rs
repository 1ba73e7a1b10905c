//! A look at a file that is not opened to be used.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::read_identity;
use crate::shard::survey::SqliteFacts;

/// Looks at the file, or where it would be.
pub(in crate::shard) fn survey(path: &Path) -> Result<SqliteFacts, String> {
    let shown = path.display();
    if !path.exists() {
        may_be_made(path)?;
        return Ok(SqliteFacts {
            exists: false,
            identity: None,
        });
    }
    // Who has it open has this locked; without the file nobody has.
    if let Ok(lock) = File::open(beside(path, ".lock"))
        && let Err(TryLockError::WouldBlock) = lock.try_lock()
    {
        return Err(format!(
            "{shown} is in use by another respgres; one process owns a SQLite shard"
        ));
    }
    if std::fs::metadata(path).is_ok_and(|found| found.permissions().readonly()) {
        return Err(format!("{shown} can't be written: it is read-only"));
    }
    let describe = |error: rusqlite::Error| format!("can't read {shown}: {error}");
    let connection = open(path).map_err(describe)?;
    let identity = read_identity(&connection).map_err(describe)?;
    Ok(SqliteFacts {
        exists: true,
        identity,
    })
}

/// To read. Without a log of what is not in the file yet it is taken for one that never changes, or a log would be made.
fn open(path: &Path) -> rusqlite::Result<Connection> {
    let has_log = std::fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0);
    if has_log {
        return Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
    }
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'?' | b'#' | b'%' => uri.push_str(&format!("%{byte:02x}")),
            byte if byte.is_ascii() => uri.push(char::from(*byte)),
            byte => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(uri, flags)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Whether the nearest directory above that exists is one, and takes files.
fn may_be_made(path: &Path) -> Result<(), String> {
    let above = path
        .ancestors()
        .skip(1)
        .map(|above| match above.as_os_str().is_empty() {
            true => Path::new("."),
            false => above,
        })
        .find(|above| above.exists())
        .unwrap_or(Path::new("."));
    let found = std::fs::metadata(above)
        .map_err(|error| format!("can't look at {}: {error}", above.display()))?;
    if !found.is_dir() {
        return Err(format!(
            "{} can't be made: {} is no directory",
            path.display(),
            above.display()
        ));
    }
    if found.permissions().readonly() {
        return Err(format!(
            "{} can't be made: {} can't be written",
            path.display(),
            above.display()
        ));
    }
    Ok(())
}
