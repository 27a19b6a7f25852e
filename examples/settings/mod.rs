//! The provider and the client of an example, from environment variables: the real service, or a
//! sandbox that runs already. Without the variables an example starts a sandbox of its own.

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
    /// The directory of the grants.
    #[allow(dead_code, reason = "`partner_app` has a variable of its own for it")]
    pub(crate) grants: PathBuf,
    own_sandbox: Option<OwnSandbox>,
}

/// The sandbox of one run. Dropping it removes its grants.
struct OwnSandbox {
    sandbox: Sandbox,
    _grants: tempfile::TempDir,
}

impl Settings {
    #[allow(
        dead_code,
        reason = "`login` and `partner_app` configure their own sandbox"
    )]
    pub(crate) async fn from_environment() -> Result<Self, Box<dyn Error>> {
        match Self::from_variables()? {
            Some(settings) => Ok(settings),
            None => Self::for_sandbox(Sandbox::start().await?),
        }
    }

    /// The settings that the environment variables name, if they are set.
    ///
    /// The real service needs `JUSTWORKS_CLIENT_ID`, `JUSTWORKS_CLIENT_SECRET` and
    /// `JUSTWORKS_REDIRECT_URI`. The example `sandbox` needs `SANDBOX_URL`, and
    /// `SANDBOX_CLIENT_ID`, `SANDBOX_CLIENT_SECRET` and `SANDBOX_REDIRECT_URI` if it was started
    /// with them. `JUSTWORKS_GRANTS` names the directory of the grants in both cases.
    pub(crate) fn from_variables() -> Result<Option<Self>, Box<dyn Error>> {
        let (provider, name, defaults, grants) = if let Some(url) = variable("SANDBOX_URL")? {
            let provider = justworks().on_origin(&url)?;
            (provider, "SANDBOX", SANDBOX_DEFAULTS, "sandbox-grants")
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
            own_sandbox: None,
        }))
    }

    /// The settings for a sandbox in this process, with a temporary directory for the grants.
    pub(crate) fn for_sandbox(sandbox: Sandbox) -> Result<Self, Box<dyn Error>> {
        let grants = tempfile::tempdir()?;
        Ok(Self {
            provider: justworks().on_origin(&sandbox.url())?,
            client_id: sandbox.client_id().to_owned(),
            client_secret: sandbox.client_secret().to_owned(),
            redirect_uri: sandbox.redirect_uri().to_owned(),
            grants: grants.path().to_owned(),
            own_sandbox: Some(OwnSandbox {
                sandbox,
                _grants: grants,
            }),
        })
    }

    /// The sandbox of this run, if the environment names no other provider.
    #[allow(dead_code, reason = "not every example uses it")]
    pub(crate) fn own_sandbox(&self) -> Option<&Sandbox> {
        self.own_sandbox.as_ref().map(|own| &own.sandbox)
    }

    /// Asks the user for consent, if there is no usable grant.
    #[allow(dead_code, reason = "`login` receives the callback itself")]
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

    /// The callback URL that the browser is sent to after consent.
    #[allow(dead_code, reason = "`login` receives the callback itself")]
    async fn consent(&self, url: &str) -> Result<String, Box<dyn Error>> {
        if let Some(sandbox) = self.own_sandbox() {
            return Ok(sandbox.consent(url).await?);
        }
        println!(
            "Open this URL in a browser, allow access, and paste the address that the browser is \
             sent to:\n{url}"
        );
        let callback = io::stdin()
            .lines()
            .next()
            .ok_or("no address was entered")??;
        Ok(callback.trim().to_owned())
    }
}

/// Whether the user has to consent, now or when the access token expires.
pub(crate) async fn is_consent_required(
    tokens: &TokenCache,
) -> Result<bool, tower_oauth2_client::Error> {
    match tokens.token().await {
        // The access token may serve requests for a while after the grant has ended.
        Ok(_) => Ok(matches!(
            tokens.status().state,
            TokenState::ReauthorizationRequired { .. }
        )),
        Err(error) if error.is_consent_required() => Ok(true),
        Err(error) => Err(error),
    }
}

/// The client ID, secret and redirect URI that the example `sandbox` has by default.
const SANDBOX_DEFAULTS: [Option<&str>; 3] = [
    Some("sandbox-client"),
    Some("sandbox-client-secret"),
    Some("http://127.0.0.1:8000/callback"),
];

/// The text of an environment variable, if it is set.
pub(crate) fn variable(name: &str) -> Result<Option<String>, String> {
    match env::var(name) {
        Ok(text) => Ok(Some(text)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(format!("{name} is not valid UTF-8")),
    }
}

fn required(name: &str, default: Option<&str>) -> Result<String, String> {
    variable(name)?
        .or(default.map(str::to_owned))
        .ok_or_else(|| format!("{name} is not set; set it too"))
}
