//! A server that speaks RESP, as the target.

use redis::Value;

use super::record::Record;
use super::resp::Resp;
use super::scan;
use super::tally::Tally;
use crate::failure::{Failure, failure};

pub struct Store {
    pub resp: Resp,
    /// Keys that are there are left alone.
    pub if_absent: bool,
}

impl Store {
    /// Writes records, all at once, and counts them.
    pub async fn write(&self, records: &[Record], tally: &mut Tally) -> Result<(), Failure> {
        if records.is_empty() {
            return Ok(());
        }
        let answers = self
            .resp
            .all(records.len(), |pipeline, position| {
                let record = &records[position];
                pipeline.cmd("SET").arg(&record.key).arg(&record.value);
                if let Some(at) = record.expires_at {
                    pipeline.arg("PXAT").arg(at.max(1));
                }
                if self.if_absent {
                    pipeline.arg("NX");
                }
            })
            .await?;
        for (record, answer) in records.iter().zip(answers) {
            match answer {
                Ok(Value::Okay) => tally.written += 1,
                Ok(Value::Nil) => tally.kept += 1,
                Ok(other) => {
                    return Err(failure(format!("{}: SET: {other:?}", self.resp.label())));
                }
                Err(error) => tally.refused(&record.key, &error.to_string()),
            }
        }
        Ok(())
    }

    /// What `keys` have now.
    pub async fn read(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Record>>, Failure> {
        scan::read(&self.resp, keys, true).await
    }
}
