//! The shard: the truth about one key, and the row that says which cache is in use.

use crate::entry::{ABSENT_ROW, Stamp};

/// The how-manieth commit of the row; 0 is what was there before. The protocol does not see it.
pub type Version = u8;
/// Numbers the views of the cache.
pub type Epoch = u8;
/// Which Redis process, as its run id tells.
pub type Run = u8;

/// How many epochs fit.
pub const EPOCHS: usize = 3;

/// The key's row with its past, and the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shard {
    /// The last commit.
    pub version: Version,
    /// Which versions are the row's absence, a bit each. Absences share one stamp.
    absences: u8,
    /// The epoch of the view.
    pub epoch: Epoch,
    /// The Redis of each epoch until now; `None` is off.
    pub views: [Option<Run>; EPOCHS],
}

impl Shard {
    /// No row yet, and the first view made.
    pub fn new() -> Self {
        Self {
            version: 0,
            absences: 1,
            epoch: 0,
            views: [Some(0), None, None],
        }
    }

    pub fn put(&mut self) {
        self.version += 1;
    }

    pub fn delete(&mut self) {
        self.version += 1;
        self.absences |= 1 << self.version;
    }

    pub fn stamp(&self) -> Stamp {
        self.stamp_of(self.version)
    }

    fn stamp_of(&self, version: Version) -> Stamp {
        if self.absences >> version & 1 == 1 {
            ABSENT_ROW
        } else {
            version
        }
    }

    /// The oldest version from `floor` on that a read which returns `stamp` can have been of.
    pub fn oldest_from(&self, floor: Version, stamp: Stamp) -> Option<Version> {
        (floor..=self.version).find(|&version| self.stamp_of(version) == stamp)
    }

    /// Compare-and-set of the view by one who knows `epoch`.
    pub fn change_view(&mut self, run: Option<Run>) {
        self.epoch += 1;
        self.views[usize::from(self.epoch)] = run;
    }
}
