//! A reverse proxy that adds the token to each request, so that its callers need no token.
//!
//! By itself it makes one request through itself to the sandbox, and exits. With the environment
//! variables of `hyper_client` it serves `127.0.0.1:3000` in front of the real service.
//!
//! ```sh
//! cargo run --example axum_proxy --features sandbox,axum
//! ```

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use http::{HeaderMap, Uri, header};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
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
    let proxy = Router::new().fallback(forward).with_state(upstream);

    if settings.own_sandbox().is_none() {
        let listener = TcpListener::bind("127.0.0.1:3000").await?;
        println!(
            "forwards to {}; listens on http://{}",
            tokens.origins()[0],
            listener.local_addr()?
        );
        let interrupted = async { signal::ctrl_c().await.unwrap_or_default() };
        let server = axum::serve(listener, proxy).with_graceful_shutdown(interrupted);
        server.await?;
        // A refresh in flight ends first: its response contains the next refresh token.
        return Ok(tokens.shutdown(Duration::from_secs(90)).await?);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/v1/company", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, proxy).await });
    let response = reqwest::get(url).await?;
    println!("{}", response.status());
    println!("{}", response.text().await?);
    Ok(tokens.shutdown(Duration::from_secs(90)).await?)
}
