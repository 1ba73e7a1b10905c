//! Everything that the protocol's next step can depend on.

use crate::entry::{Entry, FORGOTTEN, Stamp, Token};
use crate::shard::{EPOCHS, Epoch, Run, Shard, Version};

/// How many Redis processes there can be, one after another or two at once.
pub const RUNS: usize = 2;
/// How many readers fit, and writers.
pub const SLOTS: usize = 3;

/// Where a flight's entry is: a process, reached by a connection that leads nowhere else, and an
/// epoch, which is part of the entry's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub run: Run,
    pub epoch: Epoch,
}

/// Where a read is. `floor` is the oldest version that it may return: the newest one that was
/// acknowledged, or returned by a read, before it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reader {
    Idle,
    /// The lease on the view was checked, the GET is under way.
    Get {
        floor: Version,
        at: Place,
    },
    /// Nothing to answer with was there; the LEASE is under way.
    Missed {
        floor: Version,
        at: Place,
    },
    /// The shard is being asked.
    Leased {
        floor: Version,
        at: Place,
        granted: bool,
    },
    /// The shard has answered.
    Looked {
        floor: Version,
        at: Place,
        granted: bool,
        stamp: Stamp,
    },
    /// The lease on the view was checked again, the FILL or SEEN is under way.
    Settling {
        floor: Version,
        at: Place,
        granted: bool,
        stamp: Stamp,
    },
    /// The view is off; the shard is being asked.
    Past {
        floor: Version,
        epoch: Epoch,
    },
    /// The view is off, and the shard has answered.
    LookedPast {
        floor: Version,
        epoch: Epoch,
        stamp: Stamp,
    },
}

impl Reader {
    /// The epoch in whose entries the read has something to do yet.
    fn epoch(self) -> Option<Epoch> {
        match self {
            Reader::Get { at, .. }
            | Reader::Missed { at, .. }
            | Reader::Leased { at, .. }
            | Reader::Looked { at, .. }
            | Reader::Settling { at, .. } => Some(at.epoch),
            Reader::Idle | Reader::Past { .. } | Reader::LookedPast { .. } => None,
        }
    }
}

/// Where a write is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Writer {
    Idle,
    Committed {
        version: Version,
    },
    /// The lease on the view was checked, the FIN is under way.
    Finishing {
        version: Version,
        at: Place,
    },
    /// Acknowledged, the FIN still to come: only in a flawed protocol.
    Acknowledged,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    pub shard: Shard,
    /// The key's entry in each process and epoch. Of a process that was not started yet: what is
    /// in the snapshot that it will start from.
    pub entries: [[Entry; EPOCHS]; RUNS],
    pub is_up: [bool; RUNS],
    pub was_started: [bool; RUNS],
    /// The epochs on which some proxy holds a lease, a bit each; at most one, if all is well.
    /// Which proxy it is does not matter: each operation may be on a proxy of its own.
    leases: u8,
    pub readers: [Reader; SLOTS],
    pub writers: [Writer; SLOTS],
    /// The newest version that was acknowledged or returned by a read.
    pub floor: Version,
    /// A read returned what it must not.
    pub is_stale: bool,
}

impl State {
    /// The first Redis in use, and nothing in it; perhaps a second one up beside it.
    pub fn new(two_are_up: bool) -> Self {
        Self {
            shard: Shard::new(),
            entries: [[Entry::Absent; EPOCHS]; RUNS],
            is_up: [true, two_are_up],
            was_started: [true, two_are_up],
            leases: 1,
            readers: [Reader::Idle; SLOTS],
            writers: [Writer::Idle; SLOTS],
            floor: 0,
            is_stale: false,
        }
    }

    /// Whether some proxy may use this view.
    pub fn is_leased(&self, epoch: Epoch) -> bool {
        self.leases >> epoch & 1 == 1
    }

    /// The epochs that some proxy may use.
    pub fn leased(&self) -> impl Iterator<Item = Epoch> + use<> {
        let state = *self;
        (0..=self.shard.epoch).filter(move |&epoch| state.is_leased(epoch))
    }

    /// Some proxy begins to use the view of now; `waits` until all other leases have ended.
    pub fn renew(&mut self, waits: bool) {
        let now = 1 << self.shard.epoch;
        self.leases = if waits { now } else { self.leases | now };
    }

    pub fn entry(&mut self, at: Place) -> &mut Entry {
        &mut self.entries[usize::from(at.run)][usize::from(at.epoch)]
    }

    /// Forgets what nobody will look at again: fewer states, the same behaviours.
    /// A past view is out of use when no proxy has a lease on it and no message is under way.
    pub fn tidy(&mut self) {
        for epoch in 0..self.shard.epoch {
            let in_use = self.is_leased(epoch)
                || self
                    .readers
                    .iter()
                    .any(|reader| reader.epoch() == Some(epoch));
            if !in_use {
                for entries in &mut self.entries {
                    entries[usize::from(epoch)] = Entry::Absent;
                }
                self.shard.views[usize::from(epoch)] = None;
            }
        }
    }

    /// Forgets in addition what only a flawed protocol would use: entries in a process that is
    /// not the view's, and reads that need the lease on a past view to go on. All these can do is
    /// to be abandoned.
    pub fn tidy_if_flawless(&mut self) {
        for run in 0..RUNS {
            for epoch in 0..=usize::from(self.shard.epoch) {
                if self.shard.views[epoch] != Some(run as Run) {
                    self.entries[run][epoch] = Entry::Absent;
                }
            }
        }
        for slot in 0..SLOTS {
            let needs = match self.readers[slot] {
                Reader::Leased { at, .. } | Reader::Looked { at, .. } => Some(at.epoch),
                Reader::Past { epoch, .. } | Reader::LookedPast { epoch, .. } => Some(epoch),
                _ => None,
            };
            if needs.is_some_and(|epoch| !self.is_leased(epoch)) {
                self.readers[slot] = Reader::Idle;
            }
        }
    }

    /// Puts the readers in order, which are alike, and the writers.
    pub fn sort_operations(&mut self, readers: usize, writers: usize) {
        let mut order = [0, 1, 2];
        order[..readers].sort_unstable_by_key(|&slot| self.readers[slot]);
        self.readers = order.map(|slot| self.readers[slot]);
        self.rename_tokens(order);
        self.writers[..writers].sort_unstable();
    }

    /// A reader has moved from slot `order[n]` to slot `n`, and its token goes along.
    fn rename_tokens(&mut self, order: [usize; SLOTS]) {
        let mut names: [Token; SLOTS] = [0; SLOTS];
        for (after, &before) in order.iter().enumerate() {
            names[before] = after as Token;
        }
        for entry in self.entries.iter_mut().flatten() {
            if let Entry::Lease { token, .. } = entry
                && *token != FORGOTTEN
            {
                *token = names[usize::from(*token)];
            }
        }
    }
}
