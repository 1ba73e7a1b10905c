//! How long what was not disturbed did not work, and how long what had been disturbed took to work again.

use std::sync::Mutex;

use super::{PROXIES, SHARDS};
use crate::checker::Nanos;

/// Whose work a fault may stop.
#[derive(Clone, Debug, Default)]
pub struct Touched {
    /// A proxy and a shard: what clients of that proxy do on that shard's keys.
    pub lanes: Vec<(usize, usize)>,
    /// The proxies whose cache it takes away.
    pub caches: Vec<usize>,
}

/// A time without success, and where and when it ended.
#[derive(Clone, Debug, Default)]
pub struct Gap {
    pub length: Nanos,
    pub end: Nanos,
    pub place: String,
}

impl Gap {
    fn extend(&mut self, from: Nanos, end: Nanos, place: String) {
        let length = end.saturating_sub(from);
        if length > self.length {
            *self = Gap { length, end, place };
        }
    }
}

/// Success on something that faults may touch.
#[derive(Clone, Copy, Default)]
struct Watch {
    faults: u32,
    /// When the last fault ended.
    whole_since: Nanos,
    last_success: Nanos,
}

impl Watch {
    /// Since when it should have succeeded.
    fn due_since(&self) -> Nanos {
        self.whole_since.max(self.last_success)
    }

    fn is_recovering(&self) -> bool {
        self.last_success <= self.whole_since
    }
}

/// The longest gaps of a run.
#[derive(Clone, Debug, Default)]
pub struct Gaps {
    /// Between two successes on a shard's keys while no fault touched the way there.
    pub undisturbed: Gap,
    /// From the end of the last fault on the way to a shard to the first success.
    pub recovery: Gap,
    /// From the end of the last fault on the way to Redis to the first hit.
    pub cache_unused: Gap,
}

/// Follows faults and successes.
#[derive(Default)]
pub struct Availability {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lanes: [[Watch; SHARDS]; PROXIES],
    caches: [Watch; PROXIES],
    gaps: Gaps,
}

impl State {
    fn close_lane(&mut self, proxy: usize, shard: usize, now: Nanos) {
        let lane = self.lanes[proxy][shard];
        if lane.faults > 0 {
            return;
        }
        let place = format!("shard {shard} through proxy {proxy}");
        let gap = if lane.is_recovering() {
            &mut self.gaps.recovery
        } else {
            &mut self.gaps.undisturbed
        };
        gap.extend(lane.due_since(), now, place);
    }

    fn close_cache(&mut self, proxy: usize, now: Nanos) {
        let cache = self.caches[proxy];
        if cache.faults == 0 && cache.is_recovering() {
            self.gaps
                .cache_unused
                .extend(cache.whole_since, now, format!("proxy {proxy}"));
        }
    }
}

impl Availability {
    /// A call was answered as it should be.
    pub fn succeeded(&self, proxy: usize, shard: usize, now: Nanos) {
        let mut state = self
            .state
            .lock()
            .expect("no thread panics while it holds this");
        state.close_lane(proxy, shard, now);
        state.lanes[proxy][shard].last_success = now;
    }

    /// A read was answered from the cache.
    pub fn hit(&self, proxy: usize, now: Nanos) {
        let mut state = self
            .state
            .lock()
            .expect("no thread panics while it holds this");
        state.close_cache(proxy, now);
        state.caches[proxy].last_success = now;
    }

    /// A fault begins.
    pub fn begins(&self, touched: &Touched, now: Nanos) {
        let mut state = self
            .state
            .lock()
            .expect("no thread panics while it holds this");
        for (proxy, shard) in &touched.lanes {
            state.close_lane(*proxy, *shard, now);
            state.lanes[*proxy][*shard].faults += 1;
        }
        for proxy in &touched.caches {
            state.close_cache(*proxy, now);
            state.caches[*proxy].faults += 1;
        }
    }

    /// A fault has ended.
    pub fn ended(&self, touched: &Touched, now: Nanos) {
        let mut state = self
            .state
            .lock()
            .expect("no thread panics while it holds this");
        for (proxy, shard) in &touched.lanes {
            let lane = &mut state.lanes[*proxy][*shard];
            lane.faults -= 1;
            lane.whole_since = now;
        }
        for proxy in &touched.caches {
            let cache = &mut state.caches[*proxy];
            cache.faults -= 1;
            cache.whole_since = now;
        }
    }

    /// The gaps so far, those that have not ended included.
    pub fn gaps(&self, now: Nanos) -> Gaps {
        let mut state = self
            .state
            .lock()
            .expect("no thread panics while it holds this");
        for proxy in 0..PROXIES {
            for shard in 0..SHARDS {
                state.close_lane(proxy, shard, now);
            }
            state.close_cache(proxy, now);
        }
        state.gaps.clone()
    }
}

#[test]
fn only_undisturbed_time_counts() {
    let availability = Availability::default();
    let touched = Touched {
        lanes: vec![(0, 0)],
        caches: vec![0],
    };
    for shard in 0..SHARDS {
        for proxy in 0..PROXIES {
            availability.succeeded(proxy, shard, 1);
            availability.hit(proxy, 1);
        }
    }
    availability.succeeded(0, 0, 11);
    availability.begins(&touched, 16);
    availability.ended(&touched, 1000);
    availability.succeeded(0, 0, 1030);
    availability.hit(0, 1040);
    availability.succeeded(0, 0, 1050);
    let gaps = availability.gaps(1050);
    assert_eq!((gaps.recovery.length, gaps.cache_unused.length), (30, 40));
    // The other lanes had nothing since 1.
    assert_eq!(gaps.undisturbed.length, 1049);
}
