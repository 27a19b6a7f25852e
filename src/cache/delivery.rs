//! Where and how the token of a grant is sent, if that is not the same for all grants, or not
//! usual.

use std::sync::Arc;

use http::{HeaderName, Uri, header::AUTHORIZATION};

use crate::{
    clock::Clock,
    dpop::{self, ProofContext, Proofs},
    error::Error,
    origin::Origin,
    provider::Provider,
    token::{KeptValues, TokenSet},
};

/// Rules of the provider's data for the requests that carry its tokens.
#[derive(Debug)]
pub(crate) struct DeliveryRules {
    /// `None` for `Authorization`.
    header_name: Option<HeaderName>,
    /// `None` for `Bearer`.
    scheme: Option<Box<str>>,
    /// `None` unless it has kept values.
    provider: Option<Provider>,
    /// `None` where no clock is known.
    proofs: Option<Arc<ProofContext>>,
}

/// Where and how the token of one grant is sent. It is made with each snapshot, and each copy of
/// the token has it: a request can never carry the token of one snapshot to the origins of another.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    /// `None` for `Authorization`.
    header_name: Option<HeaderName>,
    /// The origins of this grant, beside those of all grants. An error if a kept value does not
    /// match its pattern.
    origins: Result<Box<[Origin]>, Error>,
    values: KeptValues,
    /// `None` unless the tokens are bound to a key.
    proofs: Option<Arc<Proofs>>,
}

/// The rules of a source that names no provider.
#[cfg(test)]
pub(crate) static USUAL: DeliveryRules = DeliveryRules::usual();

static USUAL_HEADER: HeaderName = AUTHORIZATION;

impl DeliveryRules {
    const fn usual() -> Self {
        Self {
            header_name: None,
            scheme: None,
            provider: None,
            proofs: None,
        }
    }

    pub(crate) fn of(provider: Option<&Provider>, clock: &Arc<dyn Clock>) -> Self {
        let proofs = Some(Arc::new(ProofContext::new(Arc::clone(clock))));
        let Some(provider) = provider else {
            return Self {
                proofs,
                ..Self::usual()
            };
        };
        let name = provider.token_header_name();
        let scheme = provider.token_header_scheme();
        Self {
            header_name: (name != AUTHORIZATION).then(|| name.clone()),
            scheme: (scheme != "Bearer").then(|| scheme.into()),
            provider: provider
                .kept_values()
                .next()
                .is_some()
                .then(|| provider.clone()),
            proofs,
        }
    }

    /// Whether the origins differ from grant to grant.
    pub(crate) fn has_tenant_origins(&self) -> bool {
        self.provider
            .as_ref()
            .is_some_and(Provider::has_tenant_origins)
    }

    /// The header that carries the tokens.
    pub(crate) fn header_name(&self) -> &HeaderName {
        self.header_name.as_ref().unwrap_or(&USUAL_HEADER)
    }

    /// The word before the token of a set, if it is not `Bearer`. Empty for none.
    pub(crate) fn scheme(&self, tokens: &TokenSet) -> Option<&str> {
        if tokens.dpop_key().is_some() {
            return Some(dpop::SCHEME);
        }
        self.scheme.as_deref()
    }

    /// The word before a token that is not bound to a key. Empty for none.
    pub(crate) fn bearer_scheme(&self) -> &str {
        self.scheme.as_deref().unwrap_or("Bearer")
    }

    /// `None` for a grant without kept values whose token is sent as usual.
    pub(crate) fn delivery(&self, tokens: &TokenSet) -> Option<Arc<Delivery>> {
        let values = tokens.values();
        let context = self.proofs.as_ref();
        let proofs = context.and_then(|context| Proofs::of(tokens, context));
        let is_usual = self.header_name.is_none()
            && values.is_empty()
            && proofs.is_none()
            && !self.has_tenant_origins();
        (!is_usual).then(|| {
            Arc::new(Delivery {
                header_name: self.header_name.clone(),
                origins: self.origins(values),
                values: values.clone(),
                proofs,
            })
        })
    }

    fn origins(&self, values: &KeptValues) -> Result<Box<[Origin]>, Error> {
        let Some(provider) = &self.provider else {
            return Ok(Box::default());
        };
        provider.check_kept_values(values)?;
        Ok(provider.tenant_origins(values)?.into())
    }
}

impl Delivery {
    pub(crate) fn header_name(&self) -> &HeaderName {
        self.header_name.as_ref().unwrap_or(&USUAL_HEADER)
    }

    /// The origins of this grant, beside those of all grants.
    pub(crate) fn origins(&self) -> Result<&[Origin], Error> {
        match &self.origins {
            Ok(origins) => Ok(origins),
            Err(error) => Err(error.clone()),
        }
    }

    /// Whether a URI has one of the origins of this grant.
    pub(crate) fn is_to_tenant(&self, uri: &Uri) -> bool {
        let origins = self.origins.as_deref().unwrap_or_default();
        origins.iter().any(|origin| origin.matches(uri))
    }

    /// The values that are kept with the grant. An error if one of them does not match its pattern.
    pub(crate) fn values(&self) -> Result<&KeptValues, Error> {
        self.origins().map(|_| &self.values)
    }

    /// The proofs that accompany the token, if it is bound to a key.
    pub(crate) fn proofs(&self) -> Option<&Arc<Proofs>> {
        self.proofs.as_ref()
    }

    /// A copy in memory of its own, so with reference counts that no other thread changes.
    pub(crate) fn detached_copy(&self) -> Self {
        Self {
            values: self.values.detached_copy(),
            ..self.clone()
        }
    }
}
