//! Sending a request in such a way that it can be sent again.

use http::{Request, Response, Uri, header::CONTENT_LENGTH};
use http_body::Body;
use tower_service::Service;

use super::{
    body::{Observer, RequestBody},
    challenge::{self, Schemes},
    classify::{Classified, Classifier},
    guard,
    policy::ReplayLimit,
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

/// The first attempt of a request with a DPoP proof, or its repetition with another nonce.
pub(super) struct Proved<B: RequestBody> {
    pub(super) attempt: Attempt<B>,
    /// The token of the request.
    pub(super) token: BearerToken,
    /// Where the request goes.
    pub(super) uri: Uri,
    /// Whether the request was sent before, with another nonce.
    pub(super) is_nonce_retry: bool,
}

/// A request that is sent again after a 401.
pub(super) struct Retry<B: RequestBody> {
    /// The cache that both tokens came from.
    tenant: TenantCache,
    /// The generation that the API rejected.
    rejected: Generation,
    /// The generation that the retry carries. It is the same one if the API may not have known it.
    generation: Generation,
    /// For a request with a DPoP proof.
    proved: Option<Box<ProvedRetry<B>>>,
}

/// A retry with a DPoP proof.
struct ProvedRetry<B: RequestBody> {
    token: BearerToken,
    uri: Uri,
    /// To send the retry again, with another nonce. `None` if that has been done before.
    replay: Option<Replay<B>>,
}

impl<B: RequestBody> Proved<B> {
    /// Learns the nonce of a response, and returns the request again if the response asks for a
    /// proof with that: once, and if the whole body is recorded.
    pub(super) fn after_nonce<R>(
        &self,
        response: &Response<R>,
        tokens: &TokenProvider,
    ) -> Option<Request<B>> {
        let replay = self.attempt.replay.as_ref();
        let replay = replay.filter(|_| !self.is_nonce_retry);
        after_nonce(&self.token, &self.uri, replay, response, tokens)
    }
}

/// See [`Proved::after_nonce`].
fn after_nonce<B: RequestBody, R>(
    token: &BearerToken,
    uri: &Uri,
    replay: Option<&Replay<B>>,
    response: &Response<R>,
    tokens: &TokenProvider,
) -> Option<Request<B>> {
    let is_learnt = token.learn_dpop_nonce(
        response_uri::of(response).unwrap_or(uri),
        response.headers(),
    );
    if is_learnt && challenge::asks_for_nonce(response) {
        replay?.to_request(token.clone(), tokens)
    } else {
        None
    }
}

impl<B: RequestBody> Retry<B> {
    /// A request again with another token, if the whole body is recorded, and this token may be
    /// sent to where the request goes. `may_retry_nonce` says whether the request may still be sent
    /// again with another nonce.
    pub(super) fn of(
        replay: Replay<B>,
        (tenant, rejected): (TenantCache, Generation),
        token: BearerToken,
        tokens: &TokenProvider,
        may_retry_nonce: bool,
    ) -> Option<(Request<B>, Self)> {
        let generation = token.generation();
        let bound = token.is_bound().then(|| token.clone());
        let request = replay.to_request(token, tokens)?;
        let proved = bound.map(|token| {
            Box::new(ProvedRetry {
                token,
                uri: request.uri().clone(),
                replay: may_retry_nonce.then_some(replay),
            })
        });
        let retry = Self {
            tenant,
            rejected,
            generation,
            proved,
        };
        Some((request, retry))
    }

    /// The token of a request that is sent with a DPoP proof.
    pub(super) fn proved_token(&self) -> Option<&BearerToken> {
        self.proved.as_ref().map(|proved| &proved.token)
    }

    /// Learns the nonce of a response, and returns the request again if the response asks for a
    /// proof with that: once.
    pub(super) fn after_nonce<R>(
        &mut self,
        response: &Response<R>,
        tokens: &TokenProvider,
    ) -> Option<Request<B>> {
        let proved = self.proved.as_mut()?;
        let tenant = self.tenant.as_ref();
        if response_uri::is_foreign(response, |uri| tokens.is_permitted(uri, tenant)) {
            return None;
        }
        let replay = proved.replay.take();
        after_nonce(
            &proved.token,
            &proved.uri,
            replay.as_ref(),
            response,
            tokens,
        )
    }

    /// Puts another token into the request, after a pause. Returns false if this token must not be
    /// sent to where the request goes.
    #[must_use]
    pub(super) fn replace_token(
        &mut self,
        request: &mut Request<B>,
        token: BearerToken,
        tokens: &TokenProvider,
    ) -> bool {
        self.generation = token.generation();
        // A new consent may have come meanwhile, whose token has a key, or none.
        let replay = self.proved.take().and_then(|proved| proved.replay);
        self.proved = token.is_bound().then(|| {
            Box::new(ProvedRetry {
                token: token.clone(),
                uri: request.uri().clone(),
                replay,
            })
        });
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
        let schemes = match &self.proved {
            Some(_) => Schemes::BearerAndDpop,
            None => Schemes::Bearer,
        };
        match classifier.classify(response, schemes) {
            Classified::Rejected => tokens.retry_rejected(self.generation),
            // An API that refuses the proof has neither rejected nor accepted the token.
            Classified::NotRejected
                if self.proved.is_some() && challenge::concerns_proof(response.headers()) => {}
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
    /// Keeps what is needed to send a request again, before it gets its token. `None` if its body
    /// cannot be sent again within the limit.
    ///
    /// `head_capacity` is how much memory its head will most likely need. It is set to how much the
    /// head of the next request will need.
    #[inline]
    pub(super) fn of(
        request: &Request<B::Inbound>,
        limit: ReplayLimit,
        head_capacity: &mut usize,
    ) -> Option<Self> {
        if limit == ReplayLimit::NEVER {
            return None;
        }
        let body = B::recording(request.body(), limit.get(), content_length(request))?;
        let head = RequestHead::of(request, *head_capacity)?;
        *head_capacity = head.next_capacity();
        Some(Self { head, body })
    }

    /// Passes a request that carries its token to a service.
    #[inline]
    pub(super) fn send<S: Service<Request<B>>>(
        this: Option<&Self>,
        service: &mut S,
        request: Request<B::Inbound>,
    ) -> S::Future {
        B::send(service, request, this.map(|replay| &replay.body))
    }

    /// A request that carries its token, with the body of the inner service.
    #[inline]
    pub(super) fn outbound(this: Option<&Self>, request: Request<B::Inbound>) -> Request<B> {
        B::outbound(request, this.map(|replay| &replay.body))
    }

    /// Whether the whole body is recorded.
    pub(super) fn is_complete(&self) -> bool {
        B::is_complete(&self.body)
    }

    /// The request again, with another token, if the whole body is recorded, and this token may be
    /// sent to where the request goes.
    pub(super) fn to_request(
        &self,
        token: BearerToken,
        tokens: &TokenProvider,
    ) -> Option<Request<B>> {
        let body = B::replay(&self.body)?;
        let mut request = Request::from_parts(self.head.to_parts()?, body);
        guard::authorize(&mut request, token, tokens.origins()).ok()?;
        Some(request)
    }
}

/// The length in the request's header, if the body does not know its length.
#[inline]
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
