//! What sends requests, one after another, for all measurements alike.

use std::{
    future::Future,
    hint::{black_box, spin_loop},
    pin::pin,
    task::{Context, Poll, Waker},
    thread,
};

use http::Request;
use tower::Service;

use crate::work::{self, Body, Nothing};

/// Sends one request, as a user of one peer would. Its clones share the token.
pub(crate) trait Client: Clone + Send + 'static {
    /// Makes a fresh request, and sends it.
    fn send(&mut self) -> impl Future;
}

/// A client that can be measured without knowing its type.
pub(crate) trait Load: Send {
    /// Sends so many requests, one after another.
    fn send(&mut self, requests: u64);

    /// A clone, for another thread.
    fn another(&self) -> Box<dyn Load>;
}

/// Sends with `client`.
pub(crate) fn load(client: impl Client) -> Box<dyn Load> {
    Box::new(Sender(client))
}

/// What stands on top of a stack of layers.
#[derive(Clone)]
pub(crate) struct Stack<S>(pub(crate) S);

impl<S> Client for Stack<S>
where
    S: Service<Request<Body>> + Clone + Send + 'static,
{
    fn send(&mut self) -> impl Future {
        let mut context = Context::from_waker(Waker::noop());
        let is_ready = matches!(self.0.poll_ready(&mut context), Poll::Ready(Ok(())));
        assert!(is_ready, "a service that does nothing is always ready");
        self.0.call(work::request())
    }
}

/// The request alone, into a service that does nothing.
pub(crate) fn no_layer() -> Box<dyn Load> {
    load(Stack(Nothing::<std::convert::Infallible>::new()))
}

/// After so many polls in vain it is likely that the other thread waits for this one's processor.
const SPINS: u32 = 100;

struct Sender<C>(C);

impl<C: Client> Load for Sender<C> {
    fn send(&mut self, requests: u64) {
        for _ in 0..requests {
            // Polled by hand: no runtime is in the picture. Whoever makes a request wait for another thread, behind an
            // asynchronous lock, is polled again at once, which is kinder than being woken.
            let mut context = Context::from_waker(Waker::noop());
            let mut answer = pin!(self.0.send());
            let mut polls = 0;
            let answer = loop {
                match answer.as_mut().poll(&mut context) {
                    Poll::Ready(answer) => break answer,
                    Poll::Pending if polls < SPINS => spin_loop(),
                    Poll::Pending => thread::yield_now(),
                }
                polls += 1;
            };
            black_box(&answer);
        }
    }

    fn another(&self) -> Box<dyn Load> {
        load(self.0.clone())
    }
}
