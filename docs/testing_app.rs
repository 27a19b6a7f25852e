use std::time::Duration;

use http::{Request, StatusCode};
use tower::{Layer, ServiceExt};
use tower_oauth2_client::{
    Error, bearer::BearerAuthLayer, cache::TokenCache, oauth::OAuthClient, provider,
    sandbox::Sandbox,
};

type Body = http_body_util::Full<bytes::Bytes>;

/// Stands for the program under test, with the tokens of one customer.
struct App {
    sandbox: Sandbox,
    oauth: OAuthClient,
    tokens: TokenCache,
}

impl App {
    fn new(sandbox: &Sandbox) -> Result<Self, Error> {
        let provider = provider::justworks().on_origin(&sandbox.url())?;
        let oauth = OAuthClient::builder(provider, sandbox.client_id())
            .client_secret(sandbox.client_secret())
            .redirect_uri(sandbox.redirect_uri())
            .clock(sandbox.clock())
            .build::<_, Body, _>(sandbox.service())?;
        let tokens = TokenCache::builder(oauth.clone()).clock(sandbox.clock()).build()?;
        Ok(Self { sandbox: sandbox.clone(), oauth, tokens })
    }

    async fn connect(&self) -> Result<(), Error> {
        self.tokens.set_tokens(self.sandbox.connect(&self.oauth).await?).await
    }

    /// Calls the API on behalf of the customer.
    async fn company(&self) -> Result<StatusCode, Error> {
        let api = BearerAuthLayer::<Body>::new(self.tokens.clone()).layer(self.sandbox.service());
        let url = format!("{}/v1/company", self.sandbox.url());
        let request = Request::get(url).body(Body::default()).expect("a valid URL");
        Ok(api.oneshot(request).await?.status())
    }
}

const HOUR: Duration = Duration::from_secs(3_600);
