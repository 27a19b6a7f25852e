//! Sending a request in such a way that it can be sent again.

use http::{Request, Response, header::CONTENT_LENGTH};
use http_body::Body;

use super::{
    body::{Observer, RequestBody},
    classify::{Classified, Classifier},
    guard,
    request_head::RequestHead,
    response_uri,
    token_provider::{TenantCache, TokenProvider},
    trailers::observer,
};
use crate::{cache::BearerToken, token::Generation};

/// The first attempt of a request: what is needed if its response is a 401.
pub(super) struct Attempt<B: RequestBody> {
    /// The generation of the token that the request carried.
    pub(super) generation: Generation,
    /// The cache that the token came from.
    pub(super) tenant: TenantCache,
    /// How to send the request again; `None` if it is not retried.
    pub(super) replay: Option<Replay<B>>,
}

/// A request that is sent again after a 401.
pub(super) struct Retry {
    /// The cache that both tokens came from.
    tenant: TenantCache,
    /// The generation that the API rejected.
    rejected: Generation,
    /// The generation that the retry carries. It is the same one if the API may not have known it.
    generation: Generation,
}

impl Retry {
    pub(super) fn new(tenant: TenantCache, rejected: Generation, token: &BearerToken) -> Self {
        Self {
            tenant,
            rejected,
            generation: token.generation(),
        }
    }

    /// Puts another token into the request, after a pause. Returns false if this token must not be
    /// sent to where the request goes.
    #[must_use]
    pub(super) fn replace_token<B>(
        &mut self,
        request: &mut Request<B>,
        token: BearerToken,
        tokens: &TokenProvider,
    ) -> bool {
        self.generation = token.generation();
        guard::remove_token(request, tokens.header_name());
        guard::authorize(request, token, tokens.origins()).is_ok()
    }

    /// Reports to the cache how the API responded to the retry. Returns a function that does so for
    /// the trailers, if only they say it.
    pub(super) fn responded<R>(
        &self,
        tokens: &TokenProvider,
        classifier: &Classifier,
        response: &Response<R>,
    ) -> Option<Observer> {
        let tenant = self.tenant.as_ref();
        if response_uri::is_foreign(response, |uri| tokens.is_permitted(uri, tenant)) {
            return None;
        }
        let tokens = tokens.cache(self.tenant.as_ref())?;
        match classifier.classify(response) {
            Classified::Rejected => tokens.retry_rejected(self.generation),
            Classified::NotRejected => tokens.retry_accepted(self.rejected, self.generation),
            Classified::InTrailers => {
                let (tokens, classifier) = (tokens.clone(), classifier.clone());
                let rejected = Some(self.rejected);
                return Some(observer(tokens, classifier, self.generation, rejected));
            }
        }
        None
    }
}

/// A request without its token, and the recording of its body.
pub(super) struct Replay<B: RequestBody> {
    head: RequestHead,
    body: B::Recording,
}

impl<B: RequestBody> Replay<B> {
    /// Whether the whole body is recorded.
    pub(super) fn is_complete(&self) -> bool {
        B::is_complete(&self.body)
    }

    /// The request again, with another token, if the whole body is recorded, and this token may be
    /// sent to where the request goes.
    pub(super) fn into_request(
        self,
        token: BearerToken,
        tokens: &TokenProvider,
    ) -> Option<Request<B>> {
        let body = B::replay(self.body)?;
        let mut request = Request::from_parts(self.head.into_parts()?, body);
        guard::authorize(&mut request, token, tokens.origins()).ok()?;
        Some(request)
    }
}

/// Passes a request that carries its token to `call`, at once, so that it is not moved about, and
/// returns how to send it again.
#[expect(
    clippy::inline_always,
    reason = "counted: a tenth of what a request costs"
)]
#[inline(always)]
pub(super) fn record_and_call<B: RequestBody, T>(
    request: Request<B::Inbound>,
    head: Option<(RequestHead, usize)>,
    call: impl FnOnce(Request<B>) -> T,
) -> (T, Option<Replay<B>>) {
    let Some((head, limit)) = head else {
        return (call(request.map(B::once)), None);
    };
    let length = content_length(&request);
    let mut recording = None;
    let called = call(request.map(|body| {
        let (body, recorded) = B::record(body, limit, length);
        recording = recorded;
        body
    }));
    (called, recording.map(|body| Replay { head, body }))
}

/// The length in the request's header, if the body does not know its length.
fn content_length<B: Body>(request: &Request<B>) -> Option<u64> {
    let body = request.body();
    if body.is_end_stream() || body.size_hint().exact().is_some() {
        return None;
    }
    request
        .headers()
        .get(CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}
