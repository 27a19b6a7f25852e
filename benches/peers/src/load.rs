//! Sends requests one after another, for all measurements.

use std::{
    future::Future,
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
};

use http::Request;
use tower::Service;

use crate::work::{self, Body, Noop, Shape};

/// Sends one request, as a user of one peer would. Its clones share the token.
pub(crate) trait Client: 'static {
    /// Creates a request and sends it.
    fn send(&mut self, shape: Shape) -> impl Future;
}

/// An object-safe client.
pub(crate) trait Load {
    /// Sends `requests` requests one after another.
    fn send(&mut self, shape: Shape, requests: u32);
}

/// Sends with `client`.
pub(crate) fn load(client: impl Client) -> Box<dyn Load> {
    Box::new(Sender(client))
}

/// A client that sends requests through a stack of layers.
pub(crate) struct Stack<S>(pub(crate) S);

impl<S> Client for Stack<S>
where
    S: Service<Request<Body>> + 'static,
{
    fn send(&mut self, shape: Shape) -> impl Future {
        let mut context = Context::from_waker(Waker::noop());
        let is_ready = matches!(self.0.poll_ready(&mut context), Poll::Ready(Ok(())));
        assert!(is_ready, "a service that does nothing is always ready");
        self.0.call(work::request(shape))
    }
}

/// Sends requests without a token to a service that does nothing.
pub(crate) fn no_layer() -> Box<dyn Load> {
    load(Stack(Noop::<std::convert::Infallible>::new()))
}

struct Sender<C>(C);

impl<C: Client> Load for Sender<C> {
    fn send(&mut self, shape: Shape, requests: u32) {
        for _ in 0..requests {
            // Polled without a runtime: with a fresh token, nothing is waited for.
            let mut context = Context::from_waker(Waker::noop());
            let response = pin!(self.0.send(black_box(shape))).poll(&mut context);
            assert!(response.is_ready(), "the token is fresh");
            black_box(&response);
        }
    }
}
