//! middle's `ClientCredentialAuthorizer`, which is renewed in the background and knows nothing of a 401.
//!
//! It is no tower layer. Its own client is one over reqwest; what that does for each request, we do here: get the header, take
//! it out of its `Arc`, insert it, send. The token comes over HTTP, from a listener on loopback.

use std::{convert::Infallible, future::Future, sync::Arc};

use http::header::AUTHORIZATION;
use middle::{Authorizer, BasicClientCredentialAuthorizer};
use tower::Service;

use super::{Peer, Side};
use crate::{
    load::{Client, load},
    token_endpoint,
    work::{self, Nothing},
};

pub(super) const AUTHORIZER: Peer = Peer {
    package: "middle",
    part: "`ClientCredentialAuthorizer` (no layer, no retry)",
    side: Side::Theirs,
    warm: |runtime| {
        let builder = BasicClientCredentialAuthorizer::basic_builder(
            "client",
            "secret",
            token_endpoint::listen()?,
        );
        let authorizer = runtime.block_on(builder.build())?;
        let http = Nothing::new();
        Ok(load(Authorized { authorizer, http }))
    },
    bare: None,
};

#[derive(Clone)]
struct Authorized {
    authorizer: BasicClientCredentialAuthorizer,
    http: Nothing<Infallible>,
}

impl Client for Authorized {
    fn send(&mut self) -> impl Future {
        let mut request = work::request();
        let header = self.authorizer.authorization_header();
        let header = header.expect("the token is fresh");
        request
            .headers_mut()
            .insert(AUTHORIZATION, Arc::unwrap_or_clone(header));
        self.http.call(request)
    }
}
