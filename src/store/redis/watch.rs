//! Subscription to changes by other processes.

use std::{
    array,
    hash::{DefaultHasher, Hash, Hasher},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures_util::StreamExt;
use redis::{
    Client, RedisResult, Value,
    aio::{PubSubSink, PubSubStream},
};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::record::decoded;
use crate::{
    store::{
        announcer::{Announcer, Subscription},
        listening::Listening,
    },
    token::Generation,
};

/// The deadline for a subscription or a ping.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// An idle connection is probed by a ping after this time, since a broken one may never report an
/// error.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// The pause between connection attempts, jittered up to twice as long.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Tenants share this many notifications. A task that is woken for another tenant loads its grant
/// once more than necessary.
const SLOTS: usize = 64;

/// One connection, from the first waiting task or subscriber to the last clone of the store.
pub(super) struct Watch {
    client: Client,
    channel: Arc<str>,
    waiters: Arc<Waiters>,
    listening: Listening,
}

impl Watch {
    pub(super) fn new(client: Client, channel: String) -> Self {
        Self {
            client,
            channel: channel.into(),
            waiters: Arc::default(),
            listening: Listening::default(),
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Completes when a change of `name` was published, or may have been.
    pub(super) async fn changed(&self, name: &str) {
        let mut notified = pin!(self.waiters.slot(name.as_bytes()).notified());
        // Registered before the subscription starts, so that no notification is missed.
        notified.as_mut().enable();
        self.listen();
        notified.await;
    }

    pub(super) fn subscribe(&self) -> Subscription {
        let subscription = self.listening.subscribe();
        self.listen();
        subscription
    }

    /// Without a runtime there is no subscription. Waiting tasks poll the store anyway.
    fn listen(&self) {
        self.listening.ensure_running(|announcer| {
            let (channel, waiters) = (Arc::clone(&self.channel), Arc::clone(&self.waiters));
            listen(self.client.clone(), channel, waiters, announcer)
        });
    }
}

async fn listen(client: Client, channel: Arc<str>, waiters: Arc<Waiters>, announcer: Announcer) {
    loop {
        if let Ok(Ok((sink, stream))) =
            timeout(RESPONSE_TIMEOUT, subscribe(&client, &channel)).await
        {
            // Messages that were published before the subscription are lost.
            waiters.wake_all();
            announcer.missed();
            receive(sink, stream, &waiters, &announcer).await;
        }
        sleep(RETRY_PAUSE.mul_f64(1.0 + fastrand::f64())).await;
    }
}

async fn subscribe(client: &Client, channel: &str) -> RedisResult<(PubSubSink, PubSubStream)> {
    let mut subscription = client.get_async_pubsub().await?;
    subscription.subscribe(channel).await?;
    Ok(subscription.split())
}

/// Receives messages until the connection is lost.
async fn receive(
    mut sink: PubSubSink,
    mut stream: PubSubStream,
    waiters: &Waiters,
    announcer: &Announcer,
) {
    loop {
        match timeout(PING_INTERVAL, stream.next()).await {
            Ok(Some(message)) => {
                let (name, generation) = parse(message.get_payload_bytes());
                waiters.slot(name).notify_waiters();
                if let (Some(tenant), Some(generation)) = (decoded(name), generation) {
                    announcer.saved(&tenant, generation);
                }
            }
            Ok(None) => return,
            Err(_) => {
                let pong = timeout(RESPONSE_TIMEOUT, sink.ping::<Value>()).await;
                if !matches!(pong, Ok(Ok(_))) {
                    return;
                }
            }
        }
    }
}

/// The message after a save: the tenant's encoded name and the generation. After the release of a
/// lease, the message is the name.
pub(super) fn saved(name: &str, generation: &str) -> String {
    format!("{name} {generation}")
}

/// The name in a message, and the generation after a save.
fn parse(message: &[u8]) -> (&[u8], Option<Generation>) {
    let mut parts = message.splitn(2, |byte| *byte == b' ');
    let name = parts.next().unwrap_or_default();
    let generation = parts
        .next()
        .and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
    (name, generation.map(Generation::from_u64))
}

struct Waiters([Notify; SLOTS]);

impl Default for Waiters {
    fn default() -> Self {
        Self(array::from_fn(|_| Notify::new()))
    }
}

impl Waiters {
    fn slot(&self, name: &[u8]) -> &Notify {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "any bits of the hash are suitable"
        )]
        &self.0[hasher.finish() as usize % SLOTS]
    }

    fn wake_all(&self) {
        for waiter in &self.0 {
            waiter.notify_waiters();
        }
    }
}
