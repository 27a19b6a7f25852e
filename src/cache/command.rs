//! What a program does to a grant on purpose. Each runs in a task of its own, which its caller's end does not stop.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{runtime::Handle, time::timeout};

use super::{
    admission::shut_down,
    authorization::{CompletionError, exchange_and_save},
    cache_state::Sequence,
    core::Core,
    refresh::following,
    terminate::revoke_at_provider,
};
use crate::{
    error::{Error, ErrorKind},
    oauth::{AcceptedCode, OAuthClient},
    store::SaveOutcome,
    token::{Grant, GrantState, TokenSet},
};

/// How often a save that lost a race is tried anew. Each loss means that somebody else has made progress.
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
            // Not counted as a command: this one is, so a shutdown that begins meanwhile waits for the save and does not
            // reject it. In a task of its own, so that a panic in the store is retried.
            let sequence = core.lock().next_sequence();
            spawned(install(Arc::clone(&core), tokens, sequence))
        };
        exchange_and_save(&oauth, code, save)
            .await
            .map_err(CompletionError::into_error)
    })
    .await
}

async fn install(core: Arc<Core>, tokens: TokenSet, sequence: Sequence) -> Result<(), Error> {
    let _turn = core.command_lock.lock().await;
    let (grant, _) = overwrite(&core, || GrantState::Active(tokens.clone())).await?;
    core.install_grant(&grant, sequence);
    core.telemetry.installed(grant.generation);
    Ok(())
}

pub(super) async fn revoke(core: &Arc<Core>) -> Result<(), Error> {
    // Here and now, whatever becomes of the rest.
    let (held, sequence) = core.revoke_locally();
    core.telemetry.revoked();
    detached(core, |core| async move {
        let turn = core.command_lock.lock().await;
        let is_outrun = core.lock().consent_epoch > sequence;
        let (stored, before) = if is_outrun {
            // A new consent was begun meanwhile: it is none of this command's business.
            (Ok(()), None)
        } else {
            match store_end(&core).await {
                Ok(before) => (Ok(()), before),
                Err(error) => (Err(error), None),
            }
        };
        drop(turn);
        // The newest tokens that are known: those of another replica, if it was faster.
        let newest = before
            .as_ref()
            .and_then(Grant::tokens)
            .or_else(|| held.tokens())
            .cloned()
            .or_else(|| core.lock().unconfirmed.as_deref().cloned());
        core.lock().unconfirmed = newest.clone().map(Box::new);
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
    core.lock().is_revoked_locally = false;
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
    Err(contended())
}

/// A save has lost one race after another.
pub(super) fn contended() -> Error {
    Error::new(
        ErrorKind::Store,
        "the grant is being changed by others all the time: check how many programs share its store",
    )
}

/// Lets what is under way come to its end, and begins nothing new.
pub(super) async fn shutdown(core: &Core, deadline: Duration) -> Result<(), Error> {
    Handle::try_current().map_err(|_| Error::outside_of_a_runtime())?;
    // The worker goes on comparing the clocks: what is held goes on serving.
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
            "an exchange, or the saving of what it brought, did not end before the deadline of the shutdown: it goes on as long as the runtime does",
        )
    })
}

async fn detached<T: Send + 'static, W: Future<Output = Result<T, Error>> + Send + 'static>(
    core: &Arc<Core>,
    work: impl FnOnce(Arc<Core>) -> W,
) -> Result<T, Error> {
    Handle::try_current().map_err(|_| Error::outside_of_a_runtime())?;
    let counted = Counted::begin(core)?;
    let work = work(Arc::clone(core));
    spawned(async move {
        let _counted = counted;
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
            "a command was cut short: its runtime shut down, or a token source or store panicked",
        )
        .with_source(error)
    })?
}

/// A command under way, for a shutdown to wait for.
struct Counted(Arc<Core>);

impl Counted {
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

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.finish_work(&mut self.0.lock());
    }
}
