//! respgres.
