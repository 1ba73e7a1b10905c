//! What a write operates on: rows, instants, a limit, and commands.

use std::collections::BTreeMap;
use std::fmt;

use bolero::{Driver, ValueGenerator};
use bytes::Bytes;
use respgres::command::{Command, Many, Operation, Row, Rows, Stamp, Timestamp};

use crate::corpus::{Corpus, Words};
use crate::mutate::Dice;

/// The keys that the seeds name, and one that looks like a mistake.
const KEYS: &[&[u8]] = &[b"a", b"b", b"c", b"d", b""];

/// The instant at which most of it happens.
const NOW: i64 = 1_800_000_000_000_000;

/// A key of a shard: its row and the shard's instant.
#[derive(Clone, PartialEq)]
pub struct Place {
    pub row: Option<Row>,
    pub now: Timestamp,
}

impl Place {
    /// The row, unless it has expired.
    pub fn live(&self) -> Option<&Row> {
        self.row.as_ref().filter(|row| row.is_live(self.now))
    }
}

pub type Places = BTreeMap<Bytes, Place>;

/// The rows that operations run on.
pub struct Case {
    pub value_max: usize,
    pub places: Places,
    pub commands: Vec<Words>,
}

/// As a command line that makes it again would be written.
impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "values of up to {} bytes", self.value_max)?;
        for (key, place) in &self.places {
            let now = place.now.micros();
            write!(f, "  \"{}\" at {now}: ", key.escape_ascii())?;
            match &place.row {
                None => writeln!(f, "absent")?,
                Some(row) => {
                    let expires_at = row.expires_at.map(Timestamp::micros);
                    writeln!(f, "\"{}\" until {expires_at:?}", row.value.escape_ascii())?;
                }
            }
        }
        for words in &self.commands {
            let words: Vec<_> = words
                .iter()
                .map(|word| format!("\"{}\"", word.escape_ascii()))
                .collect();
            writeln!(f, "  {}", words.join(" "))?;
        }
        Ok(())
    }
}

impl Case {
    /// The commands on data that are served, as the operations of an EXEC.
    pub fn operations(&self) -> Vec<Operation> {
        let parsed = self.commands.iter().filter_map(|words| {
            let args: Vec<_> = words
                .iter()
                .map(|word| Bytes::copy_from_slice(word))
                .collect();
            let command = Command::parse(&args, self.value_max).ok()?;
            // What is too long is refused before.
            (command.longest_value() <= self.value_max).then_some(command)
        });
        parsed.filter_map(operation).collect()
    }

    pub fn rows(&self) -> Rows {
        rows(&self.places, self.value_max)
    }

    /// Bytes of all words and rows.
    pub fn size(&self) -> usize {
        let words: usize = self
            .commands
            .iter()
            .flatten()
            .map(|word| 16 + word.len())
            .sum();
        let keys: usize = self.places.keys().map(Bytes::len).sum();
        let values = self.places.values().filter_map(|place| place.row.as_ref());
        words + keys + values.map(|row| row.value.len()).sum::<usize>()
    }
}

fn operation(command: Command) -> Option<Operation> {
    Some(match command {
        Command::Read(keys, query) => Many::Read(keys.into_vec(), query).into(),
        Command::Write(key, mutation) => Operation::One(key, mutation),
        Command::Delete(keys) => Many::Delete(keys).into(),
        Command::MSet(pairs) => Many::Set(pairs).into(),
        Command::Together(many) => many.into(),
        Command::Transaction(_) | Command::Help(_) | Command::Keyspace(_) | Command::Control(_) => {
            return None;
        }
    })
}

pub fn rows(places: &Places, value_max: usize) -> Rows {
    let mut rows = Rows::at(Timestamp::from_micros(NOW), value_max);
    for (key, place) in places {
        rows.insert(key.clone(), place.row.clone(), place.now);
    }
    rows
}

/// What is there afterwards.
pub fn places(rows: &Rows) -> Places {
    let place = |(key, slot): (&Bytes, &respgres::command::rows::Slot)| {
        let place = Place {
            row: slot.row.clone(),
            now: slot.now,
        };
        (key.clone(), place)
    };
    rows.iter().map(place).collect()
}

pub struct Cases {
    pub corpus: Corpus,
    pub commands_max: usize,
}

impl ValueGenerator for Cases {
    type Output = Case;

    fn generate<D: Driver>(&self, driver: &mut D) -> Option<Case> {
        let mut dice = Dice(driver);
        let value_max = [0, 1, 16, 100, 1000, 6000][dice.below(6)?];
        let mut places = Places::new();
        for key in KEYS {
            if !dice.once_in(4)? {
                let place = place(&mut dice, value_max)?;
                places.insert(Bytes::from_static(key), place);
            }
        }
        let commands = 1 + dice.below(self.commands_max)?;
        let commands = (0..commands)
            .map(|_| dice.words(&self.corpus))
            .collect::<Option<_>>()?;
        Some(Case {
            value_max,
            places,
            commands,
        })
    }
}

fn place<D: Driver>(dice: &mut Dice<'_, D>, value_max: usize) -> Option<Place> {
    // Clocks of shards differ.
    let now = NOW + [0, 0, 0, 1, -1, 250_000][dice.below(6)?];
    // The limit may have been higher when it was written.
    let most = value_max + 50 * usize::from(dice.once_in(8)?);
    let mut value = dice.text(most)?;
    value.truncate(most);
    let created = now - 1_000_000;
    let expires_at = match dice.below(10)? {
        0..4 => None,
        4 => Some(now),
        5 => Some(now + 1),
        6 => Some(now - 1),
        7 => Some(i64::MIN),
        8 => Some(i64::MAX),
        _ => Some(now + 100_000_000),
    };
    let row = Row {
        value: value.into(),
        created_at: Timestamp::from_micros(created),
        updated_at: Timestamp::from_micros(created + 1),
        expires_at: expires_at.map(Timestamp::from_micros),
        stamp: Stamp::from_bits(1),
    };
    Some(Place {
        row: (!dice.once_in(5)?).then_some(row),
        now: Timestamp::from_micros(now),
    })
}
