//! The grant that a new consent replaces, and its end.

use std::{mem::discriminant, time::Duration};

use tokio::time::{sleep, timeout};

use super::{
    connection::{Connection, Connections},
    session::Settings,
};
use crate::{
    error::Error,
    store::{AnyStore, SaveOutcome, TokenStore},
    token::{Generation, Grant, GrantState, TenantId, TokenSet},
};

/// Requests that have just taken a token of a replaced grant may still use it.
const PAUSE_BEFORE_REVOCATION: Duration = Duration::from_secs(5);
const REVOCATION_DEADLINE: Duration = Duration::from_secs(60);

/// The grant of the stored connection, as it was before the user was asked.
pub(super) struct Replaced {
    connection: Connection,
    grant: StoredGrant,
}

/// One generation of a stored grant, and where it is.
struct StoredGrant {
    store: AnyStore,
    name: TenantId,
    generation: Generation,
}

impl Replaced {
    /// The grant of the stored connection, if nothing will lead to it after a consent to the new
    /// connection: that is one of another client.
    ///
    /// A grant of the same client is kept, because some servers revoke all grants of a user and a
    /// client together. So is one of a client of another kind: the program's settings have changed,
    /// and a process with the former ones may still use it.
    pub(super) async fn find(
        settings: &Settings,
        stored: Connection,
        new: &Connection,
    ) -> Option<Self> {
        let is_of_same_kind =
            discriminant(&stored.client.origin) == discriminant(&new.client.origin);
        if stored.has_same_client_id(new) || !is_of_same_kind {
            return None;
        }
        let name = settings.connections.grant_name(&stored).ok()?;
        let store = settings.store.clone();
        // Best effort: the new grant does not depend on it.
        let grant = store.load(&name).await.ok()??;
        grant.tokens()?;
        Some(Self {
            connection: stored,
            grant: StoredGrant {
                store,
                name,
                generation: grant.generation,
            },
        })
    }

    /// Removes the tokens from the store, and revokes them a little later. Best effort.
    ///
    /// Nothing happens if another process has refreshed the grant or got a new consent for it since
    /// it was found: that process uses it.
    pub(super) async fn end(self, settings: &Settings) {
        let Self { connection, grant } = self;
        let connections = settings.connections.clone();
        let Ok(client) = settings.client(&connection) else {
            return;
        };
        if !is_left(&connections, &connection).await {
            return;
        }
        let since = settings.clock.wall();
        let Ok(Some((ended, tokens))) = grant.end(GrantState::Revoked { since }).await else {
            return;
        };
        tokio::spawn(timeout(REVOCATION_DEADLINE, async move {
            sleep(PAUSE_BEFORE_REVOCATION).await;
            // The server may revoke all grants of the user and the client together.
            if is_left(&connections, &connection).await && ended.is_stored().await {
                let _ = client.revoke_tokens(&tokens).await;
            }
        }));
    }
}

/// Whether the stored connection is certainly one of another client.
async fn is_left(connections: &Connections, connection: &Connection) -> bool {
    let stored = connections.load().await;
    stored.is_ok_and(|stored| stored.is_some_and(|stored| !stored.has_same_client_id(connection)))
}

impl StoredGrant {
    /// Saves the end, if the store still holds this generation. Returns the end and the tokens.
    async fn end(self, state: GrantState) -> Result<Option<(Self, TokenSet)>, Error> {
        let Self {
            store,
            name,
            generation,
        } = self;
        let found = store.load(&name).await?;
        let Some(found) = found.filter(|found| found.generation == generation) else {
            return Ok(None);
        };
        let (Some(tokens), Some(identity)) = (found.tokens(), &found.identity) else {
            return Ok(None);
        };
        let ended = Grant::new(generation.next(), state).with_identity(identity.clone());
        // A refresh or a consent raises the generation, so this never overwrites one.
        match store.save(&name, Some(generation), &ended).await? {
            SaveOutcome::Committed => {}
            SaveOutcome::Superseded(_) => return Ok(None),
        }
        let ended = Self {
            store,
            name,
            generation: ended.generation,
        };
        Ok(Some((ended, tokens.clone())))
    }

    /// Whether the store certainly holds this generation.
    async fn is_stored(&self) -> bool {
        let stored = self.store.load(&self.name).await;
        stored.is_ok_and(|stored| stored.is_some_and(|stored| stored.generation == self.generation))
    }
}
