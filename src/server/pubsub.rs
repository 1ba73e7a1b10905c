//! Messages between clients: PUBLISH, SUBSCRIBE and relatives.
//! <https://redis.io/docs/latest/develop/interact/pubsub/>
//!
//! ```text
//!   publisher ─► PUBLISH ─► the Redis behind ─► one connection of each proxy ─► mailboxes ─► subscribers
//! ```
//!
//! With Redis behind the proxy, every channel is one of that Redis, so that clients of several proxies
//! reach each other, and programs that use the Redis directly. The connection is made when it is first
//! needed. If it is lost, it is made again and all subscriptions with it; what was sent in between is
//! lost, as when a Redis restarts. With the cache in this process, the clients of this process reach
//! each other.

use std::collections::{BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio_util::sync::CancellationToken;

use super::clients::Client;
use crate::cache::{Cache, Channels, ChannelsAnswer, Message, RedisCache};
use crate::command::control::{self, ChannelKind};
use crate::command::glob;
use crate::resp::{Reply, Version};

/// A Redis that could not be reached is not asked again so soon: its clients are told at once.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The kinds in their order.
pub(super) const KINDS: [ChannelKind; 3] = [
    ChannelKind::Channel,
    ChannelKind::Pattern,
    ChannelKind::Shard,
];

/// Who is subscribed to what, and the way to the Redis.
#[derive(Debug)]
pub(super) struct PubSub {
    subscribers: Mutex<Subscribers>,
    cache: Arc<Cache>,
    link: tokio::sync::Mutex<Link>,
    stop: CancellationToken,
}

/// The connection to the Redis. Who holds it changes subscriptions, so that those in the Redis are those
/// of this process.
#[derive(Debug, Default)]
struct Link {
    channels: Option<Channels>,
    failed: Option<Instant>,
}

/// The Redis can't be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreachable;

impl From<Unreachable> for Reply {
    fn from(_: Unreachable) -> Self {
        Reply::Error(
            "CACHEDOWN the Redis behind the proxy, which passes messages on, can't be reached; try again".into(),
        )
    }
}

#[derive(Debug, Default)]
struct Subscribers {
    by_name: [HashMap<Bytes, Vec<Arc<Client>>>; 3],
    by_client: HashMap<u64, [BTreeSet<Bytes>; 3]>,
}

impl PubSub {
    pub(super) fn new(cache: Arc<Cache>) -> Self {
        Self {
            subscribers: Mutex::default(),
            cache,
            link: tokio::sync::Mutex::default(),
            stop: CancellationToken::new(),
        }
    }

    /// Ends the connection to the Redis.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    fn redis(&self) -> Option<&RedisCache> {
        match &*self.cache {
            Cache::Redis(redis) => Some(redis),
            Cache::Memory(_) => None,
        }
    }

    fn subscribers(&self) -> MutexGuard<'_, Subscribers> {
        self.subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Subscribes a client to some names. Messages that are sent after this has returned arrive.
    /// The answer is how many subscriptions the client has after each name.
    pub(super) async fn subscribe(
        self: &Arc<Self>,
        client: &Arc<Client>,
        kind: ChannelKind,
        names: &[Bytes],
    ) -> Result<Vec<usize>, Unreachable> {
        let mut link = self.link.lock().await;
        if let Some(redis) = self.redis() {
            // With it, all that are there already.
            let channels = self.connected(redis, &mut link).await?;
            let unknown: Vec<Bytes> = {
                let subscribers = self.subscribers();
                let unknown =
                    |name: &&Bytes| !subscribers.by_name[kind as usize].contains_key(*name);
                names.iter().filter(unknown).cloned().collect()
            };
            // In order, as they are kept.
            let before = self.names(client, kind);
            // Noted first, as messages may come together with the confirmation.
            let counts = self.subscribers().add(client, kind, names);
            if channels.change(kind, true, &unknown).await.is_ok() {
                return Ok(counts);
            }
            let added: Vec<Bytes> = names
                .iter()
                .filter(|name| before.binary_search(name).is_err())
                .cloned()
                .collect();
            self.subscribers().remove(client, kind, &added);
            return Err(Unreachable);
        }
        Ok(self.subscribers().add(client, kind, names))
    }

    /// Ends subscriptions of a client. The answer is how many it has after each name.
    pub(super) async fn unsubscribe(
        self: &Arc<Self>,
        client: &Client,
        kind: ChannelKind,
        names: &[Bytes],
    ) -> Vec<usize> {
        let link = self.link.lock().await;
        let (counts, left) = self.subscribers().remove(client, kind, names);
        if let Some(channels) = &link.channels {
            // If it is lost, the next one does not have them.
            let _ = channels.change(kind, false, &left).await;
        }
        counts
    }

    /// Ends all subscriptions of a client.
    pub(super) async fn leave(self: &Arc<Self>, client: &Client) {
        for kind in KINDS {
            let names = self.names(client, kind);
            self.unsubscribe(client, kind, &names).await;
        }
    }

    /// What a client is subscribed to.
    pub(super) fn names(&self, client: &Client, kind: ChannelKind) -> Vec<Bytes> {
        let subscribers = self.subscribers();
        let all = subscribers.by_client.get(&client.id);
        all.map_or_else(Vec::new, |all| all[kind as usize].iter().cloned().collect())
    }

    /// How many subscriptions a client has, as confirmations count them: those to shard channels
    /// apart.
    pub(super) fn count(client: &Client, kind: ChannelKind) -> usize {
        let count = |kind| client.subscriptions(kind) as usize;
        match kind {
            ChannelKind::Shard => count(kind),
            _ => count(ChannelKind::Channel) + count(ChannelKind::Pattern),
        }
    }

    /// PUBLISH: how many clients have got it. Another proxy with subscribers counts as one.
    pub(super) async fn publish(
        self: &Arc<Self>,
        kind: ChannelKind,
        channel: Bytes,
        payload: Bytes,
    ) -> Reply {
        let Some(redis) = self.redis() else {
            return Reply::Integer(self.deliver_here(kind, &channel, &payload) as i64);
        };
        let name = match kind {
            ChannelKind::Shard => "SPUBLISH",
            _ => "PUBLISH",
        };
        let (own, here) = self.subscribers().audience(kind, &channel);
        match self.ask(redis, name, &[&channel, &payload]).await {
            Ok(ChannelsAnswer::Integer(count)) => {
                Reply::Integer((count - own as i64).max(0) + here as i64)
            }
            Ok(other) => reply(other),
            Err(unreachable) => unreachable.into(),
        }
    }

    /// PUBSUB and its subcommands.
    pub(super) async fn report(self: &Arc<Self>, asked: control::PubSub) -> Reply {
        match asked {
            control::PubSub::Channels(kind, pattern) => self.channels(kind, pattern).await,
            control::PubSub::Subscribers(kind, names) => self.counts(kind, names).await,
            control::PubSub::Patterns => match self.redis() {
                Some(redis) => match self.ask(redis, "PUBSUB", &[b"NUMPAT"]).await {
                    Ok(answer) => reply(answer),
                    Err(unreachable) => unreachable.into(),
                },
                None => Reply::Integer(self.number_of(ChannelKind::Pattern) as i64),
            },
        }
    }

    /// How many channels or patterns clients of this process are subscribed to.
    pub(super) fn number_of(&self, kind: ChannelKind) -> usize {
        self.subscribers().by_name[kind as usize].len()
    }

    async fn channels(self: &Arc<Self>, kind: ChannelKind, pattern: Option<Bytes>) -> Reply {
        let pattern = pattern.unwrap_or_else(|| Bytes::from_static(b"*"));
        if let Some(redis) = self.redis() {
            let name: &[u8] = match kind {
                ChannelKind::Shard => b"SHARDCHANNELS",
                _ => b"CHANNELS",
            };
            return match self.ask(redis, "PUBSUB", &[name, &pattern]).await {
                Ok(answer) => reply(answer),
                Err(unreachable) => unreachable.into(),
            };
        }
        let subscribers = self.subscribers();
        let names = subscribers.by_name[kind as usize].keys();
        let names = names.filter(|name| glob::matches(&pattern, name, false));
        Reply::Array(names.cloned().map(Reply::Bulk).collect())
    }

    async fn counts(self: &Arc<Self>, kind: ChannelKind, names: Vec<Bytes>) -> Reply {
        let here: Vec<usize> = {
            let subscribers = self.subscribers();
            let by_name = &subscribers.by_name[kind as usize];
            let count = |name: &Bytes| by_name.get(name).map_or(0, Vec::len);
            names.iter().map(count).collect()
        };
        let mut elsewhere = vec![0; names.len()];
        if let Some(redis) = self.redis() {
            let subcommand: &[u8] = match kind {
                ChannelKind::Shard => b"SHARDNUMSUB",
                _ => b"NUMSUB",
            };
            // Not all at once, which could take longer than an answer may.
            for (names, elsewhere) in names.chunks(1000).zip(elsewhere.chunks_mut(1000)) {
                let mut words = vec![subcommand];
                words.extend(names.iter().map(|name| &name[..]));
                match self.ask(redis, "PUBSUB", &words).await {
                    Ok(ChannelsAnswer::List(pairs)) => {
                        let counts = pairs.chunks(2).map(|pair| match pair {
                            [_, ChannelsAnswer::Integer(count)] => *count,
                            _ => 0,
                        });
                        for (elsewhere, count) in elsewhere.iter_mut().zip(counts) {
                            *elsewhere = count;
                        }
                    }
                    Ok(other) => return reply(other),
                    Err(unreachable) => return unreachable.into(),
                }
            }
            for (elsewhere, here) in elsewhere.iter_mut().zip(&here) {
                *elsewhere = (*elsewhere - i64::from(*here > 0)).max(0);
            }
        }
        let mut counts = Vec::new();
        for ((name, here), elsewhere) in names.into_iter().zip(here).zip(elsewhere) {
            counts.push(Reply::Bulk(name));
            counts.push(Reply::Integer(here as i64 + elsewhere));
        }
        Reply::Array(counts)
    }

    async fn ask(
        self: &Arc<Self>,
        redis: &RedisCache,
        name: &str,
        words: &[&[u8]],
    ) -> Result<ChannelsAnswer, Unreachable> {
        let channels = {
            let mut link = self.link.lock().await;
            self.connected(redis, &mut link).await?
        };
        channels.ask(name, words).await.map_err(|_| Unreachable)
    }

    /// The connection, made now if there is none, and with it all subscriptions.
    async fn connected(
        self: &Arc<Self>,
        redis: &RedisCache,
        link: &mut Link,
    ) -> Result<Channels, Unreachable> {
        if let Some(channels) = link
            .channels
            .as_ref()
            .filter(|channels| !channels.is_over())
        {
            return Ok(channels.clone());
        }
        link.channels = None;
        let is_too_soon = |failed: &Instant| failed.elapsed() < RETRY_AFTER;
        if self.stop.is_cancelled() || link.failed.as_ref().is_some_and(is_too_soon) {
            return Err(Unreachable);
        }
        match self.connect(redis).await {
            Ok(channels) => {
                link.channels = Some(channels.clone());
                link.failed = None;
                tokio::spawn(Arc::clone(self).keep(channels.clone()));
                Ok(channels)
            }
            Err(reason) => {
                tracing::debug!(reason, "no connection for channels");
                link.failed = Some(Instant::now());
                Err(Unreachable)
            }
        }
    }

    async fn connect(self: &Arc<Self>, redis: &RedisCache) -> Result<Channels, String> {
        let here = Arc::downgrade(self);
        let channels = redis
            .channels(move |message| {
                if let Some(here) = here.upgrade() {
                    here.deliver(&message);
                }
            })
            .await?;
        for kind in KINDS {
            let names: Vec<Bytes> = self.subscribers().by_name[kind as usize]
                .keys()
                .cloned()
                .collect();
            let subscribed = channels.change(kind, true, &names).await;
            subscribed.map_err(|_| "it was lost at once".to_owned())?;
        }
        Ok(channels)
    }

    /// Makes the connection again when it is lost, as long as somebody is subscribed.
    ///
    /// Boxed, as it is what spawns it.
    fn keep(self: Arc<Self>, channels: Channels) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            tokio::select! {
                () = channels.over() => {}
                () = self.stop.cancelled() => return,
            }
            let Some(redis) = self.redis() else {
                return;
            };
            while KINDS.iter().any(|kind| self.number_of(*kind) > 0) {
                {
                    // With success, another task keeps the new one.
                    let mut link = self.link.lock().await;
                    if self.connected(redis, &mut link).await.is_ok() {
                        return;
                    }
                }
                tokio::select! {
                    () = tokio::time::sleep(RETRY_AFTER) => {}
                    () = self.stop.cancelled() => return,
                }
            }
        })
    }

    /// Delivers what was published in this process; to how many clients.
    fn deliver_here(&self, kind: ChannelKind, channel: &Bytes, payload: &Bytes) -> usize {
        let mut count = self.deliver(&Message {
            kind,
            subscription: channel.clone(),
            channel: channel.clone(),
            payload: payload.clone(),
        });
        if kind == ChannelKind::Channel {
            let patterns: Vec<Bytes> = self.subscribers().matching(channel).cloned().collect();
            for pattern in patterns {
                count += self.deliver(&Message {
                    kind: ChannelKind::Pattern,
                    subscription: pattern,
                    channel: channel.clone(),
                    payload: payload.clone(),
                });
            }
        }
        count
    }

    /// Puts a message into the mailboxes of those who are subscribed; how many these are.
    fn deliver(&self, message: &Message) -> usize {
        let subscribers = self.subscribers();
        let Some(clients) = subscribers.by_name[message.kind as usize].get(&message.subscription)
        else {
            return 0;
        };
        let mut frames: [Option<BytesMut>; 2] = [None, None];
        for client in clients {
            let version = client.version();
            let frame = frames[usize::from(version == Version::Resp3)].get_or_insert_with(|| {
                let mut frame = BytesMut::new();
                pushed(message).encode(version, &mut frame);
                frame
            });
            client.mailbox.post(frame);
        }
        clients.len()
    }
}

fn pushed(message: &Message) -> Reply {
    let what = match message.kind {
        ChannelKind::Channel => "message",
        ChannelKind::Pattern => "pmessage",
        ChannelKind::Shard => "smessage",
    };
    let mut items = vec![Reply::text(what)];
    if message.kind == ChannelKind::Pattern {
        items.push(Reply::Bulk(message.subscription.clone()));
    }
    items.push(Reply::Bulk(message.channel.clone()));
    items.push(Reply::Bulk(message.payload.clone()));
    Reply::Push(items)
}

fn reply(answer: ChannelsAnswer) -> Reply {
    match answer {
        ChannelsAnswer::Integer(number) => Reply::Integer(number),
        ChannelsAnswer::Text(text) => Reply::Bulk(text),
        ChannelsAnswer::List(items) => Reply::Array(items.into_iter().map(reply).collect()),
        ChannelsAnswer::Error(text) => Reply::Error(text),
    }
}

impl Subscribers {
    fn add(&mut self, client: &Arc<Client>, kind: ChannelKind, names: &[Bytes]) -> Vec<usize> {
        let own = &mut self.by_client.entry(client.id).or_default()[kind as usize];
        let mut counts = Vec::with_capacity(names.len());
        for name in names {
            // A copy, which does not keep the buffer alive that it was read into.
            let name = Bytes::copy_from_slice(name);
            if own.insert(name.clone()) {
                let clients = self.by_name[kind as usize].entry(name).or_default();
                clients.push(Arc::clone(client));
            }
            client.set_subscriptions(kind, own.len());
            counts.push(PubSub::count(client, kind));
        }
        counts
    }

    /// The second of the pair is what nobody is subscribed to any more.
    fn remove(
        &mut self,
        client: &Client,
        kind: ChannelKind,
        names: &[Bytes],
    ) -> (Vec<usize>, Vec<Bytes>) {
        let mut left = Vec::new();
        let mut counts = Vec::with_capacity(names.len());
        for name in names {
            if let Some(own) = self.by_client.get_mut(&client.id)
                && own[kind as usize].remove(name)
            {
                client.set_subscriptions(kind, own[kind as usize].len());
                let by_name = &mut self.by_name[kind as usize];
                if let Some(clients) = by_name.get_mut(name) {
                    clients.retain(|other| other.id != client.id);
                    if clients.is_empty() {
                        by_name.remove(name);
                        left.push(name.clone());
                    }
                }
            }
            counts.push(PubSub::count(client, kind));
        }
        let is_empty = |own: &[BTreeSet<Bytes>; 3]| own.iter().all(BTreeSet::is_empty);
        if self.by_client.get(&client.id).is_some_and(is_empty) {
            self.by_client.remove(&client.id);
        }
        (counts, left)
    }

    fn matching<'a>(&'a self, channel: &'a [u8]) -> impl Iterator<Item = &'a Bytes> {
        let patterns = self.by_name[ChannelKind::Pattern as usize].keys();
        patterns.filter(move |pattern| glob::matches(pattern, channel, false))
    }

    /// Of this process: how many subscriptions in the Redis, and how many clients, get what is sent
    /// to a channel.
    fn audience(&self, kind: ChannelKind, channel: &Bytes) -> (usize, usize) {
        let clients = |kind: ChannelKind, name: &Bytes| {
            self.by_name[kind as usize].get(name).map_or(0, Vec::len)
        };
        let direct = clients(kind, channel);
        let (mut subscriptions, mut all) = (usize::from(direct > 0), direct);
        if kind == ChannelKind::Channel {
            for pattern in self.matching(channel) {
                subscriptions += 1;
                all += clients(ChannelKind::Pattern, pattern);
            }
        }
        (subscriptions, all)
    }
}
