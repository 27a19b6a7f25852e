//! Reads the first response before the layer waits or retries, so that its connection is free.

use std::{
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::{Response, response};
use http_body::Body;

use super::{
    body::{End, ResponseBody, Rest},
    time_limit::TimeLimit,
};
use crate::error::{BoxError, Error, ErrorKind};

/// The body of a 401 is a few hundred bytes. Beyond this limit a new connection is cheaper.
const MAX_BYTES: usize = 64 * 1024;
/// Frames without data, which a server may send without end. HTTP/2 may end a body with one.
const MAX_EMPTY_FRAMES: usize = 1_000;
const MAX_DURATION: Duration = Duration::from_secs(1);

/// Reads a body to its end or to a limit, and then drops it.
pub(super) struct ReadAhead<R> {
    body: Pin<Box<R>>,
    /// The data that were read, if they are needed later.
    data: Option<Vec<u8>>,
    left: usize,
    empty_frames_left: usize,
    /// From when the body is not ready for the first time.
    limit: TimeLimit,
}

impl<R: Body> ReadAhead<R> {
    /// Discards the data.
    pub(super) fn discarding(body: R) -> Self {
        Self::new(body, None)
    }

    /// Keeps the data.
    fn keeping(body: R) -> Self {
        Self::new(body, Some(Vec::new()))
    }

    fn new(body: R, data: Option<Vec<u8>>) -> Self {
        Self {
            body: Box::pin(body),
            data,
            left: MAX_BYTES,
            empty_frames_left: MAX_EMPTY_FRAMES,
            limit: TimeLimit::new(MAX_DURATION),
        }
    }

    /// Takes data from a frame. `None` beyond the limit.
    fn take(&mut self, data: &mut R::Data) -> Option<()> {
        let left = if data.has_remaining() {
            &mut self.left
        } else {
            &mut self.empty_frames_left
        };
        *left = left.checked_sub(data.remaining().max(1))?;
        if let Some(read) = &mut self.data {
            while data.has_remaining() {
                let chunk = data.chunk();
                let length = chunk.len();
                read.extend_from_slice(chunk);
                data.advance(length);
            }
        }
        Some(())
    }
}

impl<R> Future for ReadAhead<R>
where
    R: Body,
    R::Error: Into<BoxError>,
{
    /// The data, and what follows them. Never the rest of the body.
    type Output = Rest<R>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Rest<R>> {
        let end = loop {
            if self.body.is_end_stream() {
                break End::Nothing;
            }
            if self.body.size_hint().lower() > self.left as u64 {
                break End::Failed(cut());
            }
            match self.body.as_mut().poll_frame(cx) {
                Poll::Pending if self.limit.poll_reached(cx).is_ready() => break End::Failed(cut()),
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => break End::Nothing,
                Poll::Ready(Some(Err(error))) => break End::Failed(Error::service(error)),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(mut data) => {
                        if self.take(&mut data).is_none() {
                            break End::Failed(cut());
                        }
                    }
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            break End::Trailers(trailers);
                        }
                    }
                },
            }
        };
        let data = mem::take(&mut self.data).unwrap_or_default();
        Poll::Ready(Rest::new(Bytes::from(data.into_boxed_slice()), end))
    }
}

fn cut() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "rest of the response was dropped while the request waited for a newer token: it is longer \
         than 64 KiB, or took longer than a second",
    )
}

/// The first response of a request that waits for a newer token. It keeps up to 64 KiB of the body,
/// and from when it is read nothing of the inner service.
pub(super) struct FirstResponse<R> {
    head: response::Parts,
    body: FirstBody<R>,
}

enum FirstBody<R> {
    /// `None` while it is replaced.
    Unread(Option<R>),
    Reading(ReadAhead<R>),
    Read(Rest<R>),
}

impl<R> FirstResponse<R>
where
    R: Body,
    R::Error: Into<BoxError>,
{
    pub(super) fn new(response: Response<R>) -> Self {
        let (head, body) = response.into_parts();
        let body = FirstBody::Unread(Some(body));
        Self { head, body }
    }

    /// A response that was read already.
    pub(super) fn read(head: response::Parts, rest: Rest<R>) -> Self {
        let body = FirstBody::Read(rest);
        Self { head, body }
    }

    /// Reads the body and drops it.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let FirstBody::Unread(body) = &mut self.body
            && let Some(body) = body.take()
        {
            self.body = FirstBody::Reading(ReadAhead::keeping(body));
        }
        if let FirstBody::Reading(reading) = &mut self.body {
            let rest = std::task::ready!(Pin::new(reading).poll(cx));
            self.body = FirstBody::Read(rest);
        }
        Poll::Ready(())
    }

    /// The response for the caller.
    pub(super) fn into_response(self) -> Response<ResponseBody<R>> {
        let body = match self.body {
            FirstBody::Unread(Some(body)) => ResponseBody::unread(body),
            FirstBody::Unread(None) => ResponseBody::started(Rest::new(Bytes::new(), End::Nothing)),
            FirstBody::Reading(reading) => {
                let data = Bytes::from(reading.data.unwrap_or_default());
                ResponseBody::started(Rest::new(data, End::Body(reading.body)))
            }
            FirstBody::Read(rest) => ResponseBody::started(rest),
        };
        Response::from_parts(self.head, body)
    }

    /// The rest of the body, if there is something to read before a retry.
    pub(super) fn into_drain(self) -> Option<Box<ReadAhead<R>>> {
        match self.body {
            FirstBody::Unread(Some(body)) if !body.is_end_stream() => {
                Some(Box::new(ReadAhead::discarding(body)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, task::Waker};

    use bytes::Bytes;
    use http::HeaderMap;
    use http_body::Frame;
    use http_body_util::{BodyExt, Empty, Full, StreamBody, channel::Channel};
    use tokio_test::{assert_ready, task};

    use super::*;

    /// Yields frames without data, without end.
    struct Endless;

    impl Body for Endless {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(Some(Ok(Frame::data(Bytes::new()))))
        }
    }

    fn data(bytes: usize) -> Bytes {
        Bytes::from(vec![0; bytes])
    }

    fn is_cut<R>(rest: &Rest<R>) -> bool {
        matches!(&rest.end, End::Failed(error) if error.kind() == ErrorKind::Unavailable)
    }

    #[tokio::test(start_paused = true)]
    async fn p09_first_response_is_read_up_to_a_size_and_a_deadline() {
        let mut reading = task::spawn(ReadAhead::keeping(Empty::<Bytes>::new()));
        assert!(matches!(assert_ready!(reading.poll()).end, End::Nothing));
        let mut reading = task::spawn(ReadAhead::keeping(Full::<Bytes>::from(data(MAX_BYTES + 1))));
        let rest = assert_ready!(reading.poll(), "known to be past the cap");
        assert!(is_cut(&rest) && rest.data.is_empty());

        let (mut sender, body) = Channel::<Bytes>::new(1);
        let mut reading = task::spawn(ReadAhead::keeping(body));
        assert!(reading.poll().is_pending());
        sender.send_data(data(MAX_BYTES)).await.unwrap();
        assert!(reading.poll().is_pending(), "up to the cap");
        drop(sender);
        let rest = assert_ready!(reading.poll());
        assert_eq!(rest.data.len(), MAX_BYTES);
        assert!(matches!(rest.end, End::Nothing));

        let (mut sender, body) = Channel::<Bytes>::new(2);
        let mut reading = task::spawn(ReadAhead::keeping(body));
        sender.send_data(data(10)).await.unwrap();
        sender.send_data(data(MAX_BYTES)).await.unwrap();
        let rest = assert_ready!(reading.poll(), "past the cap");
        assert!(is_cut(&rest) && rest.data.len() == 10);

        let mut reading = task::spawn(ReadAhead::keeping(Endless));
        assert!(is_cut(&assert_ready!(
            reading.poll(),
            "frames without data"
        )));

        let (mut sender, body) = Channel::<Bytes>::new(1);
        let mut reading = task::spawn(ReadAhead::keeping(body));
        sender.send_data(data(10)).await.unwrap();
        assert!(reading.poll().is_pending());
        tokio::time::advance(MAX_DURATION).await;
        let rest = assert_ready!(reading.poll(), "past the deadline");
        assert!(is_cut(&rest) && rest.data.len() == 10);
    }

    /// All frames of a response after it was read.
    fn frames<R>(body: R) -> Vec<Result<Frame<Bytes>, Error>>
    where
        R: Body,
        R::Error: Into<BoxError>,
    {
        let mut context = Context::from_waker(Waker::noop());
        let mut first = FirstResponse::new(Response::new(body));
        assert!(first.poll_read(&mut context).is_ready());
        let mut body = Box::pin(first.into_response().into_body());
        let frames = std::iter::from_fn(|| match body.as_mut().poll_frame(&mut context) {
            Poll::Ready(frame) => frame,
            Poll::Pending => panic!("it was read"),
        });
        let frames = frames.collect();
        assert!(body.is_end_stream());
        frames
    }

    #[tokio::test]
    async fn p07_response_that_was_read_has_the_same_bytes_trailers_and_error() {
        let trailers = HeaderMap::from_iter([(http::header::ETAG, "\"t\"".parse().unwrap())]);
        let stream = |last: Result<Frame<Bytes>, std::io::Error>| {
            let frames = ["n", "", "o"].map(|data| Ok(Frame::data(Bytes::from(data))));
            StreamBody::new(futures_util::stream::iter(frames.into_iter().chain([last])))
        };
        let read = frames(stream(Ok(Frame::trailers(trailers.clone()))));
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].as_ref().unwrap().data_ref().unwrap(), "no");
        assert_eq!(read[1].as_ref().unwrap().trailers_ref(), Some(&trailers));

        let read = frames(stream(Err(std::io::ErrorKind::ConnectionReset.into())));
        let error = read[1].as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Service);
        assert!(
            std::error::Error::source(error)
                .unwrap()
                .is::<std::io::Error>()
        );

        assert!(frames(Full::<Bytes>::default()).is_empty());
    }

    #[tokio::test]
    async fn p09_body_of_the_limit_is_kept_whole_in_whatever_frames() {
        for empty_frames in [0, 1, 2, MAX_EMPTY_FRAMES] {
            let empty = (0..empty_frames).map(|_| Bytes::new());
            let body = [data(MAX_BYTES - 1), data(1)].into_iter().chain(empty);
            let body = body.map(|data| Ok::<_, Infallible>(Frame::data(data)));
            let read = frames(StreamBody::new(futures_util::stream::iter(body)));
            assert_eq!(read.len(), 1, "{empty_frames}");
            let read = read[0].as_ref().unwrap().data_ref();
            assert_eq!(read.unwrap().len(), MAX_BYTES);
        }
    }

    #[tokio::test]
    async fn p07_response_that_was_read_knows_its_length() {
        let mut context = Context::from_waker(Waker::noop());
        let mut first = FirstResponse::new(Response::new(Full::<Bytes>::from("no")));
        assert!(first.poll_read(&mut context).is_ready());
        let body = first.into_response().into_body();
        assert_eq!(body.size_hint().exact(), Some(2));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "no");

        let large = Full::<Bytes>::from(data(MAX_BYTES + 1));
        let mut first = FirstResponse::new(Response::new(large));
        assert!(first.poll_read(&mut context).is_ready());
        let body = first.into_response().into_body();
        assert_eq!(body.size_hint().exact(), None);
        assert!(!body.is_end_stream());
        assert!(body.collect().await.is_err(), "not treated as the whole");
    }
}
