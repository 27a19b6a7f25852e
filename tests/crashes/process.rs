//! What runs in processes of their own: one that dies, and those that come after it.

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

/// A store that stops at a step, and says so, for somebody to kill its process there.
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
        let is_note = matches!(grant.state, GrantState::Refreshing { .. });
        let what = if is_note { "note" } else { "save" };
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
        if setting("STEP").as_deref() == Some(UNHURRIED) {
            return builder;
        }
        builder
            .min_refresh_interval(Duration::from_millis(1))
            .lease_duration(Duration::from_millis(500))
    })
}

/// No step, and no settings for tests either.
pub(crate) const UNHURRIED: &str = "none, as in production";

/// The process that dies: renews once, or without end.
#[tokio::test]
#[ignore = "run as a process of its own by the other tests"]
async fn victim() {
    let partner = partner().await;
    partner.tokens.token().await.unwrap();
    println!("\nbegun");
    loop {
        let _ = partner.tokens.refresh_now().await;
        println!("\nrenewed");
    }
}

/// The next start: what becomes of the grant when it is renewed.
#[tokio::test]
#[ignore = "run as a process of its own by the other tests"]
async fn heir() {
    let partner = partner().await;
    partner.tokens.token().await.unwrap();
    // A replay goes first, where there is one to make.
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

/// The next start, that only serves requests: how many seconds it takes until the grant is renewed.
#[tokio::test]
#[ignore = "run as a process of its own by the other tests"]
async fn server() {
    let partner = partner().await;
    let begun = tokio::time::Instant::now();
    partner.tokens.token().await.unwrap();
    let before = partner.tokens.status().generation;
    while partner.tokens.status().generation == before {
        assert!(begun.elapsed() < Duration::from_secs(40), "it never is");
        assert_eq!(partner.call().await.unwrap(), 200);
        sleep(Duration::from_millis(20)).await;
    }
    println!("\nrenewed after {}", begun.elapsed().as_secs());
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
