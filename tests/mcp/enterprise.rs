//! Enterprise-managed authorization: the identity provider of a company instead of a consent.

use std::{
    error::Error as _,
    time::{Duration, SystemTime},
};

use serde_json::json;
use tokio::time::sleep;
use tower_oauth2_client::{
    Error, ErrorKind, OAuthErrorCode,
    cache::TokenCache,
    token::{AccessToken, TokenSet},
};

use crate::{
    company::{Company, ENDPOINT, ID_TOKEN_LIFETIME, State, User, send},
    support::VirtualClock,
};

fn company() -> Company {
    Company::new(|sandbox| sandbox)
}

#[tokio::test(start_paused = true)]
async fn user_of_the_company_needs_no_browser() {
    let company = company();
    let auth = company.auth();
    assert_eq!(send(&auth, &company, "company").await.unwrap(), 200);
    assert_eq!(send(&auth, &company, "company").await.unwrap(), 200);
    let requests = company.id_jag_requests();
    assert_eq!(requests.len(), 1);
    let issuer = company.sandbox.url();
    for (name, value) in [
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        (
            "requested_token_type",
            "urn:ietf:params:oauth:token-type:id-jag",
        ),
        (
            "subject_token_type",
            "urn:ietf:params:oauth:token-type:id_token",
        ),
        ("audience", &*issuer),
        ("resource", ENDPOINT),
        // Not those of the sign-in.
        ("scope", "company.basic:read"),
    ] {
        let found = requests[0].form(name);
        assert_eq!(found.as_deref(), Some(value), "{name}");
    }
    assert!(requests[0].headers.contains_key("authorization"));
    let counters = company.sandbox.counters();
    assert_eq!((counters.assertions, counters.consents), (1, 0));
    // The authorization server gets the ID-JAG, and not the ID token.
    for sent in company.sent_to("/oauth/token") {
        assert!(!sent.body.contains("seeded-id-token"), "{}", sent.body);
        assert_eq!(sent.form("resource").as_deref(), Some(ENDPOINT));
    }
}

#[tokio::test(start_paused = true)]
async fn token_that_expires_or_is_rejected_is_replaced_without_a_browser() {
    let company = company();
    let auth = company.auth();
    assert_eq!(send(&auth, &company, "company").await.unwrap(), 200);
    for refresh in 1..=3 {
        sleep(Duration::from_secs(3_600)).await;
        assert_eq!(send(&auth, &company, "company").await.unwrap(), 200);
        assert_eq!(company.sandbox.counters().assertions, 1 + refresh);
    }
    sleep(Duration::from_secs(600)).await;
    company.sandbox.revoke_access_tokens();
    assert_eq!(send(&auth, &company, "company").await.unwrap(), 200);
    let counters = company.sandbox.counters();
    // The sandbox accepts each ID-JAG once.
    assert_eq!((counters.assertions, counters.consents), (5, 0));
    assert_eq!(counters.token_requests_refused, 0);
    assert_eq!(company.id_jag_requests().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn p05_failure_of_the_identity_provider_costs_no_request_while_the_token_lives() {
    let company = company();
    let auth = company.auth();
    assert_eq!(send(&auth, &company, "company").await.unwrap(), 200);
    company.state().refuses = Some((503, "temporarily_unavailable"));
    sleep(Duration::from_secs(3_500)).await;
    assert_eq!(send(&auth, &company, "company").await.unwrap(), 200);
    assert!(company.id_jag_requests().len() > 1);
    sleep(Duration::from_secs(200)).await;
    let error = send(&auth, &company, "company").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(
        error.to_string().starts_with("identity provider: "),
        "{error}"
    );
    company.state().refuses = None;
    sleep(Duration::from_secs(700)).await;
    assert_eq!(send(&auth, &company, "company").await.unwrap(), 200);
}

#[tokio::test(start_paused = true)]
async fn more_scopes_need_another_id_jag() {
    let company = company();
    let auth = company.auth();
    assert_eq!(send(&auth, &company, "company").await.unwrap(), 200);
    assert_eq!(send(&auth, &company, "members").await.unwrap(), 200);
    let scopes: Vec<_> = company
        .id_jag_requests()
        .iter()
        .map(|sent| sent.form("scope"))
        .collect();
    let union = "company.basic:read member.basic:read";
    assert_eq!(scopes[1].as_deref(), Some(union));
    assert_eq!(company.sandbox.counters().consents, 0);
}

/// A request for more than the ID-JAG contains would be refused.
#[tokio::test(start_paused = true)]
async fn scopes_that_the_identity_provider_leaves_out_are_not_requested() {
    let company = company();
    company.state().response = json!({ "scope": "member.basic:read" });
    let auth = company.auth();
    assert_eq!(send(&auth, &company, "company").await.unwrap(), 403);
    let requests = company.sent_to("/oauth/token");
    assert_eq!(
        requests[0].form("scope").as_deref(),
        Some("member.basic:read")
    );
}

#[tokio::test(start_paused = true)]
async fn p20_other_authorization_server_gets_neither_an_id_jag_nor_a_client() {
    let company = company();
    company.state().issuer = "http://127.0.0.1:2".into();
    let error = send(&company.auth(), &company, "company")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert_eq!(
        (company.id_jag_requests().len(), company.state().asked),
        (0, 0)
    );
}

const IDENTITY_PROVIDER: &str = "identity provider: token endpoint";
const AUTHORIZATION_SERVER: &str = "token endpoint rejected the request: invalid_grant";

type Change = fn(&mut State);

/// Checks the error of a changed company, and that the next token is obtained once it is as before:
/// for the first token, and for a refresh.
async fn assert_error(
    change: Change,
    kind: ErrorKind,
    code: Option<OAuthErrorCode>,
    [party, cause]: [&str; 2],
) {
    for is_first in [true, false] {
        let company = company();
        let auth = company.auth();
        if is_first {
            change(&mut company.state());
        } else {
            assert_eq!(send(&auth, &company, "company").await.unwrap(), 200);
            change(&mut company.state());
            sleep(Duration::from_secs(3_600)).await;
        }
        let error = send(&auth, &company, "company").await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(error.oauth_code(), code, "{error}");
        let message = error.to_string();
        assert!(message.starts_with(party), "{message}");
        assert!(message.contains(cause), "{message}");
        assert!(!error.is_consent_required(), "{error}");
        assert_shows_no_secret(&error);
        company.state().restore();
        // After the longest backoff, and the open time of a circuit breaker.
        sleep(Duration::from_secs(1_800)).await;
        let status = send(&auth, &company, "company").await.unwrap();
        assert_eq!(status, 200, "after: {error}");
        assert_eq!(company.sandbox.counters().consents, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn failure_of_the_source_of_id_tokens_is_named_and_nothing_is_lost() {
    let changes: [(Change, &str); 3] = [
        (|state| state.user = User::SignedOut, "see the source"),
        (|state| state.user = User::Unknown, "within 10 seconds"),
        (|state| state.user = User::Nameless, "empty"),
    ];
    for (change, cause) in changes {
        let cause = ["ID token source", cause];
        assert_error(change, ErrorKind::Unavailable, None, cause).await;
    }
}

#[tokio::test(start_paused = true)]
async fn refusal_of_the_identity_provider_is_named_and_nothing_is_lost() {
    let changes: [(Change, _, &str); 4] = [
        (
            |state| state.refuses = Some((400, "invalid_target")),
            OAuthErrorCode::InvalidTarget,
            "no token for this resource or audience",
        ),
        (
            |state| state.refuses = Some((400, "invalid_scope")),
            OAuthErrorCode::InvalidScope,
            "invalid_scope",
        ),
        (
            |state| state.refuses = Some((401, "invalid_client")),
            OAuthErrorCode::InvalidClient,
            "invalid_client",
        ),
        (
            |state| state.user = User::SignedInUntil(1),
            OAuthErrorCode::InvalidGrant,
            "the token exchange: invalid_grant (the subject token",
        ),
    ];
    for (change, code, cause) in changes {
        let cause = [IDENTITY_PROVIDER, cause];
        assert_error(change, ErrorKind::Refused, Some(code), cause).await;
    }
    let is_down: Change = |state| state.refuses = Some((500, "x"));
    let cause = [IDENTITY_PROVIDER, "500"];
    assert_error(is_down, ErrorKind::Unavailable, None, cause).await;
}

#[tokio::test(start_paused = true)]
async fn response_without_an_id_jag_is_named_and_nothing_is_lost() {
    let changes: [(Change, &str); 4] = [
        (
            |state| state.response = json!({ "issued_token_type": ACCESS_TOKEN }),
            "a token of another type than",
        ),
        (
            |state| state.response = json!({ "issued_token_type": null }),
            "contains no issued_token_type",
        ),
        (
            |state| state.response = json!({ "token_type": "mac" }),
            "not a bearer token",
        ),
        (
            |state| state.response = json!({ "access_token": null }),
            "token",
        ),
    ];
    for (change, cause) in changes {
        let cause = [IDENTITY_PROVIDER, cause];
        assert_error(change, ErrorKind::InvalidResponse, None, cause).await;
    }
}

#[tokio::test(start_paused = true)]
async fn id_jag_that_is_rejected_is_named_and_nothing_is_lost() {
    let changes: [Change; 4] = [
        |state| state.claims = json!({ "aud": "https://other.example.com" }),
        |state| state.claims = json!({ "iss": "https://evil.example" }),
        |state| state.claims = json!({ "exp": 1 }),
        |state| state.claims = json!({ "jti": null }),
    ];
    let code = Some(OAuthErrorCode::InvalidGrant);
    let cause = "the assertion was used or has expired, or its issuer, subject, audience";
    for change in changes {
        let cause = [AUTHORIZATION_SERVER, cause];
        assert_error(change, ErrorKind::Refused, code, cause).await;
    }
}

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

fn assert_shows_no_secret(error: &Error) {
    let sources = std::iter::successors(error.source(), |&error| error.source());
    let sources: Vec<_> = sources.map(|error| format!("{error} {error:?}")).collect();
    let shown = format!("{error} {error:?} {sources:?}");
    assert!(!shown.contains("seeded"), "{shown}");
    // A JWT.
    assert!(!shown.contains("eyJ"), "{shown}");
}

/// The source of the ID tokens decides when the user has to sign in again.
#[tokio::test(start_paused = true)]
async fn id_token_that_expires_ends_nothing() {
    let company = company();
    let auth = company.auth();
    let until = company.now() + ID_TOKEN_LIFETIME;
    company.state().user = User::SignedInUntil(until);
    assert_eq!(send(&auth, &company, "company").await.unwrap(), 200);
    sleep(Duration::from_secs(3_700)).await;
    let error = send(&auth, &company, "company").await.unwrap_err();
    assert_eq!(error.oauth_code(), Some(OAuthErrorCode::InvalidGrant));
    // The user signs in again. Requests do not wait for it.
    company.state().user = User::SignedIn;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(send(&auth, &company, "company").await.unwrap(), 200);
    assert!(!format!("{auth:?}").contains("seeded"));
}

#[tokio::test(start_paused = true)]
async fn sign_in_that_has_ended_is_named_and_a_new_one_is_used() {
    let company = company();
    let sign_in = TokenCache::builder(company.identity_provider()).clock(VirtualClock);
    let sign_in = sign_in.build().unwrap();
    let source = sign_in.clone();
    let id_tokens = move || {
        let source = source.clone();
        async move {
            source.token().await?;
            let values = source.values().await?;
            Ok::<_, Error>(values.get("id_token").unwrap_or_default().to_owned())
        }
    };
    let auth = company.builder();
    let auth = auth.enterprise_managed(company.identity_provider(), id_tokens);
    let auth = auth.build().unwrap();
    for _ in 0..10 {
        let error = send(&auth, &company, "company").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoGrant, "{error}");
        assert!(error.is_consent_required());
        assert!(error.to_string().starts_with("ID token source"), "{error}");
    }
    assert_eq!(company.id_jag_requests().len(), 0);
    let signed_in = |lifetime: u64| {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(company.now());
        let token = AccessToken::new("sign-in").unwrap();
        let id_token = format!("seeded-id-token-until-{}", company.now() + lifetime);
        let tokens = TokenSet::new(token, Duration::from_secs(lifetime), now);
        sign_in.set_tokens(tokens.with_value("id_token", &id_token))
    };
    signed_in(3_000).await.unwrap();
    auth.connect().await.unwrap();
    assert_eq!(send(&auth, &company, "company").await.unwrap(), 200);
    // The sign-in ends, and then the token of the MCP server.
    sleep(Duration::from_secs(7_200)).await;
    for _ in 0..10 {
        let error = send(&auth, &company, "company").await.unwrap_err();
        assert!(error.is_consent_required(), "{error}");
        assert!(error.to_string().starts_with("ID token source"), "{error}");
        sleep(Duration::from_secs(60)).await;
    }
    signed_in(3_000).await.unwrap();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(send(&auth, &company, "company").await.unwrap(), 200);
    assert_eq!(company.sandbox.counters().consents, 0);
}

#[tokio::test(start_paused = true)]
async fn connect_connects_at_once_after_a_new_sign_in() {
    let causes: [Change; 3] = [
        |state| state.user = User::SignedOut,
        |state| state.user = User::SignedInUntil(1),
        |state| state.refuses = Some((400, "insufficient_user_authentication")),
    ];
    for cause in causes {
        let company = company();
        let auth = company.auth();
        assert_eq!(send(&auth, &company, "company").await.unwrap(), 200);
        cause(&mut company.state());
        sleep(Duration::from_secs(7_200)).await;
        for _ in 0..40 {
            send(&auth, &company, "company").await.unwrap_err();
            sleep(Duration::from_secs(30)).await;
        }
        auth.connect().await.unwrap_err();
        // Requests respect the pause after the failures, which is still long.
        company.state().restore();
        send(&auth, &company, "company").await.unwrap_err();
        auth.connect().await.unwrap();
        assert_eq!(send(&auth, &company, "company").await.unwrap(), 200);
    }
}
