//! The tenants of a store, page by page, so that memory does not grow with the store.

use tower_oauth2_client::{
    Error,
    store::{AnyStore, TokenStore},
    token::TenantId,
};

const PAGE_SIZE: usize = 1_000;

pub(crate) struct Pages {
    store: AnyStore,
    after: Option<TenantId>,
}

impl Pages {
    pub(crate) fn new(store: AnyStore) -> Self {
        Self { store, after: None }
    }

    /// Starts after a tenant, in the order of the store.
    pub(crate) fn after(mut self, tenant: Option<TenantId>) -> Self {
        self.after = tenant;
        self
    }

    /// The next page, or `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<TenantId>>, Error> {
        let page = self.store.tenants(self.after.as_ref(), PAGE_SIZE).await?;
        let Some(last) = page.last() else {
            return Ok(None);
        };
        self.after = Some(last.clone());
        Ok(Some(page))
    }
}

/// The number of tenants, for a progress bar.
pub(crate) async fn count(store: &AnyStore) -> Result<u64, Error> {
    let mut pages = Pages::new(store.clone());
    let mut count = 0_u64;
    while let Some(page) = pages.next().await? {
        count += u64::try_from(page.len()).unwrap_or(u64::MAX);
    }
    Ok(count)
}
