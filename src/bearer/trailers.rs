//! Responses of which only the trailers say whether the token was rejected.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Response, response};
use http_body::{Body, Frame};

use super::{
    body::{End, Observer, Rest},
    classify::Classifier,
    time_limit::TimeLimit,
};
use crate::{
    cache::TokenCache,
    error::{BoxError, Error},
    token::Generation,
};

/// How long the trailers may follow the head. A server that rejects a call sends both at once.
const MAX_DURATION: Duration = Duration::from_millis(100);

/// How many frames without data may come before the trailers. Servers and proxies send at most one.
const MAX_EMPTY_FRAMES: u32 = 8;

/// Waits for trailers that come before any data.
pub(super) struct Peek<R> {
    head: response::Parts,
    body: Option<Pin<Box<R>>>,
    empty_frames: u32,
    /// From when the body is not ready for the first time.
    limit: TimeLimit,
}

impl<R> Peek<R>
where
    R: Body,
    R::Error: Into<BoxError>,
{
    pub(super) fn new(response: Response<R>) -> Self {
        let (head, body) = response.into_parts();
        Self {
            head,
            body: Some(Box::pin(body)),
            empty_frames: 0,
            limit: TimeLimit::new(MAX_DURATION),
        }
    }

    /// The rest of the body after its first data or trailers, or after the time for them.
    pub(super) fn poll_first_frame(&mut self, cx: &mut Context<'_>) -> Poll<Rest<R>> {
        let Some(mut body) = self.body.take() else {
            return Poll::Ready(Rest::new(Bytes::new(), End::Nothing));
        };
        let frame = loop {
            match body.as_mut().poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) if self.skips(&frame) => {}
                Poll::Ready(frame) => break frame,
                Poll::Pending if self.limit.poll_reached(cx).is_ready() => {
                    return Poll::Ready(Rest::new(Bytes::new(), End::Body(body)));
                }
                Poll::Pending => {
                    self.body = Some(body);
                    return Poll::Pending;
                }
            }
        };
        Poll::Ready(match frame {
            None => Rest::new(Bytes::new(), End::Nothing),
            Some(Err(error)) => Rest::new(Bytes::new(), End::Failed(Error::service(error))),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(mut data) => {
                    let data = data.copy_to_bytes(data.remaining());
                    Rest::new(data, End::Body(body))
                }
                Err(frame) => match frame.into_trailers() {
                    Ok(trailers) => Rest::new(Bytes::new(), End::Trailers(trailers)),
                    Err(_) => Rest::new(Bytes::new(), End::Body(body)),
                },
            },
        })
    }

    /// Whether a frame contains nothing, so that the caller does not miss it.
    fn skips(&mut self, frame: &Frame<R::Data>) -> bool {
        let is_empty = frame.data_ref().is_some_and(|data| !data.has_remaining());
        let skips = is_empty && self.empty_frames < MAX_EMPTY_FRAMES;
        self.empty_frames = self.empty_frames.saturating_add(u32::from(skips));
        skips
    }

    pub(super) fn into_head(self) -> response::Parts {
        self.head
    }
}

/// Reports the trailers of a response that its caller reads.
pub(super) fn observer(
    tokens: TokenCache,
    classifier: Classifier,
    generation: Generation,
    rejected: Option<Generation>,
) -> Observer {
    Box::new(move |trailers: &HeaderMap| {
        if classifier.classify_trailers(trailers) {
            tokens.retry_rejected(generation);
        } else if let Some(rejected) = rejected {
            tokens.retry_accepted(rejected, generation);
        }
    })
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, task::Waker};

    use http_body_util::StreamBody;

    use super::*;

    fn first_frame(empty_frames: usize, last: Frame<Bytes>) -> Rest<impl Body> {
        let empty = (0..empty_frames).map(|_| Frame::data(Bytes::new()));
        let frames = empty.chain([last]).map(Ok::<_, Infallible>);
        let body = StreamBody::new(futures_util::stream::iter(frames));
        let mut context = Context::from_waker(Waker::noop());
        match Peek::new(Response::new(body)).poll_first_frame(&mut context) {
            Poll::Ready(rest) => rest,
            Poll::Pending => panic!("all frames are ready"),
        }
    }

    #[test]
    fn p08_frames_without_data_do_not_hide_the_trailers() {
        let trailers = || Frame::trailers(HeaderMap::new());
        for empty_frames in [0, 1, 2, 8] {
            let rest = first_frame(empty_frames, trailers());
            assert!(matches!(rest.end, End::Trailers(_)), "{empty_frames}");
            let rest = first_frame(empty_frames, Frame::data(Bytes::from("m")));
            assert!(matches!(rest.end, End::Body(_)), "{empty_frames}");
            assert_eq!(rest.data, "m");
        }
        // A server may send them without end.
        let rest = first_frame(100_000, trailers());
        assert!(matches!(rest.end, End::Body(_)) && rest.data.is_empty());
    }
}
