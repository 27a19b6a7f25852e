//! A request body that can be sent again.
//!
//! While it is sent, its frames are kept; once it has been sent whole, they are laid down on a [`Tape`], where a retry finds
//! them. There is no in-between: what is not on the tape cannot be replayed, so a body that is too large, has failed or is
//! still being sent is never replayed in part.

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
    pub struct ReplayBody<B> {
        #[pin]
        state: State<B>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<B> {
        /// Sent once, and not kept.
        Once { #[pin] body: B },
        /// Sent, and kept as long as there is a recorder.
        Recorded { #[pin] body: B, recorder: Option<Recorder> },
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
    is_length_known: bool,
    /// All bytes that were announced have been handed over: nobody may ask for the end, and it is whole all the same.
    is_complete: bool,
    tape: Arc<OnceLock<Reel>>,
}

impl<B: Body> ReplayBody<B> {
    /// A body that is kept while it is sent, up to `limit` bytes, and where to find it then. Nothing is kept, and there is
    /// no tape, of a body that is known to be larger, or if the limit is 0.
    pub(super) fn record(body: B, limit: usize) -> (Self, Option<Tape>) {
        let hint = body.size_hint();
        if limit == 0 || hint.lower() > limit as u64 {
            return (Self::once(body), None);
        }
        if body.is_end_stream() {
            return (Self::once(body), Some(Tape::Empty));
        }
        let tape = Arc::new(OnceLock::new());
        let recorder = Some(Recorder {
            frames: Vec::new(),
            left: limit,
            is_length_known: hint.exact().is_some(),
            is_complete: false,
            tape: Arc::clone(&tape),
        });
        let state = State::Recorded { body, recorder };
        (Self { state }, Some(Tape::Frames(tape)))
    }
}

impl<B> ReplayBody<B> {
    /// A body that is not kept.
    pub(super) fn once(body: B) -> Self {
        Self {
            state: State::Once { body },
        }
    }
}

impl Tape {
    /// The same body once more, if it has been sent whole.
    pub(super) fn replay<B>(&self) -> Option<ReplayBody<B>> {
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

    /// The body has been sent whole.
    fn finish(mut self) {
        self.is_complete = true;
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if self.is_complete {
            let reel = Reel {
                frames: std::mem::take(&mut self.frames).into(),
                is_length_known: self.is_length_known,
            };
            // Only ever set here, once.
            let _ = self.tape.set(reel);
        }
    }
}

impl<B: Body> Body for ReplayBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        // Copies nothing where the data are `Bytes` already.
        let whole = |mut data: B::Data| data.copy_to_bytes(data.remaining());
        match self.project().state.project() {
            StateProjection::Once { body } => {
                body.poll_frame(cx).map_ok(|frame| frame.map_data(whole))
            }
            StateProjection::Recorded { mut body, recorder } => {
                let Some(frame) = ready!(body.as_mut().poll_frame(cx)) else {
                    if let Some(recorder) = recorder.take() {
                        recorder.finish();
                    }
                    return Poll::Ready(None);
                };
                let frame = match frame {
                    Ok(frame) => frame.map_data(whole),
                    Err(error) => {
                        if let Some(recorder) = recorder {
                            recorder.is_complete = false;
                        }
                        *recorder = None;
                        return Poll::Ready(Some(Err(error)));
                    }
                };
                *recorder = recorder.take().and_then(|mut recorder| {
                    recorder.is_complete = false;
                    recorder.keep(&frame)
                });
                if let Some(kept) = recorder {
                    // The sender of a body with a known length may drop it after the last byte, without asking for more.
                    kept.is_complete = body.size_hint().exact() == Some(0);
                    // Trailers are the last frame; and an ended body may not be polled again.
                    if frame.is_trailers() || body.is_end_stream() {
                        kept.is_complete = true;
                        *recorder = None;
                    }
                }
                Poll::Ready(Some(Ok(frame)))
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
            State::Once { body } | State::Recorded { body, .. } => body.is_end_stream(),
            State::Replayed { reel, next } => *next >= reel.frames.len(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Once { body } | State::Recorded { body, .. } => body.size_hint(),
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

impl<B: From<Bytes>> From<Bytes> for ReplayBody<B> {
    fn from(bytes: Bytes) -> Self {
        Self::once(B::from(bytes))
    }
}

impl<B: Default> Default for ReplayBody<B> {
    fn default() -> Self {
        Self::once(B::default())
    }
}

impl<B> fmt::Debug for ReplayBody<B> {
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
