//! Where an example runs: against the real service or a sandbox that runs already if the environment says so, against a sandbox
//! of its own otherwise.

use std::{
    env::{self, VarError},
    error::Error,
    io,
    path::PathBuf,
};

use tower_oauth2_client::{
    cache::{TokenCache, TokenState},
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
    #[allow(dead_code, reason = "`partner_app` has a variable of its own for it")]
    pub(crate) grants: PathBuf,
    stand_in: Option<StandIn>,
}

/// Goes when it is dropped.
struct StandIn {
    sandbox: Sandbox,
    _grants: tempfile::TempDir,
}

impl Settings {
    #[allow(dead_code, reason = "`login` sets a sandbox up for itself")]
    pub(crate) async fn from_environment() -> Result<Self, Box<dyn Error>> {
        match Self::given()? {
            Some(settings) => Ok(settings),
            None => Self::of_sandbox(Sandbox::start().await?),
        }
    }

    /// What the environment names, if anything.
    ///
    /// For the real service that is `JUSTWORKS_CLIENT_ID`, `JUSTWORKS_CLIENT_SECRET` and `JUSTWORKS_REDIRECT_URI`. For the example
    /// `sandbox`, started by itself, it is `SANDBOX_URL`; where that was started with other credentials or another redirect URI
    /// than it has by itself, the same variables name them here. `JUSTWORKS_GRANTS` is the folder for the tokens of either.
    pub(crate) fn given() -> Result<Option<Self>, Box<dyn Error>> {
        let (provider, name, defaults, grants) = if let Some(url) = variable("SANDBOX_URL")? {
            let provider = justworks().on_origin(&url)?;
            (provider, "SANDBOX", SANDBOX_APP, "sandbox-grants")
        } else if variable("JUSTWORKS_CLIENT_ID")?.is_some() {
            (justworks(), "JUSTWORKS", [None; 3], "grants")
        } else {
            return Ok(None);
        };
        let [client_id, client_secret, redirect_uri] = defaults;
        Ok(Some(Self {
            provider,
            client_id: required(&format!("{name}_CLIENT_ID"), client_id)?,
            client_secret: required(&format!("{name}_CLIENT_SECRET"), client_secret)?,
            redirect_uri: required(&format!("{name}_REDIRECT_URI"), redirect_uri)?,
            grants: env::var_os("JUSTWORKS_GRANTS")
                .unwrap_or_else(|| grants.into())
                .into(),
            stand_in: None,
        }))
    }

    pub(crate) fn of_sandbox(sandbox: Sandbox) -> Result<Self, Box<dyn Error>> {
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

    /// The sandbox that the example has for itself, if it is not to run against anything else.
    #[allow(dead_code, reason = "not every example needs to know")]
    pub(crate) fn own_sandbox(&self) -> Option<&Sandbox> {
        self.stand_in.as_ref().map(|stand_in| &stand_in.sandbox)
    }

    /// Lets a person consent, if there is no grant that works.
    #[allow(dead_code, reason = "`login` does without pasting")]
    pub(crate) async fn connect(
        &self,
        oauth: &OAuthClient,
        tokens: &TokenCache,
    ) -> Result<(), Box<dyn Error>> {
        if !is_consent_required(tokens).await? {
            return Ok(());
        }
        let (url, pending) = oauth.authorization_url()?;
        let callback = self.consent(&url).await?;
        Ok(tokens
            .complete_authorization(oauth, &pending, &callback)
            .await?)
    }

    /// Where the browser comes back to from `url`, after a person has consented.
    #[allow(dead_code, reason = "`login` does without pasting")]
    async fn consent(&self, url: &str) -> Result<String, Box<dyn Error>> {
        if let Some(stand_in) = &self.stand_in {
            return Ok(stand_in.sandbox.consent(url).await?);
        }
        println!("Open this, consent, and paste the address that you are sent back to:\n{url}");
        let answer = io::stdin().lines().next().ok_or("no answer")??;
        Ok(answer.trim().to_owned())
    }
}

/// Whether a person has to consent before the API can be called for long.
pub(crate) async fn is_consent_required(
    tokens: &TokenCache,
) -> Result<bool, tower_oauth2_client::Error> {
    match tokens.token().await {
        // The access token may live on after the grant has ended, and so may one that the API refuses already.
        Ok(_) => Ok(matches!(
            tokens.status().state,
            TokenState::ReauthorizationRequired { .. }
        )),
        Err(error) if error.is_consent_required() => Ok(true),
        Err(error) => Err(error),
    }
}

/// What the example `sandbox` has where its variables do not say otherwise.
const SANDBOX_APP: [Option<&str>; 3] = [
    Some("sandbox-client"),
    Some("sandbox-client-secret"),
    Some("http://127.0.0.1:8000/callback"),
];

/// A variable's text, if it is set.
pub(crate) fn variable(name: &str) -> Result<Option<String>, String> {
    match env::var(name) {
        Ok(text) => Ok(Some(text)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(format!("{name} is not text")),
    }
}

fn required(name: &str, default: Option<&str>) -> Result<String, String> {
    variable(name)?
        .or(default.map(str::to_owned))
        .ok_or_else(|| format!("{name} is to be set as well"))
}
