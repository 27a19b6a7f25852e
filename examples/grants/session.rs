//! The parts that all commands share: the store, its keys, and the client.

use std::error::Error;

use tower_oauth2_client::{
    store::{AnyStore, EncryptedStore, EncryptionKeys},
    tenants::Tenants,
    token::TenantId,
};

use crate::{
    arguments::Settings,
    client, keys,
    settings::variable,
    store_url::{Location, Missing},
};

pub(crate) struct Session {
    url: String,
    stored: AnyStore,
    keys: Option<EncryptionKeys>,
    /// The client name of the encryption, if it is not the client id.
    encrypted_for: Option<String>,
    accepts_plaintext: bool,
}

impl Session {
    /// Opens the store.
    pub(crate) async fn open(settings: &Settings) -> Result<Self, Box<dyn Error>> {
        let keys = keys::read(settings)?;
        let url = match &settings.store {
            Some(url) => url.clone(),
            None => match variable("GRANTS_STORE")? {
                Some(url) => url,
                None => format!("file://{}", client::grants_directory()?),
            },
        };
        Ok(Self {
            stored: Location::parse(&url)?.open(Missing::Fails).await?,
            url,
            keys,
            encrypted_for: settings.encrypted_for.clone(),
            accepts_plaintext: settings.accept_plaintext,
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The store of this URL, with the same keys. It is created if it is missing, unless it
    /// must exist.
    pub(crate) async fn target(
        &self,
        url: &str,
        must_exist: bool,
    ) -> Result<AnyStore, Box<dyn Error>> {
        let missing = if must_exist {
            Missing::Fails
        } else {
            Missing::IsCreated
        };
        let stored = Location::parse(url)?.open(missing).await?;
        Ok(match self.encrypted_over(stored.clone())? {
            Some(encrypted) => AnyStore::new(encrypted),
            None => stored,
        })
    }

    /// The store, with its tokens decrypted if there is a key.
    pub(crate) fn store(&self) -> Result<AnyStore, Box<dyn Error>> {
        Ok(match self.encrypted_over(self.stored.clone())? {
            Some(encrypted) => AnyStore::new(encrypted.accept_plaintext(self.accepts_plaintext)),
            None => self.stored.clone(),
        })
    }

    /// The store with its keys, for the command that rewrites what is encrypted.
    pub(crate) fn encrypted(&self) -> Result<EncryptedStore<AnyStore>, Box<dyn Error>> {
        let encrypted = self
            .encrypted_over(self.stored.clone())?
            .ok_or("there is no encryption key; name it with --key-id and --key-file")?;
        Ok(encrypted.accept_plaintext(self.accepts_plaintext))
    }

    pub(crate) fn has_keys(&self) -> bool {
        self.keys.is_some()
    }

    /// The grants as a program has them. Nothing is maintained, as no grant becomes resident.
    pub(crate) fn tenants(&self) -> Result<Tenants, Box<dyn Error>> {
        Ok(Tenants::builder(client::from_environment()?)
            .store(self.store()?)
            .build()?)
    }

    fn encrypted_over(
        &self,
        store: AnyStore,
    ) -> Result<Option<EncryptedStore<AnyStore>>, Box<dyn Error>> {
        let Some(keys) = &self.keys else {
            return Ok(None);
        };
        let client = match &self.encrypted_for {
            Some(name) => name.clone(),
            None => client::client_id()?,
        };
        Ok(Some(EncryptedStore::new(store, keys.clone(), client)?))
    }
}

/// The tenant of this name.
pub(crate) fn tenant(name: &str) -> Result<TenantId, Box<dyn Error>> {
    Ok(TenantId::new(name)?)
}
