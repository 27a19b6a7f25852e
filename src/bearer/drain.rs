//! Reads a response to its end, so that its connection can be reused.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Buf;
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::{
    runtime::Handle,
    time::{Sleep, sleep},
};

/// The body of a 401 is a few hundred bytes. Beyond this limit a new connection is cheaper.
const MAX_BYTES: u64 = 64 * 1024;
const MAX_DURATION: Duration = Duration::from_secs(1);

pin_project! {
    /// Completes at the end of the body or at a limit. Dropping it drops the body.
    pub(super) struct Drain<R> {
        #[pin]
        body: R,
        left: u64,
        #[pin]
        deadline: Sleep,
    }
}

impl<R: Body> Drain<R> {
    /// `None` if there is nothing to read, or more than the limit.
    pub(super) fn new(body: R) -> Option<Self> {
        let worthwhile = !body.is_end_stream() && body.size_hint().lower() <= MAX_BYTES;
        // Without a runtime there is no timer for the deadline.
        (worthwhile && Handle::try_current().is_ok()).then(|| Self {
            body,
            left: MAX_BYTES,
            deadline: sleep(MAX_DURATION),
        })
    }
}

impl<R: Body> Future for Drain<R> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        if this.deadline.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        while let Some(Ok(frame)) = ready!(this.body.as_mut().poll_frame(cx)) {
            let size = frame.data_ref().map_or(0, |data| data.remaining() as u64);
            // A frame without data counts as a byte: a server may send them without end.
            match this.left.checked_sub(size.max(1)) {
                Some(left) => *this.left = left,
                None => break,
            }
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http_body::Frame;
    use http_body_util::{Empty, Full, channel::Channel};
    use tokio_test::{assert_pending, assert_ready, task};

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

    #[tokio::test(start_paused = true)]
    async fn p09_first_response_is_drained_up_to_a_size_and_a_deadline() {
        assert!(Drain::new(Empty::<Bytes>::new()).is_none());
        assert!(Drain::new(Full::<Bytes>::from(vec![0; 64 * 1024 + 1])).is_none());

        let (mut sender, body) = Channel::<Bytes>::new(1);
        let mut drain = task::spawn(Drain::new(body).unwrap());
        assert_pending!(drain.poll());
        let data = |bytes: usize| Bytes::from(vec![0; bytes]);
        sender.send_data(data(64 * 1024)).await.unwrap();
        assert_pending!(drain.poll(), "up to the cap");
        drop(sender);
        assert_ready!(drain.poll());

        let (mut sender, body) = Channel::<Bytes>::new(1);
        let mut drain = task::spawn(Drain::new(body).unwrap());
        sender.send_data(data(64 * 1024 + 1)).await.unwrap();
        assert_ready!(drain.poll(), "past the cap");

        let mut drain = task::spawn(Drain::new(Endless).unwrap());
        assert_ready!(drain.poll(), "frames without data");

        let (_sender, body) = Channel::<Bytes>::new(1);
        let mut drain = task::spawn(Drain::new(body).unwrap());
        assert_pending!(drain.poll());
        tokio::time::advance(MAX_DURATION).await;
        assert_ready!(drain.poll(), "past the deadline");
    }
}
