//! Responses of which only the trailers say whether the token was rejected.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Response, response};
use http_body::Body;
use tokio::{
    runtime::Handle,
    time::{Sleep, sleep},
};

use super::{
    body::{End, Observer, Rest},
    classify::Classifier,
};
use crate::{
    cache::TokenCache,
    error::{BoxError, Error},
    token::Generation,
};

/// How long the trailers may follow the head. A server that rejects a call sends both at once.
const MAX_DURATION: Duration = Duration::from_millis(100);

/// Waits for trailers that come before any data.
pub(super) struct Peek<R> {
    head: response::Parts,
    body: Option<Pin<Box<R>>>,
    /// From when the body is not ready for the first time.
    deadline: Option<Pin<Box<Sleep>>>,
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
            deadline: None,
        }
    }

    /// The rest of the body after its first frame, or after the time for it.
    pub(super) fn poll_first_frame(&mut self, cx: &mut Context<'_>) -> Poll<Rest<R>> {
        let Some(mut body) = self.body.take() else {
            return Poll::Ready(Rest::new(Bytes::new(), End::Nothing));
        };
        let frame = match body.as_mut().poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending if self.is_late(cx) => {
                return Poll::Ready(Rest::new(Bytes::new(), End::Body(body)));
            }
            Poll::Pending => {
                self.body = Some(body);
                return Poll::Pending;
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

    pub(super) fn into_head(self) -> response::Parts {
        self.head
    }

    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        // Without a runtime there is no timer, and so no time.
        if self.deadline.is_none() && Handle::try_current().is_ok() {
            self.deadline = Some(Box::pin(sleep(MAX_DURATION)));
        }
        let deadline = self.deadline.as_mut();
        deadline.is_none_or(|deadline| deadline.as_mut().poll(cx).is_ready())
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
