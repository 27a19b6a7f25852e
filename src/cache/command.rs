//! What a program does to a grant on purpose. Each runs in a task of its own, which its caller's end does not stop.

use std::{future::Future, sync::Arc};

use tokio::runtime::Handle;

use super::{
    core::Core,
    renewal::{following, revoke_at_provider},
};
use crate::{
    error::{Error, ErrorKind},
    store::SaveOutcome,
    token::{Grant, GrantState, TokenSet},
};

/// How often a save that lost a race is tried anew. Each loss means that somebody else has made progress.
const ATTEMPTS: u32 = 16;

pub(super) async fn replace(core: &Arc<Core>, tokens: TokenSet) -> Result<(), Error> {
    let core = Arc::clone(core);
    detached(async move {
        let (grant, _) = overwrite(&core, || GrantState::Active(tokens.clone())).await?;
        core.begin_anew(&grant);
        Ok(())
    })
    .await
}

pub(super) async fn revoke(core: &Arc<Core>) -> Result<(), Error> {
    let core = Arc::clone(core);
    detached(async move {
        // Here and now, whatever becomes of the rest.
        let held = core.end_here();
        let (stored, before) = match store_end(&core).await {
            Ok(before) => (Ok(()), before),
            Err(error) => (Err(error), None),
        };
        // The newest tokens that are known: those of another replica, if it was faster.
        let newest = before
            .as_ref()
            .and_then(Grant::tokens)
            .or_else(|| held.tokens())
            .cloned()
            .or_else(|| core.lock().unconfirmed.clone());
        core.lock().unconfirmed.clone_from(&newest);
        let told = match newest {
            Some(tokens) => revoke_at_provider(&core, &tokens).await,
            None => Ok(()),
        };
        if told.is_ok() {
            core.lock().unconfirmed = None;
        }
        stored.and(told)
    })
    .await
}

/// Stores the end of a grant that was revoked here, and returns what was stored before.
pub(super) async fn store_end(core: &Arc<Core>) -> Result<Option<Grant>, Error> {
    let since = core.clock().wall();
    let (grant, before) = overwrite(core, || GrantState::Revoked { since }).await?;
    core.adopt(Some(&grant));
    core.lock().is_revoked_here = false;
    Ok(before)
}

/// Saves a state over whatever is stored, and returns it with what was there before.
async fn overwrite(
    core: &Core,
    state: impl Fn() -> GrantState,
) -> Result<(Grant, Option<Grant>), Error> {
    let mut stored = core.read().await?;
    for _ in 0..ATTEMPTS {
        let expected = stored.as_ref().map(|grant| grant.generation);
        let grant = Grant {
            generation: following(core.snapshot().generation(), expected),
            state: state(),
        };
        match core.save(expected, &grant).await? {
            SaveOutcome::Committed => return Ok((grant, stored)),
            // An earlier attempt, of which nobody heard.
            SaveOutcome::Superseded(Some(same)) if same == grant => return Ok((grant, stored)),
            SaveOutcome::Superseded(newer) => stored = newer,
        }
    }
    Err(Error::new(
        ErrorKind::Store,
        "the grant is being changed by others all the time: check how many programs share its store",
    ))
}

async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let runtime = Handle::try_current().map_err(|_| Error::outside_of_a_runtime())?;
    runtime.spawn(work).await.map_err(|error| {
        Error::new(
            ErrorKind::Interrupted,
            "a command was cut short: its runtime shut down, or a token source or store panicked",
        )
        .with_source(error)
    })?
}
