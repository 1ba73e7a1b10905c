//! From the requests of one buffer to their replies, in order.
//!
//! Commands that do not get in each other's way form a segment: all its writes go into the lanes,
//! all its reads leave as one, then the replies are written in order. A command that reads a key
//! which the segment writes, or writes one that it reads, starts the next segment: the GET after a
//! SET in one pipeline sees it, the GET before it does not. Writes of one key need no such care,
//! since the lane keeps their order.

use std::collections::HashSet;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWrite;
use tokio_util::io::poll_write_buf;

use super::Server;
use super::clients::Client;
use super::control::refusal;
use super::mailbox::{Ended, Mailbox};
use super::session::Session;
use super::statistics::Statistics;
use crate::command::{Command, Control, Mutation, Outcome, Row, Set, Unit};
use crate::engine::{Found, Ticket};
use crate::error::Error;
use crate::resp::{Args, Reply};
use crate::shard::{KEY_MAX, Operation};

/// Replies that may wait for a slow reader, in bytes. Nothing more is handled until it reads.
pub(super) const OUT_MAX: usize = 32 * 1024 * 1024;

/// Keys that are read together for a pipeline. One command's keys are always read together.
const READ_TOGETHER_MAX: usize = 128;

/// A connection keeps memory for so many commands while it is idle.
const STEPS_KEEP_MAX: usize = 64;

/// What the scanner found.
pub(super) enum Request {
    /// The words of a command.
    Words(Args),
    /// A request that was skipped because of its size, and the error to answer.
    Refused(String),
}

/// Handles `requests` and appends their replies to `out`. False if the connection shall be closed.
/// Of `segment` only the memory is used.
pub(super) async fn execute<S: AsyncWrite + Unpin>(
    server: &Server,
    client: &Arc<Client>,
    session: &mut Session,
    requests: &[Request],
    segment: &mut Segment,
    out: &mut Output<'_, S>,
) -> io::Result<bool> {
    for request in requests {
        let command = match request {
            Request::Words(words) if is_http(words) => {
                tracing::warn!(
                    client = client.id,
                    "an HTTP request on the RESP port; closing"
                );
                segment.finish(server, session, out).await?;
                return Ok(false);
            }
            Request::Words(words) => match session.is_restricted {
                true => refusal(client, words).map_or(Ok(()), Err),
                false => Ok(()),
            }
            .and_then(|()| Command::parse(words).map_err(|rejection| rejection.0)),
            Request::Refused(text) => Err(text.clone()),
        };
        let value_max = server.settings.value_max;
        let checked = command.and_then(|command| {
            check_sizes(&command, value_max)?;
            Ok(command)
        });
        let command = match checked {
            Ok(command) => command,
            Err(text) => {
                segment.steps.push(Step::Ready(Reply::Error(text)));
                continue;
            }
        };
        match command {
            Command::Get(_)
            | Command::MGet(_)
            | Command::Exists(_)
            | Command::TimeToLive(..)
            | Command::Write(..)
            | Command::Delete(_)
            | Command::MSet(_) => {
                if segment.is_in_the_way_of(&command) {
                    segment.finish(server, session, out).await?;
                }
                segment.add(server, command).await;
            }
            Command::Control(Control::Ping(None)) if !session.is_restricted => {
                segment.steps.push(Step::Ready(Reply::Status("PONG")));
            }
            // The others may look at the whole, or change how replies are written: what came before is
            // answered first.
            Command::Control(control) => {
                segment.finish(server, session, out).await?;
                if !server.answer(client, session, control, out).await? {
                    return Ok(false);
                }
            }
            Command::Keyspace(keyspace) => {
                segment.finish(server, session, out).await?;
                let reply = server.keyspace(keyspace).await;
                out.push(&reply, session).await?;
            }
        }
    }
    segment.finish(server, session, out).await?;
    Ok(true)
}

/// The first words of an HTTP request. A web page can make a browser send one to this port, with
/// commands in its body; Redis cuts such a connection off as well.
fn is_http(words: &[Bytes]) -> bool {
    words.first().is_some_and(|name| {
        name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
    })
}

/// Keys and values within their limits.
fn check_sizes(command: &Command, value_max: usize) -> Result<(), String> {
    let longest_key = keys(command).map(Bytes::len).max().unwrap_or(0);
    if longest_key > KEY_MAX {
        return Err(format!(
            "ERR a key of {longest_key} bytes is over the limit of {KEY_MAX} bytes; nothing was done"
        ));
    }
    let longest_value = match command {
        Command::Write(_, Mutation::Set(set)) => set.value.len(),
        Command::MSet(pairs) => pairs
            .iter()
            .map(|(_, value)| value.len())
            .max()
            .unwrap_or(0),
        _ => 0,
    };
    if longest_value > value_max {
        return Err(format!(
            "ERR a value of {longest_value} bytes is over the limit of {value_max} bytes (MAX_VALUE_SIZE); nothing was done"
        ));
    }
    Ok(())
}

/// The keys of a command on data.
fn keys(command: &Command) -> impl Iterator<Item = &Bytes> {
    let (one, many, pairs): (Option<&Bytes>, &[Bytes], &[(Bytes, Bytes)]) = match command {
        Command::Get(key) | Command::TimeToLive(key, _) | Command::Write(key, _) => {
            (Some(key), &[], &[])
        }
        Command::MGet(keys) | Command::Exists(keys) | Command::Delete(keys) => (None, keys, &[]),
        Command::MSet(pairs) => (None, &[], pairs),
        _ => (None, &[], &[]),
    };
    one.into_iter()
        .chain(many)
        .chain(pairs.iter().map(|(key, _)| key))
}

/// Where replies go: into a buffer, and on to the client when the buffer is full.
pub(super) struct Output<'a, S> {
    pub(super) stream: &'a mut S,
    pub(super) buffer: &'a mut BytesMut,
    pub(super) mailbox: &'a Mailbox,
    pub(super) statistics: &'a Statistics,
}

impl<S: AsyncWrite + Unpin> Output<'_, S> {
    /// Appends a reply, unless the client wants none; waits for the client to read if too much waits
    /// for it already.
    pub(super) async fn push(&mut self, reply: &Reply, session: &Session) -> io::Result<()> {
        if let Reply::Error(text) = reply {
            self.statistics.note_error(text);
        }
        if !session.replies.is_next_sent() {
            return Ok(());
        }
        self.write(reply, session).await
    }

    /// As [`push`](Output::push), but for what the client always wants.
    pub(super) async fn write(&mut self, reply: &Reply, session: &Session) -> io::Result<()> {
        reply.encode(session.version, self.buffer);
        while self.buffer.len() >= OUT_MAX {
            let written = poll_fn(|context| {
                self.mailbox.register(context.waker());
                if self.mailbox.has_ended() {
                    return Poll::Ready(Err(Ended.into()));
                }
                poll_write_buf(Pin::new(&mut *self.stream), context, self.buffer)
            });
            if written.await? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }
}

/// Commands that are under way together.
#[derive(Default)]
pub(super) struct Segment {
    steps: Vec<Step>,
    read: Keys,
    written: Keys,
    found: Vec<Result<Found, Error>>,
}

/// Keys in their order, and as a set once somebody asks.
#[derive(Default)]
struct Keys {
    list: Vec<Bytes>,
    set: HashSet<Bytes>,
    /// How many of the list are in the set.
    indexed: usize,
}

impl Keys {
    fn contains(&mut self, key: &Bytes) -> bool {
        self.set.extend(self.list[self.indexed..].iter().cloned());
        self.indexed = self.list.len();
        self.set.contains(key)
    }

    fn clear(&mut self) {
        self.list.clear();
        self.set.clear();
        self.indexed = 0;
    }
}

enum Step {
    /// The reply is known.
    Ready(Reply),
    /// The reply is made from the next `count` keys of the segment's read.
    Read { count: usize, answer: ReadAnswer },
    /// The reply is made from what the shards say.
    Write {
        ticket: Box<Ticket>,
        answer: WriteAnswer,
    },
}

enum ReadAnswer {
    Value,
    Values,
    Existing,
    TimeToLive(Unit),
}

enum WriteAnswer {
    /// By the outcome of the one operation.
    Single,
    /// How many were changed.
    Count,
    /// OK.
    Done,
}

impl Segment {
    /// Whether the order of the two would matter.
    fn is_in_the_way_of(&mut self, command: &Command) -> bool {
        let others = if is_read(command) {
            &mut self.written
        } else {
            &mut self.read
        };
        !others.list.is_empty() && keys(command).any(|key| others.contains(key))
    }

    async fn add(&mut self, server: &Server, command: Command) {
        let read = |answer, count| Step::Read { count, answer };
        let step = match command {
            Command::Get(key) => {
                self.read.list.push(key);
                read(ReadAnswer::Value, 1)
            }
            Command::TimeToLive(key, unit) => {
                self.read.list.push(key);
                read(ReadAnswer::TimeToLive(unit), 1)
            }
            Command::MGet(keys) => {
                let count = keys.len();
                self.read.list.extend(keys);
                read(ReadAnswer::Values, count)
            }
            Command::Exists(keys) => {
                let count = keys.len();
                self.read.list.extend(keys);
                read(ReadAnswer::Existing, count)
            }
            Command::Write(key, mutation) => {
                self.write(server, vec![(key, mutation)], WriteAnswer::Single)
                    .await
            }
            Command::Delete(keys) => {
                let operations = keys
                    .into_iter()
                    .map(|key| (key, Mutation::Delete))
                    .collect();
                self.write(server, operations, WriteAnswer::Count).await
            }
            Command::MSet(pairs) => {
                let operations = pairs
                    .into_iter()
                    .map(|(key, value)| (key, Mutation::Set(Set::plain(value))))
                    .collect();
                self.write(server, operations, WriteAnswer::Done).await
            }
            other => {
                debug_assert!(false, "not a command on data: {other:?}");
                return;
            }
        };
        self.steps.push(step);
    }

    async fn write(
        &mut self,
        server: &Server,
        operations: Vec<Operation>,
        answer: WriteAnswer,
    ) -> Step {
        self.written
            .list
            .extend(operations.iter().map(|(key, _)| key.clone()));
        Step::Write {
            ticket: server.engine.submit(operations).await.into(),
            answer,
        }
    }

    /// Waits for everything under way and writes the replies in order.
    async fn finish<S: AsyncWrite + Unpin>(
        &mut self,
        server: &Server,
        session: &Session,
        out: &mut Output<'_, S>,
    ) -> io::Result<()> {
        let Self {
            steps, read, found, ..
        } = self;
        let mut reading = Reading {
            server,
            unanswered: &read.list,
            found,
            answered: 0,
        };
        // The first reads leave before a write is waited for.
        reading.read_ahead(1).await;
        for step in steps.drain(..) {
            let reply = match step {
                Step::Ready(reply) => reply,
                Step::Read { count, answer } => reading.reply(count, &answer).await,
                Step::Write { ticket, answer } => match ticket.wait().await {
                    Ok(outcomes) => write_reply(&answer, outcomes),
                    Err(error) => failed(&error),
                },
            };
            out.push(&reply, session).await?;
        }
        self.clear();
        Ok(())
    }

    fn clear(&mut self) {
        self.steps.clear();
        self.read.clear();
        self.written.clear();
        self.found.clear();
        let keys = self.read.list.capacity() + self.written.list.capacity();
        if self.steps.capacity() > STEPS_KEEP_MAX || keys > STEPS_KEEP_MAX {
            *self = Self::default();
        }
    }
}

/// The reads of a segment, in parts: values may be large, and the replies to a part can leave before
/// the next is read.
struct Reading<'a> {
    server: &'a Server,
    /// The keys of the steps that have not been answered.
    unanswered: &'a [Bytes],
    /// What was found for the first of them, behind what is `answered`.
    found: &'a mut Vec<Result<Found, Error>>,
    answered: usize,
}

impl Reading<'_> {
    /// The reply to the next `count` keys.
    async fn reply(&mut self, count: usize, answer: &ReadAnswer) -> Reply {
        self.read_ahead(count).await;
        let (keys, unanswered) = self.unanswered.split_at(count);
        self.unanswered = unanswered;
        let found = &self.found[self.answered..self.answered + count];
        self.answered += count;
        self.server.read_reply(answer, keys, found)
    }

    /// Reads on until what was found is enough for the next `count` keys.
    async fn read_ahead(&mut self, count: usize) {
        let ahead = self.found.len() - self.answered;
        if ahead >= count || ahead == self.unanswered.len() {
            return;
        }
        // What is answered has left, and its values go with it.
        self.found.drain(..self.answered);
        self.answered = 0;
        let unread = &self.unanswered[ahead..];
        let part = READ_TOGETHER_MAX.max(count - ahead).min(unread.len());
        let engine = &self.server.engine;
        engine.read(&unread[..part], self.found).await;
    }
}

fn is_read(command: &Command) -> bool {
    matches!(
        command,
        Command::Get(_) | Command::MGet(_) | Command::Exists(_) | Command::TimeToLive(..)
    )
}

impl Server {
    fn read_reply(
        &self,
        answer: &ReadAnswer,
        keys: &[Bytes],
        found: &[Result<Found, Error>],
    ) -> Reply {
        if let Some(error) = found.iter().find_map(|found| found.as_ref().err()) {
            return failed(error);
        }
        let mut rows = found
            .iter()
            .map(|found| found.as_ref().ok().and_then(|found| found.row.as_ref()));
        let value = |row: Option<&Row>| Reply::bulk_or_null(row.map(|row| row.value.clone()));
        match answer {
            ReadAnswer::Value => value(rows.next().flatten()),
            ReadAnswer::Values => Reply::Array(rows.map(value).collect()),
            ReadAnswer::Existing => Reply::Integer(rows.flatten().count() as i64),
            ReadAnswer::TimeToLive(unit) => {
                let Some((row, key)) = rows.next().flatten().zip(keys.first()) else {
                    return Reply::Integer(-2);
                };
                let Some(left) = self.engine.time_left(key, row) else {
                    return Reply::Integer(-1);
                };
                let millis = i64::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i64::MAX);
                Reply::Integer(match unit {
                    Unit::Millis => millis,
                    Unit::Seconds => millis.saturating_add(500) / 1000,
                })
            }
        }
    }
}

fn write_reply(answer: &WriteAnswer, outcomes: Vec<Outcome>) -> Reply {
    match answer {
        WriteAnswer::Done => Reply::OK,
        WriteAnswer::Count => Reply::Integer(
            outcomes
                .iter()
                .filter(|outcome| **outcome == Outcome::Changed(true))
                .count() as i64,
        ),
        WriteAnswer::Single => match outcomes.into_iter().next() {
            Some(Outcome::Stored) => Reply::OK,
            Some(Outcome::Previous(value)) => Reply::bulk_or_null(value),
            Some(Outcome::Changed(changed)) => Reply::Integer(changed.into()),
            Some(Outcome::Refused) | None => Reply::Null,
        },
    }
}

/// The one mapping from errors to the words of RESP clients.
pub(super) fn failed(error: &Error) -> Reply {
    Reply::Error(error.to_string())
}
