//! The way through the browser: out to the provider, back with a code.

use std::{borrow::Cow, fmt};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
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
/// [`code_verifier`](Self::code_verifier) apart and [`resume`](Self::resume) from them.
#[derive(Clone)]
pub struct PendingAuthorization {
    state: Zeroizing<String>,
    verifier: Option<CodeVerifier>,
}

/// A code that came back with the right state, good for one
/// [`exchange_code`](crate::oauth::OAuthClient::exchange_code).
#[derive(Debug)]
pub struct AcceptedCode {
    code: AuthorizationCode,
    verifier: Option<CodeVerifier>,
}

impl PendingAuthorization {
    /// From what was kept as text.
    pub fn resume(state: impl Into<String>, code_verifier: Option<CodeVerifier>) -> Self {
        Self {
            state: Zeroizing::new(state.into()),
            verifier: code_verifier,
        }
    }

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
    /// [`Callback`](ErrorKind::Callback) if the state is missing or not this one, a parameter is repeated, there is no
    /// code, or the provider sent an error, whose code is then [`Error::oauth_code`]
    /// ([`AccessDenied`](OAuthErrorCode::AccessDenied) if the person said no).
    pub fn accept(&self, callback: &str) -> Result<AcceptedCode, Error> {
        let query = match callback.split_once('?') {
            Some((_, query)) => query,
            None if callback.contains("://") => "",
            None => callback,
        };
        // A fragment is not part of the answer: a server never sees it (RFC 3986 section 3.5).
        let query = query.split('#').next().unwrap_or_default();
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

    pub(super) fn begin(proof_key: bool) -> Result<Self, Error> {
        Ok(Self {
            state: random()?,
            verifier: if proof_key {
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
            .field("proof_key", &self.verifier.is_some())
            .finish_non_exhaustive()
    }
}

/// The parameters of a callback that matter, each at most once (RFC 6749 section 3.1). Others are left alone.
#[derive(Default)]
struct Parameters<'a> {
    state: Option<Cow<'a, str>>,
    code: Option<Cow<'a, str>>,
    error: Option<Cow<'a, str>>,
}

impl<'a> Parameters<'a> {
    fn take(&mut self, name: &str, value: Cow<'a, str>) -> Result<(), Error> {
        let place = match name {
            "state" => &mut self.state,
            "code" => &mut self.code,
            "error" => &mut self.error,
            _ => return Ok(()),
        };
        if place.replace(value).is_some() {
            return Err(callback_error("the callback repeats a parameter"));
        }
        Ok(())
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
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.expose()))
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
mod tests {
    use super::*;

    fn pending() -> PendingAuthorization {
        PendingAuthorization::resume("s1", Some(CodeVerifier::new("v1")))
    }

    #[test]
    fn callback_is_checked() {
        for good in [
            "https://partner.example.com/cb?code=c1&state=s1",
            "http://127.0.0.1/cb?x=y&state=s1&code=c1&scope=a#fragment",
            "code=c1&state=s1",
        ] {
            let accepted = pending().accept(good).unwrap();
            assert_eq!(accepted.code().expose(), "c1");
            assert_eq!(accepted.verifier().unwrap().expose(), "v1");
        }
        for bad in [
            "",
            "https://partner.example.com/cb",
            "https://partner.example.com/cb?",
            "?code=c1",
            "?code=c1&state=",
            "?code=c1&state=s2",
            "?code=c1&state=s1x",
            "?code=c1&state=s1&state=s1",
            "?code=c1&code=c2&state=s1",
            "?code=&state=s1",
            "?state=s1",
            "?error=access_denied&state=s2",
            "/cb#code=c1&state=s1",
        ] {
            let error = pending().accept(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Callback, "{bad}");
            assert_eq!(error.oauth_code(), None, "{bad}");
        }
        // A state that was never set up accepts nothing.
        assert!(
            PendingAuthorization::resume("", None)
                .accept("?code=c1&state=")
                .is_err()
        );
    }

    #[test]
    fn denial_is_told() {
        let denied = pending()
            .accept("?error=access_denied&state=s1")
            .unwrap_err();
        assert_eq!(denied.oauth_code(), Some(OAuthErrorCode::AccessDenied));
        let own = pending()
            .accept("?error=seeded&error_description=seeded&state=s1")
            .unwrap_err();
        assert_eq!(own.oauth_code(), None);
        assert!(!format!("{own:?}{own}").contains("seeded"));
    }

    #[test]
    fn pkce_is_s256_of_a_fresh_verifier() {
        // RFC 7636 appendix B.
        let verifier = CodeVerifier::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(
            challenge(&verifier),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );

        let (one, two) = (
            PendingAuthorization::begin(true).unwrap(),
            PendingAuthorization::begin(true).unwrap(),
        );
        assert_ne!(one.state(), two.state());
        let length = one.code_verifier().unwrap().expose().len();
        assert!((43..=128).contains(&length));
        assert_ne!(one.code_verifier(), two.code_verifier());
        assert!(
            PendingAuthorization::begin(false)
                .unwrap()
                .code_verifier()
                .is_none()
        );
    }

    #[test]
    fn url_keeps_the_endpoints_query_and_encodes_the_rest() {
        let endpoint = Endpoint::parse("endpoint", "https://id.example.com/a?tenant=x").unwrap();
        let pending = PendingAuthorization::resume("s1", None);
        assert_eq!(
            pending.url(
                &endpoint,
                "id&1",
                "https://p.example.com/cb?a=b",
                Some("one two:read")
            ),
            "https://id.example.com/a?tenant=x&response_type=code&client_id=id%261\
             &redirect_uri=https%3A%2F%2Fp.example.com%2Fcb%3Fa%3Db&scope=one+two%3Aread&state=s1"
        );
    }

    #[test]
    fn p21_debug_shows_no_secret() {
        let pending = PendingAuthorization::resume("seeded", Some(CodeVerifier::new("seeded")));
        let accepted = pending.accept("?code=seeded&state=seeded").unwrap();
        assert!(!format!("{pending:?} {accepted:?}").contains("seeded"));
    }
}
