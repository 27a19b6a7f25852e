//! `HttpAuthorizer` of huskarl, with a cache of tokens of client credentials. It has no layer: its
//! guide says to get the headers, send the request with them, and pass each response's headers
//! back, which says whether the token is to be replaced. The guide leaves the retry to the
//! application.

use std::{convert::Infallible, future::Future, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri};
use huskarl::{
    authorizer::HttpAuthorizer,
    cache::{GrantTokenSource, InMemoryRefreshTokenStore, InMemoryTokenCache},
    core::{
        Error,
        client_auth::NoAuth,
        http::{HttpClient, HttpResponse, Idempotency},
        platform::MaybeSendBoxFuture,
    },
    grant::client_credentials::{ClientCredentialsGrant, ClientCredentialsGrantParameters},
};
use tokio::runtime::Runtime;
use tower::Service;

use super::peer::{Failure, Peer, Side};
use crate::{
    load::{Client, load},
    work::{self, LIFETIME, Noop, Shape, TOKEN, URL},
};

pub(super) const AUTHORIZER: Peer = Peer {
    package: "huskarl",
    part: "`HttpAuthorizer`",
    variant: None,
    retry: "no",
    side: Side::Theirs,
    warm: |runtime| {
        Ok(load(Authorized {
            authorizer: Arc::new(authorizer(runtime)?),
            http: Noop::new(),
        }))
    },
    bare: None,
};

fn authorizer(runtime: &Runtime) -> Result<HttpAuthorizer, Failure> {
    let grant = ClientCredentialsGrant::builder()
        .client_id("client")
        .client_auth(NoAuth)
        .token_endpoint("https://id.example.com/token".parse()?)
        .http_client(Endpoint)
        .build();
    let source = GrantTokenSource::builder()
        .grant(grant)
        .grant_parameters(ClientCredentialsGrantParameters::builder().build())
        .refresh_store(InMemoryRefreshTokenStore::default())
        .build();
    let cache = InMemoryTokenCache::builder().source(source).build();
    let authorizer = HttpAuthorizer::builder().cache(cache).build();
    let (get, uri) = (http::Method::GET, Uri::from_static(URL));
    runtime.block_on(authorizer.get_headers(&get, &uri))?;
    Ok(authorizer)
}

/// The token endpoint, which responds at once.
struct Endpoint;

impl HttpClient for Endpoint {
    fn execute(
        &self,
        _: Request<Bytes>,
        _: Idempotency,
    ) -> MaybeSendBoxFuture<'_, Result<HttpResponse, Error>> {
        let token = serde_json::json!({
            "access_token": TOKEN.as_str(),
            "token_type": "Bearer",
            "expires_in": LIFETIME.as_secs(),
        });
        let response = HttpResponse {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: token.to_string().into(),
        };
        Box::pin(async { Ok(response) })
    }
}

struct Authorized {
    authorizer: Arc<HttpAuthorizer>,
    http: Noop<Infallible>,
}

impl Client for Authorized {
    fn send(&mut self, shape: Shape) -> impl Future {
        async move {
            let mut request = work::request(shape);
            let uri = request.uri().clone();
            let headers = self.authorizer.get_headers(request.method(), &uri).await;
            request
                .headers_mut()
                .extend(headers.expect("the token is fresh"));
            let response = self.http.call(request).await;
            if let Ok(response) = &response {
                self.authorizer.process_response(&uri, response.headers());
            }
            response
        }
    }
}
