//! GET for many at once: a connection that only looks up, and the task that drives it.
//!
//! ```text
//!   clients of one worker ──► queue ──► flight: MGET names…, GETEX name ──► Redis
//!          ▲                                                                  │
//!          └────────── each its part of what was found ◄── reply scanner ◄────┘
//! ```
//!
//! What gathers in the queue while flights are under way leaves together in one write, whoever
//! asked: one system call and one command serve many clients. A lookup that finds no flight under
//! way leaves at once. No lookup joins a flight that has been sent.
//!
//! This is not the redis crate's multiplexed connection because of what that costs for each
//! command: a task switch in between, an allocation for each value, a command for each client.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};
use tokio_util::io::poll_read_buf;
use tokio_util::sync::CancellationToken;

use super::reply_scanner::ReplyScanner;

/// One MGET asks for no more names than this, as Redis serves nobody else meanwhile.
pub(super) const NAMES_MAX: usize = 128;
/// Names that leave together, in as many MGETs as that takes.
const FLUSH_NAMES_MAX: usize = 1024;
/// Flushes under way: while Redis works on one, the next is written.
const FLUSHES_MAX: usize = 2;
/// Room made in the in buffer before a read, in bytes.
const READ_SIZE: usize = 64 * 1024;
/// A late flight is noticed this much late at most, as a part of what it was allowed.
const LATE_PARTS: u32 = 8;

/// What was found for each name of a lookup, in order.
pub(super) type Found = SmallVec<[Option<Bytes>; 1]>;

/// Names to look up, as they stand in a command.
#[derive(Debug)]
pub(super) struct Lookup {
    /// `$<length>\r\n<name>\r\n` for each.
    pub(super) names: Vec<u8>,
    /// Where the last of them begins.
    pub(super) last: usize,
    /// How many; at least 1.
    pub(super) count: usize,
    pub(super) done: oneshot::Sender<Found>,
}

/// The way to one driver.
#[derive(Debug)]
pub(super) struct Lookups {
    queue: mpsc::UnboundedSender<Lookup>,
    fate: Arc<OnceLock<String>>,
}

impl Lookups {
    /// A queue, and the driver that shall serve it.
    pub(super) fn new(timeout: Duration, per_name: Duration) -> (Self, Driver) {
        // Unbounded: who has put in something waits for it, so it holds one lookup a connection.
        let (queue, waiting) = mpsc::unbounded_channel();
        let fate = Arc::new(OnceLock::new());
        let driver = Driver {
            waiting,
            fate: Arc::clone(&fate),
            timeout,
            per_name,
            flights: VecDeque::new(),
            flushes: 0,
            output: BytesMut::new(),
            input: BytesMut::new(),
            scanner: ReplyScanner::default(),
        };
        (Self { queue, fate }, driver)
    }

    /// Sends a lookup on its way. If the connection is lost, its `done` is dropped.
    pub(super) fn submit(&self, lookup: Lookup) {
        // A driver that is gone drops it, as it does those that it has.
        let _ = self.queue.send(lookup);
    }

    /// Waits until the driver is gone.
    pub(super) async fn lost(&self) {
        self.queue.closed().await;
    }

    /// Why the driver is gone.
    pub(super) fn reason(&self) -> &str {
        self.fate
            .get()
            .map_or("the connection is closed", |reason| reason)
    }
}

/// Lookups that one MGET and one GETEX ask for.
struct Flight {
    lookups: Vec<Lookup>,
    names: usize,
    sent: Instant,
    allowance: Duration,
    is_last_of_flush: bool,
}

/// Drives one connection.
pub(super) struct Driver {
    waiting: mpsc::UnboundedReceiver<Lookup>,
    fate: Arc<OnceLock<String>>,
    timeout: Duration,
    /// What a flight may take longer for each name.
    per_name: Duration,
    flights: VecDeque<Flight>,
    /// How many writes the flights under way are from.
    flushes: usize,
    output: BytesMut,
    input: BytesMut,
    scanner: ReplyScanner,
}

impl Driver {
    /// Serves until the connection fails, a flight is late, `over`, or the queue's end. What was not
    /// answered then is dropped.
    pub(super) async fn run(
        mut self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        over: CancellationToken,
    ) {
        let mut over = pin!(over.cancelled_owned());
        let mut watchdog = pin!(sleep(self.timeout / LATE_PARTS));
        let reason = poll_fn(|context| {
            if over.as_mut().poll(context).is_ready() {
                return Poll::Ready("the generation is over".to_owned());
            }
            while watchdog.as_mut().poll(context).is_ready() {
                let now = Instant::now();
                if let Some(late) = self.late(now) {
                    return Poll::Ready(late);
                }
                watchdog.as_mut().reset(now + self.timeout / LATE_PARTS);
            }
            match self.poll(&mut stream, context) {
                Poll::Ready(Ok(())) => Poll::Ready("it is not used any more".to_owned()),
                Poll::Ready(Err(error)) => Poll::Ready(error.to_string()),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        // Before the queue closes with the driver: who sees it closed finds the reason.
        let _ = self.fate.set(reason);
    }

    fn late(&self, now: Instant) -> Option<String> {
        let flight = self.flights.front()?;
        (now.duration_since(flight.sent) > flight.allowance)
            .then(|| format!("no answer in {} ms", flight.allowance.as_millis()))
    }

    fn poll(
        &mut self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.poll_read(stream, context)? {}
        let is_open = self.take_off(context);
        self.poll_write(stream, context)?;
        if !is_open && self.flights.is_empty() {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    /// Sends what waits, if there is a flush to spare. False at the end of the queue.
    fn take_off(&mut self, context: &mut Context<'_>) -> bool {
        while self.flushes < FLUSHES_MAX {
            let mut names = 0;
            let mut joined = Vec::new();
            let mut is_open = true;
            while names < FLUSH_NAMES_MAX && is_open {
                match self.waiting.poll_recv(context) {
                    Poll::Ready(Some(lookup)) => {
                        names += lookup.count;
                        joined.push(lookup);
                    }
                    Poll::Ready(None) => is_open = false,
                    Poll::Pending => break,
                }
            }
            if joined.is_empty() {
                return is_open;
            }
            self.flush(joined);
        }
        true
    }

    /// Writes the commands for all that have joined.
    fn flush(&mut self, joined: Vec<Lookup>) {
        let sent = Instant::now();
        let mut lookups = joined.into_iter().peekable();
        while let Some(first) = lookups.next() {
            let mut names = first.count;
            let mut flight = vec![first];
            while let Some(next) = lookups.next_if(|next| names + next.count <= NAMES_MAX) {
                names += next.count;
                flight.push(next);
            }
            self.write_commands(&flight, names);
            let allowance = self.timeout
                + self.per_name * u32::try_from(names + self.waiting_names()).unwrap_or(u32::MAX);
            self.flights.push_back(Flight {
                lookups: flight,
                names,
                sent,
                allowance,
                is_last_of_flush: lookups.peek().is_none(),
            });
        }
        self.flushes += 1;
    }

    fn waiting_names(&self) -> usize {
        self.flights.iter().map(|flight| flight.names).sum()
    }

    /// The last name is asked for by GETEX, which without options is a GET that counts as a write:
    /// a replica refuses it, and with it what an MGET before it has found. A master that is demoted
    /// keeps its connections, and would answer from another server's data. (Not if it is
    /// configured with `replica-read-only no`.)
    fn write_commands(&mut self, lookups: &[Lookup], names: usize) {
        let out = &mut self.output;
        if names > 1 {
            out.extend_from_slice(b"*");
            out.extend_from_slice(itoa::Buffer::new().format(names).as_bytes());
            out.extend_from_slice(b"\r\n$4\r\nMGET\r\n");
        }
        let Some((last, others)) = lookups.split_last() else {
            return;
        };
        for lookup in others {
            out.extend_from_slice(&lookup.names);
        }
        let (others, name) = last.names.split_at(last.last);
        out.extend_from_slice(others);
        out.extend_from_slice(b"*2\r\n$5\r\nGETEX\r\n");
        out.extend_from_slice(name);
    }

    fn poll_write(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> io::Result<()> {
        while !self.output.is_empty() {
            match Pin::new(&mut *stream).poll_write(context, &self.output) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => self.output.advance(written),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(()),
            }
        }
        Ok(())
    }

    /// Reads and hands out what has come; false if nothing more is there for now.
    fn poll_read(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        context: &mut Context<'_>,
    ) -> io::Result<bool> {
        self.input
            .reserve(READ_SIZE.max(self.scanner.wants(&self.input)));
        match poll_read_buf(Pin::new(stream), context, &mut self.input) {
            Poll::Ready(Ok(0)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Poll::Ready(Ok(_)) => {
                self.land()?;
                Ok(true)
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(false),
        }
    }

    /// Hands out what whole replies have found.
    fn land(&mut self) -> io::Result<()> {
        while !self.input.is_empty() {
            let Some(flight) = self.flights.front() else {
                return Err(io::Error::other("a reply that nobody asked for"));
            };
            if !self.scanner.scan(&self.input, flight.names)? {
                return Ok(());
            }
            let mut found = self.scanner.take(&mut self.input);
            if let Some(flight) = self.flights.pop_front() {
                self.flushes -= usize::from(flight.is_last_of_flush);
                for lookup in flight.lookups {
                    let part = found.by_ref().take(lookup.count).collect();
                    // A client that is gone no longer wants to know.
                    let _ = lookup.done.send(part);
                }
            }
        }
        Ok(())
    }
}
