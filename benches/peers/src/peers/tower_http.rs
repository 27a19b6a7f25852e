//! tower-http's `AddAuthorization`: a header that is there already, without expiry, refresh or retry. What a layer costs at least.

use std::convert::Infallible;

use tower::Layer;
use tower_http::auth::AddAuthorizationLayer;

use super::{Peer, Side};
use crate::{
    load::{Stack, load},
    work::{Nothing, TOKEN},
};

pub(super) const STATIC_HEADER: Peer = Peer {
    package: "tower-http",
    part: "`AddAuthorization` (static header)",
    side: Side::Floor,
    warm: |_| {
        let layer = AddAuthorizationLayer::bearer(&TOKEN).as_sensitive(true);
        Ok(load(Stack(layer.layer(Nothing::<Infallible>::new()))))
    },
    bare: None,
};
