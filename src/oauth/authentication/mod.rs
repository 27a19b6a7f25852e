//! The credentials of each request to the provider.

use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use http::{Method, Uri, header::AUTHORIZATION};
use tokio::{
    runtime::Handle,
    time::{Instant, timeout_at},
};
use zeroize::Zeroizing;

use super::assertion::{CLIENT_ASSERTION_TYPE, Claims};
use crate::{
    caught::{Panicked, caught},
    error::{Error, ErrorKind},
    jose::AnySigner,
    provider::{ClientAuthentication, ParameterNames},
    token::ClientSecret,
};

mod authenticator;
mod basic;
mod checks;
mod presented;

pub use self::authenticator::{AuthenticationRequest, ClientAuthenticator, ClientCredentials};
#[cfg(feature = "mcp")]
pub(crate) use self::checks::check_issued;
pub(super) use self::{
    authenticator::AnyAuthenticator,
    checks::{Means, check_client_id, check_secret, check_signer},
    presented::Presented,
};

/// How a client authenticates. Secrets and keys can be replaced while it is used.
pub(super) struct Authentication {
    method: ClientAuthentication,
    pub(super) client_secret: ArcSwapOption<ClientSecret>,
    pub(super) signer: ArcSwapOption<AnySigner>,
    /// It replaces the method of the provider's data.
    pub(super) authenticator: ArcSwapOption<AnyAuthenticator>,
}

/// One request that the client authenticates.
pub(super) struct Target<'a> {
    pub(super) client_id: &'a str,
    pub(super) method: &'a Method,
    pub(super) endpoint: &'a Uri,
    pub(super) audience: &'a str,
    pub(super) names: &'a ParameterNames,
    pub(super) now: SystemTime,
    /// The method of the provider's data for this request, if it is another one.
    pub(super) other_method: Option<ClientAuthentication>,
}

impl Authentication {
    pub(super) fn new(method: ClientAuthentication, means: Means) -> Self {
        Self {
            method,
            client_secret: ArcSwapOption::from_pointee(means.client_secret),
            signer: ArcSwapOption::from_pointee(means.signer),
            authenticator: ArcSwapOption::from_pointee(means.authenticator),
        }
    }

    /// Whether the client has nothing that proves its identity.
    pub(super) fn is_public(&self) -> bool {
        self.method == ClientAuthentication::None && self.authenticator.load().is_none()
    }

    /// Whether credentials are made for one request, so that its time and its audience matter.
    pub(super) fn is_made_per_request(&self) -> bool {
        matches!(
            self.method,
            ClientAuthentication::ClientSecretJwt | ClientAuthentication::PrivateKeyJwt
        ) || self.authenticator.load().is_some()
    }

    /// The credentials of one attempt, by the newest secret or key. After an error, nothing was
    /// sent.
    ///
    /// The program's signer or authenticator has until the deadline: it must not hold the permit of
    /// the request for longer.
    pub(super) async fn credentials(
        &self,
        target: &Target<'_>,
        deadline: Instant,
    ) -> Result<ClientCredentials, Error> {
        let authenticator = self.authenticator.load_full();
        let by = match &authenticator {
            Some(_) => "client authenticator",
            None => "signer",
        };
        let work = async {
            match &authenticator {
                Some(authenticator) if target.other_method.is_none() => {
                    authenticated_by(authenticator, target).await
                }
                _ => self.ready(target).await,
            }
        };
        if Handle::try_current().is_err() {
            return Err(Error::outside_of_a_runtime());
        }
        let outcome = match timeout_at(deadline, caught(work)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(Panicked)) => Err(Error::new(
                ErrorKind::Interrupted,
                format!("{by} panicked, so nothing was sent; correct it"),
            )),
            Err(_) => Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "{by} did not respond in time, so nothing was sent; check where its key is"
                ),
            )),
        };
        outcome.map_err(Error::with_local_failure)
    }

    /// The credentials of a method that the provider's data name.
    async fn ready(&self, target: &Target<'_>) -> Result<ClientCredentials, Error> {
        let Target {
            client_id, names, ..
        } = *target;
        let method = target.other_method.unwrap_or(self.method);
        let secret = self.client_secret.load_full();
        // The builder ensures that there is a secret or a signer for each method that needs one.
        let missing = || Error::configuration("client secret: not set");
        let with_id = || {
            let id = Zeroizing::new(client_id.to_owned());
            ClientCredentials::new().parameter(names.of("client_id"), id)
        };
        let claims = || Claims::new(client_id, client_id, target.audience, target.now);
        let with_assertion = |assertion: Zeroizing<String>| {
            // RFC 7521 section 4.2 makes the id optional, and many servers need it.
            with_id()
                .parameter("client_assertion_type", CLIENT_ASSERTION_TYPE.to_owned())
                .parameter("client_assertion", assertion)
        };
        let credentials = match method {
            ClientAuthentication::None | ClientAuthentication::TlsClientAuth => {
                return Ok(with_id());
            }
            ClientAuthentication::PrivateKeyJwt => {
                let signer = self.signer.load_full();
                let signer = signer.ok_or_else(|| Error::configuration("signer: not set"))?;
                return Ok(with_assertion(claims()?.signed_by(&signer).await?));
            }
            ClientAuthentication::Basic | ClientAuthentication::BasicRaw => {
                let secret = secret.as_deref().ok_or_else(missing)?;
                let is_raw = method == ClientAuthentication::BasicRaw;
                let value = basic::value(client_id, secret, is_raw);
                ClientCredentials::new().header(AUTHORIZATION, value)
            }
            ClientAuthentication::RequestBody => {
                let secret = secret.as_deref().ok_or_else(missing)?;
                let value = Zeroizing::new(secret.expose().to_owned());
                with_id().parameter(names.of("client_secret"), value)
            }
            ClientAuthentication::ClientSecretJwt => {
                let secret = secret.as_deref().ok_or_else(missing)?;
                with_assertion(claims()?.signed_with(secret)?)
            }
        };
        Ok(ClientCredentials {
            client_secret: secret.as_deref().cloned(),
            ..credentials
        })
    }
}

async fn authenticated_by(
    authenticator: &AnyAuthenticator,
    target: &Target<'_>,
) -> Result<ClientCredentials, Error> {
    let request = AuthenticationRequest {
        client_id: target.client_id,
        method: target.method,
        endpoint: target.endpoint,
        audience: target.audience,
        now: target.now,
    };
    let credentials = authenticator.authenticate(&request).await;
    credentials.map_err(|error| {
        let message = "client authenticator failed, so nothing was sent: see the source";
        Error::new(ErrorKind::Unavailable, message).with_source(error)
    })
}
