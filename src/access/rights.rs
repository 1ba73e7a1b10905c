//! What a user may do: which commands, on which keys and channels.

use bytes::Bytes;

use crate::command::table::{self, COMMANDS, Spec};
use crate::command::{glob, keyed, subcommands};

use subcommands::SUBCOMMANDS;

/// The numbers of commands and subcommands: first those of [`COMMANDS`], then those of [`SUBCOMMANDS`].
const BITS: usize = COMMANDS.len() + SUBCOMMANDS.len();

/// A bit for each command and subcommand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Bits([u64; BITS.div_ceil(64)]);

impl Bits {
    const ALL: Bits = Bits([u64::MAX; BITS.div_ceil(64)]);

    fn has(&self, at: usize) -> bool {
        self.0[at / 64] >> (at % 64) & 1 == 1
    }

    fn set(&mut self, at: usize, is_allowed: bool) {
        let bit = 1 << (at % 64);
        match is_allowed {
            true => self.0[at / 64] |= bit,
            false => self.0[at / 64] &= !bit,
        }
    }
}

/// Keys that a user may use.
#[derive(Debug, Clone, PartialEq, Eq)]
struct KeyPattern {
    pattern: Bytes,
    reads: bool,
    writes: bool,
}

/// What a user may do.
#[derive(Debug, Clone, Default)]
pub struct Rights {
    commands: Bits,
    /// All commands, and none has been taken away.
    is_every_command: bool,
    /// The rules for commands as they were given, those before the last of `+@all` and `-@all` left out.
    rules: Vec<String>,
    is_every_key: bool,
    keys: Vec<KeyPattern>,
    is_every_channel: bool,
    channels: Vec<Bytes>,
}

/// What a user may not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// A command, with its subcommand as in `config|get`.
    Command(String),
    /// A key.
    Key(Bytes),
    /// A channel, or a pattern of channels.
    Channel(Bytes),
}

impl Denial {
    /// The error, in Redis' words.
    pub fn text(&self) -> String {
        match self {
            Denial::Command(name) => {
                format!("NOPERM this user has no permissions to run the '{name}' command")
            }
            Denial::Key(_) => "NOPERM this user has no permissions to access one of the keys used as arguments".to_owned(),
            Denial::Channel(_) => "NOPERM this user has no permissions to access one of the channels used as arguments".to_owned(),
        }
    }

    /// The error for a command that was queued when it was still allowed.
    pub fn text_at_exec(&self) -> String {
        let reason = match self {
            Denial::Command(_) => "no permission to execute the command or subcommand",
            Denial::Key(_) => "no permission to touch the specified keys",
            Denial::Channel(_) => {
                "no permission to access one of the channels used as arguments to the command"
            }
        };
        format!(
            "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no longer allowed for the following reason: {reason}"
        )
    }

    /// What ACL DRYRUN answers.
    pub fn text_of_dry_run(&self) -> String {
        let shown = |name: &Bytes| String::from_utf8_lossy(name).into_owned();
        match self {
            Denial::Command(name) => {
                format!("This user has no permissions to run the '{name}' command")
            }
            Denial::Key(key) => {
                format!(
                    "This user has no permissions to access the '{}' key",
                    shown(key)
                )
            }
            Denial::Channel(channel) => format!(
                "This user has no permissions to access the '{}' channel",
                shown(channel)
            ),
        }
    }

    /// The kind, as ACL LOG names it.
    pub fn reason(&self) -> &'static str {
        match self {
            Denial::Command(_) => "command",
            Denial::Key(_) => "key",
            Denial::Channel(_) => "channel",
        }
    }

    /// What it is about.
    pub fn object(&self) -> Bytes {
        match self {
            Denial::Command(name) => Bytes::from(name.clone()),
            Denial::Key(name) | Denial::Channel(name) => name.clone(),
        }
    }
}

impl Rights {
    /// Whether nothing is forbidden.
    pub fn are_unlimited(&self) -> bool {
        self.is_every_command && self.is_every_key && self.is_every_channel
    }

    /// Whether nothing is allowed but what everybody may: AUTH, HELLO, QUIT, RESET.
    pub fn are_none(&self) -> bool {
        !self.is_every_command && self.commands == Bits::default()
    }

    /// Looks whether a request is allowed: the command by its name, then the keys, then the channels, as Redis does. A
    /// command that is not in the table is left to those who refuse it.
    ///
    /// # Errors
    ///
    /// The first thing that is not.
    pub fn check(&self, words: &[Bytes]) -> Result<(), Denial> {
        let Some(at) = words.first().and_then(|name| table::position(name)) else {
            return Ok(());
        };
        let spec = &COMMANDS[at];
        if !self.may_run(at, spec, words) {
            return Err(Denial::Command(full_name(spec, at, words)));
        }
        if !self.is_every_key {
            for (position, key) in keyed::keys(spec, words) {
                let (reads, writes) = keyed::needs(spec, position, words);
                if !self.may_use(key, reads, writes) {
                    return Err(Denial::Key(Bytes::copy_from_slice(key)));
                }
            }
        }
        if !self.is_every_channel {
            let (channels, are_patterns) = keyed::channels(spec, words);
            if let Some(channel) = channels
                .iter()
                .find(|channel| !self.may_hear(channel, are_patterns))
            {
                return Err(Denial::Channel(Bytes::copy_from_slice(channel)));
            }
        }
        Ok(())
    }

    fn may_run(&self, at: usize, spec: &Spec, words: &[Bytes]) -> bool {
        if self.is_every_command {
            return true;
        }
        let bit = match words.get(1).filter(|_| !subcommands::of(at).is_empty()) {
            // One that is not in the table is nobody's who may not do everything.
            Some(name) => subcommands::position(at, name).map(|sub| COMMANDS.len() + sub),
            None => Some(at),
        };
        bit.is_some_and(|bit| self.commands.has(bit)) || spec.flags.contains(&"no_auth")
    }

    fn may_use(&self, key: &[u8], reads: bool, writes: bool) -> bool {
        self.keys.iter().any(|allowed| {
            (allowed.reads || !reads)
                && (allowed.writes || !writes)
                && glob::matches(&allowed.pattern, key, false)
        })
    }

    /// Whether a user may send to or hear a channel. A pattern has to be one of those allowed, to the letter.
    pub fn may_hear(&self, channel: &[u8], is_pattern: bool) -> bool {
        self.is_every_channel
            || self.channels.iter().any(|allowed| match is_pattern {
                true => allowed == channel,
                false => glob::matches(allowed, channel, false),
            })
    }

    /// `+@all` or `-@all`.
    pub(super) fn set_every_command(&mut self, is_allowed: bool) {
        self.is_every_command = is_allowed;
        self.commands = match is_allowed {
            true => Bits::ALL,
            false => Bits::default(),
        };
        self.rules = match is_allowed {
            true => vec!["+@all".to_owned()],
            false => Vec::new(),
        };
    }

    /// Allows or forbids a command, with its subcommands.
    pub(super) fn set_command(&mut self, at: usize, is_allowed: bool) {
        self.commands.set(at, is_allowed);
        for sub in subcommands::of(at) {
            self.commands.set(COMMANDS.len() + sub, is_allowed);
        }
        self.is_every_command &= is_allowed;
    }

    /// Allows or forbids one subcommand.
    pub(super) fn set_subcommand(&mut self, at: usize, is_allowed: bool) {
        self.commands.set(COMMANDS.len() + at, is_allowed);
        self.is_every_command &= is_allowed;
    }

    /// Whether the same commands are allowed.
    pub(super) fn have_commands_of(&self, other: &Rights) -> bool {
        self.commands == other.commands && self.is_every_command == other.is_every_command
    }

    /// Notes a rule as it was given, which ends that of the same name before it.
    pub(super) fn note_rule(&mut self, name: &str, is_allowed: bool) {
        let sub = format!("{name}|");
        self.rules
            .retain(|rule| rule[1..] != *name && !rule[1..].starts_with(&sub));
        let sign = if is_allowed { '+' } else { '-' };
        self.rules.push(format!("{sign}{name}"));
    }

    pub(super) fn has_every_key(&self) -> bool {
        self.is_every_key
    }

    pub(super) fn set_every_key(&mut self, is_allowed: bool) {
        self.is_every_key = is_allowed;
        self.keys = Vec::new();
    }

    pub(super) fn allow_keys(&mut self, pattern: &str, reads: bool, writes: bool) {
        let pattern = Bytes::copy_from_slice(pattern.as_bytes());
        match self.keys.iter_mut().find(|known| known.pattern == pattern) {
            Some(known) => {
                known.reads |= reads;
                known.writes |= writes;
            }
            None => self.keys.push(KeyPattern {
                pattern,
                reads,
                writes,
            }),
        }
    }

    pub(super) fn has_every_channel(&self) -> bool {
        self.is_every_channel
    }

    pub(super) fn set_every_channel(&mut self, is_allowed: bool) {
        self.is_every_channel = is_allowed;
        self.channels = Vec::new();
    }

    pub(super) fn allow_channels(&mut self, pattern: &str) {
        let pattern = Bytes::copy_from_slice(pattern.as_bytes());
        if !self.channels.contains(&pattern) {
            self.channels.push(pattern);
        }
    }

    /// The rules for commands, as ACL GETUSER shows them.
    pub fn command_rules(&self) -> String {
        let rules = self.rules.join(" ");
        match rules.as_str() {
            "" => "-@all".to_owned(),
            _ if rules.starts_with("+@all") => rules,
            _ => format!("-@all {rules}"),
        }
    }

    /// The patterns of keys, as ACL GETUSER shows them.
    pub fn key_rules(&self) -> String {
        if self.is_every_key {
            return "~*".to_owned();
        }
        let rules = self.keys.iter().map(|allowed| {
            let pattern = String::from_utf8_lossy(&allowed.pattern);
            match (allowed.reads, allowed.writes) {
                (true, false) => format!("%R~{pattern}"),
                (false, true) => format!("%W~{pattern}"),
                _ => format!("~{pattern}"),
            }
        });
        rules.collect::<Vec<_>>().join(" ")
    }

    /// The patterns of channels, as ACL GETUSER shows them.
    pub fn channel_rules(&self) -> String {
        if self.is_every_channel {
            return "&*".to_owned();
        }
        let rules = self
            .channels
            .iter()
            .map(|pattern| format!("&{}", String::from_utf8_lossy(pattern)));
        rules.collect::<Vec<_>>().join(" ")
    }
}

/// The name as Redis' errors have it: with the subcommand of a container.
fn full_name(spec: &Spec, at: usize, words: &[Bytes]) -> String {
    let sub = words
        .get(1)
        .and_then(|name| subcommands::position(at, name));
    match sub {
        Some(sub) => format!("{}|{}", spec.name, SUBCOMMANDS[sub].name),
        None => spec.name.to_owned(),
    }
}
