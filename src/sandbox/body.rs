//! Response bodies.

use std::{
    collections::VecDeque,
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

/// The body of a response of the sandbox.
///
/// It fails only because of a [`Fault`](super::Fault).
#[derive(Default)]
pub struct SandboxBody {
    steps: VecDeque<BodyStep>,
    hides_size: bool,
    sleep: Option<Pin<Box<Sleep>>>,
}

/// Hides the content, which may be a token.
impl fmt::Debug for SandboxBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SandboxBody").finish_non_exhaustive()
    }
}

/// A connection that a fault ended, before or within a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLost {
    pub(super) reset: bool,
}

impl ConnectionLost {
    /// Whether the connection was reset, and not closed.
    #[must_use]
    pub fn is_reset(&self) -> bool {
        self.reset
    }
}

impl fmt::Display for ConnectionLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.reset {
            "the sandbox reset the connection because of a fault"
        } else {
            "the sandbox closed the connection because of a fault"
        })
    }
}

impl Error for ConnectionLost {}

/// A part of what a body does.
pub(super) enum BodyStep {
    Send(Bytes),
    /// Sends these bytes this many times.
    Repeat(Bytes, u64),
    Wait(Duration),
    /// Lets the bytes sent so far reach the socket.
    Flush,
    Fail(ConnectionLost),
}

impl SandboxBody {
    /// A body that performs these steps and ends.
    pub(super) fn from_steps(steps: impl IntoIterator<Item = BodyStep>) -> Self {
        Self {
            steps: steps.into_iter().collect(),
            hides_size: false,
            sleep: None,
        }
    }

    /// A body that is available at once.
    pub(super) fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::from_steps((!bytes.is_empty()).then_some(BodyStep::Send(bytes)))
    }

    /// The body without a size hint, for a response with a `Content-Length` that may be wrong.
    pub(super) fn hiding_size(mut self) -> Self {
        // hyper ignores the header if the body has already ended.
        self.steps.push_back(BodyStep::Flush);
        self.hides_size = true;
        self
    }

    /// The bytes of a body that is available at once.
    pub(super) fn into_bytes(self) -> Bytes {
        let mut bytes = Vec::new();
        for step in self.steps {
            if let BodyStep::Send(part) = step {
                bytes.extend_from_slice(&part);
            }
        }
        bytes.into()
    }
}

impl Body for SandboxBody {
    type Data = Bytes;
    type Error = ConnectionLost;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ConnectionLost>>> {
        loop {
            if let Some(sleep) = &mut self.sleep {
                ready!(sleep.as_mut().poll(cx));
                self.sleep = None;
            }
            match self.steps.pop_front() {
                None => return Poll::Ready(None),
                Some(BodyStep::Send(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Some(BodyStep::Repeat(_, 0)) => {}
                Some(BodyStep::Repeat(bytes, times)) => {
                    self.steps
                        .push_front(BodyStep::Repeat(bytes.clone(), times - 1));
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(BodyStep::Wait(duration)) => {
                    self.sleep = Some(Box::pin(tokio::time::sleep(duration)));
                }
                Some(BodyStep::Flush) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(BodyStep::Fail(lost)) => {
                    self.steps.clear();
                    return Poll::Ready(Some(Err(lost)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.hides_size {
            return SizeHint::default();
        }
        let sizes = self.steps.iter().map(|step| match step {
            BodyStep::Send(bytes) => Some(bytes.len() as u64),
            BodyStep::Repeat(bytes, times) => (bytes.len() as u64).checked_mul(*times),
            BodyStep::Wait(_) | BodyStep::Flush => Some(0),
            BodyStep::Fail(_) => None,
        });
        let size = sizes
            .into_iter()
            .try_fold(0_u64, |sum, size| sum.checked_add(size?));
        size.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_ends_after_its_last_step() {
        let wait = BodyStep::Wait(Duration::from_secs(60));
        let twice = BodyStep::Repeat(Bytes::from_static(b"ab"), 2);
        let mut body = SandboxBody::from_steps([wait, twice, BodyStep::Flush]);
        assert_eq!(body.size_hint().exact(), Some(4));
        for _ in 0..2 {
            assert!(!body.is_end_stream());
            let frame = body.frame().await.expect("a frame").expect("no error");
            assert_eq!(frame.into_data().expect("data"), "ab");
        }
        assert!(body.frame().await.is_none());
        assert!(body.is_end_stream() && SandboxBody::full("").is_end_stream());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_body_has_no_size_hint_and_ends_with_the_error() {
        let lost = ConnectionLost { reset: true };
        let mut body = SandboxBody::from_steps([
            BodyStep::Fail(lost),
            BodyStep::Send(Bytes::from_static(b"a")),
        ]);
        assert_eq!(body.size_hint().exact(), None);
        assert_eq!(
            body.frame().await.expect("a frame").expect_err("an error"),
            lost
        );
        assert!(body.frame().await.is_none());
    }

    #[test]
    fn errors_name_the_cause_and_debug_hides_the_content() {
        let [closed, reset] = [false, true].map(|reset| ConnectionLost { reset }.to_string());
        assert!(closed.contains("closed") && reset.contains("reset"));
        let debug = format!("{:?}", SandboxBody::full("a-token"));
        assert_eq!(debug, "SandboxBody { .. }");
    }
}
