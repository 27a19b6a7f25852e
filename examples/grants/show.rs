//! The command `show`.

use std::{
    error::Error,
    io::{Write as _, stdout},
};

use serde::Serialize;
use tower_oauth2_client::{
    cache::{Cause, Diagnosis},
    clock::{Clock as _, SystemClock},
    store::TokenStore as _,
    token::{ClientIdentity, Grant, TenantId, TokenSet},
};

use crate::{
    arguments::Show,
    exit::Exit,
    session::{Session, tenant},
    text::{days_left, time, with_sources},
};

pub(crate) async fn show(session: &Session, options: &Show) -> Result<Exit, Box<dyn Error>> {
    let tenant = tenant(&options.tenant)?;
    let diagnosis = session.tenants()?.diagnose(&tenant).await;
    // Read again without the check of the client: a grant of another client can be shown too.
    let grant = session.store()?.load(&tenant).await;
    let grant = match grant {
        Ok(Some(grant)) => grant,
        Ok(None) => return Err("the store has no grant of this tenant".into()),
        Err(error) => return Err(error.into()),
    };
    let shown = Shown::new(&tenant, &grant, &diagnosis);
    if options.json {
        writeln!(stdout(), "{}", serde_json::to_string(&shown)?)?;
    } else {
        shown.print()?;
    }
    Ok(Exit::done_if(diagnosis.cause == Cause::None))
}

/// A grant without its tokens.
#[derive(Serialize)]
struct Shown<'a> {
    tenant: &'a str,
    days_left: Option<u64>,
    client_id: Option<&'a str>,
    token_endpoint: Option<&'a str>,
    grant_kind: Option<&'a str>,
    scope: Option<&'a str>,
    issued_at: Option<String>,
    refresh_token_issued_at: Option<String>,
    diagnosis: &'a Diagnosis,
}

impl<'a> Shown<'a> {
    fn new(tenant: &'a TenantId, grant: &'a Grant, diagnosis: &'a Diagnosis) -> Self {
        let (identity, tokens) = (grant.identity.as_ref(), grant.tokens());
        let until = diagnosis.status.refresh_token_expires_at;
        Self {
            tenant: tenant.as_str(),
            days_left: until.map(|until| days_left(until, SystemClock.wall())),
            client_id: identity.map(ClientIdentity::client_id),
            token_endpoint: identity.map(ClientIdentity::token_endpoint),
            grant_kind: identity.and_then(|identity| identity.grant_kind()),
            scope: tokens.and_then(|tokens| tokens.scope()),
            issued_at: tokens.and_then(|tokens| time(tokens.issued_at())),
            refresh_token_issued_at: tokens
                .and_then(TokenSet::refresh_token_issued_at)
                .and_then(time),
            diagnosis,
        }
    }

    fn print(&self) -> Result<(), Box<dyn Error>> {
        let status = &self.diagnosis.status;
        let mut out = stdout();
        let mut line = |name: &str, value: Option<String>| match value {
            Some(value) => writeln!(out, "{:25}{value}", format!("{name}:")),
            None => Ok(()),
        };
        // What a store contains may be anything, so a terminal gets it quoted.
        let quoted = |text: Option<&str>| text.map(|text| format!("{text:?}"));
        line("tenant", Some(self.tenant.to_owned()))?;
        line("state", Some(status.state.as_str().to_owned()))?;
        line("needs consent", Some(status.needs_consent().to_string()))?;
        line(
            "generation",
            status.generation.map(|generation| generation.to_string()),
        )?;
        line("client id", quoted(self.client_id))?;
        line("token endpoint", quoted(self.token_endpoint))?;
        line("grant kind", quoted(self.grant_kind))?;
        line("scope", quoted(self.scope))?;
        line("access token issued", self.issued_at.clone())?;
        line("access token expires", status.expires_at.and_then(time))?;
        line("refresh token issued", self.refresh_token_issued_at.clone())?;
        line(
            "refresh token expires",
            status.refresh_token_expires_at.and_then(time),
        )?;
        line("days left", self.days_left.map(|days| days.to_string()))?;
        line("stuck since", status.stuck_since.and_then(time))?;
        let error = self.diagnosis.store_error.as_ref();
        line("error", error.map(|error| with_sources(error)))?;
        writeln!(stdout(), "\n{}", self.diagnosis)?;
        Ok(())
    }
}
