//! The sandbox on a socket.

use std::{error::Error, io, net::SocketAddr, time::Duration};

use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::sleep,
};
use tracing::debug;

use super::{body::ConnectionLost, own_origin::OwnOrigin, service::SandboxService};

/// A listening sandbox. Dropping it closes the socket and every connection.
pub(super) struct Server {
    address: SocketAddr,
    accept_task: AbortHandle,
}

impl Server {
    /// Listens on an address, and accepts requests that name it or one of `hosts`.
    pub(super) async fn start(
        bind: SocketAddr,
        hosts: &[String],
        service: SandboxService,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(bind).await?;
        let address = listener.local_addr()?;
        let origin = OwnOrigin::new(address, hosts);
        let accept_task = tokio::spawn(accept(listener, origin, service)).abort_handle();
        Ok(Self {
            address,
            accept_task,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accept_task.abort();
    }
}

/// Accepts connections until aborted. The connections are aborted with it.
async fn accept(listener: TcpListener, origin: OwnOrigin, service: SandboxService) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // The client may have left already.
                let Ok(address) = stream.local_addr() else {
                    continue;
                };
                let service = service.of_connection(origin.of_connection(address));
                connections.spawn(serve_connection(stream, service));
            }
            // The client may have left, or the process is out of file descriptors. The latter can
            // last long enough to keep a core busy.
            Err(error) => {
                debug!(%error, "sandbox could not accept a connection");
                sleep(ACCEPT_BACKOFF).await;
            }
        }
        while connections.try_join_next().is_some() {}
        if connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
    }
}

async fn serve_connection(stream: TcpStream, service: SandboxService) {
    let service = TowerToHyperService::new(service);
    let mut connection = http1::Builder::new()
        // The service sets the date, from the sandbox's clock.
        .auto_date_header(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let Err(error) = (&mut connection).await else {
        return;
    };
    debug!(%error, "a connection to the sandbox ended early");
    if is_reset(&error) {
        // With zero linger, closing the socket sends RST instead of FIN.
        let stream = connection.into_parts().io.into_inner();
        let _ = stream.set_zero_linger();
    }
}

fn is_reset(error: &hyper::Error) -> bool {
    error
        .source()
        .and_then(|source| source.downcast_ref::<ConnectionLost>())
        .is_some_and(ConnectionLost::is_reset)
}

/// How many connections are served at the same time. Further ones wait until one ends.
const MAX_CONNECTIONS: usize = 4_096;

/// The pause after a connection could not be accepted.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// The time that a client has to send a request head. It also limits idle connections.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
