//! An HTTP client that owns no secrets: its responses are constants.

use std::{convert::Infallible, future::ready};

use bytes::Bytes;
use futures_util::stream::{Iter, iter};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use tower::{Service, service_fn};
use tower_oauth2_client::{
    oauth::{OAuthClient, OAuthClientBuilder},
    provider::{ClientAuthentication, Provider, ProviderBuilder},
};

use crate::support::secret;

type Frames = std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>;
type Body = StreamBody<Iter<Frames>>;

/// A response, whose body has these frames.
#[derive(Clone, Copy)]
pub(crate) struct Fixed {
    pub(crate) status: u16,
    pub(crate) frames: &'static [&'static [u8]],
}

impl Fixed {
    fn respond(self) -> Response<Body> {
        let frames = self.frames.iter();
        let frames: Vec<_> = frames
            .map(|frame| Ok(Frame::data(Bytes::from_static(frame))))
            .collect();
        let response = Response::builder().status(self.status);
        response.body(StreamBody::new(iter(frames))).unwrap()
    }
}

/// An HTTP client that always gets this response.
pub(crate) fn always(
    response: Fixed,
) -> impl Service<
    Request<Full<Bytes>>,
    Response = Response<Body>,
    Error = Infallible,
    Future: Send + 'static,
> + Clone
+ Send
+ Sync
+ 'static {
    service_fn(move |_: Request<Full<Bytes>>| ready(Ok::<_, Infallible>(response.respond())))
}

pub(crate) fn builder(
    authentication: ClientAuthentication,
    client_secret: &'static str,
) -> OAuthClientBuilder {
    builder_of(authentication, client_secret, |provider| provider)
}

/// Like [`builder`], with further settings of the provider.
pub(crate) fn builder_of(
    authentication: ClientAuthentication,
    client_secret: &'static str,
    set: impl Fn(ProviderBuilder) -> ProviderBuilder,
) -> OAuthClientBuilder {
    let provider = Provider::builder("https://id.example.com/token")
        .authorization_endpoint("https://id.example.com/authorize")
        .revocation_endpoint("https://id.example.com/revoke")
        .api_origin("https://api.example.com")
        .client_authentication(authentication);
    let provider = set(provider).build().unwrap();
    let builder = OAuthClient::builder(provider, "the-client");
    let builder = builder.redirect_uri("https://partner.example.com/callback");
    match authentication {
        ClientAuthentication::None => builder,
        _ => builder.client_secret(client_secret),
    }
}

pub(crate) fn client(response: Fixed) -> OAuthClient {
    builder(ClientAuthentication::Basic, secret!("c "))
        .build(always(response))
        .unwrap()
}
