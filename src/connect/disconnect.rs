//! `POST /disconnect`: the end of a grant.

use axum::response::Response;
use http::{HeaderMap, Uri, header::ORIGIN, request::Parts};

use super::{ConnectFailure, ConnectFailureKind, ConnectHandler, Shared};
use crate::{
    cache::Settings,
    error::ErrorKind,
    origin::Origin,
    token::{GrantState, TenantId},
};

pub(super) async fn disconnect<A: ConnectHandler>(shared: &Shared<A>, request: &Parts) -> Response {
    if !is_ours(&request.headers, &shared.origin) {
        return shared.failed(&ConnectFailure::new(ConnectFailureKind::CrossSite));
    }
    let tenant = match shared.application.tenant(request).await {
        Ok(tenant) => tenant,
        Err(response) => return response,
    };
    let error = match shared.tenants.revoke(&tenant).await {
        Ok(()) => return shared.application.disconnected(&tenant),
        Err(error) if error.kind() == ErrorKind::NoGrant => {
            return shared.application.disconnected(&tenant);
        }
        Err(error) => error,
    };
    let kind = if is_ended(shared.tenants.settings(), &tenant).await {
        ConnectFailureKind::ProviderNotNotified
    } else {
        ConnectFailureKind::NotPersisted
    };
    shared.failed(&ConnectFailure::new(kind).of(&tenant).because(error))
}

/// Whether all replicas know of the end.
async fn is_ended(settings: &Settings, tenant: &TenantId) -> bool {
    let stored = settings.read(tenant).await;
    stored.is_ok_and(|grant| {
        grant.is_none_or(|grant| matches!(grant.state, GrantState::Revoked { .. }))
    })
}

/// Whether one of the program's own pages has asked. All browsers say where a POST comes from, in one way or the other; who
/// says it in neither is no browser, and has no business with a form.
fn is_ours(headers: &HeaderMap, origin: &Origin) -> bool {
    match (headers.get("sec-fetch-site"), headers.get(ORIGIN)) {
        // Not `same-site`: a host beside this one may be somebody else's. `none` is the person, by a reload.
        (Some(site), _) => site == "same-origin" || site == "none",
        (None, Some(asking)) => asking
            .to_str()
            .ok()
            .and_then(|asking| asking.parse::<Uri>().ok())
            .is_some_and(|asking| origin.matches(&asking)),
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ours_with(headers: &[(&'static str, &'static str)]) -> bool {
        let origin = "https://partner.example.com".parse().unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        is_ours(&map, &origin)
    }

    #[test]
    fn only_the_programs_own_pages_disconnect() {
        let own = ("origin", "https://partner.example.com");
        let others = ("origin", "https://evil.example");
        for good in [
            &[("sec-fetch-site", "same-origin"), own][..],
            // What browsers send from a page that names no referrer.
            &[("sec-fetch-site", "same-origin"), ("origin", "null")],
            &[("sec-fetch-site", "none")],
            &[own],
        ] {
            assert!(is_ours_with(good), "{good:?}");
        }
        for bad in [
            &[("sec-fetch-site", "cross-site"), own][..],
            &[("sec-fetch-site", "same-site"), own],
            &[("sec-fetch-site", ""), own],
            &[others],
            &[("origin", "null")],
            &[("origin", "http://partner.example.com")],
            &[("origin", "https://partner.example.com:8443")],
            &[("origin", "https://partner.example.com.evil.example")],
            &[],
        ] {
            assert!(!is_ours_with(bad), "{bad:?}");
        }
    }
}
