//! The command `migrate`.
//!
//! A refresh token works once, so two stores must not both be used. Two programs over two stores
//! cannot see each other's leases: the program that uses the source is stopped before. The command
//! holds each grant's lease in the source while it copies, so it does not copy a grant in the
//! middle of a refresh, and reports a program that still runs. It writes to the target only where
//! no grant is stored, reads the copy back, and checks that the source has not changed meanwhile.

use std::{
    cmp::Ordering,
    error::Error,
    io::{Write as _, stdout},
    time::Duration,
};

use tower_oauth2_client::{
    Error as StoreError,
    store::{AnyStore, LeaseOutcome, LeaseOwner, SaveOutcome, TokenStore as _},
    token::{Grant, TenantId},
};

use crate::{
    arguments::Migrate,
    exit::Exit,
    run::{Run, Step, is_reachable},
    session::Session,
    settings::variable,
    text::with_sources,
};

/// Longer than a copy takes. If the command is interrupted, refreshes of this grant wait as long.
const LEASE: Duration = Duration::from_secs(60);

pub(crate) async fn migrate(session: &Session, options: &Migrate) -> Result<Exit, Box<dyn Error>> {
    let url = match &options.to {
        Some(url) => url.clone(),
        None => variable("GRANTS_TO")?.ok_or("no target is named; use --to or GRANTS_TO")?,
    };
    if url == session.url() {
        return Err("the target is the source; name another store".into());
    }
    let source = session.store()?;
    let target = session.target(&url, options.check).await?;
    let mut counts = Counts::default();
    let mut run = Run::start(source.clone(), options.wait).await?;
    while let Some(tenant) = run.next().await? {
        let outcome = if options.check {
            compare(&source, &target, &tenant).await
        } else {
            copy(&source, &target, &tenant).await
        };
        match outcome {
            Ok(Outcome::Copied) => counts.copied += 1,
            Ok(Outcome::Equal) => counts.equal += 1,
            Ok(Outcome::Absent) => {}
            Ok(Outcome::Busy) => {
                run.step(Step::Busy(tenant));
                continue;
            }
            Ok(Outcome::Refused(reason)) => {
                counts.refused += 1;
                run.report(&format!("{tenant}: {reason}"));
            }
            Err(error) => {
                is_reachable(&source).await?;
                is_reachable(&target).await?;
                counts.failed += 1;
                run.report(&format!("{tenant}: {}", with_sources(&error)));
            }
        }
        run.step(Step::Done);
    }
    let ended = run.end();
    for tenant in &ended.busy {
        eprintln!("{tenant}: another process uses the source; stop it and repeat the command");
    }
    let mut out = stdout();
    if !options.check {
        writeln!(out, "copied:        {}", counts.copied)?;
    }
    writeln!(out, "equal in both: {}", counts.equal)?;
    writeln!(out, "different:     {}", counts.refused)?;
    writeln!(out, "busy:          {}", ended.busy.len())?;
    writeln!(out, "failed:        {}", counts.failed)?;
    if ended.is_interrupted {
        writeln!(out, "interrupted; repeat the command for the rest")?;
    }
    let is_done = counts.refused == 0 && counts.failed == 0 && ended.is_complete();
    Ok(Exit::done_if(is_done))
}

#[derive(Default)]
struct Counts {
    copied: u64,
    equal: u64,
    refused: u64,
    failed: u64,
}

/// The outcome of one grant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Copied,
    /// The target has the same grant.
    Equal,
    /// The source lists the tenant, and has no grant of it.
    Absent,
    /// Another process has the lease in the source.
    Busy,
    /// The grant is not safe in the target.
    Refused(String),
}

async fn compare(
    source: &AnyStore,
    target: &AnyStore,
    tenant: &TenantId,
) -> Result<Outcome, StoreError> {
    let Some(grant) = source.load(tenant).await? else {
        return Ok(Outcome::Absent);
    };
    Ok(match target.load(tenant).await? {
        Some(stored) => against(&grant, &stored),
        None => Outcome::Refused("the target has no grant of this tenant".into()),
    })
}

/// Copies a grant while this process has its lease in the source.
pub(crate) async fn copy(
    source: &AnyStore,
    target: &AnyStore,
    tenant: &TenantId,
) -> Result<Outcome, StoreError> {
    let owner = LeaseOwner::random();
    if source.acquire(tenant, &owner, LEASE).await? == LeaseOutcome::HeldByAnother {
        return Ok(Outcome::Busy);
    }
    let copied = copy_leased(source, target, tenant, &owner).await;
    // If this fails, the lease expires.
    let _ = source.release(tenant, &owner).await;
    copied
}

async fn copy_leased(
    source: &AnyStore,
    target: &AnyStore,
    tenant: &TenantId,
    owner: &LeaseOwner,
) -> Result<Outcome, StoreError> {
    let Some(grant) = source.load(tenant).await? else {
        return Ok(Outcome::Absent);
    };
    // Only where nothing is stored: a conditional save without an expected generation.
    let saved = match target.load(tenant).await? {
        Some(stored) => return Ok(against(&grant, &stored)),
        None => target.save(tenant, None, &grant).await?,
    };
    if let SaveOutcome::Superseded(stored) = saved {
        return Ok(stored.map_or_else(vanished, |stored| against(&grant, &stored)));
    }
    let Some(stored) = target.load(tenant).await? else {
        return Ok(vanished());
    };
    if stored != grant {
        return Ok(Outcome::Refused(
            "the target returns another grant than was saved; check which programs use it".into(),
        ));
    }
    let is_leased = source.acquire(tenant, owner, LEASE).await? == LeaseOutcome::Acquired;
    if !is_leased || source.load(tenant).await?.as_ref() != Some(&grant) {
        return Ok(Outcome::Refused(
            "the source has changed during the copy, so the copy is old; stop the program, delete \
             the grant from the target and repeat the command"
                .into(),
        ));
    }
    Ok(Outcome::Copied)
}

/// Compares a grant with that of the target.
fn against(grant: &Grant, stored: &Grant) -> Outcome {
    if grant == stored {
        return Outcome::Equal;
    }
    let (source, target) = (grant.generation, stored.generation);
    Outcome::Refused(match target.cmp(&source) {
        Ordering::Greater => format!(
            "the target has a newer grant (generation {target}, and {source} in the source); it is \
             unchanged"
        ),
        Ordering::Less => format!(
            "the target has an older grant (generation {target}, and {source} in the source): the \
             source was used after a copy; delete the grant from the target and repeat the command"
        ),
        Ordering::Equal => format!(
            "the target has another grant of generation {target}; it is unchanged: find out which \
             of both is in use"
        ),
    })
}

fn vanished() -> Outcome {
    Outcome::Refused("the target has lost the grant; check which programs use it".into())
}
