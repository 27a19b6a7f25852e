//! Counts the statements that a PostgreSQL server runs: a TCP proxy that reads along.
//!
//! A statement that is prepared takes one round trip. The pool's checks of its connections are not
//! counted.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
};

/// The message that ends the result of a statement.
const COMMAND_COMPLETE: u8 = b'C';

/// Ends with this value. Connections use no TLS.
pub(crate) struct RoundTrips {
    port: u16,
    count: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl RoundTrips {
    pub(crate) async fn to(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let count = Arc::default();
        let counter = Arc::clone(&count);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                let (mut requests, to_client) = client.into_split();
                let (responses, mut to_server) = server.into_split();
                // The end of a connection is no error of the proxy.
                tokio::spawn(async move { drop(copy(&mut requests, &mut to_server).await) });
                let counter = Arc::clone(&counter);
                tokio::spawn(async move { drop(pass_on(responses, to_client, &counter).await) });
            }
        });
        Self {
            port,
            count,
            accepting,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How many statements the server has run.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }
}

/// Passes on the messages of the server: each has a kind, and a length that includes itself.
async fn pass_on(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    counter: &AtomicU64,
) -> std::io::Result<()> {
    loop {
        let mut message = vec![0; 5];
        from.read_exact(&mut message).await?;
        let length = u32::from_be_bytes(message[1..].try_into().unwrap());
        message.resize(1 + usize::try_from(length).unwrap(), 0);
        from.read_exact(&mut message[5..]).await?;
        if message[0] == COMMAND_COMPLETE {
            counter.fetch_add(1, Ordering::SeqCst);
        }
        to.write_all(&message).await?;
    }
}

impl Drop for RoundTrips {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
