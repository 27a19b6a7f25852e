//! Token exchange (RFC 8693).

use std::{error::Error as _, time::Duration};

use http::StatusCode;
use serde_json::json;
use tokio::{task::JoinSet, time::Instant};
use tower_oauth2_client::{
    Error, ErrorKind, OAuthErrorCode,
    cache::{
        ClientCredentials, TokenCache, TokenExchange, TokenExchangeBuilder, TokenSource,
        TokenState, token_fn,
    },
    clock::{Clock, SystemClock},
    oauth::OAuthClient,
    provider::{BodyFormat, RequestKind},
    sandbox::{Endpoint, EventKind, Fault, GrantType, Sandbox},
    store::MemoryStore,
    token::{AccessToken, TokenSet},
};

use crate::support::{
    MovingClock, TARGET, builder, client, company, connected, oauth, post, provider, recording,
};

const MINUTE: Duration = Duration::from_secs(60);

/// The cache of a customer's grant.
async fn subject(sandbox: &Sandbox, oauth: &OAuthClient) -> TokenCache {
    let tokens = TokenCache::builder(oauth.clone()).build().unwrap();
    consent(sandbox, oauth, &tokens).await;
    tokens
}

async fn consent(sandbox: &Sandbox, oauth: &OAuthClient, tokens: &TokenCache) {
    let (url, pending) = oauth.authorization_url().unwrap();
    let callback = sandbox.consent(&url).await.unwrap();
    tokens
        .complete_authorization(oauth, &pending, &callback)
        .await
        .unwrap();
}

fn source(oauth: &OAuthClient, subject: &TokenCache) -> TokenExchange {
    let builder = TokenExchange::builder(oauth.clone(), subject.clone());
    builder.audience(TARGET).build().unwrap()
}

/// How many token exchanges the sandbox refused or accepted.
fn requests(sandbox: &Sandbox) -> (u64, u64) {
    let counters = sandbox.counters();
    (counters.token_exchanges, counters.token_requests_refused)
}

#[tokio::test]
async fn gateway_calls_a_backend_for_its_customer_over_http() {
    let sandbox = builder().start().await.unwrap();
    let oauth = oauth(&sandbox);
    let subject = subject(&sandbox, &oauth).await;
    let clock = MovingClock::default();
    let tokens = TokenCache::builder(source(&oauth, &subject)).clock(clock.clone());
    let tokens = tokens.build().unwrap();
    assert_eq!(company(&sandbox, &tokens).await, StatusCode::OK);
    let held = tokens.token().await.unwrap();
    let of_subject = subject.token().await.unwrap();
    assert_ne!(held.header_value(), of_subject.header_value());

    // Both tokens are revoked. A 401 causes a refresh, whose subject token is rejected, so that the
    // subject refreshes too, and then a retry.
    // An API may not know a newer token yet.
    clock.advance(10);
    sandbox.revoke_access_tokens();
    assert_eq!(company(&sandbox, &tokens).await, StatusCode::OK);
    let counters = sandbox.counters();
    assert_eq!((counters.unauthorized, counters.refreshes), (1, 1));
    assert_eq!(requests(&sandbox), (2, 1));
    assert_eq!(counters.refresh_tokens_reused, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p03_two_threads_cause_one_token_exchange() {
    let sandbox = builder().start().await.unwrap();
    let oauth = oauth(&sandbox);
    let subject = subject(&sandbox, &oauth).await;
    let tokens = TokenCache::builder(source(&oauth, &subject))
        .build()
        .unwrap();
    let calls: Vec<_> = (0..2)
        .map(|_| {
            let tokens = tokens.clone();
            tokio::spawn(async move { tokens.token().await.map(drop) })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(requests(&sandbox), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn expired_subject_token_is_refreshed_first() {
    let sandbox = builder().build();
    let oauth = oauth(&sandbox);
    let subject = subject(&sandbox, &oauth).await;
    subject.invalidate();
    let source = source(&oauth, &subject);
    tokio::time::sleep(MINUTE).await;
    source.fetch(None).await.unwrap();
    assert_eq!(sandbox.counters().refreshes, 1);
    assert_eq!(requests(&sandbox), (1, 0));
}

/// The cache of the subject has a newer token than the one that was sent.
#[tokio::test(start_paused = true)]
async fn newer_subject_token_is_sent_once_more() {
    let sandbox = builder().build();
    let oauth = oauth(&sandbox);
    let subject = subject(&sandbox, &oauth).await;
    let source = source(&oauth, &subject);
    // While the request is under way, the subject is refreshed by another task.
    let refused = Fault::status(StatusCode::BAD_REQUEST).body(r#"{"error":"invalid_token"}"#);
    tokio::time::sleep(MINUTE).await;
    sandbox.inject(
        Endpoint::Token,
        Fault::delay(Duration::from_secs(5)).after_processing(),
    );
    sandbox.inject(Endpoint::Token, refused);
    let refreshing = tokio::spawn({
        let subject = subject.clone();
        async move { subject.refresh_now().await.map(drop) }
    });
    tokio::task::yield_now().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let fetched = source.fetch(None).await;
    refreshing.await.unwrap().unwrap();
    fetched.unwrap();
    assert_eq!(sandbox.counters().refreshes, 1);
    assert_eq!(sandbox.counters().token_exchanges, 1);
}

#[tokio::test(start_paused = true)]
async fn refused_request_is_repeated_once_and_refreshes_the_subject_rarely() {
    let sandbox = builder().build();
    let oauth = oauth(&sandbox);
    let subject = subject(&sandbox, &oauth).await;
    let source = source(&oauth, &subject);
    let refused = Fault::status(StatusCode::BAD_REQUEST).body(r#"{"error":"invalid_request"}"#);
    sandbox.inject(Endpoint::Token, refused.clone());
    sandbox.change_behavior(|behavior| behavior.token_exchange_targets = vec!["other".into()]);
    tokio::time::sleep(MINUTE).await;
    let error = source.fetch(None).await.unwrap_err();
    // The second request was the last one.
    assert_eq!(
        error.oauth_code(),
        Some(OAuthErrorCode::InvalidTarget),
        "{error}"
    );
    assert_eq!(sandbox.counters().refreshes, 1);

    for (wait, refreshes) in [(Duration::ZERO, 1), (4 * MINUTE, 1), (2 * MINUTE, 2)] {
        tokio::time::sleep(wait).await;
        sandbox.inject(Endpoint::Token, refused.clone());
        let error = source.fetch(None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("rejected"), "{error}");
        assert_eq!(sandbox.counters().refreshes, refreshes);
        sandbox.clear_faults();
    }
}

/// The customer disconnects. The error names the cause, and the next consent repairs it.
#[tokio::test(start_paused = true)]
async fn subject_that_dies_in_between_is_named_and_nothing_is_lost() {
    let sandbox = builder().build();
    let oauth = oauth(&sandbox);
    let subject = subject(&sandbox, &oauth).await;
    let tokens = TokenCache::builder(source(&oauth, &subject))
        .build()
        .unwrap();
    tokens.token().await.unwrap();
    tokio::time::sleep(MINUTE).await;

    // The token is refused, and then so is the refresh.
    sandbox.revoke_grants();
    let error = tokens.refresh_now().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReauthorizationRequired, "{error}");
    assert!(error.is_consent_required());
    // Once each.
    assert_eq!(sandbox.counters().token_requests_refused, 2);
    assert!(
        error
            .to_string()
            .starts_with("subject token of the token exchange"),
        "{error}"
    );
    let of_subject = error.source().unwrap().downcast_ref::<Error>().unwrap();
    assert_eq!(of_subject.kind(), ErrorKind::ReauthorizationRequired);
    let state = subject.status().state;
    assert!(matches!(state, TokenState::ReauthorizationRequired { .. }));
    // The grant of the source has not ended: its token serves until it expires.
    assert_eq!(tokens.status().state, TokenState::Fresh);

    // From now on nothing is sent.
    tokens.invalidate();
    subject.invalidate();
    let before = sandbox.counters().requests;
    tokio::time::sleep(MINUTE).await;
    let error = tokens.token().await.unwrap_err();
    assert!(error.is_consent_required(), "{error}");
    assert_eq!(sandbox.counters().requests, before);

    consent(&sandbox, &oauth, &subject).await;
    tokio::time::sleep(MINUTE).await;
    tokens.token().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn subject_without_a_grant_ends_no_grant_of_the_source() {
    let sandbox = builder().build();
    let oauth = oauth(&sandbox);
    let subject = TokenCache::builder(oauth.clone()).build().unwrap();
    let store = MemoryStore::new();
    let build = || {
        let cache = TokenCache::builder(source(&oauth, &subject)).store(store.clone());
        cache.build().unwrap()
    };
    let tokens = build();
    let error = tokens.token().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoGrant, "{error}");
    consent(&sandbox, &oauth, &subject).await;
    tokio::time::sleep(MINUTE).await;
    tokens.token().await.unwrap();

    // The subject is revoked by the program, and the token of the source expires.
    subject.revoke().await.unwrap();
    let other = TokenCache::builder(oauth.clone()).build().unwrap();
    let clock = MovingClock::default();
    clock.advance(25 * 3_600);
    let orphan = TokenCache::builder(source(&oauth, &other)).store(store.clone());
    let orphan = orphan.clock(clock).build().unwrap();
    let error = orphan.token().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoGrant, "{error}");
    assert_eq!(orphan.status().state, TokenState::Expired);
}

/// Twenty sources over twenty subjects of one client wait for their subjects at once: none holds a
/// permit that a subject needs.
#[tokio::test(start_paused = true)]
async fn p16_nested_refreshes_do_not_block_each_other() {
    let sandbox = builder().build();
    let oauth = oauth(&sandbox);
    let mut caches = Vec::new();
    for _ in 0..20 {
        let subject = subject(&sandbox, &oauth).await;
        subject.invalidate();
        let cache = TokenCache::builder(source(&oauth, &subject)).build();
        caches.push(cache.unwrap());
    }
    let slow = Fault::delay(Duration::from_millis(200)).times(100);
    sandbox.inject(Endpoint::Token, slow);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut calls = JoinSet::new();
    for tokens in caches {
        calls.spawn(async move { tokens.token().await.map(drop) });
    }
    let started = Instant::now();
    while let Some(call) = calls.join_next().await {
        call.unwrap().unwrap();
    }
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(requests(&sandbox), (20, 0));
}

/// The source waits for a subject that does not respond as long as a request would.
#[tokio::test(start_paused = true)]
async fn slow_subject_is_an_error_within_the_fetch_timeout() {
    let sandbox = builder().build();
    let slow = token_fn(std::future::pending::<Result<TokenSet, Error>>);
    let subject = TokenCache::builder(slow)
        .origin("https://a.example")
        .build()
        .unwrap();
    let source = source(&oauth(&sandbox), &subject);
    let started = Instant::now();
    let error = source.fetch(None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().starts_with("subject token"), "{error}");
    assert!(started.elapsed() < source.fetch_timeout());
    assert_eq!(sandbox.counters().requests, 0);
    // The longest case: two waits for permits, two requests, and three waits for the parties.
    assert_eq!(
        source.fetch_timeout(),
        Duration::from_secs(3 * 15 + 2 * (30 + 75))
    );
}

#[tokio::test(start_paused = true)]
async fn parameters_of_the_program_are_sent() {
    let sandbox = builder().build();
    let fixed = |token: &'static str| {
        let source = token_fn(move || async move {
            let hour = Duration::from_secs(3_600);
            Ok(TokenSet::new(
                AccessToken::new(token)?,
                hour,
                SystemClock.wall(),
            ))
        });
        TokenCache::builder(source)
            .origin("https://a.example")
            .build()
            .unwrap()
    };
    let client = client(&sandbox).scopes(["of.client"]).request_parameter(
        RequestKind::TokenExchange,
        "x",
        "y",
    );
    let body = r#"{"access_token":"a1","expires_in":60,"refresh_token":"r1",
        "token_type":"N_A","issued_token_type":"urn:ietf:params:oauth:token-type:jwt"}"#;
    let (oauth, recorded) = recording(client, 200, body);
    let source = TokenExchange::builder(oauth, fixed("s1"))
        .subject_token_type(TokenExchange::JWT)
        .actor(fixed("c1"))
        .actor_token_type(TokenExchange::ID_TOKEN)
        .resource("https://a.example/x?y")
        .resource("urn:b:c")
        .audience("d")
        .scopes(["e", "f"])
        .requested_token_type(TokenExchange::JWT)
        .build()
        .unwrap();
    let tokens = source.fetch(None).await.unwrap();
    assert!(tokens.refresh_token().is_none());
    let recorded = recorded.lock().unwrap();
    let sent: Vec<String> = recorded[0]
        .iter()
        .filter(|(name, _)| !name.starts_with("client"))
        .map(|(name, values)| format!("{name}={}", values.join(",")))
        .collect();
    let prefix = "urn:ietf:params:oauth:token-type:";
    assert_eq!(
        sent,
        [
            "actor_token=c1",
            &format!("actor_token_type={prefix}id_token"),
            "audience=d",
            "grant_type=urn:ietf:params:oauth:grant-type:token-exchange",
            &format!("requested_token_type={prefix}jwt"),
            "resource=https://a.example/x?y,urn:b:c",
            "scope=e f",
            "subject_token=s1",
            &format!("subject_token_type={prefix}jwt"),
            "x=y",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn response_of_another_type_is_refused() {
    let sandbox = builder().build();
    let prefix = "urn:ietf:params:oauth:token-type:";
    let customer = oauth(&sandbox);
    let subject = subject(&sandbox, &customer).await;
    // (members, requested type, problem)
    let cases: &[(&'static str, Option<&str>, &str)] = &[
        (r#"{"access_token":"a"}"#, None, "no issued_token_type"),
        (
            r#"{"access_token":"a","issued_token_type":"urn:ietf:params:oauth:token-type:id_token"}"#,
            None,
            "no access token",
        ),
        (
            r#"{"access_token":"a","issued_token_type":"urn:ietf:params:oauth:token-type:jwt"}"#,
            Some("access_token"),
            "another type than the requested",
        ),
        (
            r#"{"access_token":"a","token_type":"N_A",
                "issued_token_type":"urn:ietf:params:oauth:token-type:jwt"}"#,
            None,
            "no access token: its token_type is N_A",
        ),
        (
            r#"{"access_token":"a","token_type":"mac",
                "issued_token_type":"urn:ietf:params:oauth:token-type:jwt"}"#,
            Some("jwt"),
            "not a bearer token",
        ),
    ];
    for (body, requested, problem) in cases {
        let (oauth, _) = recording(client(&sandbox), 200, body);
        let mut builder = TokenExchange::builder(oauth, subject.clone());
        if let Some(requested) = requested {
            builder = builder.requested_token_type(format!("{prefix}{requested}"));
        }
        let error = builder.build().unwrap().fetch(None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidResponse, "{body}");
        assert!(error.to_string().contains(problem), "{body}: {error}");
    }

    // The sandbox issues a JWT as no access token.
    let builder = TokenExchange::builder(customer, subject);
    let source = builder.requested_token_type(TokenExchange::JWT).build();
    source.unwrap().fetch(None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn wrong_settings_fail_at_build() {
    let sandbox = builder().build();
    let oauth = oauth(&sandbox);
    let subject = subject(&sandbox, &oauth).await;
    let exchange = || TokenExchange::builder(oauth.clone(), subject.clone());
    for (builder, name) in [
        (exchange().resource("/relative"), "resource: "),
        (exchange().resource("https://a.example/#x"), "resource: "),
        (exchange().resource(""), "resource: "),
        (exchange().audience(" "), "audience: "),
        (exchange().audience("a\n"), "audience: "),
        (exchange().scopes(["two words"]), "scopes: "),
        (exchange().requested_token_type(""), "token type: "),
        (exchange().subject_token_type("\u{7}"), "token type: "),
        (exchange().actor_token_type(""), "token type: "),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().starts_with(name), "{name}: {error}");
    }
    let twice = client(&sandbox).request_parameter(RequestKind::TokenExchange, "audience", "x");
    let twice = TokenExchange::builder(connected(&sandbox, twice), subject.clone());
    let error = twice.audience("y").build().unwrap_err().to_string();
    assert!(error.contains("request parameter of this name"), "{error}");
    let json = provider(&sandbox).request_format(BodyFormat::Json).build();
    let json = OAuthClient::builder(json.unwrap(), "id").client_secret("secret");
    let json = connected(&sandbox, json.redirect_uri(sandbox.redirect_uri()));
    let json = TokenExchange::builder(json, subject);
    let error = json.audience("a").audience("b").build().unwrap_err();
    assert!(error.to_string().contains("JSON"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn p25_token_for_one_audience_is_never_used_for_another() {
    let sandbox = builder().behavior(|behavior| {
        behavior.token_exchange_targets = vec!["a".into(), "b".into()];
    });
    let sandbox = sandbox.build();
    let oauth = oauth(&sandbox);
    let subject = subject(&sandbox, &oauth).await;
    let store = MemoryStore::new();
    let cache = |audience: &str| {
        let source = TokenExchange::builder(oauth.clone(), subject.clone()).audience(audience);
        let cache = TokenCache::builder(source.build().unwrap());
        cache.store(store.clone()).build().unwrap()
    };
    cache("a").token().await.unwrap();
    cache("a").token().await.unwrap();
    assert_eq!(requests(&sandbox), (1, 0));
    let error = cache("b").token().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ForeignGrant, "{error}");
    // Neither by a cache of the customer's grant.
    let customer = TokenCache::builder(oauth.clone()).store(store.clone());
    let error = customer.build().unwrap().token().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ForeignGrant);
}

/// Stored grants contain the identity, so a later version has to make the same text.
#[tokio::test(start_paused = true)]
async fn p25_identity_has_a_fixed_text_with_the_parameters_and_the_actor() {
    let sandbox = builder().build();
    let oauth = oauth(&sandbox);
    let subject = subject(&sandbox, &oauth).await;
    let exchange = || TokenExchange::builder(oauth.clone(), subject.clone());
    let kind = |builder: TokenExchangeBuilder| {
        let identity = builder.build().unwrap().identity().unwrap();
        identity.grant_kind().unwrap().to_owned()
    };
    assert_eq!(kind(exchange()), "token_exchange");
    let full = exchange()
        .resource("https://a.example/")
        .audience("b")
        .audience("\"\u{e9} 1:c")
        .scopes(["d", "e"])
        .requested_token_type(TokenExchange::JWT);
    assert_eq!(
        kind(full),
        "token_exchange resource=18:https://a.example/ audience=1:b audience=7:\"\u{e9} 1:c \
         scope=3:d e type=36:urn:ietf:params:oauth:token-type:jwt"
    );

    // Another client and another tenant are other actors.
    let actor = |tenant: &str, source: OAuthClient| {
        let cache = TokenCache::builder(ClientCredentials::new(source)).tenant(tenant);
        kind(exchange().actor(cache.build().unwrap()))
    };
    let id = "other-client";
    let other = OAuthClient::builder(provider(&sandbox).build().unwrap(), id).client_secret("s");
    let other = connected(&sandbox, other);
    let kinds = [
        kind(exchange()),
        actor("default", oauth.clone()),
        actor("robot", oauth.clone()),
        actor("robot", other),
    ];
    for (number, one) in kinds.iter().enumerate() {
        assert!(!kinds[..number].contains(one), "{number}");
        assert!(!one.contains("robot") && !one.contains(id), "{one}");
    }
    assert_eq!(actor("robot", oauth.clone()), kinds[2]);
}

/// A chain: the client itself is the subject, and the result of one source that of the next.
#[tokio::test(start_paused = true)]
async fn sources_can_be_chained_and_have_an_actor() {
    let sandbox = builder().build();
    let oauth = oauth(&sandbox);
    let own = TokenCache::builder(ClientCredentials::new(oauth.clone()));
    let own = own.build().unwrap();
    let customer = subject(&sandbox, &oauth).await;
    let first = TokenExchange::builder(oauth.clone(), customer).actor(own);
    let first = TokenCache::builder(first.build().unwrap()).build().unwrap();
    let second = TokenCache::builder(source(&oauth, &first)).build().unwrap();
    second.token().await.unwrap();
    assert_eq!(requests(&sandbox), (2, 0));
    let issued = sandbox.events().into_iter().filter(|event| {
        matches!(
            event.kind,
            EventKind::TokensIssued {
                grant_type: GrantType::SubjectToken,
                refresh_token: None,
                ..
            }
        )
    });
    assert_eq!(issued.count(), 2);
}

/// The sandbox refuses a client that does not keep the rules of RFC 8693.
#[tokio::test(start_paused = true)]
async fn wrong_token_exchange_fails_at_the_sandbox() {
    let sandbox = builder().build();
    let oauth = oauth(&sandbox);
    let subject = subject(&sandbox, &oauth).await;
    let token = subject.token().await.unwrap();
    let token = token.header_value().to_str().unwrap();
    let token = token.strip_prefix("Bearer ").unwrap().to_owned();
    let good = [
        ("client_id", sandbox.client_id()),
        ("client_secret", sandbox.client_secret()),
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("subject_token", &token),
        ("subject_token_type", TokenExchange::ACCESS_TOKEN),
        ("audience", TARGET),
    ];
    let send = async |change: &[(&'static str, &'static str)]| {
        let mut fields: Vec<(&str, &str)> = good.to_vec();
        for (name, value) in change {
            fields.retain(|(known, _)| known != name);
            fields.push((name, value));
        }
        let (status, body) = post(&sandbox, "/oauth/token", &fields).await;
        let error = body["error"].as_str().unwrap_or_default().to_owned();
        (status.as_u16(), error, body)
    };
    let (status, _, body) = send(&[]).await;
    assert_eq!(
        (status, &body["issued_token_type"]),
        (200, &json!(TokenExchange::ACCESS_TOKEN))
    );
    for (change, error) in [
        (("subject_token", "unknown"), "invalid_request"),
        (("subject_token", ""), "invalid_request"),
        (("subject_token_type", ""), "invalid_request"),
        (
            ("subject_token_type", TokenExchange::ID_TOKEN),
            "invalid_request",
        ),
        (
            ("requested_token_type", TokenExchange::ID_TOKEN),
            "invalid_request",
        ),
        (("actor_token", "unknown"), "invalid_request"),
        (
            ("actor_token_type", TokenExchange::ACCESS_TOKEN),
            "invalid_request",
        ),
        (("audience", "https://other.example"), "invalid_target"),
        (("resource", "https://other.example"), "invalid_target"),
        (("scope", "unknown"), "invalid_scope"),
    ] {
        assert_eq!(send(&[change]).await.1, error, "{change:?}");
    }
    assert_eq!(send(&[("client_secret", "wrong")]).await.0, 401);
    sandbox.advance(Duration::from_secs(25 * 3_600));
    assert_eq!(send(&[]).await.1, "invalid_request");
}
