//! Values that are kept with a grant, from the program, from callbacks and from token responses, in
//! the shapes of real providers. The HTTP client is a function.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower_oauth2_client::{
    Error, ErrorKind,
    cache::TokenCache,
    clock::{Clock, SystemClock},
    oauth::{OAuthClient, PendingAuthorization},
    provider::{KeptValue, Provider, ProviderBuilder, ValueSource},
    store::{EncryptedStore, EncryptionKey, EncryptionKeys, FileStore},
    token::{AccessToken, ConsentDecision, NamedValues, TokenSet},
};

#[path = "support/mod.rs"]
mod support;

use support::{DAY, HOUR, token_set};

/// A client, the bodies of its next responses, and the URLs and bodies of its requests.
#[derive(Clone)]
struct Client {
    oauth: OAuthClient,
    responses: Arc<Mutex<Vec<String>>>,
    sent: Arc<Mutex<Vec<(String, String)>>>,
}

const TOKENS: &str = r#"{"access_token":"a1","refresh_token":"r1","expires_in":3600}"#;

/// Tokens with further members.
fn tokens_with(members: &str) -> String {
    TOKENS.replace('}', &format!(",{members}}}"))
}

impl Client {
    fn new(provider: ProviderBuilder) -> Self {
        let responses = Arc::<Mutex<Vec<String>>>::default();
        let sent = Arc::<Mutex<Vec<(String, String)>>>::default();
        let (next, log) = (responses.clone(), sent.clone());
        let http = tower::service_fn(move |request: Request<Full<Bytes>>| {
            let (next, log) = (next.clone(), log.clone());
            async move {
                let url = request.uri().to_string();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let body = String::from_utf8(body.to_vec()).unwrap();
                log.lock().unwrap().push((url, body));
                let mut next = next.lock().unwrap();
                let response = if next.is_empty() {
                    TOKENS.to_owned()
                } else {
                    next.remove(0)
                };
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(response)))
            }
        });
        let oauth = OAuthClient::builder(provider.build().unwrap(), "the-client")
            .client_secret("the-secret")
            .redirect_uri("https://partner.example.com/callback")
            .build(http)
            .unwrap();
        Self {
            oauth,
            responses,
            sent,
        }
    }

    fn respond(&self, body: impl Into<String>) {
        self.responses.lock().unwrap().push(body.into());
    }

    /// The URLs of the requests so far.
    fn urls(&self) -> Vec<String> {
        let sent = self.sent.lock().unwrap();
        sent.iter().map(|(url, _)| url.clone()).collect()
    }

    /// Starts with these values.
    fn start<const N: usize>(
        &self,
        values: [(&str, &str); N],
    ) -> Result<PendingAuthorization, Error> {
        let started = self
            .oauth
            .authorization_url_with(&NamedValues::from(values));
        started.map(|(_, pending)| pending)
    }

    /// Exchanges a code whose callback has these parameters too.
    async fn complete(
        &self,
        pending: &PendingAuthorization,
        parameters: &str,
    ) -> Result<TokenSet, Error> {
        let callback = format!("?code=c1&state={}{parameters}", pending.state());
        self.oauth.exchange_code(pending.accept(&callback)?).await
    }
}

fn pairs(tokens: &TokenSet) -> Vec<(&str, &str)> {
    tokens.values().iter().collect()
}

/// The callback names the data centre, and the response the API.
fn zoho() -> ProviderBuilder {
    let accounts = KeptValue::new(ValueSource::Callback)
        .name("accounts-server")
        .pattern(r"https://(accounts\.zoho\.(?:com|eu|in|jp|com\.au))");
    let location = KeptValue::new(ValueSource::Callback).pattern("[a-z]{2}");
    let api = KeptValue::new(ValueSource::Response)
        .name("api_domain")
        .pattern(r"https://(www\.zohoapis\.(?:com|eu|in|jp|com\.au))");
    Provider::builder("https://{accounts}/oauth/v2/token")
        .authorization_endpoint("https://accounts.zoho.com/oauth/v2/auth")
        .revocation_endpoint("https://{accounts}/oauth/v2/token/revoke")
        .kept_value("accounts", accounts)
        .kept_value("location", location)
        .kept_value("api", api)
        .api_origin("https://{api}")
}

#[tokio::test]
async fn p20_callback_chooses_among_the_servers_of_the_provider() {
    for (server, api) in [
        ("https%3A%2F%2Faccounts.zoho.eu", "https://www.zohoapis.eu"),
        (
            "https://accounts.zoho.com.au",
            "https://www.zohoapis.com.au",
        ),
    ] {
        let client = Client::new(zoho());
        client.respond(tokens_with(&format!(r#""api_domain":"{api}""#)));
        let pending = client.start([]).unwrap();
        let parameters = format!("&location=eu&accounts-server={server}");
        let tokens = client.complete(&pending, &parameters).await.unwrap();
        let server = server.replace("%3A", ":").replace("%2F", "/");
        assert_eq!(
            pairs(&tokens),
            [("accounts", &*server), ("api", api), ("location", "eu")]
        );
        let refreshed = client.oauth.refresh(&tokens).await.unwrap();
        assert_eq!(refreshed.values(), tokens.values());
        let url = format!("{server}/oauth/v2/token");
        assert_eq!(client.urls(), [url.clone(), url]);
        let origins = client.oauth.provider().tenant_origins(tokens.values());
        assert_eq!(origins.unwrap(), [api.parse().unwrap()]);
    }
}

/// RFC 9700 section 4.4: neither the code nor the client secret is sent.
#[tokio::test]
async fn p20_forged_callback_chooses_no_server() {
    for forged in [
        "accounts-server=https://evil.example",
        "accounts-server=https://evil.example/accounts.zoho.eu",
        "accounts-server=https://evil.example%23accounts.zoho.eu",
        "accounts-server=https://evil.example%3Faccounts.zoho.eu",
        "accounts-server=https://evil.example%5Caccounts.zoho.eu",
        "accounts-server=https://accounts.zoho.eu.evil.example",
        "accounts-server=https://accounts.zoho.eu@evil.example",
        "accounts-server=https://evil:evil@accounts.zoho.eu",
        "accounts-server=https://accounts.zoho.eu:8443",
        "accounts-server=https://accounts.zoho.eu:443",
        "accounts-server=https://accounts.zoho.eu/",
        "accounts-server=https://accounts.zoho.eu/evil",
        "accounts-server=https://accounts.zoho.eu%0A",
        "accounts-server=%0Ahttps://accounts.zoho.eu",
        "accounts-server=https://accounts.zoho.eu%00",
        "accounts-server=https://accounts.zoho.eu%20",
        "accounts-server=https://accounts.zoho.eu.",
        "accounts-server=https://accounts%252Ezoho.eu",
        "accounts-server=https://accounts%25zoho.eu",
        "accounts-server=https://accounts%EF%BC%8Ezoho.eu",
        "accounts-server=https://accounts%E3%80%82zoho.eu",
        "accounts-server=https://accountsxzoho.eu",
        "accounts-server=http://accounts.zoho.eu",
        "accounts-server=accounts.zoho.eu",
        "accounts-server=https://accounts.zoho.evil",
        "accounts-server=https://127.0.0.1",
        "accounts-server=https://%5B::1%5D",
        "accounts-server=%FF",
        "accounts-server=",
        // Missing.
        "",
        "Accounts-Server=https://accounts.zoho.eu",
        // Repeated.
        "accounts-server=https://accounts.zoho.eu&accounts-server=https://accounts.zoho.eu",
        "accounts-server=https://accounts.zoho.eu&accounts-server=https://evil.example",
        "accounts-server=https://accounts.zoho.eu&accounts%2Dserver=https://accounts.zoho.in",
        // Another value is wrong.
        "accounts-server=https://accounts.zoho.eu&location=../evil",
    ] {
        let client = Client::new(zoho());
        let pending = client.start([]).unwrap();
        let parameters = format!("&{forged}");
        let error = client.complete(&pending, &parameters).await.unwrap_err();
        let kind = if forged.matches("erver=https").count() > 1 {
            ErrorKind::Callback
        } else {
            ErrorKind::KeptValue
        };
        assert_eq!(error.kind(), kind, "{forged}: {error}");
        let text = format!("{error} {error:?}");
        assert!(!text.contains("evil"), "{text}");
        assert_eq!(client.urls(), [""; 0], "{forged}");
    }
}

/// A callback of another flow, or of another server, is not worth a look at its values.
#[tokio::test]
async fn p20_state_and_issuer_and_errors_come_before_values() {
    let client = Client::new(zoho().issuer("https://id.example.com"));
    let pending = client.start([]).unwrap();
    let state = pending.state();
    for callback in [
        "?code=c1&state=s&accounts-server=evil".to_owned(),
        format!("?code=c1&state={state}&accounts-server=evil"),
        format!("?error=access_denied&iss=https://id.example.com&state={state}&accounts-server=x"),
    ] {
        let error = pending.accept(&callback).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Callback, "{callback}");
    }
}

/// The callback names the company, which no URL contains.
#[tokio::test]
async fn value_without_a_place_in_a_url_may_be_missing() {
    let quickbooks = || {
        Provider::builder("https://oauth.example.com/tokens/bearer")
            .authorization_endpoint("https://id.example.com/connect/oauth2")
            .kept_value(
                "realm_id",
                KeptValue::new(ValueSource::Callback).name("realmId"),
            )
    };
    for (parameters, expected) in [
        ("&realmId=9130347596", Some("9130347596")),
        ("&realmId=a%20b%26c", Some("a b&c")),
        ("&realmId=", None),
        ("", None),
        ("&realm_id=42", None),
    ] {
        let client = Client::new(quickbooks());
        let pending = client.start([]).unwrap();
        let tokens = client.complete(&pending, parameters).await.unwrap();
        assert_eq!(tokens.values().get("realm_id"), expected, "{parameters}");
        let refreshed = client.oauth.refresh(&tokens).await.unwrap();
        assert_eq!(refreshed.values().get("realm_id"), expected);
    }
    let client = Client::new(quickbooks());
    let pending = client.start([]).unwrap();
    let large = format!("&realmId={}", "1".repeat(8 * 1024));
    for wrong in ["&realmId=1&realmId=1", &large] {
        let error = client.complete(&pending, wrong).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Callback);
    }
    assert_eq!(client.urls(), [""; 0]);
}

/// The response names the API, and the identity.
fn salesforce() -> ProviderBuilder {
    let response = || KeptValue::new(ValueSource::Response);
    Provider::builder("https://login.salesforce.com/services/oauth2/token")
        .authorization_endpoint("https://login.salesforce.com/services/oauth2/authorize")
        .kept_value(
            "instance",
            response()
                .name("instance_url")
                .pattern(r"https://([a-zA-Z0-9-]+\.my\.salesforce\.com)"),
        )
        .kept_value("id", response())
        .kept_value("user", response().name("authed_user.id"))
        .kept_value("team", response())
        .api_origin("https://{instance}")
}

#[tokio::test]
async fn members_of_each_response_are_kept() {
    let client = Client::new(salesforce());
    client.respond(tokens_with(
        r#""instance_url":"https://acme.my.salesforce.com","id":"https:\/\/login\/id\/1",
           "authed_user":{"id":42,"more":[1]},"team":{"id":"T1"}"#,
    ));
    let pending = client.start([]).unwrap();
    // A callback has no part in it.
    let parameters = "&instance_url=https://evil.example&id=evil&instance=evil";
    let tokens = client.complete(&pending, parameters).await.unwrap();
    let url = "https://acme.my.salesforce.com";
    let all = [
        ("id", "https://login/id/1"),
        ("instance", url),
        ("team", r#"{"id":"T1"}"#),
        ("user", "42"),
    ];
    assert_eq!(pairs(&tokens), all);

    // What a refresh omits, or has no content, stays.
    for omitted in [
        r#""x":1"#,
        r#""instance_url":null,"id":"","authed_user":7,"team":null"#,
        r#""instance_url":"https://evil.example","authed_user":{},"id":" ""#,
        r#""instance_url":{"host":"acme.my.salesforce.com"}"#,
    ] {
        client.respond(tokens_with(omitted));
        let refreshed = client.oauth.refresh(&tokens).await.unwrap();
        assert_eq!(pairs(&refreshed), all, "{omitted}");
    }
    client.respond(tokens_with(
        r#""instance_url":"https://beta.my.salesforce.com","authed_user":{"id":true}"#,
    ));
    let refreshed = client.oauth.refresh(&tokens).await.unwrap();
    let moved = "https://beta.my.salesforce.com";
    assert_eq!(refreshed.values().get("instance"), Some(moved));
    assert_eq!(refreshed.values().get("user"), Some("true"));
    assert_eq!(refreshed.values().get("team"), Some(r#"{"id":"T1"}"#));

    // Also of a grant for the client itself.
    client.respond(tokens_with(&format!(r#""instance_url":"{url}""#)));
    let own = client.oauth.client_credentials().await.unwrap();
    assert_eq!(pairs(&own), [("instance", url)]);
}

/// The tokens are not lost: only what needs the value fails, for this grant.
#[tokio::test]
async fn p24_member_that_does_not_match_is_left_out() {
    for wrong in [
        r#""instance_url":"https://evil.example""#,
        r#""instance_url":"https://a.my.salesforce.com\n""#,
        r#""instance_url":["https://a.my.salesforce.com"]"#,
        r#""x":0"#,
    ] {
        let client = Client::new(salesforce());
        client.respond(tokens_with(wrong));
        let pending = client.start([]).unwrap();
        let tokens = client.complete(&pending, "").await.unwrap();
        assert_eq!(tokens.values().get("instance"), None, "{wrong}");
        assert_eq!(tokens.refresh_token().unwrap().expose(), "r1");
        let origins = client.oauth.provider().tenant_origins(tokens.values());
        assert_eq!(origins.unwrap_err().kind(), ErrorKind::KeptValue);
        // The next refresh heals it.
        let member = r#""instance_url":"https://a.my.salesforce.com""#;
        client.respond(tokens_with(member));
        let refreshed = client.oauth.refresh(&tokens).await.unwrap();
        let origins = client.oauth.provider().tenant_origins(refreshed.values());
        assert_eq!(origins.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn p24_member_that_is_too_large_replaces_nothing() {
    let client = Client::new(salesforce());
    let large = |length: usize| format!(r#""id":"{}","team":"T1""#, "x".repeat(length));
    for (length, has_id, has_team) in [
        (8 * 1024 - 2 - 6, true, true),
        // Values are kept in the order of their names.
        (8 * 1024 - 2, true, false),
        (8 * 1024 - 1, false, true),
        (8 * 1024 + 1, false, true),
        (100_000, false, true),
    ] {
        client.respond(tokens_with(&large(length)));
        let pending = client.start([]).unwrap();
        let tokens = client.complete(&pending, "").await.unwrap();
        let is_kept = |name| tokens.values().get(name).is_some();
        assert_eq!(is_kept("id"), has_id, "{length}");
        assert_eq!(is_kept("team"), has_team, "{length}");
        assert_eq!(tokens.refresh_token().unwrap().expose(), "r1");
    }
    client.respond(tokens_with(r#""id":"1""#));
    let pending = client.start([]).unwrap();
    let tokens = client.complete(&pending, "").await.unwrap();
    client.respond(tokens_with(&large(9_000)));
    let refreshed = client.oauth.refresh(&tokens).await.unwrap();
    assert_eq!(pairs(&refreshed), [("id", "1"), ("team", "T1")]);
}

#[test]
fn more_values_than_a_grant_keeps_are_refused() {
    let with_values = |number: usize| {
        let mut builder = Provider::builder("https://id.example.com/token");
        for index in 0..number {
            let value = KeptValue::new(ValueSource::Response);
            builder = builder.kept_value(format!("v{index}"), value);
        }
        builder.build()
    };
    assert!(with_values(16).is_ok());
    let error = with_values(17).unwrap_err();
    assert!(error.to_string().starts_with("kept_values: 17"), "{error}");
    for name in ["code", "state"] {
        let value = KeptValue::new(ValueSource::Callback).name(name);
        let builder = Provider::builder("https://id.example.com/token");
        let error = builder.kept_value("v", value).build().unwrap_err();
        assert!(error.to_string().starts_with("kept_values.v.name: "));
    }
}

/// The program names the shop, which has its own server.
fn shopify() -> ProviderBuilder {
    let shop = KeptValue::new(ValueSource::Connect).pattern("[a-z0-9][a-z0-9-]*");
    Provider::builder("https://{shop}.myshopify.com/admin/oauth/access_token")
        .authorization_endpoint("https://{shop}.myshopify.com/admin/oauth/authorize")
        .api_origin("https://{shop}.myshopify.com")
        .kept_value("shop", shop)
}

#[tokio::test]
async fn p20_value_of_the_program_is_not_replaced_by_a_callback() {
    let client = Client::new(shopify());
    let values = NamedValues::from([("shop", "acme")]);
    let (url, pending) = client.oauth.authorization_url_with(&values).unwrap();
    let authorize = "https://acme.myshopify.com/admin/oauth/authorize?response_type=code";
    assert!(url.starts_with(authorize), "{url}");
    // As a session keeps it.
    let state = pending.state().to_owned();
    let verifier = pending.code_verifier().cloned();
    let stored: NamedValues = pending.values().iter().collect();
    let resumed = client.oauth.resume_authorization(state, verifier);
    let resumed = resumed.with_values(stored);
    client.respond(tokens_with(r#""shop":"evil""#));
    let tokens = client
        .complete(&resumed, "&shop=evil&shop=evil.myshopify.com")
        .await
        .unwrap();
    let refreshed = client.oauth.refresh(&tokens).await.unwrap();
    for tokens in [tokens, refreshed] {
        assert_eq!(pairs(&tokens), [("shop", "acme")]);
    }
    let url = "https://acme.myshopify.com/admin/oauth/access_token".to_owned();
    assert_eq!(client.urls(), [url.clone(), url]);
}

#[test]
fn p20_wrong_values_of_the_program_start_nothing() {
    let extra = KeptValue::new(ValueSource::Connect);
    let response = KeptValue::new(ValueSource::Response);
    let client = Client::new(
        shopify()
            .kept_value("extra", extra)
            .kept_value("of_response", response),
    );
    for forged in [
        "",
        ".",
        "..",
        "evil.example/",
        "evil.example#",
        "evil.example:443",
        "evil@acme",
        "acme\n",
        "acme ",
        "ACME",
        "acme.evil",
        "acme%2e",
        "acme\u{ff0e}evil",
    ] {
        let error = client.start([("shop", forged)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::KeptValue, "{forged:?}");
        assert!(!error.to_string().contains("evil"));
    }
    let missing = client.oauth.authorization_url().unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::KeptValue);
    for (name, value) in [("other", "x"), ("of_response", "x"), ("shop", "acme")] {
        let error = client.start([("shop", "acme"), (name, value)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{name}");
        assert!(error.to_string().contains(name), "{error}");
    }
    for (length, fits) in [(1024 - 13, true), (1024 - 13 + 1, false), (9_000, false)] {
        let long = "x".repeat(length);
        let started = client.start([("shop", "acme"), ("extra", &long)]);
        assert_eq!(started.is_ok(), fits, "{length}");
    }
    // What a session has lost or changed is noticed before the code is sent.
    let pending = client.start([("shop", "acme")]).unwrap();
    for (values, kind) in [
        (NamedValues::default(), ErrorKind::KeptValue),
        ([("shop", "evil.example/")].into(), ErrorKind::KeptValue),
        ([("evil", "evil")].into(), ErrorKind::Configuration),
    ] {
        let pending = pending.clone().with_values(values);
        let callback = format!("?code=c1&state={}", pending.state());
        assert_eq!(pending.accept(&callback).unwrap_err().kind(), kind);
    }
}

/// The grant of a cache that stores it encrypted survives a restart, with its values.
#[tokio::test]
async fn p13_values_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let client = Client::new(zoho());
    client.respond(tokens_with(r#""api_domain":"https://www.zohoapis.in""#));
    client.respond(tokens_with(r#""api_domain":"https://www.zohoapis.jp""#));
    let cache = || {
        let files = FileStore::open(directory.path()).unwrap();
        let key = EncryptionKey::new("k1", [7; 32]).unwrap();
        let store = EncryptedStore::new(files, EncryptionKeys::new(key), "x");
        let cache = TokenCache::builder(client.oauth.clone()).store(store.unwrap());
        cache.tenant("acme").build().unwrap()
    };
    let tokens = cache();
    let pending = client.start([]).unwrap();
    let callback = format!(
        "?code=c1&state={}&accounts-server=https://accounts.zoho.in",
        pending.state()
    );
    let completed = tokens.complete_authorization(&client.oauth, &pending, &callback);
    completed.await.unwrap();
    tokens.shutdown(HOUR).await.unwrap();
    drop(tokens);
    let files = std::fs::read_dir(directory.path()).unwrap();
    let files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    let contents: Vec<_> = files
        .iter()
        .filter_map(|path| std::fs::read(path).ok())
        .collect();
    let has = |text: &str| {
        let mut contents = contents.iter().flat_map(|bytes| bytes.windows(text.len()));
        contents.any(|window| window == text.as_bytes())
    };
    assert!(has("accounts") && !has("zoho"));
    for _ in 0..2 {
        let tokens = cache();
        tokens.refresh_now().await.unwrap();
        tokens.shutdown(HOUR).await.unwrap();
    }
    let url = "https://accounts.zoho.in/oauth/v2/token".to_owned();
    assert_eq!(client.urls(), [url.clone(), url.clone(), url]);
}

/// A refresh token is not sent to a server that has not issued it.
#[tokio::test]
async fn p20_kept_refresh_token_keeps_its_addresses() {
    let now = SystemClock.wall();
    for (values, is_stored) in [
        (vec![], true),
        (vec![("accounts", "https://accounts.zoho.eu")], true),
        (vec![("location", "in")], true),
        (vec![("accounts", "https://accounts.zoho.in")], false),
        (vec![("api", "https://www.zohoapis.in")], false),
    ] {
        let client = Client::new(zoho());
        let tokens = TokenCache::builder(client.oauth.clone()).build().unwrap();
        let old = token_set(1, DAY, now)
            .with_value("accounts", "https://accounts.zoho.eu")
            .with_value("api", "https://www.zohoapis.eu");
        tokens.set_tokens(old).await.unwrap();
        let mut bare = TokenSet::new(AccessToken::new("a2").unwrap(), DAY, now);
        for (name, value) in &values {
            bare = bare.with_value(name, value);
        }
        let stored = tokens.set_tokens_with(bare, ConsentDecision::KeepRefreshToken);
        let stored = stored.await.map_err(|error| error.kind());
        if is_stored {
            assert_eq!(stored, Ok(()), "{values:?}");
        } else {
            assert_eq!(stored, Err(ErrorKind::RefreshTokenMissing), "{values:?}");
        }
        tokens.refresh_now().await.unwrap();
        assert_eq!(
            client.urls(),
            ["https://accounts.zoho.eu/oauth/v2/token"],
            "{values:?}"
        );
    }
}
