//! Processes, and those who ask them for tokens.

use std::{future::Future, time::Duration};

use http::StatusCode;
use tokio::time::timeout;
use tower::ServiceExt;
use tower_oauth2_client::{
    Error,
    cache::{BearerToken, LostResponse, TokenCache},
};

use crate::{
    api::{Api, api, request},
    provider::Provider,
    rules,
    shelf::Store,
    support::{API, MINUTE},
    world::World,
};

/// Nobody has to wait for longer than this, whatever the store and the provider do.
pub(crate) const PATIENCE: Duration = MINUTE.saturating_mul(5);

/// A process begins.
pub(crate) fn process(world: &World, seed: u64) -> (TokenCache, Api) {
    let (process, holds) = {
        let state = world.lock();
        (state.process, state.terms.holds)
    };
    let provider = Provider {
        world: world.clone(),
        process,
    };
    let policy = if holds {
        LostResponse::Defer
    } else {
        LostResponse::RetryOnce
    };
    let tokens = TokenCache::builder(provider)
        .origin(API)
        .store(Store(world.clone()))
        .clock(world.times.clock.clone())
        .jitter_seed(seed)
        .lost_response(policy)
        .build()
        .unwrap();
    (tokens.clone(), api(world, tokens))
}

pub(crate) async fn asked<F>(world: &World, ask: impl FnOnce() -> F) -> Result<BearerToken, Error>
where
    F: Future<Output = Result<BearerToken, Error>>,
{
    let (process, began) = (world.lock().process, world.times.now());
    let result = ask().await;
    let mut state = world.lock();
    match &result {
        Ok(token) => rules::handed_out(&mut state, process, began, token),
        Err(error) => rules::refused(&mut state, error),
    }
    result
}

pub(crate) async fn called(world: World, api: Api) -> Result<StatusCode, Error> {
    let (number, request) = request(&mut world.lock());
    let result = api.oneshot(request).await;
    let mut state = world.lock();
    match result {
        Ok(response) => {
            if state.calls[number].is_empty() {
                state.violated("P17: an answer to what was not sent");
            }
            Ok(response.status())
        }
        Err(error) => {
            rules::refused(&mut state, &error);
            Err(error)
        }
    }
}

/// A paused runtime would spin for ever.
pub(crate) async fn patient<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work)
        .await
        .expect("nobody has to wait for so long")
}

/// Lets every task go on as far as it can without time passing.
pub(crate) async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}
