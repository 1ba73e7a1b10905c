//! One client's connection: bytes in, requests, replies, bytes out.
//!
//! ```text
//!   socket ──► in buffer ──► scanner ──► all whole requests ──► dispatch ──► out buffer ──► socket
//! ```
//!
//! All whole requests of the buffer are handled together, and their replies leave in one write.
//! While replies wait for a slow reader, requests are still read, since many clients send a whole
//! pipeline before they read; once [`OUT_MAX`] bytes wait, nothing more is read or handled until the
//! client takes some.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::io::poll_read_buf;
use tokio_util::sync::CancellationToken;

use super::Server;
use super::clients::Registration;
use super::dispatch::{self, OUT_MAX, Output, Request};
use super::segment::Segment;
use super::session::Session;
use crate::buffers;
use crate::resp::{Reply, Scanned, Scanner};

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
}

/// How the connection goes on after what was handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Every whole request was answered.
    Read,
    /// There may be more whole requests in the in buffer.
    Handle,
    Close,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Connection<'a, S> {
    pub(super) fn new(server: &'a Server, stream: S, registration: Registration) -> Self {
        Self {
            server,
            stream,
            registration,
            session: Session::default(),
            scanner: Scanner::new(server.settings.limits),
            input: BytesMut::new(),
            room: ROOM_MIN,
            output: BytesMut::new(),
            requests: Vec::new(),
            segment: Segment::default(),
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
        let mut broken = None;
        while requests.len() < REQUESTS_MAX {
            match self.scanner.next(&mut self.input) {
                Ok(Some(Scanned::Request(args))) => requests.push(Request::Words(args)),
                Ok(Some(Scanned::TooLarge(text))) => requests.push(Request::Refused(text)),
                Ok(None) => break,
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            }
        }
        let is_full = requests.len() == REQUESTS_MAX;
        let client = &self.registration.client;
        let mut output = Output {
            stream: &mut self.stream,
            buffer: &mut self.output,
        };
        let go_on = dispatch::execute(
            self.server,
            client,
            &mut self.session,
            requests,
            &mut self.segment,
            &mut output,
        )
        .await?;
        if requests.capacity() > REQUESTS_KEEP_MAX {
            *requests = Vec::new();
        }
        if !go_on {
            return Ok(Next::Close);
        }
        if let Some(error) = broken {
            self.server.engine.metrics().protocol_errors.add(1);
            tracing::debug!(client = client.id, %error, "broken frame");
            Reply::Error(error.to_string()).encode(self.session.version, &mut self.output);
            return Ok(Next::Close);
        }
        Ok(if is_full { Next::Handle } else { Next::Read })
    }

    /// Writes what waits, and reads what comes if everything was handled. Returns once there is
    /// something to handle; true at the end of what the client sends.
    async fn exchange(&mut self, next: Next) -> io::Result<bool> {
        let room = self.room.max(self.scanner.wants().min(self.input.len()));
        poll_fn(|context| {
            buffers::poll_flush(&mut self.stream, context, &mut self.output)?;
            if self.output.len() >= OUT_MAX {
                return Poll::Pending;
            }
            if next == Next::Handle {
                return Poll::Ready(Ok(false));
            }
            self.poll_read(context, room).map_ok(|received| {
                if received >= self.room {
                    self.room = ROOM_MAX.min(2 * self.room);
                }
                received == 0
            })
        })
        .await
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
