//! A redirect to another origin never carries the token, on whichever side of the layer it is
//! followed.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_oauth2_client::{
    ErrorKind,
    bearer::{BearerAuthLayer, CrossOrigin, ReplayBody},
};

use crate::support::{API, ManualClock, Source};

type Body = Full<Bytes>;
type Seen = Arc<Mutex<Vec<(String, bool)>>>;

/// Redirects `/from` to `to`, and records for each request whether it carried a token.
fn server(
    to: &str,
) -> (
    impl Service<Request<ReplayBody<Body>>, Response = Response<Body>, Error = Infallible, Future: Send>
    + Clone,
    Seen,
) {
    let seen = Seen::default();
    let (notes, to) = (seen.clone(), to.to_owned());
    let service = tower::service_fn(move |request: Request<ReplayBody<Body>>| {
        let has_token = request.headers().contains_key(header::AUTHORIZATION);
        notes
            .lock()
            .unwrap()
            .push((request.uri().to_string(), has_token));
        let mut response = Response::new(Body::default());
        if request.uri().path() == "/from" {
            *response.status_mut() = StatusCode::FOUND;
            response
                .headers_mut()
                .insert(header::LOCATION, to.parse().unwrap());
        }
        async { Ok(response) }
    });
    (service, seen)
}

fn request() -> Request<Body> {
    Request::get(format!("{API}/from"))
        .body(Body::default())
        .unwrap()
}

fn layer() -> BearerAuthLayer<ReplayBody<Body>> {
    BearerAuthLayer::new(Source::new(&ManualClock::new()).cache().build().unwrap())
}

const ELSEWHERE: [&str; 5] = [
    "https://evil.example/to",
    "http://api.example.com/to",
    "https://api.example.com:8443/to",
    "https://api.example.com.evil.example/to",
    "//evil.example/to",
];

#[tokio::test(start_paused = true)]
async fn p20_redirect_followed_outside_the_layer_fails() {
    for to in ELSEWHERE {
        let (server, seen) = server(to);
        let stack = ServiceBuilder::new()
            .layer(FollowRedirectLayer::new())
            .layer(layer())
            .service(server);
        let error = stack.oneshot(request()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Request, "{to}");
        assert_eq!(
            seen.lock().unwrap().len(),
            1,
            "{to}: nothing was sent there"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn p20_redirect_followed_outside_the_layer_carries_no_token_if_permitted() {
    for to in ELSEWHERE {
        let (server, seen) = server(to);
        let layer = layer().cross_origin(CrossOrigin::SendUnauthenticated);
        let stack = ServiceBuilder::new()
            .layer(FollowRedirectLayer::new())
            .layer(layer)
            .service(server);
        assert_eq!(stack.oneshot(request()).await.unwrap().status(), 200);
        let tokens: Vec<_> = seen
            .lock()
            .unwrap()
            .iter()
            .map(|(_, has_token)| *has_token)
            .collect();
        assert_eq!(tokens, [true, false], "{to}");
    }
}

#[tokio::test(start_paused = true)]
async fn p20_redirect_followed_inside_the_layer_loses_the_token() {
    for to in ELSEWHERE {
        let (server, seen) = server(to);
        let stack = ServiceBuilder::new()
            .layer(layer())
            .layer(FollowRedirectLayer::new())
            .service(server);
        assert_eq!(stack.oneshot(request()).await.unwrap().status(), 200);
        let tokens: Vec<_> = seen
            .lock()
            .unwrap()
            .iter()
            .map(|(_, has_token)| *has_token)
            .collect();
        assert_eq!(tokens, [true, false], "{to}");
    }
}

#[tokio::test(start_paused = true)]
async fn p20_redirect_within_the_origin_keeps_the_token() {
    for outside in [true, false] {
        let (server, seen) = server("/to");
        let status = if outside {
            let stack = ServiceBuilder::new()
                .layer(FollowRedirectLayer::new())
                .layer(layer());
            stack
                .service(server)
                .oneshot(request())
                .await
                .unwrap()
                .status()
        } else {
            let stack = ServiceBuilder::new()
                .layer(layer())
                .layer(FollowRedirectLayer::new());
            stack
                .service(server)
                .oneshot(request())
                .await
                .unwrap()
                .status()
        };
        assert_eq!(status, 200);
        let came = [(format!("{API}/from"), true), (format!("{API}/to"), true)];
        assert_eq!(*seen.lock().unwrap(), came);
    }
}

#[tokio::test(start_paused = true)]
async fn p20_authorization_of_the_caller_goes_to_another_origin_unchanged() {
    let (server, _) = server("/to");
    let checking = server.map_request(|request: Request<ReplayBody<Body>>| {
        assert_eq!(request.headers()[header::AUTHORIZATION], "Basic own");
        request
    });
    let stack = ServiceBuilder::new()
        .layer(layer().cross_origin(CrossOrigin::SendUnauthenticated))
        .service(checking);
    let request = Request::get("https://other.example/")
        .header(header::AUTHORIZATION, "Basic own")
        .body(Body::default())
        .unwrap();
    assert_eq!(stack.oneshot(request).await.unwrap().status(), 200);
}
