//! The processes of the crash tests: the one that is killed, and its successors.

use std::time::Duration;

use tokio::time::sleep;
use tower_oauth2_client::{
    Error,
    cache::{TokenCache, TokenState},
    store::{LeaseOutcome, LeaseOwner, SaveOutcome, TokenStore},
    token::{Generation, Grant, GrantState, ReauthorizationReason, TenantId},
};

use crate::{
    shared_store::SharedStore,
    worker::{Partner, setting},
};

/// A store that stops at a step and reports it, so that the test can kill the process there.
struct Stopping(SharedStore);

impl Stopping {
    async fn at(step: &str) {
        if setting("STEP").as_deref() == Some(step) {
            println!("\nat {step}");
            std::future::pending::<()>().await;
        }
    }
}

impl TokenStore for Stopping {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        self.0.load(tenant).await
    }

    async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        let is_intent = matches!(grant.state, GrantState::Refreshing { .. });
        let what = if is_intent { "intent" } else { "save" };
        Self::at(&format!("before {what}")).await;
        let outcome = self.0.save(tenant, expected, grant).await;
        Self::at(&format!("after {what}")).await;
        outcome
    }

    async fn acquire(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Result<LeaseOutcome, Error> {
        Self::at("before lease").await;
        let outcome = self.0.acquire(tenant, owner, duration).await;
        Self::at("after lease").await;
        outcome
    }

    async fn release(&self, tenant: &TenantId, owner: &LeaseOwner) -> Result<(), Error> {
        Self::at("before release").await;
        let outcome = self.0.release(tenant, owner).await;
        Self::at("after release").await;
        outcome
    }

    async fn tenants(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<TenantId>, Error> {
        self.0.tenants(after, limit).await
    }
}

async fn partner() -> Partner {
    let store = SharedStore::open(&setting("STORE").unwrap()).await;
    Partner::of_this_process(|builder| {
        let builder = builder.store(Stopping(store));
        if setting("STEP").as_deref() == Some(PRODUCTION) {
            return builder;
        }
        builder
            .min_refresh_interval(Duration::from_millis(1))
            .lease_duration(Duration::from_millis(500))
    })
}

/// No step to stop at, and no test settings.
pub(crate) const PRODUCTION: &str = "none, as in production";

/// The process that is killed: it refreshes once, or without end.
#[tokio::test]
#[ignore = "the other tests run it as a process"]
async fn victim() {
    let partner = partner().await;
    partner.tokens.token().await.unwrap();
    println!("\nstarted");
    loop {
        let _ = partner.tokens.refresh_now().await;
        println!("\nrefreshed");
    }
}

/// The next start: it refreshes the grant, and reports the result.
#[tokio::test]
#[ignore = "the other tests run it as a process"]
async fn successor() {
    let partner = partner().await;
    partner.tokens.token().await.unwrap();
    // Let a pending replay finish first.
    while partner.tokens.status().is_refreshing {
        sleep(Duration::from_millis(5)).await;
    }
    while partner
        .tokens
        .refresh_now()
        .await
        .is_err_and(|error| error.is_transient())
    {
        sleep(Duration::from_millis(20)).await;
    }
    println!("\nended {}", word(&partner.tokens));
}

/// The next start, which only serves requests: it reports how many seconds passed until the grant
/// was refreshed.
#[tokio::test]
#[ignore = "the other tests run it as a process"]
async fn server() {
    let partner = partner().await;
    let started = tokio::time::Instant::now();
    partner.tokens.token().await.unwrap();
    let before = partner.tokens.status().generation;
    while partner.tokens.status().generation == before {
        assert!(started.elapsed() < Duration::from_secs(40), "no refresh");
        assert_eq!(partner.call().await.unwrap(), 200);
        sleep(Duration::from_millis(20)).await;
    }
    println!("\nrefreshed after {}", started.elapsed().as_secs());
}

fn word(tokens: &TokenCache) -> &'static str {
    match tokens.status().state {
        TokenState::Fresh => "active",
        TokenState::ReauthorizationRequired {
            reason: ReauthorizationReason::RotationLost,
            ..
        } => "lost",
        _ => "something else",
    }
}
