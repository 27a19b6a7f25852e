//! The requests of an `OAuthClient`, and how it reads the responses, over an HTTP client that is a
//! function.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, channel::Channel};
use tower_oauth2_client::{
    Error, ErrorKind, OAuthErrorCode,
    cache::TokenCache,
    clock::Clock,
    oauth::{EndpointGate, OAuthClient},
    provider::{self, ClientAuthentication, Provider, RequestKind},
    token::{AccessToken, RefreshToken, TokenSet},
};

#[path = "support/mod.rs"]
mod support;

use support::{HOUR, ManualClock, Store, token_set};

type Fields = BTreeMap<String, String>;
type Seen = Arc<Mutex<Vec<(Method, String, http::HeaderMap, Fields)>>>;

/// A client whose provider always sends the same response, and the requests that it received.
fn client(provider: Provider, status: u16, body: &str) -> (OAuthClient, Seen) {
    client_with_gate(&EndpointGate::new(), provider, status, body)
}

/// Like [`client`], with a gate that can be shared.
fn client_with_gate(
    gate: &EndpointGate,
    provider: Provider,
    status: u16,
    body: &str,
) -> (OAuthClient, Seen) {
    let seen = Seen::default();
    let body = body.to_owned();
    let log = seen.clone();
    let http = tower::service_fn(move |request: Request<Full<Bytes>>| {
        let (log, body) = (log.clone(), body.clone());
        async move {
            let (head, form) = request.into_parts();
            let form = form.collect().await.unwrap().to_bytes();
            let fields: Vec<_> = form_urlencoded::parse(&form).into_owned().collect();
            let names: Fields = fields.iter().cloned().collect();
            assert_eq!(names.len(), fields.len(), "no field is repeated");
            log.lock()
                .unwrap()
                .push((head.method, head.uri.to_string(), head.headers, names));
            let response = Response::builder()
                .status(status)
                .body(Full::<Bytes>::from(body));
            Ok::<_, Infallible>(response.unwrap())
        }
    });
    let oauth = OAuthClient::builder(provider, "the-client")
        .client_secret("the-secret")
        .redirect_uri("https://partner.example.com/callback")
        .scopes(["company.basic:read", "deductions:write"])
        .gate(gate.clone())
        .build(http)
        .unwrap();
    (oauth, seen)
}

const TOKENS: &str =
    r#"{"access_token":"a2","token_type":"Bearer","refresh_token":"r2","expires_in":3600}"#;

fn fields(fields: &[(&str, &str)]) -> Fields {
    fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

async fn code(oauth: &OAuthClient) -> Result<TokenSet, Error> {
    let (_, pending) = oauth.authorization_url()?;
    let callback = format!("?code=c1&state={}", pending.state());
    oauth.exchange_code(pending.accept(&callback)?).await
}

#[tokio::test]
async fn code_exchange_is_the_documented_request() {
    let (oauth, seen) = client(provider::justworks(), 200, TOKENS);
    let tokens = code(&oauth).await.unwrap();
    assert_eq!(tokens.access_token().expose(), "a2");
    assert_eq!(tokens.lifetime(), Some(HOUR));

    let (method, uri, headers, form) = seen.lock().unwrap()[0].clone();
    assert_eq!(method, Method::POST);
    assert_eq!(uri, "https://public-api.justworks.com/oauth/token");
    assert_eq!(headers["content-type"], "application/x-www-form-urlencoded");
    assert!(!headers.contains_key("authorization"));
    let expected = [
        ("grant_type", "authorization_code"),
        ("client_id", "the-client"),
        ("client_secret", "the-secret"),
        ("redirect_uri", "https://partner.example.com/callback"),
        ("code", "c1"),
    ];
    assert_eq!(form, fields(&expected));
}

#[tokio::test]
async fn request_parameters_are_in_every_request_of_their_kind_and_in_no_other() {
    let kinds = [
        RequestKind::Authorization,
        RequestKind::CodeExchange,
        RequestKind::Refresh,
        RequestKind::ClientCredentials,
        RequestKind::Revocation,
    ];
    let mut builder = Provider::builder("https://id.example.com/token")
        .authorization_endpoint("https://id.example.com/authorize")
        .refresh_endpoint("https://id.example.com/refresh")
        .revocation_endpoint("https://id.example.com/revoke")
        .scope_separator(",")
        .request_parameter(RequestKind::ClientCredentials, "grant_type", "account");
    for kind in kinds {
        builder = builder.request_parameter(kind, "about", format!("{kind:?} &"));
    }
    let (oauth, seen) = client(builder.build().unwrap(), 200, TOKENS);

    let (url, _) = oauth.authorization_url().unwrap();
    assert!(url.contains("&about=Authorization+%26"), "{url}");
    assert!(
        url.contains("&scope=company.basic%3Aread%2Cdeductions%3Awrite"),
        "{url}"
    );
    code(&oauth).await.unwrap();
    let old = token_set(1, HOUR, std::time::SystemTime::UNIX_EPOCH);
    oauth.refresh(&old).await.unwrap();
    oauth.client_credentials().await.unwrap();
    oauth.revoke(&RefreshToken::new("r1")).await.unwrap();

    let seen = seen.lock().unwrap();
    let sent: Vec<_> = seen
        .iter()
        .map(|(_, uri, _, form)| {
            let grant_type = form.get("grant_type").map_or("", String::as_str);
            (uri.as_str(), grant_type, form["about"].as_str())
        })
        .collect();
    assert_eq!(
        sent,
        [
            (
                "https://id.example.com/token",
                "authorization_code",
                "CodeExchange &"
            ),
            (
                "https://id.example.com/refresh",
                "refresh_token",
                "Refresh &"
            ),
            (
                "https://id.example.com/token",
                "account",
                "ClientCredentials &"
            ),
            ("https://id.example.com/revoke", "", "Revocation &"),
        ]
    );
}

#[test]
fn request_parameter_of_a_client_is_checked() {
    let http = tower::service_fn(|_: Request<Full<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    for (name, value) in [("client_secret", "seeded"), ("a b", "x"), ("a", "\u{7f}")] {
        let error = OAuthClient::builder(provider::justworks(), "id")
            .client_secret("secret")
            .request_parameter(RequestKind::Refresh, name, value)
            .build(http)
            .unwrap_err();
        assert!(error.is_misuse());
        let path = format!("request_parameters.refresh.{name}: ");
        assert!(error.to_string().starts_with(&path), "{error}");
        assert!(!error.to_string().contains("seeded"));
    }
}

#[tokio::test]
async fn all_clones_send_a_replaced_secret() {
    let (oauth, seen) = client(provider::justworks(), 200, TOKENS);
    let old = token_set(1, HOUR, std::time::SystemTime::UNIX_EPOCH);
    let clone = oauth.clone();
    let error = oauth.replace_secret("").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    clone.refresh(&old).await.unwrap();
    oauth.replace_secret("the-next-secret").unwrap();
    clone.refresh(&old).await.unwrap();
    clone.revoke(&RefreshToken::new("r1")).await.unwrap();
    assert!(!format!("{oauth:?}").contains("the-next-secret"));

    let sent = seen.lock().unwrap();
    let secrets: Vec<_> = sent.iter().map(|sent| &sent.3["client_secret"]).collect();
    assert_eq!(
        secrets,
        ["the-secret", "the-next-secret", "the-next-secret"]
    );
}

#[tokio::test(start_paused = true)]
async fn p16_clients_that_share_a_gate_share_its_circuit_breaker() {
    let unknown = r#"{"error":"invalid_client"}"#;
    let (one, seen_of_one) = client(provider::justworks(), 401, unknown);
    let (two, seen_of_two) = client_with_gate(one.gate(), provider::justworks(), 200, TOKENS);
    let old = token_set(1, HOUR, std::time::SystemTime::UNIX_EPOCH);
    one.refresh(&old).await.unwrap_err();
    let error = two.refresh(&old).await.unwrap_err();
    assert_eq!(error.oauth_code(), Some(OAuthErrorCode::InvalidClient));
    assert_eq!(seen_of_two.lock().unwrap().len(), 0);
    one.replace_secret("the-next-secret").unwrap();
    two.refresh(&old).await.unwrap();
    assert_eq!(seen_of_one.lock().unwrap().len(), 1);
    assert_eq!(seen_of_two.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn refresh_and_revocation_are_the_documented_requests() {
    let (oauth, seen) = client(provider::justworks(), 200, TOKENS);
    let old = token_set(1, HOUR, std::time::SystemTime::UNIX_EPOCH);
    oauth.refresh(&old).await.unwrap();
    oauth.revoke(&RefreshToken::new("r1")).await.unwrap();
    oauth
        .revoke(&AccessToken::new("a1").unwrap())
        .await
        .unwrap();

    let credentials = [("client_id", "the-client"), ("client_secret", "the-secret")];
    let expected = [
        (
            "https://public-api.justworks.com/oauth/token",
            [("grant_type", "refresh_token"), ("refresh_token", "r1")],
        ),
        (
            "https://public-api.justworks.com/v1/oauth/revoke",
            [("token", "r1"), ("token_type_hint", "refresh_token")],
        ),
        (
            "https://public-api.justworks.com/v1/oauth/revoke",
            [("token", "a1"), ("token_type_hint", "access_token")],
        ),
    ];
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    for ((method, uri, _, form), (to, with)) in seen.iter().zip(expected) {
        assert_eq!((method, uri.as_str()), (&Method::POST, to));
        assert_eq!(form, &fields(&[credentials, with].concat()));
    }
}

#[tokio::test]
async fn members_that_a_refresh_omits_are_kept() {
    let (oauth, _) = client(provider::justworks(), 200, r#"{"access_token":"a2"}"#);
    let old = token_set(1, HOUR, std::time::SystemTime::UNIX_EPOCH).with_scope("one two");
    let new = oauth.refresh(&old).await.unwrap();
    assert_eq!(new.access_token().expose(), "a2");
    assert_eq!(new.refresh_token(), old.refresh_token());
    assert_eq!(new.refresh_token_issued_at(), old.refresh_token_issued_at());
    assert_eq!(new.scope(), Some("one two"));
    assert_eq!(
        new.lifetime(),
        Some(24 * HOUR),
        "the provider's default, if the response names none"
    );
}

#[tokio::test(start_paused = true)]
async fn p18_the_lifetime_starts_when_the_request_is_sent() {
    let clock = ManualClock::new();
    let http = tower::service_fn(|_: Request<Full<Bytes>>| async {
        tokio::time::sleep(Duration::from_secs(9)).await;
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(TOKENS)))
    });
    let oauth = OAuthClient::builder(provider::justworks(), "id")
        .client_secret("secret")
        .clock(clock.clone())
        .build(http)
        .unwrap();
    let sent = Clock::wall(&clock);
    let tokens = oauth.client_credentials().await.unwrap();
    assert_eq!(tokens.issued_at(), sent);
    assert_eq!(tokens.expires_at(), Some(sent + HOUR));
}

#[tokio::test]
async fn basic_authentication_and_pkce_are_used_if_the_provider_has_them() {
    let provider = Provider::builder("https://id.example.com/token")
        .authorization_endpoint("https://id.example.com/authorize")
        .build()
        .unwrap();
    assert_eq!(
        provider.client_authentication(),
        ClientAuthentication::Basic
    );
    let (oauth, seen) = client(provider, 200, TOKENS);
    let (url, _) = oauth.authorization_url().unwrap();
    assert!(url.contains("code_challenge_method=S256"));
    code(&oauth).await.unwrap();
    let (_, _, headers, form) = seen.lock().unwrap()[0].clone();
    assert!(
        headers["authorization"]
            .to_str()
            .unwrap()
            .starts_with("Basic ")
    );
    assert!(form.contains_key("code_verifier"));
    assert!(!form.contains_key("client_secret") && !form.contains_key("client_id"));
}

#[tokio::test]
async fn client_credentials_are_a_source_of_a_cache() {
    let (oauth, seen) = client(provider::justworks(), 200, TOKENS);
    let tokens = TokenCache::builder(tower_oauth2_client::cache::ClientCredentials::new(oauth))
        .build()
        .unwrap();
    assert_eq!(tokens.token().await.unwrap().header_value(), "Bearer a2");
    let (_, _, _, form) = seen.lock().unwrap()[0].clone();
    assert_eq!(form["grant_type"], "client_credentials");
    assert_eq!(form["scope"], "company.basic:read deductions:write");
}

#[tokio::test]
async fn wrong_settings_are_named_when_built() {
    let http = || {
        tower::service_fn(|_: Request<Full<Bytes>>| async {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        })
    };
    let build = |id: &str, secret: &str, redirect: &str, scope: &str| {
        OAuthClient::builder(provider::justworks(), id)
            .client_secret(secret)
            .redirect_uri(redirect)
            .scopes([scope])
            .build(http())
    };
    let (id, secret, redirect, scope) = ("id", "seeded", "https://a.example/cb", "x:read");
    assert!(build(id, secret, redirect, scope).is_ok());
    for (built, name) in [
        (build("", secret, redirect, scope), "client id"),
        (build("i\nd", secret, redirect, scope), "client id"),
        (build(id, "", redirect, scope), "client secret"),
        (build(id, secret, "/callback", scope), "redirect URI"),
        (
            build(id, secret, "http://a.example/cb", scope),
            "redirect URI",
        ),
        (
            build(id, secret, "https://a.example/cb#x", scope),
            "redirect URI",
        ),
        (build(id, secret, redirect, "two words"), "scopes"),
    ] {
        let error = built.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().starts_with(name), "{error}");
        assert!(!error.to_string().contains("seeded"));
    }
    for (provider, name) in [
        (
            Provider::builder("https://id.example.com/t")
                .authorization_endpoint("http://id.example.com/a")
                .build(),
            "authorization_endpoint",
        ),
        (
            Provider::builder("http://id.example.com/t").build(),
            "token_endpoint",
        ),
        (
            provider::justworks()
                .to_builder()
                .revocation_endpoint("relative")
                .build(),
            "revocation_endpoint",
        ),
        (provider::justworks().on_origin("ftp://localhost"), "origin"),
    ] {
        let error = provider.unwrap_err();
        assert!(
            error.is_misuse() && error.to_string().starts_with(name),
            "{error}"
        );
    }
    let without = OAuthClient::builder(provider::justworks(), id)
        .client_secret(secret)
        .build(http())
        .unwrap();
    assert!(
        without
            .authorization_url()
            .unwrap_err()
            .to_string()
            .starts_with("redirect URI")
    );
}

/// Responses of a token endpoint that contain no token set, and how many requests they cause: a
/// lost response two, because the refresh token is replayed, and a deferred request three.
const BAD_RESPONSES: [(u16, &str, usize); 16] = [
    (200, "<html>seeded</html>", 2),
    (200, "", 2),
    (200, "{}", 2),
    (
        200,
        r#"{"error":"invalid_grant","error_description":"r1 is unknown, seeded-0123456789abcdef"}"#,
        2,
    ),
    (200, r#"{"access_token":"seeded","expires"#, 2),
    (204, "", 2),
    (302, "seeded", 2),
    (307, "seeded", 2),
    (408, "<html>seeded</html>", 2),
    (500, "<html>seeded</html>", 2),
    (502, "<html>seeded</html>", 2),
    (503, "<html>seeded</html>", 3),
    (504, "<html>seeded</html>", 2),
    (400, "<html>seeded</html>", 2),
    (400, r#"{"error":"seeded-0123456789abcdef"}"#, 2),
    (400, r#"{"error":"server_error"}"#, 2),
];

#[tokio::test(start_paused = true)]
async fn p22_bad_responses_are_typed_errors_without_secrets_and_keep_the_grant() {
    let too_large = format!(r#"{{"x":"{}"}}"#, "seeded".repeat(200_000));
    let too_large = (200, too_large.as_str(), 2);
    for (status, body, requests) in BAD_RESPONSES.into_iter().chain([too_large]) {
        let (oauth, seen) = client(provider::justworks(), status, body);
        let clock = ManualClock::new();
        let store = Store::default();
        let tokens = TokenCache::builder(oauth)
            .store(store.clone())
            .clock(clock.clone())
            .build()
            .unwrap();
        let held = token_set(1, HOUR, Clock::wall(&clock));
        tokens.set_tokens(held.clone()).await.unwrap();

        let error = tokens.refresh_now().await.unwrap_err();
        assert!(error.is_transient(), "{status} {body:.50}: {error:?}");
        assert_eq!(
            error.to_string().contains("larger than 1 MiB"),
            body.len() > 1_000_000
        );
        let text = format!("{error} {error:?}");
        assert!(!text.contains("seeded"), "{error:?}");
        assert!(!text.contains("r1"), "the refresh token: {error:?}");
        assert_eq!(
            seen.lock().unwrap().len(),
            requests,
            "{status} {body:.50}: redirects are not followed"
        );
        assert_eq!(tokens.token().await.unwrap().header_value(), "Bearer a1");
        assert_eq!(store.stored().await.unwrap().tokens(), Some(&held));
    }
}

#[tokio::test(start_paused = true)]
async fn p15_only_invalid_grant_ends_a_grant() {
    for (status, body, ends) in [
        (400, r#"{"error":"invalid_grant"}"#, true),
        (401, r#"{"error":"invalid_client"}"#, false),
        (400, r#"{"error":"invalid_request"}"#, false),
        (400, r#"{"error":"invalid_scope"}"#, false),
        (400, r#"{"error":"unauthorized_client"}"#, false),
        (400, r#"{"error":"server_error"}"#, false),
        (408, r#"{"error":"invalid_grant"}"#, false),
        (500, r#"{"error":"invalid_grant"}"#, false),
    ] {
        let (oauth, seen) = client(provider::justworks(), status, body);
        let clock = ManualClock::new();
        let tokens = TokenCache::builder(oauth)
            .clock(clock.clone())
            .build()
            .unwrap();
        let held = token_set(1, HOUR, Clock::wall(&clock));
        tokens.set_tokens(held).await.unwrap();
        let error = tokens.refresh_now().await.unwrap_err();
        assert_eq!(
            error.kind() == ErrorKind::ReauthorizationRequired,
            ends,
            "{body}: {error}"
        );
        // A rejection proves that the refresh token was not used. Otherwise it is replayed.
        let is_rejection = (400..=401).contains(&status) && !body.contains("server_error");
        assert_eq!(error.is_response_lost(), !is_rejection, "{status} {body}");
        let requests = if is_rejection { 1 } else { 2 };
        assert_eq!(seen.lock().unwrap().len(), requests, "{status} {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn p22_a_response_that_never_ends_times_out() {
    let http = tower::service_fn(|_: Request<Full<Bytes>>| async {
        let (sender, body) = Channel::<Bytes>::new(1);
        tokio::spawn(async move {
            let _open = sender;
            std::future::pending::<()>().await;
        });
        Ok::<_, Infallible>(Response::new(body))
    });
    let oauth = OAuthClient::builder(provider::justworks(), "id")
        .client_secret("secret")
        .build(http)
        .unwrap();
    let started = tokio::time::Instant::now();
    let error = oauth.client_credentials().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(started.elapsed(), Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn p11_error_of_the_response_body_is_a_lost_response_whatever_its_kind() {
    let requests = Arc::new(Mutex::new(0));
    let counted = requests.clone();
    let http = tower::service_fn(move |_: Request<Full<Bytes>>| {
        *counted.lock().unwrap() += 1;
        let (sender, body) = Channel::<Bytes, io::Error>::new(1);
        // As a proxy reports that it cannot reach the server any more.
        sender.abort(io::ErrorKind::ConnectionRefused.into());
        async { Ok::<_, Infallible>(Response::new(body)) }
    });
    let oauth = OAuthClient::builder(provider::justworks(), "id")
        .client_secret("secret")
        .build(http)
        .unwrap();
    let held = token_set(1, HOUR, Clock::wall(&ManualClock::new()));
    let error = oauth.refresh(&held).await.unwrap_err();
    assert!(error.is_response_lost(), "{error:?}");
    assert_eq!(*requests.lock().unwrap(), 1);
}

#[tokio::test]
async fn failed_revocations_are_errors() {
    for (status, kind) in [
        (503, ErrorKind::Unavailable),
        (302, ErrorKind::InvalidResponse),
        (404, ErrorKind::InvalidResponse),
    ] {
        let (oauth, _) = client(provider::justworks(), status, "");
        let error = oauth.revoke(&RefreshToken::new("r1")).await.unwrap_err();
        assert_eq!(error.kind(), kind);
    }
    let provider = Provider::builder("https://id.example.com/t")
        .authorization_endpoint("https://id.example.com/a")
        .build()
        .unwrap();
    let (oauth, seen) = client(provider, 200, "");
    assert!(
        oauth
            .revoke(&RefreshToken::new("r1"))
            .await
            .unwrap_err()
            .is_misuse()
    );
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_grant_without_refresh_token_is_not_refreshed() {
    let (oauth, seen) = client(provider::justworks(), 200, TOKENS);
    let tokens = TokenSet::new(
        AccessToken::new("a1").unwrap(),
        HOUR,
        std::time::SystemTime::UNIX_EPOCH,
    );
    assert_eq!(
        oauth.refresh(&tokens).await.unwrap_err().kind(),
        ErrorKind::NoGrant
    );
    assert!(seen.lock().unwrap().is_empty());
}

/// RFC 6749 sections 2.1 and 3.2.1, RFC 7009 section 2.1.
#[tokio::test]
async fn public_client_sends_its_id_and_no_secret() {
    let provider = Provider::builder("https://id.example.com/token")
        .authorization_endpoint("https://id.example.com/authorize")
        .revocation_endpoint("https://id.example.com/revoke")
        .client_authentication(ClientAuthentication::None)
        .build()
        .unwrap();
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&bodies);
    let http = tower::service_fn(move |request: Request<Full<Bytes>>| {
        let seen = Arc::clone(&seen);
        async move {
            assert!(!request.headers().contains_key("authorization"));
            let body = request.into_body().collect().await.unwrap().to_bytes();
            seen.lock()
                .unwrap()
                .push(String::from_utf8(body.to_vec()).unwrap());
            let tokens = r#"{"token_type":"Bearer","access_token":"a1","refresh_token":"r1","expires_in":60}"#;
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(tokens)))
        }
    });
    let oauth = OAuthClient::builder(provider, "app").build(http).unwrap();
    let pending = oauth.resume_authorization("s1", None);
    assert!(pending.accept("?code=c1&state=s1").is_ok());
    let tokens = TokenSet::new(
        AccessToken::new("a0").unwrap(),
        HOUR,
        std::time::SystemTime::UNIX_EPOCH,
    )
    .with_refresh_token(RefreshToken::new("r0"), std::time::SystemTime::UNIX_EPOCH);
    oauth.refresh(&tokens).await.unwrap();
    oauth.revoke(&RefreshToken::new("r1")).await.unwrap();
    let error = oauth.client_credentials().await.unwrap_err();
    assert!(error.is_misuse(), "{error}");
    assert!(oauth.replace_secret("secret").unwrap_err().is_misuse());
    assert_eq!(
        *bodies.lock().unwrap(),
        [
            "grant_type=refresh_token&refresh_token=r0&client_id=app",
            "token=r1&token_type_hint=refresh_token&client_id=app"
        ]
    );
}

#[tokio::test]
async fn secret_with_a_line_end_is_rejected_when_set_or_replaced() {
    let build = |secret: &str| {
        let http = tower::service_fn(|_: Request<Full<Bytes>>| async {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        });
        OAuthClient::builder(provider::justworks(), "id")
            .client_secret(secret)
            .build(http)
    };
    let oauth = build("seeded").unwrap();
    for wrong in ["seeded\n", "seeded\r\n", "", "see\u{e9}ded"] {
        for error in [
            build(wrong).unwrap_err(),
            oauth.replace_secret(wrong).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(error.to_string().starts_with("client secret: "), "{error}");
            assert!(!error.to_string().contains("seeded"));
        }
    }
}

/// A client whose provider sends this body, and then neither ends it nor sends more.
fn client_without_an_end(body: &'static str) -> OAuthClient {
    let http = tower::service_fn(move |_: Request<Full<Bytes>>| async move {
        let (mut sender, channel) = Channel::<Bytes>::new(1);
        tokio::spawn(async move {
            let _ = sender.send_data(Bytes::from_static(body.as_bytes())).await;
            std::future::pending::<()>().await;
        });
        Ok::<_, Infallible>(Response::new(channel))
    });
    OAuthClient::builder(provider::justworks(), "id")
        .client_secret("secret")
        .build(http)
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn p24_tokens_of_a_response_that_never_ends_are_used() {
    let old = token_set(1, HOUR, std::time::SystemTime::UNIX_EPOCH);
    for body in [
        TOKENS,
        r#"{"access_token":"a2","refresh_token":"r2""#,
        r#"{"access_token":"a2","refresh_token":"r2","expires_"#,
    ] {
        let tokens = client_without_an_end(body).refresh(&old).await.unwrap();
        assert_eq!(tokens.access_token().expose(), "a2");
        assert_eq!(tokens.refresh_token().unwrap().expose(), "r2");
    }
    let without = client_without_an_end(r#"{"refresh_token":"r2","access_tok"#);
    let error = without.refresh(&old).await.unwrap_err();
    assert_eq!(error.refresh_token().unwrap().expose(), "r2");
    assert!(!error.is_response_lost());
    for body in [
        "",
        r#"{"access_token":"a2""#,
        r#"{"access_token":"a2","refresh_token":"r2"#,
    ] {
        let error = client_without_an_end(body).refresh(&old).await;
        let error = error.unwrap_err();
        assert!(error.is_response_lost(), "{body}");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{body}");
        assert_eq!(error.refresh_token(), None, "{body}");
    }
}

#[tokio::test]
async fn p24_code_exchange_without_an_access_token_has_the_refresh_token_and_the_reason() {
    for (body, reason) in [
        (r#"{"refresh_token":"r2"}"#, "no access token"),
        (
            r#"{"access_token":"a2","refresh_token":"r2","token_type":"mac"}"#,
            "not a bearer token",
        ),
        (
            r#"{"access_token":"a 2","refresh_token":"r2"}"#,
            "no header can carry",
        ),
    ] {
        let (oauth, _) = client(provider::justworks(), 200, body);
        let error = code(&oauth).await.unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(error.refresh_token(), Some(RefreshToken::new("r2")));
    }
}

#[tokio::test]
async fn p24_requests_ask_for_no_encoding_and_errors_name_one() {
    let http = tower::service_fn(|request: Request<Full<Bytes>>| async move {
        assert_eq!(request.headers()["accept-encoding"], "identity");
        let response = Response::builder().header("content-encoding", "br");
        Ok::<_, Infallible>(response.body(Full::<Bytes>::from("\u{1}\u{2}")).unwrap())
    });
    let oauth = OAuthClient::builder(provider::justworks(), "id")
        .client_secret("secret")
        .build(http)
        .unwrap();
    let old = token_set(1, HOUR, std::time::SystemTime::UNIX_EPOCH);
    let error = oauth.refresh(&old).await.unwrap_err();
    assert!(
        error.to_string().contains("(200 2 bytes, no type, br)"),
        "{error}"
    );
    assert!(error.is_response_lost());
}

const CRATE: &str = concat!("tower-oauth2-client/", env!("CARGO_PKG_VERSION"));

#[tokio::test]
async fn every_request_names_this_crate_as_its_user_agent() {
    let provider = provider::justworks();
    let (oauth, seen) = client(provider, 200, TOKENS);
    let old = token_set(1, HOUR, std::time::SystemTime::UNIX_EPOCH);
    code(&oauth).await.unwrap();
    oauth.refresh(&old).await.unwrap();
    oauth.client_credentials().await.unwrap();
    oauth.revoke(&RefreshToken::new("r1")).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 4);
    for (_, uri, headers, _) in &*seen {
        assert_eq!(headers["user-agent"], CRATE, "{uri}");
    }
}

#[test]
fn wrong_user_agent_is_named_when_built() {
    for wrong in ["", "partner-app\r\nx: y", "partner app\n", " partner-app"] {
        let http = tower::service_fn(|_: Request<Full<Bytes>>| async {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        });
        let builder = OAuthClient::builder(provider::justworks(), "id").client_secret("secret");
        let error = builder.user_agent(wrong).build(http).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().starts_with("user agent: "), "{error}");
    }
}
