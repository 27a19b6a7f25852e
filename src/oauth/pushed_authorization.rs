//! Authorization requests that the client pushes before it redirects the browser (RFC 9126).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Response, StatusCode, Uri};
use serde::Deserialize;

use super::{
    attempt::Retry,
    authorization::{PendingAuthorization, authorization_url},
    client::OAuthClient,
    endpoint_error, evidence,
    form::Form,
    kept_values, provider_text,
};
use crate::{
    error::{Error, ErrorKind},
    provider::{BodyFormat, EndpointKind, RequestKind},
    token::{CodeVerifier, NamedValues},
};

const ENDPOINT: &str = "pushed authorization request endpoint";

/// How long a request waits for its response. A customer waits, and it can be repeated.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest `request_uri`. Servers use about a hundred bytes.
const LONGEST_REQUEST_URI: usize = 2_048;

/// The response of RFC 9126 section 2.2. A member that is repeated is an error.
#[derive(Deserialize)]
struct Pushed<'a> {
    #[serde(borrow)]
    request_uri: std::borrow::Cow<'a, str>,
    expires_in: u64,
}

impl OAuthClient {
    /// Creates an authorization request, and pushes it to the provider if the provider has an
    /// endpoint for that (RFC 9126). Otherwise it is that of
    /// [`authorization_url`](Self::authorization_url).
    ///
    /// The URL of a pushed request contains only the client id and a reference, so neither the
    /// browser nor a log shows the request, and no page can change it. Redirect the browser at
    /// once: the reference works once, and mostly for a minute.
    ///
    /// The client authenticates as for token requests. The request is repeated after any transient
    /// failure: at most three are sent within 15 seconds, and each has 10 seconds. It neither
    /// passes nor changes the [circuit breaker](crate::oauth#limiter-and-circuit-breaker), and two
    /// of them are in flight at a time.
    ///
    /// # Errors
    ///
    /// As [`authorization_url`](Self::authorization_url). If the request is pushed, also
    ///
    /// * [`Refused`](ErrorKind::Refused), with the provider's [error code](Error::oauth_code):
    ///   nothing was shown to the customer yet.
    /// * [`Unavailable`](ErrorKind::Unavailable) if the provider cannot be reached or does not
    ///   respond in time, or no permit is free.
    /// * [`InvalidResponse`](ErrorKind::InvalidResponse) if the response violates RFC 9126.
    pub async fn start_authorization(&self) -> Result<(String, PendingAuthorization), Error> {
        self.start_authorization_with(&NamedValues::NONE).await
    }

    /// Creates an authorization request as [`start_authorization`](Self::start_authorization) does,
    /// with values to keep with the grant, as
    /// [`authorization_url_with`](Self::authorization_url_with) takes them.
    ///
    /// # Errors
    ///
    /// As [`start_authorization`](Self::start_authorization) and
    /// [`authorization_url_with`](Self::authorization_url_with).
    pub async fn start_authorization_with(
        &self,
        values: &NamedValues,
    ) -> Result<(String, PendingAuthorization), Error> {
        let provider = self.provider();
        let Some(push) = provider.address(EndpointKind::PushedAuthorizationRequest) else {
            return self.authorization_url_with(values);
        };
        let (endpoint, redirect_uri) = (self.authorization_endpoint()?, self.redirect_uri()?);
        let values = kept_values::of_program(provider, values)?;
        let endpoint = provider.resolve(endpoint, &values)?;
        let push = provider.resolve(push, &values)?;
        let pending = PendingAuthorization::random(Arc::clone(&self.configuration.provider))?;
        let pending = pending.with_values(values);
        let mut form = Form::empty(BodyFormat::Form, provider.parameter_names());
        for (name, value) in self.authorization_parameters(&pending, redirect_uri) {
            form.field(name, &value);
        }
        let request_uri = self.push(push, form, &pending).await?;
        let names = provider.parameter_names();
        let parameters = [
            (names.of("client_id"), self.configuration.client_id.as_str()),
            ("request_uri", request_uri.as_str()),
        ];
        Ok((authorization_url(&endpoint, parameters), pending))
    }

    /// Pushes the request, and returns the reference to it.
    async fn push(
        &self,
        endpoint: Uri,
        form: Form<'_>,
        pending: &PendingAuthorization,
    ) -> Result<String, Error> {
        let credentials = self.credentials(None, pending.values())?;
        let request = self.outgoing(Method::POST, endpoint, form, Some(credentials));
        let permit = self.gate().acquire_for_pushed_authorization().await?;
        let sent_at = self.configuration.clock.wall();
        let response = self
            .send(&request, Retry::Transient, RESPONSE_TIMEOUT)
            .await;
        drop(permit);
        let response = response.map_err(super::transport::SendError::into_error)?;
        request_uri_of(&response).map_err(|error| {
            let now = self.configuration.clock.wall();
            let error =
                error.unwrap_or_else(|| endpoint_error::to_error(ENDPOINT, &response, now, &[]));
            let error = evidence::added_to(self.explained(error, &response, sent_at, now));
            let verifier = pending.code_verifier().map_or("", CodeVerifier::expose);
            let secrets = || request.secrets(&[pending.state(), verifier]);
            provider_text::added_to(error, &response, &[], secrets)
        })
    }

    /// The parameters of an authorization request (RFC 6749 section 4.1.1).
    pub(super) fn authorization_parameters<'a>(
        &'a self,
        pending: &'a PendingAuthorization,
        redirect_uri: &'a str,
    ) -> impl Iterator<Item = (&'a str, std::borrow::Cow<'a, str>)> {
        let configuration = &*self.configuration;
        let further = configuration
            .request_parameters
            .of(RequestKind::Authorization)
            .map(|(name, value)| (name, value.into()));
        pending
            .parameters(
                &configuration.client_id,
                redirect_uri,
                configuration.scope.as_deref(),
                &configuration.provider,
            )
            .chain(further)
    }
}

/// The `request_uri` of a response. Without an own error, the response is an error response.
fn request_uri_of(response: &Response<Bytes>) -> Result<String, Option<Error>> {
    let invalid = |problem: &str| {
        Err(Some(Error::new(
            ErrorKind::InvalidResponse,
            format!("{ENDPOINT} responded with {problem} (RFC 9126 section 2.2); check its URL"),
        )))
    };
    match response.status() {
        StatusCode::CREATED => {}
        status if status.is_success() => return invalid("another status than 201"),
        _ => return Err(None),
    }
    let Some(pushed) = endpoint_error::object::<Pushed<'_>>(response.body()) else {
        return invalid("a body that is not an object with one request_uri and one expires_in");
    };
    let request_uri = pushed.request_uri;
    let is_text = request_uri.bytes().all(|byte| byte.is_ascii_graphic());
    if request_uri.is_empty() || !is_text || request_uri.len() > LONGEST_REQUEST_URI {
        return invalid(
            "a request_uri that is empty, too long, or contains other characters than a URI",
        );
    }
    if pushed.expires_in == 0 {
        return invalid("a request_uri that has expired");
    }
    Ok(request_uri.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> Result<String, Option<String>> {
        let response = Response::builder()
            .status(status)
            .body(Bytes::from(body.to_owned()))
            .unwrap();
        request_uri_of(&response).map_err(|error| error.map(|error| error.to_string()))
    }

    #[test]
    fn response_is_checked() {
        let long = "x".repeat(LONGEST_REQUEST_URI + 1);
        let good = r#"{"request_uri":"urn:a:b","expires_in":60,"more":{}}"#;
        assert_eq!(read(201, good).unwrap(), "urn:a:b");
        assert_eq!(
            read(201, r#"{"request_uri":"urn:a\u003ab","expires_in":60}"#).unwrap(),
            "urn:a:b"
        );
        for (status, body, problem) in [
            (200, good, "another status"),
            (204, "", "another status"),
            (201, "", "not an object"),
            (201, "[]", "not an object"),
            (201, r#"["urn:a:b",60]"#, "not an object"),
            (201, r#"{"request_uri":"urn:a:b"}"#, "not an object"),
            (201, r#"{"expires_in":60}"#, "not an object"),
            (201, r#"{"request_uri":1,"expires_in":60}"#, "not an object"),
            (
                201,
                r#"{"request_uri":"urn:a:b","request_uri":"urn:c:d","expires_in":60}"#,
                "not an object",
            ),
            (
                201,
                r#"{"request_uri":"urn:a:b","expires_in":-1}"#,
                "not an object",
            ),
            (
                201,
                r#"{"request_uri":"urn:a:b","expires_in":0}"#,
                "has expired",
            ),
            (201, r#"{"request_uri":"","expires_in":60}"#, "empty"),
            (
                201,
                r#"{"request_uri":"urn:a b","expires_in":60}"#,
                "other characters",
            ),
            (
                201,
                "{\"request_uri\":\"urn:\u{fc}\",\"expires_in\":60}",
                "other characters",
            ),
            (
                201,
                &format!(r#"{{"request_uri":"{long}","expires_in":60}}"#),
                "too long",
            ),
        ] {
            let problem_found = read(status, body).unwrap_err().unwrap();
            assert!(problem_found.contains(problem), "{body}: {problem_found}");
            assert!(!problem_found.contains("urn:"), "{problem_found}");
        }
        for status in [400, 401, 302, 500] {
            assert_eq!(read(status, good), Err(None));
        }
    }
}
