//! This crate with its defaults, where the request is kept for one retry after a 401, and without
//! retries.

use std::convert::Infallible;

use tokio::runtime::Runtime;
use tower::Layer;
use tower_oauth2_client::{
    Error,
    bearer::BearerAuthLayer,
    cache::{TokenCache, token_fn},
    clock::{Clock, SystemClock},
    token::{AccessToken, TokenSet},
};

use super::peer::{Failure, Peer, Side};
use crate::{
    load::{Load, Stack, load},
    work::{Body, LIFETIME, Noop, ORIGIN, TOKEN},
};

pub(super) const WITHOUT_RETRIES: Peer = Peer {
    package: "tower-oauth2-client",
    part: "`BearerAuthLayer`",
    variant: Some("no retry"),
    retry: "no",
    side: Side::Ours,
    warm: |runtime| warm(runtime, |layer| layer.replay_limit(0)),
    bare: None,
};

pub(super) const BY_DEFAULT: Peer = Peer {
    package: "tower-oauth2-client",
    part: "`BearerAuthLayer`",
    variant: Some("one retry"),
    retry: "yes",
    side: Side::Ours,
    warm: |runtime| warm(runtime, |layer| layer),
    bare: None,
};

fn warm(
    runtime: &Runtime,
    configure: impl FnOnce(BearerAuthLayer<Body>) -> BearerAuthLayer<Body>,
) -> Result<Box<dyn Load>, Failure> {
    let _entered = runtime.enter();
    let tokens = TokenCache::builder(token_fn(issue))
        .origin(ORIGIN)
        .build()?;
    runtime.block_on(tokens.token())?;
    let layer = configure(BearerAuthLayer::new(tokens));
    Ok(load(Stack(layer.layer(Noop::<Infallible>::new()))))
}

async fn issue() -> Result<TokenSet, Error> {
    let token = AccessToken::new(TOKEN.as_str())?;
    Ok(TokenSet::new(token, LIFETIME, SystemClock.wall()))
}
