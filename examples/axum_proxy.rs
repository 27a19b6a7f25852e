//! A reverse proxy that adds the token to each request, so that its callers need no token.
//!
//! By itself it makes one request through itself to the sandbox, and exits. With the environment
//! variables of `hyper_client` it serves `127.0.0.1:3000` in front of the real service. It forwards
//! the requests of programs on this machine, and none of web pages.
//!
//! ```sh
//! cargo run --example axum_proxy --features sandbox,axum
//! ```

use std::{net::SocketAddr, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, Uri, header};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use own_host::{OTHER_HOST, OwnHosts, is_same_origin};
use settings::Settings;
use tokio::{net::TcpListener, signal};
use tower::{ServiceExt, util::BoxCloneSyncService};
use tower_oauth2_client::{
    Error, Origin,
    bearer::{BearerAuthLayer, ReplayBody},
    cache::TokenCache,
    oauth::OAuthClient,
    store::FileStore,
};

mod own_host;
mod settings;

type Api = BoxCloneSyncService<Request, Response, Error>;

#[derive(Clone)]
struct Upstream {
    origin: Origin,
    api: Api,
}

/// The whole proxy. With the feature `axum` an [`Error`] is a response: without a token, a 502 or
/// 503.
async fn forward(
    State(upstream): State<Upstream>,
    mut request: Request,
) -> Result<Response, Error> {
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    // The default URI is relative, so the layer rejects the request.
    let uri: Uri = format!("{}{path}", upstream.origin)
        .parse()
        .unwrap_or_default();
    *request.uri_mut() = uri;
    remove_hop_by_hop(request.headers_mut());
    let mut response = upstream.api.oneshot(request).await?;
    remove_hop_by_hop(response.headers_mut());
    Ok(response)
}

/// Removes the headers that concern one connection only (RFC 9110, section 7.6.1), and `Host`.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<_> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse::<http::HeaderName>().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [
        header::CONNECTION,
        header::HOST,
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ] {
        headers.remove(name);
    }
}

/// The proxy for a listener on loopback.
///
/// Its callers need no token, so it forwards only requests that no web page can send.
fn router(upstream: Upstream, address: SocketAddr) -> Router {
    let hosts = OwnHosts::of_listener(address);
    let only_own = from_fn(move |request: Request, next: Next| {
        let refused = if !hosts.are_in(&request) {
            Some((StatusCode::MISDIRECTED_REQUEST, OTHER_HOST))
        } else if !is_same_origin(&request) {
            Some((StatusCode::FORBIDDEN, OTHER_ORIGIN))
        } else {
            None
        };
        async move {
            match refused {
                Some(refused) => refused.into_response(),
                None => next.run(request).await,
            }
        }
    });
    Router::new()
        .fallback(forward)
        .with_state(upstream)
        .layer(only_own)
}

const OTHER_ORIGIN: &str = "A web page sent this request. The proxy serves programs only.\n";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings = Settings::from_environment().await?;
    let https = HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_http1()
        .build();
    let http = Client::builder(TokioExecutor::new()).build::<_, ReplayBody<Body>>(https);
    let oauth = OAuthClient::builder(settings.provider.clone(), &settings.client_id)
        .client_secret(&settings.client_secret)
        .redirect_uri(&settings.redirect_uri)
        .build(http.clone())?;
    let tokens = TokenCache::builder(oauth.clone())
        .store(FileStore::open(&settings.grants)?)
        .build()?;
    settings.connect(&oauth, &tokens).await?;

    let api = tower::ServiceBuilder::new()
        .map_response(|response: Response<_>| response.map(Body::new))
        .layer(BearerAuthLayer::new(tokens.clone()))
        .service(http);
    let upstream = Upstream {
        origin: tokens.origins()[0].clone(),
        api: BoxCloneSyncService::new(api),
    };
    if settings.own_sandbox().is_none() {
        let listener = TcpListener::bind("127.0.0.1:3000").await?;
        println!(
            "forwards to {}; listens on http://{}",
            tokens.origins()[0],
            listener.local_addr()?
        );
        let proxy = router(upstream, listener.local_addr()?);
        let interrupted = async { signal::ctrl_c().await.unwrap_or_default() };
        let server = axum::serve(listener, proxy).with_graceful_shutdown(interrupted);
        server.await?;
        // A refresh in flight ends first: its response contains the next refresh token.
        return Ok(tokens.shutdown(Duration::from_secs(90)).await?);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/v1/company", listener.local_addr()?);
    let proxy = router(upstream, listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, proxy).await });
    let response = reqwest::get(url).await?;
    println!("{}", response.status());
    println!("{}", response.text().await?);
    Ok(tokens.shutdown(Duration::from_secs(90)).await?)
}

#[cfg(test)]
mod tests {
    use tower::service_fn;

    use super::*;

    /// The status of a request with these headers, through a proxy to a service that returns 200.
    async fn status(headers: &[(&'static str, &str)]) -> StatusCode {
        let api = service_fn(async |_: Request| Ok::<_, Error>(Response::default()));
        let upstream = Upstream {
            origin: "https://api.example".parse().unwrap(),
            api: BoxCloneSyncService::new(api),
        };
        let proxy = router(upstream, "127.0.0.1:3000".parse().unwrap());
        let mut request = Request::get("/v1/company");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        proxy.oneshot(request).await.unwrap().status()
    }

    #[tokio::test]
    async fn p20_page_cannot_use_the_token_of_the_proxy() {
        let own = ("host", "localhost:3000");
        assert_eq!(status(&[own]).await, StatusCode::OK);
        let misdirected = StatusCode::MISDIRECTED_REQUEST;
        assert_eq!(
            status(&[("host", "rebound.example:3000")]).await,
            misdirected
        );
        assert_eq!(status(&[("host", "localhost")]).await, misdirected);
        assert_eq!(status(&[]).await, misdirected);
        for header in [
            ("origin", "https://evil.example"),
            ("origin", "http://localhost:8080"),
            ("sec-fetch-site", "cross-site"),
        ] {
            assert_eq!(
                status(&[own, header]).await,
                StatusCode::FORBIDDEN,
                "{header:?}"
            );
        }
    }
}
