//! One client's connection: bytes in, requests, replies, bytes out.
//!
//! ```text
//!   socket ──► in buffer ──► scanner ──► all whole requests ──► dispatch ──► out buffer ──► socket
//! ```
//!
//! All whole requests of the buffer are handled together, and their replies leave in one write.
//! While replies wait for a slow reader, requests are still read, since many clients send a whole
//! pipeline before they read; once `MAX_OUTPUT_BUFFER` bytes wait, nothing more is read or handled until the
//! client takes some.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::io::poll_read_buf;
use tokio_util::sync::CancellationToken;

use super::Server;
use super::clients::Registration;
use super::dispatch::{self, Output, Request};
use super::mailbox::Ended;
use super::segment::Segment;
use super::session::Session;
use super::statistics;
use crate::buffers;
use crate::command::table::{self, COMMANDS};
use crate::metrics::{Spans, Worker};
use crate::resp::{Limits, ProtocolError, Reply, Scanned, Scanner};
use crate::trace::Trace;

/// Room in the in buffer, in bytes: at first little, since most connections of many are idle; more
/// for a client that fills it.
const ROOM_MIN: usize = 1024;
const ROOM_MAX: usize = 16 * 1024;

/// A connection keeps memory for so many requests while it is idle.
const REQUESTS_KEEP_MAX: usize = 64;

/// Requests that are handled together. More wait in the in buffer.
const REQUESTS_MAX: usize = 1024;

/// After a last reply the socket is read for so long, or until the client closes: closing a
/// socket with unread bytes in it resets the connection, and the reply may be lost with that.
const LINGER: Duration = Duration::from_secs(1);

pub(super) struct Connection<'a, S> {
    server: &'a Server,
    stream: S,
    registration: Registration,
    session: Session,
    scanner: Scanner,
    input: BytesMut,
    /// Room made in the in buffer before a read, in bytes.
    room: usize,
    output: BytesMut,
    /// Empty between two exchanges, as the segment is; kept for their memory.
    requests: Vec<Request>,
    segment: Segment,
    /// The figures of the worker that serves it.
    worker: &'a Worker,
    /// What comes after the requests, if it can't be understood.
    broken: Option<ProtocolError>,
    /// What the mailbox wakes.
    waker: Option<Waker>,
}

/// How the connection goes on after what was handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Every whole request was answered.
    Read,
    /// There may be more whole requests in the in buffer.
    Handle,
    /// Requests wait for the end of CLIENT PAUSE.
    Wait,
    Close,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Connection<'a, S> {
    pub(super) fn new(server: &'a Server, stream: S, registration: Registration) -> Self {
        let session = Session::new(server.admission_of_new(&registration.client));
        Self {
            server,
            stream,
            registration,
            session,
            scanner: Scanner::new(
                Limits {
                    argument_max: server.settings.argument_max,
                    request_max: server.bounds.request_max.get(),
                },
                &server.bounds.request_memory,
            ),
            input: BytesMut::new(),
            room: ROOM_MIN,
            output: BytesMut::new(),
            requests: Vec::new(),
            segment: Segment::default(),
            worker: server.engine.metrics().worker(server.workers.current()),
            broken: None,
            waker: None,
        }
    }

    /// Serves until the client closes, a broken frame, QUIT, or `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) -> io::Result<()> {
        let mut next = Next::Read;
        let mut stop = pin!(stop.cancelled_owned());
        loop {
            let is_at_end = tokio::select! {
                biased;
                is_at_end = self.exchange(next) => is_at_end?,
                // What was read was answered: only what waits for the socket is left.
                () = &mut stop => true,
            };
            if is_at_end {
                return self.farewell().await;
            }
            next = self.handle().await?;
            if next == Next::Close {
                return self.farewell().await;
            }
            buffers::release(&mut self.input);
        }
    }

    /// Handles the whole requests of the in buffer, up to [`REQUESTS_MAX`].
    async fn handle(&mut self) -> io::Result<Next> {
        let requests = &mut self.requests;
        // What follows a login may be larger than what comes before it.
        let is_known = self.session.admission.is_known();
        let requests_max = if is_known { REQUESTS_MAX } else { 1 };
        self.scanner.restrict(!is_known);
        while self.broken.is_none() && requests.len() < requests_max {
            match self.scanner.next(&mut self.input) {
                Ok(Some(Scanned::Request(args))) => requests.push(Request::Words(args)),
                Ok(Some(Scanned::TooLarge(text))) => requests.push(Request::Refused(text)),
                Ok(None) => break,
                Err(error) => self.broken = Some(error),
            }
        }
        if requests.is_empty() && !self.input.is_empty() {
            // A request that is arriving: who sends it is neither idle nor quiet.
            self.registration.client.note_activity(Instant::now());
        }
        let is_full = requests.len() >= requests_max;
        let admitted = self.server.pause.admitted(requests);
        let is_paused = admitted < requests.len();
        let go_on = self.execute(admitted).await?;
        if is_paused {
            return Ok(if go_on { Next::Wait } else { Next::Close });
        }
        if self.requests.capacity() > REQUESTS_KEEP_MAX {
            self.requests = Vec::new();
        }
        if !go_on {
            return Ok(Next::Close);
        }
        if let Some(error) = self.broken.take() {
            self.server.engine.metrics().protocol_errors.add(1);
            tracing::debug!(client = self.registration.client.id, %error, "broken frame");
            Reply::Error(error.to_string()).encode(self.session.version, &mut self.output);
            return Ok(Next::Close);
        }
        Ok(if is_full { Next::Handle } else { Next::Read })
    }

    /// Handles the first requests, and notes what is known of them afterwards. False if the connection
    /// shall be closed.
    async fn execute(&mut self, count: usize) -> io::Result<bool> {
        let Self {
            server,
            registration,
            ..
        } = self;
        let client = &registration.client;
        let requests = &self.requests[..count];
        let last = match requests.last() {
            Some(Request::Words(words)) => words.first().and_then(|name| table::position(name)),
            Some(Request::Refused(_)) => None,
            None => return Ok(true),
        };
        let began = client.touch(last.map_or("", |at| COMMANDS[at].name));
        self.worker.commands.add_alone(count as u64);
        let samples = self.worker.sampler.draw(count, began);
        let mut output = Output {
            stream: &mut self.stream,
            buffer: &mut self.output,
            mailbox: &client.mailbox,
            requests,
            answering: 0,
            sampled: samples.next(),
            samples,
            server,
            began,
            worker: self.worker,
            metrics: server.engine.metrics(),
            max: server.bounds.output_max.get(),
        };
        let (session, segment) = (&mut self.session, &mut self.segment);
        session.spans = Spans::default();
        let trace = Trace::request(last.map_or("unknown", |at| COMMANDS[at].name), count);
        let executing = dispatch::execute(server, client, session, requests, segment, &mut output);
        let executed = trace.within(executing).await;
        let took = began.elapsed();
        // Also where the connection ends: the errors among the answers were counted.
        statistics::note(self.worker, requests, last, took);
        let go_on = executed?;
        server.note_slow(client, requests, took, self.session.spans);
        client.note_transaction(self.session.transaction.is_open());
        self.requests.drain(..count);
        if self.requests.is_empty() {
            self.scanner.handled();
        }
        Ok(go_on)
    }

    /// Writes what waits, and reads what comes if everything was handled. Returns once there is
    /// something to handle; true at the end of what the client sends.
    async fn exchange(&mut self, next: Next) -> io::Result<bool> {
        let room = self.room.max(self.scanner.wants().min(self.input.len()));
        let server = self.server;
        let mut pause = (next == Next::Wait).then(|| Box::pin(server.pause.wait()));
        poll_fn(|context| {
            self.poll_flush(context)?;
            if self.look_into_mailbox(context)? {
                self.poll_flush(context)?;
            }
            if let Some(pause) = &mut pause {
                return pause.as_mut().poll(context).map(|()| Ok(false));
            }
            if self.output.len() >= server.bounds.output_max.get() {
                return Poll::Pending;
            }
            if next == Next::Handle {
                return Poll::Ready(Ok(false));
            }
            self.poll_read(context, room).map_ok(|received| {
                self.worker.input_bytes.add_alone(received as u64);
                if received >= self.room {
                    self.room = ROOM_MAX.min(2 * self.room);
                }
                received == 0
            })
        })
        .await
    }

    /// Takes what others have for this client, once what it had before has left; true if there was
    /// something.
    fn look_into_mailbox(&mut self, context: &mut Context<'_>) -> Result<bool, Ended> {
        let mailbox = &self.registration.client.mailbox;
        let waker = context.waker();
        let is_known = self
            .waker
            .as_ref()
            .is_some_and(|known| known.will_wake(waker));
        if is_known && !mailbox.has_news() {
            return Ok(false);
        }
        self.waker = Some(waker.clone());
        mailbox.register(waker);
        if mailbox.has_ended() {
            return Err(Ended);
        }
        if !self.output.is_empty() {
            return Ok(false);
        }
        mailbox.take(&mut self.output)?;
        Ok(!self.output.is_empty())
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let before = self.output.len();
        buffers::poll_flush(&mut self.stream, context, &mut self.output)?;
        let written = before - self.output.len();
        if written > 0 {
            self.worker.output_bytes.add_alone(written as u64);
        }
        Ok(())
    }

    fn poll_read(&mut self, context: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        self.input.reserve(room);
        poll_read_buf(Pin::new(&mut self.stream), context, &mut self.input)
    }

    /// Sends the last replies so that they arrive, and closes.
    async fn farewell(mut self) -> io::Result<()> {
        self.stream.write_all(&self.output).await?;
        self.stream.flush().await?;
        self.stream.shutdown().await?;
        let mut rest = [0u8; 4096];
        let drain = async {
            while let Ok(read) = self.stream.read(&mut rest).await {
                if read == 0 {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(LINGER, drain).await;
        Ok(())
    }
}
