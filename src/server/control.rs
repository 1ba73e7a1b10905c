//! Commands on the connection and the server.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::AsyncWrite;

use super::clients::Client;
use super::dispatch::Output;
use super::pubsub::{KINDS, PubSub};
use super::session::Session;
use super::{Server, info, introspect, memory, slowlog, spec_of};
use crate::command::Control;
use crate::command::control::{ChannelKind, Subscription};
use crate::command::subcommands::is_container;
use crate::metrics::process::unix_time;
use crate::resp::{Reply, Version};

impl Server {
    /// What `control` answers. Everything that came before it on the connection has been answered.
    pub(super) async fn control(
        &self,
        client: &Arc<Client>,
        session: &mut Session,
        control: Control,
    ) -> Reply {
        match control {
            Control::Ping(message) if session.is_restricted && is_in_channels(client) => {
                let message = message.unwrap_or_default();
                Reply::Array(vec![Reply::text("pong"), Reply::Bulk(message)])
            }
            Control::Ping(None) => Reply::Status("PONG"),
            Control::Ping(Some(message)) | Control::Echo(message) => Reply::Bulk(message),
            Control::Select => Reply::OK,
            Control::Quit => {
                session.is_closing = true;
                Reply::OK
            }
            Control::Hello(hello) => {
                let credentials = hello.auth.as_ref();
                match self.log_in(client, session, credentials, "HELLO").await {
                    Ok(()) => session.hello(client, hello),
                    Err(refusal) => refusal,
                }
            }
            Control::Auth(credentials) => {
                let logged_in = self.log_in(client, session, Some(&credentials), "AUTH");
                logged_in
                    .await
                    .map_or_else(|refusal| refusal, |()| Reply::OK)
            }
            Control::Reset => {
                self.channels.leave(client).await;
                self.monitors.remove(client);
                client.set_monitor(false);
                session.reset(self, client)
            }
            Control::Client(subcommand) => session.client(self, client, subcommand),
            Control::Introspect(subcommand) => introspect::command(subcommand),
            Control::Info(sections) => Reply::Verbatim(info::info(self, &sections).await),
            Control::Config(subcommand) => self.config(subcommand),
            Control::Time => {
                let now = unix_time();
                let [seconds, micros] = [now.as_secs(), now.subsec_micros().into()];
                Reply::Array(vec![
                    Reply::text(seconds.to_string()),
                    Reply::text(micros.to_string()),
                ])
            }
            // What was acknowledged a moment ago is on disk.
            Control::LastSave => Reply::Integer(unix_time().as_secs() as i64),
            Control::Role => Reply::Array(vec![
                Reply::text("master"),
                Reply::Integer(0),
                Reply::Array(Vec::new()),
            ]),
            // Replicas of the shards are PostgreSQL's affair: none is known here.
            Control::Wait => Reply::Integer(0),
            Control::Slowlog(subcommand) => {
                slowlog::answer(&self.engine.metrics().slow_log, subcommand)
            }
            Control::Latency(subcommand) => self.latency(subcommand),
            Control::Memory(subcommand) => memory::memory(self, subcommand).await,
            Control::Acl(subcommand) => self.acl(client, session, subcommand).await,
            Control::ModuleList => Reply::Array(Vec::new()),
            Control::Publish {
                kind,
                channel,
                message,
            } => self.channels.publish(kind, channel, message).await,
            Control::PubSub(subcommand) => self.channels.report(subcommand).await,
            Control::Proxy(subcommand) => self.proxy(subcommand).await,
            // These answer otherwise than with one reply; see `answer`.
            Control::Monitor => {
                Reply::Error("ERR MONITOR isn't allowed for DENY BLOCKING client".into())
            }
            Control::Subscription(_) => Reply::Error(
                "ERR subscriptions can't be changed in a transaction of this proxy".into(),
            ),
        }
    }

    /// Answers `control`, whatever it takes. False if the connection shall be closed.
    pub(super) async fn answer<S: AsyncWrite + Unpin>(
        &self,
        client: &Arc<Client>,
        session: &mut Session,
        control: Control,
        out: &mut Output<'_, S>,
    ) -> io::Result<bool> {
        match control {
            Control::Subscription(subscription) => {
                self.subscription(client, session, subscription, out)
                    .await?;
            }
            // Who watches already gets no answer, as in Redis.
            Control::Monitor if client.is_monitor() => {}
            Control::Monitor => {
                client.set_monitor(true);
                session.is_restricted = true;
                self.monitors.add(client);
                out.push(&Reply::OK, session).await?;
            }
            control => {
                let has_messages = match control {
                    Control::Reset => true,
                    // One's own message comes before the reply.
                    Control::Publish { .. } => client.is_subscriber(),
                    _ => false,
                };
                let reply = self.control(client, session, control).await;
                if has_messages {
                    client.mailbox.take(out.buffer)?;
                }
                out.push(&reply, session).await?;
            }
        }
        Ok(!session.is_closing)
    }

    async fn subscription<S: AsyncWrite + Unpin>(
        &self,
        client: &Arc<Client>,
        session: &mut Session,
        Subscription {
            kind,
            mut names,
            begins,
        }: Subscription,
        out: &mut Output<'_, S>,
    ) -> io::Result<()> {
        let counts = if begins {
            match self.channels.subscribe(client, kind, &names).await {
                Ok(counts) => counts,
                Err(unreachable) => return out.push(&unreachable.into(), session).await,
            }
        } else {
            if names.is_empty() {
                names = self.channels.names(client, kind);
            }
            self.channels.unsubscribe(client, kind, &names).await
        };
        session.is_restricted = client.is_subscriber() || client.is_monitor();
        // No message of a channel comes after the confirmation that it was left.
        client.mailbox.take(out.buffer)?;
        // Confirmations are messages, which CLIENT REPLY does not leave out.
        session.replies.is_next_sent();
        if names.is_empty() {
            let count = PubSub::count(client, kind);
            out.write(&confirmation(kind, begins, None, count), session)
                .await?;
        }
        for (name, count) in names.into_iter().zip(counts) {
            let confirmation = confirmation(kind, begins, Some(name), count);
            out.write(&confirmation, session).await?;
        }
        Ok(())
    }

    /// When a connection has ended.
    pub(super) async fn forget(&self, client: &Arc<Client>) {
        if client.is_monitor() {
            self.monitors.remove(client);
        }
        if KINDS.iter().any(|kind| client.subscriptions(*kind) > 0) {
            self.channels.leave(client).await;
        }
    }
}

/// Why a connection that is subscribed to channels, or a monitor, may not do this.
pub(super) fn refusal(client: &Client, words: &[Bytes]) -> Option<String> {
    let spec = spec_of(words).filter(|spec| spec.accepts(words.len()))?;
    if is_in_channels(client) {
        let is_allowed = matches!(
            spec.name,
            "subscribe"
                | "unsubscribe"
                | "psubscribe"
                | "punsubscribe"
                | "ssubscribe"
                | "sunsubscribe"
                | "ping"
                | "quit"
                | "reset"
        );
        if !is_allowed {
            let name = full_name(spec.name, words);
            return Some(format!(
                "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
            ));
        }
    }
    let is_on_data = spec.flags.contains(&"write")
        || spec.flags.contains(&"readonly")
        || matches!(spec.name, "publish" | "spublish");
    (client.is_monitor() && is_on_data)
        .then(|| "ERR Replica can't interact with the keyspace".to_owned())
}

/// The name as Redis' errors have it: with the subcommand of a container.
fn full_name(name: &str, words: &[Bytes]) -> String {
    match words.get(1).filter(|_| is_container(name)) {
        Some(subcommand) => {
            let subcommand = String::from_utf8_lossy(subcommand).to_ascii_lowercase();
            format!("{name}|{subcommand}")
        }
        None => name.to_owned(),
    }
}

/// Whether a connection is one for messages alone, which RESP2 can't tell from replies.
fn is_in_channels(client: &Client) -> bool {
    client.version() == Version::Resp2 && client.is_subscriber()
}

fn confirmation(kind: ChannelKind, begins: bool, name: Option<Bytes>, count: usize) -> Reply {
    let what = match (kind, begins) {
        (ChannelKind::Channel, true) => "subscribe",
        (ChannelKind::Channel, false) => "unsubscribe",
        (ChannelKind::Pattern, true) => "psubscribe",
        (ChannelKind::Pattern, false) => "punsubscribe",
        (ChannelKind::Shard, true) => "ssubscribe",
        (ChannelKind::Shard, false) => "sunsubscribe",
    };
    Reply::Push(vec![
        Reply::text(what),
        Reply::bulk_or_null(name),
        Reply::Integer(count as i64),
    ])
}
