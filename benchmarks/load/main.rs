//! Load for the benchmarks: GET or SET over many connections, as fast as the server answers or at a rate.
//!
//! redis-benchmark can't keep to a rate, read each key just once, or hold connections that do nothing; this can. In a
//! paced run the moments at which requests are due are drawn beforehand, as a Poisson process (as `pgbench --rate`
//! does), and a latency counts from the moment at which the request was due. So a server that stalls is charged for
//! all that became due meanwhile, not only for the one request that was under way (no coordinated omission).
//!
//! With `--may-be-refused`, `-BUSY` is counted by itself, and what is counted is the replies within the time; where more is
//! due than can be sent, a latency counts from being sent.
//!
//! It prints one line of JSON. An error reply, or a reply of a kind that does not fit, ends it with a message and 1.

mod arguments;
mod arrivals;
mod connection;
mod idle;
mod keys;
mod tally;
mod wire;

use std::cell::RefCell;
use std::error::Error;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use arguments::{Mode, Run};
use arrivals::Arrivals;
use connection::Pacing;
use keys::Keys;
use tally::Tally;

/// How long replies may take to come after the last request was due.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let outcome = match arguments::parse() {
        Mode::Run(run) => in_runtime(load(run)),
        Mode::Idle(idle) => in_runtime(idle::hold(idle)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One thread: the generator shares the machine with what it measures, and redis-benchmark has one too.
fn in_runtime(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

async fn load(run: Run) -> Result<()> {
    let run = Rc::new(run);
    let mut streams = Vec::with_capacity(run.connections);
    for _ in 0..run.connections {
        streams.push(wire::connect(&run.address).await?);
    }

    let keys = Rc::new(RefCell::new(Keys::new(&run)));
    let start = Instant::now();
    let counted_from = start + run.warm_up;
    let end = run.duration.map(|duration| counted_from + duration);
    let tally = Rc::new(RefCell::new(Tally::new(
        counted_from,
        end.filter(|_| run.may_be_refused),
    )));
    let arrivals = match (run.rate, end) {
        (Some(rate), Some(end)) => {
            let batches = rate / run.depth as f64;
            Some(Arrivals::begin(batches, start, end, run.connections)?)
        }
        _ => None,
    };

    let mut connections = JoinSet::new();
    for stream in streams {
        let pacing = match &arrivals {
            Some(arrivals) => Pacing::Open(Rc::clone(arrivals)),
            None => Pacing::Closed { end },
        };
        let (run, keys, tally) = (Rc::clone(&run), Rc::clone(&keys), Rc::clone(&tally));
        connections.spawn_local(async move {
            connection::drive(stream, &run, pacing, end, &keys, &tally).await
        });
    }

    let finish = async {
        while let Some(ended) = connections.join_next().await {
            ended??;
        }
        Ok::<(), Box<dyn Error>>(())
    };
    match end {
        Some(end) => tokio::time::timeout_at((end + DRAIN_LIMIT).into(), finish)
            .await
            .map_err(|_| format!("replies are missing {DRAIN_LIMIT:?} after the last request"))??,
        None => finish.await?,
    }
    println!("{}", tally.borrow().report(end));
    Ok(())
}
