//! Commands that are done at one instant although their keys are on several shards.

use super::Server;
use crate::command::{Command, Many};

impl Server {
    /// MSET over several shards is a transaction if that is wanted; else each shard does its part.
    pub(super) fn as_a_whole(&self, command: Command) -> Command {
        if !self.settings.atomic_mset || !self.engine.spans_shards(|tell| command.keys(tell)) {
            return command;
        }
        match command {
            Command::MSet(pairs) => Command::Together(Many::Set(pairs)),
            command => command,
        }
    }

    /// Whether it is a transaction over several shards.
    pub(super) fn spans_shards(&self, command: &Command) -> bool {
        matches!(command, Command::Together(_))
            && self.engine.spans_shards(|tell| command.keys(tell))
    }
}
