//! Grants that rest encrypted, in any store.

use std::{fmt, sync::Arc, time::Duration};

use zeroize::Zeroizing;

use self::{
    envelope::{Field, Place},
    sealed::{is_envelope, key_id},
    secrets::{secrets, with_secrets},
};
use super::{LeaseOutcome, LeaseOwner, SaveOutcome, TokenStore};
use crate::{
    error::Error,
    token::{Generation, Grant, TenantId},
};

mod envelope;
mod key;
pub(crate) mod sealed;
mod secrets;

pub use self::key::{EncryptionKey, EncryptionKeys};

/// How long [`EncryptedStore::reencrypt`] keeps others from exchanging, should it be cut short: far longer than it takes.
const LEASE: Duration = Duration::from_secs(60);

/// Any store, with the secrets of its grants encrypted before it sees them.
///
/// The inner store gets the same grants, in which the access token and the refresh token are envelopes: text that
/// only who has the key can open (XChaCha20-Poly1305). Times, scopes, generation and state stay readable, to queries and
/// to operators. Whoever has no key learns from the store how long the secrets are, and no more about them.
///
/// Each envelope is bound to the tenant, the client (the application whose grants these are, such as its client id: two
/// that share a table cannot use each other's), the generation, and to which of the two tokens it is. So a row that is
/// copied to another tenant is of no use there:
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
/// // In earnest: `EncryptionKey::from_base64("2026-03", &a_secret_of_the_deployment)`.
/// let keys = EncryptionKeys::new(EncryptionKey::generate("2026-03")?);
/// let store = EncryptedStore::new(inner.clone(), keys, "client-id")?;
///
/// let (acme, other) = (TenantId::new("acme")?, TenantId::new("other")?);
/// let token = AccessToken::new("the-token")?;
/// let grant = Grant {
///     generation: Generation::FIRST,
///     state: GrantState::Active(TokenSet::new(token, Duration::from_secs(60), SystemTime::UNIX_EPOCH)),
/// };
/// store.save(&acme, None, &grant).await?;
/// assert_eq!(store.load(&acme).await?, Some(grant));
///
/// // What the inner store has of it.
/// let row = inner.load(&acme).await?.unwrap();
/// let text = row.tokens().unwrap().access_token().expose();
/// assert!(text.starts_with("tow1.2026-03.") && !text.contains("the-token"));
///
/// // Somebody copies the row.
/// inner.save(&other, None, &row).await?;
/// assert_eq!(store.load(&other).await.unwrap_err().kind(), ErrorKind::Store);
/// # Ok::<(), tower_oauth2_client::Error>(()) }).unwrap();
/// ```
///
/// What cannot be decrypted is an error that says why and what to do. It is never taken for an absent grant, and never
/// overwritten: a save looks first at what it would replace. How keys are changed stands at [`EncryptionKeys`].
///
/// # What it does not do
///
/// Who can write to the inner store cannot read tokens, nor make or move them, but can remove a grant, mark it as revoked,
/// change its times and scopes, or bring back an older state of it as a whole; and where a
/// row was removed and its generations began anew, join the tokens of two of them. And who can read the memory of the process
/// has the keys.
///
/// # Grants from before
///
/// A grant that is not encrypted is an error, since it may have been put there by somebody without the key. To switch
/// encryption on, build the store with [`accept_plaintext(true)`](Self::accept_plaintext), let
/// [`reencrypt`](Self::reencrypt) say `true` for every tenant, then build it without.
#[derive(Clone)]
pub struct EncryptedStore<S> {
    inner: S,
    keys: EncryptionKeys,
    client: Arc<str>,
    accepts_plaintext: bool,
}

impl<S> EncryptedStore<S> {
    /// Encrypts the grants of `client` in `inner`. The client's name must stay the same for as long as the grants are to be
    /// read.
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::ErrorKind::Configuration) if the client's name is empty.
    pub fn new(inner: S, keys: EncryptionKeys, client: impl Into<String>) -> Result<Self, Error> {
        let client = client.into();
        if client.is_empty() {
            return Err(Error::configuration(
                "encrypted store: the client's name is empty",
            ));
        }
        Ok(Self {
            inner,
            keys,
            client: client.into(),
            accepts_plaintext: false,
        })
    }

    /// Whether grants that are not encrypted are read. They are written encrypted in any case.
    ///
    /// Only for the time in which encryption is switched on: meanwhile, who can write to the inner store can put tokens
    /// of their own there.
    #[must_use]
    pub fn accept_plaintext(mut self, accept: bool) -> Self {
        self.accepts_plaintext = accept;
        self
    }

    fn seal(&self, tenant: &TenantId, grant: &Grant) -> Result<Grant, Error> {
        with_secrets(grant, |field, secret| {
            let place = self.place(tenant, grant, field);
            envelope::seal(self.keys.current(), place, secret).map(Zeroizing::new)
        })
    }

    fn open(&self, tenant: &TenantId, stored: &Grant) -> Result<Grant, Error> {
        // One token in the clear beside one that is not comes of no migration.
        if self.accepts_plaintext && !secrets(stored).any(is_envelope) {
            return Ok(stored.clone());
        }
        with_secrets(stored, |field, text| {
            envelope::open(&self.keys, self.place(tenant, stored, field), text)
        })
    }

    fn place<'a>(&'a self, tenant: &'a TenantId, grant: &Grant, field: Field) -> Place<'a> {
        Place {
            client: &self.client,
            tenant,
            generation: grant.generation,
            field,
        }
    }
}

impl<S: TokenStore> EncryptedStore<S> {
    /// Puts a tenant's grant under the current key, if it is under an older one or under none, and says whether nothing
    /// of it is left under another. `false` means that it is being renewed or changed at this moment: ask again later.
    ///
    /// It holds the tenant's lease meanwhile. That an exchange begins is noted under the same generation, so the
    /// conditional save alone would not keep this from undoing such a note.
    ///
    /// # Errors
    ///
    /// [`Store`](crate::ErrorKind::Store) if the inner store fails, or the grant cannot be decrypted.
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
        // If this fails, the lease runs out by itself.
        let _ = self.inner.release(tenant, &owner).await;
        rewritten
    }

    async fn is_under_current_key(&self, tenant: &TenantId) -> Result<bool, Error> {
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
            // The inner store compares generations, and would replace what cannot be decrypted as well. Between this look
            // and the save nothing but a note comes under the same generation, and that from somebody with another key.
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

    async fn tenants(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<TenantId>, Error> {
        // Names are not encrypted: no key is needed to list them, nor for grants under another one.
        self.inner.tenants(after, limit).await
    }
}

impl<S> fmt::Debug for EncryptedStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The inner store is left out: what it shows of itself is not known here.
        f.debug_struct("EncryptedStore")
            .field("keys", &self.keys)
            .field("client", &self.client)
            .field("accepts_plaintext", &self.accepts_plaintext)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
