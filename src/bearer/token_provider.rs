//! Where the layer's tokens come from: one grant, or the tenant that a request names.

use std::{fmt, sync::Arc};

use http::{Extensions, HeaderName, HeaderValue, Request, Uri, request};

use super::guard;
use crate::{
    cache::{BearerToken, TokenCache, TokenCopy, Wait},
    error::Error,
    origin::Origin,
    rejection::TokenRejection,
    tenants::Tenants,
    token::{Generation, TenantId},
};

/// The source of a layer's tokens: one grant, or the grants of many tenants.
///
/// A [`TokenCache`] and [`Tenants`] convert into this type; see
/// [`BearerAuthLayer::new`](crate::bearer::BearerAuthLayer::new).
#[derive(Clone)]
pub struct TokenProvider(Inner);

#[derive(Clone)]
enum Inner {
    One(TokenCache),
    Many(Tenants, Option<TenantOf>),
}

/// How a request names its tenant.
pub(super) type TenantOf = Arc<dyn Fn(&request::Parts) -> Option<TenantId> + Send + Sync>;

impl From<TokenCache> for TokenProvider {
    fn from(tokens: TokenCache) -> Self {
        Self(Inner::One(tokens))
    }
}

impl From<Tenants> for TokenProvider {
    fn from(tenants: Tenants) -> Self {
        Self(Inner::Many(tenants, None))
    }
}

/// The cache of a request's tenant, or a future that loads it.
pub(super) enum Lookup {
    Resident(TenantCache),
    /// The tenant's grant is loaded from the store first.
    Load(Wait<Result<TokenCache, Error>>),
}

/// A request's handle on its tenant's cache. `None` where one cache serves all requests: a
/// reference count that all threads change would cost more than everything else that is done for a
/// request.
pub(super) type TenantCache = Option<TokenCache>;

/// The parts of a fresh token that a request needs.
pub(super) enum FreshToken {
    /// It is sent in the header `Authorization`, to the origins of all grants.
    Usual(HeaderValue, Generation),
    Delivered(BearerToken),
}

impl FreshToken {
    #[inline]
    fn of(token: &BearerToken) -> Self {
        if token.delivery().is_some() {
            return Self::Delivered(token.clone());
        }
        Self::Usual(token.header_value().clone(), token.generation())
    }
}

impl TokenProvider {
    /// Sets how a request names its tenant. Has no effect where there is one grant.
    pub(super) fn name_tenant_by(&mut self, tenant_of: TenantOf) {
        if let Inner::Many(_, by) = &mut self.0 {
            *by = Some(tenant_of);
        }
    }

    pub(super) fn origins(&self) -> &[Origin] {
        match &self.0 {
            Inner::One(tokens) => tokens.origins(),
            Inner::Many(tenants, _) => tenants.origins(),
        }
    }

    /// Whether a grant may have origins beside [`origins`](Self::origins).
    #[cold]
    pub(super) fn has_tenant_origins(&self) -> bool {
        match &self.0 {
            Inner::One(tokens) => tokens.has_tenant_origins(),
            Inner::Many(tenants, _) => tenants.has_tenant_origins(),
        }
    }

    /// Whether a URI has an origin that may receive the token of a request.
    pub(super) fn is_permitted(&self, uri: &Uri, tenant: Option<&TokenCache>) -> bool {
        let is_of_all = self.origins().iter().any(|origin| origin.matches(uri));
        let cache = self.cache(tenant);
        let is_to_tenant = || cache?.with_delivery(|delivery| delivery.is_to_tenant(uri));
        is_of_all || is_to_tenant().unwrap_or(false)
    }

    /// The name of the header that carries the tokens.
    pub(super) fn header_name(&self) -> &HeaderName {
        match &self.0 {
            Inner::One(tokens) => tokens.header_name(),
            Inner::Many(tenants, _) => tenants.header_name(),
        }
    }

    pub(super) fn token_rejections(&self) -> &[TokenRejection] {
        match &self.0 {
            Inner::One(tokens) => tokens.token_rejections(),
            Inner::Many(tenants, _) => tenants.token_rejections(),
        }
    }

    /// As [`fresh`](Self::fresh), with a copy.
    #[expect(
        clippy::inline_always,
        reason = "counted: a twentieth of what a request costs"
    )]
    #[inline(always)]
    pub(super) fn fresh_by(
        &self,
        copy: &mut Option<TokenCopy>,
        extensions: &Extensions,
    ) -> Option<(FreshToken, TenantCache)> {
        match &self.0 {
            Inner::One(tokens) => Some((FreshToken::of(tokens.fresh_by(copy)?), None)),
            Inner::Many(tenants, None) => {
                let tokens = tenants.resident(extensions.get()?)?;
                Some((tokens.fresh_with(FreshToken::of)?, Some(tokens)))
            }
            Inner::Many(_, Some(_)) => None,
        }
    }

    /// A request's token, if it is fresh, and the tenant is named in `extensions` or there is only
    /// one. Of one grant, a caller of many requests keeps a copy.
    pub(super) fn fresh(
        &self,
        copy: Option<&mut Option<TokenCopy>>,
        extensions: &Extensions,
    ) -> Option<(BearerToken, TenantCache)> {
        match (&self.0, copy) {
            (Inner::One(tokens), Some(copy)) => Some((tokens.fresh_by(copy)?.clone(), None)),
            (Inner::One(tokens), None) => Some((tokens.fresh()?, None)),
            (Inner::Many(tenants, None), _) => {
                let tokens = tenants.resident(extensions.get()?)?;
                Some((tokens.fresh()?, Some(tokens)))
            }
            (Inner::Many(_, Some(_)), _) => None,
        }
    }

    /// Finds the cache of a request's tenant, and returns the request.
    pub(super) fn resolve_tenant<B>(
        &self,
        request: Request<B>,
    ) -> (Request<B>, Result<Lookup, Error>) {
        let (tenants, tenant_of) = match &self.0 {
            Inner::One(_) => return (request, Ok(Lookup::Resident(None))),
            Inner::Many(tenants, tenant_of) => (tenants, tenant_of),
        };
        let Some(tenant_of) = tenant_of else {
            let lookup = look_up(tenants, request.extensions().get());
            return (request, lookup);
        };
        let (head, body) = request.into_parts();
        let lookup = look_up(tenants, tenant_of(&head).as_ref());
        (Request::from_parts(head, body), lookup)
    }

    /// The cache of a request: the only one, or its tenant's.
    pub(super) fn cache<'a>(&'a self, tenant: Option<&'a TokenCache>) -> Option<&'a TokenCache> {
        match &self.0 {
            Inner::One(only) => Some(only),
            Inner::Many(..) => tenant,
        }
    }
}

fn look_up(tenants: &Tenants, tenant: Option<&TenantId>) -> Result<Lookup, Error> {
    let Some(tenant) = tenant else {
        return Err(guard::names_no_tenant());
    };
    if let Some(tokens) = tenants.resident(tenant) {
        return Ok(Lookup::Resident(Some(tokens)));
    }
    let (tenants, tenant) = (tenants.clone(), tenant.clone());
    Ok(Lookup::Load(Box::pin(async move {
        tenants.cache(&tenant).await
    })))
}

impl fmt::Debug for TokenProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::One(tokens) => tokens.fmt(f),
            Inner::Many(tenants, _) => tenants.fmt(f),
        }
    }
}
