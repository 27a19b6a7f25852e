//! Processes, and their callers.

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
    provider::{Provider, REFRESH_TOKEN_LIFETIME},
    rules,
    store::Store,
    support::{API, MINUTE},
    world::World,
};

/// The longest time that a caller waits, whatever the store and the provider do.
pub(crate) const MAX_WAIT: Duration = MINUTE.saturating_mul(5);

/// Starts a process.
pub(crate) fn process(world: &World, seed: u64) -> (TokenCache, Api) {
    let (process, defers) = {
        let state = world.lock();
        (state.process, state.terms.defers)
    };
    let provider = Provider {
        world: world.clone(),
        process,
    };
    let policy = if defers {
        LostResponse::Defer
    } else {
        LostResponse::RetryOnce
    };
    let tokens = TokenCache::builder(provider)
        .refresh_token_lifetime(REFRESH_TOKEN_LIFETIME)
        .origin(API)
        .store(Store(world.clone()))
        .clock(world.times.clock.clone())
        .jitter_seed(seed)
        .lost_response(policy)
        .build()
        .unwrap();
    (tokens.clone(), api(world, tokens))
}

pub(crate) async fn token_of_call<F>(
    world: &World,
    ask: impl FnOnce() -> F,
) -> Result<BearerToken, Error>
where
    F: Future<Output = Result<BearerToken, Error>>,
{
    let (process, began) = (world.lock().process, world.times.now());
    let result = ask().await;
    let mut state = world.lock();
    match &result {
        Ok(token) => rules::token_returned(&mut state, process, began, token),
        Err(error) => rules::call_failed(&mut state, error),
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
                state.violated("P17: a response to a request that was not sent");
            }
            Ok(response.status())
        }
        Err(error) => {
            rules::call_failed(&mut state, &error);
            Err(error)
        }
    }
}

/// Limits a wait, because a paused runtime would spin indefinitely.
pub(crate) async fn limited<T>(work: impl Future<Output = T>) -> T {
    timeout(MAX_WAIT, work)
        .await
        .expect("no caller waits for so long")
}

/// Lets every task run as far as it can while time stands still.
pub(crate) async fn run_tasks() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}
