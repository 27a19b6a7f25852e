//! Builds a [`TokenCache`].

use std::{fmt, sync::Arc};

use super::{
    TokenCache,
    settings_builder::{SettingsBuilder, settings_setters},
    source::TokenSource,
};
use crate::{error::Error, token::TenantId};

/// Builds a [`TokenCache`].
#[must_use = "a builder does nothing until it is built"]
pub struct TokenCacheBuilder {
    settings: SettingsBuilder,
    tenant: Option<String>,
}

impl TokenCache {
    /// Returns a builder for a cache that gets its tokens from `source`.
    pub fn builder(source: impl TokenSource) -> TokenCacheBuilder {
        TokenCacheBuilder {
            settings: SettingsBuilder::new(source),
            tenant: None,
        }
    }
}

impl TokenCacheBuilder {
    /// Sets the tenant whose grant the cache holds. Defaults to `default`.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    settings_setters!();

    /// Builds the cache.
    ///
    /// Inside a tokio runtime with time enabled, the background task starts at once and loads the
    /// grant, so that an unused grant is kept alive. Outside of a runtime it starts with the first
    /// call that needs a token. With a [`runtime`](Self::runtime), it always starts at once.
    ///
    /// Before that call, the cache sends a token request only in two cases: to keep an idle grant
    /// alive, in a [program that stays](crate::cache#programs-that-end), or after a lost response.
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::ErrorKind::Configuration), naming the setting: an invalid origin or
    /// none at all, an invalid tenant name, a refresh token lifetime of less than 1 hour, or a
    /// lease duration, acquire timeout or min refresh interval outside its limits.
    pub fn build(self) -> Result<TokenCache, Error> {
        let tenant = TenantId::new(self.tenant.unwrap_or_else(|| "default".into()))?;
        let settings = Arc::new(self.settings.build()?);
        Ok(TokenCache::begin(settings, tenant, None))
    }
}

impl fmt::Debug for TokenCacheBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCacheBuilder")
            .field("settings", &self.settings)
            .field("tenant", &self.tenant)
            .finish()
    }
}
