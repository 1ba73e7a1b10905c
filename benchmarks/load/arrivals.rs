//! When requests are due, in a paced run.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::Semaphore;

use crate::Result;

/// What is due and not taken yet. Without a limit, on purpose: what a slow server can't take waits here, and its
/// waiting counts.
pub(crate) struct Arrivals {
    due: RefCell<VecDeque<Instant>>,
    /// A permit for each of `due`, and after the last one a permit for each connection, which ends it.
    ready: Semaphore,
}

impl Arrivals {
    /// From `start` to `end`, `rate` a second in the mean, at exponentially distributed distances.
    pub(crate) fn begin(
        rate: f64,
        start: Instant,
        end: Instant,
        connections: usize,
    ) -> Result<Rc<Self>> {
        let arrivals = Rc::new(Self {
            due: RefCell::new(VecDeque::new()),
            ready: Semaphore::new(0),
        });
        let mut alarm = Alarm::new()?;
        let theirs = Rc::clone(&arrivals);
        tokio::task::spawn_local(async move {
            if let Err(error) = theirs.arrive(rate, start, end, &mut alarm).await {
                eprintln!("load: the timer failed: {error}");
                std::process::exit(1);
            }
            theirs.ready.add_permits(connections);
        });
        Ok(arrivals)
    }

    async fn arrive(
        &self,
        rate: f64,
        start: Instant,
        end: Instant,
        alarm: &mut Alarm,
    ) -> Result<()> {
        let mut random = fastrand::Rng::new();
        let mut next = start;
        while next < end {
            let now = Instant::now();
            if now < next {
                alarm.wait(next - now).await?;
                continue;
            }
            let mut arrived = 0;
            while next <= now && next < end {
                self.due.borrow_mut().push_back(next);
                arrived += 1;
                // 1 - f64() is never 0, so its logarithm is finite.
                next += Duration::from_secs_f64(-(1.0 - random.f64()).ln() / rate);
            }
            self.ready.add_permits(arrived);
            // Even if this is always late, the connections have to get their turn.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// When a request is due, or was; none after the last.
    pub(crate) async fn next(&self) -> Option<Instant> {
        self.ready.acquire().await.ok()?.forget();
        self.due.borrow_mut().pop_front()
    }
}

/// A timer with the kernel's resolution: Tokio's is of a millisecond, many times what a hit takes.
struct Alarm {
    timer: TimerFd,
    /// The same timer, as what can be waited for. It is no pipe, but is read like one.
    expirations: Receiver,
}

impl Alarm {
    fn new() -> Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        let same = File::from(timer.as_fd().try_clone_to_owned()?);
        Ok(Self {
            timer,
            expirations: Receiver::from_file_unchecked(same)?,
        })
    }

    async fn wait(&mut self, time: Duration) -> Result<()> {
        // Zero would switch the timer off.
        let time = time.max(Duration::from_nanos(1));
        self.timer.set(
            Expiration::OneShot(TimeSpec::from_duration(time)),
            TimerSetTimeFlags::empty(),
        )?;
        self.expirations.read_u64().await?;
        Ok(())
    }
}
