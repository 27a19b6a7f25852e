//! A request body that can be sent again.
//!
//! While it is sent, its frames are kept; once it has been sent whole, they are laid down on a [`Tape`], where a retry finds
//! them. There is no in-between: what is not on the tape cannot be replayed, so a body that is too large, has failed or is
//! still being sent is never replayed in part.
//!
//! A body is whole when it says so. Its sender need not hear that, though: after the last byte of an announced length it may
//! drop the body without asking for more. So when that byte has been handed over, the body is asked for what comes next ahead
//! of its sender: usually its end.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body that a [`BearerAuth`](crate::bearer::BearerAuth) service hands to the service inside: the caller's, or the
    /// same bytes once more.
    ///
    /// Bytes turn into one if they turn into the caller's, so that one HTTP client can serve both the layer and an
    /// [`OAuthClient`](crate::oauth::OAuthClient).
    pub struct ReplayBody<B>
    where
        B: Body,
    {
        #[pin]
        state: State<B, B::Error>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<B, E> {
        /// Sent once, and not kept.
        Once { #[pin] body: B },
        /// Sent, and kept as long as there is a recorder. What was asked for ahead of the sender stands in `ahead`.
        Recorded {
            #[pin]
            body: B,
            recorder: Option<Recorder>,
            ahead: Option<Option<Result<Frame<Bytes>, E>>>,
        },
        /// Sent again.
        Replayed { reel: Reel, next: usize },
    }
}

/// Where a body's frames are, once it has been sent whole.
pub(super) enum Tape {
    /// The body has none, so there was nothing to keep.
    Empty,
    Frames(Arc<OnceLock<Reel>>),
}

/// All frames of a body.
#[derive(Clone)]
pub(super) struct Reel {
    frames: Arc<[Kept]>,
    /// Whether the body told its length beforehand, and so is sent with it again.
    is_length_known: bool,
}

enum Kept {
    Data(Bytes),
    Trailers(HeaderMap),
}

struct Recorder {
    frames: Vec<Kept>,
    left: usize,
    /// The length that was announced, by the body or by its header, as far as it has not been handed over.
    announced: Option<u64>,
    is_length_known: bool,
    tape: Arc<OnceLock<Reel>>,
}

impl<B: Body> ReplayBody<B> {
    /// A body that is kept while it is sent, up to `limit` bytes, and where to find it then. Nothing is kept, and there is
    /// no tape, of a body that is known to be larger, or if the limit is 0. `length` is what the request's header says, for
    /// bodies that do not say it themselves.
    #[inline]
    pub(super) fn record(body: B, limit: usize, length: Option<u64>) -> (Self, Option<Tape>) {
        if limit == 0 {
            (Self::once(body), None)
        } else if body.is_end_stream() {
            (Self::once(body), Some(Tape::Empty))
        } else {
            Self::record_frames(body, limit, length)
        }
    }

    fn record_frames(body: B, limit: usize, length: Option<u64>) -> (Self, Option<Tape>) {
        let hint = body.size_hint();
        if hint.lower() > limit as u64 {
            return (Self::once(body), None);
        }
        let tape = Arc::new(OnceLock::new());
        let state = State::Recorded {
            body,
            recorder: Some(Recorder {
                frames: Vec::new(),
                left: limit,
                announced: hint.exact().or(length),
                is_length_known: hint.exact().is_some(),
                tape: Arc::clone(&tape),
            }),
            ahead: None,
        };
        (Self { state }, Some(Tape::Frames(tape)))
    }

    /// A body that is not kept.
    pub(super) fn once(body: B) -> Self {
        Self {
            state: State::Once { body },
        }
    }
}

impl Tape {
    /// The same body once more, if it has been sent whole.
    pub(super) fn replay<B: Body>(&self) -> Option<ReplayBody<B>> {
        let reel = match self {
            Self::Empty => Reel {
                frames: Arc::new([]),
                is_length_known: true,
            },
            Self::Frames(tape) => tape.get()?.clone(),
        };
        Some(ReplayBody {
            state: State::Replayed { reel, next: 0 },
        })
    }

    /// Whether [`replay`](Self::replay) would give a body.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Frames(tape) => tape.get().is_some(),
        }
    }
}

impl Recorder {
    /// Keeps a frame; `None` if it is too much, so that nothing of the body is kept any more.
    fn keep(mut self, frame: &Frame<Bytes>) -> Option<Self> {
        let (kept, size) = if let Some(data) = frame.data_ref() {
            if data.is_empty() {
                return Some(self);
            }
            self.announced = self
                .announced
                .and_then(|left| left.checked_sub(data.len() as u64));
            (Kept::Data(data.clone()), data.len())
        } else {
            let trailers = frame.trailers_ref()?.clone();
            let size = trailers
                .iter()
                .map(|(name, value)| name.as_str().len() + value.len())
                .sum();
            (Kept::Trailers(trailers), size)
        };
        self.left = self.left.checked_sub(size)?;
        self.frames.push(kept);
        Some(self)
    }

    /// Whether the last byte that was announced has been handed over.
    fn is_at_the_announced_end(&self) -> bool {
        self.announced == Some(0)
    }

    /// The body has been sent whole.
    fn finish(self) {
        let reel = Reel {
            frames: self.frames.into(),
            is_length_known: self.is_length_known,
        };
        // Only ever set here, once.
        let _ = self.tape.set(reel);
    }
}

/// What comes next in a body, kept on its way.
fn poll_kept<B: Body>(
    mut body: Pin<&mut B>,
    recorder: &mut Option<Recorder>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
    let frame = match ready!(body.as_mut().poll_frame(cx)) {
        Some(Ok(frame)) => frame.map_data(whole),
        Some(Err(error)) => {
            *recorder = None;
            return Poll::Ready(Some(Err(error)));
        }
        None => {
            if let Some(recorder) = recorder.take() {
                recorder.finish();
            }
            return Poll::Ready(None);
        }
    };
    *recorder = recorder.take().and_then(|recorder| recorder.keep(&frame));
    // Trailers are the last frame; and an ended body may not be polled again.
    if (frame.is_trailers() || body.is_end_stream())
        && let Some(recorder) = recorder.take()
    {
        recorder.finish();
    }
    Poll::Ready(Some(Ok(frame)))
}

/// Copies nothing where the data are `Bytes` already.
fn whole(mut data: impl Buf) -> Bytes {
    data.copy_to_bytes(data.remaining())
}

impl<B: Body> Body for ReplayBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().state.project() {
            StateProjection::Once { body } => {
                body.poll_frame(cx).map_ok(|frame| frame.map_data(whole))
            }
            StateProjection::Recorded {
                mut body,
                recorder,
                ahead,
            } => {
                let frame = match ahead.take() {
                    Some(frame) => frame,
                    None => ready!(poll_kept(body.as_mut(), recorder, cx)),
                };
                if matches!(frame, Some(Ok(_)))
                    && recorder
                        .as_ref()
                        .is_some_and(Recorder::is_at_the_announced_end)
                    && let Poll::Ready(next) = poll_kept(body, recorder, cx)
                {
                    *ahead = Some(next);
                }
                Poll::Ready(frame)
            }
            StateProjection::Replayed { reel, next } => {
                let frame = reel.frames.get(*next).map(|kept| match kept {
                    Kept::Data(data) => Frame::data(data.clone()),
                    Kept::Trailers(trailers) => Frame::trailers(trailers.clone()),
                });
                *next += 1;
                Poll::Ready(frame.map(Ok))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Once { body } => body.is_end_stream(),
            State::Recorded { body, ahead, .. } => match ahead {
                Some(next) => next.is_none(),
                None => body.is_end_stream(),
            },
            State::Replayed { reel, next } => *next >= reel.frames.len(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Once { body }
            | State::Recorded {
                body, ahead: None, ..
            } => body.size_hint(),
            State::Recorded {
                body,
                ahead: Some(next),
                ..
            } => {
                let mut hint = body.size_hint();
                if let Some(Ok(frame)) = next
                    && let Some(data) = frame.data_ref()
                {
                    let more = data.len() as u64;
                    if let Some(upper) = hint.upper() {
                        hint.set_upper(upper.saturating_add(more));
                    }
                    hint.set_lower(hint.lower().saturating_add(more));
                }
                hint
            }
            State::Replayed { reel, next } if reel.is_length_known => {
                let left = reel.frames.iter().skip(*next).map(|kept| match kept {
                    Kept::Data(data) => data.len() as u64,
                    Kept::Trailers(_) => 0,
                });
                SizeHint::with_exact(left.sum())
            }
            State::Replayed { .. } => SizeHint::default(),
        }
    }
}

impl<B: Body + From<Bytes>> From<Bytes> for ReplayBody<B> {
    fn from(bytes: Bytes) -> Self {
        Self::once(B::from(bytes))
    }
}

impl<B: Body + Default> Default for ReplayBody<B> {
    fn default() -> Self {
        Self::once(B::default())
    }
}

impl<B: Body> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.state {
            State::Once { .. } => "ReplayBody(once)",
            State::Recorded { .. } => "ReplayBody(recorded)",
            State::Replayed { .. } => "ReplayBody(replayed)",
        })
    }
}

#[cfg(test)]
mod tests;
