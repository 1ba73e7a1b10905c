//! The members of a shard and the view that they agree on, driven through the library: a member
//! can be held, or dropped, at points that no client could bring a proxy to.

use std::time::{Duration, Instant};

use bytes::Bytes;
use postgres::Client;
use respgres::command::{Mutation, Set, SetExpiry};
use respgres::shard::{Member, MemberId, Membership};
use respgres::view::{Epoch, Instance, View};

use crate::harness::{Library, PostgresServer, Scratch, Stopped, eventually, pg};

/// A blank shard over each of the backends, with a name for what is opened on it.
struct Blank {
    url: String,
    _dir: Option<Scratch>,
}

impl Blank {
    fn postgres() -> Blank {
        Blank {
            url: PostgresServer::shared().create_database(),
            _dir: None,
        }
    }

    fn sqlite() -> Blank {
        let dir = Scratch::new("membership");
        Blank {
            url: format!("sqlite:{}", dir.join("shard.db").display()),
            _dir: Some(dir),
        }
    }

    fn open(&self) -> Library {
        Library::open(&[&self.url])
    }

    /// A session past the library.
    fn sql(&self) -> Client {
        pg(&self.url).unwrap()
    }
}

fn instance(digit: char) -> Option<Instance> {
    let id = digit.to_string().repeat(40);
    Instance::of_redis(&id, &id)
}

fn set(value: &'static str) -> Mutation {
    Mutation::Set(Set {
        value: Bytes::from_static(value.as_bytes()),
        condition: None,
        expiry: SetExpiry::Discard,
        get: false,
    })
}

/// Writes `key` through the library's pool.
#[track_caller]
fn write(library: &Library, key: &'static str, value: &'static str) {
    let operations = [(Bytes::from_static(key.as_bytes()), set(value))];
    let shard = library.shard();
    library
        .run(async move { shard.write(&operations).await.map_err(drop) })
        .unwrap();
}

#[track_caller]
fn view(library: &Library, membership: &Membership) -> Option<View> {
    library.run(membership.look()).unwrap().view
}

#[track_caller]
fn others(library: &Library, membership: &Membership) -> Vec<Member> {
    library.run(membership.others()).unwrap()
}

/// Waits until the server has noticed that a member's session is gone.
#[track_caller]
fn wait_until_dead(library: &Library, membership: &Membership, member: MemberId) {
    eventually("its session is gone", || {
        let others = others(library, membership);
        let found = others.iter().find(|other| other.id == member).unwrap();
        (!found.is_alive).then_some(())
    });
}

/// The server processes of a member's sessions.
fn sessions(sql: &mut Client, member: MemberId) -> Vec<i32> {
    let query = "select pid from pg_stat_activity where application_name = $1 order by pid";
    let name = format!("respgres {member} shard_0");
    let rows = sql.query(query, &[&name]).unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Those whose last statement contains this.
fn sessions_doing(sql: &mut Client, member: MemberId, statement: &str) -> Vec<i32> {
    let query = "select pid from pg_stat_activity where application_name = $1 and position($2 in query) > 0";
    let name = format!("respgres {member} shard_0");
    let rows = sql.query(query, &[&name, &statement]).unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

fn the_first_view_is_made_once_and_changed_only_from_the_epoch_that_it_has(blank: &Blank) {
    let library = blank.open();
    let member = library.join();
    assert_eq!(view(&library, &member), None);
    assert_eq!(
        library.run(member.change(Epoch::FIRST, instance('a'))),
        Ok(false)
    );
    assert_eq!(library.run(member.found(instance('a'))), Ok(true));
    assert_eq!(library.run(member.found(instance('b'))), Ok(false));
    let first = View {
        epoch: Epoch::FIRST,
        cache: instance('a'),
    };
    assert_eq!(view(&library, &member), Some(first));
    std::thread::sleep(Duration::from_millis(50));
    let seen = library.run(member.look()).unwrap();
    assert!(seen.age >= Duration::from_millis(50) && seen.age < Duration::from_secs(30));
    assert!(seen.is_registered && !seen.has_notes);

    assert_eq!(library.run(member.change(Epoch::FIRST, None)), Ok(true));
    let seen = library.run(member.look()).unwrap();
    let second = View {
        epoch: Epoch::new(2),
        cache: None,
    };
    assert_eq!(seen.view, Some(second));
    assert!(seen.age < Duration::from_millis(50), "{seen:?}");
    assert_eq!(
        library.run(member.change(Epoch::FIRST, instance('c'))),
        Ok(false)
    );
    assert_eq!(
        library.run(member.change(Epoch::new(3), instance('c'))),
        Ok(false)
    );
    assert_eq!(view(&library, &member), Some(second));
    drop(member);
    let again = library.join();
    assert_eq!(view(&library, &again), Some(second), "it is stored");
}

fn of_those_who_change_a_view_at_once_one_does(blank: &Blank) {
    let library = blank.open();
    let first = library.join();
    assert_eq!(library.run(first.found(None)), Ok(true));
    // The other one is another proxy where several can be.
    let other = blank.url.starts_with("postgresql:").then(|| blank.open());
    let second = other.as_ref().unwrap_or(&library).join();
    for round in 1..=50 {
        let epoch = Epoch::new(round);
        let (one, other) = library.run(async {
            tokio::join!(
                first.change(epoch, instance('1')),
                second.change(epoch, instance('2'))
            )
        });
        let (one, other) = (one.unwrap(), other.unwrap());
        assert!(one ^ other, "{one} and {other}");
        let expected = View {
            epoch: Epoch::new(round + 1),
            cache: instance(if one { '1' } else { '2' }),
        };
        assert_eq!(view(&library, &first), Some(expected));
    }
}

fn who_leaves_is_forgotten_and_who_crashes_is_not(blank: &Blank) {
    let library = blank.open();
    let left = library.shards().member();
    let member = library.join();
    assert_eq!(others(&library, &member), [], "nobody is his own other");
    library.run(member.leave()).unwrap();
    drop(library);

    let library = blank.open();
    let crashed = library.shards().member();
    assert_ne!(crashed, left);
    let member = library.join();
    assert_eq!(others(&library, &member), []);
    assert_eq!(library.run(member.found(instance('a'))), Ok(true));
    assert_eq!(library.run(member.report(instance('b'))), Ok(()));
    drop((member, library));

    let library = blank.open();
    let member = library.join();
    wait_until_dead(&library, &member, crashed);
    let dead = Member {
        id: crashed,
        cache: instance('b'),
        is_alive: false,
        is_active: false,
    };
    assert_eq!(others(&library, &member), [dead]);
    assert_eq!(
        library.run(member.retire(library.shards().member())),
        Ok(false),
        "nobody retires himself"
    );
    assert!(library.run(member.look()).unwrap().is_registered);
    assert_eq!(library.run(member.retire(crashed)), Ok(true));
    assert_eq!(others(&library, &member), []);
    let next = View {
        epoch: Epoch::new(2),
        cache: instance('a'),
    };
    assert_eq!(view(&library, &member), Some(next));
    assert_eq!(library.run(member.retire(crashed)), Ok(false), "once");
    assert_eq!(view(&library, &member), Some(next));
}

fn a_dead_member_is_retired_where_there_is_no_view_too(blank: &Blank) {
    let library = blank.open();
    let crashed = library.shards().member();
    drop(library.join());
    drop(library);
    let library = blank.open();
    let member = library.join();
    wait_until_dead(&library, &member, crashed);
    assert_eq!(library.run(member.retire(crashed)), Ok(false));
    assert_eq!(others(&library, &member), []);
    assert_eq!(view(&library, &member), None);
}

macro_rules! over_both {
    ($($name:ident),+ $(,)?) => {
        mod postgres_shard {
            $(#[test] fn $name() { super::$name(&super::Blank::postgres()); })+
        }
        mod sqlite_shard {
            $(#[test] fn $name() { super::$name(&super::Blank::sqlite()); })+
        }
    };
}

over_both!(
    the_first_view_is_made_once_and_changed_only_from_the_epoch_that_it_has,
    of_those_who_change_a_view_at_once_one_does,
    who_leaves_is_forgotten_and_who_crashes_is_not,
    a_dead_member_is_retired_where_there_is_no_view_too,
);

#[test]
fn every_session_of_a_proxy_has_its_name() {
    let blank = Blank::postgres();
    let library = blank.open();
    let member = library.join();
    write(&library, "key", "value");
    let mut sql = blank.sql();
    let query = "select count(*), count(*) filter (where application_name = $1) from pg_stat_activity \
                 where datname = current_database() and pid <> pg_backend_pid()";
    let name = format!("respgres {} shard_0", library.shards().member());
    let row = sql.query_one(query, &[&name]).unwrap();
    let (all, named): (i64, i64) = (row.get(0), row.get(1));
    assert!(all >= 2 && named == all, "{named} of {all}");
    drop(member);
}

#[test]
fn a_member_that_lives_is_not_retired() {
    let blank = Blank::postgres();
    let (one, other) = (blank.open(), blank.open());
    let (living, member) = (one.join(), other.join());
    let id = one.shards().member();
    assert_eq!(other.run(member.found(None)), Ok(true));
    let mut sql = blank.sql();
    let before = sessions(&mut sql, id);
    assert!(before.len() >= 2, "{before:?}");
    assert_eq!(other.run(member.retire(id)), Ok(false));
    assert_eq!(sessions(&mut sql, id), before);
    let alive = Member {
        id,
        cache: None,
        is_alive: true,
        is_active: true,
    };
    assert_eq!(others(&other, &member), [alive]);
    assert_eq!(view(&one, &living).unwrap().epoch, Epoch::FIRST);
    assert!(one.run(living.look()).unwrap().is_registered);
}

#[test]
fn what_a_dead_member_had_begun_does_not_commit() {
    let blank = Blank::postgres();
    let (one, other) = (blank.open(), blank.open());
    let (dying, member) = (one.join(), other.join());
    let id = one.shards().member();
    assert_eq!(other.run(member.found(instance('a'))), Ok(true));
    write(&one, "key", "before");
    // Its write waits for a lock, and would go on when it is given.
    let (mut holder, mut sql) = (blank.sql(), blank.sql());
    let mut lock = holder.transaction().unwrap();
    lock.execute("select from respgres_kv for update", &[])
        .unwrap();
    let shard = one.shard();
    let writing = one.spawn(async move {
        shard
            .write(&[(Bytes::from_static(b"key"), set("late"))])
            .await
    });
    eventually("the write waits", || {
        let query = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
        (sql.query_one(query, &[]).unwrap().get::<_, i64>(0) == 1).then_some(())
    });
    drop(dying);
    wait_until_dead(&other, &member, id);
    assert!(!sessions(&mut sql, id).is_empty());
    assert_eq!(other.run(member.retire(id)), Ok(true));
    assert_eq!(sessions(&mut sql, id), [0; 0]);
    lock.commit().unwrap();
    assert!(one.run(writing).unwrap().is_err());
    let row = sql.query_one("select value from respgres_kv", &[]).unwrap();
    assert_eq!(row.get::<_, &[u8]>(0), b"before");
    let seen = other.run(member.look()).unwrap();
    let next = View {
        epoch: Epoch::new(2),
        cache: instance('a'),
    };
    assert_eq!(seen.view, Some(next));
}

#[test]
fn a_member_whose_sessions_do_not_end_is_not_retired_before_they_have() {
    let blank = Blank::postgres();
    let (one, other) = (blank.open(), blank.open());
    let (dying, member) = (one.join(), other.join());
    let id = one.shards().member();
    assert_eq!(other.run(member.found(None)), Ok(true));
    write(&one, "key", "value");
    drop(dying);
    wait_until_dead(&other, &member, id);
    let mut sql = blank.sql();
    let pids = sessions(&mut sql, id);
    let stopped = Stopped::stop(pids[0]);
    let begun = Instant::now();
    assert_eq!(other.run(member.retire(id)), Ok(false));
    assert!(begun.elapsed() > Duration::from_secs(2) && begun.elapsed() < Duration::from_secs(10));
    assert_eq!(view(&other, &member).unwrap().epoch, Epoch::FIRST);
    assert_eq!(others(&other, &member).len(), 1);
    assert_eq!(sessions(&mut sql, id), [pids[0]]);
    drop(stopped);
    assert_eq!(other.run(member.retire(id)), Ok(true));
    assert_eq!(view(&other, &member).unwrap().epoch, Epoch::new(2));
}

#[test]
fn of_those_who_retire_a_member_at_once_one_changes_the_view() {
    let blank = Blank::postgres();
    let proxies: Vec<Library> = (0..4).map(|_| blank.open()).collect();
    let members: Vec<Membership> = proxies.iter().map(Library::join).collect();
    let any = &proxies[0];
    assert_eq!(any.run(members[0].found(None)), Ok(true));
    for round in 1..=10 {
        let dying = blank.open();
        let id = dying.shards().member();
        drop(dying.join());
        wait_until_dead(any, &members[0], id);
        let results = any.run(async {
            tokio::join!(
                members[0].retire(id),
                members[1].retire(id),
                members[2].retire(id),
                members[3].retire(id),
            )
        });
        let results = [results.0, results.1, results.2, results.3].map(Result::unwrap);
        assert_eq!(results.iter().filter(|won| **won).count(), 1, "{results:?}");
        assert_eq!(view(any, &members[0]).unwrap().epoch, Epoch::new(round + 1));
    }
}

#[test]
fn a_retirement_and_another_change_of_the_view_both_count() {
    let blank = Blank::postgres();
    let (dying, other) = (blank.open(), blank.open());
    drop(dying.join());
    let id = dying.shards().member();
    let member = other.join();
    assert_eq!(other.run(member.found(instance('a'))), Ok(true));
    wait_until_dead(&other, &member, id);
    // Another proxy has changed the row, and not committed yet.
    let (mut holder, mut sql) = (blank.sql(), blank.sql());
    let mut change = holder.transaction().unwrap();
    change
        .execute(
            "update respgres_view set epoch = epoch + 1, cache = null",
            &[],
        )
        .unwrap();
    let retiring = other.spawn(async move { (member.retire(id).await, member) });
    eventually("the retirement waits", || {
        let query = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
        (sql.query_one(query, &[]).unwrap().get::<_, i64>(0) == 1).then_some(())
    });
    change.commit().unwrap();
    let (retired, member) = other.run(retiring).unwrap();
    assert_eq!(retired, Ok(true));
    let both = View {
        epoch: Epoch::new(3),
        cache: None,
    };
    assert_eq!(view(&other, &member), Some(both));
}

#[test]
fn a_member_that_joins_again_takes_its_lock_from_its_lost_session() {
    let blank = Blank::postgres();
    let library = blank.open();
    let lost = library.join();
    // As after a break of the line: the server still has the old session.
    let member = library.join();
    assert!(library.run(lost.look()).is_err());
    assert!(library.run(member.look()).unwrap().is_registered);
    let other = blank.open();
    let seen = other.join();
    assert!(others(&other, &seen)[0].is_alive);
}

#[test]
fn a_living_member_that_was_retired_learns_of_it_and_registers_again() {
    let blank = Blank::postgres();
    let library = blank.open();
    let member = library.join();
    blank
        .sql()
        .execute("delete from respgres_members", &[])
        .unwrap();
    assert!(!library.run(member.look()).unwrap().is_registered);
    library.run(member.report(instance('a'))).unwrap();
    assert!(library.run(member.look()).unwrap().is_registered);
    let other = blank.open();
    let seen = other.join();
    let alive = Member {
        id: library.shards().member(),
        cache: instance('a'),
        is_alive: true,
        is_active: true,
    };
    assert_eq!(others(&other, &seen), [alive]);
}

#[test]
fn a_lost_session_fails_at_once_and_a_silent_one_in_time() {
    let blank = Blank::postgres();
    let library = blank.open();
    let member = library.join();
    let mut sql = blank.sql();
    let id = library.shards().member();
    library.run(member.look()).unwrap();
    let pids = sessions_doing(&mut sql, id, "respgres_outbox");
    assert_eq!(pids.len(), 1);
    sql.execute("select pg_terminate_backend($1)", &[&pids[0]])
        .unwrap();
    let begun = Instant::now();
    eventually("the loss is noticed", || library.run(member.look()).err());
    assert!(library.run(member.others()).is_err());
    assert!(library.run(member.change(Epoch::FIRST, None)).is_err());
    assert!(library.run(member.retire(MemberId::draw())).is_err());
    assert!(begun.elapsed() < Duration::from_secs(1));
    drop(member);

    let member = library.join();
    library.run(member.look()).unwrap();
    let pids = sessions_doing(&mut sql, id, "respgres_outbox");
    assert_eq!(pids.len(), 1);
    let stopped = Stopped::stop(pids[0]);
    let begun = Instant::now();
    assert!(library.run(member.look()).is_err());
    assert!(begun.elapsed() < Duration::from_secs(8));
    drop(stopped);
}

/// Notes settings of each session that writes to the table.
fn spy(sql: &mut Client, table: &str) {
    sql.batch_execute(&format!(
        "create table if not exists spied (name text, setting text);
            create function spy_{table}() returns trigger language plpgsql as $$ begin
                insert into spied select s, current_setting(s) from unnest(array['synchronous_commit',
                    'tcp_keepalives_idle', 'tcp_keepalives_interval', 'tcp_keepalives_count', 'tcp_user_timeout']) as s;
                return null; end $$;
            create trigger spy after insert or update on {table} for each row execute function spy_{table}();"
    ))
    .unwrap();
}

fn spied(sql: &mut Client) -> Vec<String> {
    let query = "delete from spied returning setting";
    let rows = sql.query(query, &[]).unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[test]
fn a_change_of_the_view_waits_for_the_disk_where_other_commits_do_not() {
    let blank = Blank::postgres();
    let mut sql = blank.sql();
    let alter = "do $$ begin execute format('alter database %I set synchronous_commit = off', current_database()); end $$";
    sql.batch_execute(alter).unwrap();
    let library = blank.open();
    spy(&mut sql, "respgres_view");
    let member = library.join();
    assert_eq!(library.run(member.found(None)), Ok(true));
    assert_eq!(spied(&mut sql)[0], "on");
}

#[test]
fn the_server_is_told_to_notice_soon_when_a_proxys_host_vanishes() {
    let blank = Blank::postgres();
    let library = blank.open();
    let mut sql = blank.sql();
    spy(&mut sql, "respgres_kv");
    write(&library, "key", "value");
    let pooled = spied(&mut sql);
    spy(&mut sql, "respgres_members");
    let member = library.join();
    assert_eq!(spied(&mut sql), pooled);
    let [_, idle, interval, count, user_timeout] =
        [0, 1, 2, 3, 4].map(|n| pooled[n].parse::<u32>().unwrap_or(0));
    assert!((1..=10).contains(&(idle + interval * count)), "{pooled:?}");
    assert!((1..=10_000).contains(&user_timeout), "{pooled:?}");
    drop(member);
}
