//! Device authorization (RFC 8628).

use std::{
    fmt,
    time::{Duration, Instant},
};

use http::Method;
use tokio::{runtime::Handle, time::sleep};
use zeroize::Zeroizing;

use super::{
    attempt::Retry,
    client::{OAuthClient, Sent},
    endpoint_error, evidence,
    form::Form,
    kept_values, provider_text,
    token_response::TokenResponse,
};
use crate::{
    error::Error,
    later::Later,
    provider::{EndpointKind, RequestKind},
    token::{NamedValues, TokenSet},
};

mod polling;
mod response;

use self::{
    polling::{Polling, Step},
    response::ENDPOINT,
};

/// The value of `grant_type` (RFC 8628 section 3.4).
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// How long a device authorization request waits for its response.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A device authorization that a user has to complete on another device (RFC 8628 section 3.2).
///
/// Show the user the [`verification_uri`](Self::verification_uri) and the
/// [`user_code`](Self::user_code), or the
/// [`verification_uri_complete`](Self::verification_uri_complete) as a QR code. Then wait for the
/// tokens by [`OAuthClient::await_device`].
///
/// The texts contain visible ASCII characters and spaces only, so that a terminal can show them.
/// `Debug` shows neither code.
#[derive(Clone)]
pub struct DeviceAuthorization {
    device_code: Zeroizing<String>,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: Option<String>,
    expires_in: Duration,
    interval: Duration,
    /// When the codes expire, by the client's clock.
    ends_at: Instant,
    values: NamedValues,
}

impl DeviceAuthorization {
    /// The code that the user enters.
    #[must_use]
    pub fn user_code(&self) -> &str {
        &self.user_code
    }

    /// The URL that the user opens. It is absolute, and uses `https` (or `http` to loopback).
    #[must_use]
    pub fn verification_uri(&self) -> &str {
        &self.verification_uri
    }

    /// The URL that contains the user code, if the provider has sent one. Show the user code
    /// beside it, so that the user can compare it (RFC 8628 section 3.3.1).
    #[must_use]
    pub fn verification_uri_complete(&self) -> Option<&str> {
        self.verification_uri_complete.as_deref()
    }

    /// The lifetime of both codes, from when the request was sent.
    #[must_use]
    pub fn expires_in(&self) -> Duration {
        self.expires_in
    }

    /// The shortest pause between two polls. Defaults to 5 seconds (RFC 8628 section 3.2).
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.interval
    }
}

impl fmt::Debug for DeviceAuthorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceAuthorization")
            .field("device_code", &"***")
            .field("user_code", &"***")
            .field("verification_uri", &self.verification_uri)
            .field("expires_in", &self.expires_in)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

/// Device authorization (RFC 8628), for a program without a browser, such as a command line tool.
impl OAuthClient {
    /// Starts a device authorization (RFC 8628 section 3.1).
    ///
    /// The request names the client's scopes, and is authenticated as token requests are. It does
    /// not pass the [gate](Self::gate), which is that of the token endpoint. It waits 30 seconds
    /// for its response, and is retried as a refresh is.
    ///
    /// # Errors
    ///
    /// The call can be repeated.
    ///
    /// * [`Configuration`](crate::ErrorKind::Configuration) if the provider has no device
    ///   authorization endpoint.
    /// * [`KeptValue`](crate::ErrorKind::KeptValue) if the endpoint contains variables: use
    ///   [`authorize_device_with`](Self::authorize_device_with).
    /// * [`Refused`](crate::ErrorKind::Refused), with the provider's [error
    ///   code](Error::oauth_code).
    /// * [`Unavailable`](crate::ErrorKind::Unavailable) if the provider cannot be reached or does
    ///   not respond in time.
    /// * [`InvalidResponse`](crate::ErrorKind::InvalidResponse) if the response violates RFC 8628.
    ///   Its message says how.
    pub async fn authorize_device(&self) -> Result<DeviceAuthorization, Error> {
        self.authorize_device_with(&NamedValues::NONE).await
    }

    /// Starts a device authorization as [`authorize_device`](Self::authorize_device) does, with
    /// values to keep with the grant: those that the provider's data name with the source
    /// [`Connect`](crate::provider::ValueSource::Connect).
    ///
    /// # Errors
    ///
    /// As [`authorize_device`](Self::authorize_device), and for the values as
    /// [`authorization_url_with`](Self::authorization_url_with).
    pub async fn authorize_device_with(
        &self,
        values: &NamedValues,
    ) -> Result<DeviceAuthorization, Error> {
        let configuration = &*self.configuration;
        let provider = &*configuration.provider;
        let Some(endpoint) = provider.address(EndpointKind::DeviceAuthorization) else {
            return Err(Error::configuration(
                "device authorization endpoint: the provider has none; set one by \
                 ProviderBuilder::device_authorization_endpoint",
            ));
        };
        let values = kept_values::of_program(provider, values)?;
        let endpoint = provider.resolve(endpoint, &values)?;
        let mut form = Form::empty(provider.request_format(), provider.parameter_names());
        if let Some(scope) = &configuration.scope {
            form.standard("scope", scope);
        }
        self.add_parameters(&mut form, RequestKind::DeviceAuthorization);
        let (sent_at, sent_at_wall) = (configuration.clock.monotonic(), configuration.clock.wall());
        let credentials = self.credentials(None, &values)?;
        let request = self.outgoing(Method::POST, endpoint, form, Some(credentials));
        let response = self.send(&request, Retry::Deferred, REQUEST_TIMEOUT).await;
        let response = response.map_err(super::transport::SendError::into_error)?;
        let parsed = if response.status().is_success() {
            response::parse(&response)
        } else {
            let now = configuration.clock.wall();
            let error = endpoint_error::to_error(ENDPOINT, &response, now, &[]);
            let error = self.explained(error, &response, sent_at_wall, now);
            Err(evidence::added_to(error))
        };
        let parsed = parsed.map_err(|error| {
            let secrets = || request.secrets(&[]);
            provider_text::added_to(error, &response, &[], secrets)
        })?;
        Ok(DeviceAuthorization {
            device_code: parsed.device_code,
            user_code: parsed.user_code,
            verification_uri: parsed.verification_uri,
            verification_uri_complete: parsed.verification_uri_complete,
            expires_in: parsed.expires_in,
            interval: parsed.interval,
            ends_at: sent_at.later(parsed.expires_in),
            values,
        })
    }

    /// Waits until the user has completed a device authorization, and returns the first token set
    /// of the grant (RFC 8628 sections 3.4 and 3.5).
    ///
    /// It polls the token endpoint: at the provider's interval, 5 seconds more rarely after each
    /// `slow_down`, and after a failed request at pauses that double, up to 1 minute. A
    /// `Retry-After` is respected. No poll is sent after the codes have expired, and one is sent
    /// shortly before; its response is still awaited. The polls have permits of their own, and are
    /// sent even while the circuit breaker is open, as those of a code exchange are.
    ///
    /// # Cancellation
    ///
    /// Dropping the future ends the polling. A later call with the same authorization continues it.
    /// But the drop also loses the response to the poll in flight, if there is one, and with it the
    /// tokens, if the user has just consented. The device code is then used up, and the user has to
    /// start again. Call this in a task of its own, and save the tokens there:
    ///
    /// ```no_run
    /// # use tower_oauth2_client::{Error, cache::TokenCache, oauth::OAuthClient};
    /// # async fn example(oauth: OAuthClient, tokens: TokenCache) -> Result<(), Error> {
    /// let device = oauth.authorize_device().await?;
    /// println!("Open {} and enter {}", device.verification_uri(), device.user_code());
    /// let login = tokio::spawn(async move {
    ///     let first = oauth.await_device(&device).await?;
    ///     tokens.set_tokens(first).await
    /// });
    /// # let _ = login; Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// After any error but [`Interrupted`](crate::ErrorKind::Interrupted), start a new device
    /// authorization. [`oauth_code`](Error::oauth_code) names the cause of a
    /// [`Refused`](crate::ErrorKind::Refused):
    ///
    /// * [`AccessDenied`](crate::OAuthErrorCode::AccessDenied): the user denied consent.
    /// * [`ExpiredToken`](crate::OAuthErrorCode::ExpiredToken): the user did not decide in time, or
    ///   the last polls failed. The message says which, and the error of the last poll is the
    ///   source.
    /// * [`InvalidGrant`](crate::OAuthErrorCode::InvalidGrant): the device code is used up or
    ///   unknown. If a response was lost before, it contained the tokens, and the message says so.
    ///   The provider may then show a consent that no program uses.
    ///
    /// [`Unavailable`](crate::ErrorKind::Unavailable) is returned in one case: there was time for
    /// another poll, but the token endpoint has asked for a pause, by `Retry-After`, that outlasts
    /// the device code. The error has the [pause](Error::retry_after). In other cases the polling
    /// continues. Other errors are as for [`exchange_code`](Self::exchange_code).
    pub async fn await_device(&self, device: &DeviceAuthorization) -> Result<TokenSet, Error> {
        let response = self.await_device_with_members(device).await;
        response.map(TokenResponse::into_tokens)
    }

    /// Waits for the tokens as [`await_device`](Self::await_device) does, and returns the other
    /// members of the token response too.
    ///
    /// # Errors
    ///
    /// As [`await_device`](Self::await_device).
    pub async fn await_device_with_members(
        &self,
        device: &DeviceAuthorization,
    ) -> Result<TokenResponse, Error> {
        if Handle::try_current().is_err() {
            return Err(Error::outside_of_a_runtime());
        }
        let clock = &self.configuration.clock;
        let mut polling = Polling::new(device.interval, device.ends_at);
        let mut step = polling.first(clock.monotonic());
        loop {
            match step {
                Step::Poll(pause) => sleep(pause).await,
                Step::End(error) => return Err(error),
            }
            match self.poll_device(device).await {
                Ok(response) => return Ok(response),
                Err(error) => step = polling.polled(error, clock.monotonic()),
            }
        }
    }

    async fn poll_device(&self, device: &DeviceAuthorization) -> Result<TokenResponse, Error> {
        let endpoint = self.provider().token_address();
        let endpoint = self.provider().resolve(endpoint, &device.values)?;
        let mut form = self.form(RequestKind::DeviceToken, GRANT_TYPE);
        form.field("device_code", &device.device_code);
        let permit = self.gate().acquire_for_device().await?;
        let key = self.new_key()?;
        let sent = Sent {
            secrets: &[&device.device_code, &device.user_code],
            key: key.as_ref(),
            values: &device.values,
            ..Sent::default()
        };
        let outcome = self.request_tokens(endpoint, form, Retry::NotSent, &sent);
        let outcome = outcome.await;
        permit.record(&outcome);
        outcome
    }
}
