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
//! With one flight at a time the items of the lane take effect in the order of their submission. When more
//! comes than can be done, some are refused ([`admission`](super::admission)).

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::admission::{Admission, Length};
use crate::adjustable::Time;
use crate::error::Error;
use crate::routing::ShardId;

/// Something that can be put into a batch.
pub(super) trait Item: Send + 'static {
    /// How much it adds to a batch: operations, and bytes.
    fn weight(&self) -> Weight;

    /// When it was put into the lane.
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
    /// Items that may wait; more are refused.
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

/// How long an item may wait for room in the queue.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(5);

/// What a lane is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Purpose {
    /// The shard that it leads to.
    pub(super) shard: ShardId,
    /// `write` or `read`.
    pub(super) queue: &'static str,
}

impl Purpose {
    fn overloaded(&self, length: usize, wait_max: Duration) -> Error {
        self.busy(&format!(
            "gets more than can be done: {length} wait, which takes some {} ms (see MAX_QUEUE_WAIT_MS)",
            wait_max.as_millis()
        ))
    }

    fn busy(&self, reason: &str) -> Error {
        Error::Busy {
            shard: self.shard,
            reason: format!("its {} queue {reason}", self.queue),
        }
    }
}

/// A queue in front of some kind of flight.
pub(super) struct Lane<T> {
    queue: mpsc::Sender<T>,
    purpose: Purpose,
    queue_max: usize,
    wait_max: Time,
    /// How many may wait, while it is overloaded.
    length: Length,
}

impl<T: Item> Lane<T> {
    /// Starts the lane on `runtime`, where its flights are too. It ends when it is dropped and
    /// everything in it has left.
    /// When an item has waited for too long, `refuse` is to tell whoever waits for it.
    pub(super) fn start<F, Flight>(
        purpose: Purpose,
        bounds: Bounds,
        wait_max: Time,
        tasks: &TaskTracker,
        runtime: &Handle,
        fly: F,
        refuse: impl Fn(T, Error) + Send + 'static,
    ) -> Self
    where
        F: Fn(Vec<T>) -> Flight + Send + 'static,
        Flight: Future<Output = ()> + Send + 'static,
    {
        let (queue, waiting) = mpsc::channel(bounds.queue_max);
        let length = Length::new();
        let queue_of_lane = Queue {
            purpose,
            waiting,
            left_over: None,
            admission: Admission::new(wait_max.clone(), length.clone()),
            refuse: Box::new(refuse),
        };
        tasks.spawn_on(run(bounds, queue_of_lane, tasks.clone(), fly), runtime);
        Self {
            queue,
            purpose,
            queue_max: bounds.queue_max,
            wait_max,
            length,
        }
    }

    /// Puts an item into the queue, and waits for room if it is full: who sends more than can be
    /// done is slowed down first.
    ///
    /// # Errors
    ///
    /// There was no room for too long. The item is not taken, and dropped.
    pub(super) async fn submit(&self, item: T) -> Result<(), Error> {
        if let Some(length) = self.length.get()
            && self.queue.max_capacity() - self.queue.capacity() >= length
        {
            return Err(self.purpose.overloaded(length, self.wait_max.get()));
        }
        let item = match self.queue.try_send(item) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Error::Stopping),
            Err(mpsc::error::TrySendError::Full(item)) => item,
        };
        match timeout(ROOM_WAIT_MAX, self.queue.send(item)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Error::Stopping),
            Err(_elapsed) => Err(self
                .purpose
                .busy(&format!("is full ({} waiting)", self.queue_max))),
        }
    }
}

/// The lane's end of the queue.
struct Queue<T> {
    purpose: Purpose,
    waiting: mpsc::Receiver<T>,
    /// Looked at for the last batch, and too much for it.
    left_over: Option<T>,
    admission: Admission,
    refuse: Box<dyn Fn(T, Error) + Send>,
}

impl<T: Item> Queue<T> {
    /// The next batch; waits for somebody to come. `None` when the lane has ended.
    async fn batch(&mut self, bounds: &Bounds) -> Option<Vec<T>> {
        let (first, oldest) = loop {
            let item = match self.left_over.take() {
                Some(item) => item,
                None => self.waiting.recv().await?,
            };
            if let Some(admitted) = self.admit(item) {
                break admitted;
            }
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
        self.admission
            .depart(Instant::now(), oldest, batch.len(), is_full);
        Some(batch)
    }

    /// The item and how long it has waited, unless there are too many behind it at this moment.
    fn admit(&self, item: T) -> Option<(T, Duration)> {
        let length = self.admission.length();
        let Some(length) = length.filter(|length| self.waiting.len() > *length) else {
            let waited = Instant::now().saturating_duration_since(item.since());
            return Some((item, waited));
        };
        let wait_max = self.admission.wait_max();
        (self.refuse)(item, self.purpose.overloaded(length, wait_max));
        None
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

    struct Number(usize);

    const PURPOSE: Purpose = Purpose {
        shard: ShardId::new(1),
        queue: "write",
    };

    impl Item for Number {
        fn since(&self) -> Instant {
            Instant::now()
        }

        fn weight(&self) -> Weight {
            Weight {
                operations: 1,
                bytes: self.0,
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
        let batches = Batches::default();
        let go = Arc::new(Semaphore::new(0));
        let started = Arc::new(Notify::new());
        let lane = Lane::start(
            PURPOSE,
            bounds,
            Time::new(LONG),
            tasks,
            &Handle::current(),
            {
                let (batches, go, started) = (batches.clone(), go.clone(), started.clone());
                move |batch: Vec<Number>| {
                    batches
                        .lock()
                        .unwrap()
                        .push(batch.iter().map(|number| number.0).collect());
                    let (go, started) = (go.clone(), started.clone());
                    async move {
                        started.notify_one();
                        go.acquire().await.unwrap().forget();
                    }
                }
            },
            |number, error| panic!("{} was refused: {error}", number.0),
        );
        (lane, batches, go, started)
    }

    #[tokio::test]
    async fn what_arrives_during_a_flight_leaves_together_in_order() {
        let tasks = TaskTracker::new();
        let (lane, batches, go, started) = lane(&tasks);
        lane.submit(Number(1)).await.unwrap();
        started.notified().await;
        for number in [2, 3, 4, 5] {
            lane.submit(Number(number)).await.unwrap();
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
        lane.submit(Number(1)).await.unwrap();
        started.notified().await;
        let departed = tokio::time::Instant::now();
        for number in [2, 3] {
            lane.submit(Number(number)).await.unwrap();
        }
        started.notified().await;
        assert_eq!(*batches.lock().unwrap(), [vec![1], vec![2, 3]]);
        assert!(departed.elapsed() >= LONG);
        // A third has to wait for one of them, however long that takes.
        lane.submit(Number(4)).await.unwrap();
        tokio::time::sleep(10 * LONG).await;
        assert_eq!(batches.lock().unwrap().len(), 2);
    }

    #[tokio::test]
    async fn bytes_bound_a_batch_but_never_its_first_item() {
        let tasks = TaskTracker::new();
        let (lane, batches, go, started) = lane(&tasks);
        lane.submit(Number(1)).await.unwrap();
        started.notified().await;
        for number in [500, 60, 50] {
            lane.submit(Number(number)).await.unwrap();
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

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_stays_full_refuses() {
        let tasks = TaskTracker::new();
        let (lane, _batches, go, started) = lane(&tasks);
        lane.submit(Number(1)).await.unwrap();
        started.notified().await;
        for number in [2, 3, 4, 5] {
            lane.submit(Number(number)).await.unwrap();
        }
        let refused = lane.submit(Number(6)).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "BUSY shard_1 is overloaded: its write queue is full (4 waiting); nothing was done, try again later"
        );
        go.add_permits(10);
    }
}
