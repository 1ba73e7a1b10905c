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
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::io::poll_read_buf;
use tokio_util::sync::CancellationToken;

use super::reply_scanner::ReplyScanner;
use crate::buffers;
use crate::metrics::Metrics;

/// One MGET asks for no more names than this, as Redis serves nobody else meanwhile.
pub(super) const NAMES_MAX: usize = 128;
/// Names that leave together, in as many MGETs as that takes.
const FLUSH_NAMES_MAX: usize = 1024;
/// Flushes under way: while Redis works on one, the next is written.
const FLUSHES_MAX: usize = 2;
/// Room made in the in buffer before a read, in bytes.
const READ_SIZE: usize = 64 * 1024;
/// With less room left, more is made.
const READ_MIN: usize = 8 * 1024;

/// What was found for each name of a lookup, in order.
pub(super) type Found = SmallVec<[Option<Bytes>; 1]>;

/// Names to look up, as they stand in a command; without any, it asks whether the connection lives.
#[derive(Debug)]
pub(super) struct Lookup {
    /// `$<length>\r\n<name>\r\n` for each.
    pub(super) names: Vec<u8>,
    /// Where the last of them begins.
    pub(super) last: usize,
    /// How many.
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
    pub(super) fn new(timeout: Duration, per_name: Duration, figures: Figures) -> (Self, Driver) {
        // Unbounded: who has put in something waits for it, so it holds a few lookups of each client.
        let (queue, waiting) = mpsc::unbounded_channel();
        let fate = Arc::new(OnceLock::new());
        let driver = Driver {
            waiting,
            fate: Arc::clone(&fate),
            timeout,
            per_name,
            figures,
            flights: VecDeque::new(),
            landed: None,
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
    is_last_of_flush: bool,
}

/// Where it is counted how long flights take.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) metrics: Arc<Metrics>,
    /// The worker that the driver is on.
    pub(super) worker: usize,
}

/// Drives one connection.
pub(super) struct Driver {
    waiting: mpsc::UnboundedReceiver<Lookup>,
    fate: Arc<OnceLock<String>>,
    timeout: Duration,
    /// What a flight may take longer for each name.
    per_name: Duration,
    figures: Figures,
    flights: VecDeque<Flight>,
    /// When the last flight came back.
    landed: Option<Instant>,
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
        let mut watchdog = Watchdog::asleep();
        let reason = poll_fn(|context| {
            if over.as_mut().poll(context).is_ready() {
                return Poll::Ready("the generation is over".to_owned());
            }
            match self.poll(&mut stream, context) {
                Poll::Ready(Ok(())) => return Poll::Ready("it is not used any more".to_owned()),
                Poll::Ready(Err(error)) => return Poll::Ready(error.to_string()),
                Poll::Pending => {}
            }
            watchdog
                .poll(context, self.due())
                .map(|()| "no answer within REDIS_TIMEOUT_MS".to_owned())
        })
        .await;
        // Before the queue closes with the driver: who sees it closed finds the reason.
        let _ = self.fate.set(reason);
    }

    /// When the first flight is late. Its time begins when those before it are back.
    fn due(&self) -> Option<Instant> {
        let first = self.flights.front()?;
        let began = self
            .landed
            .map_or(first.sent, |landed| landed.max(first.sent));
        Some(began + self.timeout + self.per_name * u32::try_from(first.names).unwrap_or(u32::MAX))
    }

    fn poll(
        &mut self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.poll_read(stream, context)? {}
        let is_open = self.take_off(context);
        buffers::poll_flush(stream, context, &mut self.output)?;
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
            self.flights.push_back(Flight {
                lookups: flight,
                names,
                sent,
                is_last_of_flush: lookups.peek().is_none(),
            });
        }
        self.flushes += 1;
    }

    /// The last name is asked for by GETEX, which without options is a GET that counts as a write:
    /// a replica refuses it, and with it what an MGET before it has found. A master that is demoted
    /// keeps its connections, and would answer from another server's data. (Not if it is
    /// configured with `replica-read-only no`.)
    fn write_commands(&mut self, lookups: &[Lookup], names: usize) {
        let out = &mut self.output;
        let Some(last) = lookups.iter().rposition(|lookup| lookup.count > 0) else {
            out.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
            return;
        };
        if names > 1 {
            out.extend_from_slice(b"*");
            out.extend_from_slice(itoa::Buffer::new().format(names).as_bytes());
            out.extend_from_slice(b"\r\n$4\r\nMGET\r\n");
        }
        for lookup in &lookups[..last] {
            out.extend_from_slice(&lookup.names);
        }
        let (others, name) = lookups[last].names.split_at(lookups[last].last);
        out.extend_from_slice(others);
        out.extend_from_slice(b"*2\r\n$5\r\nGETEX\r\n");
        out.extend_from_slice(name);
    }

    /// Reads and hands out what has come; false if nothing more is there for now.
    fn poll_read(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        context: &mut Context<'_>,
    ) -> io::Result<bool> {
        let missing = self.scanner.missing(&self.input);
        if missing > 0 || self.input.capacity() - self.input.len() < READ_MIN {
            self.input.reserve(READ_SIZE.max(missing));
        }
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
        let mut landed = None;
        while !self.input.is_empty() {
            let Some(flight) = self.flights.front() else {
                return Err(io::Error::other("a reply that nobody asked for"));
            };
            if !self.scanner.scan(&self.input, flight.names)? {
                break;
            }
            let now = *landed.get_or_insert_with(Instant::now);
            let mut found = self.scanner.take(&mut self.input);
            if let Some(flight) = self.flights.pop_front() {
                self.flushes -= usize::from(flight.is_last_of_flush);
                let Figures { metrics, worker } = &self.figures;
                let took = now.saturating_duration_since(flight.sent);
                metrics.worker(*worker).cache_gets.note_time(took);
                for lookup in flight.lookups {
                    let part = found.by_ref().take(lookup.count).collect();
                    // A client that is gone no longer wants to know.
                    let _ = lookup.done.send(part);
                }
            }
        }
        self.landed = landed.or(self.landed);
        buffers::release(&mut self.input);
        Ok(())
    }
}

/// Tells when the first flight is late. Its timer is set once for as long as a flight may take, not
/// for each flight, and not at all while none is under way.
struct Watchdog {
    timer: Pin<Box<Sleep>>,
    is_set: bool,
}

impl Watchdog {
    fn asleep() -> Self {
        Self {
            timer: Box::pin(sleep(Duration::ZERO)),
            is_set: false,
        }
    }

    /// Ready if the flight that is due at `due`, the first, is late.
    fn poll(&mut self, context: &mut Context<'_>, due: Option<Instant>) -> Poll<()> {
        loop {
            // One that was set for a flight that might take longer would be late for this.
            if self.is_set && due.is_none_or(|due| self.timer.deadline() <= due) {
                ready!(self.timer.as_mut().poll(context));
                self.is_set = false;
            }
            let Some(due) = due else {
                return Poll::Pending;
            };
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(due);
            self.is_set = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::cache::redis::names::bulk;

    const TIMEOUT: Duration = Duration::from_millis(100);
    const PER_NAME: Duration = Duration::from_millis(10);

    /// A driver, and its Redis' end of the connection.
    fn driver() -> (Lookups, DuplexStream, CancellationToken) {
        driver_over(1 << 20)
    }

    /// The same, with room for so many bytes on the way.
    fn driver_over(room: usize) -> (Lookups, DuplexStream, CancellationToken) {
        let figures = Figures {
            metrics: Arc::default(),
            worker: 0,
        };
        let (lookups, driver) = Lookups::new(TIMEOUT, PER_NAME, figures);
        let (here, there) = duplex(room);
        let over = CancellationToken::new();
        tokio::spawn(driver.run(here, over.clone()));
        (lookups, there, over)
    }

    fn look_up(lookups: &Lookups, names: &[&str]) -> oneshot::Receiver<Found> {
        let (done, answer) = oneshot::channel();
        let mut lookup = Lookup {
            names: Vec::new(),
            last: 0,
            count: names.len(),
            done,
        };
        for name in names {
            lookup.last = lookup.names.len();
            bulk(&mut lookup.names, [name.as_bytes(), b""]);
        }
        lookups.submit(lookup);
        answer
    }

    /// What is sent until nothing more comes, one word each.
    async fn sent(redis: &mut DuplexStream) -> String {
        let mut received = vec![0; 1 << 16];
        let length = redis.read(&mut received).await.unwrap();
        let text = String::from_utf8(received[..length].to_vec()).unwrap();
        let words = text
            .split("\r\n")
            .filter(|word| !word.starts_with(['*', '$']));
        words.collect::<Vec<_>>().join(" ").trim_end().to_owned()
    }

    async fn answer(redis: &mut DuplexStream, reply: &str) {
        redis.write_all(reply.as_bytes()).await.unwrap();
    }

    fn found(values: &[Option<&'static str>]) -> Found {
        let bytes =
            |value: &Option<&'static str>| value.map(|text| Bytes::from_static(text.as_bytes()));
        values.iter().map(bytes).collect()
    }

    #[tokio::test]
    async fn what_is_asked_together_leaves_as_one_and_each_gets_its_part() {
        let (lookups, mut redis, _over) = driver();
        let one = look_up(&lookups, &["a"]);
        let two = look_up(&lookups, &["b", "c"]);
        drop(look_up(&lookups, &["gone"]));
        let three = look_up(&lookups, &["d"]);
        assert_eq!(sent(&mut redis).await, "MGET a b c gone GETEX d");
        answer(
            &mut redis,
            "*4\r\n$1\r\nA\r\n$-1\r\n$1\r\nC\r\n$1\r\nG\r\n$1\r\nD\r\n",
        )
        .await;
        assert_eq!(one.await.unwrap(), found(&[Some("A")]));
        assert_eq!(two.await.unwrap(), found(&[None, Some("C")]));
        assert_eq!(three.await.unwrap(), found(&[Some("D")]));
    }

    #[tokio::test]
    async fn what_comes_later_leaves_when_a_flush_is_back() {
        let (lookups, mut redis, _over) = driver();
        for n in 0..FLUSHES_MAX {
            drop(look_up(&lookups, &["early"]));
            assert_eq!(sent(&mut redis).await, "GETEX early", "{n}");
        }
        let late = [look_up(&lookups, &["x"]), look_up(&lookups, &["y"])];
        tokio::task::yield_now().await;
        answer(&mut redis, "$1\r\nE\r\n").await;
        assert_eq!(sent(&mut redis).await, "MGET x GETEX y");
        answer(&mut redis, "$1\r\nE\r\n*1\r\n$1\r\nX\r\n$1\r\nY\r\n").await;
        let [x, y] = late;
        assert_eq!(x.await.unwrap(), found(&[Some("X")]));
        assert_eq!(y.await.unwrap(), found(&[Some("Y")]));
    }

    #[tokio::test]
    async fn a_lookup_of_no_names_asks_whether_the_connection_lives() {
        let (lookups, mut redis, _over) = driver();
        let alone = look_up(&lookups, &[]);
        assert_eq!(sent(&mut redis).await, "PING");
        answer(&mut redis, "+PONG\r\n").await;
        assert_eq!(alone.await.unwrap(), found(&[]));
        // Whatever is answered tells the same.
        let (before, a) = (look_up(&lookups, &[]), look_up(&lookups, &["a"]));
        let after = look_up(&lookups, &[]);
        assert_eq!(sent(&mut redis).await, "GETEX a");
        answer(&mut redis, "$1\r\nA\r\n").await;
        assert_eq!(before.await.unwrap(), found(&[]));
        assert_eq!(a.await.unwrap(), found(&[Some("A")]));
        assert_eq!(after.await.unwrap(), found(&[]));
    }

    #[tokio::test]
    async fn many_names_are_asked_for_in_several_commands() {
        let (lookups, mut redis, _over) = driver();
        let names: Vec<String> = (0..NAMES_MAX).map(|n| format!("k{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let all = look_up(&lookups, &names);
        let more = look_up(&lookups, &["more"]);
        let sent = sent(&mut redis).await;
        assert!(sent.starts_with("MGET k0 k1 "), "{sent}");
        assert!(sent.ends_with(" k126 GETEX k127 GETEX more"), "{sent}");
        let nothing = "$-1\r\n".repeat(NAMES_MAX);
        answer(&mut redis, &format!("*127\r\n{nothing}$1\r\nM\r\n")).await;
        assert_eq!(all.await.unwrap(), found(&[None; NAMES_MAX]));
        assert_eq!(more.await.unwrap(), found(&[Some("M")]));
    }

    /// All that wait learn that there is no answer, and so do those that come later.
    async fn assert_lost(lookups: &Lookups, waiting: oneshot::Receiver<Found>, reason: &str) {
        assert!(waiting.await.is_err());
        lookups.lost().await;
        assert!(lookups.reason().contains(reason), "{}", lookups.reason());
        assert!(look_up(lookups, &["after"]).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_ends_it_and_an_idle_time_does_not() {
        let (lookups, mut redis, _over) = driver();
        sleep(10 * TIMEOUT).await;
        let first = look_up(&lookups, &["a"]);
        sleep(TIMEOUT / 2).await;
        answer(&mut redis, "$-1\r\n").await;
        assert!(first.await.is_ok());
        sleep(10 * TIMEOUT).await;
        let asked = Instant::now();
        let waiting = look_up(&lookups, &["b"]);
        assert_lost(&lookups, waiting, "REDIS_TIMEOUT_MS").await;
        assert!(asked.elapsed() < 2 * TIMEOUT, "{:?}", asked.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_flight_has_its_own_time_also_behind_a_large_one() {
        let (lookups, mut redis, _over) = driver();
        let large = look_up(&lookups, &["k"; NAMES_MAX]);
        sent(&mut redis).await;
        let nothing = "$-1\r\n".repeat(NAMES_MAX);
        answer(&mut redis, &format!("*127\r\n{nothing}")).await;
        assert!(large.await.is_ok());
        let asked = Instant::now();
        let waiting = look_up(&lookups, &["b"]);
        assert_lost(&lookups, waiting, "REDIS_TIMEOUT_MS").await;
        assert!(asked.elapsed() < 2 * TIMEOUT, "{:?}", asked.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_flight_that_waits_for_one_that_takes_long_is_not_late() {
        let (lookups, mut redis, _over) = driver();
        let large = look_up(&lookups, &["k"; NAMES_MAX]);
        sent(&mut redis).await;
        let small = look_up(&lookups, &["b"]);
        sent(&mut redis).await;
        sleep(PER_NAME * 120).await;
        let nothing = "$-1\r\n".repeat(NAMES_MAX);
        answer(&mut redis, &format!("*127\r\n{nothing}")).await;
        assert!(large.await.is_ok());
        sleep(TIMEOUT / 2).await;
        answer(&mut redis, "$1\r\nB\r\n").await;
        assert_eq!(small.await.unwrap(), found(&[Some("B")]));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_there_counts_however_late_it_is_looked_at() {
        let (lookups, mut redis, _over) = driver();
        let a = look_up(&lookups, &["a"]);
        sent(&mut redis).await;
        answer(&mut redis, "$1\r\nA\r\n").await;
        // As for a process that stood still.
        tokio::time::advance(10 * TIMEOUT).await;
        assert_eq!(a.await.unwrap(), found(&[Some("A")]));
    }

    #[tokio::test]
    async fn a_narrow_connection_only_takes_longer() {
        let (lookups, mut redis, _over) = driver_over(16);
        let names = ["a", "b", "c", "d", "e", "f"];
        let answers: Vec<_> = (0..4).map(|_| look_up(&lookups, &names)).collect();
        let reply = format!("*23\r\n{}$1\r\nV\r\n", "$1\r\nV\r\n".repeat(23));
        let mut asked = 0;
        let mut received = [0; 7];
        while asked < reply.len() {
            // A few bytes at a time in both directions, until the whole command has come.
            let length = redis.read(&mut received).await.unwrap();
            if received[..length].ends_with(b"f\r\n") {
                break;
            }
            asked += length;
        }
        let (mut from, mut to) = tokio::io::split(redis);
        let writing = tokio::spawn(async move {
            for byte in reply.into_bytes() {
                to.write_all(&[byte]).await.unwrap();
            }
        });
        tokio::spawn(async move { tokio::io::copy(&mut from, &mut tokio::io::sink()).await });
        for answer in answers {
            assert_eq!(answer.await.unwrap(), found(&[Some("V"); 6]));
        }
        writing.await.unwrap();
    }

    #[tokio::test]
    async fn a_refusal_a_cut_and_the_end_of_the_generation_end_it() {
        let (lookups, mut redis, _over) = driver();
        let waiting = look_up(&lookups, &["a", "b"]);
        sent(&mut redis).await;
        answer(&mut redis, "*1\r\n$1\r\nA\r\n-READONLY you are late\r\n").await;
        assert_lost(&lookups, waiting, "READONLY").await;

        let (lookups, redis, _over) = driver();
        let waiting = look_up(&lookups, &["a"]);
        drop(redis);
        assert_lost(&lookups, waiting, "").await;

        let (lookups, _redis, over) = driver();
        let waiting = look_up(&lookups, &["a"]);
        over.cancel();
        assert_lost(&lookups, waiting, "over").await;

        let (lookups, mut redis, _over) = driver();
        answer(&mut redis, "$1\r\nA\r\n").await;
        lookups.lost().await;
        assert!(lookups.reason().contains("nobody asked"));
    }
}
