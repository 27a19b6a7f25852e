//! The sandbox on a socket.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;
use tracing::debug;

use super::body::ConnectionLost;
use super::service::SandboxService;

/// A listening sandbox. Dropping it closes the socket and every connection.
pub(super) struct Server {
    address: SocketAddr,
    accepting: AbortHandle,
}

impl Server {
    pub(super) async fn start(bind: SocketAddr, service: SandboxService) -> io::Result<Self> {
        let listener = TcpListener::bind(bind).await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(accept(listener, service)).abort_handle();
        Ok(Self { address, accepting })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Accepts connections until aborted; the connections are aborted with it.
async fn accept(listener: TcpListener, service: SandboxService) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, service.clone()));
            }
            // Out of file descriptors, or a client gone before it was accepted: neither lasts, but the first may last
            // long enough to keep a core busy.
            Err(error) => {
                debug!(%error, "the sandbox could not accept a connection");
                sleep(BETWEEN_FAILURES).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, service: SandboxService) {
    let service = TowerToHyperService::new(service);
    let mut connection = http1::Builder::new()
        // The sandbox's clock is not the machine's.
        .auto_date_header(false)
        .timer(TokioTimer::new())
        .header_read_timeout(LONGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let Err(error) = (&mut connection).await else {
        return;
    };
    debug!(%error, "a connection to the sandbox ended early");
    if is_reset(&error) {
        // Closing now sends RST instead of FIN.
        let stream = connection.into_parts().io.into_inner();
        let _ = stream.set_zero_linger();
    }
}

fn is_reset(error: &hyper::Error) -> bool {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<ConnectionLost>())
        .is_some_and(ConnectionLost::is_reset)
}

/// How long to wait when no connection could be accepted.
const BETWEEN_FAILURES: Duration = Duration::from_millis(50);

/// How long a client may take to send the head of a request, idle connections included.
const LONGEST_HEAD: Duration = Duration::from_secs(30);
