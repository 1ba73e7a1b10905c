//! `respgres import` from a table of a PostgreSQL database.

use super::transfer::{contents, count, kill_in_the_middle, respgres, run, to};
use crate::harness::{PostgresServer, Scratch, Setup, both_backends, pg};

/// A database with a table; dropped at the end.
struct Source(String);

impl Source {
    fn with(sql: &str) -> Source {
        let url = PostgresServer::shared().create_database();
        pg(&url).unwrap().batch_execute(sql).unwrap();
        Source(url)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        PostgresServer::shared().drop_database(&self.0);
    }
}

const COLUMNS: [&str; 6] = [
    "--table",
    "sessions",
    "--key-column",
    "k",
    "--value-column",
    "v",
];

both_backends!(rows_come_with_their_expiry);

fn rows_come_with_their_expiry(setup: Setup) {
    let (it, dir) = (setup.start(), Scratch::new("import"));
    let source = Source::with(
        "CREATE TABLE sessions (k text PRIMARY KEY, v text, until timestamptz, kind int);
         INSERT INTO sessions SELECT 'k' || n, 'value ' || n,
             CASE WHEN n % 2 = 0 THEN '2100-01-01 00:00:00.125Z'::timestamptz END, n % 10
         FROM generate_series(1, 3000) AS n;
         INSERT INTO sessions VALUES ('ключ', 'значение', 'infinity', 0), ('gone', 'x', '2001-01-01', 0),
             ('null', NULL, NULL, 0), ('null too', NULL, NULL, 0), ('long gone', 'x', '-infinity', 0);",
    );
    let to = to(&it);
    let import = [
        &["import", &source.0, &to, "--expires-column", "until"],
        &COLUMNS[..],
    ]
    .concat();
    let output = run(&dir, &import, 0);
    let target = contents(&mut it.conn());
    assert_eq!(target.len(), 3001, "{output}");
    for number in 1..=3000i64 {
        let at = if number % 2 == 0 {
            4_102_444_800_125
        } else {
            -1
        };
        let entry = (format!("value {number}").into_bytes(), at);
        assert_eq!(target[format!("k{number}").as_bytes()], entry);
    }
    assert_eq!(target["ключ".as_bytes()], ("значение".into(), -1));
    assert_eq!(count(&output, "rows without key or value"), 2);
    assert_eq!(count(&output, "missing"), 0);
    it.conn().run("FLUSHALL");
    run(&dir, &[&import[..], &["--where", "kind = 3"]].concat(), 0);
    assert_eq!(it.conn().run("DBSIZE"), ":300");
}

#[test]
fn bytes_numbers_and_odd_names_are_keys_and_values_too() {
    let (it, dir) = respgres();
    let source = Source::with(
        r#"CREATE SCHEMA app;
         CREATE TABLE app."Odd ""one" ("the key" bytea, "Value" bytea, n bigint);
         INSERT INTO app."Odd ""one" VALUES ('\x00ff', '\xfffe', 7), ('\x', '\x', 8);"#,
    );
    let to = to(&it);
    let import = |key: &str, value: &str| {
        let args = [
            "import",
            &source.0,
            &to,
            "--table",
            "app.Odd \"one",
            "--key-column",
            key,
            "--value-column",
            value,
        ];
        run(&dir, &args, 0)
    };
    import("the key", "Value");
    assert_eq!(it.conn().get([0, 255]).unwrap(), [255, 254]);
    assert_eq!(it.conn().get("").unwrap(), b"");
    import("n", "Value");
    assert_eq!(it.conn().get("7").unwrap(), [255, 254]);
    import("the key", "n");
    assert_eq!(it.conn().get([0, 255]).unwrap(), b"7");
}

#[test]
fn killed_in_the_middle_it_goes_on_behind_the_last_key() {
    let (it, dir) = respgres();
    let source = Source::with(
        "CREATE TABLE sessions (k text, v text);
         INSERT INTO sessions SELECT 'k' || n, 'value ' || n FROM generate_series(1, 40000) AS n;",
    );
    let to = to(&it);
    let import = [
        &["import", &source.0, &to, "--state", "state"],
        &COLUMNS[..],
    ]
    .concat();
    kill_in_the_middle(&dir, &dir.join("state"), &import);
    it.conn().run("FLUSHALL");
    let output = run(&dir, &import, 0);
    let again = count(&output, "changed meanwhile, copied again");
    assert!(
        again >= 999,
        "the first page was not copied again: {output}"
    );
    let target = contents(&mut it.conn());
    assert_eq!(target.len(), 40_000);
    assert!(
        target
            .iter()
            .all(|(key, (value, _))| { value.strip_prefix(b"value ") == key.strip_prefix(b"k") })
    );
}

#[test]
fn what_is_wrong_with_the_table_is_told() {
    let (it, dir) = respgres();
    let source = Source::with("CREATE TABLE sessions (k text, v text, until int)");
    let to = to(&it);
    let url = source.0.replace("respgres@", "respgres:hunter2@");
    for (args, code, reason) in [
        (&["--table", "t"][..], 2, "--key-column is missing"),
        (
            &["--table", "t", "--key-column", "k", "--value-column", "v"],
            2,
            "does not exist",
        ),
        (
            &[
                "--table",
                "sessions",
                "--key-column",
                "K",
                "--value-column",
                "v",
            ],
            2,
            "does not exist",
        ),
        (
            &[
                "--table",
                "sessions",
                "--key-column",
                "k",
                "--value-column",
                "v",
                "--where",
                "x",
            ],
            2,
            "does not exist",
        ),
        (
            &[
                "--table",
                "sessions",
                "--key-column",
                "k",
                "--value-column",
                "v",
                "--expires-column",
                "until",
            ],
            2,
            "timestamptz",
        ),
    ] {
        let output = run(&dir, &[&["import", &url, &to], args].concat(), code);
        assert!(output.contains(reason), "{args:?}: {output}");
        assert!(!output.contains("hunter2"), "{output}");
    }
    let nowhere = [
        &["import", "postgresql://u:hunter2@127.0.0.1:1/d", &to],
        &COLUMNS[..],
    ]
    .concat();
    let output = run(&dir, &nowhere, 1);
    assert!(
        output.contains("can't connect") && !output.contains("hunter2"),
        "{output}"
    );
}
