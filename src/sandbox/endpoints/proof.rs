//! DPoP proofs at the token endpoint and the API.

#[cfg(not(feature = "dpop"))]
pub(super) use self::off::{is_needed, of_api_request, of_token_request, with_nonce};
#[cfg(feature = "dpop")]
pub(super) use self::on::{is_needed, of_api_request, of_token_request, with_nonce};

#[cfg(feature = "dpop")]
mod on {
    use http::{HeaderValue, StatusCode, request::Parts};

    use crate::sandbox::{
        clock::system_time,
        dpop::{Dpop, ProofError, Server},
        endpoints::client_authentication::ClientError,
        event::EventKind,
        fault::Endpoint,
        response::{self, ResponseResult, SandboxResponse},
        state::{SandboxState, SharedState},
    };

    /// Whether the API accepts only tokens with a proof.
    pub(in crate::sandbox::endpoints) fn is_needed(state: &SandboxState) -> bool {
        state.behavior.dpop != Dpop::Off
    }

    /// The thumbprint of the key of a token request, if it needs a proof.
    pub(in crate::sandbox::endpoints) fn of_token_request(
        state: &mut SandboxState,
        request: &Parts,
    ) -> Result<Option<String>, ClientError> {
        let checked = check(state, Server::TokenEndpoint, Endpoint::Token, request, None);
        checked.map_err(|error| match error {
            ProofError::Nonce => ClientError::recorded("use_dpop_nonce", "the proof needs a nonce"),
            ProofError::Invalid(reason) => ClientError::new("invalid_dpop_proof", reason),
        })
    }

    /// The thumbprint of the key of an API request, if it needs a proof.
    pub(in crate::sandbox::endpoints) fn of_api_request(
        state: &mut SandboxState,
        request: &Parts,
        endpoint: Endpoint,
        token: &str,
    ) -> ResponseResult<Option<String>> {
        let checked = check(state, Server::Api, endpoint, request, Some(token));
        checked.map_err(|error| {
            let (error, description) = match error {
                ProofError::Nonce => ("use_dpop_nonce", "the proof needs a nonce"),
                ProofError::Invalid(reason) => ("invalid_dpop_proof", reason),
            };
            let response = response::error(StatusCode::UNAUTHORIZED, error, description);
            let challenge = format!(r#"DPoP algs="ES256", error="{error}""#);
            Box::new(response::with_challenges(response, &[&challenge]))
        })
    }

    /// Adds the next nonce to the response to a request that needs a proof.
    pub(in crate::sandbox::endpoints) fn with_nonce(
        mut response: SandboxResponse,
        shared: &SharedState,
        request: &Parts,
    ) -> SandboxResponse {
        let server = match request.uri.path() {
            "/oauth/token" => Server::TokenEndpoint,
            "/v1/oauth/revoke" => return response,
            path if path.starts_with("/v1/") => Server::Api,
            _ => return response,
        };
        let mut state = shared.lock();
        let dpop = state.behavior.dpop;
        let nonce = state.proofs.next_nonce(dpop, server);
        let nonce = nonce.and_then(|nonce| HeaderValue::try_from(nonce).ok());
        if let Some(nonce) = nonce {
            response.headers_mut().insert("dpop-nonce", nonce);
        }
        response
    }

    fn check(
        state: &mut SandboxState,
        server: Server,
        endpoint: Endpoint,
        request: &Parts,
        token: Option<&str>,
    ) -> Result<Option<String>, ProofError> {
        let now = system_time(state.wall_time()).duration_since(std::time::SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs());
        let dpop = state.behavior.dpop;
        let checked = state.proofs.check(dpop, server, request, token, now);
        if let Err(error) = &checked {
            let reason = match error {
                ProofError::Invalid(reason) => reason,
                ProofError::Nonce => "it needs a nonce",
            };
            state.record(EventKind::ProofRefused { endpoint, reason });
        }
        checked
    }
}

#[cfg(not(feature = "dpop"))]
mod off {
    use http::request::Parts;

    use crate::sandbox::{
        endpoints::client_authentication::ClientError,
        fault::Endpoint,
        response::{ResponseResult, SandboxResponse},
        state::{SandboxState, SharedState},
    };

    pub(in crate::sandbox::endpoints) fn is_needed(_: &SandboxState) -> bool {
        false
    }

    #[expect(clippy::unnecessary_wraps, reason = "fails with the feature `dpop`")]
    pub(in crate::sandbox::endpoints) fn of_token_request(
        _: &mut SandboxState,
        _: &Parts,
    ) -> Result<Option<String>, ClientError> {
        Ok(None)
    }

    #[expect(clippy::unnecessary_wraps, reason = "fails with the feature `dpop`")]
    pub(in crate::sandbox::endpoints) fn of_api_request(
        _: &mut SandboxState,
        _: &Parts,
        _: Endpoint,
        _: &str,
    ) -> ResponseResult<Option<String>> {
        Ok(None)
    }

    pub(in crate::sandbox::endpoints) fn with_nonce(
        response: SandboxResponse,
        _: &SharedState,
        _: &Parts,
    ) -> SandboxResponse {
        response
    }
}
