//! What is in the shards, seen with SQL past the proxy.

use std::path::{Path, PathBuf};

use postgres::{Client, NoTls};
use rusqlite::Connection;

/// A connection to a PostgreSQL database.
pub fn pg(url: &str) -> Result<Client, postgres::Error> {
    Client::connect(url, NoTls)
}

/// The shards of a deployment, in order.
pub enum Shards {
    /// URLs of PostgreSQL databases.
    Postgres(Vec<String>),
    /// SQLite files.
    Sqlite(Vec<PathBuf>),
}

/// In PostgreSQL a key is a row's `key`, or where that is a digest of a long key, its `long_key`.
const PG_KEY: &str = "coalesce(long_key, key)";

impl Shards {
    /// The SQLite files below a data directory, in the order of their numbers.
    pub fn in_data_dir(dir: &Path) -> Shards {
        let files = std::fs::read_dir(dir).expect("the data directory is there");
        let mut files: Vec<PathBuf> = files
            .map(|file| file.expect("a directory entry").path())
            .collect();
        files.retain(|file| {
            std::fs::read(file).is_ok_and(|bytes| bytes.starts_with(b"SQLite format 3\0"))
        });
        // By number: shard 2 comes before shard 10.
        files.sort_by_key(|file| (file.as_os_str().len(), file.clone()));
        Shards::Sqlite(files)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        match self {
            Shards::Postgres(urls) => urls.len(),
            Shards::Sqlite(files) => files.len(),
        }
    }

    /// The number of rows on a shard, expired ones included.
    pub fn rows(&self, shard: usize) -> i64 {
        match self {
            Shards::Postgres(urls) => {
                let mut client = pg(&urls[shard]).expect("the shard is up");
                client
                    .query_one("select count(*) from respgres_kv", &[])
                    .expect("rows")
                    .get(0)
            }
            Shards::Sqlite(files) => {
                let file = open(&files[shard]);
                file.query_row("select count(*) from respgres_kv", [], |row| row.get(0))
                    .expect("rows")
            }
        }
    }

    /// The number of rows on all shards.
    pub fn all_rows(&self) -> i64 {
        (0..self.count()).map(|shard| self.rows(shard)).sum()
    }

    /// The value in the row of a key on one shard.
    pub fn value(&self, shard: usize, key: &[u8]) -> Option<Vec<u8>> {
        match self {
            Shards::Postgres(urls) => {
                let query = format!("select value from respgres_kv where {PG_KEY} = $1");
                let mut client = pg(&urls[shard]).expect("the shard is up");
                let row = client.query_opt(&query, &[&key]).expect("at most one row");
                row.map(|row| row.get(0))
            }
            Shards::Sqlite(files) => {
                let file = open(&files[shard]);
                let query = "select value from respgres_kv where key = $1";
                let mut statement = file.prepare(query).expect("a statement");
                let mut rows = statement.query([key]).expect("a query");
                let row = rows.next().expect("a row or none");
                row.map(|row| row.get(0).expect("a blob"))
            }
        }
    }

    /// The shards that have a row of this key.
    pub fn holding(&self, key: &[u8]) -> Vec<usize> {
        (0..self.count())
            .filter(|shard| self.value(*shard, key).is_some())
            .collect()
    }

    /// All keys of a shard.
    pub fn keys(&self, shard: usize) -> Vec<Vec<u8>> {
        match self {
            Shards::Postgres(urls) => {
                let mut client = pg(&urls[shard]).expect("the shard is up");
                let query = format!("select {PG_KEY} from respgres_kv");
                client
                    .query(&query, &[])
                    .expect("rows")
                    .iter()
                    .map(|row| row.get(0))
                    .collect()
            }
            Shards::Sqlite(files) => {
                let file = open(&files[shard]);
                let mut statement = file
                    .prepare("select key from respgres_kv")
                    .expect("a statement");
                let rows = statement.query_map([], |row| row.get(0)).expect("a query");
                rows.map(|key| key.expect("a blob")).collect()
            }
        }
    }

    /// Makes every row on a shard that has an expiry one that expired long ago, and says how many there were.
    pub fn expire_all(&self, shard: usize) -> u64 {
        match self {
            Shards::Postgres(urls) => {
                let mut client = pg(&urls[shard]).expect("the shard is up");
                let update =
                    "update respgres_kv set expires_at = '2001-01-01' where expires_at is not null";
                client.execute(update, &[]).expect("rows can be changed")
            }
            Shards::Sqlite(files) => {
                let file = open(&files[shard]);
                let update = "update respgres_kv set expires_at = 1 where expires_at is not null";
                file.execute(update, []).expect("rows can be changed") as u64
            }
        }
    }

    /// Everything that the product ever wrote to a PostgreSQL database: its tables, its identity, and how many rows.
    pub fn fingerprint(url: &str) -> String {
        let mut client = pg(url).expect("the shard is up");
        let names = "select relname::text from pg_class c join pg_namespace n on n.oid = relnamespace \
                     where nspname !~ '^(pg_|information_schema)' order by 1";
        let names: Vec<String> = client
            .query(names, &[])
            .expect("names")
            .iter()
            .map(|row| row.get(0))
            .collect();
        let mut print = names.join(" ");
        for table in names
            .iter()
            .filter(|name| ["respgres_identity", "respgres_kv"].contains(&name.as_str()))
        {
            let rows = format!("select t::text from {table} t order by 1");
            for row in client.query(&rows, &[]).expect("rows") {
                print.push('\n');
                print.push_str(row.get(0));
            }
        }
        print
    }
}

/// Opens a shard's file as a second process may: waiting for locks.
fn open(file: &Path) -> Connection {
    let connection = Connection::open(file).expect("a SQLite file");
    connection
        .busy_timeout(super::wait::DEADLINE)
        .expect("a timeout can be set");
    connection
}
