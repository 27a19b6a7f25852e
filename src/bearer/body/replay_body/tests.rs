use std::{collections::VecDeque, convert::Infallible, task::Waker};

use http_body_util::{Empty, Full};
use proptest::prelude::*;

use super::*;

/// A body of given frames, which may tell its length beforehand, and may tell its end with the last
/// frame.
struct Script {
    frames: VecDeque<Result<Frame<Bytes>, &'static str>>,
    is_length_known: bool,
    is_end_known: bool,
}

impl Body for Script {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        Poll::Ready(self.frames.pop_front())
    }

    fn is_end_stream(&self) -> bool {
        self.is_end_known && self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if !self.is_length_known {
            return SizeHint::default();
        }
        let data = self.frames.iter().flatten().filter_map(Frame::data_ref);
        SizeHint::with_exact(data.map(|data| data.len() as u64).sum())
    }
}

fn script(data: &[&'static str]) -> Script {
    Script {
        frames: data
            .iter()
            .map(|data| Ok(Frame::data(Bytes::from_static(data.as_bytes()))))
            .collect(),
        is_length_known: false,
        is_end_known: false,
    }
}

fn trailers(value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(http::header::ETAG, value.parse().unwrap())])
}

/// A body that is sent, and its recording.
fn record<B: Body>(
    body: B,
    limit: usize,
    content_length: Option<u64>,
) -> (ReplayBody<B>, Option<Recording>) {
    let recording = Recording::of(&body, limit, content_length);
    (ReplayBody::sent(body, recording.as_ref()), recording)
}

/// All frames, as text; `Err` where one failed.
fn send<B: Body<Data = Bytes> + Unpin>(body: &mut B) -> Vec<Result<String, B::Error>> {
    std::iter::from_fn(|| next(body)).collect()
}

fn next<B: Body<Data = Bytes> + Unpin>(body: &mut B) -> Option<Result<String, B::Error>> {
    let mut context = Context::from_waker(Waker::noop());
    match Pin::new(body).poll_frame(&mut context) {
        Poll::Ready(frame) => frame.map(|frame| frame.map(|frame| show(&frame))),
        Poll::Pending => panic!("scripts are always ready"),
    }
}

fn show(frame: &Frame<Bytes>) -> String {
    match frame.data_ref() {
        Some(data) => format!("{data:?}"),
        None => format!("{:?}", frame.trailers_ref()),
    }
}

#[test]
fn empty_body_needs_no_buffer() {
    let (_, recording) = record(Empty::<Bytes>::new(), 1, None);
    assert!(matches!(recording, Some(Recording::Empty)));
    let mut again = recording.unwrap().replay::<Empty<Bytes>>().unwrap();
    assert!(again.is_end_stream());
    assert_eq!(again.size_hint().exact(), Some(0));
    assert!(send(&mut again).is_empty());
}

#[test]
fn p08_a_limit_of_nothing_turns_replaying_off() {
    let (_, recording) = record(Empty::<Bytes>::new(), 0, None);
    assert!(recording.is_none());
}

/// Sends `body` to its end, up to `limit`. Returns whether it can be sent again.
fn is_replayable(body: Script, limit: usize) -> bool {
    let (mut body, recording) = record(body, limit, None);
    send(&mut body);
    recording.is_some_and(|recording| recording.is_complete())
}

#[test]
fn p08_frames_have_no_cost_of_their_own() {
    let bytes = |count| script(&vec!["x"; count]);
    assert!(is_replayable(bytes(4_096), 4_096));
    assert!(!is_replayable(bytes(4_097), 4_096));
    assert!(is_replayable(script(&vec![""; 10_000]), 1));
}

#[test]
fn p08_trailers_count_with_their_place_in_memory() {
    let with_trailers = |count: usize| {
        let mut body = script(&["data"]);
        let trailers = (0..count).map(|_| (http::header::ETAG, HeaderValue::from_static("\"t\"")));
        let mut map = HeaderMap::new();
        for (name, value) in trailers {
            map.append(name, value);
        }
        body.frames.push_back(Ok(Frame::trailers(map)));
        body
    };
    let cost = TRAILER_COST + "etag".len() + 3;
    assert!(cost > 100);
    for count in [1, 2, 500] {
        let size = "data".len() + count * cost;
        assert!(is_replayable(with_trailers(count), size), "{count}");
        assert!(!is_replayable(with_trailers(count), size - 1), "{count}");
    }
}

#[test]
fn p08_recording_keeps_no_frame() {
    for length in [1, 100, 10_000] {
        let large = Bytes::from(vec![b'x'; 1024 * 1024]);
        let mut value = HeaderValue::from_maybe_shared(large.slice(..10)).unwrap();
        value.set_sensitive(true);
        let trailers = HeaderMap::from_iter([(http::header::ETAG, value)]);
        let body = Script {
            frames: VecDeque::from([
                Ok(Frame::data(large.slice(..length))),
                Ok(Frame::trailers(trailers)),
            ]),
            is_length_known: false,
            is_end_known: false,
        };
        let (mut body, recording) = record(body, 64 * 1024, None);
        send(&mut body);
        drop(body);
        assert!(large.is_unique(), "{length}");
        let mut again = recording.unwrap().replay::<Script>().unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(Some(Ok(data))) = Pin::new(&mut again).poll_frame(&mut context) else {
            panic!("no data")
        };
        assert_eq!(data.data_ref().unwrap(), &large[..length]);
        let Poll::Ready(Some(Ok(trailers))) = Pin::new(&mut again).poll_frame(&mut context) else {
            panic!("no trailers")
        };
        let value = &trailers.trailers_ref().unwrap()[http::header::ETAG];
        assert_eq!(value, "xxxxxxxxxx");
        assert!(value.is_sensitive());
    }
}

#[test]
fn p08_replay_is_the_same_to_the_byte_trailers_included() {
    let mut frames = script(&["one", "two"]);
    frames
        .frames
        .push_back(Ok(Frame::trailers(trailers("\"x\""))));
    let (mut body, recording) = record(frames, 256, None);
    let recording = recording.unwrap();
    let sent = send(&mut body);
    assert_eq!(sent.len(), 3);
    for _ in 0..2 {
        let mut again = recording.replay::<Script>().unwrap();
        assert_eq!(
            again.size_hint().exact(),
            None,
            "sent without a length the first time"
        );
        assert_eq!(next(&mut again), Some(Ok("b\"onetwo\"".to_owned())));
        assert_eq!(next(&mut again).as_ref(), sent.last());
        assert!(again.is_end_stream());
        assert_eq!(next(&mut again), None);
    }
}

#[test]
fn p08_known_length_is_whole_with_its_last_byte() {
    // `Full` reports its end. This body only reports that no bytes are left, and its sender drops
    // it then.
    let mut frames = script(&["one", "two"]);
    frames.is_length_known = true;
    let (mut body, recording) = record(frames, 64, None);
    let recording = recording.unwrap();
    next(&mut body);
    assert!(!recording.is_complete());
    next(&mut body);
    assert!(body.is_end_stream());
    drop(body);
    assert_eq!(
        recording.replay::<Script>().unwrap().size_hint().exact(),
        Some(6)
    );
}

#[test]
fn p08_so_is_a_length_in_the_header() {
    let (mut body, recording) = record(script(&["one", "two"]), 64, Some(6));
    next(&mut body);
    next(&mut body);
    drop(body);
    let mut again = recording.unwrap().replay::<Script>().unwrap();
    assert_eq!(again.size_hint().exact(), None, "the header says it again");
    assert_eq!(send(&mut again), [Ok("b\"onetwo\"".to_owned())]);
}

#[test]
fn p08_trailers_after_the_last_byte_are_not_lost() {
    let mut frames = script(&["one"]);
    frames.is_length_known = true;
    frames
        .frames
        .push_back(Ok(Frame::trailers(trailers("\"x\""))));
    let (mut body, recording) = record(frames, 256, None);
    // Its sender does not ask for them, or is asked to stop before it can.
    next(&mut body);
    assert!(!body.is_end_stream());
    drop(body);
    assert_eq!(
        send(&mut recording.unwrap().replay::<Script>().unwrap()).len(),
        2
    );
}

#[test]
fn p08_an_end_that_is_not_known_yet_is_none() {
    // All announced bytes are through, but whether trailers follow is still open.
    let (mut sender, channel) = http_body_util::channel::Channel::<Bytes>::new(2);
    sender
        .try_send(Frame::data(Bytes::from_static(b"one")))
        .unwrap();
    let (mut body, recording) = record(channel, 64, Some(3));
    next(&mut body);
    assert!(!recording.as_ref().unwrap().is_complete());
    drop(sender);
    assert_eq!(next(&mut body), None);
    assert!(recording.unwrap().is_complete());
}

#[test]
fn p08_a_limit_around_a_body_is_not_its_end() {
    // At its limit it says that nothing is left, although there is, and that is an error.
    let limited = http_body_util::Limited::new(script(&["one", "two", "three"]), 6);
    let (mut body, recording) = record(limited, 64, None);
    next(&mut body);
    next(&mut body);
    assert_eq!(body.size_hint().exact(), Some(0));
    drop(body);
    assert!(!recording.unwrap().is_complete());
}

#[test]
fn p08_what_is_not_sent_whole_is_not_replayed_and_not_cut() {
    // Too large by its announced length.
    let (_, recording) = record(Full::<Bytes>::from("four"), 3, None);
    assert!(recording.is_none());

    // Too large, detected while it is sent: the whole body is sent nevertheless.
    let (mut body, recording) = record(script(&["on", "e", "two"]), 5, None);
    assert_eq!(send(&mut body).len(), 3);
    drop(body);
    assert!(!recording.unwrap().is_complete());

    // Dropped while it is being sent.
    let (mut body, recording) = record(script(&["one", "two"]), 64, None);
    let recording = recording.unwrap();
    next(&mut body);
    assert!(recording.replay::<Script>().is_none());
    drop(body);
    assert!(recording.replay::<Script>().is_none());

    // Never begun.
    let (body, recording) = record(Full::<Bytes>::from("x"), 64, None);
    drop(body);
    assert!(!recording.unwrap().is_complete());

    // Failed, even after all that was announced.
    let mut frames = script(&["one"]);
    frames.is_length_known = true;
    frames.frames.push_back(Err("broken"));
    let (mut body, recording) = record(frames, 64, None);
    assert_eq!(send(&mut body).last(), Some(&Err("broken")));
    drop(body);
    assert!(!recording.unwrap().is_complete());
}

proptest! {
    #[test]
    fn p08_any_body_in_any_frames_is_replayed_or_not_at_all(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..10),
        with_trailers: bool,
        is_length_known: bool,
        is_end_known: bool,
        limit in 0_usize..300,
        polls in 0_usize..13,
    ) {
        let mut frames: VecDeque<_> = chunks
            .iter()
            .map(|chunk| Ok(Frame::data(Bytes::copy_from_slice(chunk))))
            .collect();
        if with_trailers {
            frames.push_back(Ok(Frame::trailers(trailers("\"t\""))));
        }
        let count = frames.len();
        let whole: Vec<_> = frames.iter().flatten().map(show).collect();
        let size = chunks.iter().map(Vec::len).sum::<usize>() + if with_trailers { TRAILER_COST + 7 } else { 0 };
        let script = Script { frames, is_length_known, is_end_known };
        let (mut body, recording) = record(script, limit, None);
        let sent: Vec<_> = (0..polls).map_while(|_| next(&mut body)).map(Result::unwrap).collect();
        // Whatever is kept, what is sent is what the caller gave.
        prop_assert_eq!(&sent[..], &whole[..sent.len()]);
        drop(body);

        if let Some(mut again) = recording.as_ref().and_then(Recording::replay::<Script>) {
            prop_assert!(size <= limit);
            let replayed: Vec<_> = send(&mut again).into_iter().map(Result::unwrap).collect();
            let mut expected = Vec::new();
            let bytes = chunks.concat();
            if !bytes.is_empty() {
                expected.push(format!("{:?}", Bytes::from(bytes)));
            }
            if with_trailers {
                expected.extend(whole.last().cloned());
            }
            prop_assert_eq!(replayed, expected);
        }
        if polls > count && limit > 0 && size <= limit {
            prop_assert!(recording.is_some_and(|recording| recording.is_complete()), "sent whole, within the limit");
        }
    }
}

#[test]
fn bytes_turn_into_a_body() {
    let mut body = ReplayBody::<Full<Bytes>>::from(Bytes::from_static(b"form"));
    let sent: Vec<Result<String, Infallible>> = send(&mut body);
    assert_eq!(sent, [Ok("b\"form\"".to_owned())]);
}
