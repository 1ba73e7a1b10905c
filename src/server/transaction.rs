//! MULTI, EXEC, DISCARD, WATCH, UNWATCH: what a connection has queued and watches.
//! <https://redis.io/docs/latest/develop/interact/transactions/>
//!
//! Commands on data become one operation, which the shard does as one transaction. What else was
//! queued is answered when EXEC is, and has no part in that.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::Server;
use super::answer::{self, failed};
use super::clients::Client;
use super::session::{Session, help};
use crate::command::{
    self, Command, Control, Keyspace, Many, Operation, Outcome, Rejection, Stamp,
};
use crate::engine::Engine;
use crate::resp::{Args, Reply};

/// Bytes that a transaction may queue, with what it takes to hold them; about what one statement may carry.
const QUEUE_MAX: usize = 32 * 1024 * 1024;

/// The transaction of a connection.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    /// `None` outside of MULTI.
    queue: Option<Queue>,
    /// The keys of WATCH, and the stamp that each had then.
    watched: HashMap<Bytes, Option<Stamp>>,
    watched_bytes: usize,
}

#[derive(Debug, Default)]
struct Queue {
    commands: Vec<Queued>,
    weight: usize,
    /// Which users were in force at MULTI.
    generation: u64,
    /// A command could not be queued: EXEC will discard the rest.
    is_broken: bool,
}

#[derive(Debug)]
struct Queued {
    command: Result<Command, Rejection>,
    /// The request, where rights may change until EXEC.
    words: Option<Args>,
}

/// What EXEC is to do.
#[derive(Debug)]
pub(super) struct Execution {
    /// What the shard does; `None` if there is nothing to do or to compare.
    pub(super) operation: Option<Operation>,
    /// What EXEC answers.
    pub(super) answers: Vec<Answer>,
}

/// Where one answer of EXEC comes from.
#[derive(Debug)]
pub(super) enum Answer {
    /// The next outcome of the operation.
    Step,
    /// It is known already.
    Ready(Reply),
    /// A command that is not on data; it is executed now.
    Command(Command),
}

impl Transaction {
    /// Whether `command` is queued, and not executed at once.
    pub(super) fn takes(&self, command: &Result<Command, Rejection>) -> bool {
        let is_executed_at_once = matches!(
            command,
            Ok(Command::Control(Control::Quit | Control::Reset))
                | Ok(Command::Transaction(
                    command::Transaction::Begin
                        | command::Transaction::Execute
                        | command::Transaction::Discard
                        | command::Transaction::Watch(_)
                ))
        );
        self.queue.is_some() && !is_executed_at_once
    }

    /// The words of a request in memory of their own, if they are to wait for EXEC: a slice would keep all
    /// of the read buffer.
    pub(super) fn own(&self, words: &[Bytes]) -> Option<Args> {
        self.queue.as_ref()?;
        let mut own = BytesMut::with_capacity(words.iter().map(Bytes::len).sum());
        words.iter().for_each(|word| own.extend_from_slice(word));
        let mut own = own.freeze();
        Some(words.iter().map(|word| own.split_to(word.len())).collect())
    }

    /// Whether MULTI has begun one.
    pub(super) fn is_queueing(&self) -> bool {
        self.queue.is_some()
    }

    /// Queues a command of so many words and bytes, and answers it; `kept` are the words, if they are needed
    /// at EXEC. There may be `max` commands.
    pub(super) fn queue(
        &mut self,
        command: Result<Command, Rejection>,
        words: usize,
        bytes: usize,
        kept: Option<Args>,
        max: usize,
    ) -> Reply {
        let spilled = kept.as_ref().map_or(0, |_| words * size_of::<Bytes>());
        let weight = bytes + words * size_of::<Bytes>() + spilled + size_of::<Queued>();
        let Some(queue) = &mut self.queue else {
            return Reply::Error("ERR there is no transaction".into());
        };
        let refusal = match &command {
            Err(rejection) if rejection.is_early => Some(rejection.text.clone()),
            Ok(
                Command::Keyspace(Keyspace::Flush)
                | Command::Control(Control::Monitor | Control::Subscription(_)),
            ) => Some("ERR Command not allowed inside a transaction".to_owned()),
            _ if queue.weight.saturating_add(weight) > QUEUE_MAX => Some(format!(
                "ERR the transaction is over the limit of {QUEUE_MAX} bytes; nothing will be done"
            )),
            _ if !queue.is_broken && queue.commands.len() >= max => Some(format!(
                "ERR the transaction is over the limit of {max} commands (MAX_QUEUED_COMMANDS); nothing will be done"
            )),
            _ => None,
        };
        if let Some(text) = refusal {
            return self.refuse(text);
        }
        if !queue.is_broken {
            queue.weight += weight;
            queue.commands.push(Queued {
                command,
                words: kept,
            });
        }
        Reply::Status("QUEUED")
    }

    /// The reply to a request that was skipped because of its size, which discards a transaction.
    pub(super) fn refuse(&mut self, text: String) -> Reply {
        if let Some(queue) = &mut self.queue {
            queue.is_broken = true;
            queue.commands = Vec::new();
        }
        Reply::Error(text)
    }

    /// MULTI, while these users are in force.
    pub(super) fn begin(&mut self, generation: u64) -> Reply {
        if self.queue.is_some() {
            return Reply::Error("ERR MULTI calls can not be nested".into());
        }
        self.queue = Some(Queue {
            generation,
            ..Queue::default()
        });
        Reply::OK
    }

    /// DISCARD
    pub(super) fn discard(&mut self) -> Reply {
        if self.queue.is_none() {
            return Reply::Error("ERR DISCARD without MULTI".into());
        }
        *self = Self::default();
        Reply::OK
    }

    /// EXEC with a wrong number of words: nothing is done.
    pub(super) fn abort(&mut self, mistake: &str) -> Reply {
        *self = Self::default();
        let mistake = mistake.strip_prefix("ERR ").unwrap_or(mistake);
        Reply::Error(format!(
            "EXECABORT Transaction discarded because of: {mistake}"
        ))
    }

    /// Whether something is queued or watched: another connection could not go on with it.
    pub(super) fn is_open(&self) -> bool {
        self.queue.is_some() || !self.watched.is_empty()
    }

    /// UNWATCH
    pub(super) fn unwatch(&mut self) -> Reply {
        self.watched = HashMap::new();
        self.watched_bytes = 0;
        Reply::OK
    }

    /// Why WATCH may not watch these keys, if so.
    pub(super) fn may_watch(&self, keys: &[Bytes]) -> Result<(), Reply> {
        if self.queue.is_some() {
            return Err(Reply::Error("ERR WATCH inside MULTI is not allowed".into()));
        }
        let bytes = keys.iter().map(watch_weight).sum::<usize>();
        if self.watched_bytes + bytes > QUEUE_MAX {
            return Err(Reply::Error(format!(
                "ERR the watched keys are over the limit of {QUEUE_MAX} bytes; these are not watched"
            )));
        }
        Ok(())
    }

    /// Watches a key that has this stamp now. One that is watched already stays as it is.
    pub(super) fn watch(&mut self, key: &Bytes, stamp: Option<Stamp>) {
        if !self.watched.contains_key(key) {
            self.watched_bytes += watch_weight(key);
            // A copy that does not keep the read buffer alive.
            self.watched.insert(Bytes::copy_from_slice(key), stamp);
        }
    }

    /// Puts an error in the place of each queued command that `denial` has one for, if the users have changed since
    /// MULTI. Where the words were not kept, nothing of the transaction is done.
    pub(super) fn look_again(
        &mut self,
        generation: u64,
        mut denial: impl FnMut(&[Bytes]) -> Option<String>,
    ) {
        let Some(queue) = &mut self.queue else {
            return;
        };
        if queue.generation == generation {
            return;
        }
        for queued in &mut queue.commands {
            match &queued.words {
                None => queue.is_broken = true,
                Some(words) => {
                    if let Some(text) = denial(words) {
                        queued.command = Err(Rejection::late(text));
                    }
                }
            }
        }
    }

    /// EXEC: what is to be done; or the reply, if nothing is.
    pub(super) fn execute(&mut self) -> Result<Execution, Reply> {
        let Self {
            queue,
            watched,
            watched_bytes,
        } = std::mem::take(self);
        let Some(queue) = queue else {
            (self.watched, self.watched_bytes) = (watched, watched_bytes);
            return Err(Reply::Error("ERR EXEC without MULTI".into()));
        };
        if queue.is_broken {
            return Err(Reply::Error(
                "EXECABORT Transaction discarded because of previous errors.".into(),
            ));
        }
        let mut steps = Vec::new();
        let mut answers = Vec::with_capacity(queue.commands.len());
        for queued in queue.commands {
            answers.push(match queued.command.map(step) {
                Ok(Ok(operation)) => {
                    steps.push(operation);
                    Answer::Step
                }
                Ok(Err(command)) => Answer::Command(command),
                Err(rejection) => Answer::Ready(Reply::Error(rejection.text)),
            });
        }
        let is_needed = !steps.is_empty() || !watched.is_empty();
        let watched = watched.into_iter().collect();
        let operation = is_needed.then(|| Many::Transaction { watched, steps }.into());
        Ok(Execution { operation, answers })
    }
}

/// Bytes that a watched key takes.
fn watch_weight(key: &Bytes) -> usize {
    key.len() + size_of::<(Bytes, Option<Stamp>)>()
}

/// The operation that a command on data is within a transaction; another command is given back.
fn step(command: Command) -> Result<Operation, Command> {
    Ok(match command {
        Command::Read(keys, query) => Many::Read(keys.into_vec(), query).into(),
        Command::Write(key, mutation) => Operation::One(key, mutation),
        Command::Delete(keys) => Many::Delete(keys).into(),
        Command::MSet(pairs) => Many::Set(pairs).into(),
        Command::Together(many) => many.into(),
        other => return Err(other),
    })
}

impl Execution {
    /// Whether only a shard, and only one, has a part in it.
    pub(super) fn is_of_one_shard(&self, engine: &Engine) -> bool {
        let mut answers = self.answers.iter();
        let is_all_data = answers.all(|answer| !matches!(answer, Answer::Command(_)));
        let spans = self.operation.as_ref().is_some_and(|operation| {
            engine.spans_shards(|tell| operation.keys(&mut |key, _| tell(key)))
        });
        is_all_data && !spans
    }
}

/// The reply of EXEC when all its answers are known.
pub(super) fn reply(steps: &mut dyn Iterator<Item = Outcome>, answers: Vec<Answer>) -> Reply {
    let answers = answers.into_iter().map(|answer| match answer {
        Answer::Ready(reply) => reply,
        Answer::Step | Answer::Command(_) => steps.next().map_or(Reply::Null, answer::reply),
    });
    Reply::Array(answers.collect())
}

impl Server {
    /// EXEC: what is to be done of what was queued and is still allowed; or the reply, if nothing is.
    pub(super) fn execution(
        &self,
        client: &Client,
        session: &mut Session,
    ) -> Result<Execution, Reply> {
        let Session {
            admission,
            transaction,
            ..
        } = session;
        if !admission.is_free {
            transaction.look_again(admission.generation(), |words| {
                self.denial_at_exec(client, admission, words)
            });
        }
        transaction.execute()
    }

    /// WATCH
    pub(super) async fn watch(&self, session: &mut Session, keys: &[Bytes]) -> Reply {
        if let Err(refusal) = session.transaction.may_watch(keys) {
            return refusal;
        }
        let mut found = Vec::with_capacity(keys.len());
        let spans = self.engine.read(keys, &mut found).await;
        session.spans = session.spans.then(spans);
        if let Some(error) = found.iter().find_map(|found| found.as_ref().err()) {
            return failed(error);
        }
        for (key, found) in keys.iter().zip(found) {
            let row = found.ok().and_then(|found| found.row);
            session.transaction.watch(key, row.map(|row| row.stamp));
        }
        Reply::OK
    }

    /// EXEC of more than data commands on one shard: what comes before it has been answered.
    pub(super) async fn execute(
        &self,
        client: &Arc<Client>,
        session: &mut Session,
        execution: Execution,
    ) -> Reply {
        let Execution { operation, answers } = execution;
        let mut steps = Vec::new();
        if let Some(operation) = operation {
            let (result, spans) = self.engine.write_all(vec![operation]).await;
            session.spans = session.spans.then(spans);
            match result {
                Ok(outcomes) => match outcomes.into_iter().next() {
                    Some(Outcome::List(list)) => steps = list,
                    _ => return Reply::NullArray,
                },
                Err(error) => return failed(&error),
            }
        }
        let mut steps = steps.into_iter();
        let mut replies = Vec::with_capacity(answers.len());
        for answer in answers {
            replies.push(match answer {
                Answer::Ready(reply) => reply,
                Answer::Step => steps.next().map_or(Reply::Null, answer::reply),
                Answer::Command(Command::Control(control)) => {
                    Box::pin(self.control(client, session, control)).await
                }
                Answer::Command(Command::Keyspace(keyspace)) => self.keyspace(keyspace).await,
                Answer::Command(Command::Help(lines)) => help(lines),
                // UNWATCH
                Answer::Command(_) => Reply::OK,
            });
        }
        Reply::Array(replies)
    }
}
