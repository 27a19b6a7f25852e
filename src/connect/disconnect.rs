//! `POST /disconnect`: revokes a grant.

use axum::response::Response;
use http::{HeaderMap, Uri, header::ORIGIN, request::Parts};

use super::{ConnectFailure, ConnectFailureKind, ConnectHandler, state::ConnectState};
use crate::{
    cache::Settings,
    error::ErrorKind,
    origin::Origin,
    token::{GrantState, TenantId},
};

pub(super) async fn disconnect<H: ConnectHandler>(
    state: &ConnectState<H>,
    request: &Parts,
) -> Response {
    if !is_same_origin(&request.headers, &state.origin) {
        return state.failed(&ConnectFailure::new(ConnectFailureKind::CrossSite));
    }
    let tenant = match state.handler.tenant(request).await {
        Ok(tenant) => tenant,
        Err(response) => return response,
    };
    let error = match state.tenants.revoke(&tenant).await {
        Ok(()) => return state.handler.disconnected(&tenant),
        Err(error) if error.kind() == ErrorKind::NoGrant => {
            return state.handler.disconnected(&tenant);
        }
        Err(error) => error,
    };
    let kind = if is_revoked_in_store(state.tenants.settings(), &tenant).await {
        ConnectFailureKind::ProviderNotNotified
    } else {
        ConnectFailureKind::NotPersisted
    };
    state.failed(&ConnectFailure::new(kind).of(&tenant).because(error))
}

/// Whether every replica sees that the grant has ended.
pub(super) async fn is_revoked_in_store(settings: &Settings, tenant: &TenantId) -> bool {
    let stored = settings.load(tenant).await;
    stored.is_ok_and(|grant| {
        grant.is_none_or(|grant| matches!(grant.state, GrantState::Revoked { .. }))
    })
}

/// Whether the request comes from one of the program's own pages. Every browser sends at least one
/// of the two headers with a POST; a request without both is rejected.
fn is_same_origin(headers: &HeaderMap, origin: &Origin) -> bool {
    match (headers.get("sec-fetch-site"), headers.get(ORIGIN)) {
        // Not `same-site`: a sibling host may have another owner. `none` is a reload by the user.
        (Some(site), _) => site == "same-origin" || site == "none",
        (None, Some(other)) => other
            .to_str()
            .ok()
            .and_then(|other| other.parse::<Uri>().ok())
            .is_some_and(|other| origin.matches(&other)),
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(headers: &[(&'static str, &'static str)]) -> bool {
        let origin = "https://partner.example.com".parse().unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        is_same_origin(&map, &origin)
    }

    #[test]
    fn only_requests_from_the_programs_own_pages_are_accepted() {
        let own_origin = ("origin", "https://partner.example.com");
        let other_origin = ("origin", "https://evil.example");
        for good in [
            &[("sec-fetch-site", "same-origin"), own_origin][..],
            // Sent from a page with `Referrer-Policy: no-referrer`.
            &[("sec-fetch-site", "same-origin"), ("origin", "null")],
            &[("sec-fetch-site", "none")],
            &[own_origin],
        ] {
            assert!(accepts(good), "{good:?}");
        }
        for bad in [
            &[("sec-fetch-site", "cross-site"), own_origin][..],
            &[("sec-fetch-site", "same-site"), own_origin],
            &[("sec-fetch-site", ""), own_origin],
            &[other_origin],
            &[("origin", "null")],
            &[("origin", "http://partner.example.com")],
            &[("origin", "https://partner.example.com:8443")],
            &[("origin", "https://partner.example.com.evil.example")],
            &[],
        ] {
            assert!(!accepts(bad), "{bad:?}");
        }
    }
}
