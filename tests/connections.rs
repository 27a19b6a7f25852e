//! The connections of token requests, over real sockets: a connection that has lost a response is
//! not used again.

use std::{
    future::pending,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::USER_AGENT};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tower_oauth2_client::{
    Error,
    cache::TokenCache,
    clock::{Clock, SystemClock},
    oauth::{OAuthClient, OAuthClientBuilder},
    provider,
    reqwest::ReqwestClient,
    store::MemoryStore,
    token::{AccessToken, RefreshToken, TokenSet},
};

#[path = "support/mod.rs"]
mod support;

use support::{DAY, SECOND};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// The reaction of the endpoint to a request.
#[derive(Clone, Copy, Debug)]
enum Reaction {
    Respond,
    /// It never responds, and keeps the connection open.
    Silence,
    /// It closes the connection without a response.
    Close,
}

/// A request at the endpoint, by its connection and its place there, both from 0.
type Arrival = (usize, usize);

/// The `User-Agent` headers of the requests.
type UserAgents = Arc<Mutex<Vec<Option<HeaderValue>>>>;

/// A token endpoint that reacts to each request by its connection.
struct TokenEndpoint {
    address: SocketAddr,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    user_agents: UserAgents,
}

impl TokenEndpoint {
    async fn start(protocol: Protocol, react: fn(Arrival) -> Reaction) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let arrivals = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&arrivals);
        let user_agents = UserAgents::default();
        let names = Arc::clone(&user_agents);
        tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(
                    protocol,
                    stream,
                    connection,
                    react,
                    Arc::clone(&seen),
                    Arc::clone(&names),
                ));
            }
        });
        Self {
            address,
            arrivals,
            user_agents,
        }
    }

    fn client(&self) -> OAuthClientBuilder {
        let origin = format!("http://{}", self.address);
        let provider = provider::justworks().on_origin(&origin).unwrap();
        OAuthClient::builder(provider, "client-id")
            .client_secret("client-secret")
            .response_timeout(SECOND)
    }

    /// The connections on which requests arrived, in their order.
    fn connections(&self) -> Vec<usize> {
        let arrivals = self.arrivals.lock().unwrap();
        arrivals.iter().map(|(connection, _)| *connection).collect()
    }
}

async fn serve(
    protocol: Protocol,
    stream: TcpStream,
    connection: usize,
    react: fn(Arrival) -> Reaction,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    user_agents: UserAgents,
) {
    let requests = AtomicUsize::new(0);
    let service = service_fn(move |request: Request<Incoming>| {
        let arrival = (connection, requests.fetch_add(1, Ordering::SeqCst));
        arrivals.lock().unwrap().push(arrival);
        let user_agent = request.headers().get(USER_AGENT).cloned();
        user_agents.lock().unwrap().push(user_agent);
        async move {
            match react(arrival) {
                Reaction::Respond => Ok(token_response(arrival)),
                Reaction::Silence => pending().await,
                Reaction::Close => Err("closed"),
            }
        }
    });
    let stream = TokioIo::new(stream);
    // It ends with an error if the client closes the connection during a request.
    let _ = match protocol {
        Protocol::Http1 => {
            http1::Builder::new()
                .serve_connection(stream, service)
                .await
        }
        Protocol::Http2 => {
            http2::Builder::new(TokioExecutor::new())
                .serve_connection(stream, service)
                .await
        }
    };
}

fn token_response((connection, request): Arrival) -> Response<Full<Bytes>> {
    let tokens = format!(
        r#"{{"access_token":"a{connection}.{request}","refresh_token":"r{connection}.{request}","expires_in":3600}}"#
    );
    Response::new(Full::new(Bytes::from(tokens)))
}

fn first_connection_is_silent((connection, _): Arrival) -> Reaction {
    match connection {
        0 => Reaction::Silence,
        _ => Reaction::Respond,
    }
}

fn stored() -> TokenSet {
    let now = SystemClock.wall();
    TokenSet::new(AccessToken::new("a").unwrap(), DAY, now)
        .with_refresh_token(RefreshToken::new("r"), now)
}

async fn refresh_by_a_cache(oauth: OAuthClient) -> Result<(), Error> {
    let tokens = TokenCache::builder(oauth)
        .store(MemoryStore::new())
        .build()
        .unwrap();
    tokens.set_tokens(stored()).await.unwrap();
    tokens.refresh_now().await.map(drop)
}

fn reqwest_builder(protocol: Protocol) -> reqwest::ClientBuilder {
    match protocol {
        Protocol::Http1 => reqwest::Client::builder(),
        Protocol::Http2 => reqwest::Client::builder().http2_prior_knowledge(),
    }
}

/// The settings that the page of `oauth` shows for hyper-util.
fn hyper_client(protocol: Protocol) -> legacy::Client<HttpConnector, Full<Bytes>> {
    let mut tcp = HttpConnector::new();
    tcp.set_connect_timeout(Some(10 * SECOND));
    tcp.set_keepalive(Some(5 * SECOND));
    tcp.set_keepalive_interval(Some(5 * SECOND));
    tcp.set_keepalive_retries(Some(3));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(20 * SECOND));
    legacy::Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .http2_only(protocol == Protocol::Http2)
        .build(tcp)
}

/// The recommended clients.
fn clients(endpoint: &TokenEndpoint, protocol: Protocol) -> [OAuthClient; 2] {
    [
        endpoint
            .client()
            .build_with_reqwest(reqwest_builder(protocol))
            .unwrap(),
        endpoint.client().build(hyper_client(protocol)).unwrap(),
    ]
}

/// Runs the test with each recommended client and protocol at the same time, because each timeout
/// takes a second. Each has an endpoint whose first connection is silent.
async fn for_each_client<F>(test: impl Fn(TokenEndpoint, OAuthClient) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut tests = JoinSet::new();
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for client in 0..2 {
            let endpoint = TokenEndpoint::start(protocol, first_connection_is_silent).await;
            let oauth = clients(&endpoint, protocol)[client].clone();
            tests.spawn(test(endpoint, oauth));
        }
    }
    tests.join_all().await;
}

#[tokio::test]
async fn p11_replay_after_a_lost_response_uses_another_connection() {
    for_each_client(|endpoint, oauth| async move {
        refresh_by_a_cache(oauth).await.unwrap();
        assert_eq!(endpoint.connections(), [0, 1]);
    })
    .await;
}

/// Also if reqwest has a user agent of its own.
#[tokio::test]
async fn user_agent_is_sent_by_every_http_client() {
    let expected = concat!(
        "partner-app/2.1 tower-oauth2-client/",
        env!("CARGO_PKG_VERSION")
    );
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let endpoint = TokenEndpoint::start(protocol, |_| Reaction::Respond).await;
        let builder = || endpoint.client().user_agent("partner-app/2.1");
        let named = reqwest_builder(protocol).user_agent("other/1");
        for oauth in [
            builder().build_with_reqwest(reqwest_builder(protocol)),
            builder().build_with_reqwest(named),
            builder().build(hyper_client(protocol)),
        ] {
            oauth.unwrap().refresh(&stored()).await.unwrap();
        }
        let sent = endpoint.user_agents.lock().unwrap();
        assert_eq!(sent.len(), 3);
        assert!(
            sent.iter()
                .all(|value| value.as_ref().is_some_and(|value| value == expected)),
            "{sent:?}"
        );
    }
}

/// The reason why the recommended clients have no pool.
#[tokio::test]
async fn p11_replay_of_a_pooled_http2_client_is_lost_with_its_connection() {
    let endpoint = TokenEndpoint::start(Protocol::Http2, first_connection_is_silent).await;
    let http = ReqwestClient::new(reqwest_builder(Protocol::Http2)).unwrap();
    let oauth = endpoint.client().build(http).unwrap();
    let error = refresh_by_a_cache(oauth).await.unwrap_err();
    assert!(error.is_response_lost(), "{error}");
    assert_eq!(endpoint.connections(), [0, 0]);
}

#[tokio::test]
async fn p11_request_after_a_timeout_uses_another_connection() {
    for_each_client(|endpoint, oauth| async move {
        let error = oauth.refresh(&stored()).await.unwrap_err();
        assert!(error.is_response_lost(), "{error}");
        oauth.refresh(&stored()).await.unwrap();
        assert_eq!(endpoint.connections(), [0, 1]);
    })
    .await;
}

#[tokio::test]
async fn p11_grants_do_not_share_a_connection_that_loses_responses() {
    for_each_client(|endpoint, oauth| async move {
        let (one, other) = (stored(), stored());
        let (one, other) = tokio::join!(oauth.refresh(&one), oauth.refresh(&other));
        assert_ne!(one.is_ok(), other.is_ok(), "one response is lost");
        let mut connections = endpoint.connections();
        connections.sort_unstable();
        assert_eq!(connections, [0, 1]);
    })
    .await;
}

/// A server that closes an idle connection while the next request is on its way.
#[tokio::test]
async fn p11_connection_that_the_server_closes_after_a_response_loses_nothing() {
    fn one_request_each((_, request): Arrival) -> Reaction {
        match request {
            0 => Reaction::Respond,
            _ => Reaction::Close,
        }
    }

    let endpoint = TokenEndpoint::start(Protocol::Http1, one_request_each).await;
    for oauth in clients(&endpoint, Protocol::Http1) {
        for _ in 0..3 {
            oauth.refresh(&stored()).await.unwrap();
        }
    }
    assert_eq!(endpoint.connections(), [0, 1, 2, 3, 4, 5]);

    // A client with a pool loses a response.
    let http = ReqwestClient::new(reqwest_builder(Protocol::Http1)).unwrap();
    let oauth = endpoint.client().build(http).unwrap();
    oauth.refresh(&stored()).await.unwrap();
    let error = oauth.refresh(&stored()).await.unwrap_err();
    assert!(error.is_response_lost(), "{error}");
}

/// The server accepts the TCP connection and never continues the TLS handshake. Only time passes
/// then, so it can be virtual.
#[tokio::test(start_paused = true)]
async fn p11_connection_that_is_never_ready_is_no_lost_response() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("https://{}", listener.local_addr().unwrap());
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            open.push(listener.accept().await.unwrap());
            count.store(open.len(), Ordering::SeqCst);
        }
    });
    let provider = provider::justworks().on_origin(&origin).unwrap();
    let oauth = OAuthClient::builder(provider, "client-id")
        .client_secret("client-secret")
        .build_with_reqwest(reqwest::Client::builder())
        .unwrap();
    let started = tokio::time::Instant::now();
    let error = oauth.refresh(&stored()).await.unwrap_err();
    assert!(
        error.is_transient() && !error.is_response_lost(),
        "{error:?}"
    );
    assert_eq!(accepted.load(Ordering::SeqCst), 2, "it is retried once");
    assert!(started.elapsed() < 30 * SECOND);
}
