//! The members of a shard and the view that they agree on, driven through the library: a member
//! can be held, or dropped, at points that no client could bring a proxy to.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use postgres::Client;
use respgres::command::{Mutation, Operation, Set};
use respgres::shard::{Member, MemberId, Membership};
use respgres::view::{Epoch, Instance, View};
use rusqlite::Connection;

use crate::harness::{Library, PostgresServer, Scratch, Stopped, eventually, pg};
use crate::pooler::Pooler;

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

    /// A role that may do little besides using the tables, with at most so many sessions.
    #[track_caller]
    fn limited(&self, sessions: i32) -> String {
        let role = self.role();
        self.execute(&format!(
            "create role {role} login connection limit {sessions};
                grant all on schema public to {role};
                grant all on all tables in schema public to {role};"
        ));
        self.url.replace("respgres@", &format!("{role}@"))
    }

    fn role(&self) -> String {
        format!("limited_{}", self.url.rsplit('/').next().unwrap())
    }

    /// Runs a statement past the library.
    #[track_caller]
    fn execute(&self, statement: &str) {
        match self.url.strip_prefix("sqlite:") {
            Some(path) => Connection::open(path)
                .unwrap()
                .execute_batch(statement)
                .unwrap(),
            None => self.sql().batch_execute(statement).unwrap(),
        }
    }

    /// When the only member last reported something new, as the column has it.
    #[track_caller]
    fn reported_at(&self) -> String {
        let query = "select cast(reported_at as text) from respgres_members";
        match self.url.strip_prefix("sqlite:") {
            Some(path) => {
                let sql = Connection::open(path).unwrap();
                sql.query_row(query, [], |row| row.get(0)).unwrap()
            }
            None => self.sql().query_one(query, &[]).unwrap().get(0),
        }
    }
}

/// How many changes led to this epoch; its other half is random.
fn counter(view: View) -> u64 {
    view.epoch.number() >> 32
}

#[track_caller]
fn found(library: &Library, member: &Membership, cache: Option<Instance>) -> View {
    let found = library.run(member.found(cache)).unwrap();
    let view = found.expect("there was none");
    assert_eq!((counter(view), view.cache), (1, cache));
    view
}

#[track_caller]
fn changed(
    library: &Library,
    member: &Membership,
    from: View,
    cache: Option<Instance>,
) -> Option<View> {
    let changed = library.run(member.change(from.epoch, cache)).unwrap();
    if let Some(view) = changed {
        assert_eq!((counter(view), view.cache), (counter(from) + 1, cache));
    }
    changed
}

fn instance(digit: char) -> Option<Instance> {
    let id = digit.to_string().repeat(40);
    Instance::of_redis(&id, &id)
}

fn set(value: &'static str) -> Mutation {
    Mutation::Set(Set::plain(Bytes::from_static(value.as_bytes())))
}

/// Writes `key` through the library's pool.
#[track_caller]
fn write(library: &Library, key: &'static str, value: &'static str) {
    let operations = [Operation::One(
        Bytes::from_static(key.as_bytes()),
        set(value),
    )];
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
    let others = library.run(membership.others()).unwrap();
    let timeless = |other| Member {
        reported_for: Duration::ZERO,
        ..other
    };
    others.into_iter().map(timeless).collect()
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

struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What is logged on this thread meanwhile, as a warning or worse.
fn logged(work: impl FnOnce()) -> String {
    let log = Arc::new(Mutex::new(Vec::<u8>::new()));
    let shared = Arc::clone(&log);
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .with_writer(move || Log(Arc::clone(&shared)))
        .finish();
    tracing::subscriber::with_default(subscriber, work);
    String::from_utf8(log.lock().unwrap().clone()).unwrap()
}

fn the_first_view_is_made_once_and_changed_only_from_the_epoch_that_it_has(blank: &Blank) {
    let library = blank.open();
    let member = library.join();
    assert_eq!(view(&library, &member), None);
    assert_eq!(
        library.run(member.change(Epoch::FIRST, instance('a'))),
        Ok(None)
    );
    let first = found(&library, &member, instance('a'));
    assert_eq!(library.run(member.found(instance('b'))), Ok(None));
    assert_eq!(view(&library, &member), Some(first));
    std::thread::sleep(Duration::from_millis(50));
    let seen = library.run(member.look()).unwrap();
    assert!(seen.age >= Duration::from_millis(50) && seen.age < Duration::from_secs(30));
    assert!(seen.is_registered);

    let second = changed(&library, &member, first, None).unwrap();
    let seen = library.run(member.look()).unwrap();
    assert_eq!(seen.view, Some(second));
    assert!(seen.age < Duration::from_millis(50), "{seen:?}");
    assert_eq!(changed(&library, &member, first, instance('c')), None);
    let next = Epoch::new(second.epoch.number() + 1);
    assert_eq!(library.run(member.change(next, instance('c'))), Ok(None));
    assert_eq!(view(&library, &member), Some(second));
    drop(member);
    let again = library.join();
    assert_eq!(view(&library, &again), Some(second), "it is stored");
    let third = changed(&library, &again, second, instance('c')).unwrap();
    assert_eq!(view(&library, &again), Some(third));
}

fn a_shard_that_lost_its_last_commits_has_no_epoch_again(blank: &Blank) {
    let library = blank.open();
    let member = library.join();
    let mut seen = HashSet::new();
    for _ in 0..5 {
        let first = found(&library, &member, instance('a'));
        assert!(seen.insert(first.epoch), "{first:?}");
        for _ in 0..3 {
            let second = changed(&library, &member, first, instance('b')).unwrap();
            assert!(seen.insert(second.epoch), "{second:?}");
            blank.execute(&format!(
                "update respgres_view set epoch = {}",
                first.epoch.number()
            ));
        }
        blank.execute("delete from respgres_view");
    }

    // The same where a member is retired.
    let first = found(&library, &member, instance('a'));
    for _ in 0..3 {
        let dead = add_dead(blank, &library, &member);
        let second = library.run(member.retire(dead)).unwrap().unwrap();
        assert_eq!((counter(second), second.cache), (2, instance('a')));
        assert!(seen.insert(second.epoch), "{second:?}");
        assert_eq!(view(&library, &member), Some(second));
        blank.execute(&format!(
            "update respgres_view set epoch = {}",
            first.epoch.number()
        ));
    }
    // The last number of all is not left for a negative one.
    blank.execute(&format!("update respgres_view set epoch = {}", i64::MAX));
    let last = view(&library, &member).unwrap();
    let next = library.run(member.change(last.epoch, None)).unwrap();
    assert_eq!(view(&library, &member), next);
    assert!(next.is_some_and(|next| next.epoch != last.epoch));
}

/// Makes the row of a proxy that crashed, the only other one.
#[track_caller]
fn add_dead(blank: &Blank, library: &Library, membership: &Membership) -> MemberId {
    blank.execute(if blank.url.starts_with("sqlite:") {
        "insert into respgres_members (member, joined_at, reported_at) values ('0000002a', 0, 0)"
    } else {
        "insert into respgres_members (member, lock_number) values ('0000002a', 42)"
    });
    let [dead] = others(library, membership)[..] else {
        panic!("there is one other member");
    };
    assert!(!dead.is_alive);
    dead.id
}

fn a_view_that_is_off_is_not_changed_for_a_dead_member(blank: &Blank) {
    let library = blank.open();
    let member = library.join();
    let off = found(&library, &member, None);
    let dead = add_dead(blank, &library, &member);
    assert_eq!(library.run(member.retire(dead)), Ok(None));
    assert_eq!(others(&library, &member), []);
    assert_eq!(view(&library, &member), Some(off));
}

fn a_member_reports_since_when_it_reaches_what_it_reaches(blank: &Blank) {
    let library = blank.open();
    let member = library.join();
    let report = |cache| {
        std::thread::sleep(Duration::from_millis(20));
        library.run(member.report(cache)).unwrap();
        blank.reported_at()
    };
    let joined = blank.reported_at();
    assert_eq!(report(None), joined);
    let reached = report(instance('a'));
    assert_ne!(reached, joined);
    assert_eq!(report(instance('a')), reached);
    let other = report(instance('b'));
    assert_ne!(other, reached);
    let begun = Instant::now();
    let lost = report(None);
    assert_ne!(lost, other);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(report(None), lost);
    drop((member, library));

    let library = blank.open();
    let member = library.join();
    let others = library.run(member.others()).unwrap();
    let [other] = others[..] else {
        panic!("{others:?}")
    };
    assert!(
        other.reported_for >= Duration::from_millis(300) && other.reported_for <= begun.elapsed(),
        "{other:?}"
    );
}

fn of_those_who_change_a_view_at_once_one_does(blank: &Blank) {
    let library = blank.open();
    let first = library.join();
    let mut last = found(&library, &first, None);
    // The other one is another proxy where several can be.
    let other = blank.url.starts_with("postgresql:").then(|| blank.open());
    let second = other.as_ref().unwrap_or(&library).join();
    for _ in 0..50 {
        let (one, other) = library.run(async {
            tokio::join!(
                first.change(last.epoch, instance('1')),
                second.change(last.epoch, instance('2'))
            )
        });
        let (one, other) = (one.unwrap(), other.unwrap());
        assert!(one.is_some() ^ other.is_some(), "{one:?} and {other:?}");
        let expected = (
            counter(last) + 1,
            instance(if one.is_some() { '1' } else { '2' }),
        );
        last = one.or(other).unwrap();
        assert_eq!((counter(last), last.cache), expected);
        assert_eq!(view(&library, &first), Some(last));
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
    found(&library, &member, instance('a'));
    assert_eq!(library.run(member.report(instance('b'))), Ok(()));
    drop((member, library));

    let library = blank.open();
    let member = library.join();
    wait_until_dead(&library, &member, crashed);
    let dead = Member {
        id: crashed,
        cache: instance('b'),
        reported_for: Duration::ZERO,
        is_alive: false,
        is_active: false,
    };
    assert_eq!(others(&library, &member), [dead]);
    assert_eq!(
        library.run(member.retire(library.shards().member())),
        Ok(None),
        "nobody retires himself"
    );
    assert!(library.run(member.look()).unwrap().is_registered);
    let next = library.run(member.retire(crashed)).unwrap().unwrap();
    assert_eq!((counter(next), next.cache), (2, instance('a')));
    assert_eq!(others(&library, &member), []);
    assert_eq!(view(&library, &member), Some(next));
    assert_eq!(library.run(member.retire(crashed)), Ok(None), "once");
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
    assert_eq!(library.run(member.retire(crashed)), Ok(None));
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
    a_shard_that_lost_its_last_commits_has_no_epoch_again,
    a_view_that_is_off_is_not_changed_for_a_dead_member,
    a_member_reports_since_when_it_reaches_what_it_reaches,
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
    let first = found(&other, &member, instance('a'));
    let mut sql = blank.sql();
    let before = sessions(&mut sql, id);
    assert!(before.len() >= 2, "{before:?}");
    assert_eq!(other.run(member.retire(id)), Ok(None));
    assert_eq!(sessions(&mut sql, id), before);
    let alive = Member {
        id,
        cache: None,
        reported_for: Duration::ZERO,
        is_alive: true,
        is_active: true,
    };
    assert_eq!(others(&other, &member), [alive]);
    assert_eq!(view(&one, &living), Some(first));
    assert!(one.run(living.look()).unwrap().is_registered);
}

#[test]
fn what_a_dead_member_had_begun_does_not_commit() {
    let blank = Blank::postgres();
    let (one, other) = (blank.open(), blank.open());
    let (dying, member) = (one.join(), other.join());
    let id = one.shards().member();
    found(&other, &member, instance('a'));
    write(&one, "key", "before");
    // Its write waits for a lock, and would go on when it is given.
    let (mut holder, mut sql) = (blank.sql(), blank.sql());
    let mut lock = holder.transaction().unwrap();
    lock.execute("select from respgres_kv for update", &[])
        .unwrap();
    let shard = one.shard();
    let writing = one.spawn(async move {
        shard
            .write(&[Operation::One(Bytes::from_static(b"key"), set("late"))])
            .await
    });
    eventually("the write waits", || {
        let query = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
        (sql.query_one(query, &[]).unwrap().get::<_, i64>(0) == 1).then_some(())
    });
    drop(dying);
    wait_until_dead(&other, &member, id);
    assert!(!sessions(&mut sql, id).is_empty());
    let next = other.run(member.retire(id)).unwrap().unwrap();
    assert_eq!((counter(next), next.cache), (2, instance('a')));
    assert_eq!(sessions(&mut sql, id), [0; 0]);
    lock.commit().unwrap();
    assert!(one.run(writing).unwrap().is_err());
    let row = sql.query_one("select value from respgres_kv", &[]).unwrap();
    assert_eq!(row.get::<_, &[u8]>(0), b"before");
    assert_eq!(view(&other, &member), Some(next));
}

#[test]
fn a_member_whose_sessions_do_not_end_is_not_retired_before_they_have() {
    let blank = Blank::postgres();
    let (one, other) = (blank.open(), blank.open());
    let (dying, member) = (one.join(), other.join());
    let id = one.shards().member();
    let first = found(&other, &member, instance('a'));
    write(&one, "key", "value");
    drop(dying);
    wait_until_dead(&other, &member, id);
    let mut sql = blank.sql();
    let pids = sessions(&mut sql, id);
    let stopped = Stopped::stop(pids[0]);
    let begun = Instant::now();
    let log = logged(|| assert_eq!(other.run(member.retire(id)), Ok(None)));
    let took = begun.elapsed();
    assert!(log.contains(&format!("member={id}")), "{log}");
    assert!(
        took > Duration::from_millis(200) && took < Duration::from_millis(800),
        "{took:?}"
    );
    assert_eq!(view(&other, &member), Some(first));
    assert_eq!(others(&other, &member).len(), 1);
    assert_eq!(sessions(&mut sql, id), [pids[0]]);
    drop(stopped);
    let next = other.run(member.retire(id)).unwrap().unwrap();
    assert_eq!(counter(next), 2);
    assert_eq!(view(&other, &member), Some(next));
}

#[test]
fn a_member_whose_sessions_may_not_be_ended_is_left_alone() {
    let blank = Blank::postgres();
    let one = blank.open();
    let dying = one.join();
    let id = one.shards().member();
    write(&one, "key", "value");
    let limited = blank.limited(-1);
    let other = Library::open(&[&limited]);
    let member = other.join();
    let first = found(&other, &member, instance('a'));
    drop(dying);
    wait_until_dead(&other, &member, id);
    let mut sql = blank.sql();
    let before = sessions(&mut sql, id);
    assert!(!before.is_empty());
    let log = logged(|| {
        for _ in 0..3 {
            let begun = Instant::now();
            assert_eq!(other.run(member.retire(id)), Ok(None));
            assert!(begun.elapsed() < Duration::from_millis(500));
        }
    });
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains(&format!("member={id}")), "{log}");
    assert!(log.contains("terminate"), "{log}");
    assert_eq!(sessions(&mut sql, id), before);
    assert_eq!(view(&other, &member), Some(first));
    assert_eq!(others(&other, &member).len(), 1);
    // They end by themselves.
    drop(one);
    let next = eventually("it is retired", || other.run(member.retire(id)).unwrap());
    assert_eq!(view(&other, &member), Some(next));
}

#[test]
fn a_session_that_finds_no_room_takes_that_of_a_pooled_connection() {
    let blank = Blank::postgres();
    drop(blank.open());
    let limited = blank.limited(3);
    let library = Library::open(&[&limited]);
    let shard = library.shard();
    // The pool has all that the server gives.
    let (mut holder, mut sql) = (blank.sql(), blank.sql());
    let read = || {
        let shard = library.shard();
        library.spawn(async move { shard.read(&[Bytes::from_static(b"key")]).await })
    };
    let mut lock = holder.transaction().unwrap();
    lock.execute("lock respgres_rows", &[]).unwrap();
    let mut reading = [read(), read(), read()];
    let id = library.shards().member();
    eventually("three reads wait", || {
        (sessions(&mut sql, id).len() == 3 && shard.pool().size == 3).then_some(())
    });
    // A fourth one waits for a connection of theirs.
    let mut fourth = read();
    std::thread::sleep(Duration::from_millis(300));
    assert!(!fourth.is_finished());
    lock.commit().unwrap();
    for read in reading.iter_mut().chain([&mut fourth]) {
        library.run(read).unwrap().unwrap();
    }
    // By now it would ask the server for another one again.
    std::thread::sleep(Duration::from_millis(1500));
    let join = || {
        let shard = library.shard();
        library.run(async move { shard.join(None).await })
    };
    let refused = join().unwrap_err();
    assert!(
        refused.contains("53300") || refused.contains("too many"),
        "{refused}"
    );
    assert!(refused.contains("to make room"), "{refused}");
    assert_eq!(shard.pool().size, 2);
    eventually("its server process is gone", || {
        (sessions(&mut sql, id).len() == 2).then_some(())
    });
    // The pool does not take it back, however busy it is.
    let mut lock = holder.transaction().unwrap();
    lock.execute("lock respgres_rows", &[]).unwrap();
    reading = [read(), read(), read()];
    std::thread::sleep(Duration::from_millis(100));
    let member = eventually("the server has room", || join().ok());
    lock.commit().unwrap();
    for read in reading {
        library.run(read).unwrap().unwrap();
    }
    assert!(library.run(member.look()).unwrap().is_registered);
    assert!(shard.pool().size >= 1);
    write(&library, "key", "value");
    drop((member, library));

    // The last connection stays.
    eventually("its sessions are gone", || {
        sessions(&mut sql, id).is_empty().then_some(())
    });
    blank.execute(&format!("alter role {} connection limit 1", blank.role()));
    let library = Library::open(&[&limited]);
    let shard = library.shard();
    assert_eq!(shard.pool().size, 1);
    for _ in 0..3 {
        let shard = library.shard();
        let refused = library.run(async move { shard.join(None).await });
        let refused = refused.unwrap_err();
        assert!(refused.contains("DB_POOL_MAX_SIZE"), "{refused}");
    }
    assert_eq!(shard.pool().size, 1);
    write(&library, "key", "value");
}

#[test]
fn behind_a_pooler_that_hands_out_sessions_by_the_transaction_nobody_joins() {
    let blank = Blank::postgres();
    let pooler = Pooler::start(&blank.url);
    let library = Library::open(&[&pooler.url()]);
    let join = || {
        let shard = library.shard();
        library.run(async move { shard.join(None).await })
    };
    pooler.hand_out_by_transaction(true);
    let refused = join().unwrap_err();
    assert!(refused.contains("pooler"), "{refused}");
    pooler.hand_out_by_transaction(false);
    let member = join().unwrap();
    for _ in 0..3 {
        library.run(member.look()).unwrap();
    }
    // As where there was no other client at first.
    pooler.hand_out_by_transaction(true);
    let refused = eventually("it looks at another session", || {
        library.run(member.look()).err()
    });
    assert!(refused.contains("pooler"), "{refused}");
}

#[test]
fn of_those_who_retire_a_member_at_once_one_changes_the_view() {
    let blank = Blank::postgres();
    let proxies: Vec<Library> = (0..4).map(|_| blank.open()).collect();
    let members: Vec<Membership> = proxies.iter().map(Library::join).collect();
    let any = &proxies[0];
    let mut last = found(any, &members[0], instance('a'));
    for _ in 0..10 {
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
        let winners: Vec<View> = results.into_iter().flatten().collect();
        let [next] = winners[..] else {
            panic!("{winners:?}")
        };
        assert_eq!(counter(next), counter(last) + 1);
        assert_eq!(view(any, &members[0]), Some(next));
        last = next;
    }
}

/// Retires a member while another proxy has changed the view, and not committed yet. Returns what
/// the retirement changed it to, and what it is then.
fn retire_meanwhile(cache: Option<Instance>) -> (Option<View>, View) {
    let blank = Blank::postgres();
    let (dying, other) = (blank.open(), blank.open());
    drop(dying.join());
    let id = dying.shards().member();
    let member = other.join();
    found(&other, &member, instance('a'));
    wait_until_dead(&other, &member, id);
    let (mut holder, mut sql) = (blank.sql(), blank.sql());
    let mut change = holder.transaction().unwrap();
    let cache = cache.map(|cache| cache.to_string());
    change
        .execute(
            "update respgres_view set epoch = 2::bigint << 32, cache = $1",
            &[&cache],
        )
        .unwrap();
    let retiring = other.spawn(async move { (member.retire(id).await, member) });
    eventually("the retirement waits", || {
        let query = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
        (sql.query_one(query, &[]).unwrap().get::<_, i64>(0) == 1).then_some(())
    });
    change.commit().unwrap();
    let (retired, member) = other.run(retiring).unwrap();
    assert_eq!(others(&other, &member), []);
    (retired.unwrap(), view(&other, &member).unwrap())
}

#[test]
fn a_retirement_and_another_change_of_the_view_both_count() {
    let (retired, view) = retire_meanwhile(instance('b'));
    assert_eq!(retired, Some(view));
    assert_eq!((counter(view), view.cache), (3, instance('b')));
}

#[test]
fn a_view_that_goes_off_during_a_retirement_is_left_so() {
    let (retired, view) = retire_meanwhile(None);
    assert_eq!(retired, None);
    assert_eq!((counter(view), view.cache), (2, None));
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
        reported_for: Duration::ZERO,
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
    let pids = sessions_doing(&mut sql, id, "respgres_view");
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
    let pids = sessions_doing(&mut sql, id, "respgres_view");
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
    found(&library, &member, None);
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
