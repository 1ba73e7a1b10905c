//! Writes whose connection is lost: what is still going on at the shard, and when it is over.

use std::time::Duration;

use bytes::Bytes;
use postgres::Client;
use respgres::command::mutation::{Existence, SetAnswer};
use respgres::command::{Mutation, Operation, Outcome, Set, SetExpiry};
use respgres::error::Error;
use respgres::shard::{Orphan, WriteFailure};

use crate::harness::{Library, PostgresServer, Stopped, eventually, pg};

/// Longest statement in these tests; a second later the connection is given up.
const QUERY_TIMEOUT: Duration = Duration::from_millis(300);

/// Makes every commit of a row wait while someone holds the lock 42. A statement's time-out does
/// not reach so far; that of a lock does.
const STALL: &str = "
create function stall() returns trigger language plpgsql set lock_timeout = 0 as
    $$ begin perform pg_advisory_xact_lock_shared(42); return null; end $$;
create constraint trigger stall after insert or update on respgres_kv
    deferrable initially deferred for each row execute function stall();";

fn set(value: &'static str, condition: Option<Existence>) -> Mutation {
    Mutation::Set(Set {
        value: Bytes::from_static(value.as_bytes()),
        condition,
        expiry: SetExpiry::Discard,
        answer: SetAnswer::Status,
    })
}

async fn write(
    shard: std::sync::Arc<respgres::shard::Shard>,
    mutation: Mutation,
) -> Result<Vec<Outcome>, WriteFailure> {
    let operations = [Operation::One(Bytes::from_static(b"key"), mutation)];
    shard.write(&operations).await
}

/// The orphan of a write whose outcome is unknown.
#[track_caller]
fn orphan<T: std::fmt::Debug>(result: Result<T, WriteFailure>) -> Orphan {
    let failure = result.unwrap_err();
    assert!(
        matches!(failure.error, Error::OutcomeUnknown { .. }),
        "{failure:?}"
    );
    failure.orphan.expect("an unknown outcome has an orphan")
}

/// A write of which nothing was or will be done.
#[track_caller]
fn assert_nothing_happened(result: Result<Vec<Outcome>, WriteFailure>) {
    let failure = result.unwrap_err();
    assert!(
        matches!(failure.error, Error::ShardDown { .. }),
        "{failure:?}"
    );
    assert_eq!(failure.orphan, None);
}

/// The processes of the library's sessions.
fn processes(sql: &mut Client) -> Vec<i32> {
    let query = "select pid from pg_stat_activity where application_name like 'respgres %' \
                 and datname = current_database() order by pid";
    let rows = sql.query(query, &[]).unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// The only process of the library's sessions: that of the next write.
#[track_caller]
fn only_process(sql: &mut Client) -> i32 {
    let processes = processes(sql);
    let [pid] = processes[..] else {
        panic!("{processes:?}")
    };
    pid
}

fn value(sql: &mut Client) -> Option<Vec<u8>> {
    let row = sql
        .query_opt("select value from respgres_kv where key = 'key'", &[])
        .unwrap();
    row.map(|row| row.get(0))
}

/// A library on a database whose commits can be stalled, and a session past it. The library's only
/// connection has prepared its statements, so that the next thing it sends is the write itself.
fn stalling(server: &PostgresServer) -> (Library, Client, String) {
    let url = server.create_database();
    let library = Library::with_query_timeout(&[&url], QUERY_TIMEOUT);
    for condition in [None, Some(Existence::Absent)] {
        library
            .run(write(library.shard(), set("before", condition)))
            .unwrap();
    }
    let mut sql = pg(&url).unwrap();
    sql.batch_execute(STALL).unwrap();
    (library, sql, url)
}

/// A write stalls in its commit, is given up, ended and waited for; after that it never happens.
fn check_stalled_commit(mutation: Mutation) {
    let (library, mut sql, _) = stalling(PostgresServer::shared());
    sql.execute("select pg_advisory_lock(42)", &[]).unwrap();
    let stalled = only_process(&mut sql);
    let orphan = orphan(library.run(write(library.shard(), mutation)));
    assert!(processes(&mut sql).contains(&stalled), "it goes on");
    library.run(library.shard().await_end(&orphan));
    assert!(!processes(&mut sql).contains(&stalled), "it is gone");
    sql.execute("select pg_advisory_unlock(42)", &[]).unwrap();
    assert_eq!(value(&mut sql).unwrap(), b"before");
    let written = library.run(write(library.shard(), set("next", None)));
    assert_eq!(written, Ok(vec![Outcome::Done]));
    assert_eq!(value(&mut sql).unwrap(), b"next");
}

#[test]
fn a_stalled_batch_of_sets_is_ended_and_waited_for() {
    check_stalled_commit(set("late", None));
}

#[test]
fn a_stalled_transaction_is_ended_and_waited_for() {
    check_stalled_commit(set("late", Some(Existence::Present)));
}

#[test]
fn what_commits_late_is_seen_by_who_has_waited() {
    let (library, mut sql, _) = stalling(PostgresServer::shared());
    let process = only_process(&mut sql);
    // The statement is in the server's socket, and will be read there whatever becomes of the proxy.
    let stopped = Stopped::stop(process);
    let orphan = orphan(library.run(write(library.shard(), set("late", None))));
    assert_eq!(value(&mut sql).unwrap(), b"before");
    drop(stopped);
    eventually("it commits after all", || {
        (value(&mut sql)? == b"late").then_some(())
    });
    library.run(library.shard().await_end(&orphan));
    assert!(!processes(&mut sql).contains(&process));
}

#[test]
fn a_process_that_does_not_end_is_waited_for() {
    let (library, mut sql, _) = stalling(PostgresServer::shared());
    let process = only_process(&mut sql);
    let stopped = Stopped::stop(process);
    let orphan = orphan(library.run(write(library.shard(), set("late", None))));
    let shard = library.shard();
    let waiting = library.spawn(async move { shard.await_end(&orphan).await });
    std::thread::sleep(Duration::from_millis(1500));
    assert!(!waiting.is_finished());
    assert!(processes(&mut sql).contains(&process));
    drop(stopped);
    library.run(waiting).unwrap();
    assert!(!processes(&mut sql).contains(&process));
    let after = value(&mut sql);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(value(&mut sql), after, "it is over");
}

#[test]
fn the_wait_outlasts_an_outage_of_the_shard() {
    let mut server = PostgresServer::separate();
    let (library, mut sql, _) = stalling(&server);
    sql.execute("select pg_advisory_lock(42)", &[]).unwrap();
    let orphan = orphan(library.run(write(library.shard(), set("late", None))));
    let shard = library.shard();
    server.crash();
    eventually("the shard is known to be down", || {
        library.run(shard.probe());
        shard.state().err()
    });
    let waiting = library.spawn({
        let shard = library.shard();
        async move { shard.await_end(&orphan).await }
    });
    std::thread::sleep(Duration::from_millis(600));
    assert!(!waiting.is_finished());
    server.start_again();
    library.run(waiting).unwrap();
    assert!(shard.state().is_err(), "nobody has probed it yet");
}

#[test]
fn a_process_that_an_administrator_ends_may_have_committed() {
    let (library, mut sql, url) = stalling(PostgresServer::shared());
    sql.execute("select pg_advisory_lock(42)", &[]).unwrap();
    let process = only_process(&mut sql);
    let writing = library.spawn(write(library.shard(), set("late", None)));
    let mut administrator = pg(&url).unwrap();
    eventually("the commit stalls", || {
        let query = "select wait_event_type = 'Lock' from pg_stat_activity where pid = $1";
        let row = administrator.query_one(query, &[&process]).unwrap();
        row.get::<_, Option<bool>>(0)?.then_some(())
    });
    administrator
        .execute("select pg_terminate_backend($1)", &[&process])
        .unwrap();
    let orphan = orphan(library.run(writing).unwrap());
    library.run(library.shard().await_end(&orphan));
    assert!(!processes(&mut sql).contains(&process));
}

/// Makes the next statement or commit that writes a row fail, and end the session with that: an
/// error of any kind can do so.
fn end_sessions_of_writes(sql: &mut Client, trigger: &str) {
    sql.batch_execute(&format!(
        "drop trigger stall on respgres_kv;
            create function fail() returns trigger language plpgsql as $$ begin
                perform set_config('exit_on_error', 'on', false);
                raise exception 'no more' using errcode = 'XX000'; end $$;
            create {trigger} for each row execute function fail();"
    ))
    .unwrap();
}

#[test]
fn a_session_that_an_error_ends_with_the_commit_under_way_may_have_committed() {
    for mutation in [set("late", None), set("late", Some(Existence::Present))] {
        let (library, mut sql, _) = stalling(PostgresServer::shared());
        end_sessions_of_writes(
            &mut sql,
            "constraint trigger fail after update on respgres_kv deferrable initially deferred",
        );
        let process = only_process(&mut sql);
        let orphan = orphan(library.run(write(library.shard(), mutation)));
        library.run(library.shard().await_end(&orphan));
        assert!(!processes(&mut sql).contains(&process));
        assert_eq!(value(&mut sql).unwrap(), b"before");
    }
}

#[test]
fn nothing_happened_where_an_error_ended_the_session_before_the_commit_was_sent() {
    let (library, mut sql, _) = stalling(PostgresServer::shared());
    sql.batch_execute("delete from respgres_kv").unwrap();
    end_sessions_of_writes(&mut sql, "trigger fail after insert on respgres_kv");
    let process = only_process(&mut sql);
    let conditional = set("late", Some(Existence::Absent));
    assert_nothing_happened(library.run(write(library.shard(), conditional)));
    assert!(!processes(&mut sql).contains(&process));
    assert_eq!(value(&mut sql), None);
}

#[test]
fn a_flush_that_is_given_up_is_waited_for_too() {
    let (library, mut sql, _) = stalling(PostgresServer::shared());
    let process = only_process(&mut sql);
    let stopped = Stopped::stop(process);
    let shard = library.shard();
    let orphan = orphan(library.run(async { shard.clear().await }));
    drop(stopped);
    library.run(library.shard().await_end(&orphan));
    assert!(!processes(&mut sql).contains(&process));
}

#[test]
fn nothing_happened_before_the_commit_was_sent() {
    let (library, mut sql, _) = stalling(PostgresServer::shared());
    // Given up while the locks were asked for: they may be granted later, and nothing comes of it.
    let stopped = Stopped::stop(only_process(&mut sql));
    let given_up = write(library.shard(), set("late", Some(Existence::Present)));
    assert_nothing_happened(library.run(given_up));
    drop(stopped);
    eventually("the process has ended", || {
        processes(&mut sql).is_empty().then_some(())
    });
    assert_eq!(value(&mut sql).unwrap(), b"before");
}

#[test]
fn nothing_happened_where_the_connection_was_lost_before_the_commit_was_sent() {
    let url = PostgresServer::shared().create_database();
    let library = Library::open(&[&url]);
    let written = library.run(write(library.shard(), set("before", None)));
    assert_eq!(written, Ok(vec![Outcome::Done]));
    let (mut holder, mut sql) = (pg(&url).unwrap(), pg(&url).unwrap());
    let mut lock = holder.transaction().unwrap();
    lock.execute("select from respgres_kv for update", &[])
        .unwrap();
    let process = only_process(&mut sql);
    let writing = library.spawn(write(
        library.shard(),
        set("late", Some(Existence::Present)),
    ));
    eventually("the write waits for the row", || {
        let query = "select wait_event_type = 'Lock' from pg_stat_activity where pid = $1";
        let row = sql.query_one(query, &[&process]).unwrap();
        row.get::<_, Option<bool>>(0)?.then_some(())
    });
    sql.execute("select pg_terminate_backend($1)", &[&process])
        .unwrap();
    assert_nothing_happened(library.run(writing).unwrap());
    lock.commit().unwrap();
    assert_eq!(value(&mut sql).unwrap(), b"before");
}

#[test]
fn a_database_that_was_replaced_gets_no_write_on_a_new_connection() {
    let url = PostgresServer::shared().create_database();
    let library = Library::open(&[&url]);
    let mut sql = pg(&url).unwrap();
    sql.execute("update respgres_identity set shard_id = 7", &[])
        .unwrap();
    let process = only_process(&mut sql);
    sql.execute("select pg_terminate_backend($1)", &[&process])
        .unwrap();
    // Nobody has probed it: what refuses is the new connection.
    let error = eventually("the old connection is gone", || {
        let result = library.run(write(library.shard(), set("value", None)));
        let failure = result.unwrap_err();
        failure
            .error
            .to_string()
            .contains("shard_7")
            .then_some(failure.error)
    });
    assert!(matches!(error, Error::ShardDown { .. }), "{error}");
    assert_eq!(value(&mut sql), None);
}
