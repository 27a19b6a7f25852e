//! The API behind the layer. It accepts the tokens that the provider considers valid.

use std::{convert::Infallible, time::Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::{BodyExt, Empty, Full};
use tower::{Layer, service_fn, util::BoxCloneService};
use tower_oauth2_client::{
    Error,
    bearer::{BearerAuthLayer, ReplayBody, ResponseBody},
    cache::TokenCache,
};

use crate::{
    rules,
    support::API,
    world::{State, World},
};

pub(crate) type Api =
    BoxCloneService<Request<Full<Bytes>>, Response<ResponseBody<Empty<Bytes>>>, Error>;

/// Identifies a request of the test, with its process and when it was sent.
#[derive(Clone, Copy)]
struct Call {
    number: usize,
    process: u32,
    began: Instant,
}

pub(crate) fn api(world: &World, tokens: TokenCache) -> Api {
    let world = world.clone();
    let inner = service_fn(move |request: Request<ReplayBody<Full<Bytes>>>| {
        let world = world.clone();
        async move {
            let status = world.lock().arrived(&request);
            let _ = request.into_body().collect().await;
            let mut response = Response::new(Empty::new());
            *response.status_mut() = status;
            Ok::<_, Infallible>(response)
        }
    });
    BoxCloneService::new(BearerAuthLayer::new(tokens).layer(inner))
}

pub(crate) fn request(state: &mut State) -> (usize, Request<Full<Bytes>>) {
    let number = state.calls.len();
    state.calls.push(Vec::new());
    let call = Call {
        number,
        process: state.process,
        began: state.times.now(),
    };
    let request = Request::post(API)
        .extension(call)
        .body(Full::from("body"))
        .unwrap();
    (number, request)
}

impl State {
    fn arrived<B>(&mut self, request: &Request<B>) -> StatusCode {
        let call: Call = *request.extensions().get().unwrap();
        let Some(header) = request.headers().get(AUTHORIZATION) else {
            self.violated("P17: a request without a token");
            return StatusCode::UNAUTHORIZED;
        };
        let header = header.to_str().unwrap();
        let number = rules::request_sent(self, call.process, call.began, header);
        let is_good = self.is_good(number);
        if !is_good {
            self.sets[number].rejected_at = Some(self.times.now());
        }
        self.tried(call.number, number, is_good);
        if is_good {
            StatusCode::OK
        } else {
            StatusCode::UNAUTHORIZED
        }
    }

    fn tried(&mut self, call: usize, number: usize, is_good: bool) {
        let rank = |number: usize| (self.sets[number].family, number);
        let what = match self.calls[call].as_slice() {
            [] => None,
            [(_, true)] => Some("after it was accepted"),
            // The same token, if the cache counts it as new: that depends on clocks that are wrong.
            [(first, false)] if rank(*first) <= rank(number) => None,
            [(_, false)] => Some("with an older token"),
            _ => Some("a third time"),
        };
        if let Some(what) = what {
            self.violated(format!("P7: a request is sent again {what}"));
        }
        self.calls[call].push((number, is_good));
    }
}
