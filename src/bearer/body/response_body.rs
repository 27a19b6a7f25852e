//! The body of a response, of which the layer may have read a part.

use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::error::{BoxError, Error};

pin_project! {
    /// The body of a response of the layer: that of the inner service.
    ///
    /// It yields the frames of the inner body. An error of the inner body is the source of an error
    /// of the kind [`Service`](crate::ErrorKind::Service).
    ///
    /// The layer reads a 401 before it waits for a newer token, so that its connection is free
    /// meanwhile. If no newer token arrives, the caller gets the 401 with the data that were read.
    /// After 64 KiB, or a second, the layer drops the rest. The body then ends with an error of the
    /// kind [`Unavailable`](crate::ErrorKind::Unavailable), so that the caller does not treat it as
    /// the whole.
    pub struct ResponseBody<R> {
        #[pin]
        state: State<R>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<R> {
        /// As the inner service returned it.
        Unread { #[pin] body: R },
        /// Read in part.
        Started { rest: Box<Rest<R>> },
    }
}

/// The rest of a body that the layer has begun to read.
pub(in crate::bearer) struct Rest<R> {
    /// The data that were read.
    pub(in crate::bearer) data: Bytes,
    /// The end after them.
    pub(in crate::bearer) end: End<R>,
    /// Is called with trailers that the caller reads.
    pub(in crate::bearer) observer: Option<Observer>,
}

/// A function that is called with the trailers of a body.
pub(in crate::bearer) type Observer = Box<dyn FnOnce(&HeaderMap) + Send + Sync>;

/// The end of a body after the data that were read.
pub(in crate::bearer) enum End<R> {
    Body(Pin<Box<R>>),
    Trailers(HeaderMap),
    Failed(Error),
    Nothing,
}

impl<R> ResponseBody<R> {
    /// A body that was not read.
    #[inline]
    pub(crate) fn unread(body: R) -> Self {
        Self {
            state: State::Unread { body },
        }
    }

    /// The body of the inner service, if nothing of it was read.
    pub(crate) fn into_unread(self) -> Result<R, Self> {
        match self.state {
            State::Unread { body } => Ok(body),
            state @ State::Started { .. } => Err(Self { state }),
        }
    }

    /// A body that was read in part.
    pub(in crate::bearer) fn started(rest: Rest<R>) -> Self {
        let rest = Box::new(rest);
        Self {
            state: State::Started { rest },
        }
    }
}

impl<R> Rest<R> {
    pub(in crate::bearer) fn new(data: Bytes, end: End<R>) -> Self {
        Self {
            data,
            end,
            observer: None,
        }
    }
}

impl<R> Rest<R>
where
    R: Body,
    R::Error: Into<BoxError>,
{
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if !self.data.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(mem::take(&mut self.data)))));
        }
        if let End::Body(body) = &mut self.end {
            let frame = ready!(body.as_mut().poll_frame(cx)).map(into_frame);
            if let Some(Ok(frame)) = &frame
                && let Some(trailers) = frame.trailers_ref()
                && let Some(observer) = self.observer.take()
            {
                observer(trailers);
            }
            return Poll::Ready(frame);
        }
        Poll::Ready(match mem::replace(&mut self.end, End::Nothing) {
            End::Trailers(trailers) => Some(Ok(Frame::trailers(trailers))),
            End::Failed(error) => Some(Err(error)),
            End::Body(_) | End::Nothing => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty()
            && match &self.end {
                End::Body(body) => body.is_end_stream(),
                End::Trailers(_) | End::Failed(_) => false,
                End::Nothing => true,
            }
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.data.len() as u64;
        let mut hint = match &self.end {
            End::Body(body) => body.size_hint(),
            End::Failed(_) => SizeHint::default(),
            End::Trailers(_) | End::Nothing => SizeHint::with_exact(0),
        };
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(read));
        }
        hint.set_lower(hint.lower().saturating_add(read));
        hint
    }
}

/// Does not copy data that are `Bytes`.
fn into_frame<D: Buf, E: Into<BoxError>>(
    frame: Result<Frame<D>, E>,
) -> Result<Frame<Bytes>, Error> {
    match frame {
        Ok(frame) => Ok(frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))),
        Err(error) => Err(Error::service(error)),
    }
}

impl<R> Body for ResponseBody<R>
where
    R: Body,
    R::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = Error;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.project().state.project() {
            StateProjection::Unread { body } => {
                Poll::Ready(ready!(body.poll_frame(cx)).map(into_frame))
            }
            StateProjection::Started { rest } => rest.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Unread { body } => body.is_end_stream(),
            State::Started { rest } => rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Unread { body } => body.size_hint(),
            State::Started { rest } => rest.size_hint(),
        }
    }
}

impl<R> fmt::Debug for ResponseBody<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}
