//! What the harness does to servers: a paused PostgreSQL answers nothing, a killed one starts again with its rows, and
//! a Redis starts again with what it saved.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::harness::{DEADLINE, PostgresServer, RedisServer, eventually, pg};

#[test]
fn a_paused_postgres_answers_nothing_on_any_connection() {
    let server = PostgresServer::separate();
    let mut client = pg(&server.url("postgres")).unwrap();
    server.pause();
    let (sender, answer) = channel();
    std::thread::spawn(move || {
        sender.send(client.query_one("select 7", &[]).unwrap().get::<_, i32>(0))
    });
    assert_eq!(
        answer.recv_timeout(Duration::from_millis(500)),
        Err(RecvTimeoutError::Timeout)
    );
    server.resume();
    assert_eq!(answer.recv_timeout(DEADLINE), Ok(7));
}

#[test]
fn a_killed_postgres_starts_again_with_what_was_committed() {
    let mut server = PostgresServer::separate();
    let url = server.url("postgres");
    pg(&url)
        .unwrap()
        .batch_execute("create table t (n int); insert into t values (7)")
        .unwrap();
    let seven = || {
        pg(&url)
            .ok()?
            .query_one("select n from t", &[])
            .ok()
            .map(|row| row.get::<_, i32>(0))
    };
    server.kill();
    server.start_again();
    assert_eq!(seven(), Some(7));
    let mut client = pg(&url).unwrap();
    server.kill_a_session();
    eventually("other sessions end as well", || {
        client.is_valid(DEADLINE).is_err().then_some(())
    });
    eventually("it recovers by itself", || {
        (seven() == Some(7)).then_some(())
    });
}

#[test]
fn a_redis_starts_again_with_what_it_saved() {
    let mut redis = RedisServer::start();
    redis.conn().set("saved", "1");
    redis.save();
    redis.conn().set("unsaved", "1");
    for kept in ["[\"1\", $-1]", "[$-1, $-1]"] {
        redis.crash();
        redis.start_again();
        assert_eq!(redis.conn().run("MGET saved unsaved"), kept);
        redis.forget_saved();
    }
}
