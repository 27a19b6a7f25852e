//! Commands: changes of a grant that the program requests. Each runs in a task of its own, which
//! continues if its caller is dropped.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{runtime::Handle, time::timeout};

use super::{
    admission::shut_down,
    authorization::{CompletionError, exchange_code_and_save},
    cache_state::Sequence,
    core::Core,
    refresh::next_generation,
    terminate::revoke_at_provider,
};
use crate::{
    error::{Error, ErrorKind},
    oauth::{AcceptedCode, OAuthClient},
    store::SaveOutcome,
    token::{Grant, GrantState, TokenSet},
};

/// How often a save that lost a race is retried. Each loss means that another process has made
/// progress.
const ATTEMPTS: u32 = 16;

pub(super) async fn set_tokens(core: &Arc<Core>, tokens: TokenSet) -> Result<(), Error> {
    let sequence = core.lock().next_sequence();
    detached(core, |core| install(core, tokens, sequence)).await
}

pub(super) async fn complete_authorization(
    core: &Arc<Core>,
    oauth: OAuthClient,
    code: AcceptedCode,
) -> Result<(), Error> {
    detached(core, |core| async move {
        let save = |tokens| {
            // The save is not counted as a command, because `complete_authorization` is: a shutdown
            // that begins meanwhile waits for the save and does not reject it. It runs in a task of
            // its own, so that a panic in the store is retried.
            let sequence = core.lock().next_sequence();
            spawned(install(Arc::clone(&core), tokens, sequence))
        };
        exchange_code_and_save(&oauth, code, save)
            .await
            .map_err(CompletionError::into_error)
    })
    .await
}

async fn install(core: Arc<Core>, tokens: TokenSet, sequence: Sequence) -> Result<(), Error> {
    let _guard = core.command_lock.lock().await;
    let (grant, _) = overwrite(&core, || GrantState::Active(tokens.clone())).await?;
    core.install_grant(&grant, sequence);
    core.telemetry.installed(grant.generation);
    Ok(())
}

pub(super) async fn revoke(core: &Arc<Core>) -> Result<(), Error> {
    // This takes effect at once, whatever fails afterwards.
    let (held, sequence) = core.revoke_locally();
    core.telemetry.revoked();
    detached(core, |core| async move {
        let guard = core.command_lock.lock().await;
        let is_outrun = core.lock().consent_epoch > sequence;
        let (stored, before) = if is_outrun {
            // A newer consent has been installed meanwhile. It must not be overwritten.
            (Ok(()), None)
        } else {
            match save_end(&core).await {
                Ok(before) => (Ok(()), before),
                Err(error) => (Err(error), None),
            }
        };
        drop(guard);
        // The newest known tokens. Another replica may have saved newer ones than this cache holds.
        let newest = before
            .as_ref()
            .and_then(Grant::tokens)
            .or_else(|| held.tokens())
            .cloned()
            .or_else(|| core.lock().unconfirmed.as_deref().cloned());
        core.lock().unconfirmed = newest.clone().map(Box::new);
        let revoked = match newest {
            Some(tokens) => revoke_at_provider(&core, &tokens).await,
            None => Ok(()),
        };
        if revoked.is_ok() {
            core.lock().unconfirmed = None;
        }
        stored.and(revoked)
    })
    .await
}

/// Saves the end of a grant that was revoked locally. Returns the grant that was stored before.
pub(super) async fn save_end(core: &Arc<Core>) -> Result<Option<Grant>, Error> {
    let since = core.clock().wall();
    let (grant, before) = overwrite(core, || GrantState::Revoked { since }).await?;
    core.adopt(Some(&grant));
    core.lock().is_revoked_locally = false;
    Ok(before)
}

/// Saves a state over any stored grant. Returns the new grant and the one that was stored before.
async fn overwrite(
    core: &Core,
    state: impl Fn() -> GrantState,
) -> Result<(Grant, Option<Grant>), Error> {
    let mut stored = core.read().await?;
    for _ in 0..ATTEMPTS {
        let expected = stored.as_ref().map(|grant| grant.generation);
        let grant = Grant {
            generation: next_generation(core.snapshot().generation(), expected),
            state: state(),
        };
        match core.save(expected, &grant).await? {
            SaveOutcome::Committed => return Ok((grant, stored)),
            // An earlier attempt was committed although it failed.
            SaveOutcome::Superseded(Some(same)) if same == grant => return Ok((grant, stored)),
            SaveOutcome::Superseded(newer) => stored = newer,
        }
    }
    Err(contended())
}

/// The error of a save that lost every race.
pub(super) fn contended() -> Error {
    Error::new(
        ErrorKind::Store,
        "saving the grant failed: other processes change it all the time; check which programs share its store",
    )
}

/// Rejects new work, and waits for the running work to end.
pub(super) async fn shutdown(core: &Core, deadline: Duration) -> Result<(), Error> {
    Handle::try_current().map_err(|_| Error::outside_of_a_runtime())?;
    // The worker keeps comparing the clocks, because the held token keeps serving.
    core.lock().is_shut_down = true;
    let drained = async {
        loop {
            let idle = core.idle.notified();
            if core.lock().work == 0 {
                return;
            }
            idle.await;
        }
    };
    timeout(deadline, drained).await.map_err(|_| {
        Error::new(
            ErrorKind::Interrupted,
            "a refresh, save or command was still running at the shutdown's deadline; it continues as long as the runtime does",
        )
    })
}

async fn detached<T: Send + 'static, W: Future<Output = Result<T, Error>> + Send + 'static>(
    core: &Arc<Core>,
    work: impl FnOnce(Arc<Core>) -> W,
) -> Result<T, Error> {
    Handle::try_current().map_err(|_| Error::outside_of_a_runtime())?;
    let running = RunningCommand::begin(core)?;
    let work = work(Arc::clone(core));
    spawned(async move {
        let _running = running;
        work.await
    })
    .await
}

async fn spawned<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let runtime = Handle::try_current().map_err(|_| Error::outside_of_a_runtime())?;
    runtime.spawn(work).await.map_err(|error| {
        Error::new(
            ErrorKind::Interrupted,
            "the command was interrupted: its runtime shut down, or the token source or store panicked",
        )
        .with_source(error)
    })?
}

/// A running command, which a shutdown waits for.
struct RunningCommand(Arc<Core>);

impl RunningCommand {
    fn begin(core: &Arc<Core>) -> Result<Self, Error> {
        let mut state = core.lock();
        if state.is_shut_down {
            return Err(shut_down());
        }
        state.work += 1;
        drop(state);
        Ok(Self(Arc::clone(core)))
    }
}

impl Drop for RunningCommand {
    fn drop(&mut self) {
        self.0.finish_work(&mut self.0.lock());
    }
}
