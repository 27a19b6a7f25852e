//! Where an example runs: against the real service if the environment says so, against the sandbox otherwise.

use std::{env, error::Error, io, path::PathBuf};

use tower_oauth2_client::{
    cache::TokenCache,
    oauth::OAuthClient,
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

    /// Whether it is the real service.
    #[allow(dead_code, reason = "not every example needs to know")]
    pub(crate) fn is_real(&self) -> bool {
        self.stand_in.is_none()
    }

    /// Lets a person consent, if there is no grant that works.
    pub(crate) async fn connect(
        &self,
        oauth: &OAuthClient,
        tokens: &TokenCache,
    ) -> Result<(), Box<dyn Error>> {
        match tokens.token().await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_consent_required() => {}
            Err(error) => return Err(error.into()),
        }
        let (url, pending) = oauth.authorization_url()?;
        let callback = self.consent(&url).await?;
        let first = oauth.exchange_code(pending.accept(&callback)?).await?;
        Ok(tokens.replace(first).await?)
    }

    /// Where the browser comes back to from `url`, after a person has consented.
    async fn consent(&self, url: &str) -> Result<String, Box<dyn Error>> {
        if let Some(stand_in) = &self.stand_in {
            return Ok(stand_in.sandbox.consent(url).await?);
        }
        println!("Open this, consent, and paste the address that you are sent back to:\n{url}");
        let answer = io::stdin().lines().next().ok_or("no answer")??;
        Ok(answer.trim().to_owned())
    }
}
