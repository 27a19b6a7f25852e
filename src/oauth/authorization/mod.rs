//! The way through the browser: out to the provider, back with a code.

use std::{borrow::Cow, fmt};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac_sha256::Hash as Sha256;
use zeroize::Zeroizing;

use crate::{
    error::{Answer, Error, ErrorKind, OAuthErrorCode},
    provider::Endpoint,
    token::{AuthorizationCode, CodeVerifier},
};

/// An authorization that a browser was sent to get: what must be known when it comes back.
///
/// Keep it bound to that browser's session, on the server's side or in a protected cookie; it is what stops a stranger's
/// callback (RFC 6749 section 10.12). To keep it as text, take [`state`](Self::state) and
/// [`code_verifier`](Self::code_verifier) apart, and
/// [`resume_authorization`](crate::oauth::OAuthClient::resume_authorization) from them.
#[derive(Clone)]
pub struct PendingAuthorization {
    state: Zeroizing<String>,
    verifier: Option<CodeVerifier>,
    /// Which the answer has to name, if any.
    issuer: Option<String>,
}

/// A code that came back with the right state, good for one
/// [`exchange_code`](crate::oauth::OAuthClient::exchange_code).
#[derive(Debug)]
pub struct AcceptedCode {
    code: AuthorizationCode,
    verifier: Option<CodeVerifier>,
}

impl PendingAuthorization {
    /// The `state` parameter: 256 random bits.
    #[must_use]
    pub fn state(&self) -> &str {
        &self.state
    }

    /// The secret behind the PKCE challenge, if there was one.
    #[must_use]
    pub fn code_verifier(&self) -> Option<&CodeVerifier> {
        self.verifier.as_ref()
    }

    /// Reads what the browser came back with: the whole URL of the callback, or its query alone.
    ///
    /// # Errors
    ///
    /// [`Callback`](ErrorKind::Callback) if the state is missing or not this one, the provider has an
    /// [issuer](crate::provider::ProviderBuilder::issuer) and `iss` does not name it exactly once (RFC 9207 section 2.4), a
    /// parameter is repeated, there is no code, or the provider sent an error, whose code is then [`Error::oauth_code`]
    /// ([`AccessDenied`](OAuthErrorCode::AccessDenied) if the person said no).
    pub fn accept(&self, callback: &str) -> Result<AcceptedCode, Error> {
        let query = query_of(callback);
        let mut found = Parameters::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            found.take(&name, value)?;
        }
        // The state comes first: nothing else of a stranger's callback is worth reading.
        let state = found.state.unwrap_or_default();
        if self.state.is_empty() || !is_same(state.as_bytes(), self.state.as_bytes()) {
            return Err(callback_error(
                "the callback's state is not the one that was sent: start again from a new authorization URL",
            ));
        }
        // Then who it comes from: an error of another server is none of this authorization.
        if let Some(issuer) = &self.issuer {
            check_issuer(issuer, &found.issuers)?;
        }
        if let Some(error) = found.error {
            return Err(provider_error(&error));
        }
        match found.code {
            Some(code) if !code.is_empty() => Ok(AcceptedCode {
                code: AuthorizationCode::new(code.into_owned()),
                verifier: self.verifier.clone(),
            }),
            _ => Err(callback_error(
                "the callback holds neither a code nor an error",
            )),
        }
    }

    pub(super) fn new(state: String, verifier: Option<CodeVerifier>, issuer: Option<&str>) -> Self {
        Self {
            state: Zeroizing::new(state),
            verifier,
            issuer: issuer.map(str::to_owned),
        }
    }

    pub(super) fn begin(pkce: bool, issuer: Option<&str>) -> Result<Self, Error> {
        Ok(Self {
            state: random()?,
            issuer: issuer.map(str::to_owned),
            verifier: if pkce {
                Some(CodeVerifier::new(random()?.as_str()))
            } else {
                None
            },
        })
    }

    pub(super) fn url(
        &self,
        endpoint: &Endpoint,
        client_id: &str,
        redirect_uri: &str,
        scope: Option<&str>,
    ) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", client_id)
            .append_pair("redirect_uri", redirect_uri);
        if let Some(scope) = scope {
            query.append_pair("scope", scope);
        }
        query.append_pair("state", &self.state);
        if let Some(verifier) = &self.verifier {
            query
                .append_pair("code_challenge", &challenge(verifier))
                .append_pair("code_challenge_method", "S256");
        }
        endpoint.with_query(&query.finish())
    }
}

impl AcceptedCode {
    /// The code itself, for one who exchanges it by other means.
    #[must_use]
    pub fn code(&self) -> &AuthorizationCode {
        &self.code
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

/// The parameters of a callback that matter, each at most once (RFC 6749 section 3.1); of `iss` that is judged where there is
/// an issuer. Others are left alone.
#[derive(Default)]
struct Parameters<'a> {
    state: Option<Cow<'a, str>>,
    code: Option<Cow<'a, str>>,
    error: Option<Cow<'a, str>>,
    issuers: Vec<Cow<'a, str>>,
}

impl<'a> Parameters<'a> {
    fn take(&mut self, name: &str, value: Cow<'a, str>) -> Result<(), Error> {
        let place = match name {
            "state" => &mut self.state,
            "code" => &mut self.code,
            "error" => &mut self.error,
            "iss" => {
                self.issuers.push(value);
                return Ok(());
            }
            _ => return Ok(()),
        };
        if place.replace(value).is_some() {
            return Err(callback_error("the callback repeats a parameter"));
        }
        Ok(())
    }
}

/// The query of a URL, or what is a query already.
fn query_of(callback: &str) -> &str {
    // A fragment is not part of the answer: a server never sees it (RFC 3986 section 3.5).
    let callback = callback.split('#').next().unwrap_or_default();
    // Both `?` and `://` may stand in a query as they are (section 3.4), but not before its first parameter.
    let first = callback.find(['=', '&']).unwrap_or(callback.len());
    match callback[..first].find('?') {
        Some(mark) => &callback[mark + 1..],
        None if callback[..first].contains('/') => "",
        None => callback,
    }
}

/// RFC 9207 section 2.4: compared as strings.
fn check_issuer(expected: &str, found: &[Cow<'_, str>]) -> Result<(), Error> {
    match found {
        [issuer] if issuer == expected => Ok(()),
        [] => Err(callback_error(
            "the callback names no issuer (iss): start again from a new authorization URL, and set no issuer for a provider that names none",
        )),
        [_] => Err(callback_error(
            "the callback names another issuer (iss) than the provider's: it comes from another server, or the issuer is set wrong",
        )),
        _ => Err(callback_error("the callback repeats its issuer (iss)")),
    }
}

fn callback_error(message: &'static str) -> Error {
    Error::new(ErrorKind::Callback, message)
}

fn provider_error(error: &str) -> Error {
    let code = OAuthErrorCode::parse(error);
    let message = match code {
        Some(OAuthErrorCode::AccessDenied) => {
            "consent was denied (access_denied): ask the customer again".into()
        }
        Some(code) => Cow::from(format!("the provider sent the browser back with {code}")),
        None => "the provider sent the browser back with an error of its own".into(),
    };
    Error::new(ErrorKind::Callback, message).with_answer(Answer {
        code,
        ..Answer::default()
    })
}

/// RFC 7636 section 4.2.
fn challenge(verifier: &CodeVerifier) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::hash(verifier.expose().as_bytes()))
}

/// 256 random bits as 43 characters: both a state (RFC 6749 section 10.10) and a verifier (RFC 7636 section 4.1).
fn random() -> Result<Zeroizing<String>, Error> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    getrandom::fill(&mut *bytes).map_err(|error| {
        Error::new(
            ErrorKind::Interrupted,
            "the operating system gave no randomness: see the cause",
        )
        .with_source(error)
    })?;
    Ok(Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(*bytes)))
}

/// Compares without telling by the time it takes where the difference is.
fn is_same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left
            .iter()
            .zip(right)
            .fold(0, |difference, (a, b)| difference | (a ^ b))
            == 0
}

#[cfg(test)]
mod tests;
