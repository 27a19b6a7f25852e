//! `ClientCredentialAuthorizer` of middle. It is refreshed in the background, and has no reaction
//! to a 401.
//!
//! It is not a tower layer. Its own client uses reqwest; this code does what that client does for
//! each request: get the header, take it out of its `Arc`, insert it, send. The token comes over
//! HTTP, from a listener on loopback.

use std::{convert::Infallible, future::Future, sync::Arc};

use http::header::AUTHORIZATION;
use middle::{Authorizer, BasicClientCredentialAuthorizer};
use tower::Service;

use super::peer::{Peer, Side};
use crate::{
    load::{Client, load},
    token_endpoint,
    work::{self, Noop, Shape},
};

pub(super) const AUTHORIZER: Peer = Peer {
    package: "middle",
    part: "`ClientCredentialAuthorizer`",
    variant: None,
    retry: "no",
    side: Side::Theirs,
    warm: |runtime| {
        let builder = BasicClientCredentialAuthorizer::basic_builder(
            "client",
            "secret",
            token_endpoint::listen()?,
        );
        let authorizer = runtime.block_on(builder.build())?;
        let http = Noop::new();
        Ok(load(Authorized { authorizer, http }))
    },
    bare: None,
};

struct Authorized {
    authorizer: BasicClientCredentialAuthorizer,
    http: Noop<Infallible>,
}

impl Client for Authorized {
    fn send(&mut self, shape: Shape) -> impl Future {
        let mut request = work::request(shape);
        let header = self.authorizer.authorization_header();
        let header = header.expect("the token is fresh");
        request
            .headers_mut()
            .insert(AUTHORIZATION, Arc::unwrap_or_clone(header));
        self.http.call(request)
    }
}
