//! Outcomes of a token request over real HTTP, after the provider has rotated and before: what
//! happens to the refresh token, the grant, and the reason for its end.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header::LOCATION};
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::task::JoinSet;
use tower_oauth2_client::{
    ErrorKind,
    cache::{TokenCache, TokenState},
    oauth::OAuthClient,
    provider,
    sandbox::{Endpoint, EventKind, Fault, Replay, Rotation, Sandbox, TokenHash},
    store::{MemoryStore, TokenStore},
    token::{GrantState, ReauthorizationReason, TenantId},
};

#[path = "support/mod.rs"]
mod support;

use support::{MINUTE, connect};

struct Partner {
    sandbox: Sandbox,
    store: MemoryStore,
    tokens: TokenCache,
    /// The first refresh token.
    first: TokenHash,
}

/// A customer has consented at a provider that rotates in this way.
async fn connected(rotation: Rotation) -> Partner {
    let sandbox = Sandbox::builder()
        .behavior(|behavior| behavior.rotation = rotation)
        .start()
        .await
        .unwrap();
    let provider = provider::justworks().on_origin(&sandbox.url()).unwrap();
    let http: Client<HttpConnector, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).build_http();
    let oauth = OAuthClient::builder(provider, sandbox.client_id())
        .client_secret(sandbox.client_secret())
        .redirect_uri(sandbox.redirect_uri())
        .build(http)
        .unwrap();
    let store = MemoryStore::new();
    let tokens = TokenCache::builder(oauth.clone()).store(store.clone());
    let tokens = tokens.build().unwrap();
    connect(&sandbox, &oauth, &tokens).await;
    let mut partner = Partner {
        sandbox,
        store,
        tokens,
        first: TokenHash::of(""),
    };
    partner.first = partner.stored_refresh_token().await;
    partner
}

impl Partner {
    async fn stored(&self) -> GrantState {
        let tenant = TenantId::new("default").unwrap();
        self.store.load(&tenant).await.unwrap().unwrap().state
    }

    async fn stored_refresh_token(&self) -> TokenHash {
        let tenant = TenantId::new("default").unwrap();
        let grant = self.store.load(&tenant).await.unwrap().unwrap();
        let tokens = grant.tokens().unwrap();
        TokenHash::of(tokens.refresh_token().unwrap().expose())
    }

    /// How often the provider has processed the first refresh token.
    fn presentations(&self) -> usize {
        let events = self.sandbox.events().into_iter();
        events
            .filter(|event| match &event.kind {
                EventKind::TokensIssued { presented, .. } => *presented == self.first,
                EventKind::TokenRequestRefused { presented, .. } => *presented == Some(self.first),
                _ => false,
            })
            .count()
    }

    fn reason(&self) -> Option<ReauthorizationReason> {
        match self.tokens.status().state {
            TokenState::ReauthorizationRequired { reason, .. } => Some(reason),
            _ => None,
        }
    }
}

fn status(status: u16) -> Fault {
    Fault::status(StatusCode::from_u16(status).unwrap())
}

/// Outcomes that do not prove that the provider did not process the request.
fn lost() -> Vec<Fault> {
    let elsewhere = HeaderValue::from_static("/oauth/token");
    let mut lost: Vec<_> = [408, 500, 501, 502, 504, 520].map(status).into();
    lost.extend([
        status(302).header(LOCATION, elsewhere.clone()),
        status(307).header(LOCATION, elsewhere),
        status(403).body("<html>blocked</html>"),
        status(400).body(r#"{"error":"token_service_error"}"#),
        status(400).body(r#"{"error":"server_error"}"#),
        status(500).body(r#"{"error":"invalid_grant"}"#),
        status(200).body(r#"{"error":"invalid_grant"}"#),
        status(204),
        Fault::garbage(),
        Fault::drop_connection(),
        Fault::reset(),
    ]);
    lost
}

/// Outcomes that prove nothing, after the provider has rotated.
fn lost_after_rotation() -> Vec<Fault> {
    let lost = lost().into_iter().map(Fault::after_processing);
    // Cut off before the refresh token.
    let cut = Fault::edit(|body| body[..40].to_vec());
    // Compressed by a proxy, and cut off in or after the header.
    let headers = [2, 10].map(|length| {
        let header = b"\x1f\x8b\x08\0\0\0\0\0\0\xff";
        Fault::edit(move |_| header[..length].to_vec())
    });
    lost.chain([cut, Fault::huge(2 << 20)])
        .chain(headers)
        .collect()
}

/// Runs the test for each fault at the same time, because each replay takes a second.
async fn for_each<F>(faults: Vec<Fault>, test: impl Fn(Fault) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut tests = JoinSet::new();
    for fault in faults {
        tests.spawn(test(fault));
    }
    tests.join_all().await;
}

#[tokio::test]
async fn p11_lost_response_after_a_rotation_is_recovered_by_one_replay() {
    let window = MINUTE;
    for rotation in [
        Rotation::Grace {
            window,
            replay: Replay::SamePair,
        },
        Rotation::Grace {
            window,
            replay: Replay::Sibling,
        },
        Rotation::Deferred,
        Rotation::None,
    ] {
        for_each(lost_after_rotation(), move |fault| async move {
            let partner = connected(rotation).await;
            partner.sandbox.inject(Endpoint::Token, fault.clone());
            let refreshed = partner.tokens.refresh_now().await;
            refreshed.unwrap_or_else(|error| panic!("{fault}: {error}"));
            assert_eq!(partner.presentations(), 2, "{fault}");
            assert!(matches!(partner.stored().await, GrantState::Active(_)));
            // The stored refresh token works.
            partner.tokens.refresh_now().await.unwrap();
            let counters = partner.sandbox.counters();
            assert_eq!(counters.token_requests_refused, 0, "{fault}");
            assert_eq!(counters.grants_revoked, 0, "{fault}");
        })
        .await;
    }
}

#[tokio::test]
async fn p11_lost_response_after_a_rotation_without_grace_is_a_lost_rotation() {
    for rotation in [Rotation::SingleUse, Rotation::FamilyRevocation] {
        for_each(lost_after_rotation(), move |fault| async move {
            let partner = connected(rotation).await;
            partner.sandbox.inject(Endpoint::Token, fault.clone());
            let error = partner.tokens.refresh_now().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ReauthorizationRequired, "{fault}");
            let reason = Some(ReauthorizationReason::RotationLost);
            assert_eq!(partner.reason(), reason, "{fault}");
            for _ in 0..3 {
                partner.tokens.refresh_now().await.unwrap_err();
            }
            assert_eq!(partner.presentations(), 2, "{fault}: one replay");
        })
        .await;
    }
}

#[tokio::test]
async fn p11_two_lost_responses_after_a_rotation_keep_the_grant_uncertain() {
    for rotation in [Rotation::SingleUse, Rotation::FamilyRevocation] {
        for_each(lost_after_rotation(), move |fault| async move {
            let partner = connected(rotation).await;
            let twice = fault.clone().times(2);
            partner.sandbox.inject(Endpoint::Token, twice);
            let error = partner.tokens.refresh_now().await.unwrap_err();
            assert!(error.is_response_lost(), "{fault}: {error}");
            assert!(matches!(
                partner.stored().await,
                GrantState::Refreshing {
                    is_replayed: true,
                    ..
                }
            ));
            for _ in 0..3 {
                partner.tokens.token().await.unwrap();
            }
            assert_eq!(partner.presentations(), 2, "{fault}: one replay");
            let _ = partner.tokens.refresh_now().await;
            let reason = Some(ReauthorizationReason::RotationLost);
            assert_eq!(partner.reason(), reason, "{fault}");
        })
        .await;
    }
}

#[tokio::test]
async fn p11_lost_response_before_a_rotation_costs_one_replay() {
    for rotation in [Rotation::SingleUse, Rotation::FamilyRevocation] {
        for_each(lost(), move |fault| async move {
            let partner = connected(rotation).await;
            partner.sandbox.inject(Endpoint::Token, fault.clone());
            let refreshed = partner.tokens.refresh_now().await;
            refreshed.unwrap_or_else(|error| panic!("{fault}: {error}"));
            assert_eq!(partner.presentations(), 1, "{fault}");
            assert!(matches!(partner.stored().await, GrantState::Active(_)));
        })
        .await;
    }
}

#[tokio::test]
async fn p11_rejection_proves_that_the_refresh_token_is_unused() {
    let rejections = [
        "invalid_request",
        "invalid_scope",
        "temporarily_unavailable",
    ];
    let faults = rejections.map(|code| status(400).body(format!(r#"{{"error":"{code}"}}"#)));
    for_each(faults.into(), |fault| async move {
        let partner = connected(Rotation::FamilyRevocation).await;
        partner.sandbox.inject(Endpoint::Token, fault.clone());
        let error = partner.tokens.refresh_now().await.unwrap_err();
        assert!(!error.is_response_lost(), "{error}");
        assert_eq!(partner.sandbox.counters().faults_triggered, 1);
        assert_eq!(partner.presentations(), 0, "no replay");
        assert!(matches!(partner.stored().await, GrantState::Active(_)));
        // So a later refusal is no lost rotation.
        partner.sandbox.revoke_grants();
        tokio::time::sleep(support::SECOND).await;
        partner.tokens.refresh_now().await.unwrap_err();
        let reason = Some(ReauthorizationReason::InvalidGrant);
        assert_eq!(partner.reason(), reason);
    })
    .await;
}
