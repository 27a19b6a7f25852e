//! P21: no secret is in any log, error or `Debug` output, whatever fails and whatever the server
//! echoes.

use std::{
    collections::HashMap,
    fmt::Debug,
    io,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tempfile::TempDir;
use tower::{BoxError, Layer, Service, ServiceExt};
use tower_oauth2_client::{
    bearer::{BearerAuth, BearerAuthLayer, ReplayBody},
    cache::TokenCache,
    oauth::{OAuthClient, TokenToRevoke},
    provider::{self, ClientAuthentication, Provider},
    sandbox::{Endpoint, Fault, Sandbox},
    store::{FileStore, TokenStore},
    token::{AccessToken, RefreshToken, TenantId, TokenSet},
};

#[path = "support/mod.rs"]
mod support;

use support::ManualClock;

/// All text that the program writes.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    fn record(&self, value: &(impl Debug + ?Sized)) {
        self.0
            .lock()
            .unwrap()
            .extend(format!("{value:?}\n{value:#?}\n").bytes());
    }

    /// An error with its chain of sources, as a program would print it.
    fn record_error(&self, error: &(dyn std::error::Error + 'static)) {
        let mut next = Some(error);
        while let Some(error) = next {
            self.record(&error.to_string());
            self.record(error);
            next = error.source();
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl io::Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const SECRET: &str = "seeded-client-secret";

type Http = Client<HttpConnector, Full<Bytes>>;

/// An integration whose secrets are all known, and the text that it writes.
struct Scene {
    paper: Paper,
    secrets: Vec<String>,
    clock: ManualClock,
    sandbox: Sandbox,
    oauth: OAuthClient,
    folder: TempDir,
    store: FileStore,
    tokens: TokenCache,
    api: BearerAuth<Http, Full<Bytes>>,
}

#[tokio::test]
async fn p21_no_secret_is_written_anywhere() {
    let paper = Paper::default();
    let logs = paper.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || logs.clone())
        .init();

    let mut scene = Scene::new(paper).await;
    scene.connect().await;
    scene.fail_in_many_ways().await;
    scene.refuse_and_revoke().await;
    scene.echo_assertions().await;

    let text = scene.paper.text();
    assert!(text.contains("tower_oauth2_client"), "events are recorded");
    assert!(
        text.contains("hyper_util"),
        "so are the events of the HTTP client"
    );
    assert!(text.contains("harmless_code"), "codes are kept");
    assert!(text.contains("harmless text, [removed]"), "{text}");
    let id = scene.sandbox.client_id();
    scene
        .secrets
        .push(BASE64_STANDARD.encode(format!("{id}:{SECRET}")));
    let halves = scene.secrets.iter().map(|it| it[..it.len() / 2].to_owned());
    let halves: Vec<_> = halves.collect();
    scene.secrets.extend(halves);
    scene.secrets.sort();
    scene.secrets.dedup();
    assert!(scene.secrets.len() > 6, "{}", scene.secrets.len());
    for secret in scene.secrets {
        assert!(!text.contains(&secret), "written: {secret}");
    }
}

impl Scene {
    async fn new(paper: Paper) -> Self {
        let clock = ManualClock::new();
        let sandbox = Sandbox::builder()
            .client_secret(SECRET)
            .start()
            .await
            .unwrap();
        let http: Http = Client::builder(TokioExecutor::new()).build_http();
        let provider = provider::justworks().on_origin(&sandbox.url()).unwrap();
        let builder = OAuthClient::builder(provider, sandbox.client_id())
            .client_secret(SECRET)
            .clock(clock.clone())
            .redirect_uri(sandbox.redirect_uri());
        paper.record(&builder);
        let oauth = builder.build(http.clone()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path()).unwrap();
        let builder = TokenCache::builder(oauth.clone())
            .store(store.clone())
            .clock(clock.clone());
        paper.record(&builder);
        let tokens = builder.build().unwrap();
        let layer = BearerAuthLayer::new(tokens.clone());
        let api = layer.layer(http);
        paper.record(&(&oauth, &tokens, &layer, &api, &store));
        let secrets = vec![SECRET.to_owned()];
        Self {
            paper,
            secrets,
            clock,
            sandbox,
            oauth,
            folder,
            store,
            tokens,
            api,
        }
    }

    async fn connect(&mut self) {
        let (url, pending) = self.oauth.authorization_url().unwrap();
        let callback = self.sandbox.consent(&url).await.unwrap();
        let accepted = pending.accept(&callback).unwrap();
        self.secrets.push(pending.state().to_owned());
        self.secrets.push(accepted.code().expose().to_owned());
        self.paper.record(&(&pending, &accepted));
        let stranger = pending
            .accept("?error=seeded-by-server&state=x")
            .unwrap_err();
        self.paper.record_error(&stranger);
        let tokens = self.oauth.exchange_code(accepted).await.unwrap();
        self.tokens.set_tokens(tokens).await.unwrap();
    }

    /// Records the current tokens as secrets, and everything that can be printed about them.
    async fn look(&mut self) {
        let grant = self
            .store
            .load(&TenantId::new("default").unwrap())
            .await
            .unwrap()
            .unwrap();
        let held = grant.tokens().unwrap();
        self.secrets.push(held.access_token().expose().to_owned());
        self.secrets
            .push(held.refresh_token().unwrap().expose().to_owned());
        self.paper.record(&(
            &grant,
            self.tokens.token().await.unwrap(),
            &self.tokens,
            &self.api,
        ));
        let (access, refresh) = (held.access_token(), held.refresh_token().unwrap());
        self.paper.record(&(access, refresh, access.header_value()));
        self.paper
            .record(&(TokenToRevoke::from(access), TokenToRevoke::from(refresh)));
        let body = ReplayBody::<Full<Bytes>>::from(Bytes::from(refresh.expose().to_owned()));
        self.paper.record(&body);
        let mut api = self.api.clone();
        self.paper
            .record(&api.ready().await.unwrap().call(self.company()));
    }

    /// The server echoes all secrets wherever it can, or closes the connection.
    async fn fail_in_many_ways(&mut self) {
        self.look().await;
        let echo = self.secrets.join(" ");
        let json =
            format!(r#"{{"error":"{echo}","error_description":"{echo}","access_token":"{echo}"}}"#);
        let described = format!(
            r#"{{"error":"harmless_code","error_description":"harmless text, {echo} {}"}}"#,
            self.encoded_secrets()
        );
        let evil = format!("https://evil.example/?{SECRET}").parse().unwrap();
        for fault in [
            Fault::status(StatusCode::BAD_REQUEST).body(described.clone()),
            Fault::status(StatusCode::OK).body(described),
            Fault::status(StatusCode::BAD_REQUEST).body(json.clone()),
            Fault::status(StatusCode::OK).body(json),
            Fault::status(StatusCode::BAD_GATEWAY).body(echo),
            Fault::status(StatusCode::FOUND).header(header::LOCATION, evil),
            Fault::drop_connection(),
            Fault::edit(|body| body[..40].to_vec()),
        ] {
            // A lost response causes a replay.
            self.sandbox.inject(Endpoint::Token, fault.times(2));
            let error = self.tokens.refresh_now().await.unwrap_err();
            self.paper.record_error(&error);
            self.clock.advance(2);
            // The response that was cut off was a rotation, so the second use of its refresh token
            // ends the grant.
            if let Err(error) = self.tokens.refresh_now().await {
                self.paper.record_error(&error);
            }
            self.clock.advance(2);
            self.look().await;
            let response = self.api.clone().oneshot(self.company()).await.unwrap();
            self.paper.record(&response);
        }
    }

    /// The credentials and tokens as a request carries them.
    fn encoded_secrets(&self) -> String {
        let id = self.sandbox.client_id();
        let basic = BASE64_STANDARD.encode(format!("{id}:{SECRET}"));
        let encoded = self.secrets.iter().map(|secret| {
            let form: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            let half = &secret[..secret.len() / 2];
            format!("{form} {} {half}...", BASE64_STANDARD.encode(secret))
        });
        encoded.chain([basic]).collect::<Vec<_>>().join(" ")
    }

    /// The server repeats the assertion of each attempt, and nothing else of it is written either.
    async fn echo_assertions(&mut self) {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let log = sent.clone();
        let http = tower::service_fn(move |request: Request<Full<Bytes>>| {
            let log = log.clone();
            async move {
                let form = request.into_body().collect().await?.to_bytes();
                let form: HashMap<_, _> = form_urlencoded::parse(&form).into_owned().collect();
                let assertion = form["client_assertion"].clone();
                log.lock().unwrap().push(assertion.clone());
                let body = format!(
                    r#"{{"error":"invalid_client","error_description":"harmless, {assertion}"}}"#
                );
                let response = Response::builder().status(401);
                Ok::<_, BoxError>(response.body(Full::<Bytes>::from(body)).unwrap())
            }
        });
        let provider = Provider::builder("https://id.example.com/token")
            .authorization_endpoint("https://id.example.com/authorize")
            .pushed_authorization_request_endpoint("https://id.example.com/par")
            .revocation_endpoint("https://id.example.com/revoke")
            .client_authentication(ClientAuthentication::ClientSecretJwt)
            .build()
            .unwrap();
        let oauth = OAuthClient::builder(provider, "client")
            .client_secret(SECRET)
            .redirect_uri("https://partner.example.com/callback")
            .build(http)
            .unwrap();
        self.paper.record(&oauth);
        let token = RefreshToken::new("seeded-refresh-token");
        self.secrets.push(token.expose().to_owned());
        let held = TokenSet::new(
            AccessToken::new("seeded-access-token").unwrap(),
            None,
            SystemTime::UNIX_EPOCH,
        );
        let held = held.with_refresh_token(token.clone(), SystemTime::UNIX_EPOCH);
        let refresh = oauth.refresh(&held).await.unwrap_err();
        let push = oauth.start_authorization().await.unwrap_err();
        let revoke = oauth.revoke(&token).await.unwrap_err();
        for error in [refresh, push, revoke] {
            assert!(error.provider_message().unwrap().contains("harmless"));
            self.paper.record_error(&error);
        }
        let sent = sent.lock().unwrap();
        assert_eq!(sent.len(), 3);
        let parts = sent.iter().flat_map(|assertion| assertion.split('.'));
        // The header is the same for each client.
        self.secrets
            .extend(parts.filter(|part| part.len() > 40).map(str::to_owned));
    }

    async fn refuse_and_revoke(&mut self) {
        let evil = Request::get("https://evil.example/")
            .body(Full::default())
            .unwrap();
        let error = self.api.clone().oneshot(evil).await.unwrap_err();
        self.record_boxed(error);

        for entry in std::fs::read_dir(self.folder.path()).unwrap() {
            let path = entry.unwrap().path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                let whole = std::fs::read_to_string(&path).unwrap();
                std::fs::write(&path, whole.replace("\"version\"", "\"no version\"")).unwrap();
            }
        }
        let unreadable = self.tokens.refresh_now().await.unwrap_err();
        self.paper.record_error(&unreadable);
        let unwritable = self.tokens.revoke().await.unwrap_err();
        self.paper.record_error(&unwritable);
        let revoked = self.api.clone().oneshot(self.company()).await.unwrap_err();
        self.record_boxed(revoked);
    }

    fn record_boxed(&self, error: tower_oauth2_client::Error) {
        self.paper.record(&error);
        self.paper.record_error(&*BoxError::from(error));
    }

    fn company(&self) -> Request<Full<Bytes>> {
        Request::get(format!("{}/v1/company", self.sandbox.url()))
            .body(Full::default())
            .unwrap()
    }
}
