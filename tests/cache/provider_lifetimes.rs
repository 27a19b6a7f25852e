//! Lifetimes by the data of a provider, and grants without a refresh token.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, header::AUTHORIZATION};
use http_body_util::Full;
use tower::{Layer, ServiceExt};
use tower_oauth2_client::{
    Error, ErrorKind,
    bearer::BearerAuthLayer,
    cache::{LostResponse, TokenCache, TokenCacheBuilder, TokenSource, TokenState},
    clock::Clock,
    oauth::OAuthClient,
    provider::{Provider, ProviderBuilder},
    telemetry::GrantListener,
    token::{AccessToken, GrantState, ReauthorizationReason, TenantId, TokenSet},
};

use crate::support::{
    API, DAY, HOUR, MINUTE, ManualClock, SECOND, Scripted, Source, Store, header, pass,
};

/// A source with the data of a provider.
struct WithProvider(Source, Provider);

impl TokenSource for WithProvider {
    async fn fetch(&self, held: Option<&TokenSet>) -> Result<TokenSet, Error> {
        self.0.fetch(held).await
    }

    fn fetch_timeout(&self) -> Duration {
        self.0.fetch_timeout()
    }

    fn provider(&self) -> Option<&Provider> {
        Some(&self.1)
    }
}

#[derive(Clone, Default)]
struct Reports(Arc<Mutex<Vec<String>>>);

impl GrantListener for Reports {
    fn reauthorization_required(&self, _: &TenantId, reason: ReauthorizationReason) {
        self.0.lock().unwrap().push(reason.as_str().to_owned());
    }

    fn refresh_token_expiring(&self, _: &TenantId, days_left: u64) {
        self.0.lock().unwrap().push(format!("{days_left} days"));
    }
}

impl Reports {
    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

struct Scene {
    clock: ManualClock,
    source: Source,
    store: Store,
    reports: Reports,
    provider: Provider,
}

impl Scene {
    fn new(set: impl FnOnce(ProviderBuilder) -> ProviderBuilder) -> Self {
        let clock = ManualClock::new();
        let builder = Provider::builder("https://id.example.com/token").api_origin(API);
        Self {
            source: Source::new(&clock),
            clock,
            store: Store::default(),
            reports: Reports::default(),
            provider: set(builder).build().unwrap(),
        }
    }

    fn cache(&self) -> TokenCacheBuilder {
        self.set(TokenCache::builder(WithProvider(
            self.source.clone(),
            self.provider.clone(),
        )))
    }

    /// A cache whose source sends nothing without a refresh token.
    fn cache_of_client(&self) -> TokenCache {
        let oauth = OAuthClient::builder(self.provider.clone(), "client")
            .client_secret("secret")
            .build::<_, Full<Bytes>, _>(tower::service_fn(|_: Request<Full<Bytes>>| async {
                Err::<Response<Full<Bytes>>, _>(std::io::Error::other("no request is expected"))
            }))
            .unwrap();
        self.set(TokenCache::builder(oauth)).build().unwrap()
    }

    fn set(&self, builder: TokenCacheBuilder) -> TokenCacheBuilder {
        builder
            .background_delay(Duration::ZERO)
            .store(self.store.clone())
            .clock(self.clock.clone())
            .listener(self.reports.clone())
            .jitter_seed(7)
    }

    fn single(&self, name: &str, lifetime: Option<Duration>) -> TokenSet {
        TokenSet::new(AccessToken::new(name).unwrap(), lifetime, self.clock.wall())
    }
}

/// A call of an API that responds with these statuses. Returns the last one, and how often it was
/// called.
async fn call(tokens: &TokenCache, statuses: &[u16]) -> (Result<u16, ErrorKind>, usize) {
    let statuses: Arc<Mutex<Vec<u16>>> =
        Arc::new(Mutex::new(statuses.iter().rev().copied().collect()));
    let left = Arc::clone(&statuses);
    let count = statuses.lock().unwrap().len();
    let service = tower::service_fn(move |request: Request<Full<Bytes>>| {
        assert!(request.headers().contains_key(AUTHORIZATION));
        let status = left.lock().unwrap().pop().unwrap();
        let response = Response::builder().status(status);
        std::future::ready(Ok::<_, Infallible>(
            response.body(Full::<Bytes>::default()).unwrap(),
        ))
    });
    let api = BearerAuthLayer::new(tokens.clone()).layer(service);
    let request = Request::get(API).body(Full::default()).unwrap();
    let result = match api.oneshot(request).await {
        Ok(response) => Ok(response.status().as_u16()),
        Err(error) => Err(error.kind()),
    };
    let calls = count - statuses.lock().unwrap().len();
    (result, calls)
}

/// The token lives for 10 minutes, and the provider refuses a refresh earlier than 30 seconds
/// before its end.
#[tokio::test(start_paused = true)]
async fn p16_no_refresh_is_sent_before_the_window_of_the_provider() {
    let scene = Scene::new(|builder| builder.earliest_refresh(30 * SECOND));
    scene.source.set_lifetime(10 * MINUTE);
    let tokens = scene.cache().build().unwrap();
    assert_eq!(header(&tokens).await, "Bearer a1");
    for _ in 0..9 {
        pass(MINUTE).await;
        assert_eq!(call(&tokens, &[401, 200]).await, (Ok(401), 1));
        let error = tokens.refresh_now().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.retry_after().unwrap() < 10 * MINUTE);
        assert_eq!(scene.source.refreshes(), 1);
    }
    pass(34 * SECOND).await;
    assert_eq!(scene.source.refreshes(), 1);
    pass(20 * SECOND).await;
    assert_eq!(header(&tokens).await, "Bearer a2");
    assert_eq!(scene.source.refreshes(), 2);
}

/// An idle grant that can be refreshed only while its access token is valid.
#[tokio::test(start_paused = true)]
async fn p19_idle_grant_is_refreshed_while_its_access_token_is_valid() {
    for lifetime in [HOUR, 6 * HOUR] {
        let scene = Scene::new(|builder| builder.latest_refresh(Duration::ZERO));
        scene.source.set_lifetime(lifetime);
        let tokens = scene.cache().build().unwrap();
        tokens.token().await.unwrap();
        for number in 2..6_u64 {
            let expires_at = tokens.status().refresh_token_expires_at.unwrap();
            pass(lifetime / 4 * 3).await;
            assert!(scene.clock.wall() < expires_at);
            assert_eq!(header(&tokens).await, format!("Bearer a{number}"));
        }
        assert_eq!(scene.reports.all(), [""; 0]);
    }
}

/// Each request is lost, until the provider works again within its reuse grace, or after it.
#[tokio::test(start_paused = true)]
async fn p11_lost_response_is_replayed_until_the_reuse_grace_ends() {
    for (grace, restarts, works_after, is_healed) in [
        (30, false, 20, true),
        (30, false, 60, false),
        (600, false, 300, true),
        (600, true, 300, true),
        (600, false, 900, false),
        (2_592_000, false, 86_400 / 2, true),
    ] {
        let scene = Scene::new(|builder| builder.reuse_grace(grace * SECOND));
        let mut tokens = scene.cache().build().unwrap();
        tokens.token().await.unwrap();
        for _ in 0..10_000 {
            let error = Error::response_lost("cut off: scripted");
            scene.source.then(Scripted::Fail(error));
        }
        tokens.refresh_now().await.unwrap_err();
        pass(works_after / 2 * SECOND).await;
        if restarts {
            tokens = scene.cache().build().unwrap();
            tokens.token().await.unwrap();
        }
        pass(works_after / 2 * SECOND).await;
        let lost = scene.source.refreshes() - 1;
        let sent = scene.source.sent_refresh_tokens();
        assert!(sent[1..].iter().all(|token| token.as_deref() == Some("r1")));
        // More than the one replay, and no hot loop.
        assert!((4..200).contains(&lost), "{grace}: {lost}");
        scene.source.clear_script();
        pass(11 * MINUTE).await;
        let stored = scene.store.stored().await.unwrap().state;
        let found = matches!(stored, GrantState::Active(_));
        assert_eq!(found, is_healed, "{grace}, {works_after}");
        let replays = scene.source.refreshes() - 1 - lost;
        assert_eq!(replays, usize::from(is_healed), "{grace}, {works_after}");
    }
}

/// The program has chosen to wait, whatever the provider permits.
#[tokio::test(start_paused = true)]
async fn p11_deferred_lost_response_is_not_replayed_within_the_reuse_grace() {
    for grace in [30, 600, 2_592_000] {
        let scene = Scene::new(|builder| builder.reuse_grace(grace * SECOND));
        let tokens = scene.cache().lost_response(LostResponse::Defer);
        let tokens = tokens.build().unwrap();
        tokens.token().await.unwrap();
        let error = Error::response_lost("cut off: scripted");
        scene.source.then(Scripted::Fail(error));
        tokens.refresh_now().await.unwrap_err();
        pass(DAY - HOUR).await;
        assert_eq!(header(&tokens).await, "Bearer a1");
        assert_eq!(scene.source.refreshes(), 2, "{grace}");
    }
}

#[tokio::test(start_paused = true)]
async fn p15_grant_without_a_refresh_token_ends_when_its_token_is_rejected() {
    for lifetime in [None, Some(DAY)] {
        let scene = Scene::new(ProviderBuilder::access_token_never_expires);
        let tokens = scene.cache_of_client();
        tokens
            .set_tokens(scene.single("a1", lifetime))
            .await
            .unwrap();
        pass(MINUTE).await;
        // Each call is retried once with the same token.
        for _ in 0..5 {
            assert_eq!(call(&tokens, &[401, 401]).await, (Ok(401), 2));
            assert_eq!(scene.reports.all(), [""; 0]);
            pass(10 * MINUTE).await;
        }
        assert!(matches!(tokens.status().state, TokenState::Rejected { .. }));
        pass(10 * MINUTE).await;
        assert_eq!(call(&tokens, &[401, 200]).await, (Ok(401), 1));
        assert_eq!(scene.reports.all(), ["no_refresh_token"]);
        for tokens in [tokens.clone(), scene.cache_of_client()] {
            let ended = Err(ErrorKind::ReauthorizationRequired);
            assert_eq!(call(&tokens, &[200]).await, (ended, 0));
            assert!(tokens.token().await.unwrap_err().is_consent_required());
        }
        assert_eq!(scene.reports.all(), ["no_refresh_token"]);
        // A new consent starts again.
        tokens
            .set_tokens(scene.single("a2", lifetime))
            .await
            .unwrap();
        assert_eq!(call(&tokens, &[200]).await, (Ok(200), 1));
    }
}

/// An API that responds with 401 now and then, for reasons of its own.
#[tokio::test(start_paused = true)]
async fn p15_spurious_401_does_not_end_a_grant_without_a_refresh_token() {
    let scene = Scene::new(ProviderBuilder::access_token_never_expires);
    let tokens = scene.cache_of_client();
    tokens.set_tokens(scene.single("a1", None)).await.unwrap();
    pass(MINUTE).await;
    for _ in 0..50 {
        assert_eq!(call(&tokens, &[401, 200]).await, (Ok(200), 2));
        assert_eq!(tokens.status().state, TokenState::Fresh);
        pass(2 * MINUTE).await;
    }
    // Rejected for less than an hour, and accepted again.
    for _ in 0..10 {
        assert_eq!(call(&tokens, &[401, 401]).await, (Ok(401), 2));
        pass(50 * MINUTE).await;
        assert_eq!(call(&tokens, &[401, 200]).await, (Ok(200), 2));
        pass(50 * MINUTE).await;
    }
    // The word of the program is no evidence.
    tokens.invalidate();
    assert!(tokens.token().await.is_err());
    assert_eq!(scene.reports.all(), [""; 0]);
    let stored = scene.store.stored().await.unwrap().state;
    assert!(matches!(stored, GrantState::Active(_)));
}

/// An API that responds with 401 at one of its endpoints, and accepts the token at the others.
#[tokio::test(start_paused = true)]
async fn p15_accepted_request_shows_that_a_grant_without_a_refresh_token_lives() {
    for between in [&[200][..], &[204], &[404, 200]] {
        let scene = Scene::new(ProviderBuilder::access_token_never_expires);
        let tokens = scene.cache_of_client();
        tokens.set_tokens(scene.single("a1", None)).await.unwrap();
        pass(MINUTE).await;
        for _ in 0..20 {
            assert_eq!(call(&tokens, &[401, 401]).await, (Ok(401), 2));
            for status in between {
                pass(20 * MINUTE).await;
                assert_eq!(call(&tokens, &[*status]).await, (Ok(*status), 1));
            }
            pass(50 * MINUTE).await;
        }
        assert_eq!(scene.reports.all(), [""; 0], "{between:?}");
        // These say nothing about the token.
        assert_eq!(call(&tokens, &[401, 401]).await, (Ok(401), 2));
        for status in [404, 500, 301] {
            pass(30 * MINUTE).await;
            assert_eq!(call(&tokens, &[status]).await, (Ok(status), 1));
        }
        assert_eq!(call(&tokens, &[401, 200]).await, (Ok(401), 1));
        assert_eq!(scene.reports.all(), ["no_refresh_token"]);
    }
}

#[tokio::test(start_paused = true)]
async fn p15_grant_without_a_refresh_token_ends_when_its_token_expires() {
    for lifetime in [HOUR, DAY] {
        let scene = Scene::new(|builder| builder);
        let tokens = scene.cache_of_client();
        tokens
            .set_tokens(scene.single("a1", Some(lifetime)))
            .await
            .unwrap();
        for _ in 0..11 {
            pass(lifetime / 12).await;
            assert_eq!(call(&tokens, &[200]).await, (Ok(200), 1));
            assert_eq!(scene.reports.all(), [""; 0]);
        }
        pass(lifetime / 12 + MINUTE).await;
        let ended = Err(ErrorKind::ReauthorizationRequired);
        assert_eq!(call(&tokens, &[200]).await, (ended, 0));
        assert_eq!(scene.reports.all(), ["no_refresh_token"]);
    }
}

/// A source that can always get another token has no grant that ends.
#[tokio::test(start_paused = true)]
async fn p15_source_without_refresh_tokens_gets_another_token() {
    let scene = Scene::new(|builder| builder);
    let tokens = scene.cache().build().unwrap();
    tokens
        .set_tokens(scene.single("a0", Some(HOUR)))
        .await
        .unwrap();
    pass(MINUTE).await;
    assert_eq!(call(&tokens, &[401, 200]).await, (Ok(200), 2));
    assert_eq!(header(&tokens).await, "Bearer a1");
    assert_eq!(scene.reports.all(), [""; 0]);
}
