//! What a request carries.

use std::fmt;

use bytes::Bytes;
use http::HeaderValue;
use zeroize::Zeroizing;

use crate::token::{AccessToken, Generation, wiped};

/// An access token, ready for a request, and which one it is.
#[derive(Clone)]
pub struct BearerToken {
    header: HeaderValue,
    generation: Generation,
}

impl BearerToken {
    pub(super) fn new(token: &AccessToken, generation: Generation) -> Self {
        Self {
            header: token.header_value().clone(),
            generation,
        }
    }

    /// The same in memory of its own, whose references nobody else counts.
    pub(super) fn detached_copy(&self) -> Self {
        let mut apart = self.clone();
        if let Ok(mut header) = HeaderValue::from_maybe_shared(copied(&self.header)) {
            header.set_sensitive(self.header.is_sensitive());
            apart.header = header;
        }
        apart
    }

    /// `Bearer <token>`, marked sensitive: the value of the `Authorization` header.
    #[must_use]
    pub fn header_value(&self) -> &HeaderValue {
        &self.header
    }

    /// The state of the grant that it comes from.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    pub(crate) fn into_header_value(self) -> HeaderValue {
        self.header
    }
}

/// A value's bytes once more, wiped like those that a token came in.
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
    fn p01_a_copy_in_memory_of_its_own_is_the_same_token() {
        let (token, apart) = (token(), token().detached_copy());
        let places = [&token, &apart].map(|token| token.header.as_bytes().as_ptr());
        assert_ne!(places[0], places[1]);
        assert_eq!(apart.header, "Bearer a1");
        assert!(apart.header.is_sensitive());
        assert_eq!(apart.generation, token.generation);
    }

    #[test]
    fn p21_a_copy_in_memory_of_its_own_is_wiped_as_well() {
        // Nobody else holds it. If it cannot be had for writing all the same it has an owner, which wipes it.
        assert!(copied(&token().header).try_into_mut().is_err());
    }
}
