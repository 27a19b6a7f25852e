//! Token exchange (RFC 8693).

use super::{
    client::{OAuthClient, Sent},
    token_response::{NOT_APPLICABLE, TokenResponse},
};
use crate::{
    error::{Error, ErrorKind, OAuthErrorCode},
    provider::RequestKind,
    token::TokenSet,
};

/// The value of `grant_type` (RFC 8693 section 2.1).
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// Token types of RFC 8693 section 3.
pub(crate) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
pub(crate) const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
pub(crate) const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

/// A token, and its type.
#[derive(Clone, Copy)]
pub(crate) struct TypedToken<'a> {
    pub(crate) token: &'a str,
    pub(crate) token_type: &'a str,
}

/// The parameters of a token exchange, besides its tokens.
#[derive(Clone, Debug, Default)]
pub(crate) struct TokenExchangeParameters {
    pub(crate) resources: Vec<String>,
    pub(crate) audiences: Vec<String>,
    /// `None` for the scopes of the client, and empty for no scope.
    pub(crate) scope: Option<String>,
    pub(crate) requested_token_type: Option<String>,
}

impl OAuthClient {
    /// Requests a token for a subject token, which replaces `held` (RFC 8693 section 2.1).
    pub(crate) async fn token_exchange(
        &self,
        parameters: &TokenExchangeParameters,
        subject: TypedToken<'_>,
        actor: Option<TypedToken<'_>>,
        held: Option<&TokenSet>,
    ) -> Result<TokenSet, Error> {
        let mut form = self.form(RequestKind::TokenExchange, GRANT_TYPE);
        form.field("subject_token", subject.token);
        form.field("subject_token_type", subject.token_type);
        if let Some(actor) = actor {
            form.field("actor_token", actor.token);
            form.field("actor_token_type", actor.token_type);
        }
        for resource in &parameters.resources {
            form.field("resource", resource);
        }
        for audience in &parameters.audiences {
            form.field("audience", audience);
        }
        let scope = parameters.scope.as_ref();
        let scope = scope.or(self.configuration.scope.as_ref());
        if let Some(scope) = scope.filter(|scope| !scope.is_empty()) {
            form.standard("scope", scope);
        }
        let requested = parameters.requested_token_type.as_deref();
        if let Some(requested) = requested {
            form.field("requested_token_type", requested);
        }
        // A program that asks for another type knows how it is used.
        let is_other = requested.is_some_and(|requested| requested != ACCESS_TOKEN);
        let key = self.new_key()?;
        let sent = Sent {
            secrets: &[subject.token, actor.map_or("", |actor| actor.token)],
            key: key.as_ref(),
            token_type: is_other.then_some(NOT_APPLICABLE),
            ..Sent::default()
        };
        let outcome = self.request_with_own_permit(form, &sent, held).await;
        let response = outcome.map_err(|error| explained(error).of_no_consent())?;
        check_issued(response.members().get("issued_token_type"), requested)?;
        Ok(TokenResponse::into_tokens(response).without_refresh_token())
    }
}

/// Whether a refusal may mean that the subject token or the actor token is not valid any more.
///
/// RFC 8693 section 2.2.2 requires `invalid_request`, which also has other causes. Providers also
/// use the codes of other grants.
pub(crate) fn may_reject_tokens(error: &Error) -> bool {
    let is_rejection = error
        .status()
        .is_some_and(|status| status.is_client_error());
    let code = error.oauth_code();
    is_rejection
        && (matches!(
            code,
            Some(OAuthErrorCode::InvalidRequest | OAuthErrorCode::InvalidGrant)
        ) || matches!(
            error.provider_code(),
            Some("invalid_token" | "invalid_subject_token" | "invalid_actor_token")
        ))
}

/// The error with its cause: the other tokens of the message are not part of this grant.
fn explained(error: Error) -> Error {
    if !may_reject_tokens(&error) {
        return error;
    }
    let code = error.provider_code().unwrap_or("no code").to_owned();
    error.with_message(format!(
        "token endpoint rejected the token exchange: {code} (the subject token or the actor token \
         has expired, was revoked or is not accepted, or a parameter is wrong)"
    ))
}

/// Checks the type of the issued token (RFC 8693 section 2.2.1). Without a request for another
/// type, it has to be usable as an access token.
fn check_issued(issued: Option<&str>, requested: Option<&str>) -> Result<(), Error> {
    let is_expected = match (issued, requested) {
        (Some(issued), Some(requested)) => issued == requested,
        (Some(issued), None) => [ACCESS_TOKEN, JWT].contains(&issued),
        (None, _) => false,
    };
    if is_expected {
        return Ok(());
    }
    let problem = match issued {
        None => "contains no issued_token_type (RFC 8693 section 2.2.1)",
        Some(_) if requested.is_some() => "contains a token of another type than the requested one",
        Some(_) => {
            "contains a token that is no access token; set the type by \
             TokenExchangeBuilder::requested_token_type"
        }
    };
    Err(Error::new(
        ErrorKind::InvalidResponse,
        format!("token endpoint's response {problem}"),
    ))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::error::{ProviderText, ResponseDetails};

    #[test]
    fn issued_type_is_the_requested_one() {
        let refresh_token = "urn:ietf:params:oauth:token-type:refresh_token";
        for (issued, requested, is_expected) in [
            (Some(ACCESS_TOKEN), None, true),
            (Some(JWT), None, true),
            (Some(ID_TOKEN), None, false),
            (Some(refresh_token), None, false),
            (Some("access_token"), None, false),
            (None, None, false),
            (Some(ACCESS_TOKEN), Some(ACCESS_TOKEN), true),
            (Some(ID_TOKEN), Some(ID_TOKEN), true),
            (Some(JWT), Some(ACCESS_TOKEN), false),
            (Some(ACCESS_TOKEN), Some(JWT), false),
            (None, Some(ACCESS_TOKEN), false),
        ] {
            let checked = check_issued(issued, requested);
            assert_eq!(checked.is_ok(), is_expected, "{issued:?} {requested:?}");
        }
    }

    #[test]
    fn only_a_rejection_of_a_token_leads_to_another_one() {
        let error = |status: Option<u16>, code: &str| {
            Error::new(ErrorKind::Refused, "")
                .with_response(ResponseDetails {
                    status: status.and_then(|status| StatusCode::from_u16(status).ok()),
                    code: OAuthErrorCode::parse(code),
                    ..ResponseDetails::default()
                })
                .with_provider_text(ProviderText {
                    code: Some(code.into()),
                    message: None,
                })
        };
        for code in ["invalid_request", "invalid_grant", "invalid_token"] {
            assert!(may_reject_tokens(&error(Some(400), code)), "{code}");
            assert!(may_reject_tokens(&error(Some(401), code)), "{code}");
            assert!(!may_reject_tokens(&error(Some(500), code)), "{code}");
            // The circuit breaker has repeated an earlier error.
            assert!(!may_reject_tokens(&error(None, code)), "{code}");
        }
        for code in ["invalid_target", "invalid_client", "invalid_scope", "x"] {
            assert!(!may_reject_tokens(&error(Some(400), code)), "{code}");
        }
    }
}
