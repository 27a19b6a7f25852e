//! All parts together over real HTTP: hyper-util or reqwest, the layer, the cache, a store, and the
//! sandbox on a socket.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, header::AUTHORIZATION};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt};
use tower_oauth2_client::{
    ErrorKind, OAuthErrorCode,
    bearer::{BearerAuth, BearerAuthLayer, ReplayBody},
    cache::TokenCache,
    oauth::OAuthClient,
    provider,
    sandbox::{Challenge, Endpoint, Fault, Sandbox},
    store::{FileStore, MemoryStore, TokenStore},
};

#[path = "support/mod.rs"]
mod support;

use support::{AheadClock, connect};

type Http = Client<HttpConnector, ReplayBody<Full<Bytes>>>;

struct Partner {
    oauth: OAuthClient,
    tokens: TokenCache,
    api: BearerAuth<Http, ReplayBody<Full<Bytes>>>,
    url: String,
}

fn http() -> Http {
    Client::builder(TokioExecutor::new()).build_http()
}

fn oauth(sandbox: &Sandbox) -> OAuthClient {
    let provider = provider::justworks().on_origin(&sandbox.url()).unwrap();
    OAuthClient::builder(provider, sandbox.client_id())
        .client_secret(sandbox.client_secret())
        .redirect_uri(sandbox.redirect_uri())
        .scopes([
            "company.basic:read",
            "member.basic:read",
            "deductions:write",
        ])
        .build(http())
        .unwrap()
}

fn partner(sandbox: &Sandbox, store: impl TokenStore) -> Partner {
    let oauth = oauth(sandbox);
    let tokens = TokenCache::builder(oauth.clone())
        .store(store)
        .clock(AheadClock)
        .build()
        .unwrap();
    let api = BearerAuthLayer::new(tokens.clone()).layer(http());
    Partner {
        oauth,
        tokens,
        api,
        url: sandbox.url(),
    }
}

impl Partner {
    async fn connect(&self, sandbox: &Sandbox) {
        connect(sandbox, &self.oauth, &self.tokens).await;
    }

    async fn get(&self, path: &str) -> Response<Bytes> {
        let request = Request::get(format!("{}{path}", self.url))
            .body(Full::default())
            .unwrap();
        self.send(request).await
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Response<Bytes> {
        let (head, body) = self
            .api
            .clone()
            .oneshot(request)
            .await
            .unwrap()
            .into_parts();
        Response::from_parts(head, body.collect().await.unwrap().to_bytes())
    }

    fn deduction(&self, operation: &str) -> Request<Full<Bytes>> {
        let row = format!(
            r#"{{"items":[{{"member_id":"member_00000000000000000000000001","operation_id":"{operation}","amount_type":"fixed",
            "amount":4500,"currency":"USD","deduction_type_code":"401k","frequency":"one_time","start_date":"2026-12-01"}}]}}"#
        );
        Request::post(format!("{}/v1/deductions", self.url))
            .header("content-type", "application/json")
            .body(Full::from(row))
            .unwrap()
    }
}

#[tokio::test]
async fn the_three_resources_require_a_token() {
    let sandbox = Sandbox::start().await.unwrap();
    let partner = partner(&sandbox, MemoryStore::new());
    partner.connect(&sandbox).await;
    for path in ["/v1/company", "/v1/members?limit=5"] {
        assert_eq!(partner.get(path).await.status(), 200, "{path}");
        let bare = Request::get(format!("{}{path}", partner.url));
        let bare = bare.body(ReplayBody::from(Bytes::new())).unwrap();
        assert_eq!(http().request(bare).await.unwrap().status(), 401, "{path}");
    }
    assert_eq!(partner.send(partner.deduction("o1")).await.status(), 200);
    assert_eq!(sandbox.counters().deductions_created, 1);
}

#[tokio::test]
async fn p03_a_stampede_with_an_expired_token_causes_one_refresh() {
    let sandbox = Sandbox::start().await.unwrap();
    let partner = partner(&sandbox, MemoryStore::new());
    partner.connect(&sandbox).await;
    sandbox.expire_access_tokens();
    let mut requests = JoinSet::new();
    for _ in 0..100 {
        let request = Request::get(format!("{}/v1/company", partner.url))
            .body(Full::default())
            .unwrap();
        requests.spawn(partner.api.clone().oneshot(request));
    }
    for response in requests.join_all().await {
        assert_eq!(response.unwrap().status(), 200);
    }
    let counters = sandbox.counters();
    assert_eq!((counters.refreshes, counters.refresh_tokens_reused), (1, 0));
}

#[tokio::test]
async fn p07_a_challenge_that_may_concern_the_token_causes_a_refresh() {
    for (challenge, recovers) in [
        (Challenge::Standard, true),
        (Challenge::Bare, true),
        (Challenge::LowerCase, true),
        (Challenge::TwoInOneHeader, true),
        (Challenge::TwoHeaders, true),
        (Challenge::BasicOnly, true),
        (Challenge::Absent, true),
        (
            Challenge::Literal("Bearer error=\"invalid_token\", realm=\"not closed".into()),
            true,
        ),
        (Challenge::InsufficientScope, false),
        (Challenge::InvalidRequest, false),
    ] {
        let sandbox = Sandbox::builder()
            .behavior(|behavior| behavior.challenge = challenge.clone())
            .start()
            .await
            .unwrap();
        let partner = partner(&sandbox, MemoryStore::new());
        partner.connect(&sandbox).await;
        sandbox.revoke_access_tokens();
        let status = partner.get("/v1/company").await.status();
        assert_eq!(status, if recovers { 200 } else { 401 }, "{challenge:?}");
        assert_eq!(sandbox.counters().refreshes, u64::from(recovers));
    }
}

#[tokio::test]
async fn p07_a_missing_scope_causes_no_refresh() {
    let sandbox = Sandbox::builder()
        .behavior(|behavior| behavior.scope_limit = Some(vec!["company.basic:read".to_owned()]))
        .start()
        .await
        .unwrap();
    let partner = partner(&sandbox, MemoryStore::new());
    partner.connect(&sandbox).await;
    assert_eq!(partner.get("/v1/members").await.status(), 403);
    assert_eq!(sandbox.counters().tokens_issued, 1);
}

#[tokio::test]
async fn p08_a_retried_post_is_applied_once() {
    let sandbox = Sandbox::start().await.unwrap();
    let partner = partner(&sandbox, MemoryStore::new());
    partner.connect(&sandbox).await;
    sandbox.revoke_access_tokens();
    let response = partner.send(partner.deduction("o1")).await;
    assert_eq!(response.status(), 200);
    assert!(String::from_utf8_lossy(response.body()).contains("\"success\":true"));
    let counters = sandbox.counters();
    assert_eq!((counters.unauthorized, counters.deductions_created), (1, 1));
}

#[tokio::test]
async fn p09_the_retry_uses_the_same_connection() {
    let sandbox = Sandbox::start().await.unwrap();
    let oauth = oauth(&sandbox);
    let tokens = TokenCache::builder(oauth.clone())
        .clock(AheadClock)
        .build()
        .unwrap();
    // A client that records the connection of each response.
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Http = Client::builder(TokioExecutor::new()).build(connector);
    let ports = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = ports.clone();
    let recording = tower::service_fn(move |mut request: Request<ReplayBody<Full<Bytes>>>| {
        let (client, log) = (client.clone(), log.clone());
        let connection = hyper_util::client::legacy::connect::capture_connection(&mut request);
        async move {
            let response = client.request(request).await;
            if let Some(connected) = connection.connection_metadata().as_ref() {
                let mut extensions = http::Extensions::new();
                connected.get_extras(&mut extensions);
                let info = extensions.get::<hyper_util::client::legacy::connect::HttpInfo>();
                log.lock().unwrap().push(info.unwrap().local_addr().port());
            }
            response
        }
    });
    connect(&sandbox, &oauth, &tokens).await;
    sandbox.revoke_access_tokens();

    let api = BearerAuthLayer::new(tokens).layer(recording);
    let request = Request::get(format!("{}/v1/company", sandbox.url()))
        .body(Full::default())
        .unwrap();
    assert_eq!(api.oneshot(request).await.unwrap().status(), 200);
    let ports = ports.lock().unwrap().clone();
    assert_eq!(ports.len(), 2);
    assert_eq!(ports[0], ports[1]);
}

#[tokio::test]
async fn callbacks_without_the_expected_issuer_are_rejected() {
    let sandbox = Sandbox::start().await.unwrap();
    let url = sandbox.url();
    let provider = provider::justworks()
        .to_builder()
        .issuer("https://payroll.justworks.com")
        .build()
        .unwrap()
        .on_origin(&url)
        .unwrap();
    let oauth = OAuthClient::builder(provider, sandbox.client_id())
        .client_secret(sandbox.client_secret())
        .redirect_uri(sandbox.redirect_uri())
        .build(http())
        .unwrap();
    let slash = format!("{url}/");
    for (sent, is_expected) in [
        (None, false),
        (Some("https://evil.example"), false),
        (Some(slash.as_str()), false),
        (Some(url.as_str()), true),
    ] {
        sandbox.change_behavior(|behavior| behavior.issuer = sent.map(str::to_owned));
        let (link, started) = oauth.authorization_url().unwrap();
        let resumed = oauth.resume_authorization(started.state(), started.code_verifier().cloned());
        let (consent, denial) = (sandbox.consent(&link).await, sandbox.deny(&link).await);
        let (consent, denial) = (consent.unwrap(), denial.unwrap());
        for pending in [started, resumed] {
            assert_eq!(pending.accept(&consent).is_ok(), is_expected, "{sent:?}");
            let error = pending.accept(&denial).unwrap_err();
            let denied = error.oauth_code() == Some(OAuthErrorCode::AccessDenied);
            assert_eq!(denied, is_expected, "{sent:?}");
            let twice = pending.accept(&format!("{consent}&iss={url}"));
            assert_eq!(twice.is_ok(), sent.is_none(), "{sent:?}");
        }
    }
    assert!(
        oauth
            .resume_authorization("", None)
            .accept(&format!("?code=c&state=&iss={url}"))
            .is_err()
    );
}

#[tokio::test]
async fn after_a_restart_no_consent_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    restart_twice(|_| FileStore::open(dir.path()).unwrap()).await;
}

#[cfg(feature = "encryption")]
#[tokio::test]
async fn p23_after_a_key_change_no_consent_is_needed_and_no_token_is_on_disk() {
    use tower_oauth2_client::store::{EncryptedStore, EncryptionKey, EncryptionKeys};

    let dir = tempfile::tempdir().unwrap();
    let old = EncryptionKey::generate("old").unwrap();
    let new = EncryptionKey::generate("new").unwrap();
    let open = |run| {
        let keys = match run {
            0 => EncryptionKeys::new(old.clone()),
            1 => EncryptionKeys::new(new.clone())
                .with_decryption_key(old.clone())
                .unwrap(),
            // The second run has refreshed, and encrypted the token set with the new key.
            _ => EncryptionKeys::new(new.clone()),
        };
        EncryptedStore::new(FileStore::open(dir.path()).unwrap(), keys, "client").unwrap()
    };
    let token = restart_twice(open).await;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains(&token));
    }
}

/// Runs a program three times, each with a store from `open`. Returns the last access token.
async fn restart_twice<S: TokenStore>(open: impl Fn(usize) -> S) -> String {
    let sandbox = Sandbox::start().await.unwrap();
    let before = partner(&sandbox, open(0));
    before.connect(&sandbox).await;
    drop(before);
    let after = partner(&sandbox, open(1));
    assert_eq!(after.get("/v1/company").await.status(), 200);
    sandbox.revoke_access_tokens();
    assert_eq!(after.get("/v1/company").await.status(), 200);
    drop(after);
    // The third run uses the rotated tokens.
    let later = partner(&sandbox, open(2));
    assert_eq!(later.get("/v1/company").await.status(), 200);
    let counters = sandbox.counters();
    assert_eq!(
        (
            counters.consents,
            counters.refreshes,
            counters.refresh_tokens_reused
        ),
        (1, 1, 0)
    );
    let token = later.tokens.token().await.unwrap();
    let value = token.header_value().to_str().unwrap();
    value.trim_start_matches("Bearer ").to_owned()
}

#[tokio::test]
async fn a_grant_revoked_at_the_provider_requires_reauthorization() {
    let sandbox = Sandbox::start().await.unwrap();
    let partner = partner(&sandbox, MemoryStore::new());
    partner.connect(&sandbox).await;
    sandbox.revoke_grants();
    assert_eq!(
        partner.get("/v1/company").await.status(),
        401,
        "the response is passed on"
    );
    let error = partner.tokens.refresh_now().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReauthorizationRequired);
    partner.connect(&sandbox).await;
    assert_eq!(partner.get("/v1/company").await.status(), 200);
}

#[tokio::test]
async fn p17_no_request_is_sent_after_a_revocation() {
    let sandbox = Sandbox::start().await.unwrap();
    let partner = partner(&sandbox, MemoryStore::new());
    partner.connect(&sandbox).await;
    partner.tokens.revoke().await.unwrap();
    let requests = sandbox.counters().requests;
    let request = Request::get(format!("{}/v1/company", partner.url))
        .body(Full::default())
        .unwrap();
    let error = partner.api.clone().oneshot(request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Revoked);
    assert_eq!(sandbox.counters().requests, requests);
}

#[tokio::test]
async fn p05_requests_succeed_while_the_token_endpoint_is_down() {
    let sandbox = Sandbox::start().await.unwrap();
    let partner = partner(&sandbox, MemoryStore::new());
    partner.connect(&sandbox).await;
    sandbox.inject(Endpoint::Token, Fault::drop_connection().always());
    assert_eq!(
        partner.tokens.refresh_now().await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    assert_eq!(partner.get("/v1/company").await.status(), 200);
}

#[tokio::test]
async fn reqwest_is_an_inner_service() {
    let sandbox = Sandbox::start().await.unwrap();
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let http = tower::service_fn(move |request: Request<ReplayBody<reqwest::Body>>| {
        let client = client.clone();
        async move {
            let request = request.map(reqwest::Body::wrap).try_into()?;
            client.execute(request).await.map(Response::from)
        }
    });
    let provider = provider::justworks().on_origin(&sandbox.url()).unwrap();
    let oauth = OAuthClient::builder(provider, sandbox.client_id())
        .client_secret(sandbox.client_secret())
        .redirect_uri(sandbox.redirect_uri())
        .scopes(["deductions:write"])
        .build(http.clone())
        .unwrap();
    let tokens = TokenCache::builder(oauth.clone())
        .clock(AheadClock)
        .build()
        .unwrap();
    let partner = Partner {
        api: BearerAuthLayer::new(tokens.clone()).layer(self::http()),
        oauth,
        tokens: tokens.clone(),
        url: sandbox.url(),
    };
    partner.connect(&sandbox).await;
    sandbox.revoke_access_tokens();

    let api = BearerAuthLayer::new(tokens).layer(http);
    let (head, body) = partner.deduction("o1").into_parts();
    let body = reqwest::Body::from(body.collect().await.unwrap().to_bytes());
    let response = api.oneshot(Request::from_parts(head, body)).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key(AUTHORIZATION));
    let counters = sandbox.counters();
    assert_eq!((counters.unauthorized, counters.deductions_created), (1, 1));
}

#[tokio::test]
async fn p18_a_provider_clock_two_hours_off_causes_no_extra_refresh() {
    for skew in [-7_200_i64, 7_200] {
        let now = tower_oauth2_client::clock::Clock::wall(&tower_oauth2_client::clock::SystemClock);
        let shift = Duration::from_secs(skew.unsigned_abs());
        let start = if skew < 0 { now - shift } else { now + shift };
        let sandbox = Sandbox::builder()
            .behavior(|behavior| behavior.access_token_lifetime = Duration::from_secs(3_600))
            .clock_starts_at(start)
            .start()
            .await
            .unwrap();
        let partner = partner(&sandbox, MemoryStore::new());
        partner.connect(&sandbox).await;
        assert_eq!(partner.get("/v1/company").await.status(), 200);
        assert_eq!(sandbox.counters().tokens_issued, 1, "{skew}");
    }
}

/// The response to one token request is changed on its way.
async fn refresh_with_odd_response(
    edit: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static,
) -> bool {
    let sandbox = Sandbox::start().await.unwrap();
    let partner = partner(&sandbox, MemoryStore::new());
    partner.connect(&sandbox).await;
    sandbox.inject(Endpoint::Token, Fault::edit(edit));
    let is_usable = partner.tokens.refresh_now().await.is_ok();
    assert_eq!(partner.get("/v1/company").await.status(), 200);
    // A refresh token that is sent again would end the grant.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    partner.tokens.refresh_now().await.unwrap();
    assert_eq!(partner.get("/v1/company").await.status(), 200);
    assert_eq!(sandbox.counters().grants_revoked, 0);
    assert_eq!(sandbox.counters().refreshes, 2);
    is_usable
}

#[tokio::test]
async fn p24_rotation_survives_an_odd_response_over_http() {
    let replaced = |from: &'static str, to: &'static str| {
        move |body: &[u8]| {
            let body = std::str::from_utf8(body).unwrap();
            assert!(body.contains(from), "{body}");
            body.replace(from, to).into_bytes()
        }
    };
    assert!(refresh_with_odd_response(gzip).await);
    assert!(refresh_with_odd_response(replaced("{", "\u{feff}{\"error\":\"\",")).await);
    assert!(refresh_with_odd_response(|body| [body, b"\xff trailing"].concat()).await);
    assert!(!refresh_with_odd_response(replaced("Bearer", "mac")).await);
    assert!(!refresh_with_odd_response(replaced("access_token", "token")).await);
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, body).unwrap();
    encoder.finish().unwrap()
}
