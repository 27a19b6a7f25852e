//! The access token of one request.

use std::fmt;

use bytes::Bytes;
use http::HeaderValue;
use zeroize::Zeroizing;

use crate::token::{AccessToken, Generation, wiped};

/// An access token as an `Authorization` header value, with the generation of its grant.
///
/// The generation is a counter that the cache raises for each new token set.
///
/// `Debug` does not print the token.
#[derive(Clone)]
pub struct BearerToken {
    header: HeaderValue,
    generation: Generation,
}

impl BearerToken {
    pub(crate) fn new(token: &AccessToken, generation: Generation) -> Self {
        Self {
            header: token.header_value().clone(),
            generation,
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
        copy
    }

    /// The value of the `Authorization` header: `Bearer <token>`, marked sensitive.
    #[must_use]
    pub fn header_value(&self) -> &HeaderValue {
        &self.header
    }

    /// The generation of the grant that the token belongs to.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    pub(crate) fn into_header_value(self) -> HeaderValue {
        self.header
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
    use super::*;

    fn token() -> BearerToken {
        BearerToken::new(&AccessToken::new("a1").unwrap(), Generation::FIRST)
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
