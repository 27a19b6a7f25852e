//! Two layers of cf-gears-toolkit-auth for client credentials: one adds the token, the other also
//! retries after a 401, as only this crate does by default.
//!
//! The token comes over HTTP, from a listener on loopback. The error of the inner service must be
//! that of the toolkit.

use tokio::runtime::Runtime;
use toolkit_auth::{
    BearerAuthAutoRefreshLayer, BearerAuthLayer, OAuthClientConfig, SecretString, TokenProvider,
};
use toolkit_http::HttpError;
use tower::Layer;

use super::peer::{Failure, Peer, Side};
use crate::{
    load::{Stack, load},
    token_endpoint,
    work::Noop,
};

pub(super) const BEARER_AUTH: Peer = Peer {
    package: "cf-gears-toolkit-auth",
    part: "`BearerAuthLayer`",
    variant: Some("no retry"),
    retry: "no",
    side: Side::Theirs,
    warm: |runtime| {
        let layer = BearerAuthLayer::new(provider(runtime)?);
        Ok(load(Stack(layer.layer(Noop::<HttpError>::new()))))
    },
    bare: None,
};

pub(super) const AUTO_REFRESH: Peer = Peer {
    package: "cf-gears-toolkit-auth",
    part: "`BearerAuthAutoRefreshLayer`",
    variant: Some("one retry"),
    retry: "yes",
    side: Side::Theirs,
    warm: |runtime| {
        let layer = BearerAuthAutoRefreshLayer::new(provider(runtime)?);
        Ok(load(Stack(layer.layer(Noop::<HttpError>::new()))))
    },
    bare: None,
};

fn provider(runtime: &Runtime) -> Result<TokenProvider, Failure> {
    let _entered = runtime.enter();
    let tokens = TokenProvider::new(OAuthClientConfig {
        token_endpoint: Some(token_endpoint::listen()?),
        client_id: "client".into(),
        client_secret: SecretString::new("secret"),
        ..OAuthClientConfig::default()
    })?;
    runtime.block_on(tokens.get())?;
    Ok(tokens)
}
