//! The memory that an idle tenant takes.

use std::time::Duration;

use allocation_counter::measure;
use tower_oauth2_client::{
    Error,
    clock::{Clock, SystemClock},
    store::{LeaseOutcome, LeaseOwner, SaveOutcome, TokenStore},
    tenants::Tenants,
    token::{AccessToken, Generation, Grant, GrantState, RefreshToken, TenantId, TokenSet},
};

use crate::{
    shared::API,
    support::{DAY, MONTH, ManualClock, Source, numbered},
};

const TENANTS: u64 = 20_000;
const ACCESS_TOKEN: usize = 1_024;
const REFRESH_TOKEN: usize = 64;

/// Has a grant for every tenant, and shares no memory with its callers.
struct EveryTenant;

impl TokenStore for EveryTenant {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        let now = SystemClock.wall();
        let padded = |length: usize| {
            let name = tenant.as_str();
            name.to_owned() + &"x".repeat(length - name.len())
        };
        let tokens = TokenSet::new(AccessToken::new(padded(ACCESS_TOKEN))?, DAY, now)
            .with_refresh_token(RefreshToken::new(padded(REFRESH_TOKEN)), now);
        Ok(Some(Grant::new(
            Generation::FIRST,
            GrantState::Active(tokens),
        )))
    }

    async fn save(
        &self,
        _: &TenantId,
        _: Option<Generation>,
        _: &Grant,
    ) -> Result<SaveOutcome, Error> {
        Err(Error::store("this store is read-only"))
    }

    async fn acquire(
        &self,
        _: &TenantId,
        _: &LeaseOwner,
        _: Duration,
    ) -> Result<LeaseOutcome, Error> {
        Ok(LeaseOutcome::HeldByAnother)
    }

    async fn release(&self, _: &TenantId, _: &LeaseOwner) -> Result<(), Error> {
        Ok(())
    }
}

#[test]
fn an_idle_tenant_takes_at_most_a_kibibyte_besides_its_tokens() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let mut tenants = None;
    let counted = measure(|| {
        tenants = Some(runtime.block_on(async {
            let source = Source::new(&ManualClock::new());
            let tenants = Tenants::builder(source)
                .origin(API)
                .store(EveryTenant)
                .refresh_token_lifetime(MONTH)
                .build()
                .unwrap();
            for number in 0..TENANTS {
                tenants.token(&numbered(number)).await.unwrap();
            }
            tenants
        }));
    });
    assert_eq!(tenants.as_ref().map(Tenants::resident_count), Some(20_000));
    let each = counted.bytes_current / i64::try_from(TENANTS).unwrap();
    let besides_tokens = each - i64::try_from(ACCESS_TOKEN + REFRESH_TOKEN).unwrap();
    println!("{each} bytes, {besides_tokens} besides the tokens");
    assert!(besides_tokens <= 1_024, "{besides_tokens}");
}
