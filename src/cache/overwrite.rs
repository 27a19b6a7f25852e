//! Saves a state over any stored grant.

use std::sync::Arc;

use super::{
    core::Core,
    state::{contended, next_generation},
};
use crate::{
    error::Error,
    store::SaveOutcome,
    token::{Grant, GrantState},
};

/// How often a save that lost a race is retried. Each loss means that another process has made
/// progress.
const ATTEMPTS: u32 = 16;

/// Returns the new grant and the one that was stored before.
pub(super) async fn overwrite(
    core: &Core,
    state: impl Fn() -> GrantState,
) -> Result<(Grant, Option<Grant>), Error> {
    let mut stored = core.load().await?;
    for _ in 0..ATTEMPTS {
        let expected = stored.as_ref().map(|grant| grant.generation);
        let grant = Grant::new(
            next_generation(core.published.snapshot().generation(), expected),
            state(),
        );
        match core.save(expected, &grant).await? {
            SaveOutcome::Committed => return Ok((grant, stored)),
            // An earlier attempt was committed although it failed.
            SaveOutcome::Superseded(Some(same)) if same == grant => return Ok((grant, stored)),
            SaveOutcome::Superseded(newer) => stored = newer,
        }
    }
    Err(contended())
}

/// Saves the end of a grant that was revoked locally. Returns the grant that was stored before.
pub(super) async fn save_end(core: &Arc<Core>) -> Result<Option<Grant>, Error> {
    let since = core.settings.clock.wall();
    let (grant, before) = overwrite(core, || GrantState::Revoked { since }).await?;
    core.change(|state, m| state.end_saved(&grant, m));
    Ok(before)
}
