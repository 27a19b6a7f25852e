//! Commands: changes of a grant that the program requests. Each runs in a task of its own, which
//! continues if its caller is dropped.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    authorization::{exchange_code, save_with_retries},
    core::Core,
    decide::{Decisions, RejectedBy},
    lease::LeaseUse,
    overwrite::{overwrite, save_end},
    state::{
        CacheState, Consent, Decided, NotInstalled, Sequence, contended, missing_refresh_token,
        other_addresses, refresh_token_missing,
    },
};
use crate::{
    error::{Error, ErrorKind},
    oauth::{AcceptedCode, OAuthClient},
    store::LeaseOutcome,
    token::{ConsentDecision, Grant, TokenSet},
};

/// For each command. All its parts have shorter deadlines, which fail only in a runtime that stands
/// still.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(300);

/// How long a consent that keeps the stored refresh token waits for a refresh in flight, which may
/// replace it; at least for this long, and for a lease that is not released.
const SHORTEST_REFRESH_WAIT: Duration = Duration::from_secs(20);
const LEASE_MARGIN: Duration = Duration::from_secs(2);
const REFRESH_PAUSE: Duration = Duration::from_millis(250);

pub(super) async fn set_tokens(
    core: &Arc<Core>,
    tokens: TokenSet,
    decisions: Arc<Decisions>,
) -> Result<(), Error> {
    let sequence = core.change(|state, _| state.next_sequence());
    // Boxed, because the futures of all callers would contain it.
    let work = |core| Box::pin(install(core, tokens, sequence, decisions));
    detached(core, work).await
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
        let tokens = exchange_code(&oauth, code).await?.into_tokens();
        let sequence = core.change(|state, _| state.next_sequence());
        let decisions = Arc::new(Decisions::always(ConsentDecision::default()));
        install_with_retries(&core, &tokens, sequence, &decisions).await
    })
    .await
}

/// Installs the tokens of a used code, about which the program decides.
#[cfg(any(feature = "axum", feature = "mcp"))]
pub(super) async fn set_tokens_of_code(
    core: &Arc<Core>,
    tokens: TokenSet,
    decisions: Arc<Decisions>,
) -> Result<(), Error> {
    let sequence = core.change(|state, _| state.next_sequence());
    detached(core, |core| async move {
        install_with_retries(&core, &tokens, sequence, &decisions).await
    })
    .await
}

/// Retries a save that fails. All attempts are one command, which a later one outruns.
async fn install_with_retries(
    core: &Arc<Core>,
    tokens: &TokenSet,
    sequence: Sequence,
    decisions: &Arc<Decisions>,
) -> Result<(), Error> {
    save_with_retries(|| {
        // The save is not counted as a command, because its caller is: a shutdown that begins
        // meanwhile waits for the save and does not reject it. It runs in a task of its own, so
        // that a panic in the store is retried.
        let (tokens, decisions) = (tokens.clone(), Arc::clone(decisions));
        spawned(
            core,
            Box::pin(install(Arc::clone(core), tokens, sequence, decisions)),
        )
    })
    .await
}

async fn install(
    core: Arc<Core>,
    tokens: TokenSet,
    sequence: Sequence,
    decisions: Arc<Decisions>,
) -> Result<(), Error> {
    let mut waiting_since = None;
    loop {
        let decided = decisions.last();
        let Err(reason) = try_to_install(&core, &tokens, sequence, decided).await? else {
            return Ok(());
        };
        match reason {
            NotInstalled::Replaced => return Ok(()),
            NotInstalled::Revoked => return Err(revoke_unsaved(&core, tokens).await),
            NotInstalled::Undecided(_) if decisions.are_fixed() => return Err(changed()),
            // No command and no refresh waits for the program.
            NotInstalled::Undecided(stored) => {
                if !decisions.decide(stored).await {
                    return Err(contended());
                }
            }
            NotInstalled::Rejected { revoke } => {
                let by = decisions.rejected_by();
                core.change(|state, _| state.consent_rejected(by.as_str()));
                let error = rejected(by);
                if revoke && let Err(failed) = core.revoke_at_provider(&tokens).await {
                    return Err(error.with_source(failed));
                }
                return Err(error);
            }
            NotInstalled::RefreshTokenMissing => {
                core.change(|state, _| state.refresh_token_missing(ConsentDecision::Reject));
                return Err(refresh_token_missing());
            }
            NotInstalled::OtherAddresses => {
                core.change(|state, _| state.refresh_token_missing(ConsentDecision::Reject));
                return Err(other_addresses());
            }
            NotInstalled::Refreshing => {
                if decisions.are_about_any_grant() {
                    // Meanwhile, the consent of another account may be stored.
                    let stored = core.load().await?;
                    decisions.limit_to(stored.map(|stored| stored.generation));
                }
                let since = *waiting_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= refresh_wait(&core) {
                    return Err(refreshing());
                }
                sleep(REFRESH_PAUSE).await;
            }
        }
    }
}

/// How long a consent that keeps the stored refresh token waits for a refresh in flight. A lease
/// that no process extends expires earlier.
fn refresh_wait(core: &Core) -> Duration {
    let lease = core.settings.policy.lease;
    SHORTEST_REFRESH_WAIT.max(lease.saturating_add(LEASE_MARGIN))
}

async fn try_to_install(
    core: &Arc<Core>,
    tokens: &TokenSet,
    sequence: Sequence,
    decided: Option<Decided>,
) -> Result<Result<(), NotInstalled>, Error> {
    let mut consent = Consent {
        sequence,
        tokens,
        decided,
        lease_use: None,
        provider: core.settings.source.provider(),
    };
    let lease = LeaseUse::new(core);
    // Before commands are excluded, because the store may be slow.
    match core.read(|state, _| state.begin_consent(&consent)) {
        Ok(true) => {
            if lease.acquire().await? == LeaseOutcome::HeldByAnother {
                return Ok(Err(NotInstalled::Refreshing));
            }
            consent.lease_use = Some(lease.begun());
        }
        Ok(false) => {}
        Err(reason) => return Ok(Err(reason)),
    }
    let installed = lease.extended_during(save_consent(core, &consent)).await;
    lease.end().await;
    installed
}

async fn save_consent(
    core: &Arc<Core>,
    consent: &Consent<'_>,
) -> Result<Result<(), NotInstalled>, Error> {
    let _guard = core.exclude_commands().await?;
    // Refreshes save no intent from here on.
    if let Err(reason) = core.read(|state, _| state.begin_consent(consent)) {
        return Ok(Err(reason));
    }
    let saved = overwrite(core, |stored| {
        core.read(|state, m| state.consented(consent, stored, m))
    });
    Ok(saved.await?.map(|(grant, _)| {
        core.change(|state, m| {
            state.install(&grant, consent.sequence, m);
            if let Some(decision) = missing_refresh_token(consent.tokens, &grant) {
                state.refresh_token_missing(decision);
            }
        });
    }))
}

/// Revokes the tokens of a consent that a revocation has outrun: it knows the replaced tokens only.
async fn revoke_unsaved(core: &Arc<Core>, tokens: TokenSet) -> Error {
    if tokens.refresh_token().is_none()
        && let Ok(stored) = core.load().await
        && core.read(|state, _| state.is_connected_elsewhere(stored.as_ref()))
    {
        // They may be of the same account, and a provider may end its grant with them.
        return revoked();
    }
    match core.revoke_at_provider(&tokens).await {
        Ok(()) => revoked(),
        Err(error) => {
            core.change(|state, m| state.remember_unconfirmed(tokens, m));
            revoked().with_source(error)
        }
    }
}

fn changed() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the stored grant has changed since the decision to keep its refresh token, and is \
         unchanged by it; decide again",
    )
}

fn rejected(by: RejectedBy) -> Error {
    let message = match by {
        RejectedBy::Program => {
            "the program rejected the new consent; the stored grant is unchanged, and the new \
             tokens are not stored"
        }
        RejectedBy::Deadline => {
            "the program did not decide about the new consent within 30 seconds, so it was \
             rejected; the stored grant is unchanged"
        }
        RejectedBy::Panic => {
            "the program panicked while it decided about the new consent, so it was rejected; the \
             stored grant is unchanged"
        }
    };
    Error::new(ErrorKind::ConsentRejected, message)
}

fn refreshing() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the stored refresh token is being used by a refresh, so the new consent cannot keep it \
         yet; the stored grant is unchanged; try again",
    )
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
    let drained = core
        .settings
        .limited(deadline, core.until_idle())?
        .await
        .ok();
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
    let ended = settings.limited(limit, runtime.spawn(work))?.await.ok();
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
