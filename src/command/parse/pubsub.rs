//! Commands on channels.

use bytes::Bytes;

use super::{Parsed, misused_subcommand, subcommand, unknown_subcommand};
use crate::command::control::{ChannelKind, Control, PubSub, Subscription};
use crate::command::{Command, help, wrong_arity};

pub(in crate::command) fn publish(operands: &[Bytes]) -> Parsed {
    message(operands, ChannelKind::Channel, "publish")
}

pub(in crate::command) fn spublish(operands: &[Bytes]) -> Parsed {
    message(operands, ChannelKind::Shard, "spublish")
}

fn message(operands: &[Bytes], kind: ChannelKind, name: &str) -> Parsed {
    match operands {
        [channel, message] => Ok(Command::Control(Control::Publish {
            kind,
            channel: channel.clone(),
            message: message.clone(),
        })),
        _ => Err(wrong_arity(name)),
    }
}

fn subscription(operands: &[Bytes], kind: ChannelKind, begins: bool) -> Parsed {
    Ok(Command::Control(Control::Subscription(Subscription {
        kind,
        names: operands.to_vec(),
        begins,
    })))
}

pub(in crate::command) fn subscribe(operands: &[Bytes]) -> Parsed {
    subscription(operands, ChannelKind::Channel, true)
}

pub(in crate::command) fn unsubscribe(operands: &[Bytes]) -> Parsed {
    subscription(operands, ChannelKind::Channel, false)
}

pub(in crate::command) fn psubscribe(operands: &[Bytes]) -> Parsed {
    subscription(operands, ChannelKind::Pattern, true)
}

pub(in crate::command) fn punsubscribe(operands: &[Bytes]) -> Parsed {
    subscription(operands, ChannelKind::Pattern, false)
}

pub(in crate::command) fn ssubscribe(operands: &[Bytes]) -> Parsed {
    subscription(operands, ChannelKind::Shard, true)
}

pub(in crate::command) fn sunsubscribe(operands: &[Bytes]) -> Parsed {
    subscription(operands, ChannelKind::Shard, false)
}

pub(in crate::command) fn pubsub(operands: &[Bytes]) -> Parsed {
    let (name, rest) = subcommand(operands);
    let asked = match (name.as_str(), rest) {
        ("channels", [] | [_]) => PubSub::Channels(ChannelKind::Channel, rest.first().cloned()),
        ("shardchannels", [] | [_]) => PubSub::Channels(ChannelKind::Shard, rest.first().cloned()),
        ("numsub", channels) => PubSub::Subscribers(ChannelKind::Channel, channels.to_vec()),
        ("shardnumsub", channels) => PubSub::Subscribers(ChannelKind::Shard, channels.to_vec()),
        ("numpat", []) => PubSub::Patterns,
        ("help", []) => return Ok(Command::Help(help::PUBSUB)),
        ("channels" | "shardchannels", _) => return misused_subcommand("PUBSUB", operands),
        ("numpat" | "help", _) => return Err(wrong_arity(&format!("pubsub|{name}"))),
        _ => return unknown_subcommand("PUBSUB", operands.first().map_or(&b""[..], |name| name)),
    };
    Ok(Command::Control(Control::PubSub(asked)))
}
