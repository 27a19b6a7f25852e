//! Where an example runs: against the real service if the environment says so, against the sandbox otherwise.

use std::{env, error::Error, io, path::PathBuf};

use tower_oauth2_client::{
    provider::{Provider, justworks},
    sandbox::Sandbox,
};

pub(crate) struct Settings {
    pub(crate) provider: Provider,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    pub(crate) redirect_uri: String,
    /// The folder that the tokens are kept in.
    pub(crate) grants: PathBuf,
    stand_in: Option<StandIn>,
}

/// Goes when it is dropped.
struct StandIn {
    sandbox: Sandbox,
    _grants: tempfile::TempDir,
}

impl Settings {
    pub(crate) async fn from_environment() -> Result<Self, Box<dyn Error>> {
        let Ok(client_id) = env::var("JUSTWORKS_CLIENT_ID") else {
            return Self::of_sandbox(Sandbox::start().await?);
        };
        Ok(Self {
            provider: justworks(),
            client_id,
            client_secret: env::var("JUSTWORKS_CLIENT_SECRET")?,
            redirect_uri: env::var("JUSTWORKS_REDIRECT_URI")?,
            grants: env::var_os("JUSTWORKS_GRANTS")
                .unwrap_or_else(|| "grants".into())
                .into(),
            stand_in: None,
        })
    }

    fn of_sandbox(sandbox: Sandbox) -> Result<Self, Box<dyn Error>> {
        let grants = tempfile::tempdir()?;
        Ok(Self {
            provider: justworks().on_origin(&sandbox.url())?,
            client_id: sandbox.client_id().to_owned(),
            client_secret: sandbox.client_secret().to_owned(),
            redirect_uri: sandbox.redirect_uri().to_owned(),
            grants: grants.path().to_owned(),
            stand_in: Some(StandIn {
                sandbox,
                _grants: grants,
            }),
        })
    }

    /// Where the browser comes back to from `url`, after a person has consented.
    pub(crate) async fn consent(&self, url: &str) -> Result<String, Box<dyn Error>> {
        if let Some(stand_in) = &self.stand_in {
            return Ok(stand_in.sandbox.consent(url).await?);
        }
        println!("Open this, consent, and paste the address that you are sent back to:\n{url}");
        let answer = io::stdin().lines().next().ok_or("no answer")??;
        Ok(answer.trim().to_owned())
    }
}
