//! Two providers over real HTTP, and one directory for the grants of both.

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower_oauth2_client::{
    ErrorKind,
    cache::TokenCache,
    oauth::OAuthClient,
    provider,
    sandbox::{ClientRegistration, EventKind, Sandbox},
    store::{FileStore, TokenStore},
    tenants::Tenants,
    token::TenantId,
};

use crate::shared::{DAY, connect};

fn oauth(sandbox: &Sandbox, client_id: &str, client_secret: &str) -> OAuthClient {
    let provider = provider::justworks().on_origin(&sandbox.url()).unwrap();
    let http: Client<HttpConnector, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).build_http();
    OAuthClient::builder(provider, client_id)
        .client_secret(client_secret)
        .redirect_uri(sandbox.redirect_uri())
        .build(http)
        .unwrap()
}

/// How many codes and refresh tokens the token endpoint was sent.
fn token_requests(sandbox: &Sandbox) -> usize {
    let is_request = |kind: &EventKind| {
        matches!(
            kind,
            EventKind::TokensIssued { .. } | EventKind::TokenRequestRefused { .. }
        )
    };
    let events = sandbox.events().into_iter();
    events.filter(|event| is_request(&event.kind)).count()
}

/// The first client has connected the tenant `default`. Nothing that the second one does reaches a
/// provider, or changes the grant.
async fn is_kept_apart(
    directory: &std::path::Path,
    [one, two]: [&OAuthClient; 2],
    [sandbox_of_one, sandbox_of_two]: [&Sandbox; 2],
) {
    let store = FileStore::open(directory).unwrap();
    let cache = |oauth: &OAuthClient| TokenCache::builder(oauth.clone()).store(store.clone());
    let ones = cache(one).build().unwrap();
    connect(sandbox_of_one, one, &ones).await;
    let tenant = TenantId::new("default").unwrap();
    let stored = store.load(&tenant).await.unwrap();
    let before = [sandbox_of_one, sandbox_of_two].map(token_requests);

    let twos = cache(two).build().unwrap();
    let errors = [
        twos.token().await.unwrap_err(),
        twos.refresh_now().await.unwrap_err(),
        twos.revoke().await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::ForeignGrant, "{error}");
        let message = error.to_string();
        for identity in [one.identity(), two.identity()] {
            assert!(message.contains(&identity.to_string()), "{message}");
        }
    }
    // The customer consents at the second provider, and the code is not spent.
    let (url, pending) = two.authorization_url().unwrap();
    let callback = sandbox_of_two.consent(&url).await.unwrap();
    let twos = cache(two).build().unwrap();
    let completed = twos.complete_authorization(two, &pending, &callback).await;
    assert_eq!(completed.unwrap_err().kind(), ErrorKind::ForeignGrant);
    assert_eq!([sandbox_of_one, sandbox_of_two].map(token_requests), before);
    assert_eq!(store.load(&tenant).await.unwrap(), stored);

    // In a directory of its own, the same code serves.
    let own = FileStore::open(directory.join("two")).unwrap();
    let twos = TokenCache::builder(two.clone()).store(own).build().unwrap();
    let completed = twos.complete_authorization(two, &pending, &callback).await;
    completed.unwrap();
    twos.refresh_now().await.unwrap();
    ones.refresh_now().await.unwrap();
    let restarted = cache(one).build().unwrap();
    restarted.refresh_now().await.unwrap();
}

#[tokio::test]
async fn p25_two_providers_share_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let [one, two] = [
        Sandbox::start().await.unwrap(),
        Sandbox::start().await.unwrap(),
    ];
    let client = |sandbox: &Sandbox| oauth(sandbox, sandbox.client_id(), sandbox.client_secret());
    let clients = [client(&one), client(&two)];
    assert_eq!(one.client_id(), two.client_id());
    is_kept_apart(
        &directory.path().join("grants"),
        clients.each_ref(),
        [&one, &two],
    )
    .await;
}

#[tokio::test]
async fn p25_two_clients_of_one_provider_share_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::builder().start().await.unwrap();
    let other = Sandbox::builder().client(
        ClientRegistration::new("other", "other-secret").redirect_uri(sandbox.redirect_uri()),
    );
    let both = other.start().await.unwrap();
    let clients = [
        oauth(&both, both.client_id(), both.client_secret()),
        oauth(&both, "other", "other-secret"),
    ];
    is_kept_apart(
        &directory.path().join("grants"),
        clients.each_ref(),
        [&both, &both],
    )
    .await;
}

#[tokio::test]
async fn p25_sweeps_of_two_providers_over_one_directory_keep_both_grants_alive() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path().join("grants")).unwrap();
    let [one, two] = [
        Sandbox::start().await.unwrap(),
        Sandbox::start().await.unwrap(),
    ];
    let mut replicas = Vec::new();
    for (name, sandbox) in [("one", &one), ("two", &two)] {
        let oauth = oauth(sandbox, sandbox.client_id(), sandbox.client_secret());
        let cache = TokenCache::builder(oauth.clone()).store(store.clone());
        connect(sandbox, &oauth, &cache.tenant(name).build().unwrap()).await;
        let tenants = Tenants::builder(oauth).store(store.clone());
        replicas.push(tenants.refresh_token_lifetime(30 * DAY).build().unwrap());
    }
    for (tenants, sandbox) in replicas.iter().zip([&one, &two]) {
        let report = loop {
            // The background task of the same process may be sweeping.
            if let Ok(report) = tenants.sweep().await {
                break report;
            }
        };
        assert_eq!(
            (report.active, report.foreign, report.unreadable),
            (1, 1, 0)
        );
        assert_eq!(token_requests(sandbox), 1);
    }
}
