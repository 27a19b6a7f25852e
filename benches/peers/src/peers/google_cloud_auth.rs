//! `Credentials` of google-cloud-auth for a user account. They are refreshed in the background, and
//! have no reaction to a 401.
//!
//! They are not a tower layer: they create headers, which the caller adds to the request. Their
//! documentation has two ways, and both are measured: to create the headers each time, or to pass
//! the `EntityTag` of the previous headers and use those again if the tag is still valid. The token
//! comes over HTTP, from a listener on loopback.

use std::{convert::Infallible, future::Future};

use google_cloud_auth::credentials::{CacheableResource, Credentials, EntityTag, user_account};
use http::{Extensions, HeaderMap, Request};
use tokio::runtime::Runtime;
use tower::Service;

use super::peer::{Failure, Peer, Side};
use crate::{
    load::{Client, load},
    token_endpoint,
    work::{self, Body, Noop, Shape},
};

pub(super) const PLAIN: Peer = Peer {
    package: "google-cloud-auth",
    part: "`Credentials`",
    variant: None,
    retry: "no",
    side: Side::Theirs,
    warm: |runtime| {
        Ok(load(Plain {
            credentials: credentials(runtime)?,
            http: Noop::new(),
        }))
    },
    bare: None,
};

pub(super) const WITH_ENTITY_TAG: Peer = Peer {
    package: "google-cloud-auth",
    part: "`Credentials`",
    variant: Some("entity tag kept"),
    retry: "no",
    side: Side::Theirs,
    warm: |runtime| {
        Ok(load(WithEntityTag {
            credentials: credentials(runtime)?,
            cached: None,
            http: Noop::new(),
        }))
    },
    bare: None,
};

fn credentials(runtime: &Runtime) -> Result<Credentials, Failure> {
    let _entered = runtime.enter();
    let account = serde_json::json!({
        "type": "authorized_user",
        "client_id": "client",
        "client_secret": "secret",
        "refresh_token": "refresh",
    });
    let credentials = user_account::Builder::new(account)
        .with_token_uri(token_endpoint::listen()?)
        .build()?;
    runtime.block_on(credentials.headers(Extensions::new()))?;
    Ok(credentials)
}

struct Plain {
    credentials: Credentials,
    http: Noop<Infallible>,
}

impl Client for Plain {
    fn send(&mut self, shape: Shape) -> impl Future {
        async move {
            let mut request = work::request(shape);
            let headers = self.credentials.headers(Extensions::new()).await;
            if let CacheableResource::New { data, .. } = headers.expect("the token is fresh") {
                request.headers_mut().extend(data);
            }
            self.http.call(request).await
        }
    }
}

struct WithEntityTag {
    credentials: Credentials,
    cached: Option<(EntityTag, HeaderMap)>,
    http: Noop<Infallible>,
}

impl Client for WithEntityTag {
    fn send(&mut self, shape: Shape) -> impl Future {
        async move {
            let mut request = work::request(shape);
            let mut extensions = Extensions::new();
            if let Some((tag, _)) = &self.cached {
                extensions.insert(tag.clone());
            }
            let headers = self.credentials.headers(extensions).await;
            if let CacheableResource::New { entity_tag, data } =
                headers.expect("the token is fresh")
            {
                self.cached = Some((entity_tag, data));
            }
            if let Some((_, headers)) = &self.cached {
                insert(headers, &mut request);
            }
            self.http.call(request).await
        }
    }
}

fn insert(headers: &HeaderMap, request: &mut Request<Body>) {
    for (name, value) in headers {
        request.headers_mut().insert(name.clone(), value.clone());
    }
}
