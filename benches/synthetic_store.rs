//! A store that contains a grant of every tenant, made when it is loaded.

use std::time::Duration;

use tower_oauth2_client::{
    Error,
    clock::{Clock, SystemClock},
    store::{LeaseOutcome, LeaseOwner, SaveOutcome, TokenStore},
    token::{AccessToken, Generation, Grant, GrantState, RefreshToken, TenantId, TokenSet},
};

/// Characters of each access token.
pub const ACCESS_TOKEN: usize = 1_024;
/// Characters of each refresh token.
pub const REFRESH_TOKEN: usize = 64;

pub(crate) struct SyntheticStore;

impl TokenStore for SyntheticStore {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        let now = SystemClock.wall();
        let day = Duration::from_secs(86_400);
        let padded = |length: usize| format!("{:x<length$}", tenant.as_str());
        let tokens = TokenSet::new(AccessToken::new(padded(ACCESS_TOKEN))?, day, now)
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
        Err(Error::store("a synthetic store is read-only"))
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
