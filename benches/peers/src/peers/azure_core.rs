//! `BearerTokenAuthorizationPolicy` of `azure_core`, with a credential that returns a token at
//! once.
//!
//! It is not a tower layer but a policy in a pipeline, with its own request type. It gets the same
//! request in that type, and its cost is net of a policy that does nothing. As in its own clients,
//! it does not retry, which would need a callback and a challenge.

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

use super::peer::{Peer, Side};
use crate::{
    load::{Client, load},
    work::{self, LIFETIME, Shape, TOKEN, URL},
};

pub(super) const POLICY: Peer = Peer {
    package: "azure_core",
    part: "`BearerTokenAuthorizationPolicy`",
    variant: None,
    retry: "no",
    side: Side::Theirs,
    warm: |_| {
        let policy = BearerTokenAuthorizationPolicy::new(Arc::new(Issuer), ["scope"]);
        Ok(load(Pipeline::new([Arc::new(policy), Arc::new(Noop)])))
    },
    bare: Some(|| load(Pipeline::new([Arc::new(Noop)]))),
};

struct Pipeline {
    url: Url,
    policies: Arc<[Arc<dyn Policy>]>,
}

impl Pipeline {
    fn new<const N: usize>(policies: [Arc<dyn Policy>; N]) -> Self {
        Self {
            url: Url::parse(URL).expect("the URL is valid"),
            policies: Arc::new(policies),
        }
    }
}

impl Client for Pipeline {
    fn send(&mut self, shape: Shape) -> impl Future {
        async move {
            let mut request = Request::new(self.url.clone(), Method::Get);
            for &(name, value) in work::headers(shape) {
                request.insert_header(name, value);
            }
            let [first, rest @ ..] = &*self.policies else {
                unreachable!("a pipeline has a policy")
            };
            first.send(&Context::new(), &mut request, rest).await
        }
    }
}

/// The end of the pipeline, which responds at once.
#[derive(Debug)]
struct Noop;

#[async_trait]
impl Policy for Noop {
    async fn send(
        &self,
        _: &Context,
        request: &mut Request,
        _: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        let headers = std::hint::black_box(request.headers());
        work::inspect(|| headers.get_optional_str(&AUTHORIZATION).map(str::as_bytes));
        let (headers, body) = (Headers::new(), bytes::Bytes::new());
        let response = AsyncRawResponse::from_bytes(StatusCode::Ok, headers, body);
        Ok(std::hint::black_box(response))
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
