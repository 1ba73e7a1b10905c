//! The first pass: pages are read ahead and written, several at a time, within a bounded memory.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::file::Output;
use super::page::{Page, Position};
use super::progress::Progress;
use super::source::Source;
use super::state::State;
use super::store::Store;
use super::tally::Tally;
use crate::failure::{Failure, failure};

/// Kilobytes of records that are read and not written yet. One record alone may have more.
const AHEAD_KB: u32 = 64 * 1024;
/// Pages that may be read ahead, and that may be written at a time.
const PAGES_AHEAD: usize = 8;
const PAGES_AT_A_TIME: usize = 4;

/// Where the records go.
pub enum Target {
    Store(Box<Store>),
    Output(Output),
}

type Waiting = (Page, OwnedSemaphorePermit);

/// Copies all of `source` to `target`, from where the state says.
pub async fn copy(
    source: &mut Source,
    target: &mut Target,
    state: &mut State,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let budget = Arc::new(Semaphore::new(AHEAD_KB as usize));
    let (pages, waiting) = mpsc::channel(PAGES_AHEAD);
    let reading = async {
        while let Some(page) = source.next().await? {
            let weight = u32::try_from(page.bytes() / 1024).unwrap_or(AHEAD_KB);
            let permit = Arc::clone(&budget)
                .acquire_many_owned(weight.clamp(1, AHEAD_KB))
                .await
                .map_err(|_| failure("the transfer was stopped".to_owned()))?;
            if pages.send((page, permit)).await.is_err() {
                // The writing has failed, and says why.
                break;
            }
        }
        drop(pages);
        Ok(())
    };
    let writing = async {
        match target {
            Target::Store(store) => to_store(waiting, store, state, progress).await,
            Target::Output(output) => to_output(waiting, output, state, progress).await,
        }
    };
    tokio::try_join!(reading, writing)?;
    Ok(())
}

async fn to_store(
    mut waiting: mpsc::Receiver<Waiting>,
    store: &Store,
    state: &mut State,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let mut under_way = FuturesOrdered::new();
    let mut is_over = false;
    loop {
        tokio::select! {
            page = waiting.recv(), if !is_over && under_way.len() < PAGES_AT_A_TIME => match page {
                Some((page, permit)) => under_way.push_back(async move {
                    let mut tally = Tally::default();
                    let result = store.write(&page.records, &mut tally).await;
                    drop(permit);
                    result.map(|()| (page, tally))
                }),
                None => is_over = true,
            },
            Some(written) = under_way.next() => {
                let (page, written) = written?;
                let tally = state.tally();
                tally.written += written.written;
                tally.kept += written.kept;
                tally.take_refused(written);
                progress.add(page.amount);
                if let Some(position) = count(page, tally) {
                    state.reached(position);
                    if state.is_due() {
                        state.save(0)?;
                    }
                }
            }
            else => return Ok(()),
        }
    }
}

async fn to_output(
    mut waiting: mpsc::Receiver<Waiting>,
    output: &mut Output,
    state: &mut State,
    progress: &mut Progress,
) -> Result<(), Failure> {
    while let Some((page, _permit)) = waiting.recv().await {
        output.write(&page.records)?;
        let tally = state.tally();
        tally.written += page.records.len() as u64;
        progress.add(page.amount);
        if let Some(position) = count(page, tally) {
            state.reached(position);
            if state.is_due() {
                state.save(output.sync()?)?;
            }
        }
    }
    Ok(())
}

/// Counts what a page had, and tells where it ends.
fn count(page: Page, tally: &mut Tally) -> Option<Position> {
    tally.read += page.records.len() as u64 + page.others.len() as u64;
    tally.gone += page.gone;
    tally.nulls += page.nulls;
    tally.duplicates += page.duplicates;
    for (key, kind) in &page.others {
        tally.other(key, kind);
    }
    page.position
}
