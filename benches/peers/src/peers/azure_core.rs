//! `azure_core`'s `BearerTokenAuthorizationPolicy`, over a credential that hands out a token without asking anybody.
//!
//! It is no tower layer but a policy in a pipeline, with a request type of its own. So it gets the same request in that type,
//! and its cost is above another policy that does nothing with it. As its own clients have it, it does not retry: that takes a
//! callback, and a challenge.

use std::{future::Future, sync::Arc};

use async_trait::async_trait;
use azure_core::{
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    http::{
        AsyncRawResponse, Context, Method, Request, StatusCode, Url,
        headers::{AUTHORIZATION, Headers},
        policies::{Policy, PolicyResult, auth::BearerTokenAuthorizationPolicy},
    },
    time::OffsetDateTime,
};

use super::{Peer, Side};
use crate::{
    load::{Client, load},
    work::{self, HEADERS, LIFETIME, TOKEN, URL},
};

pub(super) const POLICY: Peer = Peer {
    package: "azure_core",
    part: "`BearerTokenAuthorizationPolicy` (no layer, no retry)",
    side: Side::Theirs,
    warm: |_| {
        let policy = BearerTokenAuthorizationPolicy::new(Arc::new(Issuer), ["scope"]);
        Ok(load(Pipeline::new([Arc::new(policy), Arc::new(Nothing)])))
    },
    bare: Some(|| load(Pipeline::new([Arc::new(Nothing)]))),
};

#[derive(Clone)]
struct Pipeline {
    url: Url,
    policies: Arc<[Arc<dyn Policy>]>,
}

impl Pipeline {
    fn new<const N: usize>(policies: [Arc<dyn Policy>; N]) -> Self {
        Self {
            url: Url::parse(URL).expect("it is one"),
            policies: Arc::new(policies),
        }
    }
}

impl Client for Pipeline {
    fn send(&mut self) -> impl Future {
        async {
            let mut request = Request::new(self.url.clone(), Method::Get);
            for (name, value) in HEADERS {
                request.insert_header(name, value);
            }
            let [first, rest @ ..] = &*self.policies else {
                unreachable!("there is always one")
            };
            first.send(&Context::new(), &mut request, rest).await
        }
    }
}

/// The end of the pipeline. It answers at once.
#[derive(Debug)]
struct Nothing;

#[async_trait]
impl Policy for Nothing {
    async fn send(
        &self,
        _: &Context,
        request: &mut Request,
        _: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        let headers = std::hint::black_box(request.headers());
        work::look(|| headers.get_optional_str(&AUTHORIZATION).map(str::as_bytes));
        Ok(AsyncRawResponse::from_bytes(
            StatusCode::Ok,
            Headers::new(),
            bytes::Bytes::new(),
        ))
    }
}

#[derive(Debug)]
struct Issuer;

#[async_trait]
impl TokenCredential for Issuer {
    async fn get_token(
        &self,
        _: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let end = OffsetDateTime::now_utc() + LIFETIME;
        Ok(AccessToken::new(TOKEN.clone(), end))
    }
}
