//! Client authentication: each method at a strict server over real HTTP, keys that fail, hang and
//! change, and credentials that no error shows.

use std::{
    convert::Infallible,
    error::Error as StdError,
    future::{self, Future},
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der},
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
        ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    },
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderName, Request, Response, header::AUTHORIZATION};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tokio::time::Instant;
use tower::{Layer, ServiceExt};
use tower_oauth2_client::{
    Error, ErrorKind, OAuthErrorCode,
    bearer::BearerAuthLayer,
    cache::{TokenCache, TokenSource},
    clock::Clock as _,
    jose::{Algorithm, Signer, SigningKey},
    oauth::{
        AuthenticationRequest, ClientAuthenticator, ClientCredentials, OAuthClient,
        OAuthClientBuilder,
    },
    provider::{
        self, ClientAuthentication, EndpointKind, KeptValue, Provider, ProviderBuilder, ValueSource,
    },
    sandbox::{self, Behavior, Endpoint, Fault, PushedAuthorization, Sandbox},
    store::MemoryStore,
    token::{RefreshToken, TokenSet},
};

#[path = "support/mod.rs"]
mod support;

use support::{AheadClock, HOUR, ManualClock, token_set};

type Body = Full<Bytes>;
type Source = Box<dyn StdError + Send + Sync>;

fn key() -> SigningKey {
    SigningKey::generate_es256().unwrap().with_key_id("k1")
}

/// The provider of the sandbox, with the endpoint of pushed authorization requests.
fn provider_of(sandbox: &Sandbox, authentication: ClientAuthentication) -> ProviderBuilder {
    provider::justworks()
        .on_origin(&sandbox.url())
        .unwrap()
        .to_builder()
        .client_authentication(authentication)
        .pkce(true)
        .pushed_authorization_request_endpoint(format!("{}/oauth/par", sandbox.url()))
        .require_pushed_authorization_requests(true)
}

fn http() -> Client<HttpConnector, Body> {
    Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build_http()
}

async fn connect(oauth: &OAuthClient, sandbox: &Sandbox) -> Result<TokenSet, Error> {
    let (url, pending) = oauth.start_authorization().await?;
    assert!(!url.contains("state="), "{url}");
    let callback = sandbox.consent(&url).await.unwrap();
    oauth.exchange_code(pending.accept(&callback)?).await
}

/// Sends the secret in headers of its own.
struct InHeaders;

impl ClientAuthenticator for InHeaders {
    async fn authenticate(
        &self,
        request: &AuthenticationRequest<'_>,
    ) -> Result<ClientCredentials, Source> {
        assert_eq!(request.method(), "POST");
        let pair = format!("{}:sandbox-client-secret", request.client_id());
        let pair = base64::prelude::BASE64_STANDARD.encode(pair);
        Ok(ClientCredentials::new().header(AUTHORIZATION, format!("Basic {pair}")))
    }
}

#[tokio::test]
async fn each_method_authenticates_each_request_over_http() {
    use sandbox::ClientAuthentication as Accepted;
    type Set = fn(OAuthClientBuilder) -> OAuthClientBuilder;
    let secret: Set = |builder| builder.client_secret("sandbox-client-secret");
    let nothing: Set = |builder| builder;
    let custom: Set = |builder| builder.authenticator(InHeaders);
    let cases = [
        (ClientAuthentication::RequestBody, Accepted::Body, secret),
        (ClientAuthentication::Basic, Accepted::Basic, secret),
        (ClientAuthentication::BasicRaw, Accepted::BasicRaw, secret),
        (ClientAuthentication::None, Accepted::None, nothing),
        (
            ClientAuthentication::ClientSecretJwt,
            Accepted::ClientSecretJwt,
            secret,
        ),
        (
            ClientAuthentication::PrivateKeyJwt,
            Accepted::PrivateKeyJwt,
            nothing,
        ),
        (
            ClientAuthentication::TlsClientAuth,
            Accepted::TlsClientAuth,
            nothing,
        ),
        (ClientAuthentication::None, Accepted::Basic, custom),
    ];
    for (authentication, accepted, set) in cases {
        let key = key();
        let sandbox = Sandbox::builder()
            .public_key(key.public_jwk())
            .behavior(|behavior| {
                behavior.client_authentication = accepted;
                behavior.pushed_authorization = PushedAuthorization::Required;
            })
            .start()
            .await
            .unwrap();
        let provider = provider_of(&sandbox, authentication).build().unwrap();
        let mut builder = OAuthClient::builder(provider, sandbox.client_id())
            .redirect_uri(sandbox.redirect_uri());
        if authentication == ClientAuthentication::PrivateKeyJwt {
            builder = builder.signer(key);
        }
        let oauth = set(builder).build(http()).unwrap();
        let tokens = connect(&oauth, &sandbox).await;
        let tokens = tokens.unwrap_or_else(|error| panic!("{authentication:?}: {error:?}"));
        let tokens = oauth.refresh(&tokens).await.unwrap();
        oauth.revoke_tokens(&tokens).await.unwrap();
        let counters = sandbox.counters();
        assert_eq!(counters.authorization_requests_pushed, 1);
        assert_eq!((counters.code_exchanges, counters.refreshes), (1, 1));
        assert_eq!(counters.revocations, 2);
        assert_eq!(counters.token_requests_refused, 0);
    }
}

/// Each method is refused by a server that expects another one.
#[tokio::test]
async fn a_client_with_another_method_or_key_is_refused() {
    use sandbox::ClientAuthentication as Accepted;
    let accepted = [
        Accepted::Body,
        Accepted::Basic,
        Accepted::ClientSecretJwt,
        Accepted::PrivateKeyJwt,
        Accepted::TlsClientAuth,
    ];
    let sandbox = Sandbox::builder().public_key(key().public_jwk()).build();
    for (index, authentication) in [
        ClientAuthentication::RequestBody,
        ClientAuthentication::Basic,
        ClientAuthentication::ClientSecretJwt,
        // With another key than the registered one.
        ClientAuthentication::PrivateKeyJwt,
        ClientAuthentication::TlsClientAuth,
    ]
    .into_iter()
    .enumerate()
    {
        for (other, accepted) in accepted.into_iter().enumerate() {
            let is_key = authentication == ClientAuthentication::PrivateKeyJwt;
            if index == other && !is_key {
                continue;
            }
            sandbox.change_behavior(|behavior| behavior.client_authentication = accepted);
            let provider = provider_of(&sandbox, authentication).build().unwrap();
            let builder = OAuthClient::builder(provider, sandbox.client_id());
            let builder = match authentication {
                ClientAuthentication::PrivateKeyJwt => builder.signer(key()),
                ClientAuthentication::TlsClientAuth => builder,
                _ => builder.client_secret(sandbox.client_secret()),
            };
            let oauth = builder.build::<_, Body, _>(sandbox.service()).unwrap();
            let error = oauth.refresh(&refreshable()).await;
            let error = error.unwrap_err();
            assert_eq!(
                error.oauth_code(),
                Some(OAuthErrorCode::InvalidClient),
                "{authentication:?} at {accepted:?}: {error:?}"
            );
            assert!(error.to_string().contains("key"), "{error}");
        }
    }
}

/// A new private key for an algorithm, in PKCS #8.
fn generated(algorithm: Algorithm) -> Vec<u8> {
    let curve = match algorithm {
        Algorithm::Es256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
        Algorithm::Es384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
        Algorithm::Es512 => &ECDSA_P521_SHA512_FIXED_SIGNING,
        Algorithm::EdDsa => {
            let pair = Ed25519KeyPair::generate().unwrap();
            return pair.to_pkcs8().unwrap().as_ref().to_vec();
        }
        _ => {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
            let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
            return der.as_ref().to_vec();
        }
    };
    let pair = EcdsaKeyPair::generate(curve).unwrap();
    pair.to_pkcs8v1().unwrap().as_ref().to_vec()
}

#[tokio::test]
async fn assertion_of_each_algorithm_is_verified_over_http() {
    let algorithms = [
        Algorithm::Rs256,
        Algorithm::Rs384,
        Algorithm::Rs512,
        Algorithm::Ps256,
        Algorithm::Ps384,
        Algorithm::Ps512,
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::Es512,
        Algorithm::EdDsa,
    ];
    let (rsa, other_rsa) = (generated(Algorithm::Rs256), generated(Algorithm::Rs256));
    // An RSA key has many algorithms, and takes long to generate.
    let is_rsa = |algorithm: Algorithm| algorithm.as_str().starts_with(['R', 'P']);
    let key_in = |rsa: &Vec<u8>, algorithm: Algorithm| {
        if is_rsa(algorithm) {
            rsa.clone()
        } else {
            generated(algorithm)
        }
    };
    let keys = algorithms.map(|algorithm| key_in(&rsa, algorithm));
    let signer = |der: &[u8], algorithm: Algorithm, id: Algorithm| {
        let key = SigningKey::from_pkcs8_der(der).unwrap();
        let key = key.with_algorithm(algorithm).unwrap();
        key.with_key_id(id.as_str())
    };
    let mut builder = Sandbox::builder().behavior(|behavior| {
        behavior.client_authentication = sandbox::ClientAuthentication::PrivateKeyJwt;
        behavior.client_credentials = true;
    });
    for (key, algorithm) in keys.iter().zip(algorithms) {
        builder = builder.public_key(signer(key, algorithm, algorithm).public_jwk());
    }
    let sandbox = builder.start().await.unwrap();
    let provider = provider_of(&sandbox, ClientAuthentication::PrivateKeyJwt).build();
    let provider = provider.unwrap();
    let oauth = OAuthClient::builder(provider, sandbox.client_id()).signer(key());
    let oauth = oauth.build(http()).unwrap();
    let request = async |signer: SigningKey| {
        oauth.replace_signer(signer).unwrap();
        oauth.client_credentials().await
    };
    for (index, (key, algorithm)) in keys.iter().zip(algorithms).enumerate() {
        let registered = signer(key, algorithm, algorithm);
        let tokens = request(registered).await;
        assert!(tokens.is_ok(), "{algorithm}: {tokens:?}");

        // Another key of this name, and the registered key by the name of the next one.
        let another = signer(&key_in(&other_rsa, algorithm), algorithm, algorithm);
        let next = algorithms[(index + 1) % algorithms.len()];
        let misnamed = signer(key, algorithm, next);
        let mut wrong = vec![another, misnamed];
        if is_rsa(algorithm) && is_rsa(next) {
            // The registered key with an algorithm that it is not registered for.
            wrong.push(signer(key, next, algorithm));
        }
        for wrong in wrong {
            let error = request(wrong).await.unwrap_err();
            let code = error.oauth_code();
            assert_eq!(code, Some(OAuthErrorCode::InvalidClient), "{algorithm}");
        }
    }
    let accepted = u64::try_from(algorithms.len()).unwrap();
    assert_eq!(sandbox.counters().client_credentials, accepted);
}

/// How an endpoint handles a request.
#[derive(Clone, Copy)]
enum Step {
    Respond(u16, &'static str),
    Fail(io::ErrorKind),
}

const TOKENS: &str =
    r#"{"access_token":"a2","token_type":"Bearer","refresh_token":"r2","expires_in":3600}"#;

/// The bodies of the requests that an endpoint has received.
type Seen = Arc<Mutex<Vec<(String, String)>>>;

type Sending = Pin<Box<dyn Future<Output = Result<Response<Body>, io::Error>> + Send>>;

/// An endpoint that handles its requests by these steps and then repeats the last one.
fn endpoint(
    steps: Vec<Step>,
) -> (
    impl tower::Service<Request<Body>, Response = Response<Body>, Error = io::Error, Future = Sending>
    + Clone
    + Send
    + Sync
    + 'static,
    Seen,
) {
    let seen = Seen::default();
    let log = seen.clone();
    let service = tower::service_fn(move |request: Request<Body>| -> Sending {
        let (log, steps) = (log.clone(), steps.clone());
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let count = {
                let mut log = log.lock().unwrap();
                let body = String::from_utf8(body.to_vec()).unwrap();
                log.push((head.uri.to_string(), body));
                log.len()
            };
            match steps[(count - 1).min(steps.len() - 1)] {
                Step::Respond(status, body) => {
                    let response = Response::builder().status(status);
                    Ok(response.body(Body::from(body)).unwrap())
                }
                Step::Fail(kind) => Err(io::Error::from(kind)),
            }
        })
    });
    (service, seen)
}

fn field(body: &str, name: &str) -> Option<String> {
    let mut fields = form_urlencoded::parse(body.as_bytes());
    fields.find_map(|(key, value)| (key == name).then(|| value.into_owned()))
}

fn claims(assertion: &str) -> Value {
    let payload = assertion.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

fn jwt_provider() -> ProviderBuilder {
    Provider::builder("https://id.example.com/token")
        .revocation_endpoint("https://id.example.com/revoke")
        .client_authentication(ClientAuthentication::PrivateKeyJwt)
}

fn refreshable() -> TokenSet {
    token_set(1, HOUR, SystemTime::UNIX_EPOCH)
}

#[tokio::test(start_paused = true)]
async fn each_attempt_has_an_assertion_of_its_own() {
    let good = Step::Respond(200, TOKENS);
    for first in [
        Step::Respond(429, ""),
        Step::Respond(503, ""),
        Step::Fail(io::ErrorKind::ConnectionRefused),
    ] {
        let (http, seen) = endpoint(vec![first, first, good]);
        let clock = ManualClock::new();
        let oauth = OAuthClient::builder(jwt_provider().build().unwrap(), "the-client")
            .signer(key())
            .clock(clock)
            .build(http)
            .unwrap();
        oauth.refresh(&refreshable()).await.unwrap();
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 3);
        let mut ids = Vec::new();
        for (_, body) in &*seen {
            assert_eq!(field(body, "client_id").unwrap(), "the-client");
            let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
            assert_eq!(field(body, "client_assertion_type").unwrap(), kind);
            let assertion = field(body, "client_assertion").unwrap();
            let claims = claims(&assertion);
            assert_eq!(claims["aud"], "https://id.example.com/token");
            assert_eq!(claims["iss"], claims["sub"]);
            let lifetime = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
            assert_eq!(lifetime, 60);
            ids.push(claims["jti"].to_string());
        }
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 3);
    }
}

#[tokio::test]
async fn audience_is_the_issuer_or_what_the_data_name() {
    let issuer = "https://id.example.com/tenant/";
    for (set, expected) in [
        (
            (|builder| builder) as fn(ProviderBuilder) -> ProviderBuilder,
            "https://id.example.com/token",
        ),
        (
            |builder| builder.issuer("https://id.example.com/tenant/"),
            issuer,
        ),
        (
            |builder| {
                let builder = builder.issuer("https://id.example.com/tenant/");
                builder.assertion_audience("token_endpoint")
            },
            "https://id.example.com/token",
        ),
        (
            |builder| builder.assertion_audience("urn:example:as"),
            "urn:example:as",
        ),
    ] {
        let (http, seen) = endpoint(vec![Step::Respond(200, TOKENS)]);
        let oauth = OAuthClient::builder(set(jwt_provider()).build().unwrap(), "the-client");
        let oauth = oauth.signer(key()).build(http).unwrap();
        oauth.refresh(&refreshable()).await.unwrap();
        oauth.revoke(&RefreshToken::new("r1")).await.unwrap();
        for (_, body) in &*seen.lock().unwrap() {
            let assertion = field(body, "client_assertion").unwrap();
            assert_eq!(claims(&assertion)["aud"], expected);
        }
    }
}

/// A signer that fails, hangs or panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Fails,
    Hangs,
    Panics,
}

impl Signer for Broken {
    fn algorithm(&self) -> Algorithm {
        Algorithm::Es256
    }

    async fn sign(&self, _: &[u8]) -> Result<Vec<u8>, Source> {
        match self {
            Self::Fails => Err("key service is down".into()),
            Self::Hangs => future::pending().await,
            Self::Panics => panic!("key service is confused"),
        }
    }
}

impl ClientAuthenticator for Broken {
    async fn authenticate(
        &self,
        _: &AuthenticationRequest<'_>,
    ) -> Result<ClientCredentials, Source> {
        self.sign(b"").await?;
        Ok(ClientCredentials::new())
    }
}

#[tokio::test(start_paused = true)]
async fn p11_broken_signer_uses_up_no_token_and_opens_no_breaker() {
    for (broken, kind, text) in [
        (Broken::Fails, ErrorKind::Unavailable, "failed"),
        (
            Broken::Hangs,
            ErrorKind::Unavailable,
            "did not respond in time",
        ),
        (Broken::Panics, ErrorKind::Interrupted, "panicked"),
    ] {
        for name in ["signer", "client authenticator"] {
            let (http, seen) = endpoint(vec![Step::Respond(200, TOKENS)]);
            let builder = if name == "signer" {
                let provider = jwt_provider().build().unwrap();
                OAuthClient::builder(provider, "the-client").signer(broken)
            } else {
                let provider = Provider::builder("https://id.example.com/token").build();
                OAuthClient::builder(provider.unwrap(), "the-client").authenticator(broken)
            };
            let oauth = builder.build(http).unwrap();
            // More than the breaker needs to open, and more at a time than there are permits.
            let started = Instant::now();
            let refreshes = (0..8).map(|_| async { oauth.refresh(&refreshable()).await });
            for outcome in futures_util::future::join_all(refreshes).await {
                let error = outcome.unwrap_err();
                // While all permits wait for a hanging signer, there is none for the others.
                if !error.to_string().starts_with("token request got no permit") {
                    assert_eq!(error.kind(), kind, "{error:?}");
                    let message = error.to_string();
                    assert!(message.starts_with(&format!("{name} {text}")), "{message}");
                    assert!(message.contains("nothing was sent"), "{message}");
                }
                assert!(!error.is_response_lost());
            }
            assert!(started.elapsed() <= Duration::from_secs(31));
            assert!(format!("{:?}", oauth.gate()).contains("closed"));
            assert!(seen.lock().unwrap().is_empty());
            // Another signer, and all works.
            if name == "signer" {
                oauth.replace_signer(key()).unwrap();
            } else {
                oauth.replace_authenticator(InHeaders).unwrap();
            }
            oauth.refresh(&refreshable()).await.unwrap();
        }
    }
}

/// A signer whose key service is away for a moment.
struct Hiccup(AtomicUsize, SigningKey);

impl Signer for Hiccup {
    fn algorithm(&self) -> Algorithm {
        self.1.algorithm()
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Source> {
        if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err("connection reset".into());
        }
        self.1.sign(message).await
    }
}

#[tokio::test(start_paused = true)]
async fn signer_that_fails_once_is_called_again() {
    let (http, seen) = endpoint(vec![Step::Respond(200, TOKENS)]);
    let oauth = OAuthClient::builder(jwt_provider().build().unwrap(), "the-client")
        .signer(Hiccup(AtomicUsize::new(0), key()))
        .build(http)
        .unwrap();
    oauth.refresh(&refreshable()).await.unwrap();
    assert_eq!(seen.lock().unwrap().len(), 1);
}

/// A signer whose key service takes its time.
struct Slow(Duration, SigningKey);

impl Signer for Slow {
    fn algorithm(&self) -> Algorithm {
        self.1.algorithm()
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Source> {
        tokio::time::sleep(self.0).await;
        self.1.sign(message).await
    }
}

/// Each attempt has the whole time for its signature, also after a long `Retry-After`.
#[tokio::test(start_paused = true)]
async fn slow_signer_is_not_cut_off_in_a_late_attempt() {
    const SECOND: Duration = Duration::from_secs(1);
    let busy = http::StatusCode::TOO_MANY_REQUESTS;
    let key = SigningKey::generate_es256().unwrap();
    let sandbox = Sandbox::builder()
        .public_key(key.public_jwk())
        .behavior(|behavior| {
            behavior.client_authentication = sandbox::ClientAuthentication::PrivateKeyJwt;
            behavior.client_credentials = true;
        })
        .build();
    let provider = provider_of(&sandbox, ClientAuthentication::PrivateKeyJwt).build();
    let builder = OAuthClient::builder(provider.unwrap(), sandbox.client_id());
    let builder = builder.signer(Slow(5 * SECOND, key));
    let oauth = builder.build::<_, Body, _>(sandbox.service()).unwrap();
    sandbox.inject(Endpoint::Token, Fault::status(busy).retry_after("9"));
    let started = Instant::now();
    oauth.client_credentials().await.unwrap();
    assert_eq!(started.elapsed().as_secs(), 5 + 9 + 5);
    // A cache waits that long for a fetch.
    let response = 60 * SECOND;
    assert_eq!(TokenSource::fetch_timeout(&oauth), response + 30 * SECOND);
}

/// Fails after 14 seconds, from the second call on, and then takes 14 seconds.
struct Overloaded(AtomicUsize, SigningKey);

impl Signer for Overloaded {
    fn algorithm(&self) -> Algorithm {
        self.1.algorithm()
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Source> {
        let number = self.0.fetch_add(1, Ordering::SeqCst);
        if number > 0 {
            tokio::time::sleep(Duration::from_secs(14)).await;
        }
        if number == 1 {
            return Err("the key service is overloaded".into());
        }
        self.1.sign(message).await
    }
}

/// The response to the first refresh is lost after this time. Returns when refreshes were sent.
async fn sent_with_an_overloaded_signer(lost_after: u64) -> Vec<u64> {
    let (start, clock) = (Instant::now(), ManualClock::new());
    let sent = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&sent);
    let http = tower::service_fn(move |_: Request<Body>| {
        let number = {
            let mut seen = seen.lock().unwrap();
            seen.push(start.elapsed().as_secs());
            seen.len()
        };
        async move {
            if number == 1 {
                tokio::time::sleep(Duration::from_secs(lost_after)).await;
                return Err(io::Error::from(io::ErrorKind::ConnectionReset));
            }
            let tokens = r#"{"access_token": "a2", "refresh_token": "r2", "expires_in": 3600}"#;
            Ok(Response::new(Body::from(tokens)))
        }
    });
    let oauth = OAuthClient::builder(jwt_provider().build().unwrap(), "client")
        .signer(Overloaded(AtomicUsize::new(0), key()))
        .clock(clock.clone())
        .build(http)
        .unwrap();
    let tokens = TokenCache::builder(oauth)
        .origin("https://api.example.com")
        .clock(clock.clone());
    let tokens = tokens.build().unwrap();
    let first = token_set(1, HOUR, clock.wall());
    tokens.set_tokens(first).await.unwrap();
    let _ = tokens.refresh_now().await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let sent = sent.lock().unwrap();
    sent.clone()
}

#[tokio::test(start_paused = true)]
async fn p11_replay_that_is_signed_too_late_is_not_sent() {
    assert_eq!(sent_with_an_overloaded_signer(1).await, [0, 29]);
    assert_eq!(sent_with_an_overloaded_signer(25).await, [0]);
}

#[tokio::test(start_paused = true)]
async fn p11_grant_survives_a_panic_of_its_signer() {
    let (http, _) = endpoint(vec![Step::Respond(200, TOKENS)]);
    let oauth = OAuthClient::builder(jwt_provider().build().unwrap(), "the-client")
        .signer(Broken::Panics)
        .build(http)
        .unwrap();
    let tokens = TokenCache::builder(oauth.clone())
        .origin("https://api.example.com")
        .build()
        .unwrap();
    tokens.set_tokens(refreshable()).await.unwrap();
    let error = tokens.refresh_now().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted, "{error:?}");
    assert!(!error.is_response_lost());
    // The backoff is about the old key.
    oauth.replace_signer(key()).unwrap();
    tokens.refresh_now().await.unwrap();
    assert_eq!(tokens.token().await.unwrap().header_value(), "Bearer a2");
}

#[tokio::test]
async fn p15_replaced_key_closes_the_breaker_and_requests_with_the_old_one_do_not_open_it() {
    let new = key();
    let sandbox = Sandbox::builder()
        .public_key(new.public_jwk())
        .behavior(|behavior: &mut Behavior| {
            behavior.client_authentication = sandbox::ClientAuthentication::PrivateKeyJwt;
        })
        .start()
        .await
        .unwrap();
    let provider = provider_of(&sandbox, ClientAuthentication::PrivateKeyJwt)
        .require_pushed_authorization_requests(false)
        .build()
        .unwrap();
    let builder = || {
        OAuthClient::builder(provider.clone(), sandbox.client_id())
            .redirect_uri(sandbox.redirect_uri())
    };
    // Grants of a client that has the new key already.
    let other = builder().signer(key_of(&new)).build(http()).unwrap();
    let mut grants = Vec::new();
    for _ in 0..8 {
        let (url, pending) = other.authorization_url().unwrap();
        let callback = sandbox.consent(&url).await.unwrap();
        let accepted = pending.accept(&callback).unwrap();
        grants.push(other.exchange_code(accepted).await.unwrap());
    }

    let oauth = builder().signer(key()).build(http()).unwrap();
    let error = oauth.refresh(&grants[0]).await.unwrap_err();
    assert_eq!(error.oauth_code(), Some(OAuthErrorCode::InvalidClient));
    assert!(format!("{:?}", oauth.gate()).contains("open"));
    oauth.replace_signer(key_of(&new)).unwrap();
    oauth.refresh(&grants[0]).await.unwrap();

    // The key changes while refreshes with the wrong one are in flight.
    oauth.replace_signer(key()).unwrap();
    let delay = Fault::delay(Duration::from_millis(300)).times(2);
    sandbox.inject(Endpoint::Token, delay);
    let old = [&grants[1], &grants[2]].map(|grant| oauth.refresh(grant));
    let replace = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        oauth.replace_signer(key_of(&new)).unwrap();
    };
    let (old, ()) = tokio::join!(futures_util::future::join_all(old), replace);
    for outcome in old {
        let code = outcome.unwrap_err().oauth_code();
        assert_eq!(code, Some(OAuthErrorCode::InvalidClient));
    }
    assert!(format!("{:?}", oauth.gate()).contains("closed"));
    let refreshes = grants[1..].iter().map(|grant| oauth.refresh(grant));
    for outcome in futures_util::future::join_all(refreshes).await {
        outcome.unwrap();
    }
}

fn key_of(key: &SigningKey) -> SigningKey {
    SigningKey::from_pem(&key.to_pem().unwrap())
        .unwrap()
        .with_key_id("k1")
}

#[tokio::test]
async fn p07_request_after_a_401_is_retried_with_a_key_instead_of_a_secret() {
    let key = key();
    let sandbox = Sandbox::builder()
        .public_key(key.public_jwk())
        .behavior(|behavior| {
            behavior.client_authentication = sandbox::ClientAuthentication::PrivateKeyJwt;
            behavior.pushed_authorization = PushedAuthorization::Required;
        })
        .start()
        .await
        .unwrap();
    let provider = provider_of(&sandbox, ClientAuthentication::PrivateKeyJwt);
    let oauth = OAuthClient::builder(provider.build().unwrap(), sandbox.client_id())
        .signer(key)
        .redirect_uri(sandbox.redirect_uri())
        .build(http())
        .unwrap();
    let store = MemoryStore::new();
    let first = TokenCache::builder(oauth.clone()).store(store.clone());
    let first = first.build().unwrap();
    first
        .set_tokens(connect(&oauth, &sandbox).await.unwrap())
        .await
        .unwrap();
    first.shutdown(Duration::from_secs(5)).await.unwrap();
    let tokens = TokenCache::builder(oauth).store(store).clock(AheadClock);
    let api = BearerAuthLayer::<Body>::new(tokens.build().unwrap()).layer(http());
    sandbox.revoke_access_tokens();
    let request = Request::get(format!("{}/v1/company", sandbox.url()));
    let response = api.oneshot(request.body(Body::default()).unwrap()).await;
    assert_eq!(response.unwrap().status(), 200);
    let counters = sandbox.counters();
    assert_eq!((counters.unauthorized, counters.refreshes), (1, 1));
}

#[tokio::test]
async fn clock_that_is_off_is_named() {
    for (ahead, text) in [
        (true, "s ahead of the provider's"),
        (false, "s behind the provider's"),
    ] {
        #[expect(
            clippy::disallowed_methods,
            reason = "the clock of this computer is right"
        )]
        let now = SystemTime::now();
        let by = Duration::from_secs(600);
        let key = key();
        let sandbox = Sandbox::builder()
            .public_key(key.public_jwk())
            .clock_starts_at(if ahead { now - by } else { now + by })
            .behavior(|behavior| {
                behavior.client_authentication = sandbox::ClientAuthentication::PrivateKeyJwt;
                behavior.pushed_authorization = PushedAuthorization::Accepted;
            })
            .build();
        let provider = provider_of(&sandbox, ClientAuthentication::PrivateKeyJwt);
        let oauth = OAuthClient::builder(provider.build().unwrap(), sandbox.client_id())
            .signer(key)
            .redirect_uri(sandbox.redirect_uri())
            .build::<_, Body, _>(sandbox.service())
            .unwrap();
        let errors = [
            oauth.start_authorization().await.map(drop).unwrap_err(),
            oauth.refresh(&refreshable()).await.map(drop).unwrap_err(),
            oauth.revoke(&RefreshToken::new("r1")).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.oauth_code(), Some(OAuthErrorCode::InvalidClient));
            let message = error.to_string();
            assert!(message.contains(text), "{message}");
            assert!(message.contains("correct the clock"), "{message}");
        }
    }
}

/// Returns what a test chooses.
struct Returns(fn() -> ClientCredentials);

impl ClientAuthenticator for Returns {
    async fn authenticate(
        &self,
        _: &AuthenticationRequest<'_>,
    ) -> Result<ClientCredentials, Source> {
        Ok((self.0)())
    }
}

#[tokio::test]
async fn p22_authenticator_cannot_repeat_a_parameter_or_change_the_message() {
    let cases: [fn() -> ClientCredentials; 6] = [
        || ClientCredentials::new().parameter("grant_type", "x".to_owned()),
        || ClientCredentials::new().parameter("refresh_token", "x".to_owned()),
        || {
            let proof = ClientCredentials::new().parameter("proof", "x".to_owned());
            proof.parameter("proof", "y".to_owned())
        },
        || ClientCredentials::new().header(HeaderName::from_static("host"), "x".to_owned()),
        || ClientCredentials::new().header(HeaderName::from_static("accept"), "x".to_owned()),
        || ClientCredentials::new().header(AUTHORIZATION, "x\r\ny: z".to_owned()),
    ];
    for returned in cases {
        let (http, seen) = endpoint(vec![Step::Respond(200, TOKENS)]);
        let provider = Provider::builder("https://id.example.com/token").build();
        let oauth = OAuthClient::builder(provider.unwrap(), "the-client")
            .authenticator(Returns(returned))
            .build(http)
            .unwrap();
        let error = oauth.refresh(&refreshable()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().starts_with("client authenticator: "));
        assert!(!error.is_response_lost());
        assert!(seen.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn requests_of_a_client_with_a_certificate_go_to_the_aliases() {
    let provider = |authentication| {
        Provider::builder("https://id.example.com/token")
            .authorization_endpoint("https://id.example.com/authorize")
            .revocation_endpoint("https://id.example.com/revoke")
            .pushed_authorization_request_endpoint("https://id.example.com/par")
            .mtls_endpoint_alias(EndpointKind::Token, "https://mtls.example.com/token")
            .mtls_endpoint_alias(EndpointKind::Revocation, "https://mtls.example.com/revoke")
            .mtls_endpoint_alias(
                EndpointKind::PushedAuthorizationRequest,
                "https://mtls.example.com/par",
            )
            .client_authentication(authentication)
            .build()
            .unwrap()
    };
    for (authentication, host) in [
        (ClientAuthentication::TlsClientAuth, "mtls"),
        (ClientAuthentication::None, "id"),
    ] {
        let pushed = r#"{"request_uri":"urn:a:b","expires_in":60}"#;
        let (http, seen) = endpoint(vec![Step::Respond(201, pushed), Step::Respond(200, TOKENS)]);
        let oauth = OAuthClient::builder(provider(authentication), "the-client")
            .redirect_uri("https://partner.example.com/callback")
            .build(http)
            .unwrap();
        let (url, _) = oauth.start_authorization().await.unwrap();
        assert_eq!(
            url,
            "https://id.example.com/authorize?client_id=the-client&request_uri=urn%3Aa%3Ab"
        );
        oauth.refresh(&refreshable()).await.unwrap();
        oauth.revoke(&RefreshToken::new("r1")).await.unwrap();
        for ((url, body), path) in seen.lock().unwrap().iter().zip(["par", "token", "revoke"]) {
            assert_eq!(*url, format!("https://{host}.example.com/{path}"));
            assert_eq!(field(body, "client_id").unwrap(), "the-client");
            assert_eq!(body.matches("client_id=").count(), 1, "{body}");
            assert_eq!(field(body, "client_secret"), None);
        }
        // Stored grants belong to the endpoint itself.
        assert_eq!(
            oauth.identity().token_endpoint(),
            "https://id.example.com/token"
        );
    }
}

#[test]
fn settings_that_do_not_fit_the_method_are_named() {
    type Set = fn(OAuthClientBuilder) -> OAuthClientBuilder;
    let secret: Set = |builder| builder.client_secret("secret");
    let signer: Set = |builder| builder.signer(key());
    let nothing: Set = |builder| builder;
    let both: Set = |builder| builder.signer(key()).client_secret("secret");
    let custom: Set = |builder| builder.authenticator(InHeaders);
    let custom_secret: Set = |builder| builder.authenticator(InHeaders).client_secret("secret");
    let custom_signer: Set = |builder| builder.authenticator(InHeaders).signer(key());
    for (authentication, set, problem) in [
        (
            ClientAuthentication::ClientSecretJwt,
            nothing,
            "client secret: not set",
        ),
        (ClientAuthentication::ClientSecretJwt, both, "signer: "),
        (
            ClientAuthentication::Basic,
            signer,
            "client secret: not set",
        ),
        (ClientAuthentication::RequestBody, both, "signer: "),
        (
            ClientAuthentication::PrivateKeyJwt,
            nothing,
            "signer: not set",
        ),
        (
            ClientAuthentication::PrivateKeyJwt,
            secret,
            "client secret: ",
        ),
        (ClientAuthentication::PrivateKeyJwt, both, "client secret: "),
        (
            ClientAuthentication::TlsClientAuth,
            secret,
            "client secret: ",
        ),
        (ClientAuthentication::TlsClientAuth, signer, "signer: "),
        (ClientAuthentication::None, signer, "signer: "),
        (
            ClientAuthentication::Basic,
            custom_secret,
            "client secret: ",
        ),
        (
            ClientAuthentication::PrivateKeyJwt,
            custom_signer,
            "signer: ",
        ),
        (ClientAuthentication::ClientSecretJwt, secret, ""),
        (ClientAuthentication::PrivateKeyJwt, signer, ""),
        (ClientAuthentication::TlsClientAuth, nothing, ""),
        (ClientAuthentication::PrivateKeyJwt, custom, ""),
    ] {
        let provider = Provider::builder("https://id.example.com/token")
            .client_authentication(authentication)
            .build();
        let http = tower::service_fn(|_: Request<Body>| async {
            Ok::<_, Infallible>(Response::new(Body::default()))
        });
        let built = set(OAuthClient::builder(provider.unwrap(), "id")).build(http);
        match built {
            Ok(oauth) => {
                assert_eq!(problem, "", "{authentication:?}");
                let is_key = authentication == ClientAuthentication::PrivateKeyJwt;
                let is_custom = oauth.replace_authenticator(InHeaders).is_ok();
                assert_eq!(oauth.replace_signer(key()).is_ok(), is_key && !is_custom);
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Configuration);
                let message = error.to_string();
                assert!(
                    !problem.is_empty() && message.starts_with(problem),
                    "{authentication:?}: {message}"
                );
            }
        }
    }
}

#[tokio::test]
async fn p21_credentials_that_a_provider_repeats_are_not_in_the_error() {
    for authentication in [
        ClientAuthentication::PrivateKeyJwt,
        ClientAuthentication::ClientSecretJwt,
        ClientAuthentication::Basic,
    ] {
        let seen = Arc::new(Mutex::new(String::new()));
        let log = seen.clone();
        let http = tower::service_fn(move |request: Request<Body>| {
            let log = log.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let body = String::from_utf8(body.to_vec()).unwrap();
                let header = head.headers.get(AUTHORIZATION);
                let header = header.map(|value| value.to_str().unwrap().to_owned());
                let sent = field(&body, "client_assertion").or(header).unwrap();
                let text = format!("not accepted: {sent}");
                log.lock().unwrap().push_str(&sent);
                let body = serde_json::json!({
                    "error": "invalid_client",
                    "error_description": text,
                });
                let response = Response::builder().status(401);
                Ok::<_, Infallible>(response.body(Body::from(body.to_string())).unwrap())
            }
        });
        let provider =
            Provider::builder("https://id.example.com/token").client_authentication(authentication);
        let builder = OAuthClient::builder(provider.build().unwrap(), "the-client");
        let oauth = match authentication {
            ClientAuthentication::PrivateKeyJwt => builder.signer(key()),
            _ => builder.client_secret("seeded-client-secret"),
        };
        let oauth = oauth.build(http).unwrap();
        let error = oauth.refresh(&refreshable()).await.unwrap_err();
        let shown = format!("{error} {error:?} {:?}", error.provider_message());
        assert!(shown.contains("not accepted"), "{shown}");
        let sent = seen.lock().unwrap().clone();
        for part in sent.split(['.', ' ']).filter(|part| part.len() > 8) {
            for at in 0..part.len() - 8 {
                assert!(!shown.contains(&part[at..at + 8]), "{shown}");
            }
        }
    }
}

/// Words of a language look like no token, so only the credentials of the request remove them.
#[tokio::test]
async fn p21_words_of_own_credentials_are_not_in_the_error() {
    let body = r#"{"error":"invalid_client","error_description":"wrong correct horse, or horseback battery"}"#;
    let (http, seen) = endpoint(vec![Step::Respond(401, body)]);
    let provider = Provider::builder("https://id.example.com/token").build();
    let oauth = OAuthClient::builder(provider.unwrap(), "the-client")
        .authenticator(Returns(|| {
            ClientCredentials::new()
                .parameter("client_id", "the-client".to_owned())
                .parameter("phrase", "correct horse".to_owned())
                .header(HeaderName::from_static("x-phrase"), "horseback".to_owned())
        }))
        .build(http)
        .unwrap();
    let error = oauth.refresh(&refreshable()).await.unwrap_err();
    assert_eq!(
        field(&seen.lock().unwrap()[0].1, "phrase").unwrap(),
        "correct horse"
    );
    let message = error.provider_message().unwrap();
    assert!(message.starts_with("wrong [removed]"), "{message}");
    assert!(message.ends_with("battery"), "{message}");
    for word in ["correct", "horse"] {
        assert!(!format!("{error:?}").contains(word), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn pushed_request_that_fails_is_an_error_by_its_cause_and_changes_no_breaker() {
    const BUSY: Step = Step::Respond(503, "");
    for (steps, kind, code, requests) in [
        (
            vec![Step::Respond(400, r#"{"error":"invalid_scope"}"#)],
            ErrorKind::Refused,
            Some(OAuthErrorCode::InvalidScope),
            1,
        ),
        (
            vec![Step::Respond(401, r#"{"error":"invalid_client"}"#)],
            ErrorKind::Refused,
            Some(OAuthErrorCode::InvalidClient),
            1,
        ),
        (vec![BUSY], ErrorKind::Unavailable, None, 3),
        (
            vec![Step::Fail(io::ErrorKind::ConnectionReset)],
            ErrorKind::Unavailable,
            None,
            3,
        ),
        (
            vec![Step::Respond(307, "")],
            ErrorKind::InvalidResponse,
            None,
            1,
        ),
        (
            vec![Step::Respond(200, TOKENS)],
            ErrorKind::InvalidResponse,
            None,
            1,
        ),
        (
            vec![Step::Respond(201, "<html>")],
            ErrorKind::InvalidResponse,
            None,
            1,
        ),
    ] {
        let (http, seen) = endpoint(steps);
        let provider = Provider::builder("https://id.example.com/token")
            .authorization_endpoint("https://id.example.com/authorize")
            .pushed_authorization_request_endpoint("https://id.example.com/par")
            .require_pushed_authorization_requests(true)
            .build()
            .unwrap();
        let oauth = OAuthClient::builder(provider, "the-client")
            .client_secret("the-secret")
            .redirect_uri("https://partner.example.com/callback")
            .build(http)
            .unwrap();
        for _ in 0..6 {
            seen.lock().unwrap().clear();
            let error = oauth.start_authorization().await.unwrap_err();
            assert_eq!(
                (error.kind(), error.oauth_code()),
                (kind, code),
                "{error:?}"
            );
            assert!(error.to_string().contains("request"), "{error}");
            assert_eq!(seen.lock().unwrap().len(), requests);
        }
        assert!(format!("{:?}", oauth.gate()).contains("closed"));
        let error = oauth.authorization_url().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(
            error
                .to_string()
                .contains("OAuthClient::start_authorization")
        );
    }
}

#[tokio::test]
async fn provider_without_the_endpoint_gets_the_whole_request_by_the_browser() {
    let sandbox = Sandbox::builder().build();
    let provider = provider::justworks().on_origin(&sandbox.url()).unwrap();
    let oauth = OAuthClient::builder(provider, sandbox.client_id())
        .client_secret(sandbox.client_secret())
        .redirect_uri(sandbox.redirect_uri())
        .build::<_, Body, _>(sandbox.service())
        .unwrap();
    let (url, pending) = oauth.start_authorization().await.unwrap();
    assert!(url.contains(pending.state()));
    assert_eq!(sandbox.counters().requests, 0);
}

#[tokio::test]
async fn request_without_an_assertion_needs_no_value_of_its_audience() {
    let provider = Provider::builder("https://{shop}.example.com/token")
        .authorization_endpoint("https://id.example.com/authorize")
        .revocation_endpoint("https://id.example.com/revoke")
        .pushed_authorization_request_endpoint("https://id.example.com/par")
        .kept_value(
            "shop",
            KeptValue::new(ValueSource::Callback).pattern("[a-z]+"),
        )
        .build()
        .unwrap();
    let pushed = r#"{"request_uri":"urn:a:b","expires_in":60}"#;
    let (http, seen) = endpoint(vec![Step::Respond(200, ""), Step::Respond(201, pushed)]);
    let oauth = OAuthClient::builder(provider, "the-client")
        .client_secret("the-secret")
        .redirect_uri("https://partner.example.com/callback")
        .build(http)
        .unwrap();
    let token = RefreshToken::new("r1");
    oauth.revoke(&token).await.unwrap();
    oauth.start_authorization().await.unwrap();
    let addresses: Vec<_> = seen
        .lock()
        .unwrap()
        .iter()
        .map(|(uri, _)| uri.clone())
        .collect();
    assert_eq!(
        addresses,
        [
            "https://id.example.com/revoke",
            "https://id.example.com/par"
        ]
    );
}
