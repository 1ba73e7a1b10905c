//! Commands that are under way together, and their replies in order.
//!
//! Commands that do not get in each other's way form a segment: all its writes go into the lanes,
//! all its reads leave as one, then the replies are written in order. A command that reads a key
//! which the segment writes, or writes one that it reads, starts the next segment: the GET after a
//! SET in one pipeline sees it, the GET before it does not. Writes of one key need no such care,
//! since the lane keeps their order.

use std::collections::HashSet;
use std::io;
use std::time::Instant;

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::io::AsyncWrite;

use super::Server;
use super::answer::{failed, reply};
use super::dispatch::Output;
use super::session::Session;
use super::transaction::{self, Answer, Execution};
use crate::command::{Command, Mutation, Operation, Outcome, Query, Row, Set};
use crate::engine::{Backlog, Found, Ticket};
use crate::error::Error;
use crate::metrics::Spans;
use crate::resp::Reply;

/// Keys that are read together for a pipeline. One command's keys are always read together.
const READ_TOGETHER_MAX: usize = 128;

/// A connection keeps memory for so many commands while it is idle.
const STEPS_KEEP_MAX: usize = 64;

/// Commands that are under way together.
#[derive(Default)]
pub(super) struct Segment {
    steps: Vec<Step>,
    read: Keys,
    written: Keys,
    found: Vec<Result<Found, Error>>,
    /// Writes for which there was no room at once.
    backlog: Backlog,
    /// When the first write went into its lane.
    began: Option<Instant>,
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
    Read { count: usize, query: Query },
    /// The reply is made from what the shards say.
    Write {
        ticket: Box<Ticket>,
        answer: WriteAnswer,
    },
}

enum WriteAnswer {
    /// By the outcome of the one operation.
    Single,
    /// How many were changed.
    Count,
    /// OK.
    Done,
    /// EXEC.
    Transaction(Vec<Answer>),
}

impl Segment {
    /// Whether nothing waits for its reply.
    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether the order of the two would matter.
    pub(super) fn is_in_the_way_of(&mut self, command: &Command) -> bool {
        let others = if matches!(command, Command::Read(..)) {
            &mut self.written
        } else {
            &mut self.read
        };
        if others.list.is_empty() {
            return false;
        }
        let mut is_met = false;
        command.keys(&mut |key| is_met = is_met || others.contains(key));
        is_met
    }

    /// Whether a key of the transaction is still to be read.
    pub(super) fn has_read_keys_of(&mut self, execution: &Execution) -> bool {
        let mut is_met = false;
        if let Some(operation) = &execution.operation
            && !self.read.list.is_empty()
        {
            operation.keys(&mut |key, _| is_met = is_met || self.read.contains(key));
        }
        is_met
    }

    /// A reply that is known.
    pub(super) fn push(&mut self, reply: Reply) {
        self.steps.push(Step::Ready(reply));
    }

    /// Puts a command on data on its way.
    pub(super) async fn add(&mut self, server: &Server, command: Command) {
        let step = match command {
            Command::Read(keys, query) => {
                let count = keys.len();
                self.read.list.extend(keys);
                Step::Read { count, query }
            }
            Command::Write(key, mutation) => {
                let operations = vec![Operation::One(key, mutation)];
                self.write(server, operations, WriteAnswer::Single).await
            }
            Command::Together(many) => {
                self.write(server, vec![many.into()], WriteAnswer::Single)
                    .await
            }
            Command::Delete(keys) => {
                let operations = keys
                    .into_iter()
                    .map(|key| Operation::One(key, Mutation::Delete))
                    .collect();
                self.write(server, operations, WriteAnswer::Count).await
            }
            Command::MSet(pairs) => {
                let operations = pairs
                    .into_iter()
                    .map(|(key, value)| Operation::One(key, Mutation::Set(Set::plain(value))))
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

    /// Puts a transaction of data commands on its way.
    pub(super) async fn execute(&mut self, server: &Server, execution: Execution) {
        let Execution { operation, answers } = execution;
        let step = match operation {
            Some(operation) => {
                self.write(server, vec![operation], WriteAnswer::Transaction(answers))
                    .await
            }
            None => Step::Ready(transaction::reply(&mut std::iter::empty(), answers)),
        };
        self.steps.push(step);
    }

    async fn write(
        &mut self,
        server: &Server,
        operations: Vec<Operation>,
        answer: WriteAnswer,
    ) -> Step {
        let written = &mut self.written.list;
        for operation in &operations {
            operation.keys(&mut |key, _| written.push(key.clone()));
        }
        // One look at the clock for all: those that follow come a moment later.
        let since = *self.began.get_or_insert_with(Instant::now);
        let submitting = server.engine.submit(operations, since, &mut self.backlog);
        Step::Write {
            ticket: submitting.await.into(),
            answer,
        }
    }

    /// Waits for everything under way and writes the replies in order.
    pub(super) async fn finish<S: AsyncWrite + Unpin>(
        &mut self,
        server: &Server,
        session: &mut Session,
        out: &mut Output<'_, S>,
    ) -> io::Result<()> {
        server.engine.await_room(&mut self.backlog).await;
        let Self {
            steps, read, found, ..
        } = self;
        let mut written = Spans::default();
        let mut reading = Reading {
            server,
            unanswered: &read.list,
            found,
            answered: 0,
            spans: Spans::default(),
        };
        // The first reads leave before a write is waited for.
        reading.read_ahead(1).await;
        for step in steps.drain(..) {
            let reply = match step {
                Step::Ready(reply) => reply,
                Step::Read { count, query } => reading.reply(count, &query).await,
                Step::Write { ticket, answer } => {
                    let (result, spans) = ticket.wait().await;
                    written = written.or_longer(spans);
                    result.map_or_else(|error| failed(&error), |done| write_reply(answer, done))
                }
            };
            out.push(&reply, session).await?;
        }
        // Reads and writes were under way at the same time.
        session.spans = session.spans.then(reading.spans.or_longer(written));
        self.clear();
        Ok(())
    }

    fn clear(&mut self) {
        self.steps.clear();
        self.read.clear();
        self.written.clear();
        self.found.clear();
        self.began = None;
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
    /// What was waited for, one part after the other.
    spans: Spans,
}

impl Reading<'_> {
    /// The reply to the next `count` keys.
    async fn reply(&mut self, count: usize, query: &Query) -> Reply {
        self.read_ahead(count).await;
        let (keys, unanswered) = self.unanswered.split_at(count);
        self.unanswered = unanswered;
        let found = &self.found[self.answered..self.answered + count];
        self.answered += count;
        self.server.read_reply(query, keys, found)
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
        let spans = engine.read(&unread[..part], self.found).await;
        self.spans = self.spans.then(spans);
    }
}

impl Server {
    fn read_reply(&self, query: &Query, keys: &[Bytes], found: &[Result<Found, Error>]) -> Reply {
        // The most frequent by far.
        if let (Query::Value, [Ok(found)]) = (query, found) {
            return Reply::bulk_or_null(found.row.as_ref().map(|row| row.value.clone()));
        }
        if let Some(error) = found.iter().find_map(|found| found.as_ref().err()) {
            return failed(error);
        }
        let rows: SmallVec<[Option<&Row>; 1]> = found
            .iter()
            .map(|found| found.as_ref().ok().and_then(|found| found.row.as_ref()))
            .collect();
        let time_left = || {
            self.engine
                .time_left(keys.first()?, rows.first()?.as_ref()?)
        };
        reply(query.answer(&rows, &time_left))
    }
}

fn write_reply(answer: WriteAnswer, outcomes: Vec<Outcome>) -> Reply {
    let mut outcomes = outcomes.into_iter();
    match answer {
        WriteAnswer::Done => Reply::OK,
        WriteAnswer::Count => Reply::Integer(
            outcomes
                .filter(|outcome| *outcome == Outcome::Integer(1))
                .count() as i64,
        ),
        WriteAnswer::Single => outcomes.next().map_or(Reply::Null, reply),
        WriteAnswer::Transaction(answers) => match outcomes.next() {
            Some(Outcome::List(steps)) => transaction::reply(&mut steps.into_iter(), answers),
            _ => Reply::NullArray,
        },
    }
}
