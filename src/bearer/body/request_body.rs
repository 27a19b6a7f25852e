//! The request body types of inner services.

use http::Request;
use http_body::Body;
use tower_service::Service;

use super::replay_body::{Recording, ReplayBody};

/// A request body that the layer can send a second time: the body type of the inner service.
///
/// Two families implement this trait, and no other type can:
///
/// * **Every body that is [`Clone`]**, such as `http_body_util::Full`, `http_body_util::Empty` and
///   `String`. The layer accepts requests with the same body type and clones the body before it
///   sends the request. A clone must yield the same frames as the original, even if the original
///   has already been polled.
/// * **[`ReplayBody<B>`](ReplayBody)**, for any other body `B`, such as a stream. The layer accepts
///   requests with the body `B` and records its frames while they are sent.
///
/// A service with any other body type, such as `BoxBody`, does not compile with the layer. Build
/// the client over `ReplayBody<BoxBody>` instead of `BoxBody`. This does not compile:
///
/// ```compile_fail,E0277
/// # fn tokens() -> tower_oauth2_client::cache::TokenCache { unimplemented!() }
/// # type BoxBody = http_body_util::combinators::BoxBody<bytes::Bytes, std::io::Error>;
/// use http::{Request, Response};
/// use tower::Layer;
/// use tower_oauth2_client::bearer::BearerAuthLayer;
///
/// let http = tower::service_fn(|_: Request<BoxBody>| async {
///     Ok::<_, std::io::Error>(Response::new(String::new()))
/// });
/// // error: the layer cannot send the request body `BoxBody<Bytes, Error>` a second time
/// let api = BearerAuthLayer::new(tokens()).layer(http);
/// ```
#[diagnostic::on_unimplemented(
    message = "the layer cannot send the request body `{Self}` a second time",
    label = "the inner service takes the request body `{Self}`, which is not a body that is `Clone`",
    note = "build the inner service over a body that is `Clone`, such as `http_body_util::Full<Bytes>`",
    note = "or over `ReplayBody<{Self}>`, which records any body while it is sent; callers of the layer then pass `{Self}`"
)]
pub trait RequestBody: Body + Sized + sealed::Sealed {
    /// The body type of the requests that the layer accepts.
    type Inbound: Body;

    /// The recording of a body, for the retry.
    #[doc(hidden)]
    type Recording;

    /// Begins the recording of a body, if it can be sent again in at most `limit` bytes of memory.
    /// `content_length` is what the request's header says, for bodies that do not know their
    /// length.
    #[doc(hidden)]
    fn recording(
        body: &Self::Inbound,
        limit: usize,
        content_length: Option<u64>,
    ) -> Option<Self::Recording>;

    /// Passes the request to a service, with a body that fills the recording while it is sent.
    #[doc(hidden)]
    fn send<S: Service<Request<Self>>>(
        service: &mut S,
        request: Request<Self::Inbound>,
        recording: Option<&Self::Recording>,
    ) -> S::Future {
        service.call(Self::outbound(request, recording))
    }

    /// The request with the body of the inner service, which fills the recording while it is sent.
    #[doc(hidden)]
    fn outbound(
        request: Request<Self::Inbound>,
        recording: Option<&Self::Recording>,
    ) -> Request<Self>;

    /// The recorded body, if all of it was recorded.
    #[doc(hidden)]
    fn replay(recording: &Self::Recording) -> Option<Self>;

    /// Whether [`replay`](Self::replay) would return a body.
    #[doc(hidden)]
    fn is_complete(recording: &Self::Recording) -> bool;
}

#[diagnostic::do_not_recommend]
impl<B: Body + Clone> RequestBody for B {
    type Inbound = Self;
    type Recording = Self;

    #[inline]
    fn recording(body: &Self, limit: usize, content_length: Option<u64>) -> Option<Self> {
        // A clone keeps the body's memory alive until the response arrives, so the limit holds here
        // too. A body of unknown length might exceed it.
        let size = body.size_hint().upper().or(content_length);
        let is_within_limit = limit > 0 && size.is_some_and(|size| size <= limit as u64);
        is_within_limit.then(|| body.clone())
    }

    #[inline]
    fn send<S: Service<Request<Self>>>(
        service: &mut S,
        request: Request<Self>,
        _recording: Option<&Self>,
    ) -> S::Future {
        service.call(request)
    }

    #[inline]
    fn outbound(request: Request<Self>, _recording: Option<&Self>) -> Request<Self> {
        request
    }

    fn replay(recording: &Self) -> Option<Self> {
        Some(recording.clone())
    }

    fn is_complete(_recording: &Self) -> bool {
        true
    }
}

impl<B: Body> RequestBody for ReplayBody<B> {
    type Inbound = B;
    type Recording = Recording;

    #[inline]
    fn recording(body: &B, limit: usize, content_length: Option<u64>) -> Option<Recording> {
        Recording::of(body, limit, content_length)
    }

    #[inline]
    fn outbound(request: Request<B>, recording: Option<&Recording>) -> Request<Self> {
        request.map(|body| Self::sent(body, recording))
    }

    fn replay(recording: &Recording) -> Option<Self> {
        recording.replay()
    }

    fn is_complete(recording: &Recording) -> bool {
        recording.is_complete()
    }
}

mod sealed {
    use http_body::Body;

    use super::ReplayBody;

    pub trait Sealed {}

    #[diagnostic::do_not_recommend]
    impl<B: Body + Clone> Sealed for B {}

    impl<B: Body> Sealed for ReplayBody<B> {}
}
