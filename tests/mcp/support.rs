//! An MCP server, its authorization server, and a user.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    error::Error as StdError,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, ServiceExt};
use tower_oauth2_client::{
    Error,
    clock::Clock,
    mcp::{McpAuth, McpAuthBuilder, McpService},
};

pub(crate) type Body = Full<Bytes>;

pub(crate) const ENDPOINT: &str = "https://mcp.example.com/mcp";
pub(crate) const ISSUER: &str = "https://id.example.com";
pub(crate) const REDIRECT_URI: &str = "http://127.0.0.1:8765/callback";

/// All servers, as one HTTP client reaches them. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct World(Arc<Mutex<State>>);

#[derive(Default)]
pub(crate) struct State {
    /// Every request, in the order of arrival.
    pub(crate) requests: Vec<Sent>,
    /// Responses to `GET`, instead of the usual ones.
    pub(crate) documents: BTreeMap<String, (u16, Vec<u8>)>,
    pub(crate) metadata: Value,
    pub(crate) resource: Value,
    /// The access tokens that are accepted, with their scopes.
    tokens: BTreeMap<String, String>,
    refresh_tokens: BTreeMap<String, String>,
    codes: BTreeMap<String, String>,
    issued: u32,
    /// The scopes that the MCP server needs.
    pub(crate) needs: String,
    /// A scope that the authorization server leaves out.
    pub(crate) never_grants: Option<String>,
    /// Whether the MCP server needs another scope with each request.
    pub(crate) is_insatiable: bool,
    pub(crate) issues_refresh_tokens: bool,
    /// Client ids that the authorization server has forgotten.
    pub(crate) forgotten: Vec<String>,
    pub(crate) asked: Vec<String>,
    pub(crate) user: Consents,
    /// How long a token request takes.
    pub(crate) token_latency: Duration,
    /// How long each request takes.
    pub(crate) latency: Duration,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Consents {
    #[default]
    Allows,
    Denies,
    NeverReturns,
    Panics,
    NamesAnotherIssuer,
    ForgesTheState,
}

#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) method: Method,
    pub(crate) uri: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Sent {
    pub(crate) fn is_to(&self, path: &str) -> bool {
        self.uri.ends_with(path)
    }

    pub(crate) fn form(&self, name: &str) -> Option<String> {
        form_urlencoded::parse(self.body.as_bytes())
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.into_owned())
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let world = Self::default();
        {
            let mut state = world.state();
            state.metadata = json!({
                "issuer": ISSUER,
                "authorization_endpoint": format!("{ISSUER}/authorize"),
                "token_endpoint": format!("{ISSUER}/token"),
                "registration_endpoint": format!("{ISSUER}/register"),
                "token_endpoint_auth_methods_supported": ["client_secret_basic"],
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": true,
            });
            state.resource = json!({ "resource": ENDPOINT, "authorization_servers": [ISSUER] });
            state.issues_refresh_tokens = true;
            state.needs = "read".into();
            state.latency = Duration::from_millis(10);
        }
        world
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// A client with the user of this world, which registers itself.
    pub(crate) fn builder(&self) -> McpAuthBuilder {
        self.builder_with(REDIRECT_URI)
    }

    pub(crate) fn builder_with(&self, redirect_uri: &str) -> McpAuthBuilder {
        let world = self.clone();
        let builder = McpAuth::builder(ENDPOINT, self.clone()).clock(VirtualClock);
        builder.authorize(redirect_uri, move |url| {
            let world = world.clone();
            async move { world.consent(url).await }
        })
    }

    pub(crate) fn auth(&self) -> McpAuth {
        self.builder().build().unwrap()
    }

    pub(crate) async fn consent(
        &self,
        url: String,
    ) -> Result<String, Box<dyn StdError + Send + Sync>> {
        sleep(Duration::from_secs(10)).await;
        let user = {
            let mut state = self.state();
            state.asked.push(url.clone());
            state.user
        };
        let parameter = |name: &str| query(&url, name).unwrap_or_default();
        assert_eq!(parameter("code_challenge_method"), "S256");
        assert_eq!(parameter("resource"), ENDPOINT);
        let redirect_uri = parameter("redirect_uri");
        let (mut issuer, mut state) = (ISSUER, parameter("state"));
        match user {
            Consents::Allows => {}
            Consents::Denies => {
                return Ok(format!(
                    "/callback?error=access_denied&state={state}&iss={ISSUER}"
                ));
            }
            Consents::NeverReturns => std::future::pending().await,
            Consents::Panics => panic!("the program panics"),
            Consents::NamesAnotherIssuer => issuer = "https://evil.example",
            Consents::ForgesTheState => state = "forged".into(),
        }
        let code = {
            let mut world = self.state();
            world.issued += 1;
            let code = format!("code-{}", world.issued);
            world.codes.insert(code.clone(), parameter("scope"));
            code
        };
        Ok(format!(
            "{redirect_uri}?code={code}&state={state}&iss={issuer}"
        ))
    }

    /// How many requests were sent to a URL that ends in this way.
    pub(crate) fn count(&self, path: &str) -> usize {
        let state = self.state();
        state
            .requests
            .iter()
            .filter(|sent| sent.is_to(path))
            .count()
    }

    pub(crate) fn asked(&self) -> usize {
        self.state().asked.len()
    }

    /// Messages to the MCP server.
    pub(crate) fn messages(&self) -> usize {
        let state = self.state();
        let requests = state.requests.iter();
        requests
            .filter(|sent| sent.method == Method::POST && sent.uri == ENDPOINT)
            .count()
    }

    /// Requests to the MCP server without a token.
    pub(crate) fn probes(&self) -> usize {
        let state = self.state();
        let requests = state.requests.iter();
        requests
            .filter(|sent| sent.is_to("/mcp") && sent.method == Method::POST)
            .filter(|sent| !sent.headers.contains_key(header::AUTHORIZATION))
            .count()
    }

    /// The MCP server no longer accepts any access token.
    pub(crate) fn revoke_access_tokens(&self) {
        self.state().tokens.clear();
    }

    /// Ends all grants.
    pub(crate) fn revoke_grants(&self) {
        let mut state = self.state();
        state.tokens.clear();
        state.refresh_tokens.clear();
    }

    fn respond(&self, sent: &Sent) -> Response<Body> {
        let mut state = self.state();
        state.requests.push(sent.clone());
        if let Some((status, body)) = state.documents.get(&sent.uri) {
            let body = Full::from(body.clone());
            let response = Response::builder().status(*status);
            return response.header("location", ENDPOINT).body(body).unwrap();
        }
        match (sent.method.as_str(), &*sent.uri) {
            ("GET", "https://mcp.example.com/.well-known/oauth-protected-resource/mcp") => {
                json_response(200, &state.resource)
            }
            ("GET", "https://id.example.com/.well-known/oauth-authorization-server") => {
                json_response(200, &state.metadata)
            }
            ("POST", "https://id.example.com/register") => state.register(),
            ("POST", "https://id.example.com/token") => state.token(sent),
            ("POST", "https://id.example.com/revoke") => state.revoke(sent),
            ("POST", ENDPOINT) => state.message(sent),
            _ => json_response(404, &json!({})),
        }
    }
}

impl State {
    fn register(&mut self) -> Response<Body> {
        self.issued += 1;
        let id = format!("client-{}", self.issued);
        let secret = format!("seeded-secret-{}", self.issued);
        json_response(201, &json!({ "client_id": id, "client_secret": secret }))
    }

    fn token(&mut self, sent: &Sent) -> Response<Body> {
        let refused = |status, code: &str| json_response(status, &json!({ "error": code }));
        let client = sent.headers.get(header::AUTHORIZATION);
        let client = client.and_then(|value| value.to_str().ok()?.strip_prefix("Basic "));
        let client = client.and_then(|value| BASE64_STANDARD.decode(value).ok());
        let client = client.and_then(|value| String::from_utf8(value).ok());
        let client = client.unwrap_or_default();
        let (id, _) = client.split_once(':').unwrap_or_default();
        let assertion = sent.form("client_assertion").and(sent.form("client_id"));
        let id = assertion.as_deref().unwrap_or(id);
        if id.is_empty() || self.forgotten.iter().any(|forgotten| forgotten == id) {
            return refused(401, "invalid_client");
        }
        assert_eq!(sent.form("resource").as_deref(), Some(ENDPOINT));
        let scope = match sent.form("grant_type").as_deref() {
            Some("authorization_code") => {
                assert!(sent.form("code_verifier").is_some());
                self.codes.remove(&sent.form("code").unwrap_or_default())
            }
            Some("refresh_token") => self
                .refresh_tokens
                .remove(&sent.form("refresh_token").unwrap_or_default()),
            Some("client_credentials") => Some(sent.form("scope").unwrap_or_default()),
            _ => None,
        };
        let Some(scope) = scope else {
            return refused(400, "invalid_grant");
        };
        let granted = |scope: &&str| self.never_grants.as_deref() != Some(*scope);
        let granted: Vec<&str> = scope.split(' ').filter(granted).collect();
        let scope = granted.join(" ");
        self.issued += 1;
        let number = self.issued;
        let access = format!("seeded-access-{number}");
        self.tokens.insert(access.clone(), scope.clone());
        let mut response = json!({
            "access_token": access, "token_type": "Bearer", "expires_in": 3600,
        });
        if self.issues_refresh_tokens {
            let refresh = format!("seeded-refresh-{number}");
            self.refresh_tokens.insert(refresh.clone(), scope);
            response["refresh_token"] = refresh.into();
        }
        json_response(200, &response)
    }

    fn revoke(&mut self, sent: &Sent) -> Response<Body> {
        let token = sent.form("token").unwrap_or_default();
        self.tokens.remove(&token);
        self.refresh_tokens.remove(&token);
        Response::new(Body::default())
    }

    fn message(&mut self, sent: &Sent) -> Response<Body> {
        let challenge = |status, cause: &str| {
            let metadata = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp";
            let challenge = format!("Bearer resource_metadata=\"{metadata}\"{cause}");
            let mut response = json_response(status, &json!({}));
            let headers = response.headers_mut();
            headers.insert(header::WWW_AUTHENTICATE, challenge.parse().unwrap());
            response
        };
        let token = sent.headers.get(header::AUTHORIZATION);
        let token = token.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let Some(scopes) = token.and_then(|token| self.tokens.get(token)).cloned() else {
            return challenge(401, ", scope=\"read\"");
        };
        if self.is_insatiable {
            self.issued += 1;
            self.needs = format!("more-{}", self.issued);
        }
        let has = |scope: &str| scopes.split(' ').any(|found| found == scope);
        if self.needs.split(' ').all(has) {
            return json_response(200, &json!({ "body": sent.body }));
        }
        let needs = &self.needs;
        challenge(
            403,
            &format!(", error=\"insufficient_scope\", scope=\"{needs}\""),
        )
    }
}

/// Both times follow tokio's, also across a restart.
#[derive(Debug)]
pub(crate) struct VirtualClock;

impl Clock for VirtualClock {
    fn monotonic(&self) -> std::time::Instant {
        Instant::now().into_std()
    }

    fn wall(&self) -> SystemTime {
        static START: OnceLock<(std::time::Instant, SystemTime)> = OnceLock::new();
        let now = self.monotonic();
        let (start, wall) = START.get_or_init(|| (now, SystemTime::UNIX_EPOCH));
        // Each test has a paused clock of its own, and all of them begin at about the same time.
        *wall + Duration::from_secs(1_000_000) + now.saturating_duration_since(*start)
    }
}

pub(crate) fn json_response(status: u16, json: &Value) -> Response<Body> {
    let response = Response::builder().status(status);
    response.body(Full::from(json.to_string())).unwrap()
}

pub(crate) fn query(url: &str, name: &str) -> Option<String> {
    let (_, query) = url.split_once('?')?;
    form_urlencoded::parse(query.as_bytes())
        .find(|(found, _)| found == name)
        .map(|(_, value)| value.into_owned())
}

impl Service<Request<Body>> for World {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let world = self.clone();
        Box::pin(async move {
            let latency = world.state().latency;
            sleep(latency).await;
            if request.uri().path() == "/token" {
                let latency = world.state().token_latency;
                sleep(latency).await;
            }
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(world.respond(&Sent {
                method: head.method,
                uri: head.uri.to_string(),
                headers: head.headers,
                body: String::from_utf8(body.to_vec()).unwrap(),
            }))
        })
    }
}

/// Sends one message, and returns the status.
pub(crate) async fn send(mcp: McpService<World>, body: &str) -> Result<StatusCode, Error> {
    let request = Request::post(ENDPOINT)
        .body(Full::from(body.to_owned()))
        .unwrap();
    let response = mcp.oneshot(request).await?;
    let status = response.status();
    let returned = response.into_body().collect().await?.to_bytes();
    if status == 200 {
        let returned: Value = serde_json::from_slice(&returned).unwrap();
        assert_eq!(returned["body"], body, "P8");
    }
    Ok(status)
}

/// Sends one message through an authorization of its own.
pub(crate) async fn send_by(auth: &McpAuth, world: &World) -> Result<StatusCode, Error> {
    send(auth.layer(world.clone()), "message").await
}
