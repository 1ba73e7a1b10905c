//! One connection: some requests, their replies, and again.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::Result;
use crate::arguments::{Operation, Run};
use crate::arrivals::Arrivals;
use crate::keys::Keys;
use crate::tally::{Answer, Tally, Times};
use crate::wire::{self, Replies, Reply};

/// When the next requests go out.
pub(crate) enum Pacing {
    /// When the last ones were answered; none after `end`.
    Closed { end: Option<Instant> },
    /// When they are due. Whichever connection is free takes them.
    Open(Rc<Arrivals>),
}

impl Pacing {
    /// When the next requests are due, or were; none if there are no more.
    async fn next(&self) -> Option<Instant> {
        match self {
            Pacing::Closed { end } => {
                let now = Instant::now();
                end.is_none_or(|end| now < end).then_some(now)
            }
            Pacing::Open(arrivals) => arrivals.next().await,
        }
    }
}

pub(crate) async fn drive(
    mut stream: TcpStream,
    run: &Run,
    pacing: Pacing,
    end: Option<Instant>,
    keys: &RefCell<Keys>,
    tally: &RefCell<Tally>,
) -> Result<()> {
    let value = wire::value(run.value_bytes);
    let mut commands = Vec::new();
    let mut replies = Replies::new();
    while let Some(due) = pacing.next().await {
        // More is due than a server can do: what could not even be sent is no part of the measurement.
        if run.may_be_refused && end.is_some_and(|end| Instant::now() >= end) {
            break;
        }
        commands.clear();
        let mut awaited = 0;
        while awaited < run.depth
            && let Some(key) = keys.borrow_mut().next()
        {
            wire::put_command(&mut commands, run.operation, key, &value);
            awaited += 1;
        }
        if awaited == 0 {
            break;
        }
        let sent = Instant::now();
        // Where more is due than can be sent, nothing is said by how long it was due.
        let due = if run.may_be_refused { sent } else { due };
        stream.write_all(&commands).await?;
        while awaited > 0 {
            replies.receive(&mut stream).await?;
            let now = Instant::now();
            while let Some(reply) = replies.next()? {
                let answer = match (run.operation, reply) {
                    (Operation::Get, Reply::Found) => Answer::Found,
                    (Operation::Get, Reply::Absent) => Answer::Absent,
                    (Operation::Set, Reply::Simple) => Answer::Done,
                    (_, Reply::Busy) if run.may_be_refused => Answer::Refused,
                    _ => return Err("a reply that does not fit the command".into()),
                };
                tally.borrow_mut().count(Times { due, sent, now }, answer);
                awaited -= 1;
            }
        }
    }
    Ok(())
}
