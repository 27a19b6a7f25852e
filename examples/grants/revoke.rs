//! The command `revoke`.

use std::{
    error::Error,
    io::{Write as _, stdin, stdout},
    time::Duration,
};

use tokio::time::sleep;
use tower_oauth2_client::{
    cache::TokenCache,
    store::TokenStore as _,
    token::{Grant, GrantState, TenantId},
};

use crate::{
    arguments::Revoke,
    client,
    exit::Exit,
    session::{Session, tenant},
    text::with_sources,
};

/// How often the provider is called, and the pause in between.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// The beginning of each encrypted token.
const ENVELOPE: &str = "tow1.";

pub(crate) async fn revoke(session: &Session, options: &Revoke) -> Result<Exit, Box<dyn Error>> {
    let tenant = tenant(&options.tenant)?;
    let (oauth, store) = (client::from_environment()?, session.store()?);
    let grant = store.load(&tenant).await?;
    let grant = grant.ok_or("the store has no grant of this tenant")?;
    if let GrantState::Revoked { .. } = grant.state {
        writeln!(stdout(), "{tenant} was revoked before")?;
        return Ok(Exit::Done);
    }
    if !session.has_keys() && is_encrypted(&grant) {
        // The provider would not know what it is sent, and confirm the revocation.
        return Err("the grant is encrypted; name its key with --key-id and --key-file".into());
    }
    if !options.yes && !is_confirmed(&tenant, &grant)? {
        return Err("not confirmed; nothing has changed".into());
    }
    let cache = TokenCache::builder(oauth)
        .store(store.clone())
        .tenant(options.tenant.clone())
        // The only work of this process is the revocation.
        .background_delay(Duration::from_secs(86_400))
        .build()?;
    let mut attempts = 1;
    let revoked = loop {
        match cache.revoke().await {
            Err(error) if error.is_transient() && attempts < ATTEMPTS => {
                attempts += 1;
                sleep(PAUSE).await;
            }
            ended => break ended,
        }
    };
    let Err(error) = revoked else {
        writeln!(stdout(), "{tenant} is revoked, and its tokens are deleted")?;
        return Ok(Exit::Done);
    };
    let stored = store.load(&tenant).await;
    if !matches!(
        stored,
        Ok(Some(Grant {
            state: GrantState::Revoked { .. },
            ..
        }))
    ) {
        return Err(error.into());
    }
    writeln!(
        stdout(),
        "{tenant} is revoked in the store, and its tokens are deleted; the provider has not \
         confirmed, so revoke the grant there: {}",
        with_sources(&error)
    )?;
    Ok(Exit::Left)
}

fn is_encrypted(grant: &Grant) -> bool {
    let tokens = grant.tokens();
    tokens.is_some_and(|tokens| tokens.access_token().expose().starts_with(ENVELOPE))
}

/// Says what a revocation does, and asks for it.
fn is_confirmed(tenant: &TenantId, grant: &Grant) -> Result<bool, Box<dyn Error>> {
    let mut out = stdout();
    write!(
        out,
        "This revokes the grant of {tenant} at the provider, and deletes its tokens from the store."
    )?;
    if let Some(identity) = &grant.identity {
        write!(out, " It is of {identity}.")?;
    }
    write!(
        out,
        " Requests of this tenant then fail until the customer consents again.\nRevoke it? [yes/no] "
    )?;
    out.flush()?;
    let mut typed = String::new();
    stdin().read_line(&mut typed)?;
    Ok(typed.trim() == "yes")
}
