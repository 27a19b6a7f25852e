//! The form of requests and responses, for the client that writes and reads them.

use http::{HeaderName, HeaderValue};

use super::{
    data::ProviderData,
    definition::Provider,
    parameter_names::ParameterNames,
    request_parameters::RequestParameters,
    revocation::RevocationRequest,
    wire::{BodyFormat, LifetimeUnit, TokenMember},
    wire_checks,
};
use crate::{error::Error, token::AccessToken};

impl Provider {
    /// The encoding of token requests.
    #[must_use]
    pub fn request_format(&self) -> BodyFormat {
        self.data.request_format
    }

    pub(crate) fn parameter_names(&self) -> &ParameterNames {
        &self.data.parameter_names
    }

    /// Checks the request parameters of a client against the settings of the provider.
    pub(crate) fn check_request_parameters(
        &self,
        parameters: &RequestParameters,
    ) -> Result<(), Error> {
        wire_checks::check_request_parameters(&self.data, parameters)
    }

    /// The name of the code in callbacks.
    #[must_use]
    pub fn code_parameter(&self) -> &str {
        self.data.code_parameter.as_deref().unwrap_or("code")
    }

    /// Whether refreshes name the scopes of the client.
    #[must_use]
    pub fn scope_on_refresh(&self) -> bool {
        self.data.scope_on_refresh
    }

    /// Where a token response contains a member: the names of nested members, separated by dots.
    #[must_use]
    pub fn response_member(&self, member: TokenMember) -> &str {
        self.data.path_of(member)
    }

    /// The unit of lifetimes in token responses.
    #[must_use]
    pub fn lifetime_unit(&self) -> LifetimeUnit {
        self.data.lifetime_unit
    }

    /// The form of revocation requests.
    #[must_use]
    pub fn revocation_request(&self) -> &RevocationRequest {
        &self.data.revocation_request
    }

    /// The header of a request that the access token authenticates.
    pub(crate) fn access_token_header(&self, token: &AccessToken) -> (HeaderName, HeaderValue) {
        let value = token.header_value_with(self.token_header_scheme());
        (self.token_header_name().clone(), value)
    }
}

impl ProviderData {
    /// The path of a member in token responses.
    pub(super) fn path_of(&self, member: TokenMember) -> &str {
        let path = self.response_members.get(&member);
        path.map_or(member.as_str(), String::as_str)
    }
}
