//! The one mechanism for batching: a bounded queue whose waiting items leave together.
//!
//! An item that finds the lane idle goes at once, alone. While a batch is under way, what arrives
//! gathers, and leaves as the next batch. Where more than one may be under way, one that takes long is
//! not waited for: [`LONG`] is what the batching can cost.
//!
//! ```text
//!   submit ──► queue (bounded) ──► batch (bounded) ──► flight 1 ─┐
//!                                  batch           ──► flight …  ├─ at most `flights` at a time
//! ```
//!
//! With one flight at a time the items of the lane take effect in the order of their submission. What finds the
//! queue full waits for room, together with what else there is of the same client; when more comes than can be done,
//! there is less room ([`admission`](super::admission)).

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use smallvec::SmallVec;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, TryAcquireError, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::admission::{Admission, Gate};
use super::take_a_break;
use crate::adjustable::Time;
use crate::error::Error;
use crate::routing::ShardId;

/// Something that can be put into a batch.
pub(super) trait Item: Send + 'static {
    /// How much it adds to a batch: operations, and bytes.
    fn weight(&self) -> Weight;

    /// When the request that it is of was there.
    fn since(&self) -> Instant;
}

/// The size of an item, and of a batch.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weight {
    pub(super) operations: usize,
    pub(super) bytes: usize,
}

/// Bounds of a lane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Items that may wait; more wait for room.
    pub(super) queue_max: usize,
    /// Batches under way at a time.
    pub(super) flights_max: usize,
    /// Operations in a batch. A batch always takes its first item, however large.
    pub(super) batch_operations_max: usize,
    /// Bytes in a batch, likewise.
    pub(super) batch_bytes_max: usize,
}

/// A flight that is under way longer takes long. Two at a time would be two small batches in place of
/// a large one, at nearly twice the cost.
const LONG: Duration = Duration::from_millis(5);

/// Who waits for room looks this often how long.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(250);

/// How many items a client that waits for room puts into the queue when it is its turn. More would keep those waiting who
/// have one; each turn takes a wake-up, which costs as much as an item or two.
const TURN: usize = 16;

/// What a lane is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Purpose {
    /// The shard that it leads to.
    pub(super) shard: ShardId,
    /// `write` or `read`.
    pub(super) queue: &'static str,
}

impl Purpose {
    fn overloaded(&self, length: usize) -> Error {
        self.busy(&format!(
            "gets more than can be done: no room among the {length} that wait (see MAX_QUEUE_WAIT_MS)"
        ))
    }

    fn busy(&self, reason: &str) -> Error {
        Error::Busy {
            shard: self.shard,
            reason: format!("its {} queue {reason}", self.queue),
        }
    }
}

/// Tells whoever waits for an item that it was not taken, and why.
type Refuse<T> = Arc<dyn Fn(T, Error) + Send + Sync>;

/// A queue in front of some kind of flight.
pub(super) struct Lane<T> {
    /// Bounded by `room`.
    queue: mpsc::UnboundedSender<T>,
    /// A permit for each item that may still come. First come, first served.
    room: Arc<Semaphore>,
    purpose: Purpose,
    queue_max: usize,
    gate: Gate,
    refuse: Refuse<T>,
}

/// What one client has for lanes that have no room, by their shards and in the order in which it came. It takes one
/// waiter for all of a lane: to wake a client for each item costs more than the item. There are at most as many as a
/// connection handles together, or a command has keys.
pub(super) struct Overflow<T>(SmallVec<[(ShardId, Vec<T>); 1]>);

impl<T> Default for Overflow<T> {
    fn default() -> Self {
        Self(SmallVec::new())
    }
}

impl<T> Overflow<T> {
    fn of(&mut self, shard: ShardId) -> Option<&mut Vec<T>> {
        let mut all = self.0.iter_mut();
        all.find_map(|(of, items)| (*of == shard).then_some(items))
    }
}

impl<T: Item> Overflow<T> {
    /// Waits for room in all the lanes, which are by the indices of their shards. Afterwards everything is in its
    /// lane, or refused.
    pub(super) async fn await_room(&mut self, lanes: &[Lane<T>]) {
        if self.0.is_empty() {
            return;
        }
        let waiting = self.0.drain(..).filter_map(|(shard, items)| {
            let lane = lanes.get(shard.index());
            debug_assert!(lane.is_some(), "{shard} had a lane when its items came");
            Some(lane?.submit_together(items))
        });
        join_all(waiting).await;
    }
}

impl<T: Item> Lane<T> {
    /// Starts the lane on `runtime`, where its flights are too. It ends when it is dropped and
    /// everything in it has left. `refuse` is to tell whoever waits for an item that it is too much.
    pub(super) fn start<F, Flight>(
        purpose: Purpose,
        bounds: Bounds,
        wait_max: Time,
        tasks: &TaskTracker,
        runtime: &Handle,
        fly: F,
        refuse: impl Fn(T, Error) + Send + Sync + 'static,
    ) -> Self
    where
        F: Fn(Vec<T>) -> Flight + Send + 'static,
        Flight: Future<Output = ()> + Send + 'static,
    {
        let (queue, waiting) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(bounds.queue_max));
        let gate = Gate::new(wait_max);
        let refuse: Refuse<T> = Arc::new(refuse);
        let queue_of_lane = Queue {
            purpose,
            waiting,
            left_over: None,
            room: Arc::clone(&room),
            room_given: bounds.queue_max,
            admission: Admission::new(gate.clone()),
            refuse: Arc::clone(&refuse),
        };
        tasks.spawn_on(run(bounds, queue_of_lane, tasks.clone(), fly), runtime);
        Self {
            queue,
            room,
            purpose,
            queue_max: bounds.queue_max,
            gate,
            refuse,
        }
    }

    /// Puts an item into the queue. If there is no room, it is left in `overflow`, and so are those that the client
    /// submits after it, until it has [waited](Overflow::await_room) for all of them: who sends more than can be done is
    /// slowed down first.
    pub(super) fn submit(&self, item: T, overflow: &mut Overflow<T>) {
        if let Some(before) = overflow.of(self.purpose.shard) {
            return before.push(item);
        }
        match self.room.try_acquire() {
            Ok(permit) => {
                // It is given back when the item leaves.
                permit.forget();
                self.send(item);
            }
            Err(TryAcquireError::NoPermits) => overflow.0.push((self.purpose.shard, vec![item])),
            Err(TryAcquireError::Closed) => (self.refuse)(item, Error::Stopping),
        }
    }

    fn send(&self, item: T) {
        if let Err(mpsc::error::SendError(item)) = self.queue.send(item) {
            (self.refuse)(item, Error::Stopping);
        }
    }

    /// Puts items into the queue when there is room, or refuses those that there was none for in time.
    async fn submit_together(&self, items: Vec<T>) {
        let mut items = items.into_iter();
        while let Some(first) = items.as_slice().first() {
            match self.await_room(first.since(), items.len()).await {
                Ok(room) => items.by_ref().take(room).for_each(|item| self.send(item)),
                Err(error) => {
                    for (position, item) in items.by_ref().enumerate() {
                        take_a_break(position).await;
                        (self.refuse)(item, error.clone());
                    }
                }
            }
        }
    }

    /// Waits for a turn of a client that wants room for so many items. Returns for how many it was taken.
    async fn await_room(&self, since: Instant, wanted: usize) -> Result<usize, Error> {
        loop {
            let together = self.at_a_time(wanted);
            let mut room = pin!(self.room.acquire_many(together));
            while self.at_a_time(wanted) >= together {
                // Tokio's, which tests can move.
                let now = tokio::time::Instant::now().into_std();
                let patience = self.gate.patience(since, now);
                if patience.is_zero() {
                    return Err(self.full());
                }
                // How long it may take changes when the lane becomes overloaded.
                match timeout(patience.min(LOOK_AGAIN_AFTER), &mut room).await {
                    Ok(Ok(permits)) => {
                        permits.forget();
                        return Ok(together as usize);
                    }
                    Ok(Err(_)) => return Err(Error::Stopping),
                    Err(_elapsed) => {}
                }
            }
        }
    }

    /// For how many of so many items one waits at a time: only for a part of what the queue may have, since it is never
    /// quite empty.
    fn at_a_time(&self, wanted: usize) -> u32 {
        let length = self.gate.length().unwrap_or(usize::MAX).min(self.queue_max);
        wanted.min(TURN).min(length / 4).max(1) as u32
    }

    fn full(&self) -> Error {
        match self.gate.length() {
            Some(length) => self.purpose.overloaded(length),
            None => self
                .purpose
                .busy(&format!("is full ({} waiting)", self.queue_max)),
        }
    }
}

/// The lane's end of the queue.
struct Queue<T> {
    purpose: Purpose,
    waiting: mpsc::UnboundedReceiver<T>,
    /// Looked at for the last batch, and too much for it.
    left_over: Option<T>,
    room: Arc<Semaphore>,
    /// Permits of `room`, and items that took one.
    room_given: usize,
    admission: Admission,
    refuse: Refuse<T>,
}

impl<T: Item> Queue<T> {
    /// The next batch; waits for somebody to come. `None` when the lane has ended.
    async fn batch(&mut self, bounds: &Bounds) -> Option<Vec<T>> {
        let (first, now, oldest) = loop {
            let item = match self.left_over.take() {
                Some(item) => item,
                None => self.waiting.recv().await?,
            };
            let now = Instant::now();
            let waited = now.saturating_duration_since(item.since());
            if let Some(length) = self.admission.cut_to(self.waiting.len(), waited) {
                (self.refuse)(item, self.purpose.overloaded(length));
                self.make_room(1, bounds.queue_max);
                continue;
            }
            break (item, now, waited);
        };
        let mut batch_weight = first.weight();
        let mut batch = vec![first];
        while let Ok(item) = self.waiting.try_recv() {
            let weight = item.weight();
            batch_weight.operations += weight.operations;
            batch_weight.bytes += weight.bytes;
            if batch_weight.operations > bounds.batch_operations_max
                || batch_weight.bytes > bounds.batch_bytes_max
            {
                self.left_over = Some(item);
                break;
            }
            batch.push(item);
        }
        let is_full = self.left_over.is_some();
        self.admission.depart(now, oldest, batch.len(), is_full);
        self.make_room(batch.len(), bounds.queue_max);
        Some(batch)
    }

    /// Gives back the room of those that leave, more or less of it if the queue may be longer or shorter than before.
    fn make_room(&mut self, left: usize, queue_max: usize) {
        let length = self
            .admission
            .length()
            .map_or(queue_max, |length| length.min(queue_max));
        let taken_back = self.room_given.saturating_sub(length).min(left);
        self.room_given -= taken_back;
        let more = length.saturating_sub(self.room_given);
        self.room_given += more;
        self.room.add_permits(left - taken_back + more);
        self.room_given -= self
            .room
            .forget_permits(self.room_given.saturating_sub(length));
    }
}

/// Who waits for room learns that the lane has ended.
impl<T> Drop for Queue<T> {
    fn drop(&mut self) {
        self.room.close();
    }
}

async fn run<T, F, Flight>(bounds: Bounds, mut queue: Queue<T>, tasks: TaskTracker, fly: F)
where
    T: Item,
    F: Fn(Vec<T>) -> Flight,
    Flight: Future<Output = ()> + Send + 'static,
{
    let flights = Arc::new(Semaphore::new(bounds.flights_max));
    // Closed when the flight that departed last is over.
    let (_, mut last) = oneshot::channel::<()>();
    loop {
        // First the flight, then the batch: what arrives while all flights are taken joins it.
        let Ok(permit) = Arc::clone(&flights).acquire_owned().await else {
            return;
        };
        if bounds.flights_max > 1 {
            let _ = timeout(LONG, &mut last).await;
        }
        let Some(batch) = queue.batch(&bounds).await else {
            return;
        };
        let flight = fly(batch);
        // A task of its own: a panic in it must not end the lane. The permit keeps the order where
        // there is one flight at a time.
        let (landed, landing) = oneshot::channel();
        last = landing;
        tasks.spawn(async move {
            let (_permit, _landed) = (permit, landed);
            flight.await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tokio::sync::Notify;

    struct Number {
        number: usize,
        since: Instant,
        refused: oneshot::Sender<Error>,
    }

    const PURPOSE: Purpose = Purpose {
        shard: ShardId::new(0),
        queue: "write",
    };

    impl Item for Number {
        fn since(&self) -> Instant {
            self.since
        }

        fn weight(&self) -> Weight {
            Weight {
                operations: 1,
                bytes: self.number,
            }
        }
    }

    const BOUNDS: Bounds = Bounds {
        queue_max: 4,
        flights_max: 1,
        batch_operations_max: 3,
        batch_bytes_max: 100,
    };

    type Batches = Arc<Mutex<Vec<Vec<usize>>>>;

    /// A lane whose flights wait for a permission each.
    fn lane(tasks: &TaskTracker) -> (Lane<Number>, Batches, Arc<Semaphore>, Arc<Notify>) {
        lane_with(BOUNDS, tasks)
    }

    fn lane_with(
        bounds: Bounds,
        tasks: &TaskTracker,
    ) -> (Lane<Number>, Batches, Arc<Semaphore>, Arc<Notify>) {
        lane_that_waits(bounds, Time::new(LONG), tasks)
    }

    fn lane_that_waits(
        bounds: Bounds,
        wait_max: Time,
        tasks: &TaskTracker,
    ) -> (Lane<Number>, Batches, Arc<Semaphore>, Arc<Notify>) {
        let batches = Batches::default();
        let go = Arc::new(Semaphore::new(0));
        let started = Arc::new(Notify::new());
        let fly = {
            let (batches, go, started) = (batches.clone(), go.clone(), started.clone());
            move |batch: Vec<Number>| {
                batches
                    .lock()
                    .unwrap()
                    .push(batch.iter().map(|item| item.number).collect());
                let (go, started) = (go.clone(), started.clone());
                async move {
                    started.notify_one();
                    go.acquire().await.unwrap().forget();
                }
            }
        };
        let refuse = |item: Number, error| {
            let _ = item.refused.send(error);
        };
        let lane = Lane::start(
            PURPOSE,
            bounds,
            wait_max,
            tasks,
            &Handle::current(),
            fly,
            refuse,
        );
        (lane, batches, go, started)
    }

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn item(number: usize, since: Instant) -> (Number, oneshot::Receiver<Error>) {
        let (refused, error) = oneshot::channel();
        let item = Number {
            number,
            since,
            refused,
        };
        (item, error)
    }

    /// Submits items of one client together, which were there at `since`. Returns what each was told.
    async fn submit_all(
        lane: &Lane<Number>,
        numbers: &[usize],
        since: Instant,
    ) -> Vec<Result<(), Error>> {
        let mut overflow = Overflow::default();
        let mut errors = Vec::new();
        for number in numbers {
            let (item, error) = item(*number, since);
            lane.submit(item, &mut overflow);
            errors.push(error);
        }
        overflow.await_room(std::slice::from_ref(lane)).await;
        let told = |mut error: oneshot::Receiver<Error>| error.try_recv().map_or(Ok(()), Err);
        errors.into_iter().map(told).collect()
    }

    async fn submit(lane: &Lane<Number>, number: usize) -> Result<(), Error> {
        submit_all(lane, &[number], now()).await.remove(0)
    }

    #[tokio::test]
    async fn what_arrives_during_a_flight_leaves_together_in_order() {
        let tasks = TaskTracker::new();
        let (lane, batches, go, started) = lane(&tasks);
        submit(&lane, 1).await.unwrap();
        started.notified().await;
        for number in [2, 3, 4, 5] {
            submit(&lane, number).await.unwrap();
        }
        go.add_permits(10);
        drop(lane);
        tasks.close();
        tasks.wait().await;
        // The third batch is there because a batch has at most three operations.
        assert_eq!(*batches.lock().unwrap(), [vec![1], vec![2, 3, 4], vec![5]]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flight_that_takes_long_is_not_waited_for_if_more_are_allowed() {
        let tasks = TaskTracker::new();
        let bounds = Bounds {
            flights_max: 2,
            ..BOUNDS
        };
        let (lane, batches, _go, started) = lane_with(bounds, &tasks);
        submit(&lane, 1).await.unwrap();
        started.notified().await;
        let departed = tokio::time::Instant::now();
        for number in [2, 3] {
            submit(&lane, number).await.unwrap();
        }
        started.notified().await;
        assert_eq!(*batches.lock().unwrap(), [vec![1], vec![2, 3]]);
        assert!(departed.elapsed() >= LONG);
        // A third has to wait for one of them, however long that takes.
        submit(&lane, 4).await.unwrap();
        tokio::time::sleep(10 * LONG).await;
        assert_eq!(batches.lock().unwrap().len(), 2);
    }

    #[tokio::test]
    async fn bytes_bound_a_batch_but_never_its_first_item() {
        let tasks = TaskTracker::new();
        let (lane, batches, go, started) = lane(&tasks);
        submit(&lane, 1).await.unwrap();
        started.notified().await;
        for number in [500, 60, 50] {
            submit(&lane, number).await.unwrap();
        }
        go.add_permits(10);
        drop(lane);
        tasks.close();
        tasks.wait().await;
        assert_eq!(
            *batches.lock().unwrap(),
            [vec![1], vec![500], vec![60], vec![50]]
        );
    }

    /// A lane that is full, with 1 under way and 2 to 5 in the queue.
    async fn full_lane(
        wait_max: Duration,
        tasks: &TaskTracker,
    ) -> (Lane<Number>, Batches, Arc<Semaphore>) {
        let (lane, batches, go, started) = lane_that_waits(BOUNDS, Time::new(wait_max), tasks);
        submit(&lane, 1).await.unwrap();
        started.notified().await;
        for number in [2, 3, 4, 5] {
            submit(&lane, number).await.unwrap();
        }
        (lane, batches, go)
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_stays_full_refuses() {
        let tasks = TaskTracker::new();
        let (lane, _batches, go) = full_lane(LONG, &tasks).await;
        let refused = submit(&lane, 6).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "BUSY shard_0 is overloaded: its write queue is full (4 waiting); nothing was done, try again later"
        );
        go.add_permits(10);
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_room_in_an_overloaded_lane_waits_for_what_is_left_of_the_bound() {
        let tasks = TaskTracker::new();
        let (lane, _batches, go) = full_lane(Duration::from_secs(1), &tasks).await;
        lane.gate.set_length(Some(4));
        let began = tokio::time::Instant::now();
        let refused = submit(&lane, 6).await.unwrap_err().to_string();
        let text = "BUSY shard_0 is overloaded: its write queue gets more than can be done: no room among the 4 that wait \
                    (see MAX_QUEUE_WAIT_MS); nothing was done, try again later";
        assert_eq!(refused, text);
        let waited = began.elapsed();
        assert!(Duration::from_millis(700) < waited && waited <= Duration::from_millis(751));
        // Who has waited as long already is refused at once.
        let long_ago = Instant::now() - Duration::from_secs(1);
        let began = tokio::time::Instant::now();
        let refused = submit_all(&lane, &[7], long_ago).await.remove(0);
        assert!(refused.is_err() && began.elapsed().is_zero());
        // Room comes with the next batch.
        go.add_permits(1);
        submit(&lane, 8).await.unwrap();
        go.add_permits(10);
    }

    #[tokio::test]
    async fn what_a_client_submits_keeps_its_order_where_some_of_it_waits_for_room() {
        let tasks = TaskTracker::new();
        let (lane, batches, go) = full_lane(LONG, &tasks).await;
        let mut overflow = Overflow::default();
        lane.submit(item(6, now()).0, &mut overflow);
        // Room comes, which others may take, but not those that come after what waits.
        go.add_permits(1);
        while lane.room.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
        lane.submit(item(7, now()).0, &mut overflow);
        lane.submit(item(8, now()).0, &mut Overflow::default());
        overflow.await_room(std::slice::from_ref(&lane)).await;
        go.add_permits(10);
        drop(lane);
        tasks.close();
        tasks.wait().await;
        let batches = batches.lock().unwrap();
        assert_eq!(batches.concat(), [1, 2, 3, 4, 5, 8, 6, 7]);
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_find_no_room_together_are_refused_together_in_the_end() {
        let tasks = TaskTracker::new();
        let (lane, batches, go) = full_lane(LONG, &tasks).await;
        let began = now();
        let (submitted, ()) =
            tokio::join!(submit_all(&lane, &[6, 7, 8, 9, 10, 11], began), async {
                // 2, 3 and 4 leave, and nobody after them.
                go.add_permits(1);
            });
        let taken: Vec<bool> = submitted.iter().map(Result::is_ok).collect();
        assert_eq!(taken, [true, true, true, false, false, false]);
        go.add_permits(10);
        drop(lane);
        tasks.close();
        tasks.wait().await;
        assert_eq!(batches.lock().unwrap().concat(), [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[tokio::test]
    async fn who_has_little_waits_for_one_turn_of_who_has_much() {
        let tasks = TaskTracker::new();
        let bounds = Bounds {
            queue_max: 16 * TURN,
            batch_operations_max: TURN,
            batch_bytes_max: usize::MAX,
            ..BOUNDS
        };
        let (lane, batches, go, started) = lane_with(bounds, &tasks);
        submit(&lane, 0).await.unwrap();
        started.notified().await;
        let filling: Vec<usize> = (1..=16 * TURN).collect();
        submit_all(&lane, &filling, now()).await;
        let much: Vec<usize> = (1000..1000 + 3 * TURN).collect();
        let lane = Arc::new(lane);
        let clients = [much, vec![5000]].map(|numbers| {
            let lane = Arc::clone(&lane);
            tokio::spawn(async move { submit_all(&lane, &numbers, now()).await })
        });
        // Both wait when the first flight ends.
        tokio::task::yield_now().await;
        go.add_permits(100);
        for client in clients {
            client.await.unwrap();
        }
        drop(lane);
        tasks.close();
        tasks.wait().await;
        let order = batches.lock().unwrap().concat();
        let place = |number: usize| order.iter().position(|other| *other == number).unwrap();
        assert_eq!(place(5000), place(1000) + TURN);
        assert_eq!(order.len(), 1 + 16 * TURN + 3 * TURN + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_more_room_than_there_may_be() {
        let tasks = TaskTracker::new();
        let bounds = Bounds {
            queue_max: 64,
            batch_bytes_max: usize::MAX,
            ..BOUNDS
        };
        let wait_max = Time::new(Duration::from_secs(60));
        let (lane, _batches, go, started) = lane_that_waits(bounds, wait_max, &tasks);
        lane.gate.set_length(Some(64));
        // So late that the queue does not become longer while batches are full.
        let since = now() - Duration::from_secs(10);
        submit_all(&lane, &[0], since).await;
        started.notified().await;
        let filling: Vec<usize> = (1..=64).collect();
        submit_all(&lane, &filling, since).await;
        assert_eq!((lane.at_a_time(8), lane.at_a_time(1000)), (8, TURN as u32));
        let waiting = submit_all(&lane, &[101, 102, 103, 104, 105, 106, 107, 108], since);
        let cut = async {
            tokio::time::sleep(LOOK_AGAIN_AFTER / 2).await;
            lane.gate.set_length(Some(4));
            // All but one of the 64 leave.
            go.add_permits(21);
        };
        let (submitted, ()) = tokio::join!(waiting, cut);
        let taken: Vec<bool> = submitted.iter().map(Result::is_ok).collect();
        assert_eq!(taken, [true, true, true, false, false, false, false, false]);
        lane.gate.set_length(Some(1));
        assert_eq!(lane.at_a_time(8), 1);
    }

    #[tokio::test]
    async fn what_a_queue_has_too_much_of_is_refused_if_it_has_waited_for_the_bound() {
        const BOUND: Duration = Duration::from_secs(60);
        let numbers = |batch: &[Number]| batch.iter().map(|item| item.number).collect::<Vec<_>>();
        let (items, waiting) = mpsc::unbounded_channel();
        let gate = Gate::new(Time::new(BOUND));
        let refused = Arc::new(Mutex::new(Vec::new()));
        let theirs = Arc::clone(&refused);
        let mut queue = Queue {
            purpose: PURPOSE,
            waiting,
            left_over: None,
            room: Arc::new(Semaphore::new(0)),
            room_given: 8,
            admission: Admission::new(gate.clone()),
            refuse: Arc::new(move |item: Number, _| theirs.lock().unwrap().push(item.number)),
        };
        let send = |numbers: std::ops::RangeInclusive<usize>, since: Instant| {
            for number in numbers {
                items.send(item(number, since).0).unwrap();
            }
        };
        let long_ago = Instant::now() - 2 * BOUND;
        send(1..=8, long_ago);
        gate.set_length(Some(4));
        let batch = queue.batch(&BOUNDS).await.unwrap();
        // Who came first has waited longest. Four are left, however long they wait.
        assert_eq!(*refused.lock().unwrap(), [1, 2, 3]);
        assert_eq!(numbers(&batch), [4, 5, 6]);
        // What is served within the bound is not refused, however many they are.
        send(9..=16, Instant::now());
        assert_eq!(numbers(&queue.batch(&BOUNDS).await.unwrap()), [9, 10, 11]);
        assert_eq!(*refused.lock().unwrap(), [1, 2, 3, 7, 8]);
    }

    #[test]
    fn room_that_is_too_much_is_taken_back_and_given_again() {
        let room = Arc::new(Semaphore::new(10));
        let gate = Gate::new(Time::new(LONG));
        let mut queue: Queue<Number> = Queue {
            purpose: PURPOSE,
            waiting: mpsc::unbounded_channel().1,
            left_over: None,
            room: Arc::clone(&room),
            room_given: 10,
            admission: Admission::new(gate.clone()),
            refuse: Arc::new(|_, _| ()),
        };
        // Eight wait.
        room.try_acquire_many(8).unwrap().forget();
        gate.set_length(Some(4));
        queue.make_room(2, 10);
        assert_eq!(room.available_permits(), 0, "six wait");
        queue.make_room(2, 10);
        assert_eq!(room.available_permits(), 0, "four wait");
        queue.make_room(3, 10);
        assert_eq!(room.available_permits(), 3, "one waits");
        gate.set_length(None);
        queue.make_room(1, 10);
        assert_eq!(room.available_permits(), 10);
        gate.set_length(Some(20));
        queue.make_room(0, 10);
        assert_eq!(room.available_permits(), 10);
    }
}
