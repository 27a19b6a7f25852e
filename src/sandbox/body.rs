//! Bodies, in and out.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::Sleep;

/// The body of a response of the sandbox.
///
/// It fails only if a scripted [`Fault`](super::Fault) says so.
#[derive(Default)]
pub struct SandboxBody {
    steps: VecDeque<Step>,
    hides_size: bool,
    wait: Option<Pin<Box<Sleep>>>,
}

/// Leaves out what is sent: it may be a token.
impl fmt::Debug for SandboxBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SandboxBody").finish_non_exhaustive()
    }
}

/// A connection ended by a scripted fault, before or in the middle of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLost {
    pub(super) reset: bool,
}

impl ConnectionLost {
    /// Whether the connection was reset, rather than closed.
    #[must_use]
    pub fn is_reset(&self) -> bool {
        self.reset
    }
}

impl fmt::Display for ConnectionLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.reset {
            "the sandbox reset the connection, as scripted"
        } else {
            "the sandbox closed the connection, as scripted"
        })
    }
}

impl Error for ConnectionLost {}

/// What a body does next.
pub(super) enum Step {
    Send(Bytes),
    /// Sends the same bytes this many times.
    Repeat(Bytes, u64),
    Wait(Duration),
    /// Lets what was sent reach the socket.
    Flush,
    Fail(ConnectionLost),
}

impl SandboxBody {
    /// A body that does this and ends.
    pub(super) fn script(steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            steps: steps.into_iter().collect(),
            hides_size: false,
            wait: None,
        }
    }

    /// A body that is ready.
    pub(super) fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::script((!bytes.is_empty()).then_some(Step::Send(bytes)))
    }

    /// The same body, silent about how long it is: for an answer that says so itself, and may be wrong.
    pub(super) fn hiding_size(mut self) -> Self {
        // A body that has ended already would be none, and its length none either.
        self.steps.push_back(Step::Flush);
        self.hides_size = true;
        self
    }

    /// The bytes of a body that is ready.
    pub(super) fn into_bytes(self) -> Bytes {
        let mut bytes = Vec::new();
        for step in self.steps {
            if let Step::Send(part) = step {
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
            if let Some(wait) = &mut self.wait {
                ready!(wait.as_mut().poll(cx));
                self.wait = None;
            }
            match self.steps.pop_front() {
                None => return Poll::Ready(None),
                Some(Step::Send(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Some(Step::Repeat(_, 0)) => {}
                Some(Step::Repeat(bytes, times)) => {
                    self.steps
                        .push_front(Step::Repeat(bytes.clone(), times - 1));
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Step::Wait(duration)) => {
                    self.wait = Some(Box::pin(tokio::time::sleep(duration)));
                }
                Some(Step::Flush) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(Step::Fail(lost)) => {
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
            Step::Send(bytes) => Some(bytes.len() as u64),
            Step::Repeat(bytes, times) => (bytes.len() as u64).checked_mul(*times),
            Step::Wait(_) | Step::Flush => Some(0),
            Step::Fail(_) => None,
        });
        let size = sizes
            .into_iter()
            .try_fold(0_u64, |sum, size| sum.checked_add(size?));
        size.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// The body of a request, whatever its type was.
pub(super) type RequestBody = UnsyncBoxBody<Bytes, Interrupted>;

/// A request's body broke off; why is its sender's affair.
#[derive(Debug)]
pub(super) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request broke off")
    }
}

impl Error for Interrupted {}

/// Why a request's body could not be read.
pub(super) enum Unreadable {
    TooLarge,
    Broken,
}

/// Reads a request's body of at most `most` bytes.
pub(super) async fn read(body: RequestBody, most: usize) -> Result<Bytes, Unreadable> {
    match Limited::new(body, most).collect().await {
        Ok(read) => Ok(read.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Unreadable::TooLarge),
        Err(_) => Err(Unreadable::Broken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_ends_when_its_last_step_is_done() {
        let wait = Step::Wait(Duration::from_secs(60));
        let twice = Step::Repeat(Bytes::from_static(b"ab"), 2);
        let mut body = SandboxBody::script([wait, twice, Step::Flush]);
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
    async fn a_failed_body_has_ended_and_never_said_how_long_it_is() {
        let lost = ConnectionLost { reset: true };
        let mut body =
            SandboxBody::script([Step::Fail(lost), Step::Send(Bytes::from_static(b"a"))]);
        assert_eq!(body.size_hint().exact(), None);
        assert_eq!(
            body.frame().await.expect("a frame").expect_err("an error"),
            lost
        );
        assert!(body.frame().await.is_none());
    }

    #[test]
    fn errors_say_what_happened_and_debug_says_no_secret() {
        let [closed, reset] = [false, true].map(|reset| ConnectionLost { reset }.to_string());
        assert!(closed.contains("closed") && reset.contains("reset"));
        assert!(Interrupted.to_string().contains("broke off"));
        let debug = format!("{:?}", SandboxBody::full("a-token"));
        assert_eq!(debug, "SandboxBody { .. }");
    }
}
