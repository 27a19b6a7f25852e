//! Any request body, recorded while it is sent.
//!
//! The frames are buffered while the body is sent. At its end they become the [`Recording`], which
//! the retry reads. There is nothing in between: a body that is too large, has failed or is still
//! being sent has no recording, so it is never replayed in part.
//!
//! The limit is one of memory. A frame is small compared with its cost, if it has one byte, and may
//! be a slice of an allocation of any size. So the bytes are copied into one buffer, and nothing of
//! the frames is kept. The retry has the same bytes, in a single frame.
//!
//! A body has ended when it says so. The client may not poll that far: after the last byte of the
//! announced length it may drop the body. So once that byte has been passed on, this body polls
//! ahead of the client for the next frame, which is usually the end.

use std::{
    fmt, mem,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

/// The memory of a trailer beside its name and value: its place in the list, and the counter of a
/// shared value.
const TRAILER_COST: usize = size_of::<(HeaderName, HeaderValue)>() + size_of::<[usize; 4]>();

pin_project! {
    /// A request body that records its frames while it is sent, so that it can be sent again.
    ///
    /// Use it only for bodies that are not `Clone`, such as streams: build the HTTP client over
    /// `ReplayBody<B>`, and pass requests with the body `B` to the layer. The recording copies the
    /// data, so that it takes no more memory than the
    /// [limit](crate::bearer::BearerAuthLayer::replay_limit), whatever the frames are. The retry
    /// sends the same bytes and trailers, in frames of other sizes.
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
        /// Sent again from a recording: what is left of it.
        Replayed { rest: Recorded },
    }
}

/// A body, from when it has been sent whole.
pub enum Recording {
    /// The body has no frames.
    Empty,
    /// The body has frames, and is recorded while it is sent.
    Recorded {
        recorded: Arc<OnceLock<Recorded>>,
        limit: usize,
        /// The length that the body or the request's header announces.
        announced: Option<u64>,
    },
}

/// The bytes and trailers of a body.
#[derive(Clone)]
pub struct Recorded {
    data: Bytes,
    /// In a list, whose memory is that of its elements.
    trailers: Vec<(HeaderName, HeaderValue)>,
    /// Whether the body knew its length beforehand; the replayed body does then too.
    is_length_known: bool,
}

/// The part of a body that was sent so far.
struct Recorder {
    data: Vec<u8>,
    limit: usize,
    /// The rest of the length that the body or the request's header announced.
    announced: Option<u64>,
    is_length_known: bool,
    recording: Arc<OnceLock<Recorded>>,
}

impl<B: Body> ReplayBody<B> {
    /// A body that is sent, and fills its recording.
    #[inline]
    pub(super) fn sent(body: B, recording: Option<&Recording>) -> Self {
        match recording {
            None | Some(Recording::Empty) => Self::once(body),
            Some(Recording::Recorded {
                recorded,
                limit,
                announced,
            }) => {
                let recorder = Recorder {
                    data: Vec::new(),
                    limit: *limit,
                    announced: *announced,
                    is_length_known: body.size_hint().exact().is_some(),
                    recording: Arc::clone(recorded),
                };
                let state = State::Recorded {
                    body,
                    recorder: Some(recorder),
                    ahead: None,
                };
                Self { state }
            }
        }
    }

    /// A body that is not recorded.
    pub(super) fn once(body: B) -> Self {
        Self {
            state: State::Once { body },
        }
    }
}

impl Recording {
    /// The recording of a body in up to `limit` bytes of memory. `None` if the body is known to be
    /// larger, or if the limit is 0.
    ///
    /// `content_length` is what the request's header says, for bodies that do not know their
    /// length.
    #[inline]
    pub(super) fn of(body: &impl Body, limit: usize, content_length: Option<u64>) -> Option<Self> {
        if limit == 0 {
            None
        } else if body.is_end_stream() {
            Some(Self::Empty)
        } else {
            let hint = body.size_hint();
            (hint.lower() <= limit as u64).then(|| Self::Recorded {
                recorded: Arc::new(OnceLock::new()),
                limit,
                announced: hint.exact().or(content_length),
            })
        }
    }

    /// The recorded body, if it has been sent to its end.
    pub(super) fn replay<B: Body>(&self) -> Option<ReplayBody<B>> {
        let rest = match self {
            Self::Empty => Recorded {
                data: Bytes::new(),
                trailers: Vec::new(),
                is_length_known: true,
            },
            Self::Recorded { recorded, .. } => recorded.get()?.clone(),
        };
        Some(ReplayBody {
            state: State::Replayed { rest },
        })
    }

    /// Whether [`replay`](Self::replay) would return a body.
    pub(super) fn is_complete(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Recorded { recorded, .. } => recorded.get().is_some(),
        }
    }
}

impl Recorded {
    /// The next frame of the replayed body.
    fn next(&mut self) -> Option<Frame<Bytes>> {
        if !self.data.is_empty() {
            return Some(Frame::data(mem::take(&mut self.data)));
        }
        if self.trailers.is_empty() {
            return None;
        }
        let mut trailers = HeaderMap::new();
        for (name, value) in mem::take(&mut self.trailers) {
            // They were in a map before, so they fit into one.
            trailers.try_append(name, value).ok()?;
        }
        Some(Frame::trailers(trailers))
    }
}

impl Recorder {
    /// Copies data; `None` beyond the limit, which ends the recording.
    fn push(mut self, data: &Bytes) -> Option<Self> {
        let length = self.data.len().checked_add(data.len())?;
        if length > self.limit {
            return None;
        }
        let capacity = self.data.capacity();
        if length > capacity {
            // Twice as much as before, so that a byte is moved only once on average. If the length
            // is known, it is reserved at once.
            let announced = self.announced.and_then(|rest| usize::try_from(rest).ok());
            let whole = announced.map_or(0, |rest| self.data.len().saturating_add(rest));
            let larger = whole.max(capacity.saturating_mul(2)).min(self.limit);
            let additional = larger.max(length).saturating_sub(self.data.len());
            self.data.reserve_exact(additional);
        }
        self.data.extend_from_slice(data);
        self.announced = self
            .announced
            .and_then(|left| left.checked_sub(data.len() as u64));
        Some(self)
    }

    /// Whether the last announced byte has been passed on.
    fn is_at_announced_end(&self) -> bool {
        self.announced == Some(0)
    }

    /// The body has been sent to its end, which has these trailers.
    fn finish(self, trailers: Option<&HeaderMap>) {
        let left = self.limit.saturating_sub(self.data.len());
        let Some(trailers) = trailers.map_or(Some(Vec::new()), |trailers| copied(trailers, left))
        else {
            return;
        };
        let recorded = Recorded {
            // Without what was reserved for more data.
            data: self.data.into_boxed_slice().into(),
            trailers,
            is_length_known: self.is_length_known,
        };
        // This is the only place that sets it, and it is set once.
        let _ = self.recording.set(recorded);
    }
}

/// A copy of trailers in at most `limit` bytes of memory. A value may be a slice of an allocation
/// of any size; a name is not.
fn copied(trailers: &HeaderMap, limit: usize) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let texts = trailers
        .iter()
        .map(|(name, value)| name.as_str().len().saturating_add(value.len()));
    let entries = trailers.len().checked_mul(TRAILER_COST)?;
    if texts.fold(entries, usize::saturating_add) > limit {
        return None;
    }
    let mut copies = Vec::with_capacity(trailers.len());
    for (name, value) in trailers {
        let mut copy = HeaderValue::from_bytes(value.as_bytes()).ok()?;
        copy.set_sensitive(value.is_sensitive());
        copies.push((name.clone(), copy));
    }
    Some(copies)
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
                recorder.finish(None);
            }
            return Poll::Ready(None);
        }
    };
    if let Some(data) = frame.data_ref() {
        *recorder = recorder.take().and_then(|recorder| recorder.push(data));
    }
    // Trailers are the last frame, and a body must not be polled after its end.
    if (frame.is_trailers() || body.is_end_stream())
        && let Some(recorder) = recorder.take()
    {
        recorder.finish(frame.trailers_ref());
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
            StateProjection::Replayed { rest } => Poll::Ready(rest.next().map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Once { body } => body.is_end_stream(),
            State::Recorded { body, ahead, .. } => match ahead {
                Some(next) => next.is_none(),
                None => body.is_end_stream(),
            },
            State::Replayed { rest } => rest.data.is_empty() && rest.trailers.is_empty(),
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
            State::Replayed { rest } if rest.is_length_known => {
                SizeHint::with_exact(rest.data.len() as u64)
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

impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorded")
    }
}

#[cfg(test)]
mod tests;
