//! A row's state, as every layer below the commands sees it.

use std::time::Duration;

use bytes::Bytes;

/// Microseconds since the Unix epoch, on the shard's clock. PostgreSQL's own resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the Unix epoch; negative is before it.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From milliseconds since the Unix epoch, as EXAT and PXAT count; saturates.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// Microseconds since the Unix epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// This instant `millis` later (earlier if negative); saturates.
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis.saturating_mul(1000)))
    }

    /// This instant so much later; saturates.
    pub fn plus(self, time: Duration) -> Self {
        let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros))
    }

    /// How long from `earlier` to here; zero if that is in the other direction.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0).max(0) as u64)
    }
}

/// A value unique to each committed write of a row. Only equality is ever used; there is no order
/// among stamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp(u64);

impl Stamp {
    /// The stamp of a row that does not exist.
    pub const ABSENT: Stamp = Stamp(0);

    /// Draws the stamp of a new write. Never [`Stamp::ABSENT`].
    pub fn draw() -> Self {
        Self(fastrand::u64(1..))
    }

    /// From its 64 bits, as stored.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The 64 bits, as stored.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

/// One key's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The value, any bytes.
    pub value: Bytes,
    /// When the key came into being; survives overwrites, not a deletion or an expiry.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
    /// From when on it does not exist; `None` is never.
    pub expires_at: Option<Timestamp>,
    /// The stamp of the write that made this state.
    pub stamp: Stamp,
}

impl Row {
    /// Whether the row exists at `now`. A row is gone *at* the instant of its expiry.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|at| at > now)
    }
}
