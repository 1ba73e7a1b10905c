//! The second pass: whether everything that the source has is at the target.
//!
//! The source may be written meanwhile, so what differs is looked at again: both sides are read once more, what the source
//! has by then is copied again, and it is an error only if it is not there after that and the source has not changed it
//! since. What was deleted at the source after it had been copied is not seen.

use std::collections::HashMap;
use std::time::Instant;

use super::copy::Target;
use super::file::Output;
use super::page::PAGE_KEYS;
use super::progress::Progress;
use super::record::{Record, now};
use super::source::Source;
use super::store::Store;
use super::tally::{Findings, Tally};
use crate::failure::Failure;

/// Milliseconds by which an expiry may be off: where a server tells only how long it is until then.
const EXPIRY_SLACK: u64 = 100;
/// Bytes of records that differ and are kept to be looked at again.
const SUSPECTS_BYTES: usize = 32 * 1024 * 1024;

/// Reads all of `source` again, from the beginning; `None` if the target can't be read.
pub async fn verify(
    source: &mut Source,
    target: &mut Target,
    progress: &mut Progress,
) -> Result<Option<Findings>, Failure> {
    let begun = Instant::now();
    source.rewind(None)?;
    let findings = match target {
        Target::Store(store) => Some(against_store(source, store, progress).await?),
        Target::Output(output) => against_output(source, output, progress).await?,
    };
    Ok(findings.map(|findings| Findings {
        millis: begun.elapsed().as_millis() as u64,
        ..findings
    }))
}

/// Whether the target has this record.
fn is_same(record: &Record, there: Option<&Record>) -> bool {
    let Some(there) = there else { return false };
    let is_same_expiry = match (record.expires_at, there.expires_at) {
        (Some(one), Some(other)) => one.abs_diff(other) <= EXPIRY_SLACK,
        (one, other) => one == other,
    };
    is_same_expiry && record.value == there.value
}

fn keys_of(records: &[Record]) -> Vec<Vec<u8>> {
    records.iter().map(|record| record.key.clone()).collect()
}

async fn against_store(
    source: &mut Source,
    store: &Store,
    progress: &mut Progress,
) -> Result<Findings, Failure> {
    let mut findings = Findings::default();
    let mut suspects: HashMap<Vec<u8>, Record> = HashMap::new();
    let mut bytes = 0;
    let mut page = source.next().await?;
    while let Some(current) = page {
        let keys = keys_of(&current.records);
        let (next, there) = tokio::try_join!(source.next(), store.read(&keys))?;
        for (record, there) in current.records.into_iter().zip(there) {
            if is_same(&record, there.as_ref()) {
                findings.same += 1;
                // A later line of a file has another value than an earlier one.
                if let Some(before) = suspects.remove(&record.key) {
                    bytes -= before.size();
                }
            } else {
                bytes += record.size();
                if let Some(before) = suspects.insert(record.key.clone(), record) {
                    bytes -= before.size();
                }
            }
        }
        progress.add(current.amount);
        if bytes > SUSPECTS_BYTES {
            let suspects = std::mem::take(&mut suspects).into_values().collect();
            settle(source, store, suspects, &mut findings).await?;
            bytes = 0;
        }
        page = next;
    }
    let suspects = suspects.into_values().collect();
    settle(source, store, suspects, &mut findings).await?;
    Ok(findings)
}

/// Looks again at what was different.
async fn settle(
    source: &Source,
    store: &Store,
    suspects: Vec<Record>,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let mut suspects = suspects.into_iter().peekable();
    while suspects.peek().is_some() {
        let part: Vec<Record> = suspects.by_ref().take(PAGE_KEYS).collect();
        let asked = part.len();
        let fresh = match source.read_again(&keys_of(&part)).await? {
            Some(fresh) => fresh.into_iter().flatten().collect(),
            None => part,
        };
        let now = now();
        let fresh: Vec<Record> = fresh
            .into_iter()
            .filter(|record: &Record| !record.has_expired(now))
            .collect();
        findings.gone += (asked - fresh.len()) as u64;
        settle_part(source, store, fresh, findings).await?;
    }
    Ok(())
}

async fn settle_part(
    source: &Source,
    store: &Store,
    fresh: Vec<Record>,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let keys = keys_of(&fresh);
    let mut refusals = Tally::default();
    store.write(&fresh, &mut refusals).await?;
    let there = store.read(&keys).await?;
    let mut wrong = Vec::new();
    for (record, there) in fresh.into_iter().zip(there) {
        match there {
            there if is_same(&record, there.as_ref()) => findings.again += 1,
            Some(_) if store.if_absent => findings.kept += 1,
            there => wrong.push((record, there)),
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let keys: Vec<_> = wrong.iter().map(|(record, _)| record.key.clone()).collect();
    let newest = source.read_again(&keys).await?;
    let mut newest = newest.map(Vec::into_iter);
    for (record, there) in wrong {
        let newest = match &mut newest {
            Some(newest) => newest.next().flatten(),
            None => Some(record.clone()),
        };
        match (newest, there) {
            (None, _) => findings.gone += 1,
            (Some(_), _) if record.has_expired(now()) => findings.gone += 1,
            (Some(newest), _) if newest != record => findings.changing += 1,
            (Some(_), None) => findings.missing(&record.key),
            (Some(_), Some(_)) => findings.different(&record.key),
        }
    }
    findings.reasons(refusals);
    Ok(())
}

/// Both are read side by side. A respgres gives its keys in the same order each time, so that what only one of them has shown
/// so far is little: what has changed. What is not in the file, or is different there, is written at its end.
async fn against_output(
    source: &mut Source,
    output: &mut Output,
    progress: &mut Progress,
) -> Result<Option<Findings>, Failure> {
    let Some(mut lines) = output.reader()? else {
        return Ok(None);
    };
    let mut findings = Findings::default();
    let mut only_in_file: HashMap<Vec<u8>, u64> = HashMap::new();
    let mut only_at_source: HashMap<Vec<u8>, u64> = HashMap::new();
    let mut suspects: HashMap<Vec<u8>, Option<u64>> = HashMap::new();
    let (mut file_is_over, mut source_is_over) = (false, false);
    while !(file_is_over && source_is_over) {
        let is_file_next =
            source_is_over || (!file_is_over && only_in_file.len() <= only_at_source.len());
        let page = match is_file_next {
            true => lines.next()?,
            false => source.next().await?,
        };
        let Some(page) = page else {
            match is_file_next {
                true => file_is_over = true,
                false => source_is_over = true,
            }
            continue;
        };
        let (own, other) = match is_file_next {
            true => (&mut only_in_file, &mut only_at_source),
            false => (&mut only_at_source, &mut only_in_file),
        };
        for record in page.records {
            let digest = record.digest();
            match other.remove(&record.key) {
                Some(found) if found == digest => findings.same += 1,
                Some(found) => {
                    let in_file = if is_file_next { digest } else { found };
                    suspects.insert(record.key, Some(in_file));
                }
                None => drop(own.insert(record.key, digest)),
            }
        }
        if !is_file_next {
            progress.add(page.amount);
        }
    }
    let only_in_file = only_in_file
        .into_iter()
        .map(|(key, digest)| (key, Some(digest)));
    suspects.extend(only_in_file);
    for key in only_at_source.into_keys() {
        suspects.entry(key).or_insert(None);
    }
    let suspects: Vec<(Vec<u8>, Option<u64>)> = suspects.into_iter().collect();
    for part in suspects.chunks(PAGE_KEYS) {
        let keys: Vec<Vec<u8>> = part.iter().map(|(key, _)| key.clone()).collect();
        let Some(fresh) = source.read_again(&keys).await? else {
            continue;
        };
        for ((_, in_file), fresh) in part.iter().zip(fresh) {
            match fresh {
                None => findings.gone += 1,
                Some(record) if Some(record.digest()) == *in_file => findings.same += 1,
                Some(record) => {
                    output.write(&[record])?;
                    findings.again += 1;
                }
            }
        }
    }
    Ok(Some(findings))
}
