//! A connection to the Redis for its channels: PUBLISH, SUBSCRIBE and relatives, and what is asked about
//! them, in RESP3, where messages come between the answers.
//!
//! It has no part in the [generation](super::generation): messages are not entries, and may be lost.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use ::redis::cmd;
use bytes::{Bytes, BytesMut};
use redis_protocol::resp3::decode::complete::decode_bytes_mut;
use redis_protocol::resp3::types::BytesFrame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::RedisCache;
use crate::cache::Unavailable;
use crate::command::control::ChannelKind;
use crate::tls::{RedisStream, RedisTarget};

/// Requests that may wait for the connection.
const QUEUE_MAX: usize = 1024;

/// Names, and their bytes, that one request subscribes to. With more at a time, the confirmations could take
/// longer than an answer may.
const NAMES_MAX: usize = 1000;
const NAME_BYTES_MAX: usize = 1024 * 1024;

/// How often a connection on which nobody asks anything is asked whether it lives.
const PING_EVERY: Duration = Duration::from_secs(1);

/// A message of the Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What the subscription is to.
    pub kind: ChannelKind,
    /// The channel or the pattern that is subscribed to.
    pub subscription: Bytes,
    /// The channel that it was sent to.
    pub channel: Bytes,
    /// What was sent.
    pub payload: Bytes,
}

/// What the Redis answers about channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A number.
    Integer(i64),
    /// A string.
    Text(Bytes),
    /// A list.
    List(Vec<Answer>),
    /// It refuses, in its words.
    Error(String),
}

/// The connection; clones are the same one.
#[derive(Debug, Clone)]
pub struct Channels {
    requests: mpsc::Sender<Request>,
    over: CancellationToken,
    timeout: Duration,
}

#[derive(Debug)]
struct Request {
    packed: Vec<u8>,
    /// Confirmations that it is answered with; 0 for an answer.
    confirmations: usize,
    answer: oneshot::Sender<Answer>,
}

impl RedisCache {
    /// Connects; `deliver` is called with each message, and must not take long.
    ///
    /// # Errors
    ///
    /// The Redis can't be reached, or refuses.
    pub async fn channels(
        &self,
        deliver: impl Fn(Message) + Send + 'static,
    ) -> Result<Channels, String> {
        let timeout = self.shared.settings.timeout;
        let connecting = tokio::time::timeout(timeout, connect(&self.shared.target));
        let (stream, input) = connecting
            .await
            .map_err(|_| "it does not answer".to_owned())?
            .map_err(|error| error.to_string())?;
        let (requests, queue) = mpsc::channel(QUEUE_MAX);
        let over = CancellationToken::new();
        let driver = Driver {
            stream,
            input,
            pending: VecDeque::new(),
            deliver,
        };
        let (end, quiet) = (over.clone(), timeout.max(PING_EVERY));
        tokio::spawn(async move {
            // Dropped by whoever ends it, or with its own failure.
            let end = end.drop_guard();
            let driving = driver.run(queue, quiet);
            tokio::select! {
                Err(error) = driving => {
                    tracing::debug!(%error, "the connection for channels is lost");
                }
                () = end.token().cancelled() => {}
            }
        });
        Ok(Channels {
            requests,
            over,
            timeout,
        })
    }
}

/// Greets, and returns the connection with what was read beyond the greeting.
async fn connect(target: &RedisTarget) -> io::Result<(Box<dyn RedisStream>, BytesMut)> {
    let mut stream = target.open().await?;
    let settings = target.settings();
    let mut hello = cmd("HELLO");
    hello.arg(3);
    if let Some(password) = settings.password() {
        let username = settings.username().unwrap_or("default");
        hello.arg("AUTH").arg(username).arg(password);
    }
    stream.write_all(&hello.get_packed_command()).await?;
    stream.flush().await?;
    let mut input = BytesMut::new();
    loop {
        if stream.read_buf(&mut input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match next_frame(&mut input)? {
            None => {}
            Some(BytesFrame::SimpleError { data, .. }) => {
                return Err(io::Error::other(data.to_string()));
            }
            Some(_) => return Ok((stream, input)),
        }
    }
}

fn next_frame(input: &mut BytesMut) -> io::Result<Option<BytesFrame>> {
    let decoded = decode_bytes_mut(input).map_err(io::Error::other)?;
    Ok(decoded.map(|(frame, _, _)| frame))
}

/// Names in parts that may be sent at a time.
fn parts(names: &[Bytes]) -> impl Iterator<Item = &[Bytes]> {
    let (mut count, mut bytes) = (0, names.first().map_or(0, Bytes::len));
    names.chunk_by(move |_, next| {
        count += 1;
        bytes += next.len();
        let is_full = count >= NAMES_MAX || bytes > NAME_BYTES_MAX;
        if is_full {
            (count, bytes) = (0, next.len());
        }
        !is_full
    })
}

impl Channels {
    /// SUBSCRIBE or UNSUBSCRIBE, and relatives; returns when the Redis has confirmed all of it, part by part.
    ///
    /// # Errors
    ///
    /// The connection is lost, and all subscriptions with it.
    pub async fn change(
        &self,
        kind: ChannelKind,
        begins: bool,
        names: &[Bytes],
    ) -> Result<(), Unavailable> {
        let name = match (kind, begins) {
            (ChannelKind::Channel, true) => "SUBSCRIBE",
            (ChannelKind::Channel, false) => "UNSUBSCRIBE",
            (ChannelKind::Pattern, true) => "PSUBSCRIBE",
            (ChannelKind::Pattern, false) => "PUNSUBSCRIBE",
            (ChannelKind::Shard, true) => "SSUBSCRIBE",
            (ChannelKind::Shard, false) => "SUNSUBSCRIBE",
        };
        for part in parts(names) {
            let words = part.iter().map(|name| &name[..]);
            if let Answer::Error(error) = self.send(name, words, part.len()).await? {
                tracing::warn!(error, "the Redis refuses {name}");
                self.over.cancel();
                return Err(Unavailable);
            }
        }
        Ok(())
    }

    /// Any other command.
    ///
    /// # Errors
    ///
    /// The connection is lost; whether the command was done is not known.
    pub async fn ask(&self, name: &str, words: &[&[u8]]) -> Result<Answer, Unavailable> {
        self.send(name, words.iter().copied(), 0).await
    }

    async fn send<'a>(
        &self,
        name: &str,
        words: impl Iterator<Item = &'a [u8]>,
        confirmations: usize,
    ) -> Result<Answer, Unavailable> {
        let mut command = cmd(name);
        words.for_each(|word| {
            command.arg(word);
        });
        let (answer, answered) = oneshot::channel();
        let request = Request {
            packed: command.get_packed_command(),
            confirmations,
            answer,
        };
        let asking = async {
            self.requests.send(request).await.map_err(|_| Unavailable)?;
            answered.await.map_err(|_| Unavailable)
        };
        match timeout(self.timeout, asking).await {
            Ok(answer) => answer,
            Err(_late) => {
                self.over.cancel();
                Err(Unavailable)
            }
        }
    }

    /// Whether the connection is lost.
    pub fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Returns when it is lost.
    pub async fn over(&self) {
        self.over.cancelled().await;
    }
}

/// Who waits for what, in the order in which it was asked.
struct Pending {
    confirmations: usize,
    answer: Option<oneshot::Sender<Answer>>,
}

struct Driver<F> {
    stream: Box<dyn RedisStream>,
    input: BytesMut,
    pending: VecDeque<Pending>,
    deliver: F,
}

impl<F: Fn(Message)> Driver<F> {
    /// Until the connection is lost, or nobody needs it.
    async fn run(mut self, mut queue: mpsc::Receiver<Request>, quiet: Duration) -> io::Result<()> {
        loop {
            while let Some(frame) = next_frame(&mut self.input)? {
                self.take(frame)?;
            }
            tokio::select! {
                read = timeout(quiet, self.stream.read_buf(&mut self.input)) => match read {
                    Ok(read) => {
                        if read? == 0 {
                            return Err(io::ErrorKind::UnexpectedEof.into());
                        }
                    }
                    Err(_quiet) if self.pending.is_empty() => {
                        self.stream.write_all(&cmd("PING").get_packed_command()).await?;
                        self.stream.flush().await?;
                        self.pending.push_back(Pending { confirmations: 0, answer: None });
                    }
                    Err(_quiet) => return Err(io::ErrorKind::TimedOut.into()),
                },
                request = queue.recv() => {
                    let Some(request) = request else {
                        return Ok(());
                    };
                    let mut packed = request.packed;
                    self.pending.push_back(Pending {
                        confirmations: request.confirmations,
                        answer: Some(request.answer),
                    });
                    // What came together leaves together.
                    while let Ok(request) = queue.try_recv() {
                        packed.extend_from_slice(&request.packed);
                        self.pending.push_back(Pending {
                            confirmations: request.confirmations,
                            answer: Some(request.answer),
                        });
                    }
                    self.stream.write_all(&packed).await?;
                    self.stream.flush().await?;
                }
            }
        }
    }

    fn take(&mut self, frame: BytesFrame) -> io::Result<()> {
        let BytesFrame::Push { data, .. } = frame else {
            return self.answer(answer(frame));
        };
        let mut data = data.into_iter().map(text);
        let what = data.next().flatten().unwrap_or_default();
        let kind = match &what[..] {
            b"message" => ChannelKind::Channel,
            b"pmessage" => ChannelKind::Pattern,
            b"smessage" => ChannelKind::Shard,
            b"subscribe" | b"unsubscribe" | b"psubscribe" | b"punsubscribe" | b"ssubscribe"
            | b"sunsubscribe" => return self.confirm(),
            // Nothing that was asked for.
            _ => return Ok(()),
        };
        let mut rest = data.flatten();
        let subscription = rest.next().unwrap_or_default();
        let channel = match kind {
            ChannelKind::Pattern => rest.next().unwrap_or_default(),
            ChannelKind::Channel | ChannelKind::Shard => subscription.clone(),
        };
        (self.deliver)(Message {
            kind,
            subscription,
            channel,
            payload: rest.next().unwrap_or_default(),
        });
        Ok(())
    }

    fn confirm(&mut self) -> io::Result<()> {
        let Some(first) = self.pending.front_mut() else {
            return Err(io::Error::other("a confirmation that nobody waits for"));
        };
        first.confirmations = first.confirmations.saturating_sub(1);
        if first.confirmations == 0 {
            return self.answer(Answer::Integer(0));
        }
        Ok(())
    }

    fn answer(&mut self, answer: Answer) -> io::Result<()> {
        let Some(first) = self.pending.pop_front() else {
            return Err(io::Error::other("an answer that nobody waits for"));
        };
        if let Some(waiting) = first.answer {
            // Who has gone away does not need it.
            let _ = waiting.send(answer);
        }
        Ok(())
    }
}

fn text(frame: BytesFrame) -> Option<Bytes> {
    match frame {
        BytesFrame::BlobString { data, .. } | BytesFrame::SimpleString { data, .. } => Some(data),
        _ => None,
    }
}

fn answer(frame: BytesFrame) -> Answer {
    match frame {
        BytesFrame::Number { data, .. } => Answer::Integer(data),
        BytesFrame::Array { data, .. } => Answer::List(data.into_iter().map(answer).collect()),
        BytesFrame::SimpleError { data, .. } => Answer::Error(data.to_string()),
        BytesFrame::BlobError { data, .. } => {
            Answer::Error(String::from_utf8_lossy(&data).into_owned())
        }
        other => Answer::Text(text(other).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sent_in_parts() {
        let names = |count: usize, length: usize| vec![Bytes::from(vec![b'x'; length]); count];
        let lengths = |names: &[Bytes]| parts(names).map(<[Bytes]>::len).collect::<Vec<_>>();
        assert_eq!(lengths(&[]), [0; 0]);
        assert_eq!(lengths(&names(1000, 1)), [1000]);
        assert_eq!(lengths(&names(2001, 1)), [1000, 1000, 1]);
        assert_eq!(lengths(&names(3, NAME_BYTES_MAX)), [1, 1, 1]);
        assert_eq!(lengths(&names(5, NAME_BYTES_MAX / 2)), [2, 2, 1]);
    }
}
