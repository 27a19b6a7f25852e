//! A token endpoint for code exchanges that delays its responses until a test releases them.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::sync::Semaphore;
use tower_oauth2_client::{
    clock::Clock,
    oauth::{OAuthClient, PendingAuthorization},
    provider,
};

#[derive(Clone)]
pub(crate) struct CodeExchange {
    pub(crate) oauth: OAuthClient,
    requests: Arc<AtomicUsize>,
    responses: Arc<Semaphore>,
}

const TOKENS: &str =
    r#"{"access_token":"first","token_type":"Bearer","refresh_token":"r1","expires_in":86400}"#;
const REFUSED: &str = r#"{"error":"invalid_grant"}"#;

impl CodeExchange {
    /// Accepts the code `c1` only.
    pub(crate) fn new(clock: impl Clock) -> Self {
        let requests = Arc::new(AtomicUsize::new(0));
        let responses = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let http = tower::service_fn({
            let (requests, responses) = (Arc::clone(&requests), Arc::clone(&responses));
            move |request: Request<Full<Bytes>>| {
                let (requests, responses) = (Arc::clone(&requests), Arc::clone(&responses));
                async move {
                    requests.fetch_add(1, Ordering::SeqCst);
                    let form = request.into_body().collect().await.unwrap().to_bytes();
                    let is_known = form_urlencoded::parse(&form)
                        .any(|field| field.0 == "code" && field.1 == "c1");
                    let (status, body) = if is_known {
                        (200, TOKENS)
                    } else {
                        (400, REFUSED)
                    };
                    let _permit = responses.acquire().await.unwrap();
                    let response = Response::builder().status(status);
                    Ok::<_, Infallible>(response.body(Full::<Bytes>::from(body)).unwrap())
                }
            }
        });
        let oauth = OAuthClient::builder(provider::justworks(), "the-client")
            .client_secret("the-secret")
            .redirect_uri("https://partner.example.com/callback")
            .clock(clock)
            .build(http)
            .unwrap();
        Self {
            oauth,
            requests,
            responses,
        }
    }

    pub(crate) fn hold_responses(&self) {
        self.responses.forget_permits(usize::MAX);
    }

    pub(crate) fn release_responses(&self) {
        self.responses.add_permits(1_000);
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// An authorization, and the URL that the browser comes back with.
    pub(crate) fn consent(&self, parameters: &str) -> (PendingAuthorization, String) {
        let (_, pending) = self.oauth.authorization_url().unwrap();
        let state = pending.state();
        let callback = format!("https://partner.example.com/callback?{parameters}&state={state}");
        (pending, callback)
    }
}
