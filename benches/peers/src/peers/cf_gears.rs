//! cf-gears-toolkit-auth: layers over client credentials, one that only puts the token on a request, and one that also sends it
//! once more after a 401. Nobody else does what we do by default.
//!
//! The token comes over HTTP, from a listener on loopback. The error of the service inside must be the toolkit's own.

use tokio::runtime::Runtime;
use toolkit_auth::{
    BearerAuthAutoRefreshLayer, BearerAuthLayer, OAuthClientConfig, SecretString, TokenProvider,
};
use toolkit_http::HttpError;
use tower::Layer;

use super::{Failure, Peer, Side};
use crate::{
    load::{Stack, load},
    token_endpoint,
    work::Nothing,
};

pub(super) const BEARER_AUTH: Peer = Peer {
    package: "cf-gears-toolkit-auth",
    part: "`BearerAuthLayer` (no retry)",
    side: Side::Theirs,
    warm: |runtime| {
        let layer = BearerAuthLayer::new(provider(runtime)?);
        Ok(load(Stack(layer.layer(Nothing::<HttpError>::new()))))
    },
    bare: None,
};

pub(super) const AUTO_REFRESH: Peer = Peer {
    package: "cf-gears-toolkit-auth",
    part: "`BearerAuthAutoRefreshLayer` (one retry on 401)",
    side: Side::Theirs,
    warm: |runtime| {
        let layer = BearerAuthAutoRefreshLayer::new(provider(runtime)?);
        Ok(load(Stack(layer.layer(Nothing::<HttpError>::new()))))
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
