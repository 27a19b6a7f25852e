//! The access token of one request.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header::AUTHORIZATION};
use zeroize::Zeroizing;

use super::delivery::{Delivery, DeliveryRules};
use crate::{
    error::Error,
    origin::Origin,
    token::{Generation, TokenSet, wiped},
};

/// An access token as a header value, with the generation of its grant.
///
/// The generation is a counter that the cache raises for each new token set.
///
/// `Debug` does not print the token.
#[derive(Clone)]
pub struct BearerToken {
    header: HeaderValue,
    generation: Generation,
    /// `None` if the token is sent as usual, and its grant has no kept values.
    delivery: Option<Arc<Delivery>>,
}

impl BearerToken {
    pub(crate) fn new(tokens: &TokenSet, generation: Generation, rules: &DeliveryRules) -> Self {
        let token = tokens.access_token();
        Self {
            header: match rules.scheme(tokens) {
                None => token.header_value().clone(),
                Some(scheme) => token.header_value_with(scheme),
            },
            generation,
            delivery: rules.delivery(tokens),
        }
    }

    /// Changes the generation.
    pub(crate) fn with_generation(self, generation: Generation) -> Self {
        Self { generation, ..self }
    }

    /// A copy in memory of its own, so with a reference count that no other thread changes.
    pub(crate) fn detached_copy(&self) -> Self {
        let mut copy = self.clone();
        if let Ok(mut header) = HeaderValue::from_maybe_shared(copied(&self.header)) {
            header.set_sensitive(self.header.is_sensitive());
            copy.header = header;
        }
        if let Some(delivery) = &mut copy.delivery {
            *delivery = Arc::new(delivery.detached_copy());
        }
        copy
    }

    /// The name of the header that carries the token: `Authorization`, unless the provider's data
    /// [name another one](crate::provider::ProviderBuilder::token_header).
    #[must_use]
    pub fn header_name(&self) -> HeaderName {
        let delivery = self.delivery.as_deref();
        delivery.map_or(AUTHORIZATION, |delivery| delivery.header_name().clone())
    }

    /// The value of the header: `Bearer <token>`, or what the provider's data say, marked
    /// sensitive.
    #[must_use]
    pub fn header_value(&self) -> &HeaderValue {
        &self.header
    }

    /// The origins that may receive this token, beside those that
    /// [`TokenCache::origins`](crate::cache::TokenCache::origins) names for every grant: those of
    /// the [customer's own addresses](crate::provider#addresses-per-tenant).
    ///
    /// The [layer](crate::bearer) checks them. A program that sends the token itself has to check
    /// both.
    ///
    /// # Errors
    ///
    /// [`KeptValue`](crate::ErrorKind::KeptValue) if a kept value of the grant does not match its
    /// pattern. The token must not be sent then.
    pub fn tenant_origins(&self) -> Result<&[Origin], Error> {
        match &self.delivery {
            Some(delivery) => delivery.origins(),
            None => Ok(&[]),
        }
    }

    /// The generation of the grant that the token belongs to.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// A DPoP proof (RFC 9449) for one request with this token: the value of the header `DPoP`,
    /// marked sensitive. `None` if the token is not [bound to a key](crate::dpop).
    ///
    /// The [layer](crate::bearer) adds the proofs of its requests. A program that sends the token
    /// itself needs a new proof for each attempt.
    ///
    /// ```
    /// # use tower_oauth2_client::{Error, cache::BearerToken};
    /// fn authorize<B>(request: &mut http::Request<B>, token: &BearerToken) -> Result<(), Error> {
    ///     let proof = token.dpop_proof(request.method(), request.uri())?;
    ///     let headers = request.headers_mut();
    ///     headers.insert(token.header_name(), token.header_value().clone());
    ///     if let Some(proof) = proof {
    ///         headers.insert("dpop", proof);
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// * [`Request`](crate::ErrorKind::Request) if the URI has no authority.
    /// * [`Store`](crate::ErrorKind::Store) if the key of the stored grant is damaged.
    /// * [`Interrupted`](crate::ErrorKind::Interrupted) if the proof cannot be signed.
    pub fn dpop_proof(&self, method: &Method, uri: &Uri) -> Result<Option<HeaderValue>, Error> {
        let proofs = self.delivery().and_then(Delivery::proofs);
        proofs.map(|proofs| proofs.header(method, uri)).transpose()
    }

    /// Learns the nonce for the next [proofs](Self::dpop_proof) to an origin, from the headers of
    /// its response to a request with this token. Returns whether the response has one.
    ///
    /// If it does, and the response is a 401 whose challenge has the error `use_dpop_nonce`, the
    /// request can be sent again with another proof.
    pub fn learn_dpop_nonce(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let proofs = self.delivery().and_then(Delivery::proofs);
        proofs.is_some_and(|proofs| proofs.learn(uri, headers))
    }

    /// Whether the token is bound to a key.
    pub(crate) fn is_bound(&self) -> bool {
        self.delivery()
            .is_some_and(|delivery| delivery.proofs().is_some())
    }

    pub(crate) fn delivery(&self) -> Option<&Delivery> {
        self.delivery.as_deref()
    }

    /// The value of the header, and where and how it is sent if that is not usual.
    #[inline]
    pub(crate) fn into_parts(self) -> (HeaderValue, Option<Arc<Delivery>>) {
        (self.header, self.delivery)
    }
}

/// A copy of the bytes of a header value. It is wiped when it is dropped, as the token's own memory
/// is.
fn copied(header: &HeaderValue) -> Bytes {
    wiped(Zeroizing::new(header.as_bytes().to_vec()))
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerToken")
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{
        cache::delivery::USUAL,
        clock::{Clock, SystemClock},
        provider::{KeptValue, Provider, TokenHeader, ValueSource},
        token::AccessToken,
    };

    fn rules(provider: &Provider) -> DeliveryRules {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        DeliveryRules::of(Some(provider), &clock)
    }

    fn token() -> BearerToken {
        token_by(&USUAL, "a1")
    }

    fn token_by(rules: &DeliveryRules, token: &str) -> BearerToken {
        let token = AccessToken::new(token).unwrap();
        let tokens = TokenSet::new(token, None, SystemTime::UNIX_EPOCH);
        BearerToken::new(&tokens, Generation::FIRST, rules)
    }

    #[test]
    fn provider_chooses_the_header_and_its_scheme() {
        for (header, name, value) in [
            (TokenHeader::default(), "authorization", "Bearer a1"),
            (TokenHeader::new("Authorization"), "authorization", "a1"),
            (
                TokenHeader::new("AUTHORIZATION").scheme("Zoho-oauthtoken"),
                "authorization",
                "Zoho-oauthtoken a1",
            ),
            (
                TokenHeader::new("X-Shopify-Access-Token"),
                "x-shopify-access-token",
                "a1",
            ),
            (TokenHeader::new("X-Api").scheme("T"), "x-api", "T a1"),
        ] {
            let provider = Provider::builder("https://id.example.com/token");
            let provider = provider.token_header(header).build().unwrap();
            let token = token_by(&rules(&provider), "a1");
            for token in [&token, &token.detached_copy()] {
                assert_eq!(token.header_name(), name);
                assert_eq!(token.header_value(), value);
                assert!(token.header_value().is_sensitive());
            }
        }
    }

    #[test]
    fn p01_usual_token_has_no_delivery() {
        let builder = Provider::builder("https://id.example.com/token");
        let usual = builder
            .clone()
            .api_origin("https://api.example.com")
            .build();
        let with_scheme = builder
            .clone()
            .token_header(TokenHeader::new("Authorization"));
        let value = KeptValue::new(ValueSource::Callback).pattern("[0-9]+");
        let unused = builder.kept_value("realm_id", value);
        for provider in [usual, with_scheme.build(), unused.build()] {
            let rules = rules(&provider.unwrap());
            assert!(token_by(&rules, "a1").delivery().is_none());
        }
    }

    #[test]
    fn p01_detached_copy_is_the_same_token_at_another_address() {
        let (token, copy) = (token(), token().detached_copy());
        let addresses = [&token, &copy].map(|token| token.header.as_bytes().as_ptr());
        assert_ne!(addresses[0], addresses[1]);
        assert_eq!(copy.header, "Bearer a1");
        assert!(copy.header.is_sensitive());
        assert_eq!(copy.generation, token.generation);
    }

    #[test]
    fn p21_detached_copy_is_wiped_on_drop() {
        // Only one reference exists. That it cannot be made mutable shows that the bytes have an
        // owner, which wipes them.
        assert!(copied(&token().header).try_into_mut().is_err());
    }
}
