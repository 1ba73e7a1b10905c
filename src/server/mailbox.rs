//! What others send to a client outside of its own requests and replies: messages of channels, lines
//! of MONITOR, and the end of its connection.
//!
//! A client that does not read is not waited for: its connection ends at a bound, as in Redis
//! (`client-output-buffer-limit pubsub 32mb 8mb 60`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::adjustable::Size;

/// This part of the bytes that may wait for a client may do so for longer than [`LONG`].
pub(super) const LONG_PART: usize = 4;
pub(super) const LONG: Duration = Duration::from_secs(60);

/// Takes no memory of its own before something is posted.
#[derive(Debug)]
pub(super) struct Mailbox {
    /// Bytes that may wait for the client.
    waiting_max: Size,
    /// Whether there is something to look at: the connection looks at this at each turn.
    has_news: AtomicBool,
    content: Mutex<Content>,
}

#[derive(Debug, Default)]
struct Content {
    /// Whole frames.
    waiting: BytesMut,
    /// Since when more waits than may for long.
    long_since: Option<Instant>,
    has_ended: bool,
    waker: Option<Waker>,
}

/// Somebody has ended the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended;

impl From<Ended> for std::io::Error {
    fn from(_: Ended) -> Self {
        std::io::Error::new(
            std::io::ErrorKind::ConnectionAborted,
            "ended by CLIENT KILL, a timeout, or because what was sent was not read",
        )
    }
}

impl Mailbox {
    /// An empty one, for so many bytes.
    pub(super) fn new(waiting_max: Size) -> Self {
        Self {
            waiting_max,
            has_news: AtomicBool::new(false),
            content: Mutex::default(),
        }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends whole frames. A client for which too much waits is cut off.
    pub(super) fn post(&self, frames: &[u8]) {
        let mut content = self.content();
        if content.has_ended {
            return;
        }
        content.waiting.extend_from_slice(frames);
        let now = Instant::now();
        let waiting = content.waiting.len();
        let long_max = self.waiting_max.get() / LONG_PART;
        if waiting <= long_max {
            content.long_since = None;
        }
        let long_since = match waiting > long_max {
            true => *content.long_since.get_or_insert(now),
            false => now,
        };
        if waiting > self.waiting_max.get() || now.duration_since(long_since) > LONG {
            content.end();
        }
        self.announce(content);
    }

    /// Ends the connection; what waits is not sent.
    pub(super) fn end(&self) {
        let mut content = self.content();
        content.end();
        self.announce(content);
    }

    fn announce(&self, mut content: MutexGuard<'_, Content>) {
        self.has_news.store(true, Ordering::Release);
        let waker = content.waker.take();
        drop(content);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Has the connection's task woken at the next news. To be called before looking.
    pub(super) fn register(&self, waker: &Waker) {
        let mut content = self.content();
        match &mut content.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// Whether there may be something to [take](Mailbox::take).
    pub(super) fn has_news(&self) -> bool {
        self.has_news.load(Ordering::Acquire)
    }

    /// Appends what waits to `out`.
    pub(super) fn take(&self, out: &mut BytesMut) -> Result<(), Ended> {
        let mut content = self.content();
        if content.has_ended {
            return Err(Ended);
        }
        self.has_news.store(false, Ordering::Relaxed);
        content.long_since = None;
        let waiting = std::mem::take(&mut content.waiting);
        drop(content);
        if out.is_empty() {
            *out = waiting;
        } else {
            out.unsplit(waiting);
        }
        Ok(())
    }

    /// Whether the connection is to end now.
    pub(super) fn has_ended(&self) -> bool {
        self.has_news() && self.content().has_ended
    }
}

impl Content {
    fn end(&mut self) {
        self.has_ended = true;
        self.waiting = BytesMut::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_posted_is_taken_once() {
        let mailbox = Mailbox::new(Size::new(1024));
        assert!(!mailbox.has_news());
        mailbox.post(b"one");
        mailbox.post(b"two");
        assert!(mailbox.has_news());
        let mut out = BytesMut::from(&b"zero"[..]);
        assert_eq!(mailbox.take(&mut out), Ok(()));
        assert_eq!(out, &b"zeroonetwo"[..]);
        assert!(!mailbox.has_news());
    }

    #[test]
    fn who_does_not_read_is_cut_off() {
        let mailbox = Mailbox::new(Size::new(4096));
        let kibibyte = vec![0; 1024];
        for _ in 0..4 {
            mailbox.post(&kibibyte);
        }
        assert!(!mailbox.has_ended());
        mailbox.post(b"x");
        assert!(mailbox.has_ended());
        assert_eq!(mailbox.take(&mut BytesMut::new()), Err(Ended));
        mailbox.post(&kibibyte);
        assert!(mailbox.content().waiting.is_empty(), "nothing is kept");
    }
}
