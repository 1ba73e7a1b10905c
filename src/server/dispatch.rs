//! From the requests of one buffer to their replies, in order: which commands go into a segment,
//! and which wait for the one before.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;
use tokio::io::AsyncWrite;
use tokio_util::io::poll_write_buf;

use super::Server;
use super::clients::Client;
use super::mailbox::{Ended, Mailbox};
use super::segment::Segment;
use super::session::{Session, help};
use super::statistics::command_of;
use crate::command::{Command, Control, Rejection, Transaction};
use crate::metrics::{Metrics, Samples, Worker};
use crate::resp::{Args, Reply};
use crate::shard::KEY_MAX;

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
    for (place, request) in requests.iter().enumerate() {
        if segment.is_empty() {
            out.answering = place;
        }
        // At each request: those before it may have taken long, as AUTH with a wrong password does.
        let is_over = client.mailbox.has_news() && client.mailbox.has_ended();
        let is_same = server.access.generation() == session.admission.generation();
        if is_over || (!is_same && !server.admit_again(client, &mut session.admission)) {
            segment.finish(server, session, out).await?;
            return Err(Ended.into());
        }
        let words = match request {
            Request::Words(words) if is_http(words) => {
                tracing::warn!(
                    client = client.id,
                    "an HTTP request on the RESP port; closing"
                );
                segment.finish(server, session, out).await?;
                return Ok(false);
            }
            Request::Words(words) => words,
            Request::Refused(text) => {
                let reply = session.transaction.refuse(text.clone());
                segment.push(reply);
                continue;
            }
        };
        if server.monitors.is_anybody_there() {
            server.monitors.show(client, &session.admission, words);
        }
        let own = session.transaction.own(words);
        let words = own.as_ref().unwrap_or(words);
        let value_max = server.settings.value_max;
        let mut command =
            Command::parse(words, value_max).and_then(|command| within_limits(command, value_max));
        if !session.is_free() {
            command = server.admitted(client, session, words, command);
        }
        if session.transaction.takes(&command) && !is_exec(words) {
            let bytes = words.iter().map(Bytes::len).sum();
            let kept = server.keeps_words().then(|| words.clone());
            let max = server.bounds.queued_max.get();
            segment.push(
                session
                    .transaction
                    .queue(command, words.len(), bytes, kept, max),
            );
            continue;
        }
        let command = match command {
            Ok(command) => command,
            Err(rejection) if rejection.is_early && is_exec(words) => {
                segment.push(session.transaction.abort(&rejection.text));
                continue;
            }
            Err(rejection) => {
                segment.push(Reply::Error(rejection.text));
                continue;
            }
        };
        match command {
            Command::Read(..)
            | Command::Write(..)
            | Command::Delete(_)
            | Command::MSet(_)
            | Command::Together(_) => {
                let command = server.as_a_whole(command);
                let spans_shards = server.spans_shards(&command);
                if spans_shards || segment.is_in_the_way_of(&command) {
                    segment.finish(server, session, out).await?;
                }
                segment.add(server, command).await;
                // What is on several shards goes through no lane, which would keep its order.
                if spans_shards {
                    segment.finish(server, session, out).await?;
                }
            }
            Command::Transaction(Transaction::Begin) => {
                let generation = session.admission.generation();
                segment.push(session.transaction.begin(generation));
            }
            Command::Transaction(Transaction::Discard) => {
                segment.push(session.transaction.discard());
            }
            Command::Transaction(Transaction::Unwatch) => {
                segment.push(session.transaction.unwatch());
            }
            Command::Transaction(Transaction::Watch(keys)) => {
                segment.finish(server, session, out).await?;
                let reply = server.watch(session, &keys).await;
                out.push(&reply, session).await?;
            }
            Command::Transaction(Transaction::Execute) => match server.execution(client, session) {
                Err(reply) => segment.push(reply),
                Ok(execution) if execution.is_of_one_shard(&server.engine) => {
                    if segment.has_read_keys_of(&execution) {
                        segment.finish(server, session, out).await?;
                    }
                    segment.execute(server, execution).await;
                }
                Ok(execution) => {
                    segment.finish(server, session, out).await?;
                    let reply = server.execute(client, session, execution).await;
                    out.push(&reply, session).await?;
                    if session.is_closing {
                        return Ok(false);
                    }
                }
            },
            Command::Help(lines) => segment.push(help(lines)),
            Command::Control(Control::Ping(None)) if !session.is_restricted => {
                segment.push(Reply::Status("PONG"));
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

fn is_exec(words: &[Bytes]) -> bool {
    words
        .first()
        .is_some_and(|name| name.eq_ignore_ascii_case(b"exec"))
}

/// A command whose keys and values are within their limits.
fn within_limits(command: Command, value_max: usize) -> Result<Command, Rejection> {
    let longest_key = command.longest_key();
    if longest_key > KEY_MAX {
        return Err(Rejection::early(format!(
            "ERR a key of {longest_key} bytes is over the limit of {KEY_MAX} bytes; nothing was done"
        )));
    }
    let longest_value = command.longest_value();
    if longest_value > value_max {
        return Err(Rejection::early(format!(
            "ERR a value of {longest_value} bytes is over the limit of {value_max} bytes (MAX_VALUE_SIZE); nothing was done"
        )));
    }
    Ok(command)
}

/// Where replies go: into a buffer, and on to the client when the buffer is full.
pub(super) struct Output<'a, S> {
    pub(super) stream: &'a mut S,
    pub(super) buffer: &'a mut BytesMut,
    pub(super) mailbox: &'a Mailbox,
    /// What is answered, for the errors; and which of it is next.
    pub(super) requests: &'a [Request],
    pub(super) answering: usize,
    /// Which of it is sampled, and which next; the server that does that, and when all of it came.
    pub(super) samples: Samples,
    pub(super) sampled: usize,
    pub(super) server: &'a Server,
    pub(super) began: Instant,
    pub(super) worker: &'a Worker,
    pub(super) metrics: &'a Metrics,
    /// Bytes of replies that may wait for a slow reader. Nothing more is handled until it reads.
    pub(super) max: usize,
}

impl<S: AsyncWrite + Unpin> Output<'_, S> {
    /// Appends a reply, unless the client wants none; waits for the client to read if too much waits
    /// for it already.
    pub(super) async fn push(&mut self, reply: &Reply, session: &Session) -> io::Result<()> {
        if let Reply::Error(text) = reply {
            let request = self.requests.get(self.answering);
            let command = request.and_then(|request| command_of(request, None));
            self.metrics.note_error(command, text);
        }
        if self.answering == self.sampled {
            self.sample(reply);
        }
        self.answering += 1;
        if !session.replies.is_next_sent() {
            return Ok(());
        }
        self.write(reply, session).await
    }

    #[cold]
    fn sample(&mut self, reply: &Reply) {
        let words = match self.requests.get(self.answering) {
            Some(Request::Words(words)) => &words[..],
            _ => &[],
        };
        let sampler = &self.worker.sampler;
        let weight = self.samples.take();
        self.sampled = self.samples.next();
        self.server
            .sample(sampler, weight, words, reply, self.began);
    }

    /// As [`push`](Output::push), but for what the client always wants.
    pub(super) async fn write(&mut self, reply: &Reply, session: &Session) -> io::Result<()> {
        let mut lists: SmallVec<[_; 2]> = SmallVec::new();
        lists.push(reply.encode_head(session.version, self.buffer).iter());
        self.make_room().await?;
        // Item by item: each may be as long as a value, and there may be many.
        while let Some(list) = lists.last_mut() {
            match list.next() {
                Some(item) => {
                    lists.push(item.encode_head(session.version, self.buffer).iter());
                    self.make_room().await?;
                }
                None => drop(lists.pop()),
            }
        }
        Ok(())
    }

    /// Waits for the client to read while too much waits for it.
    async fn make_room(&mut self) -> io::Result<()> {
        while self.buffer.len() >= self.max {
            let written = poll_fn(|context| {
                self.mailbox.register(context.waker());
                if self.mailbox.has_ended() {
                    return Poll::Ready(Err(Ended.into()));
                }
                poll_write_buf(Pin::new(&mut *self.stream), context, self.buffer)
            });
            let written = written.await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.worker.output_bytes.add_alone(written as u64);
        }
        Ok(())
    }
}
