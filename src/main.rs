//! respgres.
fn main() {}
