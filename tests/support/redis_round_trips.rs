//! Counts the commands and the round trips of a connection to a Redis server.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use redis::{
    Client, Cmd, Pipeline, RedisFuture, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};

/// A connection that counts commands, and round trips: commands that are sent while the connection
/// waits for the response to another one take no time of their own.
#[derive(Clone)]
pub(crate) struct Counting {
    connection: MultiplexedConnection,
    counts: Arc<Counts>,
}

#[derive(Default)]
pub(crate) struct Counts {
    commands: AtomicU64,
    round_trips: AtomicU64,
    in_flight: AtomicU64,
}

impl Counts {
    /// The commands and the round trips.
    pub(crate) fn all(&self) -> [u64; 2] {
        [&self.commands, &self.round_trips].map(|count| count.load(Ordering::SeqCst))
    }
}

impl Counting {
    pub(crate) async fn connect(client: &Client, counts: &Arc<Counts>) -> Self {
        let connection = client.get_multiplexed_async_connection().await;
        Self {
            connection: connection.unwrap(),
            counts: Arc::clone(counts),
        }
    }
}

impl ConnectionLike for Counting {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            self.counts.commands.fetch_add(1, Ordering::SeqCst);
            if self.counts.in_flight.fetch_add(1, Ordering::SeqCst) == 0 {
                self.counts.round_trips.fetch_add(1, Ordering::SeqCst);
            }
            let response = self.connection.req_packed_command(cmd).await;
            self.counts.in_flight.fetch_sub(1, Ordering::SeqCst);
            response
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            // `WAIT` is in a pipeline.
            let commands = u64::try_from(pipeline.cmd_iter().count()).unwrap();
            self.counts.commands.fetch_add(commands, Ordering::SeqCst);
            if self.counts.in_flight.fetch_add(1, Ordering::SeqCst) == 0 {
                self.counts.round_trips.fetch_add(1, Ordering::SeqCst);
            }
            let responses = self
                .connection
                .req_packed_commands(pipeline, offset, count)
                .await;
            self.counts.in_flight.fetch_sub(1, Ordering::SeqCst);
            responses
        })
    }

    fn get_db(&self) -> i64 {
        self.connection.get_db()
    }
}
