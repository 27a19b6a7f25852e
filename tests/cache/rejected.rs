//! Access tokens that the API rejects, and grants that end.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{Request, Response, header::AUTHORIZATION};
use http_body_util::Full;
use tower::{Layer, ServiceExt};
use tower_oauth2_client::{
    Error, ErrorKind,
    bearer::BearerAuthLayer,
    cache::{TokenCache, TokenState},
    clock::Clock,
    token::GrantState,
};

use crate::support::{
    API, DAY, HOUR, MINUTE, ManualClock, SECOND, Scripted, Source, Store, pass, unavailable,
};

struct Scene {
    clock: ManualClock,
    source: Source,
    store: Store,
}

impl Scene {
    fn new() -> Self {
        let clock = ManualClock::new();
        Self {
            source: Source::new(&clock),
            clock,
            store: Store::default(),
        }
    }

    fn cache(&self) -> TokenCache {
        self.source
            .cache()
            .store(self.store.clone())
            .build()
            .unwrap()
    }

    /// A cache with a token that every API knows.
    async fn cache_in_use(&self) -> TokenCache {
        let tokens = self.cache();
        tokens.token().await.unwrap();
        pass(MINUTE).await;
        tokens
    }

    /// The stored end has no access token that any process serves.
    async fn is_ended_for_good(&self) {
        let stored = self.store.stored().await.unwrap();
        assert!(matches!(
            stored.state,
            GrantState::ReauthorizationRequired { .. }
        ));
        assert_eq!(stored.tokens().unwrap().lifetime(), Some(Duration::ZERO));
        // After a restart, also with a wrong clock.
        for wrong in [0, -7_200, 7_200] {
            self.clock.shift_wall(wrong);
            let kind = Err(ErrorKind::ReauthorizationRequired);
            assert_eq!(call(&self.cache(), |_| true).await, kind);
        }
    }
}

/// An API call. The API accepts the tokens for which `accepts` is true.
async fn call(
    tokens: &TokenCache,
    accepts: impl Fn(&str) -> bool + Clone + Send + Sync + 'static,
) -> Result<u16, ErrorKind> {
    let service = tower::service_fn(move |request: Request<Full<Bytes>>| {
        let is_accepted = accepts(request.headers()[AUTHORIZATION].to_str().unwrap());
        let status = if is_accepted { 200 } else { 401 };
        let response = Response::builder().status(status);
        std::future::ready(Ok::<_, Infallible>(
            response.body(Full::<Bytes>::default()).unwrap(),
        ))
    });
    let api = BearerAuthLayer::new(tokens.clone()).layer(service);
    let request = Request::get(API).body(Full::default()).unwrap();
    match api.oneshot(request).await {
        Ok(response) => Ok(response.status().as_u16()),
        Err(error) => Err(error.kind()),
    }
}

const ENDED: Result<u16, ErrorKind> = Err(ErrorKind::ReauthorizationRequired);

#[tokio::test(start_paused = true)]
async fn p15_rejected_token_is_not_served_once_the_grant_has_ended() {
    for lifetime in [Some(DAY), None] {
        let scene = Scene::new();
        scene.source.set_lifetime(lifetime);
        let tokens = scene.cache_in_use().await;
        scene.source.then(Scripted::Fail(Error::invalid_grant()));
        // The first caller gets the response as it is.
        assert_eq!(call(&tokens, |_| false).await, Ok(401));
        for _ in 0..3 {
            assert_eq!(call(&tokens, |_| true).await, ENDED);
            pass(HOUR).await;
        }
        assert!(matches!(
            tokens.status().state,
            TokenState::ReauthorizationRequired { .. }
        ));
        assert_eq!(tokens.status().expires_at, None);
        scene.is_ended_for_good().await;
        assert_eq!(scene.source.refreshes(), 2);
    }
}

/// Without a 401, the access token serves until it expires.
#[tokio::test(start_paused = true)]
async fn p05_token_that_was_not_rejected_serves_after_the_end() {
    let scene = Scene::new();
    let tokens = scene.cache_in_use().await;
    scene.source.then(Scripted::Fail(Error::invalid_grant()));
    tokens.refresh_now().await.unwrap_err();
    assert_eq!(call(&tokens, |_| true).await, Ok(200));
    assert_eq!(call(&scene.cache(), |_| true).await, Ok(200));
    // The API rejects it later.
    assert_eq!(call(&tokens, |_| false).await, Ok(401));
    assert_eq!(call(&tokens, |_| true).await, ENDED);
    scene.is_ended_for_good().await;
}

#[tokio::test(start_paused = true)]
async fn p15_token_that_was_rejected_during_the_refresh_is_not_served_after_the_end() {
    let scene = Scene::new();
    let tokens = scene.cache_in_use().await;
    scene.source.then(Scripted::Fail(Error::invalid_grant()));
    scene.source.set_delay(5 * SECOND);
    let refresh = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.refresh_now().await }
    });
    pass(SECOND).await;
    assert_eq!(call(&tokens, |_| false).await, Ok(401), "joins the refresh");
    refresh.await.unwrap().unwrap_err();
    assert_eq!(call(&tokens, |_| true).await, ENDED);
    scene.is_ended_for_good().await;
}

/// The refresh after the 401 fails, and another replica ends the grant without having seen a 401.
#[tokio::test(start_paused = true)]
async fn p15_token_that_was_rejected_before_another_replica_ended_the_grant_is_not_served() {
    let scene = Scene::new();
    let tokens = scene.cache_in_use().await;
    let replica = scene.cache();
    replica.token().await.unwrap();
    scene.source.then(Scripted::Fail(unavailable()));
    assert_eq!(call(&tokens, |_| false).await, Ok(401));
    scene.source.then(Scripted::Fail(Error::invalid_grant()));
    replica.refresh_now().await.unwrap_err();
    assert_eq!(
        call(&replica, |_| true).await,
        Ok(200),
        "not rejected there"
    );
    pass(MINUTE).await;
    // Adopts the end, and rejects the token there too.
    assert!(tokens.refresh_now().await.is_err());
    assert_eq!(call(&tokens, |_| true).await, ENDED);
    pass(2 * SECOND).await;
    assert_eq!(call(&tokens, |_| true).await, ENDED);
    scene.is_ended_for_good().await;
}

#[tokio::test(start_paused = true)]
async fn p15_invalidated_token_is_not_served_after_the_end() {
    let scene = Scene::new();
    let tokens = scene.cache_in_use().await;
    scene.source.then(Scripted::Fail(Error::invalid_grant()));
    tokens.refresh_now().await.unwrap_err();
    tokens.invalidate();
    assert_eq!(call(&tokens, |_| true).await, ENDED);
    scene.is_ended_for_good().await;
}

/// A rejected token that cannot be refreshed for another reason stays in use: only a new one, or
/// the end of the grant, replaces it.
#[tokio::test(start_paused = true)]
async fn p05_rejected_token_stays_in_use_while_refreshes_fail() {
    let scene = Scene::new();
    let tokens = scene.cache_in_use().await;
    scene.source.then(Scripted::Fail(unavailable()));
    assert_eq!(call(&tokens, |_| false).await, Ok(401));
    assert_eq!(call(&tokens, |_| true).await, Ok(200));
    assert_eq!(call(&scene.cache(), |_| true).await, Ok(200));
}

/// A 401 to an older token says nothing about the one that is held at the end.
#[tokio::test(start_paused = true)]
async fn p06_rejection_of_an_older_token_does_not_end_the_newer_one() {
    let scene = Scene::new();
    let tokens = scene.cache_in_use().await;
    assert_eq!(call(&tokens, |token| token != "Bearer a1").await, Ok(200));
    pass(MINUTE).await;
    scene.source.then(Scripted::Fail(Error::invalid_grant()));
    tokens.refresh_now().await.unwrap_err();
    assert_eq!(call(&tokens, |token| token == "Bearer a2").await, Ok(200));
}

#[tokio::test(start_paused = true)]
async fn p07_interval_of_refreshes_after_401s_grows_and_is_reset_by_success() {
    let scene = Scene::new();
    let tokens = scene.cache_in_use().await;
    let begun = scene.source.refreshes();
    for _ in 0..3_600 {
        assert_eq!(call(&tokens, |_| false).await, Ok(401));
        pass(SECOND).await;
    }
    let refreshes = scene.source.refreshes() - begun;
    assert!((5..=8).contains(&refreshes), "{refreshes}");
    let until = tokens.status().no_refresh_after_401_until.unwrap();
    assert!(until > scene.clock.wall() + MINUTE);

    // The next new token is accepted. A later 401 is met as the first one.
    pass(HOUR).await;
    let rejected = tokens.token().await.unwrap();
    let rejected = rejected.header_value().to_str().unwrap().to_owned();
    assert_eq!(call(&tokens, move |token| token != rejected).await, Ok(200));
    pass(31 * SECOND).await;
    let rejected = tokens.token().await.unwrap();
    let rejected = rejected.header_value().to_str().unwrap().to_owned();
    assert_eq!(call(&tokens, move |token| token != rejected).await, Ok(200));
}

/// Rare 401s are no sign of an API that rejects every token.
#[tokio::test(start_paused = true)]
async fn p07_token_that_served_for_a_while_is_refreshed_after_a_401() {
    let scene = Scene::new();
    let tokens = scene.cache_in_use().await;
    for refreshes in 2..20 {
        pass(MINUTE + SECOND).await;
        assert_eq!(call(&tokens, |_| false).await, Ok(401));
        assert_eq!(scene.source.refreshes(), refreshes);
        let left = tokens.status().no_refresh_after_401_until.unwrap();
        assert!(left <= scene.clock.wall() + 31 * SECOND);
    }
}
