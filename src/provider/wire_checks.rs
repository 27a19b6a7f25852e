//! Checks of what requests and responses look like.

use super::{
    data::ProviderData,
    kept_value::ValueSource,
    request_parameters::{self, RequestKind, RequestParameters},
    revocation::{RevocationAuthentication, RevocationRequest, RevokedToken},
    wire::{EndpointKind, TokenMember},
};
use crate::error::Error;

const LONGEST_PATH: usize = 128;

/// Checks all settings of requests and responses but the request parameters by themselves.
pub(super) fn check(data: &ProviderData) -> Result<(), Error> {
    if let Some((name, problem)) = data.parameter_names.problem() {
        return fail(&format!("parameter_names.{name}"), problem);
    }
    check_code_parameter(data)?;
    check_response_members(data)?;
    check_revocation(data)?;
    check_authentication(data)?;
    check_pushed_authorization(data)?;
    check_request_parameters(data, &data.request_parameters)
}

/// Checks the request parameters of the provider or of a client against the other settings.
pub(super) fn check_request_parameters(
    data: &ProviderData,
    parameters: &RequestParameters,
) -> Result<(), Error> {
    if let Some((kind, name)) = data.parameter_names.taken(parameters) {
        return fail(
            &format!("request_parameters.{}.{name}", kind.as_str()),
            "parameter_names gives another parameter this name; remove one of them",
        );
    }
    let revocation = RequestKind::Revocation;
    let token = data.revocation_request.token_parameter();
    if let Some(name) = token.filter(|name| parameters.has(revocation, name)) {
        return fail(
            &format!("request_parameters.revocation.{name}"),
            "revocation_request.parameter gives the token this name; remove one of them",
        );
    }
    if data.revocation_request.http_method() == http::Method::GET
        && let Some((name, _)) = parameters.of(revocation).next()
    {
        return fail(
            &format!("request_parameters.revocation.{name}"),
            "a GET has no body; write the parameter into revocation_endpoint",
        );
    }
    Ok(())
}

fn check_code_parameter(data: &ProviderData) -> Result<(), Error> {
    match &data.code_parameter {
        Some(name) if !request_parameters::is_name(name) => {
            fail("code_parameter", request_parameters::NAME_RULE)
        }
        Some(name) if matches!(name.as_str(), "state" | "error" | "iss") => fail(
            "code_parameter",
            "the name of another parameter of callbacks; use that of the code",
        ),
        Some(code) => check_code_is_not_kept(data, code),
        None => Ok(()),
    }
}

/// Requests to the API get the kept values, and the code is a secret.
fn check_code_is_not_kept(data: &ProviderData, code: &str) -> Result<(), Error> {
    let mut values = data.kept_values.iter();
    let kept = values.find(|(name, value)| {
        value.source() == ValueSource::Callback && value.source_name().unwrap_or(name) == code
    });
    match kept {
        Some((name, _)) => fail(
            &format!("kept_values.{name}.name"),
            "code_parameter gives the code this name, and the code of a callback is not kept",
        ),
        None => Ok(()),
    }
}

fn check_response_members(data: &ProviderData) -> Result<(), Error> {
    let path = |member| data.path_of(member);
    for (member, own) in &data.response_members {
        let name = member.as_str();
        let is_path = own.split('.').all(|name| !name.is_empty());
        if !is_path || own.len() > LONGEST_PATH {
            return fail(
                &format!("response_members.{name}"),
                "not the names of nested members, separated by dots, in up to 128 bytes",
            );
        }
        let mut others = TokenMember::ALL.into_iter().filter(|other| other != member);
        if own == "error" || others.any(|other| path(other) == own) {
            return fail(
                &format!("response_members.{name}"),
                "another member has this path; correct one of them",
            );
        }
    }
    Ok(())
}

fn check_revocation(data: &ProviderData) -> Result<(), Error> {
    let request = &data.revocation_request;
    let Some(endpoint) = &data.revocation_endpoint else {
        return if *request == RevocationRequest::default() {
            Ok(())
        } else {
            fail(
                "revocation_request",
                "there is no revocation_endpoint; set one",
            )
        };
    };
    let parameter = request.token_parameter();
    let authentication = request.authenticated_by();
    let is_get = request.http_method() == http::Method::GET;
    if let Some(name) = parameter {
        let names = &data.parameter_names;
        let used = [
            names.of("client_id"),
            names.of("client_secret"),
            "token_type_hint",
        ];
        if !request_parameters::is_name(name) {
            return fail(
                "revocation_request.parameter",
                request_parameters::NAME_RULE,
            );
        }
        if used.contains(&name) {
            return fail(
                "revocation_request.parameter",
                "the name of another parameter; use that of the token",
            );
        }
        if is_get {
            return fail(
                "revocation_request.parameter",
                "a GET has no body; set it to \"\", and write {token} into revocation_endpoint",
            );
        }
    }
    match authentication {
        RevocationAuthentication::Client if is_get && data.client_authentication.is_in_body() => {
            return fail(
                "revocation_request.authentication",
                "a GET has no body for the client's credentials; set it to basic, access_token or \
                 none",
            );
        }
        RevocationAuthentication::Basic if !data.client_authentication.has_secret() => {
            return fail(
                "revocation_request.authentication",
                "the client_authentication is one without a secret; set it to client, access_token \
                 or none",
            );
        }
        _ => {}
    }
    if parameter.is_some() || endpoint.contains("{token}") {
        return Ok(());
    }
    if authentication != RevocationAuthentication::AccessToken {
        return fail(
            "revocation_request.parameter",
            "the request would not contain the token; set a name, or write {token} into \
             revocation_endpoint",
        );
    }
    if request.token_kind() != RevokedToken::Access {
        return fail(
            "revocation_request.token",
            "the request contains only the access token; set it to access",
        );
    }
    Ok(())
}

/// Longer than any URL of an issuer.
const LONGEST_AUDIENCE: usize = 2_048;

fn check_authentication(data: &ProviderData) -> Result<(), Error> {
    if let Some(audience) = &data.assertion_audience {
        let is_word = audience.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_word || audience.is_empty() || audience.len() > LONGEST_AUDIENCE {
            return fail(
                "assertion_audience",
                "not one word of visible ASCII in up to 2,048 bytes; use the issuer or the URL that \
                 the provider documents",
            );
        }
    }
    for endpoint in data.mtls_endpoint_aliases.keys() {
        let exists = match endpoint {
            EndpointKind::Token => true,
            EndpointKind::Refresh => data.refresh_endpoint.is_some(),
            EndpointKind::Revocation => data.revocation_endpoint.is_some(),
            EndpointKind::DeviceAuthorization => data.device_authorization_endpoint.is_some(),
            EndpointKind::PushedAuthorizationRequest => {
                data.pushed_authorization_request_endpoint.is_some()
            }
        };
        if !exists {
            let name = endpoint.as_str();
            return fail(
                &format!("mtls_endpoint_aliases.{name}"),
                &format!("there is no {name}; set one"),
            );
        }
    }
    Ok(())
}

fn check_pushed_authorization(data: &ProviderData) -> Result<(), Error> {
    let has_endpoint = data.pushed_authorization_request_endpoint.is_some();
    if data.require_pushed_authorization_requests && !has_endpoint {
        return fail(
            "require_pushed_authorization_requests",
            "there is no pushed_authorization_request_endpoint; set one",
        );
    }
    if has_endpoint && data.authorization_endpoint.is_none() {
        return fail(
            "pushed_authorization_request_endpoint",
            "there is no authorization_endpoint; set one",
        );
    }
    Ok(())
}

fn fail(path: &str, problem: &str) -> Result<(), Error> {
    Err(Error::configuration(format!("{path}: {problem}")))
}

#[cfg(test)]
mod tests {
    use crate::provider::{KeptValue, Provider, ValueSource};

    #[test]
    fn p21_code_is_not_kept_by_its_other_name() {
        let build = |code: &str, source| {
            let value = KeptValue::new(source).name("auth_code");
            Provider::builder("https://id.example.com/token")
                .code_parameter(code)
                .kept_value("account", value)
                .build()
        };
        let error = build("auth_code", ValueSource::Callback).unwrap_err();
        assert!(error.to_string().starts_with("kept_values.account.name: "));
        assert!(build("auth_code", ValueSource::Response).is_ok());
        assert!(build("other_code", ValueSource::Callback).is_ok());
    }
}
