//! How far a transfer has come, in a file, so that it can be gone on with.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::file::with_suffix;
use super::page::Position;
use super::tally::Tally;
use crate::failure::{Failure, failure, refused};

const FORMAT: u32 = 1;

/// What a transfer is about; another one has no business with its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Where from, without a password.
    pub source: String,
    /// Where to, without a password.
    pub target: String,
    /// The options that decide what is moved.
    pub options: String,
}

/// What is in the file.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    format: u32,
    subject: Subject,
    /// Everything has been copied; what was left is the check.
    is_copied: bool,
    position: Option<Position>,
    /// Bytes of the file that is written which belong to the position.
    output_bytes: u64,
    tally: Tally,
}

/// The state of a transfer, with its file if it has one.
pub struct State {
    path: Option<PathBuf>,
    saved: Saved,
    last: Instant,
    every: Duration,
}

impl State {
    /// What the file at `path` has, or the beginning if there is none. Without a path nothing is kept. It is written
    /// again after `every`: what a kill loses at most is read and written again, which changes nothing.
    ///
    /// # Errors
    ///
    /// It is of another transfer, or can't be read.
    pub fn open(path: Option<PathBuf>, subject: Subject, every: Duration) -> Result<Self, Failure> {
        let mut state = Self {
            path,
            saved: Saved {
                format: FORMAT,
                subject,
                is_copied: false,
                position: None,
                output_bytes: 0,
                tally: Tally::default(),
            },
            last: Instant::now(),
            every,
        };
        let Some(path) = &state.path else {
            return Ok(state);
        };
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(state),
            Err(error) => return Err(refused(format!("can't read {}: {error}", path.display()))),
        };
        let advice = "remove it to begin anew, or give --state another name";
        let saved: Saved = serde_json::from_slice(&text).map_err(|error| {
            refused(format!(
                "{} is not the state of a transfer ({error}); {advice}",
                path.display()
            ))
        })?;
        let (found, wanted) = (&saved.subject, &state.saved.subject);
        if saved.format != FORMAT || found != wanted {
            return Err(refused(format!(
                "{} is the state of another transfer: {} to {} ({}), and this is {} to {} ({}); {advice}",
                path.display(),
                found.source,
                found.target,
                found.options,
                wanted.source,
                wanted.target,
                wanted.options
            )));
        }
        state.saved = saved;
        Ok(state)
    }

    pub fn position(&self) -> Option<&Position> {
        self.saved.position.as_ref()
    }

    /// How far the position is, in what the source counts: keys, or bytes of a file.
    pub fn amount(&self) -> u64 {
        let tally = &self.saved.tally;
        match &self.saved.position {
            None => 0,
            Some(Position::Byte { offset }) => *offset,
            Some(Position::Scan { .. } | Position::Key { .. }) => {
                tally.read + tally.gone + tally.nulls
            }
        }
    }

    pub fn output_bytes(&self) -> u64 {
        self.saved.output_bytes
    }

    pub fn is_copied(&self) -> bool {
        self.saved.is_copied
    }

    pub fn tally(&mut self) -> &mut Tally {
        &mut self.saved.tally
    }

    /// Forgets where it was.
    pub fn begin_anew(&mut self) {
        self.saved.position = None;
        self.saved.output_bytes = 0;
        self.saved.is_copied = false;
        self.saved.tally = Tally::default();
    }

    /// Everything before `position` has been done.
    pub fn reached(&mut self, position: Position) {
        self.saved.position = Some(position);
    }

    /// Everything has been copied.
    pub fn copied(&mut self) {
        self.saved.is_copied = true;
    }

    /// Whether it is time to save.
    pub fn is_due(&self) -> bool {
        self.path.is_some() && self.last.elapsed() >= self.every
    }

    /// Saves: the file is the old or the new one, whenever the machine stops.
    pub fn save(&mut self, output_bytes: u64) -> Result<(), Failure> {
        self.last = Instant::now();
        self.saved.output_bytes = output_bytes;
        let Some(path) = &self.path else {
            return Ok(());
        };
        write(path, &self.saved).map_err(|error| {
            let advice = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "make room there, and run the same again"
                }
                _ => "give --state a file in a directory that can be written",
            };
            failure(format!(
                "can't write the state {}: {error}; {advice}",
                path.display()
            ))
        })
    }

    /// Removes the file: it is done.
    pub fn remove(&self) {
        if let Some(path) = &self.path {
            // It may never have been written.
            std::fs::remove_file(path).ok();
        }
    }

    /// Where it is kept.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }
}

fn write(path: &Path, saved: &Saved) -> io::Result<()> {
    let new = with_suffix(path, ".new");
    let mut file = File::create(&new)?;
    file.write_all(&serde_json::to_vec(saved)?)?;
    file.sync_data()?;
    std::fs::rename(&new, path)
}

/// A name for the file, made of what the transfer is about.
pub fn default_name(kind: &str, label: &str) -> PathBuf {
    let mut name = String::new();
    for letter in label.chars() {
        match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' => name.push(letter),
            _ if name.ends_with('-') || name.is_empty() => {}
            _ => name.push('-'),
        }
    }
    PathBuf::from(format!(
        "respgres-{kind}-{}.state",
        name.trim_end_matches('-')
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(source: &str) -> Subject {
        Subject {
            source: source.into(),
            target: "redis://127.0.0.1:6379/0".into(),
            options: String::new(),
        }
    }

    #[test]
    fn it_is_there_again_and_another_transfer_is_refused() {
        let dir = std::env::temp_dir().join(format!("respgres-state-{:x}", fastrand::u64(..)));
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("state");
        let open = |source: &str| State::open(Some(path.clone()), subject(source), Duration::ZERO);
        let mut state = open("redis://a/0").unwrap();
        assert_eq!(state.position(), None);
        state.reached(Position::Byte { offset: 7 });
        state.tally().read = 3;
        state.save(11).unwrap();
        let mut again = open("redis://a/0").unwrap();
        assert_eq!(again.position(), Some(&Position::Byte { offset: 7 }));
        assert_eq!((again.tally().read, again.output_bytes()), (3, 11));
        assert_eq!(again.amount(), 7, "bytes of a file");
        again.tally().gone = 2;
        again.reached(Position::Key { base64: "".into() });
        assert_eq!(again.amount(), 5, "keys, of which some have gone");
        again.begin_anew();
        assert_eq!(again.amount(), 0);
        let other = open("redis://b/0");
        let text = other.err().unwrap().text;
        assert!(
            text.contains("redis://a/0") && text.contains("--state"),
            "{text}"
        );
        std::fs::write(&path, "{").unwrap();
        let text = open("redis://a/0").err().unwrap().text;
        assert!(text.contains("not the state"), "{text}");
        again.remove();
        assert!(!path.exists());
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_name_is_made_of_the_source() {
        assert_eq!(
            default_name("import", "redis://127.0.0.1:6379/0"),
            Path::new("respgres-import-redis-127.0.0.1-6379-0.state")
        );
        assert_eq!(
            default_name("import", "../a b"),
            Path::new("respgres-import-..-a-b.state")
        );
    }
}
