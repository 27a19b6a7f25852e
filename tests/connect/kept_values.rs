//! Values that are kept with a grant: from the handler, from the callback and from the response.
//! The HTTP client is a function.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{Request, StatusCode, request::Parts};
use http_body_util::Full;
use tower_oauth2_client::{
    connect::{ConnectFailure, ConnectFailureKind, ConnectHandler, ConnectRouter, Consent},
    oauth::OAuthClient,
    provider::{KeptValue, Provider, ProviderBuilder, ResponseMode, ValueSource},
    store::TokenStore,
    tenants::Tenants,
    token::{ConsentDecision, NamedValues, TenantId},
};

use crate::support::{
    Browser, BrowserResponse, REDIRECT_URI, Replica, keys, parameter, replica, tenant,
};

/// Takes the values from the query of `/start`.
#[derive(Clone, Default)]
struct Handler {
    consents: Arc<Mutex<Vec<Consent>>>,
    failures: Arc<Mutex<Vec<ConnectFailure>>>,
}

impl ConnectHandler for Handler {
    async fn tenant(&self, _: &Parts) -> Result<TenantId, Response> {
        Ok(tenant("acme"))
    }

    async fn connect_values(
        &self,
        request: &Parts,
        tenant: &TenantId,
    ) -> Result<NamedValues, Response> {
        assert_eq!(tenant.as_str(), "acme");
        let query = request.uri.query().unwrap_or_default();
        if query == "ask" {
            return Err((StatusCode::IM_A_TEAPOT, "which shop?").into_response());
        }
        Ok(form_urlencoded::parse(query.as_bytes()).collect())
    }

    async fn consented(&self, consent: &Consent) -> ConsentDecision {
        self.consents.lock().unwrap().push(consent.clone());
        ConsentDecision::Accept
    }

    fn failed(&self, request: &Parts, failure: &ConnectFailure) -> Response {
        self.failures.lock().unwrap().push(failure.clone());
        failure.page(self.texts(request))
    }
}

/// A replica with another provider and another handler.
struct Site {
    replica: Replica,
    handler: Handler,
    /// The URLs that received a token request.
    sent: Arc<Mutex<Vec<String>>>,
    browser: Browser,
}

impl Site {
    fn new(provider: &ProviderBuilder, response: &'static str) -> Self {
        Self::over(replica(), provider, response)
    }

    fn over(mut replica: Replica, provider: &ProviderBuilder, response: &'static str) -> Self {
        let sent = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&sent);
        let http = tower::service_fn(move |request: Request<Full<Bytes>>| {
            log.lock().unwrap().push(request.uri().to_string());
            async move { Ok::<_, Infallible>(http::Response::new(Full::<Bytes>::from(response))) }
        });
        let oauth = OAuthClient::builder(provider.clone().build().unwrap(), "the-client")
            .client_secret("the-secret")
            .redirect_uri(REDIRECT_URI)
            .clock(replica.clock.clone())
            .build(http)
            .unwrap();
        let tenants = Tenants::builder(oauth.clone())
            .store(replica.store.clone())
            .clock(replica.clock.clone())
            .build()
            .unwrap();
        let handler = Handler::default();
        let connect = ConnectRouter::new(oauth, tenants.clone(), keys(), handler.clone()).unwrap();
        replica.app = Router::new().nest("/connect", connect.router());
        replica.tenants = tenants;
        Self {
            replica,
            handler,
            sent,
            browser: Browser::of("acme"),
        }
    }

    async fn start(&mut self, query: &str) -> BrowserResponse {
        let path = format!("/connect/start?{query}");
        self.browser.get(&self.replica, &path).await
    }

    /// Starts, and returns with these parameters beside the code and the state.
    async fn connect(&mut self, query: &str, parameters: &str) -> BrowserResponse {
        let response = self.start(query).await;
        assert_eq!(response.status, StatusCode::SEE_OTHER, "{response:?}");
        let state = parameter(response.location(), "state");
        let callback = format!("/connect/callback?code=c1&state={state}{parameters}");
        self.browser.get(&self.replica, &callback).await
    }

    fn sent(&self) -> Vec<String> {
        self.sent.lock().unwrap().clone()
    }

    fn failures(&self) -> Vec<ConnectFailureKind> {
        let failures = self.handler.failures.lock().unwrap();
        failures.iter().map(ConnectFailure::kind).collect()
    }

    /// The stored values.
    async fn stored(&self) -> Option<Vec<(String, String)>> {
        let grant = self.replica.stored("acme").await?;
        let values = grant.tokens().unwrap().values().iter();
        Some(
            values
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

const TOKENS: &str = r#"{"access_token":"a1","refresh_token":"r1","expires_in":3600,
    "shop":"evil","realmId":"evil","account":{"id":7}}"#;

fn shopify() -> ProviderBuilder {
    let shop = KeptValue::new(ValueSource::Connect).pattern("[a-z0-9][a-z0-9-]*");
    Provider::builder("https://{shop}.myshopify.com/admin/oauth/access_token")
        .authorization_endpoint("https://{shop}.myshopify.com/admin/oauth/authorize")
        .api_origin("https://{shop}.myshopify.com")
        .kept_value("shop", shop)
        .kept_value("note", KeptValue::new(ValueSource::Connect))
        .kept_value(
            "realm_id",
            KeptValue::new(ValueSource::Callback).name("realmId"),
        )
        .kept_value(
            "account",
            KeptValue::new(ValueSource::Response).name("account.id"),
        )
}

#[tokio::test(start_paused = true)]
async fn values_of_all_sources_are_stored_and_seen_by_the_handler() {
    for mode in [ResponseMode::Query, ResponseMode::FormPost] {
        let mut site = Site::new(&shopify().response_mode(mode), TOKENS);
        let response = site
            .connect(
                "shop=acme&note=a%0Ab+%26%00c",
                "&realmId=42&shop=evil&account=evil&note=evil",
            )
            .await;
        assert_eq!(response.status, StatusCode::OK, "{response:?}");
        let all = [
            ("account", "7"),
            ("note", "a\nb &\0c"),
            ("realm_id", "42"),
            ("shop", "acme"),
        ];
        assert_eq!(site.stored().await, Some(owned(&all)));
        let consents = site.handler.consents.lock().unwrap().clone();
        let seen: Vec<_> = consents[0].tokens().values().iter().collect();
        assert_eq!(seen, all);
        let url = "https://acme.myshopify.com/admin/oauth/access_token";
        assert_eq!(site.sent(), [url]);
        let cache = site.replica.tenants.cache(&tenant("acme")).await.unwrap();
        cache.refresh_now().await.unwrap();
        assert_eq!(site.stored().await, Some(owned(&all)));
        assert_eq!(site.sent(), [url, url]);
    }
}

#[tokio::test(start_paused = true)]
async fn p20_wrong_value_of_a_start_is_a_page_for_the_customer() {
    let long = format!("shop=acme&note={}", "x".repeat(1_100));
    for wrong in [
        "",
        "note=x",
        "shop=",
        "shop=evil.example%2F",
        "shop=evil.example%23",
        "shop=acme%0A",
        "shop=acme%EF%BC%8Eevil",
        &long,
    ] {
        let mut site = Site::new(&shopify(), TOKENS);
        let response = site.start(wrong).await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST, "{wrong}");
        assert!(
            response.text.contains("check what you have entered"),
            "{response:?}"
        );
        assert!(!response.text.contains("evil"));
        assert_eq!(site.failures(), [ConnectFailureKind::InvalidValue]);
        assert!(site.browser.jar.is_empty());
        assert!(!response.headers.contains_key("location"));
    }
    // What the program has to correct.
    for wrong in [
        "shop=acme&other=x",
        "shop=acme&shop=acme",
        "realm_id=1&shop=acme",
    ] {
        let mut site = Site::new(&shopify(), TOKENS);
        let response = site.start(wrong).await;
        assert_eq!(
            response.status,
            StatusCode::INTERNAL_SERVER_ERROR,
            "{wrong}"
        );
        assert_eq!(site.failures(), [ConnectFailureKind::Program]);
    }
    let mut site = Site::new(&shopify(), TOKENS);
    let response = site.start("ask").await;
    assert_eq!(response.text, "which shop?");
    assert_eq!(site.failures(), []);
}

/// Four flows in one browser fit into what servers accept as a request.
#[tokio::test(start_paused = true)]
async fn largest_values_fit_into_a_cookie() {
    let mut site = Site::new(&shopify(), TOKENS);
    let long = "x".repeat(1_024 - 12);
    let query = format!("shop=acme&note={long}");
    for _ in 0..6 {
        let response = site.connect(&query, "&realmId=1&realmId=2");
        assert_eq!(response.await.status, StatusCode::BAD_REQUEST);
        site.start(&query).await;
    }
    let jar = &site.browser.jar;
    assert_eq!(jar.len(), 4);
    let largest = jar
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .max();
    assert!(largest.unwrap() < 2_000, "{largest:?}");
    let mut site = Site::new(&shopify(), TOKENS);
    let response = site.connect(&query, "");
    assert_eq!(response.await.status, StatusCode::OK);
    assert_eq!(site.stored().await.unwrap()[1].1, long);
}

fn zoho() -> ProviderBuilder {
    let accounts = KeptValue::new(ValueSource::Callback)
        .name("accounts-server")
        .pattern(r"https://(accounts\.zoho\.(?:com|eu|in|jp|com\.au))");
    Provider::builder("https://{accounts}/oauth/v2/token")
        .authorization_endpoint("https://accounts.zoho.com/oauth/v2/auth")
        .api_origin("https://www.zohoapis.com")
        .kept_value("accounts", accounts)
}

#[tokio::test(start_paused = true)]
async fn p20_forged_callback_is_sent_to_no_server() {
    let good = "&accounts-server=https://accounts.zoho.eu";
    for forged in [
        "",
        "&accounts-server=",
        "&accounts-server=https://evil.example",
        "&accounts-server=https://accounts.zoho.eu@evil.example",
        "&accounts-server=https://accounts.zoho.eu:8443",
        "&accounts-server=https://accounts.zoho.eu/evil",
        "&accounts-server=https://accounts.zoho.eu%0A",
        "&accounts-server=https://accounts%EF%BC%8Ezoho.eu",
        "&accounts-server=https://accounts%252Ezoho.eu",
        &format!("{good}{good}"),
        &format!("{good}&accounts-server=https://evil.example"),
    ] {
        let mut site = Site::new(&zoho(), TOKENS);
        site.connect("", good).await;
        let before = site.stored().await;
        assert_eq!(
            before,
            Some(owned(&[("accounts", "https://accounts.zoho.eu")]))
        );
        let response = site.connect("", forged).await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST, "{forged}");
        assert!(response.text.contains("Please start again"));
        assert!(!response.text.contains("evil"));
        assert_eq!(site.failures(), [ConnectFailureKind::Provider], "{forged}");
        // The earlier grant stays, and the flow has ended.
        assert_eq!(site.stored().await, before);
        assert_eq!(site.sent().len(), 1, "{forged}");
        assert!(site.browser.jar.is_empty());
    }
}

/// A second consent may be of another account, so nothing of the first one stays.
#[tokio::test(start_paused = true)]
async fn p23_new_consent_replaces_all_values() {
    let first = Site::new(&shopify(), TOKENS);
    let replica = first.replica.clone();
    let mut first = first;
    first.connect("shop=acme&note=one", "&realmId=1").await;
    let bare = r#"{"access_token":"a2","refresh_token":"r2","expires_in":3600}"#;
    let mut second = Site::over(replica, &shopify(), bare);
    second.connect("shop=beta", "").await;
    assert_eq!(second.stored().await, Some(owned(&[("shop", "beta")])));
    // Each replica sends what belongs to the grant to the server of its shop.
    tokio::time::sleep(Duration::from_secs(120)).await;
    let cache = second.replica.tenants.cache(&tenant("acme")).await.unwrap();
    cache.refresh_now().await.unwrap();
    let url = "https://beta.myshopify.com/admin/oauth/access_token".to_owned();
    assert_eq!(second.sent(), [url.clone(), url]);
}

/// A browser does not choose what a cookie contains.
#[tokio::test(start_paused = true)]
async fn p11_flow_is_completed_with_its_own_values() {
    let mut site = Site::new(&shopify(), TOKENS);
    let one = site.start("shop=acme").await;
    let other = site.start("shop=beta").await;
    let states = [&one, &other].map(|response| parameter(response.location(), "state"));
    // The cookies change places.
    let names: Vec<_> = site.browser.jar.keys().cloned().collect();
    let values: Vec<_> = site.browser.jar.values().cloned().collect();
    let jar = site.browser.jar.clone();
    site.browser.jar.insert(names[0].clone(), values[1].clone());
    site.browser.jar.insert(names[1].clone(), values[0].clone());
    for state in &states {
        let callback = format!("/connect/callback?code=c1&state={state}");
        let response = site.browser.get(&site.replica, &callback).await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST);
    }
    assert!(site.sent().is_empty());
    site.browser.jar = jar;
    let callback = format!("/connect/callback?code=c1&state={}", states[1]);
    site.browser.get(&site.replica, &callback).await;
    let url = "https://beta.myshopify.com/admin/oauth/access_token".to_owned();
    assert_eq!(site.sent(), [url]);
    assert!(
        site.replica
            .store
            .load(&tenant("acme"))
            .await
            .unwrap()
            .is_some()
    );
}
