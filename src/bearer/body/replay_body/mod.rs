//! Any request body, recorded while it is sent.
//!
//! The frames are buffered while the body is sent. At its end they become the [`Recording`], which
//! the retry reads. There is nothing in between: a body that is too large, has failed or is still
//! being sent has no recording, so it is never replayed in part.
//!
//! A body has ended when it says so. The client may not poll that far: after the last byte of the
//! announced length it may drop the body. So once that byte has been passed on, this body polls
//! ahead of the client for the next frame, which is usually the end.

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
    /// A request body that records its frames while it is sent, so that it can be sent again.
    ///
    /// Use it only for bodies that are not `Clone`, such as streams: build the HTTP client over
    /// `ReplayBody<B>`, and pass requests with the body `B` to the layer. Data of type `Bytes` are
    /// recorded without a copy; other data are copied once.
    ///
    /// `ReplayBody<B>` implements `From<Bytes>` if `B` does. An
    /// [`OAuthClient`](crate::oauth::OAuthClient) needs this conversion, so it can share one HTTP
    /// client with the layer.
    // Never `Clone`: that would make it a body of the other family of `RequestBody`.
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
        /// Sent once, and not recorded.
        Once { #[pin] body: B },
        /// Sent, and recorded as long as there is a recorder. `ahead` is what was polled ahead of
        /// the client.
        Recorded {
            #[pin]
            body: B,
            recorder: Option<Recorder>,
            ahead: Option<Option<Result<Frame<Bytes>, E>>>,
        },
        /// Sent again from a recording.
        Replayed { frames: Frames, next: usize },
    }
}

/// The frames of a body, from when it has been sent whole.
pub enum Recording {
    /// The body has no frames.
    Empty,
    Frames(Arc<OnceLock<Frames>>),
}

/// All frames of a body.
#[derive(Clone)]
pub struct Frames {
    frames: Arc<[BufferedFrame]>,
    /// Whether the body knew its length beforehand; the replayed body does then too.
    is_length_known: bool,
}

enum BufferedFrame {
    Data(Bytes),
    Trailers(HeaderMap),
}

struct Recorder {
    frames: Vec<BufferedFrame>,
    left: usize,
    /// The rest of the length that the body or the request's header announced.
    announced: Option<u64>,
    is_length_known: bool,
    recording: Arc<OnceLock<Frames>>,
}

impl<B: Body> ReplayBody<B> {
    /// A body that is recorded while it is sent, up to `limit` bytes, and its recording.
    ///
    /// There is no recording if the body is known to be larger, or if the limit is 0. `length` is
    /// what the request's header says, for bodies that do not know their length.
    #[inline]
    pub(super) fn record(body: B, limit: usize, length: Option<u64>) -> (Self, Option<Recording>) {
        if limit == 0 {
            (Self::once(body), None)
        } else if body.is_end_stream() {
            (Self::once(body), Some(Recording::Empty))
        } else {
            Self::record_frames(body, limit, length)
        }
    }

    fn record_frames(body: B, limit: usize, length: Option<u64>) -> (Self, Option<Recording>) {
        let hint = body.size_hint();
        if hint.lower() > limit as u64 {
            return (Self::once(body), None);
        }
        let recording = Arc::new(OnceLock::new());
        let state = State::Recorded {
            body,
            recorder: Some(Recorder {
                frames: Vec::new(),
                left: limit,
                announced: hint.exact().or(length),
                is_length_known: hint.exact().is_some(),
                recording: Arc::clone(&recording),
            }),
            ahead: None,
        };
        (Self { state }, Some(Recording::Frames(recording)))
    }

    /// A body that is not recorded.
    pub(super) fn once(body: B) -> Self {
        Self {
            state: State::Once { body },
        }
    }
}

impl Recording {
    /// The recorded body, if it has been sent to its end.
    pub(super) fn replay<B: Body>(&self) -> Option<ReplayBody<B>> {
        let frames = match self {
            Self::Empty => Frames {
                frames: Arc::new([]),
                is_length_known: true,
            },
            Self::Frames(recording) => recording.get()?.clone(),
        };
        Some(ReplayBody {
            state: State::Replayed { frames, next: 0 },
        })
    }

    /// Whether [`replay`](Self::replay) would return a body.
    pub(super) fn is_complete(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Frames(recording) => recording.get().is_some(),
        }
    }
}

impl Recorder {
    /// Buffers a frame; `None` beyond the limit, which ends the recording.
    fn push(mut self, frame: &Frame<Bytes>) -> Option<Self> {
        let (buffered, size) = if let Some(data) = frame.data_ref() {
            if data.is_empty() {
                return Some(self);
            }
            self.announced = self
                .announced
                .and_then(|left| left.checked_sub(data.len() as u64));
            (BufferedFrame::Data(data.clone()), data.len())
        } else {
            let trailers = frame.trailers_ref()?.clone();
            let size = trailers
                .iter()
                .map(|(name, value)| name.as_str().len() + value.len())
                .sum();
            (BufferedFrame::Trailers(trailers), size)
        };
        self.left = self.left.checked_sub(size)?;
        self.frames.push(buffered);
        Some(self)
    }

    /// Whether the last announced byte has been passed on.
    fn is_at_announced_end(&self) -> bool {
        self.announced == Some(0)
    }

    /// The body has been sent to its end.
    fn finish(self) {
        let frames = Frames {
            frames: self.frames.into(),
            is_length_known: self.is_length_known,
        };
        // This is the only place that sets it, and it is set once.
        let _ = self.recording.set(frames);
    }
}

/// Polls the next frame of a body and records it.
fn poll_recorded<B: Body>(
    mut body: Pin<&mut B>,
    recorder: &mut Option<Recorder>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
    let frame = match ready!(body.as_mut().poll_frame(cx)) {
        Some(Ok(frame)) => frame.map_data(into_bytes),
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
    *recorder = recorder.take().and_then(|recorder| recorder.push(&frame));
    // Trailers are the last frame, and a body must not be polled after its end.
    if (frame.is_trailers() || body.is_end_stream())
        && let Some(recorder) = recorder.take()
    {
        recorder.finish();
    }
    Poll::Ready(Some(Ok(frame)))
}

/// Does not copy data that are `Bytes`.
fn into_bytes(mut data: impl Buf) -> Bytes {
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
            StateProjection::Once { body } => body
                .poll_frame(cx)
                .map_ok(|frame| frame.map_data(into_bytes)),
            StateProjection::Recorded {
                mut body,
                recorder,
                ahead,
            } => {
                let frame = match ahead.take() {
                    Some(frame) => frame,
                    None => ready!(poll_recorded(body.as_mut(), recorder, cx)),
                };
                if matches!(frame, Some(Ok(_)))
                    && recorder.as_ref().is_some_and(Recorder::is_at_announced_end)
                    && let Poll::Ready(next) = poll_recorded(body, recorder, cx)
                {
                    *ahead = Some(next);
                }
                Poll::Ready(frame)
            }
            StateProjection::Replayed { frames, next } => {
                let frame = frames.frames.get(*next).map(|frame| match frame {
                    BufferedFrame::Data(data) => Frame::data(data.clone()),
                    BufferedFrame::Trailers(trailers) => Frame::trailers(trailers.clone()),
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
            State::Replayed { frames, next } => *next >= frames.frames.len(),
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
            State::Replayed { frames, next } if frames.is_length_known => {
                let left = frames.frames.iter().skip(*next).map(|frame| match frame {
                    BufferedFrame::Data(data) => data.len() as u64,
                    BufferedFrame::Trailers(_) => 0,
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

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recording")
    }
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Frames")
    }
}

#[cfg(test)]
mod tests;
