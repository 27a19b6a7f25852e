//! An MCP server whose authorization server is the sandbox, and the identity provider of a company
//! that the sandbox trusts.

use std::{
    convert::Infallible,
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use hmac_sha256::HMAC;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::{Layer, Service, ServiceExt};
use tower_oauth2_client::{
    Error,
    mcp::{McpAuth, McpAuthBuilder, PreRegistered},
    oauth::OAuthClient,
    provider::{KeptValue, Provider, ValueSource},
    sandbox::{MetadataDocuments, Sandbox, SandboxBuilder, TrustedIssuer},
};

use crate::support::{Body, Sent, VirtualClock, json_response};

pub(crate) const ENDPOINT: &str = "http://127.0.0.1:1/mcp";
pub(crate) const REDIRECT_URI: &str = "http://127.0.0.1:8765/callback";
pub(crate) const ID_TOKEN_LIFETIME: u64 = 1_800;

const IDENTITY_PROVIDER: &str = "https://login.example.com";
const SECRET: &str = "a key that the sandbox knows";

/// All servers, as one HTTP client reaches them. Clones share them.
#[derive(Clone)]
pub(crate) struct Company {
    pub(crate) sandbox: Arc<Sandbox>,
    state: Arc<Mutex<State>>,
}

pub(crate) struct State {
    /// Every request, in the order of arrival.
    pub(crate) requests: Vec<Sent>,
    /// The authorization server that the MCP server names.
    pub(crate) issuer: String,
    /// Members of the identity provider's response, instead of the usual ones.
    pub(crate) response: Value,
    /// Claims of the ID-JAG, instead of the usual ones.
    pub(crate) claims: Value,
    /// The status and the code of each response of the identity provider.
    pub(crate) refuses: Option<(u16, &'static str)>,
    pub(crate) user: User,
    /// How often the program was asked for an ID token.
    pub(crate) asked: u64,
}

/// The user, as the program knows it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    /// It has a new ID token.
    SignedIn,
    /// Its ID token expired at this time.
    SignedInUntil(u64),
    SignedOut,
    /// The source of the ID tokens never returns.
    Unknown,
    /// It has an empty ID token.
    Nameless,
}

impl State {
    /// Everything works as usual again.
    pub(crate) fn restore(&mut self) {
        (self.refuses, self.user) = (None, User::SignedIn);
        (self.response, self.claims) = (json!({}), json!({}));
    }
}

impl Company {
    pub(crate) fn new(change: impl FnOnce(SandboxBuilder) -> SandboxBuilder) -> Self {
        let sandbox = Sandbox::builder()
            .redirect_uri(REDIRECT_URI)
            .clock_starts_at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000))
            .trusted_issuer(TrustedIssuer::hs256(IDENTITY_PROVIDER, SECRET))
            .behavior(|behavior| {
                behavior.metadata = MetadataDocuments::OAuth;
                behavior.access_token_lifetime = Duration::from_secs(3_600);
            });
        let sandbox = Arc::new(change(sandbox).build());
        let state = State {
            requests: Vec::new(),
            issuer: sandbox.url(),
            response: json!({}),
            claims: json!({}),
            refuses: None,
            user: User::SignedIn,
            asked: 0,
        };
        Self {
            sandbox,
            state: Arc::new(Mutex::new(state)),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A program that is registered at the sandbox.
    pub(crate) fn builder(&self) -> McpAuthBuilder {
        let client = PreRegistered::new(self.sandbox.url(), self.sandbox.client_id());
        let client = client.client_secret(self.sandbox.client_secret());
        McpAuth::builder(ENDPOINT, self.clone())
            .pre_registered(client)
            .clock(VirtualClock)
    }

    /// The client of the identity provider. Its user has signed in with other scopes.
    pub(crate) fn identity_provider(&self) -> OAuthClient {
        let provider = Provider::builder(format!("{IDENTITY_PROVIDER}/token"))
            .api_origin(IDENTITY_PROVIDER)
            .kept_value("id_token", KeptValue::new(ValueSource::Response));
        OAuthClient::builder(provider.build().unwrap(), "at-the-company")
            .client_secret("seeded-company-secret")
            .scopes(["openid", "profile"])
            .clock(VirtualClock)
            .build(self.clone())
            .unwrap()
    }

    /// The program with a user of the company.
    pub(crate) fn auth(&self) -> McpAuth {
        let company = self.clone();
        let id_tokens = move || {
            let company = company.clone();
            async move { company.id_token().await }
        };
        let builder = self.builder();
        let builder = builder.enterprise_managed(self.identity_provider(), id_tokens);
        builder.build().unwrap()
    }

    async fn id_token(&self) -> io::Result<String> {
        let user = {
            let mut state = self.state();
            state.asked += 1;
            state.user
        };
        let until = match user {
            User::SignedIn => self.now() + ID_TOKEN_LIFETIME,
            User::SignedInUntil(time) => time,
            User::SignedOut => return Err(io::Error::other("the user has signed out")),
            User::Unknown => std::future::pending().await,
            User::Nameless => return Ok("\n".to_owned()),
        };
        Ok(format!("seeded-id-token-until-{until}\n"))
    }

    pub(crate) fn now(&self) -> u64 {
        let now = self.sandbox.now().duration_since(SystemTime::UNIX_EPOCH);
        now.unwrap().as_secs()
    }

    /// The requests to a URL that ends in this way.
    pub(crate) fn sent_to(&self, path: &str) -> Vec<Sent> {
        let state = self.state();
        let requests = state.requests.iter();
        requests.filter(|sent| sent.is_to(path)).cloned().collect()
    }

    pub(crate) fn id_jag_requests(&self) -> Vec<Sent> {
        self.sent_to("login.example.com/token")
    }

    /// The identity provider.
    fn token_exchange(&self, sent: &Sent) -> Response<Body> {
        let state = self.state();
        let refused = |status, code: &str| json_response(status, &json!({ "error": code }));
        if let Some((status, code)) = state.refuses {
            return refused(status, code);
        }
        let field = |name: &str| sent.form(name).unwrap_or_default();
        let id_token = field("subject_token");
        let until = id_token.strip_prefix("seeded-id-token-until-");
        let until = until.and_then(|until| until.parse::<u64>().ok());
        if until.is_none_or(|until| until <= self.now()) {
            return refused(400, "invalid_grant");
        }
        if field("audience") != self.sandbox.url() || field("resource") != ENDPOINT {
            return refused(400, "invalid_target");
        }
        let mut claims = json!({
            "iss": IDENTITY_PROVIDER,
            "sub": "user",
            "aud": field("audience"),
            "resource": field("resource"),
            "client_id": self.sandbox.client_id(),
            "iat": self.now(),
            "exp": self.now() + 300,
            "jti": format!("{}", state.requests.len()),
        });
        merge(&mut claims, &state.claims);
        let mut response = json!({
            "access_token": signed(&claims),
            "issued_token_type": "urn:ietf:params:oauth:token-type:id-jag",
            "token_type": "N_A",
            "expires_in": 300,
        });
        merge(&mut response, &state.response);
        json_response(200, &response)
    }

    async fn message(&self, sent: &Sent) -> Response<Body> {
        let needs = if sent.body == "members" {
            ("/v1/members", "member.basic:read")
        } else {
            ("/v1/company", "company.basic:read")
        };
        let mut request = Request::get(needs.0);
        if let Some(token) = sent.headers.get(header::AUTHORIZATION) {
            request = request.header(header::AUTHORIZATION, token);
        }
        let request = request.body(Body::default()).unwrap();
        let response = self.sandbox.service().oneshot(request).await.unwrap();
        let cause = match response.status() {
            StatusCode::FORBIDDEN => ", error=\"insufficient_scope\"",
            _ => "",
        };
        let challenge = format!("Bearer scope=\"{}\"{cause}", needs.1);
        let mut answer = json_response(response.status().as_u16(), &json!({ "body": sent.body }));
        let headers = answer.headers_mut();
        headers.insert(header::WWW_AUTHENTICATE, challenge.parse().unwrap());
        answer
    }
}

fn merge(members: &mut Value, other: &Value) {
    for (name, value) in other.as_object().unwrap() {
        members[name] = value.clone();
    }
}

fn signed(claims: &Value) -> String {
    let part = |value: &Value| BASE64.encode(value.to_string());
    let header = json!({ "alg": "HS256", "typ": "oauth-id-jag+jwt" });
    let message = format!("{}.{}", part(&header), part(claims));
    let signature = BASE64.encode(HMAC::mac(message.as_bytes(), SECRET));
    format!("{message}.{signature}")
}

impl Service<Request<Body>> for Company {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let company = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let sent = Sent {
                method: head.method.clone(),
                uri: head.uri.to_string(),
                headers: head.headers.clone(),
                body: String::from_utf8(body.to_vec()).unwrap(),
            };
            company.state().requests.push(sent.clone());
            if sent.uri.starts_with(&company.sandbox.url()) {
                let request = Request::from_parts(head, Full::new(body));
                let response = company.sandbox.service().oneshot(request).await.unwrap();
                let (head, body) = response.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                return Ok(Response::from_parts(head, Full::new(body)));
            }
            Ok(match &*sent.uri {
                "http://127.0.0.1:1/.well-known/oauth-protected-resource/mcp" => {
                    let issuer = company.state().issuer.clone();
                    let servers = json!([issuer]);
                    json_response(
                        200,
                        &json!({ "resource": ENDPOINT, "authorization_servers": servers }),
                    )
                }
                "https://login.example.com/token" => company.token_exchange(&sent),
                ENDPOINT => company.message(&sent).await,
                _ => json_response(404, &json!({})),
            })
        })
    }
}

/// Sends one message, which needs the scope of the company, or that of its members.
pub(crate) async fn send(
    auth: &McpAuth,
    company: &Company,
    message: &'static str,
) -> Result<StatusCode, Error> {
    let request = Request::post(ENDPOINT).body(Full::from(message)).unwrap();
    let response = auth.layer(company.clone()).oneshot(request).await?;
    Ok(response.status())
}
