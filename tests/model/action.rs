//! What can happen.

use crate::shard::{Epoch, Run};
use crate::state::Place;

/// One arrow of a read or a write, by its slot, or a step of what is around them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The lease is checked and a GET sent, by this reader, to this process.
    SendGet(usize, Place),
    /// The GET is done, and the read answered if it was a hit.
    Get(usize),
    /// The LEASE is done, and the read answered if a value had come in between.
    Lease(usize),
    /// Another read joins the flight.
    Join(usize),
    AskShard(usize),
    /// The lease is checked and the FILL or SEEN sent.
    SendSettle(usize),
    /// The FILL or SEEN is done, and the read answered.
    Settle(usize),
    /// The view is off: the lease is checked, and the shard is asked at once.
    Bypass(usize, Epoch),
    /// The view is off: the lease is checked, and the read answered.
    Trust(usize),
    AbandonRead(usize),

    Put(usize),
    Delete(usize),
    /// A write that changes nothing, and tells what the row is: SET NX, say.
    Decline(usize),
    /// The lease is checked and a FIN sent, by this writer, to this process.
    SendFin(usize, Place),
    /// The FIN is done, and the write acknowledged.
    Fin(usize),
    /// The view is off: the lease is checked, and the write acknowledged.
    SkipFin(usize),
    /// Only in a flawed protocol: an acknowledgement without a FIN.
    Acknowledge(usize),
    /// Redis does not confirm the FIN: it is done again.
    RepeatFin(usize),
    AbandonWrite(usize),

    Forget(Run, Epoch),
    Snapshot,
    StartSecond,
    Kill(Run),
    /// Some proxy changes the view to this process, or off. Which one does not matter: it waits
    /// as the others do.
    ChangeView(Option<Run>),
    /// Some proxy has waited, and holds a lease on the view of now.
    Renew,
}

impl Action {
    /// Whether it is a step of a write.
    pub fn is_of_writer(self) -> bool {
        matches!(
            self,
            Action::Put(_)
                | Action::Delete(_)
                | Action::Decline(_)
                | Action::SendFin(..)
                | Action::Fin(_)
                | Action::SkipFin(_)
                | Action::Acknowledge(_)
                | Action::RepeatFin(_)
                | Action::AbandonWrite(_)
        )
    }
}
