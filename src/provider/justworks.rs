//! The Justworks Partner API, as far as it is documented.
//!
//! Sources: *OpenAPI*, the published description of the two OAuth endpoints; *docs*, the Partner API pages (1.7.2) at
//! <https://public-api.justworks.com/v1/docs>; *directory*, an integration directory's entry for the provider, whose author
//! calls it untested. Nothing here was checked against the live service.

use std::{fmt, time::Duration};

use super::{ClientAuthentication, Endpoint, Provider};
use crate::origin::Origin;

/// The browser leg is in neither *OpenAPI* nor the stored *docs*. *Directory* and one public client have this URL; another
/// catalogue has `https://secure.justworks.com/oauth/authorize`. Whichever is right can be set.
const AUTHORIZATION_ENDPOINT: &str = "https://payroll.justworks.com/oauth/authorize";
/// *OpenAPI*, `obtainOAuthToken`: not below `/v1`.
const TOKEN_ENDPOINT: &str = "https://public-api.justworks.com/oauth/token";
/// *OpenAPI*, `revokeOAuthToken`: below `/v1`.
const REVOCATION_ENDPOINT: &str = "https://public-api.justworks.com/v1/oauth/revoke";
/// *OpenAPI*, `servers`; *docs*.
const API_HOST: &str = "public-api.justworks.com";
/// *OpenAPI*, description: access tokens are valid for 24 hours.
const ACCESS_TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// *OpenAPI*, description: refresh tokens are valid for 30 days.
const REFRESH_TOKEN_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The Justworks Partner API.
///
/// Access tokens live for 24 hours and refresh tokens for 30 days; answers name the end of the former as `expires_at`.
/// Credentials go in the form, as the published description requires (`client_secret` is a required field). PKCE is off:
/// no source mentions it. No issuer is expected in callbacks, for the same reason. There is no `client_credentials` grant.
///
/// Two published authorization URLs disagree; this one is the likelier. For the other:
///
/// ```
/// use tower_oauth2_client::provider;
///
/// let provider = provider::justworks()
///     .with_authorization_endpoint("https://secure.justworks.com/oauth/authorize")?;
/// # Ok::<(), tower_oauth2_client::Error>(())
/// ```
#[must_use]
pub fn justworks() -> Provider {
    Provider {
        authorization_endpoint: Endpoint::from_static(AUTHORIZATION_ENDPOINT),
        token_endpoint: Endpoint::from_static(TOKEN_ENDPOINT),
        revocation_endpoint: Some(Endpoint::from_static(REVOCATION_ENDPOINT)),
        issuer: None,
        api_origins: vec![Origin::from_static(API_HOST)],
        client_authentication: ClientAuthentication::RequestBody,
        pkce: false,
        access_token_lifetime: ACCESS_TOKEN_LIFETIME,
        refresh_token_lifetime: Some(REFRESH_TOKEN_LIFETIME),
    }
}

/// The scopes of the Justworks Partner API (*docs*, "Scopes").
///
/// ```
/// use tower_oauth2_client::provider::JustworksScope;
///
/// assert_eq!(JustworksScope::MemberDetailRead.as_str(), "member.detail:read");
/// assert!(JustworksScope::MemberDetailRead.includes(JustworksScope::MemberBasicRead));
/// assert!(!JustworksScope::MemberBasicRead.includes(JustworksScope::MemberDobRead));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JustworksScope {
    /// The masked bank account of the company.
    CompanyBankAccountRead,
    /// The company record.
    CompanyBasicRead,
    /// Business information and custom field definitions. Includes [`CompanyBasicRead`](Self::CompanyBasicRead).
    CompanyDetailRead,
    /// Listing deductions and their types.
    DeductionsRead,
    /// Creating, changing and cancelling deductions. Includes [`DeductionsRead`](Self::DeductionsRead).
    DeductionsWrite,
    /// Members: list and record.
    MemberBasicRead,
    /// Fuller profiles, history and custom field values. Includes [`MemberBasicRead`](Self::MemberBasicRead).
    MemberDetailRead,
    /// Dates of birth. The person who consents may leave this out.
    MemberDobRead,
    /// Employment history.
    MemberEmploymentRead,
    /// Pay history.
    MemberPayRead,
    /// Sex assigned at birth. The person who consents may leave this out.
    MemberSexRead,
    /// Tax identifiers.
    MemberTaxIdRead,
    /// Payroll runs and fees.
    PayrollRead,
    /// Paystubs.
    PaystubRead,
    /// Time off: policies, balances, requests.
    TimeOffRead,
}

impl JustworksScope {
    /// All fifteen.
    pub const ALL: [Self; 15] = [
        Self::CompanyBankAccountRead,
        Self::CompanyBasicRead,
        Self::CompanyDetailRead,
        Self::DeductionsRead,
        Self::DeductionsWrite,
        Self::MemberBasicRead,
        Self::MemberDetailRead,
        Self::MemberDobRead,
        Self::MemberEmploymentRead,
        Self::MemberPayRead,
        Self::MemberSexRead,
        Self::MemberTaxIdRead,
        Self::PayrollRead,
        Self::PaystubRead,
        Self::TimeOffRead,
    ];

    /// The scope as it is on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CompanyBankAccountRead => "company.bank_account:read",
            Self::CompanyBasicRead => "company.basic:read",
            Self::CompanyDetailRead => "company.detail:read",
            Self::DeductionsRead => "deductions:read",
            Self::DeductionsWrite => "deductions:write",
            Self::MemberBasicRead => "member.basic:read",
            Self::MemberDetailRead => "member.detail:read",
            Self::MemberDobRead => "member.dob:read",
            Self::MemberEmploymentRead => "member.employment:read",
            Self::MemberPayRead => "member.pay:read",
            Self::MemberSexRead => "member.sex:read",
            Self::MemberTaxIdRead => "member.tax_id:read",
            Self::PayrollRead => "payroll:read",
            Self::PaystubRead => "paystub:read",
            Self::TimeOffRead => "time_off:read",
        }
    }

    /// The scope that comes with this one. *Docs* name three such pairs and no more.
    #[must_use]
    pub fn inherited(self) -> Option<Self> {
        match self {
            Self::CompanyDetailRead => Some(Self::CompanyBasicRead),
            Self::MemberDetailRead => Some(Self::MemberBasicRead),
            Self::DeductionsWrite => Some(Self::DeductionsRead),
            _ => None,
        }
    }

    /// Whether a token with this scope may do what `other` allows.
    #[must_use]
    pub fn includes(self, other: Self) -> bool {
        self == other || self.inherited() == Some(other)
    }
}

impl AsRef<str> for JustworksScope {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for JustworksScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn endpoints_are_the_documented_ones() {
        let provider = justworks();
        assert_eq!(
            provider.token_endpoint().to_string(),
            "https://public-api.justworks.com/oauth/token"
        );
        assert_eq!(
            provider.revocation_endpoint().unwrap().to_string(),
            "https://public-api.justworks.com/v1/oauth/revoke"
        );
        assert_eq!(
            provider.api_origins(),
            ["https://public-api.justworks.com".parse().unwrap()]
        );
        assert_eq!(
            provider.client_authentication(),
            ClientAuthentication::RequestBody
        );
        assert_eq!(provider.access_token_lifetime().as_secs(), 86_400);
        assert_eq!(
            provider.refresh_token_lifetime(),
            Some(Duration::from_secs(2_592_000))
        );
        // What is built from constants is what would have been read.
        let checked = provider
            .clone()
            .on_origin("https://public-api.justworks.com")
            .unwrap();
        assert_eq!(checked.token_endpoint(), provider.token_endpoint());
        assert_eq!(checked.api_origins(), provider.api_origins());
    }

    #[test]
    fn fifteen_scopes_and_three_inheritances() {
        let names: HashSet<_> = JustworksScope::ALL.map(JustworksScope::as_str).into();
        assert_eq!(names.len(), 15);
        let inheriting = JustworksScope::ALL
            .iter()
            .filter(|scope| scope.inherited().is_some());
        assert_eq!(inheriting.count(), 3);
    }
}
