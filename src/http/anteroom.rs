//! Where connections are heard when all places are taken: the probes of orchestrators are answered, and nothing else.
//!
//! Whoever takes all places would otherwise have the proxy taken for dead, and killed. The room is small, and who comes
//! in when it is full sends the one away that has been there for longest. So nobody can close it: it would take as many
//! new connections in the moment between a probe's connection and its request.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

/// Who is in it, the one that came first before the others.
#[derive(Debug)]
pub(super) struct Anteroom {
    size: usize,
    guests: Mutex<Guests>,
}

#[derive(Debug, Default)]
struct Guests {
    last_id: u64,
    there: VecDeque<(u64, CancellationToken)>,
}

/// One who is in it, until this is dropped.
#[derive(Debug)]
pub(super) struct Guest {
    room: Arc<Anteroom>,
    id: u64,
    sent_away: CancellationToken,
}

impl Anteroom {
    /// A room for so many.
    pub(super) fn new(size: usize) -> Self {
        Self {
            size,
            guests: Mutex::default(),
        }
    }

    /// Lets somebody in, whoever has to go for that.
    pub(super) fn enter(self: &Arc<Self>) -> Guest {
        let sent_away = CancellationToken::new();
        let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        guests.last_id += 1;
        let id = guests.last_id;
        guests.there.push_back((id, sent_away.clone()));
        if guests.there.len() > self.size
            && let Some((_, first)) = guests.there.pop_front()
        {
            first.cancel();
        }
        Guest {
            room: Arc::clone(self),
            id,
            sent_away,
        }
    }
}

impl Guest {
    /// Waits until others need the room.
    pub(super) async fn is_sent_away(&self) {
        self.sent_away.cancelled().await;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut guests = self
            .room
            .guests
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        guests.there.retain(|(id, _)| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_first_goes_when_there_is_no_room() {
        let room = Arc::new(Anteroom::new(2));
        let (first, second) = (room.enter(), room.enter());
        assert!(!first.sent_away.is_cancelled());
        let third = room.enter();
        assert!(first.sent_away.is_cancelled());
        drop(second);
        let fourth = room.enter();
        assert!(!third.sent_away.is_cancelled(), "one has left");
        drop(first);
        room.enter();
        assert!(third.sent_away.is_cancelled() && !fourth.sent_away.is_cancelled());
    }
}
