//! Saves a state over any stored grant.

use std::sync::Arc;

use super::{
    core::Core,
    state::{CacheState, contended, next_generation},
};
use crate::{
    error::Error,
    store::SaveOutcome,
    token::{Grant, GrantState, HistoryEvent},
};

/// How often a save that lost a race is retried. Each loss means that another process has made
/// progress.
const ATTEMPTS: u32 = 16;

/// Saves the state that `state` returns for the stored grant. Returns the new grant and the one
/// that was stored before, or the reason of `state` for saving nothing: it is called before each
/// save, because the runtime may have stood still meanwhile, and a later command may have run.
pub(super) async fn overwrite<N>(
    core: &Core,
    state: impl Fn(Option<&Grant>) -> Result<GrantState, N>,
) -> Result<Result<(Grant, Option<Grant>), N>, Error> {
    let mut stored = core.load_to_save().await?;
    for _ in 0..ATTEMPTS {
        let state = match state(stored.as_ref()) {
            Ok(state) => state,
            Err(reason) => return Ok(Err(reason)),
        };
        let expected = stored.as_ref().map(|grant| grant.generation);
        let grant = Grant::new(
            next_generation(core.published.snapshot().generation(), expected),
            state,
        );
        let event = match grant.state {
            GrantState::Revoked { .. } => HistoryEvent::Revoked,
            _ => HistoryEvent::Connected,
        };
        match core.save(expected, grant.clone(), event).await? {
            SaveOutcome::Committed => return Ok(Ok((grant, stored))),
            // An earlier attempt was committed although it failed.
            SaveOutcome::Superseded(Some(same)) if same == grant => return Ok(Ok((grant, stored))),
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
    let end = |_: Option<&Grant>| {
        let is_needed = core.read(|state, _| is_needed(state));
        is_needed.then_some(GrantState::Revoked { since }).ok_or(())
    };
    let Ok((grant, before)) = overwrite(core, end).await? else {
        return Ok(None);
    };
    core.change(|state, m| state.end_saved(&grant, m));
    Ok(before)
}
