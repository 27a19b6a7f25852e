//! Commands: changes of a grant that the program requests. Each runs in a task of its own, which
//! continues if its caller is dropped.

use std::{
    future::Future,
    sync::{Arc, OnceLock},
    time::Duration,
};

use super::{
    authorization::{CompletionError, exchange_code_and_save},
    core::Core,
    overwrite::{overwrite, save_end},
    state::{CacheState, Installation, Sequence},
};
use crate::{
    error::{Error, ErrorKind},
    oauth::{AcceptedCode, OAuthClient},
    token::{Grant, GrantState, TokenSet},
};

/// For each command. All its parts have shorter deadlines, which fail only in a runtime that stands
/// still.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(300);

pub(super) async fn set_tokens(core: &Arc<Core>, tokens: TokenSet) -> Result<(), Error> {
    let sequence = core.change(|state, _| state.next_sequence());
    detached(core, |core| install(core, tokens, sequence)).await
}

pub(super) async fn complete_authorization(
    core: &Arc<Core>,
    oauth: OAuthClient,
    code: AcceptedCode,
) -> Result<(), Error> {
    detached(core, |core| async move {
        let store = &core.settings.store;
        store
            .check_consent(core.tenant(), &oauth.identity())
            .await?;
        // All attempts are one command.
        let sequence = OnceLock::new();
        let save = |tokens| {
            // The save is not counted as a command, because `complete_authorization` is: a shutdown
            // that begins meanwhile waits for the save and does not reject it. It runs in a task of
            // its own, so that a panic in the store is retried.
            let sequence = *sequence.get_or_init(|| core.change(|state, _| state.next_sequence()));
            let install = install(Arc::clone(&core), tokens, sequence);
            let core = Arc::clone(&core);
            async move { spawned(&core, install).await }
        };
        exchange_code_and_save(&oauth, code, save)
            .await
            .map_err(CompletionError::into_error)
    })
    .await
}

async fn install(core: Arc<Core>, tokens: TokenSet, sequence: Sequence) -> Result<(), Error> {
    let guard = core.exclude_commands().await?;
    let is_permitted = |state: &CacheState| state.may_install(sequence) == Installation::Current;
    let saved = overwrite(&core, is_permitted, || GrantState::Active(tokens.clone())).await?;
    if let Some((grant, _)) = saved {
        core.change(|state, m| state.install(&grant, sequence, m));
        return Ok(());
    }
    drop(guard);
    if core.read(|state, _| state.may_install(sequence)) != Installation::Revoked {
        return Ok(());
    }
    // The revocation knows the replaced tokens only.
    Err(match core.revoke_at_provider(&tokens).await {
        Ok(()) => revoked(),
        Err(error) => {
            core.change(|state, m| state.remember_unconfirmed(tokens, m));
            revoked().with_source(error)
        }
    })
}

fn revoked() -> Error {
    Error::new(
        ErrorKind::Revoked,
        "the grant was revoked before its tokens were saved; the customer has to consent again",
    )
}

pub(super) async fn revoke(core: &Arc<Core>) -> Result<(), Error> {
    // This takes effect at once, whatever fails afterwards.
    let (held, sequence) = core.change(CacheState::revoke);
    detached(core, |core| async move {
        let guard = core.exclude_commands().await?;
        // A newer consent may be installed meanwhile. It must not be overwritten.
        let (stored, before) = match save_end(&core, |state| !state.is_outrun(sequence)).await {
            Ok(before) => (Ok(()), before),
            Err(error) => (Err(error), None),
        };
        drop(guard);
        // The newest known tokens. Another replica may have saved newer ones than this cache holds.
        let newest = before
            .as_ref()
            .and_then(Grant::tokens)
            .or_else(|| held.tokens())
            .cloned()
            .or_else(|| core.read(|state, _| state.unconfirmed().cloned()));
        core.change(|state, m| state.set_unconfirmed(newest.clone(), m));
        let revoked = match newest {
            Some(tokens) => core.revoke_at_provider(&tokens).await,
            None => Ok(()),
        };
        if revoked.is_ok() {
            core.change(|state, m| state.set_unconfirmed(None, m));
        }
        stored.and(revoked)
    })
    .await
}

/// Rejects new work, and waits for the running work to end.
pub(super) async fn shutdown(core: &Arc<Core>, deadline: Duration) -> Result<(), Error> {
    // The worker keeps comparing the clocks, because the held token keeps serving.
    core.change(|state, _| state.shut_down());
    let drained = core.settings.wait(deadline, core.until_idle()).await?;
    drained.ok_or_else(|| {
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
    if core.settings.runtime().is_none() {
        return Err(Error::outside_of_a_runtime());
    }
    let running = RunningCommand::begin(core)?;
    let work = work(Arc::clone(core));
    spawned(core, async move {
        let _running = running;
        work.await
    })
    .await
}

async fn spawned<T: Send + 'static>(
    core: &Core,
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let settings = &core.settings;
    let runtime = settings.runtime().ok_or_else(Error::outside_of_a_runtime)?;
    let limit = COMMAND_TIMEOUT.saturating_add(settings.policy.fetch_timeout);
    let ended = settings.wait(limit, runtime.spawn(work)).await?;
    let ended = ended.ok_or_else(|| {
        Error::new(
            ErrorKind::Interrupted,
            "the command has not ended within 5 minutes: its runtime stands still",
        )
    })?;
    ended.map_err(|error| {
        Error::new(
            ErrorKind::Interrupted,
            "the command was interrupted: its runtime ended, or it panicked",
        )
        .with_source(error)
    })?
}

/// A running command, which a shutdown waits for.
struct RunningCommand(Arc<Core>);

impl RunningCommand {
    fn begin(core: &Arc<Core>) -> Result<Self, Error> {
        core.change(|state, _| state.begin_command())?;
        Ok(Self(Arc::clone(core)))
    }
}

impl Drop for RunningCommand {
    fn drop(&mut self) {
        self.0.end_work(|state, _| state.end_command());
    }
}
