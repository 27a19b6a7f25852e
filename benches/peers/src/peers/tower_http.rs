//! `AddAuthorization` of tower-http: a static header without expiry, refresh or retry. It is the
//! least that a layer can cost.

use std::convert::Infallible;

use tower::Layer;
use tower_http::auth::AddAuthorizationLayer;

use super::peer::{Peer, Side};
use crate::{
    load::{Stack, load},
    work::{Noop, TOKEN},
};

pub(super) const STATIC_HEADER: Peer = Peer {
    package: "tower-http",
    part: "`AddAuthorization`",
    variant: Some("static header"),
    retry: "no",
    side: Side::Floor,
    warm: |_| {
        let layer = AddAuthorizationLayer::bearer(&TOKEN).as_sensitive(true);
        Ok(load(Stack(layer.layer(Noop::<Infallible>::new()))))
    },
    bare: None,
};
