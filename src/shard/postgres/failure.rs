//! What an error of tokio-postgres says about the effect of the statement.

use std::error::Error;

use tokio_postgres::error::{DbError, Severity, SqlState};

use super::Failure;

/// The error with its causes; tokio-postgres alone says only 'db error'.
pub(super) fn described(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// Sorts the error of a statement that had been sent.
pub(super) fn classify(error: &tokio_postgres::Error) -> Failure {
    let Some(db_error) = error.as_db_error() else {
        return Failure::Closed(described(error));
    };
    let text = format!(
        "{} (SQLSTATE {})",
        db_error.message(),
        db_error.code().code()
    );
    // With a commit under way, the end of the session may have come after it.
    if ends_session(db_error) {
        return Failure::Closed(text);
    }
    match db_error.code() {
        &SqlState::ADMIN_SHUTDOWN | &SqlState::CRASH_SHUTDOWN | &SqlState::CANNOT_CONNECT_NOW => {
            Failure::Closed(text)
        }
        // A primary that became a standby: nothing was written, and nothing will be.
        &SqlState::READ_ONLY_SQL_TRANSACTION => Failure::Unreachable(text),
        // Two that wait for each other: the one that was taken back can try again.
        &SqlState::LOCK_NOT_AVAILABLE | &SqlState::T_R_DEADLOCK_DETECTED => Failure::Locked(text),
        _ => Failure::Refused(text),
    }
}

/// Whether the server ended the session, as it does for reasons of every SQLSTATE: a time-out, a
/// lack of memory, `exit_on_error`.
fn ends_session(error: &DbError) -> bool {
    match error.parsed_severity() {
        Some(severity) => matches!(severity, Severity::Fatal | Severity::Panic),
        // What is no server may leave out the field that is not translated.
        None => matches!(error.severity(), "FATAL" | "PANIC"),
    }
}
