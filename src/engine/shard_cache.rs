//! The cache as the entries of one shard may be used: in the view of that shard, on connections to
//! the instance that it names, while the lease on it is valid.
//!
//! When the lease has to be valid (`ARCHITECTURE.md`, 'The view'): when a read begins that sends a
//! GET; when a LEASE is sent; when FILL, SEEN or FIN is sent, which is after the shard has answered,
//! and those must then be confirmed; with the view off, when the shard has answered. What fails is
//! done again in the view of then, before anybody is answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::lease::ViewLease;
use crate::cache::{Cache, EntryKey, Session};
use crate::error::Error;
use crate::shard::Shard;
use crate::view::{Epoch, View};

/// How soon it is tried again after a cache that is in the view did not do a step: either it is
/// reached again in a moment, or the view is changed.
const AGAIN_AFTER: Duration = Duration::from_millis(5);

/// How long a request waits to learn where the entries are. A change of view takes some 1.5 s.
const PLACE_WAIT_MAX: Duration = Duration::from_secs(5);

/// How soon a request that waits learns that its shard went down.
const STATE_EVERY: Duration = Duration::from_millis(50);

/// The cache for one shard.
#[derive(Debug)]
pub(super) struct ShardCache {
    pub(super) shard: Arc<Shard>,
    pub(super) cache: Arc<Cache>,
    pub(super) lease: Arc<ViewLease>,
}

/// Where the entries of the shard are at this moment.
pub(super) enum Place {
    /// Nowhere: the view is off.
    Off(View),
    /// On these connections.
    On(View, Session),
}

impl Place {
    pub(super) fn session(&self) -> Option<&Session> {
        match self {
            Place::Off(_) => None,
            Place::On(_, session) => Some(session),
        }
    }

    fn view(&self) -> View {
        match self {
            Place::Off(view) | Place::On(view, _) => *view,
        }
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.view().epoch
    }
}

impl ShardCache {
    /// Where the entries are, if that is known and they can be used.
    pub(super) fn place_now(&self) -> Option<Place> {
        let view = self.lease.now()?;
        match view.cache {
            None => Some(Place::Off(view)),
            Some(instance) => self
                .cache
                .session(instance)
                .map(|session| Place::On(view, session)),
        }
    }

    /// Waits until [`place_now`](ShardCache::place_now) knows: while a view is changing, or while
    /// the cache in it is lost.
    pub(super) async fn place(&self) -> Place {
        loop {
            if let Some(place) = self.place_now() {
                return place;
            }
            self.lease.wait().await;
            if let Some(place) = self.place_now() {
                return place;
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    /// [`place`](ShardCache::place), for requests, which wait neither for ever nor for a shard that is
    /// down.
    pub(super) async fn place_in_time(&self) -> Result<Place, Error> {
        if let Some(place) = self.place_now() {
            return Ok(place);
        }
        let shard = self.shard.id();
        let since = Instant::now();
        loop {
            if let Err(reason) = self.shard.state() {
                return Err(Error::ShardDown { shard, reason });
            }
            if let Ok(place) = tokio::time::timeout(STATE_EVERY, self.place()).await {
                return Ok(place);
            }
            if since.elapsed() >= PLACE_WAIT_MAX {
                let ms = PLACE_WAIT_MAX.as_millis();
                let reason = format!("its view of the cache could not be learned within {ms} ms");
                return Err(Error::ShardDown { shard, reason });
            }
        }
    }

    /// Whether the lease is valid now, on the view of `place`.
    pub(super) fn is_still(&self, place: &Place) -> bool {
        self.lease.now() == Some(place.view())
    }

    pub(super) fn entry(&self, place: &Place, key: &Bytes) -> EntryKey {
        EntryKey {
            shard: self.shard.id(),
            epoch: place.epoch(),
            key: key.clone(),
        }
    }

    /// FIN for the keys of a commit that is done, in the view of now; returns when no entry that may
    /// be older is left for anybody. Cancelling it leaves that open.
    pub(super) async fn fin(&self, keys: &[Bytes]) {
        while !self.try_fin(keys).await {
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    async fn try_fin(&self, keys: &[Bytes]) -> bool {
        // Taken after the commit. If the lease is valid here, nobody has used the next view before
        // the commit: its entries can't be older.
        let place = self.place().await;
        let Some(session) = place.session() else {
            return true;
        };
        let entries: Vec<EntryKey> = keys.iter().map(|key| self.entry(&place, key)).collect();
        session.fin(&entries).await.is_ok()
    }

    /// FIN for every key, after a commit that removed them all.
    pub(super) async fn clear(&self) {
        loop {
            let place = self.place().await;
            let Some(session) = place.session() else {
                return;
            };
            // Many steps, over a longer time: the lease must have held for the last of them.
            if session.clear(self.shard.id(), place.epoch()).await.is_ok() && self.is_still(&place)
            {
                return;
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }
}
