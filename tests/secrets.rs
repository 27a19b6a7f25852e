//! P21: what is secret is told nowhere, at no level, whatever goes wrong and whatever the server echoes.

use std::{
    fmt::Debug,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::{Layer, ServiceExt};
use tower_oauth2_client::{
    bearer::{BearerAuthLayer, ReplayBody},
    cache::TokenCache,
    oauth::OAuthClient,
    provider,
    sandbox::{Endpoint, Fault, Sandbox},
    store::{FileStore, TokenStore},
    token::TenantId,
};

/// Everything that is written anywhere.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    fn note(&self, value: &(impl Debug + ?Sized)) {
        self.0
            .lock()
            .unwrap()
            .extend(format!("{value:?}\n{value:#?}\n").bytes());
    }

    /// An error with all that is behind it, as a program would print it.
    fn note_error(&self, error: &(dyn std::error::Error + 'static)) {
        let mut next = Some(error);
        while let Some(error) = next {
            self.note(&error.to_string());
            self.note(error);
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

#[tokio::test]
async fn p21_no_secret_is_told_anywhere() {
    let paper = Paper::default();
    let logs = paper.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || logs.clone())
        .init();

    let sandbox = Sandbox::builder()
        .client_secret(SECRET)
        .start()
        .await
        .unwrap();
    let http: Client<HttpConnector, ReplayBody<Full<Bytes>>> =
        Client::builder(TokioExecutor::new()).build_http();
    let provider = provider::justworks().on_origin(&sandbox.url()).unwrap();
    let builder = OAuthClient::builder(provider, sandbox.client_id(), SECRET)
        .redirect_uri(sandbox.redirect_uri());
    paper.note(&builder);
    let oauth = builder.build(http.clone()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path()).unwrap();
    let tokens = TokenCache::builder(oauth.clone())
        .store(store.clone())
        .build()
        .unwrap();
    let layer = BearerAuthLayer::new(tokens.clone());
    let api = layer.layer(http);
    let tenant = TenantId::new("default").unwrap();

    let (url, pending) = oauth.authorization_url().unwrap();
    let callback = sandbox.consent(&url).await.unwrap();
    let accepted = pending.accept(&callback).unwrap();
    let mut secrets = vec![
        SECRET.to_owned(),
        pending.state().to_owned(),
        accepted.code().expose().to_owned(),
    ];
    paper.note(&(&oauth, &pending, &accepted, &tokens, &layer, &api, &store));
    paper.note_error(
        &pending
            .accept("?error=seeded-by-server&state=x")
            .unwrap_err(),
    );
    tokens
        .replace(oauth.exchange_code(accepted).await.unwrap())
        .await
        .unwrap();

    let company = format!("{}/v1/company", sandbox.url());
    let get = || Request::get(&company).body(Full::default()).unwrap();
    for round in 0..6 {
        let grant = store.load(&tenant).await.unwrap().unwrap();
        let held = grant.tokens().unwrap();
        secrets.push(held.access_token().expose().to_owned());
        secrets.push(held.refresh_token().unwrap().expose().to_owned());
        paper.note(&(&grant, tokens.token().await.unwrap(), &tokens, &api));

        // What the server says back: all it knows, wherever it can.
        let echo = secrets.join(" ");
        let echo_json =
            format!(r#"{{"error":"{echo}","error_description":"{echo}","access_token":"{echo}"}}"#);
        let fault = match round {
            0 => Fault::status(StatusCode::BAD_REQUEST).body(echo_json),
            1 => Fault::status(StatusCode::OK).body(echo_json),
            2 => Fault::status(StatusCode::BAD_GATEWAY).body(echo),
            3 => Fault::status(StatusCode::FOUND).header(
                header::LOCATION,
                HeaderValue::from_str(&format!("https://evil.example/?{}", secrets[0])).unwrap(),
            ),
            4 => Fault::drop_connection(),
            _ => Fault::truncate(),
        };
        sandbox.inject(Endpoint::Token, fault);
        if let Err(error) = tokens.refresh_now().await {
            paper.note_error(&error);
        }
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        // The answer that was cut was still a rotation: consent anew, as the customer would have to.
        let _ = tokens
            .refresh_now()
            .await
            .map_err(|error| paper.note_error(&error));
        let response = api.clone().oneshot(get()).await.unwrap();
        paper.note(&response);
        let _ = response.into_body().collect().await;
    }

    // Refused, unreadable and revoked.
    let elsewhere = Request::get("https://evil.example/")
        .body(Full::default())
        .unwrap();
    paper.note_error(&api.clone().oneshot(elsewhere).await.unwrap_err());
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let whole = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, whole.replace("\"version\"", "\"no version\"")).unwrap();
        }
    }
    paper.note_error(&tokens.refresh_now().await.unwrap_err());
    let _ = tokens
        .revoke()
        .await
        .map_err(|error| paper.note_error(&error));
    if let Err(error) = api.clone().oneshot(get()).await {
        paper.note_error(&error);
    }

    let text = paper.text();
    assert!(
        text.contains("tower_oauth2_client"),
        "events are listened to"
    );
    assert!(text.contains("hyper_util"), "those of the client as well");
    secrets.sort();
    secrets.dedup();
    assert!(secrets.len() > 6, "{}", secrets.len());
    for secret in secrets {
        assert!(!text.contains(&secret), "told: {secret}");
    }
}
