//! Writes past the proxies are noted in the shard, and the proxies' own are not.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use postgres::Client;
use respgres::command::mutation::{Existence, SetAnswer};
use respgres::command::{Deadline, Mutation, Operation, Set, SetExpiry};
use respgres::shard::Note;

use crate::harness::{Library, PostgresServer, Scratch, eventually, pg};

/// More notes than any test makes.
const ALL: u32 = 10_000;

fn start() -> (Library, Client, String) {
    let url = PostgresServer::shared().create_database();
    let library = Library::open(&[&url]);
    let sql = pg(&url).unwrap();
    (library, sql, url)
}

#[track_caller]
fn notes(library: &Library, limit: u32) -> Vec<Note> {
    let shard = library.shard();
    library.run(async { shard.outbox(limit).await }).unwrap()
}

#[track_caller]
fn done(library: &Library, ids: &[i64]) {
    let shard = library.shard();
    library.run(async { shard.outbox_done(ids).await }).unwrap();
}

/// Takes all notes out, and returns their keys, sorted; `*` is every key.
#[track_caller]
fn drain(library: &Library) -> Vec<String> {
    let notes = notes(library, ALL);
    let ids: Vec<i64> = notes.iter().map(|note| note.id).collect();
    done(library, &ids);
    let text = |key: Bytes| String::from_utf8(key.to_vec()).unwrap();
    let mut keys: Vec<String> = notes
        .into_iter()
        .map(|note| note.key.map_or("*".to_owned(), text))
        .collect();
    keys.sort();
    keys
}

#[track_caller]
fn write(library: &Library, operations: Vec<(&'static str, Mutation)>) {
    let shard = library.shard();
    let operations: Vec<_> = operations
        .into_iter()
        .map(|(key, mutation)| Operation::One(Bytes::from_static(key.as_bytes()), mutation))
        .collect();
    library
        .run(async { shard.write(&operations).await })
        .unwrap();
}

fn set(condition: Option<Existence>, expiry: SetExpiry) -> Mutation {
    Mutation::Set(Set {
        value: Bytes::from_static(b"value"),
        condition,
        expiry,
        answer: SetAnswer::Status,
    })
}

#[test]
fn every_way_of_writing_by_sql_is_noted() {
    let (library, mut sql, _) = start();
    assert_eq!(drain(&library), [""; 0]);
    let mut check = |statement: &str, expected: &[&str]| {
        sql.batch_execute(statement).unwrap();
        assert_eq!(drain(&library), expected, "{statement}");
        assert_eq!(drain(&library), [""; 0], "{statement}");
    };
    check(
        "insert into respgres_kv (key, value) values ('a', '1'), ('b', '1'), ('c', '1')",
        &["a", "b", "c"],
    );
    check(
        "update respgres_kv set value = '2' where key in ('a', 'b')",
        &["a", "b"],
    );
    check("update respgres_kv set value = '2' where key = 'x'", &[]);
    check(
        "update respgres_kv set key = 'd' where key = 'c'",
        &["c", "d"],
    );
    check("delete from respgres_kv where key = 'd'", &["d"]);
    check(
        "insert into respgres_kv (key, value) values ('b', '3'), ('e', '3')
            on conflict (key) do update set value = excluded.value",
        &["b", "e"],
    );
    check(
        "insert into respgres_kv (key, value) values ('b', '4'), ('f', '4') on conflict do nothing",
        &["f"],
    );
    check(
        "merge into respgres_kv as old using (values ('a'::bytea), ('g')) as new (key)
            on old.key = new.key when matched then delete
            when not matched then insert (key, value) values (new.key, '5')",
        &["a", "g"],
    );
    check(
        "begin; insert into respgres_kv (key, value) values ('h', ''); rollback",
        &[],
    );
    check("truncate respgres_kv", &["*"]);
    let long = "k".repeat(5000);
    check(
        &format!("insert into respgres_kv (key, long_key, value) values ('digest', '{long}', '6')"),
        &[&long],
    );
    // As what logical replication brings, and what restores it.
    check(
        "set session_replication_role = replica;
            insert into respgres_kv (key, value) values ('i', '');
            reset session_replication_role",
        &["i"],
    );
    let mut copy = sql
        .copy_in("copy respgres_kv (key, value) from stdin")
        .unwrap();
    copy.write_all(b"copied 1\tvalue\ncopied 2\tvalue\n")
        .unwrap();
    copy.finish().unwrap();
    assert_eq!(drain(&library), ["copied 1", "copied 2"]);
}

#[test]
fn writes_of_the_proxies_are_not_noted() {
    let (library, mut sql, _) = start();
    let for_ever = || set(None, SetExpiry::Discard);
    write(&library, vec![("a", for_ever()), ("b", for_ever())]);
    write(&library, vec![("a", for_ever())]);
    write(
        &library,
        vec![("c", set(Some(Existence::Absent), SetExpiry::Discard))],
    );
    let deadline = Deadline::InMillis(1);
    let expire = Mutation::Expire {
        deadline: Deadline::InMillis(1_000_000),
        condition: None,
    };
    write(&library, vec![("a", expire), ("b", Mutation::Delete)]);
    write(
        &library,
        vec![("short", set(None, SetExpiry::Until(deadline)))],
    );
    let shard = library.shard();
    eventually("it is swept", || {
        let swept = library.run(async { shard.sweep(10).await }).unwrap();
        (swept == 1).then_some(())
    });
    let rows = sql
        .query_one("select count(*) from respgres_kv", &[])
        .unwrap();
    assert_eq!(rows.get::<_, i64>(0), 2);
    library.run(async { shard.clear().await }).unwrap();
    assert_eq!(drain(&library), [""; 0]);
}

#[test]
fn a_note_wakes_who_listens() {
    let (library, mut sql, _) = start();
    let member = library.join();
    let woken = |limit| library.run(async { tokio::time::timeout(limit, member.noted()).await });
    let at_once = Duration::from_millis(300);
    write(&library, vec![("own", set(None, SetExpiry::Discard))]);
    assert!(woken(at_once).is_err(), "by its own write");
    assert_eq!(notes(&library, ALL), []);

    sql.batch_execute("begin; insert into respgres_kv (key, value) values ('a', '')")
        .unwrap();
    assert!(woken(at_once).is_err(), "before the commit");
    sql.batch_execute("commit").unwrap();
    assert!(woken(Duration::from_secs(30)).is_ok());
    assert_eq!(drain(&library), ["a"]);
    assert!(woken(at_once).is_err(), "twice by one note");

    // One that came while nobody waited is not lost.
    sql.batch_execute("truncate respgres_kv").unwrap();
    eventually("the note is there", || {
        (!notes(&library, ALL).is_empty()).then_some(())
    });
    assert!(woken(Duration::from_secs(30)).is_ok());
}

#[test]
fn a_role_without_rights_on_the_outbox_may_write_from_anywhere() {
    let server = PostgresServer::separate();
    let url = server.create_database();
    let mut sql = pg(&url).unwrap();
    // The proxies' tables need not be in a schema that others look into.
    sql.batch_execute(
        "create schema home; create role guest login;
            alter role respgres set search_path = home;",
    )
    .unwrap();
    let library = Library::open(&[&url]);
    sql.batch_execute(
        "grant usage on schema home to guest;
            grant insert, update, delete on home.respgres_kv to guest;",
    )
    .unwrap();
    let mut guest = pg(&url.replace("respgres@", "guest@")).unwrap();
    // What it finds on its own path must not be taken for the outbox.
    guest
        .batch_execute(
            "create temp table respgres_outbox (key text); set search_path = pg_temp, public;
                insert into home.respgres_kv (key, value) values ('a', '1');",
        )
        .unwrap();
    assert_eq!(drain(&library), ["a"]);
    assert!(
        guest
            .execute("delete from home.respgres_outbox", &[])
            .is_err()
    );
}

#[test]
fn a_note_that_is_committed_late_is_not_skipped() {
    let (library, mut sql, url) = start();
    let mut late = pg(&url).unwrap();
    let mut transaction = late.transaction().unwrap();
    transaction
        .execute(
            "insert into respgres_kv (key, value) values ('late', '')",
            &[],
        )
        .unwrap();
    sql.execute(
        "insert into respgres_kv (key, value) values ('early', '')",
        &[],
    )
    .unwrap();
    let first = notes(&library, ALL);
    assert_eq!(first.len(), 1);
    done(&library, &[first[0].id]);
    transaction.commit().unwrap();
    let second = notes(&library, ALL);
    assert_eq!(second.len(), 1);
    assert_eq!(second[0].key.as_deref(), Some(&b"late"[..]));
    assert!(second[0].id < first[0].id, "that is what the test is about");
}

#[test]
fn notes_stay_until_they_are_done() {
    let (library, mut sql, _) = start();
    sql.execute(
        "insert into respgres_kv (key, value) select n::text::bytea, '' from generate_series(1, 9) as n",
        &[],
    )
    .unwrap();
    let first = notes(&library, 4);
    assert_eq!(first.len(), 4);
    assert_eq!(notes(&library, 4), first);
    done(&library, &[first[2].id, first[0].id, 1_000_000]);
    let rest = notes(&library, ALL);
    assert_eq!(rest.len(), 7);
    assert_eq!(rest[..2], [first[1].clone(), first[3].clone()]);
}

#[test]
fn an_sqlite_shard_has_no_notes() {
    let dir = Scratch::new("outbox");
    let url = format!("sqlite:{}", dir.join("shard.db").display());
    let library = Library::open(&[&url]);
    write(&library, vec![("a", set(None, SetExpiry::Discard))]);
    assert_eq!(notes(&library, ALL), []);
    done(&library, &[1]);
    let member = library.join();
    let waited = library
        .run(async { tokio::time::timeout(Duration::from_millis(50), member.noted()).await });
    assert!(waited.is_err());
}
