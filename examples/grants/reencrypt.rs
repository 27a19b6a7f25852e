//! The command `reencrypt`.
//!
//! No progress is stored: a grant that is encrypted with the current key is skipped, so a command
//! that was interrupted is simply repeated.

use std::{
    error::Error,
    io::{Write as _, stdout},
};

use tower_oauth2_client::{
    store::{AnyStore, EncryptedStore},
    token::TenantId,
};

use crate::{
    arguments::Reencrypt,
    exit::Exit,
    run::{Run, Step, is_reachable},
    session::Session,
    text::with_sources,
};

pub(crate) async fn reencrypt(
    session: &Session,
    options: &Reencrypt,
) -> Result<Exit, Box<dyn Error>> {
    let encrypted = session.encrypted()?;
    let store = session.store()?;
    let mut counts = Counts::default();
    let mut run = Run::start(store.clone(), options.wait).await?;
    while let Some(tenant) = run.next().await? {
        let rewritten = rewrite(&encrypted, &tenant, options.check).await;
        match rewritten {
            Ok(Rewritten::Now) => counts.rewritten += 1,
            Ok(Rewritten::Before) => counts.current += 1,
            Ok(Rewritten::Due) => counts.due += 1,
            Ok(Rewritten::Busy) => {
                run.step(Step::Busy(tenant));
                continue;
            }
            Err(error) => {
                is_reachable(&store).await?;
                counts.unreadable += 1;
                run.report(&format!("{tenant}: {}", with_sources(&error)));
            }
        }
        run.step(Step::Done);
    }
    let ended = run.end();
    for tenant in &ended.busy {
        eprintln!("{tenant}: it is being refreshed; repeat the command");
    }
    let mut out = stdout();
    writeln!(out, "rewritten:       {}", counts.rewritten)?;
    writeln!(out, "already current: {}", counts.current)?;
    if options.check {
        writeln!(out, "to be rewritten: {}", counts.due)?;
    }
    writeln!(out, "busy:            {}", ended.busy.len())?;
    writeln!(out, "unreadable:      {}", counts.unreadable)?;
    if ended.is_interrupted {
        writeln!(out, "interrupted; repeat the command for the rest")?;
    }
    let is_done = counts.due == 0 && counts.unreadable == 0 && ended.is_complete();
    Ok(Exit::done_if(is_done))
}

#[derive(Default)]
struct Counts {
    rewritten: u64,
    current: u64,
    due: u64,
    unreadable: u64,
}

enum Rewritten {
    Now,
    Before,
    /// It would be rewritten.
    Due,
    Busy,
}

async fn rewrite(
    encrypted: &EncryptedStore<AnyStore>,
    tenant: &TenantId,
    is_check: bool,
) -> Result<Rewritten, tower_oauth2_client::Error> {
    if encrypted.is_under_current_key(tenant).await? {
        return Ok(Rewritten::Before);
    }
    if is_check {
        return Ok(Rewritten::Due);
    }
    let is_rewritten = encrypted.reencrypt(tenant).await?;
    Ok(if is_rewritten {
        Rewritten::Now
    } else {
        Rewritten::Busy
    })
}
