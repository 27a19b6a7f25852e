//! Whose tokens a layer hands out: those of one grant, or of the tenant that a request names.

use std::{fmt, sync::Arc};

use http::{Extensions, Request, request};

use crate::{
    cache::{BearerToken, TokenCache, TokenCopy, Wait},
    error::{Error, ErrorKind},
    origin::Origin,
    tenants::Tenants,
    token::TenantId,
};

/// One grant, or those of many tenants: what a [`BearerAuthLayer`](crate::bearer::BearerAuthLayer) is made of.
#[derive(Clone)]
pub struct TokenProvider(Whose);

#[derive(Clone)]
enum Whose {
    One(TokenCache),
    Many(Tenants, Option<TenantOf>),
}

/// How a request names its tenant.
pub(super) type TenantOf = Arc<dyn Fn(&request::Parts) -> Option<TenantId> + Send + Sync>;

impl From<TokenCache> for TokenProvider {
    fn from(tokens: TokenCache) -> Self {
        Self(Whose::One(tokens))
    }
}

impl From<Tenants> for TokenProvider {
    fn from(tenants: Tenants) -> Self {
        Self(Whose::Many(tenants, None))
    }
}

/// A request's cache, or the way to it.
pub(super) enum Found {
    Held(Own),
    /// The tenant is read from the store first.
    Later(Wait<Result<TokenCache, Error>>),
}

/// A request's own handle on its tenant's cache. None where one cache serves all: a count that all threads change would cost
/// more than all else that is done for a request.
pub(super) type Own = Option<TokenCache>;

impl TokenProvider {
    /// Has no effect on one grant, which all requests are about.
    pub(super) fn name_tenant_by(&mut self, tenant_of: TenantOf) {
        if let Whose::Many(_, by) = &mut self.0 {
            *by = Some(tenant_of);
        }
    }

    pub(super) fn origins(&self) -> &[Origin] {
        match &self.0 {
            Whose::One(tokens) => tokens.origins(),
            Whose::Many(tenants, _) => tenants.origins(),
        }
    }

    /// The token of a request, if it is fresh and whose it is stands in the request's `extensions` or goes without saying. Of
    /// one grant, a caller of many requests keeps a copy.
    #[inline]
    pub(super) fn fresh(
        &self,
        copy: Option<&mut Option<TokenCopy>>,
        extensions: &Extensions,
    ) -> Option<(BearerToken, Own)> {
        match (&self.0, copy) {
            (Whose::One(tokens), Some(copy)) => Some((tokens.fresh_by(copy)?, None)),
            (Whose::One(tokens), None) => Some((tokens.fresh()?, None)),
            (Whose::Many(tenants, None), _) => {
                let tokens = tenants.resident(extensions.get()?)?;
                Some((tokens.fresh()?, Some(tokens)))
            }
            (Whose::Many(_, Some(_)), _) => None,
        }
    }

    /// Finds the cache that a request, which is given back, is about.
    pub(super) fn find<B>(&self, request: Request<B>) -> (Request<B>, Result<Found, Error>) {
        let (tenants, tenant_of) = match &self.0 {
            Whose::One(_) => return (request, Ok(Found::Held(None))),
            Whose::Many(tenants, tenant_of) => (tenants, tenant_of),
        };
        let Some(tenant_of) = tenant_of else {
            let found = find(tenants, request.extensions().get());
            return (request, found);
        };
        let (head, body) = request.into_parts();
        let found = find(tenants, tenant_of(&head).as_ref());
        (Request::from_parts(head, body), found)
    }

    /// The cache of a request that was found to have this one.
    pub(super) fn of<'a>(&'a self, own: Option<&'a TokenCache>) -> Option<&'a TokenCache> {
        match &self.0 {
            Whose::One(only) => Some(only),
            Whose::Many(..) => own,
        }
    }
}

fn find(tenants: &Tenants, tenant: Option<&TenantId>) -> Result<Found, Error> {
    let Some(tenant) = tenant else {
        return Err(Error::new(
            ErrorKind::Request,
            "the request names no tenant, so nobody can tell whose token it is to carry: put a TenantId into its extensions",
        ));
    };
    if let Some(tokens) = tenants.resident(tenant) {
        return Ok(Found::Held(Some(tokens)));
    }
    let (tenants, tenant) = (tenants.clone(), tenant.clone());
    Ok(Found::Later(Box::pin(async move {
        tenants.cache(&tenant).await
    })))
}

impl fmt::Debug for TokenProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Whose::One(tokens) => tokens.fmt(f),
            Whose::Many(tenants, _) => tenants.fmt(f),
        }
    }
}
