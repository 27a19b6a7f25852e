//! google-cloud-auth's `Credentials`, those of a user account, which are renewed in the background and know nothing of a 401.
//!
//! They are no tower layer: they make headers, which whoever sends a request puts into it. They are asked for them in both ways
//! that their documentation has: plainly, or with the `EntityTag` of the headers that the caller still holds, and which need
//! not be made again if it is still that. The token comes over HTTP, from a listener on loopback.

use std::{convert::Infallible, future::Future};

use google_cloud_auth::credentials::{CacheableResource, Credentials, EntityTag, user_account};
use http::{Extensions, HeaderMap, Request};
use tokio::runtime::Runtime;
use tower::Service;

use super::{Failure, Peer, Side};
use crate::{
    load::{Client, load},
    token_endpoint,
    work::{self, Body, Nothing},
};

pub(super) const PLAIN: Peer = Peer {
    package: "google-cloud-auth",
    part: "`Credentials` (no layer, no retry)",
    side: Side::Theirs,
    warm: |runtime| {
        Ok(load(Plain {
            credentials: credentials(runtime)?,
            http: Nothing::new(),
        }))
    },
    bare: None,
};

pub(super) const WITH_ENTITY_TAG: Peer = Peer {
    package: "google-cloud-auth",
    part: "`Credentials`, `EntityTag` kept (no layer, no retry)",
    side: Side::Theirs,
    warm: |runtime| {
        Ok(load(WithEntityTag {
            credentials: credentials(runtime)?,
            held: None,
            http: Nothing::new(),
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

#[derive(Clone)]
struct Plain {
    credentials: Credentials,
    http: Nothing<Infallible>,
}

impl Client for Plain {
    fn send(&mut self) -> impl Future {
        async {
            let mut request = work::request();
            let made = self.credentials.headers(Extensions::new()).await;
            if let CacheableResource::New { data, .. } = made.expect("the token is fresh") {
                request.headers_mut().extend(data);
            }
            self.http.call(request).await
        }
    }
}

#[derive(Clone)]
struct WithEntityTag {
    credentials: Credentials,
    held: Option<(EntityTag, HeaderMap)>,
    http: Nothing<Infallible>,
}

impl Client for WithEntityTag {
    fn send(&mut self) -> impl Future {
        async {
            let mut request = work::request();
            let mut extensions = Extensions::new();
            if let Some((tag, _)) = &self.held {
                extensions.insert(tag.clone());
            }
            let made = self.credentials.headers(extensions).await;
            if let CacheableResource::New { entity_tag, data } = made.expect("the token is fresh") {
                self.held = Some((entity_tag, data));
            }
            if let Some((_, headers)) = &self.held {
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
