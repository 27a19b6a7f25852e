//! Saves a state over any stored grant.

use std::sync::Arc;

use super::{
    core::Core,
    state::{CacheState, contended, next_generation},
};
use crate::{
    error::Error,
    store::SaveOutcome,
    token::{Grant, GrantState},
};

/// How often a save that lost a race is retried. Each loss means that another process has made
/// progress.
const ATTEMPTS: u32 = 16;

/// Returns the new grant and the one that was stored before. `None` if the save is no longer
/// permitted: the runtime may have stood still meanwhile, and a later command has run.
pub(super) async fn overwrite(
    core: &Core,
    is_permitted: impl Fn(&CacheState) -> bool,
    state: impl Fn() -> GrantState,
) -> Result<Option<(Grant, Option<Grant>)>, Error> {
    let mut stored = core.load().await?;
    for _ in 0..ATTEMPTS {
        if !core.read(|state, _| is_permitted(state)) {
            return Ok(None);
        }
        let expected = stored.as_ref().map(|grant| grant.generation);
        let grant = Grant::new(
            next_generation(core.published.snapshot().generation(), expected),
            state(),
        );
        match core.save(expected, &grant).await? {
            SaveOutcome::Committed => return Ok(Some((grant, stored))),
            // An earlier attempt was committed although it failed.
            SaveOutcome::Superseded(Some(same)) if same == grant => {
                return Ok(Some((grant, stored)));
            }
            SaveOutcome::Superseded(newer) => stored = newer,
        }
    }
    Err(contended())
}

/// Saves the end of a grant that was revoked locally, as long as that is needed. Returns the grant
/// that was stored before.
pub(super) async fn save_end(
    core: &Arc<Core>,
    is_needed: impl Fn(&CacheState) -> bool,
) -> Result<Option<Grant>, Error> {
    let since = core.settings.clock.wall();
    let saved = overwrite(core, is_needed, || GrantState::Revoked { since }).await?;
    let Some((grant, before)) = saved else {
        return Ok(None);
    };
    core.change(|state, m| state.end_saved(&grant, m));
    Ok(before)
}
