//! Hears of changes that others make, instead of looking for them.

use std::{
    array,
    hash::{DefaultHasher, Hash, Hasher},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::StreamExt;
use redis::{
    Client, RedisResult, Value,
    aio::{PubSubSink, PubSubStream},
};
use tokio::{
    runtime::Handle,
    sync::Notify,
    task::JoinHandle,
    time::{sleep, timeout},
};

/// Within this the server has to take a subscription, or to answer a ping.
const ANSWER: Duration = Duration::from_secs(10);

/// After so much silence the connection is tried: one whose other end has vanished would be silent for ever.
const SILENCE: Duration = Duration::from_secs(30);

/// Between attempts to connect: from this to twice as long, so that many programs do not come back as one.
const PAUSE: Duration = Duration::from_secs(1);

/// Enough that a change wakes few others; a wrong one looks at its store once more than it had to.
const BELLS: usize = 64;

/// One subscription, begun when somebody first waits, and ended with the last handle of its store.
pub(super) struct Watch {
    client: Client,
    channel: Arc<str>,
    bells: Arc<Bells>,
    listener: Mutex<Option<JoinHandle<()>>>,
}

impl Watch {
    pub(super) fn new(client: Client, channel: String) -> Self {
        Self {
            client,
            channel: channel.into(),
            bells: Arc::default(),
            listener: Mutex::default(),
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Ends when something is said of `name`, or may have been.
    pub(super) async fn changed(&self, name: &str) {
        let mut ring = pin!(self.bells.of(name.as_bytes()).notified());
        // Before anything is listened to, so that nothing falls between.
        ring.as_mut().enable();
        self.listen();
        ring.await;
    }

    fn listen(&self) {
        // Elsewhere nothing can be heard: those who wait look again by themselves.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let mut listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        // It ends with the runtime that it was begun in.
        if listener.as_ref().is_none_or(JoinHandle::is_finished) {
            let (channel, bells) = (Arc::clone(&self.channel), Arc::clone(&self.bells));
            *listener = Some(runtime.spawn(listen(self.client.clone(), channel, bells)));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let listener = self
            .listener
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(listener) = listener {
            listener.abort();
        }
    }
}

async fn listen(client: Client, channel: Arc<str>, bells: Arc<Bells>) {
    loop {
        if let Ok(Ok((sink, stream))) = timeout(ANSWER, subscribe(&client, &channel)).await {
            // What was said while nobody listened is not said again.
            bells.ring_all();
            hear(sink, stream, &bells).await;
        }
        sleep(PAUSE + PAUSE.mul_f64(fastrand::f64())).await;
    }
}

async fn subscribe(client: &Client, channel: &str) -> RedisResult<(PubSubSink, PubSubStream)> {
    let mut subscription = client.get_async_pubsub().await?;
    subscription.subscribe(channel).await?;
    Ok(subscription.split())
}

/// Until the connection is gone.
async fn hear(mut sink: PubSubSink, mut stream: PubSubStream, bells: &Bells) {
    loop {
        match timeout(SILENCE, stream.next()).await {
            Ok(Some(message)) => bells.of(message.get_payload_bytes()).notify_waiters(),
            Ok(None) => return,
            Err(_) => {
                let answer = timeout(ANSWER, sink.ping::<Value>()).await;
                if !matches!(answer, Ok(Ok(_))) {
                    return;
                }
            }
        }
    }
}

struct Bells([Notify; BELLS]);

impl Default for Bells {
    fn default() -> Self {
        Self(array::from_fn(|_| Notify::new()))
    }
}

impl Bells {
    fn of(&self, name: &[u8]) -> &Notify {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "any of the hash's bits will do"
        )]
        &self.0[hasher.finish() as usize % BELLS]
    }

    fn ring_all(&self) {
        for bell in &self.0 {
            bell.notify_waiters();
        }
    }
}
