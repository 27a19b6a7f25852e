//! Authorization requests, and the callbacks that respond to them.

use std::{borrow::Cow, fmt, sync::Arc};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac_sha256::Hash as Sha256;
use http::Uri;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{kept_values::CallbackValues, random::random_text};
use crate::{
    error::{Error, ErrorKind, OAuthErrorCode, ResponseDetails},
    provider::{IssuerCheck, Provider, ResponseMode, with_query},
    token::{AuthorizationCode, CodeVerifier, NamedValues, form_decoded},
};

/// The name of the code in callbacks (RFC 6749 section 4.1.2), unless the provider has another one.
const CODE: &str = "code";

/// An authorization request whose callback has not arrived yet.
///
/// Keep it in the session of the browser that was sent to the provider, on the server or in a
/// protected cookie: it protects against forged callbacks (RFC 6749 section 10.12). To store it as
/// text, store [`state`](Self::state) and [`code_verifier`](Self::code_verifier), and call
/// [`resume_authorization`](crate::oauth::OAuthClient::resume_authorization) with them. If it has
/// [`values`](Self::values), store them too, and restore them by
/// [`with_values`](Self::with_values).
#[derive(Clone)]
pub struct PendingAuthorization {
    state: Zeroizing<String>,
    verifier: Option<CodeVerifier>,
    /// Names the issuer that the callback has to name, and the parameters that are kept.
    provider: Arc<Provider>,
    /// The values that the program has passed.
    values: NamedValues,
}

/// An authorization code from a callback that passed all checks.
///
/// It can be used for one [`exchange_code`](crate::oauth::OAuthClient::exchange_code).
#[derive(Debug)]
pub struct AcceptedCode {
    code: AuthorizationCode,
    verifier: Option<CodeVerifier>,
    parameters: NamedValues,
    values: NamedValues,
}

impl PendingAuthorization {
    /// The `state` parameter: 256 random bits.
    #[must_use]
    pub fn state(&self) -> &str {
        &self.state
    }

    /// The PKCE code verifier (RFC 7636 section 4.1), if the provider uses PKCE.
    #[must_use]
    pub fn code_verifier(&self) -> Option<&CodeVerifier> {
        self.verifier.as_ref()
    }

    /// The values that the program has passed to
    /// [`authorization_url_with`](crate::oauth::OAuthClient::authorization_url_with).
    #[must_use]
    pub fn values(&self) -> &NamedValues {
        &self.values
    }

    /// Sets the [`values`](Self::values), after
    /// [`resume_authorization`](crate::oauth::OAuthClient::resume_authorization).
    ///
    /// [`accept`](Self::accept) checks them again.
    #[must_use]
    pub fn with_values(mut self, values: NamedValues) -> Self {
        self.values = values;
        self
    }

    /// Checks a callback, and returns its code. `callback` is the whole URL, or its query, or the
    /// body of the request in [`FormPost`](crate::provider::ResponseMode::FormPost) mode.
    ///
    /// # Errors
    ///
    /// [`Callback`](ErrorKind::Callback) if:
    ///
    /// * the `state` is missing or is not this one,
    /// * the provider has an [issuer](crate::provider::ProviderBuilder::issuer), and `iss` is
    ///   another one, is repeated, or is missing although [the provider always sends
    ///   it](crate::provider::ProviderBuilder::issuer_check) (RFC 9207 section 2.4),
    /// * a parameter is repeated, or there is no code,
    /// * a [kept value](crate::provider::KeptValue) is repeated or too large,
    /// * the callback carries an error. Its code is [`Error::oauth_code`]:
    ///   [`AccessDenied`](OAuthErrorCode::AccessDenied) if the customer denied consent.
    ///
    /// [`KeptValue`](ErrorKind::KeptValue) if a kept value does not match its pattern, or one that
    /// the token endpoint needs is missing.
    ///
    /// [`Configuration`](ErrorKind::Configuration) if the provider's data do not name one of the
    /// [`values`](Self::values).
    pub fn accept(&self, callback: &str) -> Result<AcceptedCode, Error> {
        let query = query_of(callback);
        let mut found = Parameters::default();
        let mut kept = CallbackValues::of(&self.provider);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = form_decoded(name);
            found.add(&name, value, self.provider.code_parameter())?;
            kept.add(&name, value);
        }
        // The state comes first: without it, nothing in the callback is trusted.
        let state = found.state.unwrap_or_default();
        if self.state.is_empty() || !bool::from(state.as_bytes().ct_eq(self.state.as_bytes())) {
            return Err(callback_error(
                "callback's state is not the one that was sent; \
                 start again from a new authorization URL",
            ));
        }
        // Then the issuer: an error from another server says nothing about this authorization.
        if let Some(issuer) = self.provider.issuer() {
            check_issuer(issuer, self.provider.issuer_check(), &found.issuers)?;
        }
        if let Some(error) = found.error {
            return Err(provider_error(&error));
        }
        match found.code {
            // The values come last, because the denial of a consent brings none.
            Some(code) if !code.is_empty() => Ok(AcceptedCode {
                code: AuthorizationCode::from(code),
                verifier: self.verifier.clone(),
                parameters: found.others,
                values: kept.added_to(&self.values)?,
            }),
            _ => Err(callback_error(
                "callback contains neither a code nor an error; \
                 start again from a new authorization URL",
            )),
        }
    }

    pub(super) fn new(
        state: String,
        verifier: Option<CodeVerifier>,
        provider: Arc<Provider>,
    ) -> Self {
        Self {
            state: Zeroizing::new(state),
            verifier,
            provider,
            values: NamedValues::NONE,
        }
    }

    pub(super) fn random(provider: Arc<Provider>) -> Result<Self, Error> {
        let verifier = if provider.pkce() {
            Some(CodeVerifier::new(random_text()?.as_str()))
        } else {
            None
        };
        Ok(Self {
            state: random_text()?,
            verifier,
            provider,
            values: NamedValues::NONE,
        })
    }

    /// The parameters of the authorization request.
    pub(super) fn parameters<'a>(
        &'a self,
        client_id: &'a str,
        redirect_uri: &'a str,
        scope: Option<&'a str>,
        provider: &'a Provider,
    ) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> {
        let names = provider.parameter_names();
        let response_mode = match provider.response_mode() {
            ResponseMode::Query => None,
            ResponseMode::FormPost => Some("form_post"),
        };
        let challenge = self.verifier.as_ref().map(challenge);
        let method = challenge.as_ref().map(|_| "S256");
        let parameters = [
            (names.of("response_type"), Some("code".into())),
            (names.of("client_id"), Some(client_id.into())),
            (names.of("redirect_uri"), Some(redirect_uri.into())),
            (names.of("scope"), scope.map(Cow::from)),
            ("response_mode", response_mode.map(Cow::from)),
            ("state", Some(self.state().into())),
            ("code_challenge", challenge.map(Cow::from)),
            ("code_challenge_method", method.map(Cow::from)),
        ];
        let parameters = parameters.into_iter();
        parameters.filter_map(|(name, value)| Some((name, value?)))
    }
}

/// The URL of an authorization request with these parameters.
pub(super) fn authorization_url<'a, V: AsRef<str>>(
    endpoint: &Uri,
    parameters: impl IntoIterator<Item = (&'a str, V)>,
) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(parameters);
    with_query(endpoint, &query.finish())
}

impl AcceptedCode {
    /// The code, for a program that exchanges it by other means.
    #[must_use]
    pub fn code(&self) -> &AuthorizationCode {
        &self.code
    }

    /// The other parameters of the callback: all but the code and the `state`.
    #[must_use]
    pub fn parameters(&self) -> &NamedValues {
        &self.parameters
    }

    /// The values to keep with the grant so far: those that the program has passed, and those of
    /// the callback. The latter came through the browser, which may have changed them.
    #[must_use]
    pub fn values(&self) -> &NamedValues {
        &self.values
    }

    pub(super) fn verifier(&self) -> Option<&CodeVerifier> {
        self.verifier.as_ref()
    }
}

impl fmt::Debug for PendingAuthorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingAuthorization")
            .field("pkce", &self.verifier.is_some())
            .finish_non_exhaustive()
    }
}

/// The parameters of a callback that matter. Each may occur once (RFC 6749 section 3.1); how often
/// `iss` may occur is checked only for a provider with an issuer.
#[derive(Default)]
struct Parameters {
    state: Option<Zeroizing<String>>,
    code: Option<Zeroizing<String>>,
    error: Option<Zeroizing<String>>,
    issuers: Vec<Zeroizing<String>>,
    /// All but the state and the code.
    others: NamedValues,
}

impl Parameters {
    /// Adds a value, which is still encoded.
    fn add(&mut self, name: &str, value: &str, code_parameter: &str) -> Result<(), Error> {
        let value = form_decoded(value);
        // Some providers send the code by the name of RFC 6749 as well.
        if !matches!(name, "state" | CODE) && name != code_parameter {
            self.others.add(name, &value);
        }
        let parameter = match name {
            "state" => &mut self.state,
            name if name == code_parameter => &mut self.code,
            "error" => &mut self.error,
            "iss" => {
                self.issuers.push(value);
                return Ok(());
            }
            _ => return Ok(()),
        };
        if parameter.replace(value).is_some() {
            return Err(callback_error(
                "callback repeats a parameter; start again from a new authorization URL",
            ));
        }
        Ok(())
    }
}

/// The query of a URL. Text that is already a query is returned as it is.
fn query_of(callback: &str) -> &str {
    // A server never receives the fragment (RFC 3986 section 3.5).
    let callback = callback.split('#').next().unwrap_or_default();
    // A query may contain `?` and `://` (section 3.4), but not before its first `=` or `&`.
    let first = callback.find(['=', '&']).unwrap_or(callback.len());
    match callback[..first].find('?') {
        Some(mark) => &callback[mark + 1..],
        None if callback[..first].contains('/') => "",
        None => callback,
    }
}

/// Compares issuers as strings (RFC 9207 section 2.4).
fn check_issuer(
    expected: &str,
    check: IssuerCheck,
    found: &[Zeroizing<String>],
) -> Result<(), Error> {
    match (found, check) {
        ([issuer], _) if **issuer == *expected => Ok(()),
        ([], IssuerCheck::IfPresent) => Ok(()),
        ([], IssuerCheck::Required) => Err(callback_error(
            "callback names no issuer (iss); start again from a new authorization URL, \
             or set ProviderBuilder::issuer_check for a provider that may send none",
        )),
        ([_], _) => Err(callback_error(
            "callback names another issuer (iss) than the provider's; it comes from \
             another server, or ProviderBuilder::issuer is wrong",
        )),
        (_, _) => Err(callback_error(
            "callback repeats its issuer (iss); start again from a new authorization URL",
        )),
    }
}

fn callback_error(message: &'static str) -> Error {
    Error::new(ErrorKind::Callback, message)
}

fn provider_error(error: &str) -> Error {
    let code = OAuthErrorCode::parse(error);
    let message = match code {
        Some(OAuthErrorCode::AccessDenied) => {
            "consent was denied (access_denied); ask the customer again".into()
        }
        Some(code) => Cow::from(format!(
            "provider rejected the authorization request: {code}"
        )),
        None => "provider rejected the authorization request with an unknown error code".into(),
    };
    Error::new(ErrorKind::Callback, message).with_response(ResponseDetails {
        code,
        ..ResponseDetails::default()
    })
}

/// The `S256` code challenge (RFC 7636 section 4.2).
fn challenge(verifier: &CodeVerifier) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::hash(verifier.expose().as_bytes()))
}

#[cfg(test)]
mod tests;
