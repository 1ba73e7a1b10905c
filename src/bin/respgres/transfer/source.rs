//! Where records come from.

use super::file::Lines;
use super::page::{Page, Position};
use super::progress::Unit;
use super::record::Record;
use super::scan::Scan;
use super::table::Table;
use crate::failure::Failure;

pub enum Source {
    Scan(Scan),
    Table(Table),
    Lines(Lines),
}

impl Source {
    /// The next page; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Page>, Failure> {
        match self {
            Source::Scan(scan) => scan.next().await,
            Source::Table(table) => table.next().await,
            Source::Lines(lines) => lines.next(),
        }
    }

    /// Goes on at `position`, or from the beginning. False if it can't go on there, and begins.
    pub fn rewind(&mut self, position: Option<&Position>) -> Result<bool, Failure> {
        match self {
            Source::Scan(scan) => Ok(scan.rewind(position)),
            Source::Table(table) => Ok(table.rewind(position)),
            Source::Lines(lines) => lines.rewind(position),
        }
    }

    /// How much there is, about.
    pub async fn expected(&self) -> (Unit, Option<u64>) {
        match self {
            Source::Scan(scan) => (Unit::Keys, scan.expected().await),
            Source::Table(table) => (Unit::Keys, table.expected().await),
            Source::Lines(lines) => (Unit::Bytes, Some(lines.length())),
        }
    }

    /// What these keys have now; `None` if the source can't be asked for keys.
    pub async fn read_again(
        &self,
        keys: &[Vec<u8>],
    ) -> Result<Option<Vec<Option<Record>>>, Failure> {
        match self {
            Source::Scan(scan) => scan.read(keys).await.map(Some),
            Source::Table(_) | Source::Lines(_) => Ok(None),
        }
    }
}
