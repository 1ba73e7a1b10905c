//! A file of JSON lines, as a source and as a target.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::line;
use super::page::{PAGE_BYTES, PAGE_KEYS, Page, Position};
use super::record::Record;
use crate::failure::{Failure, failure, refused};

/// Bytes that are gathered before they are written.
const WRITE_BYTES: usize = 256 * 1024;

/// What a shell gives a program that SIGPIPE has ended, as it ends most when `head` has enough.
const EXIT_PIPE_CLOSED: u8 = 128 + 13;

/// A file that is read.
pub struct Lines {
    path: PathBuf,
    file: BufReader<File>,
    offset: u64,
    length: u64,
    /// Lines read since the last rewind.
    line: u64,
    is_from_start: bool,
    /// Where the last line of each key ends; others are passed over. `None` if all are read.
    last: Option<HashMap<Vec<u8>, u64>>,
}

impl Lines {
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let problem = |error: io::Error| {
            refused(format!(
                "can't read {}: {error}; give redis://…, postgresql://… or the path of an export",
                path.display()
            ))
        };
        let file = File::open(path).map_err(problem)?;
        let length = file.metadata().map_err(problem)?.len();
        Ok(Self {
            path: path.to_owned(),
            file: BufReader::with_capacity(WRITE_BYTES, file),
            offset: 0,
            length,
            line: 0,
            is_from_start: true,
            last: None,
        })
    }

    /// Its length in bytes when it was opened.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Goes on at `position`, or from the beginning.
    pub fn rewind(&mut self, position: Option<&Position>) -> Result<bool, Failure> {
        let offset = match position {
            Some(Position::Byte { offset }) if *offset <= self.length => *offset,
            _ => 0,
        };
        self.file
            .seek(SeekFrom::Start(offset))
            .map_err(|error| self.problem(&error.to_string()))?;
        self.offset = offset;
        self.line = 0;
        self.is_from_start = offset == 0;
        Ok(position.is_none() || offset > 0)
    }

    /// Has only the last line of each key read, for a target that keeps what came first. Takes memory for all keys.
    pub fn only_last(&mut self) -> Result<(), Failure> {
        let mut last = HashMap::new();
        let mut text = Vec::new();
        let mut offset = 0;
        loop {
            text.clear();
            let read = self.file.read_until(b'\n', &mut text);
            let length = read.map_err(|error| self.problem(&error.to_string()))?;
            if length == 0 {
                break;
            }
            offset += length as u64;
            // What is no record is told when it is reached.
            if let Ok(record) = line::read(text.trim_ascii()) {
                last.insert(record.key, offset);
            }
        }
        self.last = Some(last);
        self.rewind(None).map(drop)
    }

    /// The next page; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Page>, Failure> {
        let mut page = Page::default();
        let (mut bytes, mut text) = (0, Vec::new());
        while page.records.len() < PAGE_KEYS && bytes < PAGE_BYTES {
            text.clear();
            let length = self
                .file
                .read_until(b'\n', &mut text)
                .map_err(|error| self.problem(&error.to_string()))?;
            if length == 0 {
                break;
            }
            self.line += 1;
            self.offset += length as u64;
            page.amount += length as u64;
            let line = text.trim_ascii();
            if line.is_empty() {
                continue;
            }
            let record = line::read(line).map_err(|problem| self.problem(&problem))?;
            let is_older =
                |last: &HashMap<Vec<u8>, u64>| last.get(&record.key) != Some(&self.offset);
            if self.last.as_ref().is_some_and(is_older) {
                page.duplicates += 1;
                continue;
            }
            bytes += record.size();
            page.records.push(record);
        }
        page.position = Some(Position::Byte {
            offset: self.offset,
        });
        Ok((page.amount > 0).then_some(page))
    }

    fn problem(&self, problem: &str) -> Failure {
        let place = match self.is_from_start {
            true => format!("line {}", self.line),
            false => format!("the line that ends at byte {}", self.offset),
        };
        failure(format!("{}, {place}: {problem}", self.path.display()))
    }
}

/// What is written: a file, under a name of its own until it is whole, or standard output.
pub struct Output {
    out: Box<dyn Write>,
    file: Option<(File, PathBuf, PathBuf)>,
    buffer: Vec<u8>,
    written: u64,
    /// A write has failed, nobody knows how much of it was done.
    is_broken: bool,
}

impl Output {
    pub fn stdout() -> Self {
        Self {
            out: Box::new(io::stdout()),
            file: None,
            buffer: Vec::new(),
            written: 0,
            is_broken: false,
        }
    }

    /// A file at `path` in the end; until then beside it, with `.part` at the end of its name. Goes on behind the first
    /// `keep` bytes of that one; false if it does not have so many, and is begun anew.
    pub fn file(path: &Path, keep: u64) -> Result<(Self, bool), Failure> {
        let part = with_suffix(path, ".part");
        let problem = |error: io::Error| not_written(&part, &error);
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            // What is in there may be anything.
            .mode(0o600)
            .open(&part)
            .map_err(problem)?;
        let has = file.metadata().map_err(problem)?.len();
        let keep_is_there = has >= keep;
        let keep = if keep_is_there { keep } else { 0 };
        file.set_len(keep).map_err(problem)?;
        let mut out = file.try_clone().map_err(problem)?;
        out.seek(SeekFrom::Start(keep)).map_err(problem)?;
        let output = Self {
            out: Box::new(out),
            file: Some((file, part, path.to_owned())),
            buffer: Vec::new(),
            written: keep,
            is_broken: false,
        };
        Ok((output, keep_is_there))
    }

    pub fn write(&mut self, records: &[Record]) -> Result<(), Failure> {
        for record in records {
            line::write(record, &mut self.buffer).map_err(failure)?;
            if self.buffer.len() >= WRITE_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let written = self.out.write_all(&self.buffer);
        if let Err(error) = written.and_then(|()| self.out.flush()) {
            self.is_broken = true;
            return Err(match &self.file {
                Some((_, part, _)) => not_written(part, &error),
                None => not_printed(&error),
            });
        }
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Forgets what was written before.
    pub fn clear(&mut self) -> Result<(), Failure> {
        if let Some((file, part, _)) = &mut self.file {
            // Both handles have one place in the file.
            file.set_len(0)
                .and_then(|()| file.rewind())
                .map_err(|error| not_written(part, &error))?;
        }
        self.written = 0;
        Ok(())
    }

    /// Whether a write has failed. What was written since the last [`sync`](Output::sync) is then not to be relied on.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Has everything on the disk; returns how many bytes that are.
    pub fn sync(&mut self) -> Result<u64, Failure> {
        self.flush()?;
        if let Some((file, part, _)) = &self.file
            && let Err(error) = file.sync_data()
        {
            self.is_broken = true;
            return Err(not_written(part, &error));
        }
        Ok(self.written)
    }

    /// What has been written, to be read; `None` for standard output.
    pub fn reader(&mut self) -> Result<Option<Lines>, Failure> {
        self.sync()?;
        match &self.file {
            Some((_, part, _)) => Lines::open(part).map(Some),
            None => Ok(None),
        }
    }

    /// Gives the file its name.
    pub fn finish(mut self) -> Result<(), Failure> {
        self.sync()?;
        if let Some((_, part, path)) = &self.file {
            let renamed = std::fs::rename(part, path);
            renamed.map_err(|error| {
                failure(format!(
                    "can't rename {} to {}: {error}",
                    part.display(),
                    path.display()
                ))
            })?;
            // So that the name, too, outlives a power cut.
            let directory = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty())
                .unwrap_or(Path::new("."));
            File::open(directory)
                .and_then(|directory| directory.sync_all())
                .map_err(|error| failure(format!("can't sync {}: {error}", directory.display())))?;
        }
        Ok(())
    }
}

/// Why a file can't be written, and what to do.
fn not_written(path: &Path, error: &io::Error) -> Failure {
    let advice = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room there",
        ErrorKind::FileTooLarge => "allow files of that size (ulimit -f)",
        _ => "see that this can be written, or export to another path",
    };
    failure(format!(
        "can't write {}: {error}; {advice}, and run the same again: it goes on where it was",
        path.display()
    ))
}

/// Why standard output can't be written, and what to do.
fn not_printed(error: &io::Error) -> Failure {
    const ADVICE: &str = "the export is not whole, and can't be gone on with; to have all of it, give the path of a file";
    match error.kind() {
        ErrorKind::BrokenPipe => Failure {
            text: format!(
                "who read standard output has ended: {ADVICE}, or have it read to the end"
            ),
            code: EXIT_PIPE_CLOSED,
        },
        _ => failure(format!("can't write to standard output: {error}; {ADVICE}")),
    }
}

/// `path` with more at the end of its name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
