//! A case: what is sent, in a form that shrinks and can be read.

use std::fmt;
use std::sync::OnceLock;

use crate::harness::shard_of;

/// One word of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// A key, by its number: which bytes it is depends on the case.
    Key(usize),
    /// A time from now on, of seconds or milliseconds. The same time never comes twice in a case: which of two such
    /// deadlines is the later one (EXPIRE … GT) would be a matter of luck.
    Span {
        /// In the unit.
        least: i64,
        /// A second in the unit.
        second: i64,
    },
    /// Anything else.
    Bytes(Vec<u8>),
}

/// The words of one command.
pub type Words = Vec<Word>;

/// Where the keys of a case are, were there three shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// On one shard.
    Together,
    /// On all of them.
    Apart,
}

/// How many keys a case has.
pub const KEYS: usize = 6;

/// The shards over which keys are spread.
pub const SHARDS: usize = 3;

impl Spread {
    fn key(self, number: usize) -> Vec<u8> {
        let name: &[u8] = match number {
            0 => b"a",
            1 => b"key:",
            2 => b"{tag}",
            3 => b"\xff\0\r\n\"",
            4 => "ключ ".as_bytes(),
            // Longer than an index entry of PostgreSQL may be.
            _ => &[b'l'; 3000],
        };
        let shard = match self {
            Spread::Together => 0,
            // The empty key is as good as any other.
            Spread::Apart if number == 0 => return Vec::new(),
            Spread::Apart => number % SHARDS,
        };
        let numbered = |suffix: u32| [name, suffix.to_string().as_bytes()].concat();
        (0..)
            .map(numbered)
            .find(|key| shard_of(key, SHARDS) == shard)
            .expect("some suffix")
    }

    /// All keys.
    pub fn keys(self) -> &'static [Vec<u8>] {
        static TOGETHER: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
        static APART: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
        let keys = match self {
            Spread::Together => &TOGETHER,
            Spread::Apart => &APART,
        };
        keys.get_or_init(|| (0..KEYS).map(|number| self.key(number)).collect())
    }
}

/// Commands that are sent together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    /// On which of the two connections.
    pub connection: usize,
    /// What is sent.
    pub commands: Vec<Words>,
}

/// All that is sent from an empty database on.
#[derive(Clone, PartialEq, Eq)]
pub struct Case {
    /// Whether both connections begin with HELLO 3.
    pub resp3: bool,
    /// Which keys are used.
    pub spread: Spread,
    /// In their order: each is answered before the next is sent.
    pub pipelines: Vec<Pipeline>,
}

/// A command as it is sent.
pub type Sent = Vec<Vec<u8>>;

impl Case {
    /// What is sent, by the numbers of the connections.
    pub fn sent(&self) -> Vec<(usize, Vec<Sent>)> {
        let keys = self.spread.keys();
        let mut spans = 0;
        let mut bytes = |word: &Word| match word {
            Word::Key(number) => keys[*number].clone(),
            Word::Span { least, second } => {
                spans += 1;
                (least + spans * 7 * second).to_string().into_bytes()
            }
            Word::Bytes(bytes) => bytes.clone(),
        };
        let pipelines = self.pipelines.iter();
        pipelines
            .map(|pipeline| {
                let commands = pipeline.commands.iter();
                let sent = commands.map(|words| words.iter().map(&mut bytes).collect());
                (pipeline.connection, sent.collect())
            })
            .collect()
    }
}

/// What the connections are called.
pub const CONNECTIONS: [&str; 2] = ["A", "B"];

/// A command as it would be typed, long words abridged.
pub fn line(words: &[Vec<u8>]) -> String {
    let shown: Vec<String> = words.iter().map(|word| shown(word)).collect();
    shown.join(" ")
}

fn shown(word: &[u8]) -> String {
    const SHOWN_MAX: usize = 120;
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !b"\"'\\".contains(byte);
    match word.get(..SHOWN_MAX) {
        Some(start) => format!("\"{}\"…({} bytes)", start.escape_ascii(), word.len()),
        None if !word.is_empty() && word.iter().all(is_plain) => {
            String::from_utf8_lossy(word).into_owned()
        }
        None => format!("\"{}\"", word.escape_ascii()),
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = if self.resp3 { 3 } else { 2 };
        writeln!(f, "RESP{version}, keys {:?}", self.spread)?;
        for (connection, commands) in self.sent() {
            for (number, command) in commands.iter().enumerate() {
                let mark = if number == 0 {
                    CONNECTIONS[connection]
                } else {
                    " "
                };
                writeln!(f, "  {mark}> {}", line(command))?;
            }
        }
        Ok(())
    }
}
