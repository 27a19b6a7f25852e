//! Encryption of grants in any store.

use std::{fmt, sync::Arc, time::Duration};

use zeroize::Zeroizing;

use self::{
    envelope::{Binding, Field},
    sealed::{is_envelope, key_id},
    secrets::{secrets, with_secrets},
};
use super::{
    announcer::Subscription,
    lease::{LeaseOutcome, LeaseOwner},
    token_store::{SaveOutcome, TokenStore},
};
use crate::{
    error::Error,
    token::{Generation, Grant, OfTenant, TenantId, UnreadableGrant},
};

mod envelope;
mod key;
pub(crate) mod sealed;
mod secrets;

pub use self::key::{EncryptionKey, EncryptionKeys};

/// The lease of [`EncryptedStore::reencrypt`], which takes far less time. If it is interrupted,
/// refreshes wait this long.
const LEASE: Duration = Duration::from_secs(60);

/// A wrapper around any store that encrypts the tokens of grants.
///
/// In the inner store, an envelope replaces the access token of each grant, and another one the
/// refresh token. An envelope is a token that is encrypted with XChaCha20-Poly1305, as text. Times,
/// scopes, generation and state stay readable for queries and operators. Without the key, an
/// envelope reveals only the length of the token.
///
/// Each envelope is bound to the tenant, the client, the grant's [identity](Grant::identity), the
/// generation, and the kind of token. A row that is copied to another tenant cannot be decrypted
/// there:
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tower_oauth2_client::{
///     ErrorKind,
///     store::{EncryptedStore, EncryptionKey, EncryptionKeys, MemoryStore, TokenStore},
///     token::{AccessToken, Generation, Grant, GrantState, TenantId, TokenSet},
/// };
///
/// # tokio_test::block_on(async {
/// let inner = MemoryStore::new();
/// // In production: `EncryptionKey::from_base64("2026-03", &secret_of_the_deployment)`.
/// let keys = EncryptionKeys::new(EncryptionKey::generate("2026-03")?);
/// let store = EncryptedStore::new(inner.clone(), keys, "client-id")?;
///
/// let (acme, other) = (TenantId::new("acme")?, TenantId::new("other")?);
/// let token = AccessToken::new("the-token")?;
/// let tokens = TokenSet::new(token, Duration::from_secs(60), SystemTime::UNIX_EPOCH);
/// let grant = Grant::new(Generation::FIRST, GrantState::Active(tokens));
/// store.save(&acme, None, &grant).await?;
/// assert_eq!(store.load(&acme).await?, Some(grant));
///
/// // The inner store contains an envelope.
/// let row = inner.load(&acme).await?.unwrap();
/// let text = row.tokens().unwrap().access_token().expose();
/// assert!(text.starts_with("tow1.2026-03.") && !text.contains("the-token"));
///
/// // An attacker copies the row to another tenant.
/// inner.save(&other, None, &row).await?;
/// assert_eq!(store.load(&other).await.unwrap_err().kind(), ErrorKind::Store);
/// # Ok::<(), tower_oauth2_client::Error>(()) }).unwrap();
/// ```
///
/// [`EncryptionKeys`] explains how to rotate keys. Durability, leases and the order of
/// [`tenants`](TokenStore::tenants) are those of the inner store.
///
/// # Errors
///
/// If a grant cannot be decrypted, the call fails with kind [`Store`](crate::ErrorKind::Store). The
/// message states the cause and the remedy. The grant is never reported as absent and never
/// overwritten: a save first decrypts the stored grant, and fails if it cannot.
///
/// # What encryption does not prevent
///
/// An attacker with write access to the inner store cannot read, forge or move tokens. The attacker
/// can delete a grant, mark it as revoked, change its times and scopes, or restore an older version
/// of the whole grant. If a row was deleted, the generations of the tenant can start again. The
/// attacker can then combine the access token of one grant with the refresh token of the other, if
/// their generations are equal. An attacker with access to the memory of the process has the keys.
///
/// # Existing grants in plain text
///
/// If the stored grant is not encrypted, a call fails, since the grant may have been written
/// without the key. To introduce encryption:
///
/// 1. Build the store with [`accept_plaintext(true)`](Self::accept_plaintext).
/// 2. Call [`reencrypt`](Self::reencrypt) for every tenant until it returns `true`.
/// 3. Build the store without `accept_plaintext`.
#[derive(Clone)]
pub struct EncryptedStore<S> {
    inner: S,
    keys: EncryptionKeys,
    client: Arc<str>,
    accepts_plaintext: bool,
}

impl<S> EncryptedStore<S> {
    /// Wraps `inner` and encrypts the grants of `client`.
    ///
    /// `client` is a fixed name of the application, such as its client id. Grants can be decrypted
    /// only under the name that they were encrypted with, so two applications that share a table
    /// cannot use each other's grants.
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::ErrorKind::Configuration) if `client` is empty.
    pub fn new(inner: S, keys: EncryptionKeys, client: impl Into<String>) -> Result<Self, Error> {
        let client = client.into();
        if client.is_empty() {
            return Err(Error::configuration(
                "encrypted store: the client is empty; pass a fixed name, such as the client id",
            ));
        }
        Ok(Self {
            inner,
            keys,
            client: client.into(),
            accepts_plaintext: false,
        })
    }

    /// Sets whether grants in plain text are read. Defaults to `false`. Grants are always written
    /// encrypted.
    ///
    /// Use this only while you introduce encryption: with it, an attacker with write access to the
    /// inner store can insert tokens.
    #[must_use]
    pub fn accept_plaintext(mut self, accept: bool) -> Self {
        self.accepts_plaintext = accept;
        self
    }

    fn seal(&self, tenant: &TenantId, grant: &Grant) -> Result<Grant, Error> {
        with_secrets(grant, |field, secret| {
            let binding = self.binding(tenant, grant, field);
            envelope::seal(self.keys.current(), binding, secret).map(Zeroizing::new)
        })
    }

    fn open(&self, tenant: &TenantId, stored: &Grant) -> Result<Grant, Error> {
        // A plaintext token beside an envelope is not the result of a migration.
        if self.accepts_plaintext && !secrets(stored).any(is_envelope) {
            return Ok(stored.clone());
        }
        with_secrets(stored, |field, text| {
            envelope::open(&self.keys, self.binding(tenant, stored, field), text)
        })
        .map_err(|error| match &stored.identity {
            // Another application may have encrypted the grant.
            Some(identity) => {
                let identity = UnreadableGrant(identity.clone());
                error.with_source(OfTenant::new(tenant, Some(identity)))
            }
            None => error,
        })
    }

    fn binding<'a>(
        &'a self,
        tenant: &'a TenantId,
        grant: &'a Grant,
        field: Field<'a>,
    ) -> Binding<'a> {
        Binding {
            client: &self.client,
            tenant,
            identity: grant.identity.as_ref(),
            generation: grant.generation,
            field,
        }
    }
}

impl<S: TokenStore> EncryptedStore<S> {
    /// Encrypts a tenant's grant with the current key. Returns whether the grant is now encrypted
    /// with that key.
    ///
    /// `false` means that the grant is being refreshed or changed at the moment: call this again
    /// later. Without a grant, the result is `true`.
    ///
    /// The call holds the tenant's lease, so a refresh waits for it. An intent has the generation
    /// of its grant, so the conditional save alone could overwrite an intent.
    ///
    /// # Errors
    ///
    /// [`Store`](crate::ErrorKind::Store) if the inner store fails, or the grant cannot be
    /// decrypted.
    pub async fn reencrypt(&self, tenant: &TenantId) -> Result<bool, Error> {
        if self.is_under_current_key(tenant).await? {
            return Ok(true);
        }
        let owner = LeaseOwner::random();
        match self.inner.acquire(tenant, &owner, LEASE).await? {
            LeaseOutcome::Acquired => {}
            LeaseOutcome::HeldByAnother => return Ok(false),
        }
        let rewritten = self.rewrite(tenant).await;
        // If this fails, the lease expires.
        let _ = self.inner.release(tenant, &owner).await;
        rewritten
    }

    /// Returns whether a tenant's grant is encrypted with the current key, or contains no token.
    /// Without a grant, the result is `true`. Changes nothing.
    ///
    /// # Errors
    ///
    /// [`Store`](crate::ErrorKind::Store) if the inner store fails, or the grant cannot be
    /// decrypted.
    pub async fn is_under_current_key(&self, tenant: &TenantId) -> Result<bool, Error> {
        let Some(stored) = self.inner.load(tenant).await? else {
            return Ok(true);
        };
        self.open(tenant, &stored)?;
        let current = Some(self.keys.current().id());
        Ok(secrets(&stored).all(|text| key_id(text) == current))
    }

    async fn rewrite(&self, tenant: &TenantId) -> Result<bool, Error> {
        let Some(grant) = self.load(tenant).await? else {
            return Ok(true);
        };
        let outcome = self.save(tenant, Some(grant.generation), &grant).await?;
        Ok(outcome == SaveOutcome::Committed)
    }
}

impl<S: TokenStore> TokenStore for EncryptedStore<S> {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        let stored = self.inner.load(tenant).await?;
        stored.map(|stored| self.open(tenant, &stored)).transpose()
    }

    async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        let sealed = self.seal(tenant, grant)?;
        if expected.is_some() {
            // The inner store only compares generations and would overwrite a grant that cannot be
            // decrypted. Between this load and the save, only an intent can be written under the
            // same generation.
            self.load(tenant).await?;
        }
        match self.inner.save(tenant, expected, &sealed).await? {
            SaveOutcome::Committed => Ok(SaveOutcome::Committed),
            SaveOutcome::Superseded(stored) => {
                let stored = stored.map(|stored| self.open(tenant, &stored));
                Ok(SaveOutcome::Superseded(stored.transpose()?))
            }
        }
    }

    async fn acquire(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Result<LeaseOutcome, Error> {
        self.inner.acquire(tenant, owner, duration).await
    }

    async fn release(&self, tenant: &TenantId, owner: &LeaseOwner) -> Result<(), Error> {
        self.inner.release(tenant, owner).await
    }

    async fn changed(&self, tenant: &TenantId) {
        self.inner.changed(tenant).await;
    }

    fn subscribe(&self) -> Option<Subscription> {
        self.inner.subscribe()
    }

    async fn tenants(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<TenantId>, Error> {
        // Names are not encrypted, so listing needs no key.
        self.inner.tenants(after, limit).await
    }

    async fn delete_expired_leases(&self) -> Result<(), Error> {
        self.inner.delete_expired_leases().await
    }
}

impl<S> fmt::Debug for EncryptedStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The inner store's `Debug` output is not known and may contain secrets.
        f.debug_struct("EncryptedStore")
            .field("keys", &self.keys)
            .field("client", &self.client)
            .field("accepts_plaintext", &self.accepts_plaintext)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
