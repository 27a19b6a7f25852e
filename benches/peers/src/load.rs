//! Sends requests one after another, for all measurements.

use std::{
    future::Future,
    hint::{black_box, spin_loop},
    pin::pin,
    task::{Context, Poll, Waker},
    thread,
};

use http::Request;
use tower::Service;

use crate::work::{self, Body, Noop};

/// Sends one request, as a user of one peer would. Its clones share the token.
pub(crate) trait Client: Clone + Send + 'static {
    /// Creates a request and sends it.
    fn send(&mut self) -> impl Future;
}

/// An object-safe client.
pub(crate) trait Load: Send {
    /// Sends `requests` requests one after another.
    fn send(&mut self, requests: u64);

    /// A clone, for another thread.
    fn another(&self) -> Box<dyn Load>;
}

/// Sends with `client`.
pub(crate) fn load(client: impl Client) -> Box<dyn Load> {
    Box::new(Sender(client))
}

/// A client that sends requests through a stack of layers.
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

/// Sends requests without a token to a service that does nothing.
pub(crate) fn no_layer() -> Box<dyn Load> {
    load(Stack(Noop::<std::convert::Infallible>::new()))
}

/// Polls before yielding: by then the other thread probably waits for this processor.
const SPINS: u32 = 100;

struct Sender<C>(C);

impl<C: Client> Load for Sender<C> {
    fn send(&mut self, requests: u64) {
        for _ in 0..requests {
            // Polled without a runtime. A peer whose request waits for another thread, behind an
            // asynchronous lock, is polled again at once, which is cheaper than a wake-up.
            let mut context = Context::from_waker(Waker::noop());
            let mut response = pin!(self.0.send());
            let mut polls = 0;
            let response = loop {
                match response.as_mut().poll(&mut context) {
                    Poll::Ready(response) => break response,
                    Poll::Pending if polls < SPINS => spin_loop(),
                    Poll::Pending => thread::yield_now(),
                }
                polls += 1;
            };
            black_box(&response);
        }
    }

    fn another(&self) -> Box<dyn Load> {
        load(self.0.clone())
    }
}
