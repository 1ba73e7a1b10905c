//! The proxies of a shard: which of them live, and the view that they agree on.
//!
//! A proxy keeps one session to each shard besides its pool. The session holds an advisory lock,
//! which shows the others that the proxy lives: it ends with the session, however that ends. The
//! proxy's row among the members says goodbye: [`Membership::leave`] deletes it, so a row whose lock
//! is free is that of a proxy that died, and may have left a write unfinished, or committed one that
//! no cache was told of. Whoever sees it [retires](Membership::retire) that member.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use super::{postgres, sqlite};
use crate::command::Timestamp;
use crate::view::{Epoch, Instance, View};

/// Which proxy: drawn at each start of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MemberId(u32);

impl MemberId {
    /// Draws one. From the operating system's randomness: hosts that boot together must differ.
    pub fn draw() -> Self {
        // Half of the numbers, so that it is a lock's number too, and none is negative in SQL.
        let drawn = RandomState::new().build_hasher().finish() as u32 >> 1;
        Self(drawn.max(1))
    }

    /// Reads what [`Display`](fmt::Display) wrote.
    pub(super) fn parse(text: &str) -> Option<Self> {
        u32::from_str_radix(text, 16).ok().map(Self)
    }

    /// The number of its advisory lock.
    pub(super) fn lock_number(self) -> i32 {
        i32::try_from(self.0).unwrap_or(i32::MAX)
    }
}

/// Eight hexadecimal digits.
impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// What a look at the shard shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The view; `None` if there has never been one.
    pub view: Option<View>,
    /// How long the view has stood, by the shard's clock.
    pub age: Duration,
    /// The shard's now.
    pub now: Timestamp,
    /// Whether this proxy's row is still there. It is not after another one retired it, having
    /// found its session gone for a moment.
    pub is_registered: bool,
}

/// Another proxy of the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Which one.
    pub id: MemberId,
    /// The instance of the cache that it reported to reach.
    pub cache: Option<Instance>,
    /// How long ago it reported that for the first time in a row, by the shard's clock.
    pub reported_for: Duration,
    /// Whether its session is there.
    pub is_alive: bool,
    /// Whether it has looked at the view within the last 2 s. One that stands still has reported
    /// what it reached before.
    pub is_active: bool,
}

/// This proxy's place among the members of one shard. Dropping it ends the session without a
/// goodbye, which is what the others take a crash for.
///
/// Each method is one statement, so that they may be called at once and dropped at any time; it
/// fails with a reason for the log when the shard does not answer in time or the connection is
/// lost. After a failure the membership is of no more use: drop it, and
/// [join](super::Shard::join) again.
#[derive(Debug)]
pub struct Membership(pub(super) Session);

#[derive(Debug)]
pub(super) enum Session {
    Postgres(Box<postgres::Membership>),
    Sqlite(sqlite::Membership),
}

/// Both sessions have the same methods; this picks the one at hand.
macro_rules! on_session {
    ($membership:expr, $session:ident => $call:expr) => {
        match &$membership.0 {
            Session::Postgres($session) => $call,
            Session::Sqlite($session) => $call,
        }
    };
}

impl Membership {
    /// Reads the view, in one round trip.
    ///
    /// # Errors
    ///
    /// The session is lost.
    pub async fn look(&self) -> Result<Seen, String> {
        on_session!(self, session => session.look().await)
    }

    /// The other members, living and dead.
    ///
    /// # Errors
    ///
    /// The session is lost.
    pub async fn others(&self) -> Result<Vec<Member>, String> {
        on_session!(self, session => session.others().await)
    }

    /// Makes the first view, if there is none. Returns it if this call made it. When it returns,
    /// the view is durable.
    ///
    /// # Errors
    ///
    /// The session is lost; the view may have been made.
    pub async fn found(&self, cache: Option<Instance>) -> Result<Option<View>, String> {
        on_session!(self, session => session.found(cache).await)
    }

    /// Changes the view to the next epoch, if it is still that of `from`. Returns the view that
    /// this call made; `None` if another was faster. When it returns, the change is durable.
    ///
    /// # Errors
    ///
    /// The session is lost; the view may have been changed.
    pub async fn change(
        &self,
        from: Epoch,
        cache: Option<Instance>,
    ) -> Result<Option<View>, String> {
        on_session!(self, session => session.change(from, cache).await)
    }

    /// Says which instance of the cache this proxy reaches now. Makes its row again if it is gone.
    ///
    /// # Errors
    ///
    /// The session is lost.
    pub async fn report(&self, cache: Option<Instance>) -> Result<(), String> {
        on_session!(self, session => session.report(cache).await)
    }

    /// Clears up after a member whose session is gone: ends what other sessions it still has, so
    /// that nothing of it commits late; then, in one transaction, deletes its row and changes the
    /// view to the next epoch with the same cache, so that what it committed without telling the
    /// cache is not hidden for long. A view that is off hides nothing, and is left as it is.
    ///
    /// Returns the view that this call changed to. `None` if it changed none: the view is off or
    /// there is none, another proxy was faster, or the member lives after all. Also if its sessions
    /// are still there after half a second, or this role may not end them: then the row stays, a
    /// warning with the member is logged once, and this is to be called again later.
    ///
    /// # Errors
    ///
    /// The session is lost; the view may have been changed.
    pub async fn retire(&self, member: MemberId) -> Result<Option<View>, String> {
        on_session!(self, session => session.retire(member).await)
    }

    /// Says goodbye: everything this proxy committed, it has told the cache.
    ///
    /// # Errors
    ///
    /// The session is lost. The others will take this proxy for one that crashed.
    pub async fn leave(self) -> Result<(), String> {
        match self.0 {
            Session::Postgres(session) => session.leave().await,
            Session::Sqlite(session) => session.leave().await,
        }
    }

    /// Returns when someone has written past the proxies since the last call returned. Never for
    /// SQLite, whose file is locked for this process.
    pub async fn noted(&self) {
        on_session!(self, session => session.noted().await);
    }
}

/// A view as its columns hold it.
pub(super) fn view_of(epoch: i64, cache: Option<&str>) -> Result<View, String> {
    Ok(View {
        epoch: u64::try_from(epoch)
            .map(Epoch::new)
            .map_err(|_| format!("the view has the epoch {epoch}"))?,
        cache: instance_of(cache)?,
    })
}

/// An instance as its column holds it.
pub(super) fn instance_of(text: Option<&str>) -> Result<Option<Instance>, String> {
    match text {
        None => Ok(None),
        Some(text) => Instance::parse(text)
            .map(Some)
            .ok_or_else(|| format!("'{text}' is no instance of a cache")),
    }
}

/// The number of an epoch as its column holds it.
pub(super) fn epoch_number(epoch: Epoch) -> i64 {
    // Beyond this there has never been a view: it compares unequal to all.
    i64::try_from(epoch.number()).unwrap_or(-1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_written_as_it_is_read_and_has_a_lock_of_its_own() {
        for _ in 0..1000 {
            let member = MemberId::draw();
            let text = member.to_string();
            assert_eq!(text.len(), 8);
            assert_eq!(MemberId::parse(&text), Some(member));
            assert!(member.lock_number() > 0);
            assert_eq!(format!("{:08x}", member.lock_number()), text);
        }
        assert_eq!(MemberId::parse("ghost"), None);
    }

    #[test]
    fn columns_that_nobody_wrote_are_an_error() {
        let off = View {
            epoch: Epoch::new(7),
            cache: None,
        };
        assert_eq!(view_of(7, None), Ok(off));
        assert!(view_of(-1, None).is_err());
        assert!(view_of(7, Some("redis")).is_err());
        let drawn = Instance::draw();
        assert_eq!(instance_of(Some(&drawn.to_string())), Ok(Some(drawn)));
    }
}
