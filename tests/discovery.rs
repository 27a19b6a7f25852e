//! Discovery against the sandbox: over real HTTP, and in virtual time where time matters.

use std::{
    error::Error as _,
    future::pending,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderValue, Request, Response, StatusCode, header::CACHE_CONTROL};
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::{Layer, Service, ServiceExt};
use tower_oauth2_client::{
    Error, ErrorKind,
    bearer::BearerAuthLayer,
    cache::TokenCache,
    discovery::{Discovery, Metadata, ProtectedResource},
    oauth::OAuthClient,
    provider::{ClientAuthentication, IssuerCheck, Provider},
    sandbox::{self, Behavior, Endpoint, Fault, MetadataDocuments, Sandbox},
};

#[path = "support/mod.rs"]
mod support;

use support::{HOUR, MINUTE, ManualClock, SECOND};

type Body = Full<Bytes>;
type Http = Client<HttpConnector, Body>;

fn http() -> Http {
    Client::builder(TokioExecutor::new()).build_http()
}

async fn sandbox(change: impl FnOnce(&mut Behavior)) -> Sandbox {
    let builder = Sandbox::builder().behavior(|behavior| {
        behavior.metadata = MetadataDocuments::Both;
        change(behavior);
    });
    builder.start().await.unwrap()
}

/// An HTTP client that records the paths of its requests.
fn recorded(paths: &Arc<Mutex<Vec<String>>>) -> RecordingHttp {
    RecordingHttp {
        http: http(),
        paths: Arc::clone(paths),
    }
}

#[derive(Clone)]
struct RecordingHttp {
    http: Http,
    paths: Arc<Mutex<Vec<String>>>,
}

impl Service<Request<Body>> for RecordingHttp {
    type Response = <Http as Service<Request<Body>>>::Response;
    type Error = <Http as Service<Request<Body>>>::Error;
    type Future = <Http as Service<Request<Body>>>::Future;

    fn poll_ready(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        Service::poll_ready(&mut self.http, context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        self.paths.lock().unwrap().push(path);
        self.http.call(request)
    }
}

#[tokio::test]
async fn a_customer_connects_to_a_provider_that_was_discovered() {
    let sandbox = sandbox(|_| {}).await;
    let url = sandbox.url();
    sandbox.change_behavior(|behavior| behavior.issuer = Some(url.clone()));
    let discovery = Discovery::builder(&url).build(http()).unwrap();
    let provider = discovery
        .metadata()
        .await
        .unwrap()
        .to_provider_builder()
        .unwrap()
        .api_origin(&url)
        .build()
        .unwrap();
    assert!(provider.pkce());
    assert_eq!(provider.issuer_check(), IssuerCheck::Required);
    assert_eq!(
        provider.client_authentication(),
        ClientAuthentication::RequestBody
    );
    let oauth = OAuthClient::builder(provider, sandbox.client_id())
        .client_secret(sandbox.client_secret())
        .redirect_uri(sandbox.redirect_uri())
        .build(http())
        .unwrap();
    let tokens = TokenCache::builder(oauth.clone()).build().unwrap();
    let api = BearerAuthLayer::<Body>::new(tokens.clone()).layer(http());

    let (link, pending) = oauth.authorization_url().unwrap();
    let callback = sandbox.consent(&link).await.unwrap();
    let without_iss = callback.split("&iss=").next().unwrap();
    assert!(pending.accept(without_iss).is_err());
    tokens
        .complete_authorization(&oauth, &pending, &callback)
        .await
        .unwrap();
    let company = Request::get(format!("{url}/v1/company")).body(Body::default());
    let response = api.oneshot(company.unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    tokens.revoke().await.unwrap();
    assert!(sandbox.counters().revocations > 0);
}

#[tokio::test]
async fn provider_is_discovered_in_one_call_and_has_no_api() {
    let sandbox = sandbox(|behavior| {
        behavior.client_authentication = sandbox::ClientAuthentication::BodyOrBasic;
    })
    .await;
    let provider = Provider::discover(&sandbox.url(), http()).await.unwrap();
    assert_eq!(
        provider.client_authentication(),
        ClientAuthentication::Basic
    );
    assert_eq!(provider.issuer(), Some(&*sandbox.url()));
    assert_eq!(provider.issuer_check(), IssuerCheck::IfPresent);
    assert!(provider.api_origins().is_empty());
    assert!(provider.revocation_endpoint().is_some());
}

#[tokio::test]
async fn well_known_urls_are_tried_in_order() {
    const OAUTH: &str = "/.well-known/oauth-authorization-server";
    const OPENID: &str = "/.well-known/openid-configuration";
    let sandbox = sandbox(|_| {}).await;
    let root = sandbox.url();
    let with_path = format!("{root}/a/b");
    let with_slash = format!("{root}/a/b/");
    let below = [
        format!("{OAUTH}/a/b"),
        format!("{OPENID}/a/b"),
        format!("/a/b{OPENID}"),
    ];
    let at_root = [OAUTH.to_owned(), OPENID.to_owned()];
    for (issuer, locations) in [
        (&root, &at_root[..]),
        (&with_path, &below[..]),
        (&with_slash, &below[..]),
    ] {
        sandbox.change_behavior(|behavior| behavior.issuer = Some(issuer.clone()));
        // After so many responses with 404, a document is found. After all of them, none is.
        for missing in 0..=locations.len() {
            sandbox.clear_faults();
            let not_found = Fault::status(StatusCode::NOT_FOUND);
            if missing > 0 {
                sandbox.inject(Endpoint::Metadata, not_found.times(missing as u64));
            }
            let paths = Arc::default();
            let found = Provider::discover(issuer, recorded(&paths)).await;
            let tried = &locations[..locations.len().min(missing + 1)];
            assert_eq!(*paths.lock().unwrap(), tried);
            match found {
                Ok(provider) => assert_eq!(provider.issuer(), Some(issuer.as_str())),
                Err(error) => {
                    assert_eq!(missing, locations.len(), "{error}");
                    assert_eq!(error.kind(), ErrorKind::Configuration);
                    assert_eq!(error.status(), Some(StatusCode::NOT_FOUND));
                    assert!(error.to_string().contains("well-known"), "{error}");
                }
            }
        }
    }
}

/// Responses with which discovery fails, by kind, and by a part of the message.
fn bad_responses() -> Vec<(Fault, ErrorKind, &'static str)> {
    let status = |code: u16| Fault::status(StatusCode::from_u16(code).unwrap());
    let json = |body: &'static str| Fault::status(StatusCode::OK).body(body);
    let (invalid, unavailable) = (ErrorKind::InvalidResponse, ErrorKind::Unavailable);
    let http_url = "http://id.example.com/x";
    let mut bad = vec![
        (
            Fault::member("issuer", "https://evil.example"),
            invalid,
            "issuer: another issuer",
        ),
        (
            Fault::redirect("https://evil.example/metadata"),
            invalid,
            "redirect (302",
        ),
        (status(308), invalid, "redirect (308"),
        (status(304), invalid, "redirect (304"),
        (Fault::huge(1024 * 1024), invalid, "larger than 1 MiB"),
        (Fault::garbage(), invalid, "not JSON"),
        (json("<!doctype html><p>evil"), invalid, "not JSON"),
        (json(""), invalid, "not JSON"),
        (json("[]"), invalid, "not a JSON object"),
        (
            json(r#"{"issuer":"a","issuer":"b"}"#),
            invalid,
            "repeats a member",
        ),
        (json("{}"), invalid, "issuer: missing"),
        (
            Fault::member("scopes_supported", "evil"),
            invalid,
            "scopes_supported: not a list",
        ),
        (
            Fault::member("token_endpoint", "https://{evil}.example.com/t"),
            invalid,
            "token_endpoint: not a URL",
        ),
        (status(204), invalid, "instead of 200"),
        (status(500), unavailable, "unavailable (500"),
        (status(503), unavailable, "unavailable (503"),
        (status(429), unavailable, "unavailable (429"),
        (status(408), unavailable, "unavailable (408"),
        (Fault::drop_connection(), unavailable, "request"),
        (Fault::truncate(), unavailable, "request"),
    ];
    for endpoint in [
        "authorization_endpoint",
        "token_endpoint",
        "revocation_endpoint",
        "pushed_authorization_request_endpoint",
        "device_authorization_endpoint",
        "registration_endpoint",
    ] {
        bad.push((Fault::member(endpoint, http_url), invalid, endpoint));
    }
    bad
}

#[tokio::test]
async fn p22_bad_metadata_are_an_error_that_names_the_cause() {
    let sandbox = sandbox(|_| {}).await;
    for (fault, kind, part) in bad_responses() {
        sandbox.clear_faults();
        let shown = format!("{fault:?} {part}");
        sandbox.inject(Endpoint::Metadata, fault);
        let paths = Arc::default();
        let outcome = Provider::discover(&sandbox.url(), recorded(&paths)).await;
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), kind, "{shown}: {error}");
        let message = error.to_string();
        assert!(message.contains(part), "{shown}: {message}");
        let name = "authorization server metadata: ";
        assert!(message.starts_with(name), "{shown}: {message}");
        assert!(!message.contains("evil"), "{shown}: {message}");
        assert!(!error.is_response_lost(), "{shown}");
        // Nothing else is tried, and no redirect is followed.
        assert_eq!(paths.lock().unwrap().len(), 1, "{shown}");
    }
}

#[tokio::test]
async fn retry_after_and_the_other_issuer_are_kept_in_the_error() {
    let sandbox = sandbox(|_| {}).await;
    let discover = || Provider::discover("", http());
    assert_eq!(
        discover().await.unwrap_err().kind(),
        ErrorKind::Configuration
    );
    let url = sandbox.url();
    let busy = Fault::status(StatusCode::TOO_MANY_REQUESTS).retry_after("7");
    sandbox.inject(Endpoint::Metadata, busy);
    let error = Provider::discover(&url, http()).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    assert_eq!(error.status(), Some(StatusCode::TOO_MANY_REQUESTS));
    let other = Fault::member("issuer", "https://other.example/\u{202e}\n");
    sandbox.inject(Endpoint::Metadata, other);
    let error = Provider::discover(&url, http()).await.unwrap_err();
    let source = error.source().unwrap().to_string();
    assert!(source.contains("https://other.example/"), "{source}");
    assert!(!source.contains(['\u{202e}', '\n']), "{source}");
}

#[tokio::test]
async fn server_that_cannot_be_reached_is_unavailable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = Provider::discover(&issuer, http()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!error.to_string().contains(&issuer), "{error}");
}

#[test]
fn without_a_runtime_there_is_an_error() {
    let discovery = Discovery::builder("https://id.example.com");
    let discovery = discovery.build(scripted().0).unwrap();
    let mut metadata = tokio_test::task::spawn(discovery.metadata());
    let std::task::Poll::Ready(Err(error)) = metadata.poll() else {
        panic!("no error");
    };
    assert_eq!(error.kind(), ErrorKind::Interrupted);
}

#[test]
fn wrong_settings_are_named() {
    let build = |builder: tower_oauth2_client::discovery::DiscoveryBuilder| {
        let built = builder.build(scripted().0);
        built.unwrap_err().to_string()
    };
    let good = || Discovery::builder("https://id.example.com");
    for (builder, name) in [
        (Discovery::builder("http://id.example.com"), "issuer: "),
        (Discovery::builder("https://id.example.com?x=y"), "issuer: "),
        (good().response_timeout(SECOND / 2), "response timeout: "),
        (good().response_timeout(2 * MINUTE), "response timeout: "),
        (good().user_agent("no product\n"), "user agent: "),
    ] {
        let error = build(builder);
        assert!(error.starts_with(name), "{error}");
    }
}

/// The behavior of the scripted server.
#[derive(Default)]
struct Script {
    /// Each response takes this long.
    pause: Mutex<Duration>,
    /// The version in the path of the token endpoint.
    version: AtomicU64,
    fails: AtomicBool,
    panics: AtomicBool,
    hangs: AtomicBool,
    cache_control: Mutex<Option<&'static str>>,
    requests: AtomicU64,
}

const ISSUER: &str = "https://id.example.com";

#[derive(Clone)]
struct ScriptedHttp(Arc<Script>);

type Sending =
    std::pin::Pin<Box<dyn Future<Output = Result<Response<Body>, io::Error>> + Send + 'static>>;

impl Service<Request<Body>> for ScriptedHttp {
    type Response = Response<Body>;
    type Error = io::Error;
    type Future = Sending;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), io::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Sending {
        let script = Arc::clone(&self.0);
        assert_eq!(request.headers()["accept"], "application/json");
        assert!(
            request.headers()["user-agent"]
                .to_str()
                .unwrap()
                .contains("tower-oauth2-client/")
        );
        Box::pin(async move {
            script.requests.fetch_add(1, Ordering::Relaxed);
            let pause = *script.pause.lock().unwrap();
            tokio::time::sleep(pause).await;
            if script.hangs.load(Ordering::Relaxed) {
                pending::<()>().await;
            }
            assert!(!script.panics.load(Ordering::Relaxed), "scripted panic");
            if script.fails.load(Ordering::Relaxed) {
                return Err(io::Error::other("scripted failure"));
            }
            let version = script.version.load(Ordering::Relaxed);
            let body = format!(
                r#"{{"issuer": "{ISSUER}", "token_endpoint": "{ISSUER}/v{version}/token"}}"#
            );
            let mut response = Response::new(Body::from(body));
            if let Some(value) = *script.cache_control.lock().unwrap() {
                let value = HeaderValue::from_static(value);
                response.headers_mut().insert(CACHE_CONTROL, value);
            }
            Ok(response)
        })
    }
}

fn scripted() -> (ScriptedHttp, Arc<Script>) {
    let script = Arc::<Script>::default();
    (ScriptedHttp(Arc::clone(&script)), script)
}

fn cached() -> (Discovery, Arc<Script>, ManualClock) {
    let (http, script) = scripted();
    let clock = ManualClock::new();
    let discovery = Discovery::builder(ISSUER).clock(clock.clone());
    (discovery.build(http).unwrap(), script, clock)
}

impl Script {
    fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    fn set(flag: &AtomicBool, value: bool) {
        flag.store(value, Ordering::Relaxed);
    }
}

fn version(outcome: &Result<Metadata, Error>) -> &str {
    let endpoint = outcome.as_ref().unwrap().token_endpoint().unwrap();
    endpoint.split('/').nth(3).unwrap()
}

#[tokio::test(start_paused = true)]
async fn p03_any_number_of_callers_cause_one_load() {
    let (discovery, script, _) = cached();
    *script.pause.lock().unwrap() = SECOND;
    let callers = (0..1_000).map(|_| {
        let discovery = discovery.clone();
        async move { discovery.metadata().await }
    });
    let outcomes = join_all(callers).await;
    assert!(outcomes.iter().all(|outcome| version(outcome) == "v0"));
    assert_eq!(script.requests(), 1);
    // Later callers get the copy, and a refresh joins no load that has ended.
    assert!(discovery.metadata().await.is_ok());
    assert_eq!(script.requests(), 1);
    let (one, two) = tokio::join!(discovery.refresh(), discovery.refresh());
    assert_eq!(one.unwrap(), two.unwrap());
    assert_eq!(script.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn p04_a_caller_that_is_dropped_does_not_stop_the_load() {
    let (discovery, script, _) = cached();
    *script.pause.lock().unwrap() = 3 * SECOND;
    // The first caller, which starts the load, leaves.
    let first = tokio::time::timeout(SECOND, discovery.metadata()).await;
    assert!(first.is_err());
    let second = discovery.metadata().await;
    assert_eq!(version(&second), "v0");
    assert_eq!(script.requests(), 1);
    // All callers leave: the copy is there afterwards.
    let refresh = tokio::time::timeout(SECOND, discovery.refresh()).await;
    assert!(refresh.is_err());
    script.version.store(1, Ordering::Relaxed);
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(version(&discovery.metadata().await), "v1");
    assert_eq!(script.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn p04_a_server_that_never_responds_ends_with_a_timeout() {
    let (discovery, script, _) = cached();
    Script::set(&script.hangs, true);
    let start = tokio::time::Instant::now();
    let (one, two) = tokio::join!(discovery.metadata(), discovery.metadata());
    assert_eq!(start.elapsed().as_secs(), 10);
    for error in [one.unwrap_err(), two.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("10 s"), "{error}");
    }
    assert_eq!(script.requests(), 1);
    // The next caller tries again.
    Script::set(&script.hangs, false);
    assert_eq!(version(&discovery.metadata().await), "v0");
}

#[tokio::test(start_paused = true)]
async fn p04_all_requests_of_a_load_share_its_time() {
    let http = tower::service_fn(|_: Request<Body>| async {
        tokio::time::sleep(7 * SECOND).await;
        let response = Response::builder().status(404).body(Body::default());
        Ok::<_, io::Error>(response.unwrap())
    });
    let start = tokio::time::Instant::now();
    let outcome = Provider::discover("https://id.example.com/a", http).await;
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("10 s"), "{error}");
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn p04_a_panic_of_the_http_client_is_an_error_and_the_next_call_loads() {
    let (discovery, script, _) = cached();
    Script::set(&script.panics, true);
    let (one, two) = tokio::join!(discovery.metadata(), discovery.metadata());
    assert_eq!(one.unwrap_err().kind(), ErrorKind::Interrupted);
    assert_eq!(two.unwrap_err().kind(), ErrorKind::Interrupted);
    Script::set(&script.panics, false);
    assert_eq!(version(&discovery.metadata().await), "v0");
    // With a copy, a panic costs nothing.
    Script::set(&script.panics, true);
    assert!(discovery.refresh().await.is_err());
    assert_eq!(version(&discovery.metadata().await), "v0");
}

#[test]
fn p04_the_end_or_standstill_of_a_runtime_strands_no_caller() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap()
    };
    for ends in [true, false] {
        let (http, script) = scripted();
        let discovery = Discovery::builder(ISSUER).build(http).unwrap();
        Script::set(&script.hangs, true);
        let first = runtime();
        first.block_on(async {
            let left = tokio::time::timeout(SECOND, discovery.metadata()).await;
            assert!(left.is_err());
        });
        if ends {
            drop(first);
        }
        Script::set(&script.hangs, false);
        // The load of the first runtime makes no progress any more.
        runtime().block_on(async {
            let start = tokio::time::Instant::now();
            let error = discovery.metadata().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Interrupted);
            let waited = if ends { 0 } else { 15 };
            assert_eq!(start.elapsed().as_secs(), waited);
            assert_eq!(version(&discovery.metadata().await), "v0");
        });
    }
}

#[tokio::test(start_paused = true)]
async fn copy_is_used_for_its_time_by_either_clock() {
    for (cache_control, seconds) in [
        (None, 3_600),
        (Some("max-age=900"), 900),
        (Some("max-age=1"), 300),
        (Some("max-age=99999999999999999999"), 86_400),
    ] {
        let (discovery, script, clock) = cached();
        *script.cache_control.lock().unwrap() = cache_control;
        discovery.metadata().await.unwrap();
        script.version.store(1, Ordering::Relaxed);
        tokio::time::advance(Duration::from_secs(seconds - 1)).await;
        assert_eq!(version(&discovery.metadata().await), "v0");
        tokio::time::advance(SECOND).await;
        assert_eq!(version(&discovery.metadata().await), "v1");
        assert_eq!(script.requests(), 2);
        // After a suspend, only the wall clock has advanced.
        script.version.store(2, Ordering::Relaxed);
        clock.shift_wall(i64::try_from(seconds).unwrap());
        assert_eq!(version(&discovery.metadata().await), "v2");
        // A wall clock that was set back prolongs nothing.
        clock.shift_wall(-86_400);
        script.version.store(3, Ordering::Relaxed);
        tokio::time::advance(Duration::from_secs(seconds)).await;
        assert_eq!(version(&discovery.metadata().await), "v3");
    }
}

#[tokio::test(start_paused = true)]
async fn old_copy_stays_in_use_while_loads_fail() {
    let (discovery, script, _) = cached();
    discovery.metadata().await.unwrap();
    Script::set(&script.fails, true);
    script.version.store(1, Ordering::Relaxed);
    // A refresh says what is wrong.
    let error = discovery.refresh().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    tokio::time::advance(2 * HOUR).await;
    let before = script.requests();
    for _ in 0..10 {
        assert_eq!(version(&discovery.metadata().await), "v0");
    }
    // One attempt in 5 minutes.
    assert_eq!(script.requests(), before + 1);
    tokio::time::advance(299 * SECOND).await;
    assert_eq!(version(&discovery.metadata().await), "v0");
    assert_eq!(script.requests(), before + 1);
    Script::set(&script.fails, false);
    tokio::time::advance(SECOND).await;
    assert_eq!(version(&discovery.metadata().await), "v1");
    assert_eq!(script.requests(), before + 2);
}

#[tokio::test]
async fn metadata_of_another_issuer_do_not_replace_a_copy() {
    let sandbox = sandbox(|_| {}).await;
    let discovery = Discovery::builder(sandbox.url()).build(http()).unwrap();
    let before = discovery.metadata().await.unwrap();
    let other = Fault::member("issuer", "https://evil.example");
    sandbox.inject(Endpoint::Metadata, other);
    let error = discovery.refresh().await.unwrap_err();
    assert!(error.to_string().contains("another issuer"), "{error}");
    assert_eq!(discovery.metadata().await.unwrap(), before);
    assert!(!format!("{discovery:?}").contains("evil"));
}

/// A server of metadata of protected resources, by path.
fn resources(
    documents: &'static [(&'static str, u16, &'static str)],
) -> impl Service<Request<Body>, Response = Response<Body>, Error = io::Error, Future: Send>
+ Clone
+ Send
+ Sync {
    tower::service_fn(move |request: Request<Body>| async move {
        let path = request.uri().path();
        let found = documents.iter().find(|(served, ..)| *served == path);
        let (_, status, body) = found.copied().unwrap_or(("", 404, ""));
        let response = Response::builder().status(status).body(Body::from(body));
        Ok::<_, io::Error>(response.unwrap())
    })
}

#[tokio::test(start_paused = true)]
async fn resource_is_found_at_its_path_or_at_its_origin() {
    const AT_PATH: &str = "/.well-known/oauth-protected-resource/mcp";
    const AT_ROOT: &str = "/.well-known/oauth-protected-resource";
    const OF_PATH: &str = r#"{"resource": "https://r.example/mcp"}"#;
    const OF_ROOT: &str = r#"{"resource": "https://r.example"}"#;
    const OF_OTHER: &str = r#"{"resource": "https://r.example/other"}"#;
    let url = "https://r.example/mcp";
    let discover = async |documents| {
        let found = ProtectedResource::discover(url, resources(documents)).await;
        found.map(|resource| resource.resource().to_owned())
    };
    let both = &[(AT_PATH, 200, OF_PATH), (AT_ROOT, 200, OF_ROOT)];
    assert_eq!(discover(both).await.unwrap(), "https://r.example/mcp");
    let root = &[(AT_ROOT, 200, OF_ROOT)];
    assert_eq!(discover(root).await.unwrap(), "https://r.example");
    for (documents, kind, part) in [
        (&[][..], ErrorKind::Configuration, "well-known"),
        (
            &[(AT_ROOT, 200, OF_OTHER)],
            ErrorKind::InvalidResponse,
            "another resource",
        ),
        (
            &[(AT_PATH, 200, OF_OTHER), (AT_ROOT, 200, OF_ROOT)],
            ErrorKind::InvalidResponse,
            "another resource",
        ),
        (
            &[(AT_PATH, 302, ""), (AT_ROOT, 200, OF_ROOT)],
            ErrorKind::InvalidResponse,
            "redirect",
        ),
        (
            &[(AT_PATH, 500, ""), (AT_ROOT, 200, OF_ROOT)],
            ErrorKind::Unavailable,
            "500",
        ),
    ] {
        let error = discover(documents).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let message = error.to_string();
        assert!(
            message.starts_with("protected resource metadata: ") && message.contains(part),
            "{message}"
        );
    }
    // By the URL that a 401 names.
    let fetch = async |metadata_url| {
        let http = resources(&[("/m", 200, OF_PATH), ("/other", 200, OF_OTHER)]);
        ProtectedResource::fetch(metadata_url, url, http).await
    };
    assert!(fetch("https://elsewhere.example/m").await.is_ok());
    for bad in [
        "https://r.example/other",
        "http://r.example/m",
        "http://127.0.0.1/m",
        "/m",
        "",
    ] {
        let error = fetch(bad).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidResponse, "{bad}: {error}");
    }
}

#[tokio::test]
async fn assertions_of_a_discovered_provider_are_for_the_issuer_of_the_metadata() {
    let sandbox = sandbox(|behavior| {
        behavior.client_authentication = sandbox::ClientAuthentication::ClientSecretJwt;
        behavior.client_credentials = true;
    })
    .await;
    let provider = Provider::discover(&sandbox.url(), http()).await.unwrap();
    let oauth = OAuthClient::builder(provider, sandbox.client_id())
        .client_secret(sandbox.client_secret())
        .build(http())
        .unwrap();
    oauth.client_credentials().await.unwrap();
}
